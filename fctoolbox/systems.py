"""Are input projections more alike within the networks of an annotation than between them?"""

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.chance import Space
from fctoolbox.chunks import Workers, in_chunks
from fctoolbox.concentration import NULLS, concentrations, edge_t, null_concentrations, similarity_to_networks
from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.nulls.graph import neighbours_of
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.nulls.spin import sphere_positions, unit_hemispheres
from fctoolbox.origin import SCHEMA, Dropped, OriginReport, call_of, provenance_in_json, seeded, system_in_json
from fctoolbox.similarity import directions as directions_of
from fctoolbox.similarity import units_without_input
from fctoolbox.system import Geometry, RecurrentSystem

UNLABELLED = frozenset({"", "none", "nan", "n/a", "???"})  # in lower case: how annotations say "no network"
CONTROLS_FOR = {
    "spin": "The annotation is turned on the sphere: the null keeps how smooth the similarity is and how large and "
    "compact the networks are, and asks whether networks like these are as concentrated elsewhere.",
    "regrow": "Networks of the same sizes are grown elsewhere, as compact as the real ones: the null asks whether "
    "other compact networks are as concentrated.",
    "permutation": "The units' networks change places at random: the null keeps the sizes of the networks and nothing "
    "spatial, so that any compact network beats it where near units share inputs.",
}
_IN_SHORT = {
    "spin": "the annotation turned on the sphere",
    "regrow": "networks of the same sizes grown elsewhere",
    "permutation": "units' networks exchanged at random",
}
_FEW = 50  # units: with fewer, areas touch too few others, and the nearest are neighbours
_CHUNK = 100
_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Network:
    """How concentrated similarity of input projections is within one network of an annotation.

    Parameters
    ----------
    name : str
    n_units : int
    within, others : float
        Mean over its units of their mean similarity to its other units, and to all units of other networks.
    test : NullTest
        Of ``concentration`` among its values where the annotation lies elsewhere; one-sided.
    p_corrected : float
        Holm's, over the networks.
    cohens_d : float or None
        Mean over units of (within - others), in standard deviations over units; None where all are the same.
    rank_biserial : float or None
        Of the same differences (matched pairs): 1 if every unit is more alike to its own network than to others, -1
        if none; None where all differences are zero.
    rank : int
        Of the concentration, 1 for the highest.
    n_lost : int
        Nulls that left the network fewer than two units; each counts as one at least as high as observed.
    paper_t : float or None
        Student's t of its pairs of units against those with others. Not to be believed: pairs depend on each other.
    n_pairs : int
        Of units within it.
    """

    name: str
    n_units: int
    within: float
    others: float
    test: NullTest
    p_corrected: float
    cohens_d: float | None
    rank_biserial: float | None
    rank: int
    n_lost: int
    paper_t: float | None
    n_pairs: int

    @property
    def concentration(self) -> float:
        """``within - others``."""
        return self.within - self.others

    def null_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Between which values this share of the nulls lies."""
        low, high = np.quantile(self.test.values, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


@dataclass(frozen=True, eq=False, repr=False)
class SystemsReport:
    """What `analyse_systems` found, and everything needed to say how.

    Parameters
    ----------
    system : RecurrentSystem
    annotation : str
    networks : sequence of Network
        The most concentrated first.
    lead : NullTest
        How far the first is above the second, among the same leads (of whichever is first) under the nulls.
    n_unlabelled : int
        Units that have no network, and take part in nothing.
    left_out : sequence of str
        Networks that were left out on request.
    dropped : sequence of Dropped
        Units without input, and those that had been left out before.
    policies : mapping
    rng : str
        The seed.
    call : str
    seconds : float
    """

    system: RecurrentSystem
    annotation: str
    networks: tuple[Network, ...]
    lead: NullTest
    n_unlabelled: int
    left_out: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    policies: Mapping[str, Any]
    rng: str
    call: str
    seconds: float

    @property
    def null(self) -> str:
        """The null that the networks are compared with."""
        return self.lead.model

    @property
    def observed_lead(self) -> float:
        """Concentration of the first network minus that of the second."""
        return self.networks[0].concentration - self.networks[1].concentration

    @property
    def concentrated(self) -> tuple[Network, ...]:
        """Networks with a corrected p of at most 0.05."""
        return tuple(each for each in self.networks if each.p_corrected <= _LEVEL)

    def to_dict(self, *, command: str = "") -> dict[str, Any]:
        """The report as in systems.json (schema 1)."""
        return {
            "schema": SCHEMA,
            "system": system_in_json(self.system, self.dropped),
            "annotation": self.annotation,
            "policies": dict(self.policies),
            "n_unlabelled": self.n_unlabelled,
            "left_out": list(self.left_out),
            "networks": [_in_json(network) for network in self.networks],
            "highest": {
                "network": self.networks[0].name,
                "second": self.networks[1].name,
                "lead": self.observed_lead,
                **self.lead.to_dict(),
            },
            "provenance": provenance_in_json(
                self.system, rng=self.rng, command=command or self.call, seconds=self.seconds
            ),
        }

    def sentence(self) -> str:
        """The answer in a few sentences, with its numbers."""
        first, second = self.networks[:2]
        found = [f"{each.name} (p = {each.p_corrected:.2g})" for each in self.concentrated]
        n = len(self.networks)
        if len(found) == n:
            verdict = f"each of the {n} is more so than the null gives"
        elif found:
            are = "is" if len(found) == 1 else "are"
            verdict = f"{len(found)} of {n} {are} more so than the null gives: {listed(found, most=20)}"
        else:
            verdict = f"none of the {n} is more so than the null gives"
        return (
            f"In {self.system.name}, similarity of input projections is most concentrated within {first.name} of "
            f"{self.annotation} ({first.within:.3f} within, {first.others:.3f} to others; then {second.name}, "
            f"{second.within:.3f} and {second.others:.3f}). Against {self.lead.n:,} nulls ({_IN_SHORT[self.null]}), "
            f"p corrected over the networks (Holm), {verdict}. {first.name} leads {second.name} by "
            f"{self.observed_lead:.3f}, p = {self.lead.p_value:.2g} for a lead that large of whichever is first."
        )

    def caution(self) -> str:
        """What these p-values cannot say; stands beside the answer wherever it is shown."""
        answer = f"What p cannot say here: {CONTROLS_FOR[self.null]} "
        if self.n_unlabelled:
            answer += f"{self.n_unlabelled:,} units without a network stay where they are and take part in nothing. "
        if lost := [f"{each.name} ({each.n_lost})" for each in self.networks if each.n_lost]:
            answer += f"Nulls that left a network fewer than two units count against it: {listed(lost, most=20)}. "
        return answer + (
            "The networks come from functional connectivity, as a rule: that units of one network share inputs is what "
            "the method asks, not proof of which causes which."
        )

    def save(self, folder: str | Path, *, command: str = "") -> Path:
        """Write systems.json, systems.tsv, systems.svg and systems.html; the path of the page."""
        from fctoolbox.report.systems import save_systems

        return save_systems(self, Path(folder), command=command)

    def __repr__(self) -> str:
        return (
            f"<SystemsReport of {self.system.name!r}: {len(self.networks)} networks of {self.annotation}, "
            f"{len(self.concentrated)} concentrated, highest {self.networks[0].name!r}>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(each.name)}</td><td>{each.n_units}</td><td>{each.concentration:.4f}</td>"
            f"<td>{each.test.p_value:.2g}</td><td>{each.p_corrected:.2g}</td></tr>"
            for each in self.networks
        )
        return (
            f"<p><b>{escape(self.system.name)}</b></p><p>{escape(self.sentence())}</p>"
            f"<p><i>{escape(self.caution())}</i></p><table><tr><th>network</th><th>units</th><th>concentration</th>"
            f"<th>p</th><th>p corrected</th></tr>{rows}</table>"
        )


def analyse_systems(
    system: RecurrentSystem | OriginReport,
    annotation: str = "yeo7",
    *,
    null: str = "auto",
    n_nulls: int = 1000,
    leave_out: Sequence[str] = (),
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
    workers: Workers | None = None,
) -> SystemsReport:
    """Ask of each network of an annotation whether similarity of input projections is concentrated within it.

    1. Units without input have no direction, and units without a network no question: they are left out, counted.
    2. For each unit: its mean similarity to the other units of its network minus that to all units of other networks.
       A network's *concentration* is the mean of that over its units; its effect sizes are taken over units.
    3. The annotation is put elsewhere (see `null`), as often as asked, and the concentration computed anew:
       p is the share of nulls at or above the observed value, corrected over the networks by Holm's method, which holds
       however the networks depend on each other.

    The two-sample t over pairs of units, which was published, is given as ``paper_t`` and tests nothing: millions
    of pairs of some thousand units, and these of some dozen patches of cortex, are not independent.

    Parameters
    ----------
    system : RecurrentSystem or OriginReport
        Of a report, the system as analysed.
    annotation : str
        One of the system's. Units labelled "none", "nan", "n/a", "???" or nothing have no network.
    null : {"auto", "spin", "regrow", "permutation"}
        ``"auto"``: ``spin`` where units lie on a sphere, else ``regrow`` where neighbours are known, else
        ``permutation``.
    n_nulls : int
    leave_out : sequence of str
        Networks whose units are treated as having none.
    rng : int, Generator or None
        Same `rng`, same report. None draws a seed, which the report names.
    n_jobs : int
        Threads; the result does not depend on it.
    workers : Workers, optional
        In place of `n_jobs`.

    Returns
    -------
    SystemsReport

    Raises
    ------
    InputError
        If there is no such annotation, fewer than two networks, a network of fewer than two units, or the null cannot
        be used.

    References
    ----------
    Tanner et al. 2023, arXiv:2310.20601, figure S12 (the question; its t is ``paper_t``); Alexander-Bloch et al.
    2018, NeuroImage 178:540 (spins); Kerby 2014, Comprehensive Psychology 3:11.IT.3.1 (rank-biserial correlation);
    Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    started = time.perf_counter()
    check_whole("n_nulls", n_nulls, 1)
    workers = workers or Workers(n_jobs)
    if isinstance(system, OriginReport):
        before, system = system.dropped, system.system
    else:
        before = tuple(Dropped(unit, reason) for unit, reason in system.provenance.left_out.items())
    check_networks(system, annotation, leave_out)
    labels = network_labels(system, annotation, leave_out)
    silent = units_without_input(system.projection.weights)
    used = np.flatnonzero((labels != "") & ~silent)
    found, number = np.unique(labels[used], return_inverse=True)
    names: list[str] = found.tolist()
    model, space = _space(system, used, null)
    rng, seed = seeded(rng)

    directions = directions_of(system.projection.select_units(used).weights)
    similarity = similarity_to_networks(directions, number)
    observed = concentrations(directions, number[None], len(names))[0]
    nulls = in_chunks(
        null_concentrations,
        n=n_nulls,
        chunk_size=_CHUNK,
        rng=rng,
        what=f"{model} nulls of networks",
        arguments={"model": model, "directions": directions, "labels": number, "space": space},
        workers=workers,
    )
    lost = np.isnan(nulls)
    nulls = np.where(lost, observed, nulls)
    tests = [significance(value, column, model=model) for value, column in zip(observed, nulls.T, strict=True)]
    corrected = holm([test.p_value for test in tests])
    if (smallest := len(names) / (1 + n_nulls)) > _LEVEL:
        warnings.warn(
            f"with {n_nulls} nulls and {len(names)} networks no corrected p can be below {min(1, smallest):.2g}; ask "
            f"for at least {int(np.ceil(len(names) / _LEVEL)) - 1} nulls",
            stacklevel=2,
        )
    published = edge_t(directions, number)
    order = sorted(range(len(names)), key=lambda g: (-observed[g], names[g]))
    networks = []
    for rank, g in enumerate(order, start=1):
        within, others = similarity[number == g].T
        t, n_pairs, _ = published[g]
        networks.append(
            Network(
                name=names[g],
                n_units=len(within),
                within=float(within.mean()),
                others=float(others.mean()),
                test=tests[g],
                p_corrected=float(corrected[g]),
                cohens_d=cohens_d(within - others),
                rank_biserial=rank_biserial(within - others),
                rank=rank,
                n_lost=int(lost[:, g].sum()),
                paper_t=None if np.isnan(t) else float(t),
                n_pairs=int(n_pairs),
            )
        )
    highest = np.sort(nulls, axis=1)[:, -2:]
    lead = significance(observed[order[0]] - observed[order[1]], highest[:, 1] - highest[:, 0], model=model)
    return SystemsReport(
        system=system,
        annotation=annotation,
        networks=tuple(networks),
        lead=lead,
        n_unlabelled=int(((labels == "") & ~silent).sum()),
        left_out=tuple(leave_out),
        dropped=(*before, *(Dropped(system.units[i], "receives no input") for i in np.flatnonzero(silent))),
        policies={
            "similarity": "cosine, uncentred; units without input dropped",
            "null": model if null == model else f"auto: {model}",
            "n_nulls": n_nulls,
            "correction": "Holm, over networks",
        },
        rng=seed,
        call=call_of(
            "analyse_systems",
            system,
            {
                "annotation": annotation,
                "null": model,
                "n_nulls": n_nulls,
                "leave_out": list(leave_out),
                "rng": int(seed) if seed.isdigit() else None,
            },
        ),
        seconds=time.perf_counter() - started,
    )


