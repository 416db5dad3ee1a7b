"""Decisions that depend on the context: which of two modalities counts is an input."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fctoolbox_ctrnn.plans import Conditions, Plan
from fctoolbox_ctrnn.tasks.design import FIXATION, Design, Places
from fctoolbox_ctrnn.timing import Duration

_STIMULI = {1: slice(1, 3), 2: slice(3, 5)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Context(Design):
    """Two modalities of two noisy stimuli each; the stronger one of the modality that the context names.

    One of the last two inputs is 1 throughout the trial: the context. neurogym's ``ContextDecisionMaking-v0``
    leaves it out unless it is asked for, and shows its cue in the first period only; all else is equal.

    Parameters
    ----------
    timing, noise
        See `Design`.
    coherences : tuple of float
        Percent; the stimuli of a modality differ by a hundredth of it.
    """

    timing: Mapping[str, Duration] = field(
        default_factory=lambda: {
            "fixation": 300,
            "stimulus": 750,
            "delay": ("truncated_exponential", (600, 300, 3000)),
            "decision": 100,
        }
    )
    noise: float = 1.0
    coherences: tuple[float, ...] = (5.0, 15.0, 50.0)

    paper = (
        "Mante et al. 2013, Context-dependent computation by recurrent dynamics in prefrontal cortex",
        "https://doi.org/10.1038/nature12742",
    )
    hidden: ClassVar[tuple[str, ...]] = ("target", "coherence")
    inputs: ClassVar[Places] = {
        FIXATION: 0,
        "stim1_mod1": 1,
        "stim2_mod1": 2,
        "stim1_mod2": 3,
        "stim2_mod2": 4,
        "context1": 5,
        "context2": 6,
    }
    responses: ClassVar[Places] = {FIXATION: 0, "choice": range(1, 3)}

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """The stronger stimulus of the modality that counts and of the other, which counts, and both coherences."""
        return {
            "target": (1, 2),
            "other": (1, 2),
            "context": (1, 2),
            "coherence": self.coherences,
            "coherence_other": self.coherences,
        }

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`."""
        context = conditions["context"]
        means, noise = self.cue(len(context)), self.nothing(len(context))
        during = self.periods.index("stimulus")
        for modality, columns in _STIMULI.items():
            counts = context == modality
            stronger = np.where(counts, conditions["target"], conditions["other"])
            coherence = np.where(counts, conditions["coherence"], conditions["coherence_other"])
            sign = np.where(stronger[:, None] == [1, 2], 1, -1)
            means[:, during, columns] = 0.5 + sign * coherence[:, None] / 200
            noise[:, during, columns] = self.noise / np.sqrt(dt)
        means[:, :, 5:] = (context[:, None] == [1, 2])[:, None]
        return self.planned(conditions, means, noise, dt, rng)
