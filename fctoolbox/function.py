"""What modules carry: their activity beside stimulus, evidence, outputs and choice, and what lesions of them cost."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

from fctoolbox._function_report import FunctionReport, ModuleAgreement, ModuleRelations
from fctoolbox.agreement import adjusted_mutual_information, adjusted_rand
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.ensemble_lesions import EnsembleLesions, lesion_ensemble
from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.nulls.permutation import permutation
from fctoolbox.origin import Dropped, OriginReport, call_of, seeded
from fctoolbox.output_lesions import Control, LesionReport, lesion_modules
from fctoolbox.randomness import generator
from fctoolbox.relation import (
    Relation,
    TrialSpans,
    checked_labels,
    lag_steps,
    module_activity,
    relate,
)
from fctoolbox.samples import SampleComparison, cliffs_delta, compare_samples
from fctoolbox.similarity import constant_units, functional_connectivity
from fctoolbox.system import Floats, RecurrentSystem, check_finite

__all__ = [
    "Control",
    "EnsembleLesions",
    "FunctionReport",
    "LesionReport",
    "ModuleAgreement",
    "ModuleRelations",
    "Relation",
    "SampleComparison",
    "cliffs_delta",
    "compare_samples",
    "function_of",
    "input_drive",
    "lesion_ensemble",
    "lesion_modules",
    "module_activity",
    "module_labels",
    "relate",
]

ACTIVITY, DRIVE = "recurrent activity", "input drive"
NEEDS = (
    "to know what its modules carry, its source must give activity.trials, the trial of each time step, and "
    "activity.variables, {name: (n_times, k)}, such as stimulus, output, target and choice"
)
# Not related unless asked for: `inputs` holds the stimulus again, and `period` numbers that are names.
_NOT_QUANTITIES = ("inputs", "period")
_N_LAGS = 4  # on each side of 0, unless asked for
_LAGGED_SHARE = 0.25  # of the shortest trial, that the longest of these takes
_MIN_UNITS = 3


def function_of(
    system: RecurrentSystem,
    communities: OriginReport | Communities | ArrayLike | None = None,
    *,
    variables: Sequence[str] | None = None,
    lags: Sequence[float] | None = None,
    by: str = "target",
    n_nulls: int = 1000,
    n_restarts: int = 100,
    rng: int | np.random.Generator | None = None,
) -> FunctionReport:
    """What the modules of a system carry, and what the loss of each costs.

    1. Mean activity of each module, beside each variable: r, r at lags, p from exchanging trials.
    2. The same for the modules of the input drive (what the inputs deliver before recurrence) where it is known, and
       how alike both partitions are.
    3. Accuracy without the output of each module, where the system has a model that can be lesioned.

    Parameters
    ----------
    system : RecurrentSystem
        With a timeseries, trials and variables: a network or recorded neurons.
    communities : OriginReport, Communities or (n_units,) integers, optional
        The modules. None takes those of the functional connectivity of the timeseries; an `OriginReport` of this
        system brings those of the input projections.
    variables : sequence of str, optional
        All but ``inputs`` and ``period`` by default.
    lags : sequence of float, optional
        Seconds. By default four on each side of 0, up to a quarter of the shortest trial.
    by : str
        The variable that tells the types of trials apart in which accuracy is looked at.
    n_nulls : int
        Exchanges of trials, and random sets of each kind for each lesion.
    n_restarts : int
        Of the community detection.
    rng : int, Generator or None

    Returns
    -------
    FunctionReport

    Raises
    ------
    InputError
        If the system has no timeseries, trials or variables, or none of the variables varies.

    References
    ----------
    Tanner et al. 2023, arXiv:2310.20601, figures 1 and S1 (the questions); the permutation of trials, the correction of
    p and the random sets of units are fctoolbox's own.
    """
    started = time.perf_counter()
    check_whole("n_nulls", n_nulls, 1)
    check_variables(system, variables)
    rng, seed = seeded(rng)
    rng_modules, rng_drive, rng_relate, rng_drive_relate, rng_agree, rng_lesions = rng.spawn(6)
    activity = system.activity
    assert activity.timeseries is not None  # check_variables has made sure
    assert activity.trials is not None
    spans = TrialSpans.of(activity.trials, len(activity.timeseries))
    chosen = _default_lags(spans, activity.sampling_interval) if lags is None else tuple(lags)
    lag_steps(chosen, activity.sampling_interval, spans)  # before the work, not after it
    labels = module_labels(system, communities, n_restarts=n_restarts, rng=rng_modules)
    columns, values, left_out = _columns(system, variables)

    def relations(
        name: str, found_on: str, of: Floats, partition: NDArray[Any], rng: np.random.Generator
    ) -> ModuleRelations:
        means = module_activity(of, partition)
        relation = relate(
            means, values, trials=activity.trials, sampling_interval=activity.sampling_interval, lags=chosen,  # type: ignore[arg-type]
            n_nulls=n_nulls, rng=rng,
        )  # fmt: skip
        return ModuleRelations(name, found_on, partition, means, columns, relation)

    modules = relations(ACTIVITY, _found_on(communities), activity.timeseries, labels, rng_relate)
    drive, agreement = None, None
    try:
        delivered = input_drive(system)
        of_drive = _labels_of_timeseries(delivered, n_restarts=n_restarts, rng=rng_drive, what=DRIVE)
        drive = relations(DRIVE, "correlations of the input drive", delivered, of_drive, rng_drive_relate)
        agreement = _agreement(labels, of_drive, n_nulls, rng_agree)
    except InputError as error:
        left_out[DRIVE] = str(error)
    lesions = None
    try:
        lesions = lesion_modules(system, labels, by=by, n_random=n_nulls, rng=rng_lesions)
    except InputError as error:
        left_out["lesions"] = str(error)
    return FunctionReport(
        system=system,
        dropped=_dropped(system, labels, communities),
        modules=modules,
        drive=drive,
        agreement=agreement,
        lesions=lesions,
        left_out=left_out,
        policies={
            "modules": modules.found_on,
            "activity": "mean over the units of a module, not scaled",
            "p": "exchange of whole trials of equal length, two-sided",
            "correction": "maxT (Westfall & Young), over all modules and columns of variables at a lag",
            "n_nulls": n_nulls,
            "n_restarts": n_restarts,
            "lags": [float(lag) for lag in chosen],
        },
        rng=seed,
        call=call_of(
            "function.function_of",
            system,
            ({} if communities is None else {"communities": "…"})
            | {"n_nulls": n_nulls, "n_restarts": n_restarts, "rng": int(seed) if seed.isdigit() else None},
        ),
        seconds=time.perf_counter() - started,
    )


def check_variables(system: RecurrentSystem, variables: Sequence[str] | None = None) -> None:
    """Refuse a system of whose function nothing can be asked; cheap, so that it comes before anything that is not.

    Raises
    ------
    InputError
        If it has no timeseries, no variables, not those named, or no trials.
    """
    activity = system.activity
    if activity.timeseries is None:
        raise InputError(f"{system.name!r} has a connectivity and no timeseries; {NEEDS}")
    if not activity.variables:
        raise InputError(f"{system.name!r} has no variables; {NEEDS}")
    known = list(activity.variables)
    for name in variables or ():
        if name not in activity.variables:
            raise InputError(
                f"{system.name!r} has no variable '{name}'.{suggestion(name, known)} It has: {', '.join(known)}."
            )
    if activity.trials is None:
        raise InputError(
            f"{system.name!r} has variables ({listed(known)}) but no trials: time steps depend on each other, so that "
            "only the exchange of trials gives a p. Its source must give activity.trials, the trial of each time step"
        )


def module_labels(
    system: RecurrentSystem,
    communities: OriginReport | Communities | ArrayLike | None = None,
    *,
    n_restarts: int = 100,
    rng: int | np.random.Generator | None = None,
) -> NDArray[np.integer[Any]]:
    """The module of each unit of a system; -1 where it has none.

    Parameters
    ----------
    system : RecurrentSystem
    communities : OriginReport, Communities or (n_units,) integers, optional
        None finds those of the functional connectivity of the timeseries, without constant units.
    n_restarts : int
    rng : int, Generator or None

    Returns
    -------
    (n_units,) integers

    Raises
    ------
    InputError
        If the modules are of other units.
    """
    if communities is None:
        if system.activity.timeseries is None:
            raise InputError(f"{system.name!r} has a connectivity and no timeseries; {NEEDS}")
        return _labels_of_timeseries(system.activity.timeseries, n_restarts=n_restarts, rng=rng, what=ACTIVITY)
    if isinstance(communities, OriginReport):
        of_unit = dict(zip(communities.system.units, communities.communities.labels.tolist(), strict=True))
        if strangers := [unit for unit in of_unit if unit not in set(system.units)]:
            raise InputError(f"the report is of other units: {system.name!r} has no {listed(strangers)}")
        return checked_labels([of_unit.get(unit, -1) for unit in system.units], system.n_units)
    labels = communities.labels if isinstance(communities, Communities) else communities
    if len(np.atleast_1d(labels)) != system.n_units:
        raise InputError(
            f"there are labels of {len(np.atleast_1d(labels))} units, and {system.name!r} has {system.n_units}; where "
            "an analysis has left some out, hand over its OriginReport, which knows which"
        )
    return checked_labels(labels, system.n_units)


def input_drive(system: RecurrentSystem) -> Floats:
    """What the inputs deliver to each unit at each time step, before recurrence.

    ``model.input_drive(inputs)`` where the model has one; else inputs times projection, without any nonlinearity.

    Parameters
    ----------
    system : RecurrentSystem
        With the variable ``inputs``, (n_times, n_inputs).

    Returns
    -------
    (n_times, n_units) array

    Raises
    ------
    InputError
        If the inputs' time course is not known, or they are not those of the model or the projection.
    """
    inputs = system.activity.variables.get("inputs")
    if inputs is None:
        raise InputError(
            f"{system.name!r} has no variable 'inputs' (n_times, n_inputs), so that its input drive is not known"
        )
    of_model = getattr(system.model, "input_drive", None)
    if of_model is not None:
        drive = np.asarray(of_model(inputs), dtype=np.float64)
    elif inputs.shape[1] != system.projection.n_inputs:
        raise InputError(
            f"the variable 'inputs' of {system.name!r} has {inputs.shape[1]} columns, but its projection has "
            f"{system.projection.n_inputs} inputs; they must be the same, or its model must have input_drive"
        )
    else:
        weights: Any = system.projection.weights
        drive = np.asarray(
            (inputs @ weights.right.T) @ weights.left.T if hasattr(weights, "right") else (weights @ inputs.T).T,
            dtype=np.float64,
        )
    if drive.shape != (len(inputs), system.n_units):
        raise InputError(f"the input drive has shape {drive.shape}; it must be ({len(inputs)}, {system.n_units})")
    check_finite(drive, "the input drive")
    return drive


def _labels_of_timeseries(
    timeseries: Floats, *, n_restarts: int, rng: int | np.random.Generator | None, what: str
) -> NDArray[np.integer[Any]]:
    kept = np.flatnonzero(~constant_units(timeseries))
    if len(kept) < _MIN_UNITS:
        raise InputError(f"the {what} of only {len(kept)} units varies; modules need at least {_MIN_UNITS}")
    labels = np.full(timeseries.shape[1], -1)
    connectivity = functional_connectivity(np.asarray(timeseries)[:, kept])
    labels[kept] = detect_communities(connectivity, n_restarts=n_restarts, rng=generator(rng)).labels
    return labels


def _default_lags(spans: TrialSpans, sampling_interval: float | None) -> tuple[float, ...]:
    apart = int(spans.lengths.min() * _LAGGED_SHARE) // _N_LAGS
    if sampling_interval is None or apart < 1:
        return (0.0,)
    return tuple(k * apart * sampling_interval for k in range(-_N_LAGS, _N_LAGS + 1))


def _columns(
    system: RecurrentSystem, variables: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.float64], dict[str, str]]:
    """Names of the variables' columns, the columns side by side, and which were left out."""
    known = system.activity.variables
    asked = [name for name in known if name not in _NOT_QUANTITIES] if variables is None else list(variables)
    names, columns, left_out = [], [], {}
    for name in asked:
        values = np.asarray(known[name], dtype=np.float64)
        varies = ~constant_units(values)
        for k, column in enumerate(values.T):
            word = name if values.shape[1] == 1 else f"{name}[{k}]"
            if varies[k]:
                names.append(word)
                columns.append(column)
            else:
                left_out[word] = "constant"
    if not names:
        raise InputError(
            f"all variables of {system.name!r} that were asked for are constant ({listed(left_out) or 'none'}), "
            "so that nothing goes with them"
        )
    return tuple(names), np.column_stack(columns), left_out


