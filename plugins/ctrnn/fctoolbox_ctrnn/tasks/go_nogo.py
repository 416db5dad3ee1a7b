"""Go/no-go: respond to one stimulus, and to the other not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fctoolbox_ctrnn.plans import Conditions, Plan
from fctoolbox_ctrnn.tasks.design import AS_NN_BRAIN, FIXATION, Design, Places, Schedule
from fctoolbox_ctrnn.tasks.environment import DesignedTask
from fctoolbox_ctrnn.timing import Duration


@dataclass(frozen=True, eq=False, kw_only=True)
class GoNogoDesign(Design):
    """One of two stimuli is 1, without noise; after the delay, go or go on fixating."""

    timing: Mapping[str, Duration] = field(
        default_factory=lambda: {"fixation": 0, "stimulus": 500, "delay": 500, "decision": 500}
    )
    noise: float = 0.0

    paper = (
        "Zhang et al. 2019, Active information maintenance in working memory by a sensory cortex",
        "https://doi.org/10.7554/eLife.43191",
    )
    schedule: ClassVar[Schedule] = AS_NN_BRAIN
    inputs: ClassVar[Places] = {FIXATION: 0, "nogo": 1, "go": 2}
    responses: ClassVar[Places] = {FIXATION: 0, "go": 1}

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """1 to go."""
        return {"target": (0, 1)}

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`."""
        target = conditions["target"]
        means, noise = self.cue(len(target)), self.nothing(len(target))
        during = self.periods.index("stimulus")
        means[:, during, 1:] = target[:, None] == [0, 1]
        noise[:, during, 1:] = self.noise / np.sqrt(dt)
        return self.planned(conditions, means, noise, dt, rng)


class GoNogo(DesignedTask):
    """Go on one stimulus, and fixate on the other.

    Observations are the fixation cue (1 until the decision, then 0), no-go and go (1 while shown). The ground
    truth is 0 (fixate), but 1 (go) in the decision of go trials. Trials equal neurogym's number by number for
    the same seed; so do the names of the conditions.

    Parameters
    ----------
    dt : int
        Duration of a time step in ms.
    design : GoNogoDesign
    """

    rewards_given: ClassVar[dict[str, float]] = {"abort": -0.1, "correct": 1.0, "fail": -0.5, "miss": -0.5}

    def __init__(self, dt: int = 100, design: GoNogoDesign | None = None) -> None:
        super().__init__(design or GoNogoDesign(), dt)

    def _new_trial(self, **chosen: Any) -> dict[str, Any]:
        design = self.design
        trial = {"ground_truth": self.rng.choice(2), **chosen}
        self.add_period(list(design.periods))
        self.add_ob(1, list(design.periods[:-1]), where="fixation")
        self.add_ob(1, "stimulus", where=1 + trial["ground_truth"])
        if design.noise:
            self.add_randn(0, design.noise / np.sqrt(self.dt), "stimulus", where=[1, 2])
        self.set_groundtruth(trial["ground_truth"], "decision")
        return trial
