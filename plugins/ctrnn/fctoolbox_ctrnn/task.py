"""The import name of our tasks: ``neurogym.make("fctoolbox_ctrnn.task:" + TASK_ID)`` imports and makes one."""

from fctoolbox_ctrnn.tasks import ALL_RULES_ID, DESIGNS, GO_NOGO_ID, TASK_ID
from fctoolbox_ctrnn.tasks.go_nogo import GoNogo, GoNogoDesign
from fctoolbox_ctrnn.tasks.perceptual import Perceptual, PerceptualDecisionMaking

__all__ = [
    "ALL_RULES_ID",
    "DESIGNS",
    "GO_NOGO_ID",
    "TASK_ID",
    "GoNogo",
    "GoNogoDesign",
    "Perceptual",
    "PerceptualDecisionMaking",
]