def network_labels(system: RecurrentSystem, annotation: str, leave_out: Sequence[str] = ()) -> NDArray[np.str_]:
    """The network of each unit; empty where it has none.

    Parameters
    ----------
    system : RecurrentSystem
    annotation : str
    leave_out : sequence of str

    Returns
    -------
    (n_units,) str

    Raises
    ------
    InputError
        If the system has no such annotation, or the annotation no such network.
    """
    if annotation not in system.annotations:
        known = list(system.annotations)
        there = (
            f"It has: {', '.join(known)}. " if known else "It has none: add one label per unit as an annotation. "
        ) + "On the command line a file can be given as well: CSV or TSV with a unit and a label column"
        raise InputError(
            f"{system.name!r} has no annotation named '{annotation}'.{suggestion(annotation, known)} {there}"
        )
    labels = np.array([label.strip() for label in system.annotations[annotation]], dtype=np.str_)
    for name in leave_out:
        if not (found := labels == name).any():
            known = _known(labels)
            raise InputError(
                f"annotation '{annotation}' has no network '{name}' to leave out.{suggestion(name, known)} "
                f"It has: {', '.join(known)}."
            )
        labels[found] = ""
    labels[[label.lower() in UNLABELLED for label in labels]] = ""
    return labels


def check_networks(system: RecurrentSystem, annotation: str, leave_out: Sequence[str] = ()) -> None:
    """Refuse an annotation of which nothing can be asked; cheap, so that it comes before anything that is not.

    Parameters
    ----------
    system : RecurrentSystem
    annotation : str
    leave_out : sequence of str

    Raises
    ------
    InputError
        If there is no such annotation, fewer than two networks, or a network of fewer than two units.
    """
    labels = network_labels(system, annotation, leave_out)
    labels = labels[(labels != "") & ~units_without_input(system.projection.weights)]
    counts = Counter(labels.tolist())
    if len(counts) < 2:
        what = f"a single network ({next(iter(counts))})" if counts else "no network at all"
        raise InputError(
            f"annotation '{annotation}' gives the units of {system.name!r} that receive input {what}; similarity "
            "within a network is compared with that to others, so two are needed"
        )
    if small := sorted(name for name, count in counts.items() if count < 2):
        have = "networks have only 1 unit each" if len(small) > 1 else "network has only 1 unit"
        raise InputError(
            f"annotation '{annotation}': {listed(small)}: {have} that receives input in {system.name!r}, and "
            f"similarity within a network needs two. Leave out (leave_out={small!r}; on the command line: "
            + " ".join(f'--leave-out "{name}"' for name in small)
            + ")"
        )


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values corrected by Holm's step-down method: the family-wise error holds under any dependence.

    Parameters
    ----------
    p_values : (n,) array

    Returns
    -------
    (n,) array

    References
    ----------
    Holm 1979, Scandinavian Journal of Statistics 6:65.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def cohens_d(differences: ArrayLike) -> float | None:
    """Mean difference of matched pairs in their standard deviations; None where these are zero."""
    values = np.asarray(differences, dtype=np.float64)
    sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / sd if sd > 1e-9 else None


