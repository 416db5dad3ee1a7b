"""Perceptual decision-making with a fixation cue that lasts until the decision.

Since version 2.1, neurogym's ``PerceptualDecisionMaking-v0`` shows the cue for its first 100 ms only, under
the same name; networks trained by the published recipe with short time steps then go on fixating. The task
that the literature trained on is therefore defined here, where no other package can change it.

Importing this module registers the task, so that ``neurogym.make`` finds it by its id, `TASK_ID`;
``neurogym.make("fctoolbox_ctrnn.task:" + TASK_ID)`` imports and makes it in one go.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import neurogym
import numpy as np
from neurogym.core import TrialEnv

TASK_ID = "fctoolbox/PerceptualDecisionMaking-v0"


@dataclass(frozen=True)
class Design:
    """What a trial is made of.

    Parameters
    ----------
    fixation, stimulus, delay, decision : int
        Durations in ms.
    coherences : sequence of float
        Percent; the two stimuli differ by a hundredth of it.
    noise : float
        Of each stimulus; its standard deviation at each time step is ``noise / sqrt(dt)``, with dt in ms, so
        that what can be integrated from a trial does not depend on dt.
    """

    fixation: int = 100
    stimulus: int = 2000
    delay: int = 0
    decision: int = 100
    coherences: tuple[float, ...] = (0.0, 6.4, 12.8, 25.6, 51.2)
    noise: float = 1.0


DESIGN = Design()


class PerceptualDecisionMaking(TrialEnv):
    """Which of two noisy stimuli is the stronger one on average?

    Observations are the fixation cue (1 until the decision, then 0) and two stimuli, 0.5 ± coherence / 200
    plus noise while they last and 0 otherwise. The ground truth is 0 (fixate) until the decision, then 1 or
    2, the stronger stimulus (Britten et al. 1992, doi:10.1523/JNEUROSCI.12-12-04745.1992).

    Parameters
    ----------
    dt : int
        Duration of a time step in ms.
    design : Design
    """

    metadata: ClassVar[dict[str, Any]] = {
        "paper_link": "https://doi.org/10.1523/JNEUROSCI.12-12-04745.1992",
        "paper_name": "Britten et al. 1992, The analysis of visual motion",
        "tags": ["perceptual", "two-alternative", "supervised"],
        "render_modes": [],
    }

    def __init__(self, dt: int = 100, design: Design = DESIGN) -> None:
        super().__init__(dt=dt)
        self.design = design
        self.timing = {period: getattr(design, period) for period in ("fixation", "stimulus", "delay", "decision")}
        self.rewards = {"abort": -0.1, "correct": 1.0, "fail": 0.0}
        self.observation_space = neurogym.spaces.Box(
            -np.inf, np.inf, shape=(3,), dtype=np.float32, name={"fixation": 0, "stimulus": [1, 2]}
        )
        self.action_space = neurogym.spaces.Discrete(3, name={"fixation": 0, "choice": [1, 2]})

    def _new_trial(self, **chosen: Any) -> dict[str, Any]:
        trial = {"ground_truth": self.rng.choice(2), "coh": self.rng.choice(self.design.coherences), **chosen}
        self.add_period(list(self.timing))
        self.add_ob(1, ["fixation", "stimulus", "delay"], where="fixation")
        sign = np.where(np.arange(2) == trial["ground_truth"], 1, -1)
        self.add_ob(0.5 + sign * trial["coh"] / 200, "stimulus", where="stimulus")
        self.add_randn(0, self.design.noise / np.sqrt(self.dt), "stimulus", where="stimulus")
        self.set_groundtruth(trial["ground_truth"], "decision", where="choice")
        return trial

    def _step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        target, reward, responded = self.gt_now, 0.0, False
        if self.in_period("decision") and action != 0:
            responded = True
            self.performance = int(action == target)
            reward = self.rewards["correct" if action == target else "fail"]
        elif action != 0:
            reward = self.rewards["abort"]
        return self.ob_now, reward, False, False, {"new_trial": responded, "gt": target}


neurogym.register(TASK_ID, entry_point=f"{__name__}:{PerceptualDecisionMaking.__name__}")
