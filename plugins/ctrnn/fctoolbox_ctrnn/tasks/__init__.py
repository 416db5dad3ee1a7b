"""Our tasks: fixed here, where no other package can change them, and registered with neurogym under our ids.

Importing this package registers them, so that ``neurogym.make`` finds them by their ids.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import neurogym

from fctoolbox.errors import InputError
from fctoolbox_ctrnn.tasks.context import Context
from fctoolbox_ctrnn.tasks.design import Design
from fctoolbox_ctrnn.tasks.environment import DesignedTask
from fctoolbox_ctrnn.tasks.go_nogo import GoNogo, GoNogoDesign
from fctoolbox_ctrnn.tasks.match import DelayMatch
from fctoolbox_ctrnn.tasks.perceptual import Perceptual, PerceptualDecisionMaking
from fctoolbox_ctrnn.tasks.yang19 import RULES, AllRules, ruled
from fctoolbox_ctrnn.timing import Duration, changed_timing

OURS = "fctoolbox"
TASK_ID = f"{OURS}/PerceptualDecisionMaking-v0"
GO_NOGO_ID = f"{OURS}/GoNogo-v0"
ALL_RULES_ID = f"{OURS}/Yang19-v0"

DESIGNS: Mapping[str, Callable[[], Design]] = {
    TASK_ID: Perceptual,
    GO_NOGO_ID: GoNogoDesign,
    f"{OURS}/ContextDecisionMaking-v0": Context,
    f"{OURS}/DelayMatchSample-v0": DelayMatch,
    ALL_RULES_ID: AllRules,
    **{f"{OURS}/Yang19-{rule}-v0": partial(ruled, rule) for rule in RULES},
}


def design_of(name: str, dt: int, timing: Mapping[str, object] | None = None) -> Design | None:
    """The design of one of our tasks; None for another's.

    Parameters
    ----------
    name : str
        The id; what is before a colon is a module for neurogym to import.
    dt : int
        Time step in ms.
    timing : mapping of str to duration
        Changes to it; see `changed_timing`.

    Raises
    ------
    InputError
        If the timing is not usable at this time step.
    """
    name = name.rpartition(":")[2]
    if name not in DESIGNS:
        return None
    design = DESIGNS[name]()
    changes = changed_timing(name, design.changeable, {} if timing is None else timing)
    changed = replace(design, timing={**design.timing, **changes})
    changed.check(name, dt)
    return changed


def made(name: str, dt: int = 100, timing: Mapping[str, Duration] | None = None) -> DesignedTask:
    """The environment of one of our tasks, for neurogym.

    Parameters
    ----------
    name : str
        One of `DESIGNS`.
    dt : int
        Duration of a time step in ms.
    timing : mapping of str to duration
        Changes to the task's.
    """
    design = design_of(name, dt, timing)
    if isinstance(design, Perceptual):
        return PerceptualDecisionMaking(dt, design)
    if isinstance(design, GoNogoDesign):
        return GoNogo(dt, design)
    if design is None:
        raise InputError(f"no task '{name}' of ours; there are: {', '.join(DESIGNS)}")
    return DesignedTask(design, dt)


for _name in DESIGNS:
    neurogym.register(_name, entry_point=f"{__name__}:{made.__name__}", kwargs={"name": _name})