def _agreement(one: NDArray[Any], other: NDArray[Any], n_nulls: int, rng: np.random.Generator) -> ModuleAgreement:
    both = (one >= 0) & (other >= 0)
    one, other = one[both], other[both]
    n_cells = int(other.max()) + 1

    def together(of: NDArray[Any]) -> NDArray[np.float64]:
        # Pairs that both put together: for given sizes the Rand index rises and falls with it alone.
        cells = of * n_cells + other
        return np.array([comb(np.bincount(row), 2).sum() for row in cells])

    nulls = together(permutation(one, n_nulls=n_nulls, rng=rng))
    p = float((1 + (nulls >= together(one[None])[0]).sum()) / (1 + n_nulls))
    return ModuleAgreement(adjusted_rand(one, other), adjusted_mutual_information(one, other), p, int(both.sum()))


def _dropped(system: RecurrentSystem, labels: NDArray[Any], communities: object) -> tuple[Dropped, ...]:
    before = [Dropped(unit, reason) for unit, reason in system.provenance.left_out.items()]
    known = {each.unit: each.reason for each in communities.dropped} if isinstance(communities, OriginReport) else {}
    reason = "constant" if communities is None else "belongs to no module"
    now = [Dropped(system.units[i], known.get(system.units[i], reason)) for i in np.flatnonzero(labels < 0)]
    return (*before, *now)


def _found_on(communities: object) -> str:
    if communities is None:
        return "functional connectivity"
    return "similarity of input projections" if isinstance(communities, OriginReport) else "partition handed in"
