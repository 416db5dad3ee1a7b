"""Delayed match to sample: is the second stimulus the first one again?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fctoolbox_ctrnn.plans import Conditions, Plan
from fctoolbox_ctrnn.tasks.design import FIXATION, Design, Places
from fctoolbox_ctrnn.timing import Duration

MATCH = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class DelayMatch(Design):
    """A sample, one of two inputs at 1 plus noise on both, and later a test; response 1 if equal, else 2."""

    timing: Mapping[str, Duration] = field(
        default_factory=lambda: {"fixation": 300, "sample": 500, "delay": 1000, "test": 500, "decision": 900}
    )
    noise: float = 1.0

    paper = (
        "Miller et al. 1996, Neural mechanisms of visual working memory in prefrontal cortex of the macaque",
        "https://doi.org/10.1523/JNEUROSCI.16-16-05154.1996",
    )
    inputs: ClassVar[Places] = {FIXATION: 0, "stimulus": range(1, 3)}
    responses: ClassVar[Places] = {FIXATION: 0, "match": 1, "non-match": 2}

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """Match (1) or not (2), and the sample's input."""
        return {"target": (1, 2), "sample": (1, 2)}

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`; the conditions gain ``test``, its input."""
        target, sample = conditions["target"], conditions["sample"]
        test = np.where(target == MATCH, sample, 3 - sample)
        means, noise = self.cue(len(target)), self.nothing(len(target))
        for period, shown in (("sample", sample), ("test", test)):
            during = self.periods.index(period)
            means[:, during, 1:] = shown[:, None] == [1, 2]
            noise[:, during, 1:] = self.noise / np.sqrt(dt)
        return self.planned({**conditions, "test": test}, means, noise, dt, rng)
