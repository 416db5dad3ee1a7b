"""Designs as neurogym's trial environments."""

from typing import Any, ClassVar

import neurogym
import numpy as np
from neurogym.core import TrialEnv

from fctoolbox_ctrnn.plans import Conditions, rendered
from fctoolbox_ctrnn.tasks.design import DECISION, Design


class DesignedTask(TrialEnv):
    """A task whose trials follow a design.

    ``new_trial`` takes conditions of the design by name, draws the others, and returns all of them; the trial's
    numbers depend on the environment's ``rng`` alone. Responses before the decision are punished and ignored;
    the first one in the decision ends the trial.

    Parameters
    ----------
    dt : int
        Duration of a time step in ms.
    design : Design
    """

    metadata: dict[str, Any]
    rewards_given: ClassVar[dict[str, float]] = {"abort": -0.1, "correct": 1.0, "fail": 0.0, "miss": 0.0}

    def __init__(self, design: Design, dt: int = 100) -> None:
        super().__init__(dt=dt)
        self.design = design
        self.timing = dict(design.timing)
        self.rewards = dict(self.rewards_given)
        name, link = design.paper
        self.metadata = {"paper_name": name, "paper_link": link, "tags": ["supervised"], "render_modes": []}
        self.observation_space = neurogym.spaces.Box(
            -np.inf, np.inf, shape=(design.n_inputs,), dtype=np.float32, name=dict(design.inputs)
        )
        self.action_space = neurogym.spaces.Discrete(design.n_responses, name=dict(design.responses))

    def _post_init(self) -> None:
        # A task per trial has no timing that holds for all trials.
        super()._post_init(allow_empty_timing=True)

    def _new_trial(self, **chosen: Any) -> dict[str, Any]:
        # A generator of the trial's own, because designs draw from numpy's newer ones.
        rng = np.random.default_rng(self.rng.randint(2**32, size=4, dtype=np.uint64))
        plan = self.design.plan(self.design.draw(1, rng, **chosen), self.dt, rng)
        self.add_period(list(plan.periods), duration=(plan.durations[0] * self.dt).tolist())
        inputs, targets = rendered(plan, rng)
        self.set_ob(inputs[:, 0])
        self.set_groundtruth(targets[:, 0])
        return self._told(plan.conditions)

    def _told(self, conditions: Conditions) -> dict[str, Any]:
        trial = {name: values[0].item() for name, values in conditions.items()}
        # What neurogym calls the answer.
        return {**trial, "ground_truth": trial["target"]}

    def _step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        target, reward, responded = self.gt_now, 0.0, False
        if self.in_period(DECISION) and action != 0:
            responded = True
            self.performance = int(action == target)
            reward = self.rewards["correct" if action == target else "fail"]
        elif action != 0:
            reward = self.rewards["abort"]
        elif self.t_ind == len(self.gt) - 1:
            # Nothing was answered: right where nothing was wanted.
            self.performance = int(target == 0)
            reward = self.rewards["miss"] if target else 0.0
        return self.ob_now, reward, False, False, {"new_trial": responded, "gt": target}
