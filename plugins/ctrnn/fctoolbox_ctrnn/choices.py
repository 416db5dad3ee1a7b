"""The options of the source: which values are usable."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fctoolbox.errors import InputError, check_whole
from fctoolbox.threads import n_threads

Options = dict[str, Any]
# Options that map names to values: what they name, and an example.
MAPPINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "timing": ("periods", {"stimulus": 500}),
    "task_options": ("arguments of neurogym's task", {"sigma": 0.5}),
}
# Where these are left out, the task decides.
_OF_THE_TASK = ("accuracy", "learning_rate", "response_weight")


def check_options(options: Options) -> None:
    """Refuse values that no task or network could have.

    Raises
    ------
    InputError
    """
    for name, least in (("n_units", 3), ("dt", 1), ("seed", 0), ("network", 0), ("n_trials", 2)):
        check_whole(name, options[name], least)
    for name, least in (("networks", 1), ("checkpoint", 0), ("steps", 1)):
        if options[name] is not None:
            check_whole(name, options[name], least)
    if options["n_jobs"] is not None:
        n_threads(options["n_jobs"])
    network, networks, tau, dt = (options[name] for name in ("network", "networks", "tau", "dt"))
    if networks is not None and network >= networks:
        raise InputError(f"network is {network}, but networks is {networks}: they are numbered 0 … {networks - 1}")
    for name, above, below, words in (
        ("tau", 0, np.inf, "a time in ms"),
        ("accuracy", 0, 1 + 1e-9, "in (0, 1]"),
        ("learning_rate", 1e-7, 1 + 1e-9, "above 1e-7, up to 1"),
        ("response_weight", 1e-3, 1000 + 1e-9, "above 0.001, up to 1000"),
        ("sparsity", -1e-9, 1, "from 0 to below 1"),
    ):
        by_the_task = options[name] is None and name in _OF_THE_TASK
        if not by_the_task and not (_is_number(options[name]) and above < options[name] < below):
            raise InputError(f"{name} is {options[name]!r}; it must be {words}")
    if dt > tau:
        raise InputError(f"dt is {dt} ms; it must not exceed the units' time constant of {tau:g} ms")
    if options["inputs"] not in ("stimulus", "all"):
        raise InputError(f"inputs is {options['inputs']!r}; it must be 'stimulus' or 'all'")
    dale = options["dale"]
    if dale is not None and not (_is_number(dale) and 0 <= dale <= 1):
        raise InputError(f"dale is {dale!r}; it must be the share of units that excite, from 0 to 1, or none")
    if not options["trained"] and options["checkpoint"]:
        raise InputError("trained=false is the network before training; checkpoint asks for one along it: give one")


def read_mapping(name: str, given: Any) -> tuple[str | None, dict[str, Any] | None]:
    """An option that maps names to values: as JSON, by which a report names it, and as a mapping; None if it is empty.

    Parameters
    ----------
    name : str
        One of `MAPPINGS`.
    given : mapping or str
        The mapping, or JSON; numbers and arrays of numpy become plain ones.

    Raises
    ------
    InputError
        If it is neither.
    """
    what, example = MAPPINGS[name]
    if given is None or (isinstance(given, (str, Mapping)) and not given):
        return None, None
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{name} is {given!r}, which is no JSON ({error.msg}); write it like '{json.dumps(example)}'"
            ) from error
    wrong = f"{name} is {given!r}; it must name {what}, as in {example}"
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InputError(wrong)
    try:
        written = json.dumps(dict(given), default=lambda value: value.tolist())
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{wrong}, by numbers, words and lists of these") from error
    return written, json.loads(written)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
