"""What modules carry: their activity beside stimulus, evidence, outputs and choice, and what lesions of them cost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

from fctoolbox.agreement import adjusted_mutual_information, adjusted_rand
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.ensemble_lesions import EnsembleLesions, lesion_ensemble
from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.nulls.permutation import permutation
from fctoolbox.origin import SCHEMA, Dropped, OriginReport, call_of, provenance_in_json, seeded, system_in_json
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
_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class ModuleRelations:
    """Modules of one kind of activity, and how they go with the variables.

    Parameters
    ----------
    name : str
        "recurrent activity" or "input drive".
    found_on : str
        What the modules are modules of.
    labels : (n_units,) integers
        -1 for a unit that belongs to none.
    activity : (n_times, n_modules) array
        Mean over the units of each module.
    columns : sequence of str
        Of the variables: ``"coherence"``, or ``"stimulus[0]"`` where a variable has several.
    relation : Relation
    """

    name: str
    found_on: str
    labels: NDArray[np.integer[Any]]
    activity: NDArray[np.float64]
    columns: tuple[str, ...]
    relation: Relation

    @property
    def n_modules(self) -> int:
        """How many modules."""
        return self.activity.shape[1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each module."""
        return tuple(int(n) for n in np.bincount(self.labels[self.labels >= 0]))

    @property
    def r(self) -> NDArray[np.float64]:
        """(n_modules, n_columns) at the lag nearest to 0."""
        return np.asarray(self.relation.r[self.relation.shortest])

    @property
    def p_corrected(self) -> NDArray[np.float64]:
        """(n_modules, n_columns) at that lag, corrected over all of them."""
        return np.asarray(self.relation.p_corrected[self.relation.shortest])

    def strongest(self) -> tuple[int, str, float, float]:
        """Module, column, r and corrected p of the largest |r| among those with the smallest p."""
        order = np.lexsort([-np.abs(self.r).ravel(), self.p_corrected.ravel()])
        module, column = np.unravel_index(order[0], self.r.shape)
        return (
            int(module), self.columns[column], float(self.r[module, column]), float(self.p_corrected[module, column])
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """All but the time series, for JSON."""
        relation = self.relation
        return {
            "name": self.name,
            "found_on": self.found_on,
            "sizes": list(self.sizes),
            "columns": list(self.columns),
            "lags": relation.lags.tolist(),
            "r": relation.r.tolist(),
            "p_value": relation.p.tolist(),
            "p_corrected": relation.p_corrected.tolist(),
            "p_any_lag": relation.p_any_lag.tolist(),
            "expected_r": relation.expected.tolist(),
            "defined": relation.defined.tolist(),
        }


@dataclass(frozen=True)
class ModuleAgreement:
    """How alike two partitions are, over the units that have a module in both; p of exchanging units."""

    adjusted_rand: float
    adjusted_mutual_information: float
    p_value: float
    n_units: int


@dataclass(frozen=True, eq=False, repr=False)
class FunctionReport:
    """What `function_of` found, and everything needed to say how.

    Parameters
    ----------
    system : RecurrentSystem
    dropped : sequence of Dropped
        Units that belong to no module.
    modules : ModuleRelations
        Of the recurrent activity.
    drive : ModuleRelations or None
        Of the input drive, before recurrence.
    agreement : ModuleAgreement or None
        Of the two.
    lesions : LesionReport or None
    left_out : mapping of str to str
        Columns of variables, or whole steps, that were left out, and why.
    policies : mapping
    rng, call : str
    seconds : float
    """

    system: RecurrentSystem
    dropped: tuple[Dropped, ...]
    modules: ModuleRelations
    drive: ModuleRelations | None
    agreement: ModuleAgreement | None
    lesions: LesionReport | None
    left_out: Mapping[str, str]
    policies: Mapping[str, Any]
    rng: str
    call: str
    seconds: float

    @property
    def kinds(self) -> tuple[ModuleRelations, ...]:
        """Modules of the recurrent activity, and of the input drive where it is known."""
        return (self.modules,) if self.drive is None else (self.modules, self.drive)

    def to_dict(self, *, command: str = "") -> dict[str, Any]:
        """The report as in function.json (schema 1)."""
        relation = self.modules.relation
        return {
            "schema": SCHEMA,
            "system": system_in_json(self.system, self.dropped),
            "policies": dict(self.policies),
            "trials": {"n": relation.n_trials, "n_fixed": relation.n_fixed, "n_possible": relation.n_possible},
            "modules": [kind.to_dict() for kind in self.kinds],
            "agreement": None if self.agreement is None else vars(self.agreement).copy(),
            "lesions": None if self.lesions is None else self.lesions.to_dict(),
            "left_out": dict(self.left_out),
            "provenance": provenance_in_json(
                self.system, rng=self.rng, command=command or self.call, seconds=self.seconds
            ),
        }

    def sentence(self) -> str:
        """The answer in a few sentences, with its numbers."""
        module, column, r, p = self.modules.strongest()
        n_found, relation = int((self.modules.p_corrected <= _LEVEL).sum()), self.modules.relation
        answer = (
            f"In {self.system.name}, {n_found} of {self.modules.r.size} pairs of a module ({self.modules.n_modules}, "
            f"of the {self.modules.found_on}) and a variable go together beyond what {relation.n_nulls:,} exchanges of "
            f"{relation.n_trials:,} trials give (p corrected, at most {_LEVEL:g}); the clearest is module "
            f"{module} with {column}: r = {r:.3f}, p corrected = {p:.2g}."
        )
        if self.agreement is not None and self.drive is not None:
            answer += (
                f" The input drive has {self.drive.n_modules} modules; they agree with these at an adjusted Rand index "
                f"of {self.agreement.adjusted_rand:.3f} (p = {self.agreement.p_value:.2g})."
            )
        if self.lesions is not None:
            worst = int(self.lesions.accuracy[:, 0].argmin())
            control = self.lesions.same_size[worst]
            answer += (
                f" Accuracy is {self.lesions.intact[0]:.3f}, and {self.lesions.accuracy[worst, 0]:.3f} without the "
                f"output of module {worst}, against {control.accuracy[:, 0].mean():.3f} without random sets of as many "
                f"units (p = {control.tests[0].p_value:.2g})."
            )
        return answer

    def caution(self) -> str:
        """What these numbers cannot say; stands beside the answer wherever it is shown."""
        return " ".join(
            (
                "What p cannot say here: whole trials are exchanged, so that p speaks of what differs from trial to "
                "trial, and assumes that trials could have come in any order; where activity and a variable both drift "
                "over a session, they go together by that alone. Variables go together among themselves: a module that "
                "follows the stimulus goes with evidence and choice as well. r says that a module carries a variable, "
                "and a lesion that the readout uses it; neither says that it arises there.",
                *self.modules.relation.doubts(),
            )
        )

    def save(self, folder: str | Path, *, command: str = "") -> Path:
        """Write function.json, function.tsv, function.html, the lesions' table and figures; the path of the page."""
        from fctoolbox.report.function import save_function

        return save_function(self, Path(folder), command=command)

    def __repr__(self) -> str:
        return (
            f"<FunctionReport of {self.system.name!r}: {self.modules.n_modules} modules, "
            f"{len(self.modules.columns)} variables{', lesions' if self.lesions is not None else ''}>"
        )

    def _repr_html_(self) -> str:
        return (
            f"<p><b>{escape(self.system.name)}</b></p><p>{escape(self.sentence())}</p>"
            f"<p><i>{escape(self.caution())}</i></p>"
        )


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
