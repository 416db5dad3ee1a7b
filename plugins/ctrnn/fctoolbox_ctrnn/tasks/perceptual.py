"""Perceptual decision-making with a fixation cue that lasts until the decision.

Since version 2.1, neurogym's ``PerceptualDecisionMaking-v0`` shows the cue for its first 100 ms only, under
the same name; networks trained by the published recipe with short time steps then go on fixating. The task
that the literature trained on is therefore defined here, where no other package can change it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fctoolbox_ctrnn.plans import Conditions, Plan
from fctoolbox_ctrnn.tasks.design import AS_NN_BRAIN, DECIDABLE, FIXATION, Design, Places, Schedule
from fctoolbox_ctrnn.tasks.environment import DesignedTask
from fctoolbox_ctrnn.timing import Duration


@dataclass(frozen=True, eq=False, kw_only=True)
class Perceptual(Design):
    """Two stimuli, 0.5 ± coherence / 200 plus noise while they last; which is the stronger one on average?

    Parameters
    ----------
    timing, noise
        See `Design`.
    coherences : tuple of float
        Percent; the two stimuli differ by a hundredth of it.
    """

    timing: Mapping[str, Duration] = field(
        default_factory=lambda: {"fixation": 100, "stimulus": 2000, "delay": 0, "decision": 100}
    )
    noise: float = 1.0
    coherences: tuple[float, ...] = (0.0, 6.4, 12.8, 25.6, 51.2)

    paper = (
        "Britten et al. 1992, The analysis of visual motion",
        "https://doi.org/10.1523/JNEUROSCI.12-12-04745.1992",
    )
    schedule: ClassVar[Schedule] = AS_NN_BRAIN
    hidden: ClassVar[tuple[str, ...]] = ("target", "coherence")
    inputs: ClassVar[Places] = {FIXATION: 0, "stimulus": range(1, 3)}
    responses: ClassVar[Places] = {FIXATION: 0, "choice": range(1, 3)}

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """The stronger stimulus, and the coherence in percent."""
        return {"target": (1, 2), "coherence": self.coherences}

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`."""
        target, coherence = conditions["target"], conditions["coherence"]
        means, noise = self.cue(len(target)), self.nothing(len(target))
        during = self.periods.index("stimulus")
        sign = np.where(target[:, None] == [1, 2], 1, -1)
        means[:, during, 1:] = 0.5 + sign * coherence[:, None] / 200
        noise[:, during, 1:] = self.noise / np.sqrt(dt)
        told = {**conditions, DECIDABLE: coherence != 0}
        return self.planned(told, means, noise, dt, rng)


class PerceptualDecisionMaking(DesignedTask):
    """Which of two noisy stimuli is the stronger one on average?

    Observations are the fixation cue (1 until the decision, then 0) and two stimuli, 0.5 ± coherence / 200
    plus noise while they last and 0 otherwise. The ground truth is 0 (fixate) until the decision, then 1 or
    2, the stronger stimulus (Britten et al. 1992, doi:10.1523/JNEUROSCI.12-12-04745.1992). Everything but the
    cue equals neurogym's task number by number for the same seed; so do the names of the conditions.

    Parameters
    ----------
    dt : int
        Duration of a time step in ms.
    design : Perceptual
    """

    design: Perceptual

    def __init__(self, dt: int = 100, design: Perceptual | None = None) -> None:
        super().__init__(design or Perceptual(), dt)

    def _new_trial(self, **chosen: Any) -> dict[str, Any]:
        design = self.design
        trial = {"ground_truth": self.rng.choice(2), "coh": self.rng.choice(design.coherences), **chosen}
        self.add_period(list(design.periods))
        self.add_ob(1, list(design.periods[:-1]), where="fixation")
        sign = np.where(np.arange(2) == trial["ground_truth"], 1, -1)
        self.add_ob(0.5 + sign * trial["coh"] / 200, "stimulus", where="stimulus")
        self.add_randn(0, design.noise / np.sqrt(self.dt), "stimulus", where="stimulus")
        self.set_groundtruth(trial["ground_truth"], "decision", where="choice")
        return trial