def rank_biserial(differences: ArrayLike) -> float | None:
    """Matched-pairs rank-biserial correlation: (sum of the ranks of positive - of negative differences) / of all.

    Ranks are those of Wilcoxon's signed-rank test. None where all differences are zero.

    References
    ----------
    Kerby 2014, Comprehensive Psychology 3:11.IT.3.1.
    """
    from scipy.stats import rankdata

    values = np.asarray(differences, dtype=np.float64)
    values = values[np.abs(values) > 1e-12]
    if not len(values):
        return None
    ranks = rankdata(np.abs(values))
    return float((np.sign(values) * ranks).sum() / ranks.sum())


def _space(system: RecurrentSystem, used: NDArray[np.intp], null: str) -> tuple[str, Space]:
    """The null that is used, and what it needs to know of where the used units are."""
    if null not in (*NULLS, "auto"):
        raise InputError(
            f"no null of networks is named '{null}'.{suggestion(null, NULLS)} There are: {', '.join(NULLS)}, auto."
        )
    n_units = len(used)
    geometry = None if system.geometry is None else system.geometry.select_units(used, system.n_units)
    on_sphere = geometry is not None and geometry.surface is not None and geometry.surface.sphere is not None
    if null == "auto":
        null = "spin" if on_sphere else "permutation" if geometry is None else "regrow"
    if null == "permutation":
        return null, Space()
    if null == "regrow":
        return null, Space(neighbours=neighbours_of(_near(geometry, n_units), n_units, system.name))
    surface = None if geometry is None else geometry.surface
    if surface is None or surface.sphere is None:
        raise InputError(
            f"the null 'spin' turns the units on a sphere, and {system.name!r} has no surface with a sphere; use "
            "'regrow', which needs positions, distances or a mesh, or 'auto'"
        )
    return null, Space(sphere=sphere_positions(surface, n_units), hemispheres=unit_hemispheres(surface, n_units))


def _near(geometry: Geometry | None, n_units: int) -> Geometry | None:
    """The geometry that neighbours are taken from: of a few units the nearest, as `fctoolbox.chance` has it."""
    if geometry is None or n_units >= _FEW or (geometry.positions is None and geometry.distances is None):
        return geometry
    return replace(geometry, surface=None, volume=None)


def _known(labels: NDArray[np.str_]) -> list[str]:
    return sorted({label for label in labels.tolist() if label.lower() not in UNLABELLED})


def _in_json(network: Network) -> dict[str, Any]:
    low, high = network.null_interval()
    numbers = {name: value for name, value in asdict(replace(network, test=None)).items() if name != "test"}  # type: ignore[arg-type]
    return {
        **numbers,
        "concentration": network.concentration,
        "null": {**network.test.to_dict(), "low": low, "high": high},
    }
