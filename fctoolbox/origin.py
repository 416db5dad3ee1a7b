"""The main method: do units with similar input projections work together, and do their modules fit?"""

import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fctoolbox import edge_moments
from fctoolbox.chance import (
    CONTROLS_FOR,
    IN_SHORT,
    NEAREST,
    NULLS,
    Question,
    Space,
    chosen,
    chunk_size,
    is_large,
    null_names,
    null_statistics,
    space_of,
    statistics_of,
)
from fctoolbox.chunks import Workers, in_chunks
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.edge_moments import DensePairs, JointHistogram
from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.nulls.edges import DistanceBin, EdgeStatistics, correlation_by_distance
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.quality import OBJECTIVE, quality_of
from fctoolbox.randomness import generator
from fctoolbox.similarity import connectivity_of, constant_units, cosine_similarity, units_without_input
from fctoolbox.system import Floats, RecurrentSystem
from fctoolbox.threads import n_threads

SCHEMA = 1
MIN_UNITS = 4
N_RESTARTS = 100
N_RESTARTS_OF_MANY = 5  # each takes some 20 s at 30,000 units, and the modules of so many hardly differ between them


@dataclass(frozen=True)
class Dropped:
    """A unit that was left out of everything, and why."""

    unit: str
    reason: str


@dataclass(frozen=True)
class Relationship:
    """How similarity and functional connectivity go together over all pairs of units."""

    pearson_r: float
    spearman_rho: float
    nulls: tuple[NullTest, ...]
    # With a smooth function of distance taken out of both; None and empty where distances are not known.
    partial_r: float | None = None
    partial_nulls: tuple[NullTest, ...] = ()
    by_distance: tuple[DistanceBin, ...] = ()
    # How many pairs have a similarity and a connectivity between these edges; where there are too many to be drawn.
    joint: JointHistogram | None = None


@dataclass(frozen=True)
class InducedModularity:
    """Modularity of the functional connectivity under the partition of the similarity.

    `q_best` is that of the best partition found on the functional connectivity itself: the most `q` could be.
    """

    q: float
    q_best: float
    nulls: tuple[NullTest, ...]


@dataclass(frozen=True, eq=False, repr=False)
class OriginReport:
    """What `analyse_origin` found, and everything needed to say how.

    Parameters
    ----------
    system : RecurrentSystem
        As analysed: without the dropped units.
    dropped : sequence of Dropped
        Units without input, constant units, and those that the source or the reader had left out before.
    similarity, connectivity : (n_units, n_units) arrays
        Cosine similarity of the input projections; functional connectivity as Pearson r.
    communities : Communities
        Of the similarity.
    relationship : Relationship
    induced : InducedModularity
    policies : mapping
        The choices that the numbers depend on.
    rng : str
        The seed.
    call : str
        The call that made the report, with the source's options.
    seconds : float
        Wall time of the analysis.
    """

    system: RecurrentSystem
    dropped: tuple[Dropped, ...]
    similarity: Floats
    connectivity: Floats
    communities: Communities
    relationship: Relationship
    induced: InducedModularity
    policies: Mapping[str, Any]
    rng: str
    call: str
    seconds: float

    def to_dict(self, *, command: str = "") -> dict[str, Any]:
        """The report as in report.json (schema 1)."""
        return {
            "schema": SCHEMA,
            "system": system_in_json(self.system, self.dropped),
            "policies": dict(self.policies),
            "relationship": {
                "pearson_r": self.relationship.pearson_r,
                "spearman_rho": self.relationship.spearman_rho,
                "nulls": [null.to_dict() for null in self.relationship.nulls],
                "partial_r": self.relationship.partial_r,
                "partial_nulls": [null.to_dict() for null in self.relationship.partial_nulls],
                "by_distance": [asdict(each) for each in self.relationship.by_distance],
            },
            "communities": {
                "n": self.communities.n,
                "sizes": list(self.communities.sizes),
                "q": self.communities.q,
                "labels": "labels.tsv",
            },
            "induced_modularity": {
                "q": self.induced.q,
                "q_best": self.induced.q_best,
                "nulls": [null.to_dict() for null in self.induced.nulls],
            },
            "provenance": provenance_in_json(
                self.system, rng=self.rng, command=command or self.call, seconds=self.seconds
            ),
        }

    def sentence(self) -> str:
        """The answer in a sentence, with its numbers."""
        relationship, n = self.relationship, self.communities.n
        answer = (
            f"In {self.system.name}, similarity of input projections and functional connectivity are correlated at "
            f"r = {relationship.pearson_r:.3f} (Spearman ρ = {relationship.spearman_rho:.3f}) over "
            f"{self.system.n_units} units; "
        )
        if n == 1:
            return (
                answer + "the input projections form a single module, so there are none to impose on the connectivity."
            )
        nulls = "; ".join(_in_words(test) for test in self.induced.nulls)
        return answer + (
            f"the {n} modules found on the input projections alone, imposed on functional connectivity, reach an "
            f"induced Q* of {self.induced.q:.3f} ({nulls}), against {self.induced.q_best:.3f} for the best partition "
            "of functional connectivity itself."
        )

    def caution(self) -> str:
        """What these p-values cannot say; stands beside the answer wherever it is shown."""
        models = {test.model for test in self.induced.nulls}
        shapeless = models & {"permutation", "variogram", "moran"}
        answer = "What p cannot say here: neighbouring units share inputs and activity for many reasons. "
        if self.system.projection.weights.shape[1] == 1:
            answer += "With one input the cosine is 1 or -1: modules are the signs of its weights. "
        if shapeless == models:
            answer += (
                "These nulls do not keep modules in one piece, so that compact modules beat them whether inputs matter "
                "or not. "
            )
        elif shapeless:
            names = listed(test.model for test in self.induced.nulls if test.model in shapeless)
            answer += f"Compact modules beat {names} whether inputs matter or not. "
        if self.relationship.partial_r is None:
            answer += "Where both fall with distance, r is high by that alone; distances are not known here. "
        else:
            answer += "Where both fall with distance, r is high by that alone; r without distance is not. "
        return (
            answer
            + "Read r, and the induced Q* beside the best one, as the size of an association and not as its cause."
        )

    def controls(self) -> dict[str, str]:
        """What each null that was asked controls for, in a sentence or two."""
        more = {"spin": f" {NEAREST}"} if "spin" in self.policies else {}
        return {test.model: CONTROLS_FOR[test.model] + more.get(test.model, "") for test in self.induced.nulls}

    def save(self, folder: str | Path, *, command: str = "") -> Path:
        """Write report.json, report.html, labels.tsv and the figures (SVG, PNG); the path of the page.

        A system whose geometry is a volume gets modules.nii.gz and units.nii.gz as well, and one whose source has files
        of its own kind to write (`Source.write_outputs`) these.
        """
        from fctoolbox.report import save_report

        return save_report(self, Path(folder), command=command)

    def __repr__(self) -> str:
        return (
            f"<OriginReport of {self.system.name!r}: r = {self.relationship.pearson_r:.3f}, "
            f"{self.communities.n} modules, induced Q* = {self.induced.q:.3f}>"
        )

    def _repr_html_(self) -> str:
        tests = "".join(
            f"<tr><td>{escape(statistic)}</td><td>{observed:.4f}</td><td>{escape(test.model)}</td>"
            f"<td>{test.mean:.4f} ± {test.sd:.4f}</td><td>{test.p_value:.2g}</td></tr>"
            for statistic, observed, nulls in (
                ("Pearson r", self.relationship.pearson_r, self.relationship.nulls),
                ("induced Q*", self.induced.q, self.induced.nulls),
            )
            for test in nulls
        )
        n = len(self.dropped)
        names = escape(listed([each.unit for each in self.dropped]))
        dropped = f"<p>{n} unit{'s' * (n > 1)} left out: {names}.</p>" if n else ""
        return (
            f"<p><b>{escape(self.system.name)}</b></p><p>{escape(self.sentence())}</p>"
            f"<p><i>{escape(self.caution())}</i></p>{dropped}"
            "<table><tr><th>statistic</th><th>observed</th><th>null</th><th>null mean ± sd</th><th>p</th></tr>"
            f"{tests}</table>"
        )


def _in_words(test: NullTest) -> str:
    # What a null does is said in full: "chance" would promise more than a permutation can.
    arrangement = IN_SHORT[test.model]
    floor = ", the smallest possible" if test.p_value <= 1 / (1 + test.n) else ""
    return f"{arrangement}: {test.mean:.3f} ± {test.sd:.3f}, p = {test.p_value:.2g} of {test.n:,} nulls{floor}"


def analyse_origin(
    system: RecurrentSystem,
    *,
    null: str | Sequence[str] = "permutation",
    n_nulls: int = 1000,
    n_restarts: int | None = None,
    resolution: float = 1.0,
    constant_units: Literal["drop", "error"] = "drop",
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
    workers: Workers | None = None,
) -> OriginReport:
    """Ask whether units with similar input projections work together, and whether the modules of the one fit the other.

    1. Units without input have no direction, and constant units no correlation: they are left out, named.
    2. Cosine similarity of the rows of the input projection; functional connectivity as Pearson r.
    3. Their relationship over all pairs of units (upper triangle).
    4. Communities of the similarity (Q*, diagonal zero), imposed on the functional connectivity: induced Q*.
    5. Both are compared with nulls. ``permutation``, ``spin`` and ``projection`` re-arrange pairs of units, so they
       speak about the relationship (a Mantel test of r, and of r without distance where distances are known) and
       about the induced Q*; ``variogram``, ``moran`` and ``regrow`` arrange the modules alone, and speak about the
       induced Q*. What each controls for is in `fctoolbox.chance.CONTROLS_FOR` and in every report.

    Parameters
    ----------
    system : RecurrentSystem
    null : {"permutation", "variogram", "spin", "moran", "regrow", "projection", "auto"} or several of them
        ``"auto"`` follows the calibration: ``projection`` where positions or distances are known, which keeps all that
        depends on distance alone; else ``permutation``, which keeps nothing spatial. Of more than 5,000 units it takes
        ``spin`` where there is a sphere, else ``regrow``.
    n_nulls : int
    n_restarts : int, optional
        Of the community detection, on the similarity and on the functional connectivity. By default 100, and 5 of more
        than 5,000 units.
    resolution : float
        γ of the modularity.
    constant_units : {"drop", "error"}
    rng : int, Generator or None
        Same `rng`, same report. None draws a seed, which the report names.
    n_jobs : int
        Threads; the result does not depend on it.
    workers : Workers, optional
        In place of `n_jobs`, where nulls go to a dask cluster, or their finished chunks are not to be kept.

    Returns
    -------
    OriginReport

    Raises
    ------
    InputError
        If too few units remain, similarity or connectivity is the same for all pairs, or a null or another setting
        cannot be used.

    Notes
    -----
    Of more than 5,000 units (`fctoolbox.edge_moments.LARGE`) no list of all pairs is made: r, ρ and r without distance
    come from sums over the matrices where they lie (memory maps included), distances from the positions. With 29,696
    units, the similarity and a memory-mapped connectivity take 3.5 GB each, and little comes to that. The nulls
    ``variogram``, ``moran`` and ``projection``, which need all distances, are then refused.

    References
    ----------
    Tanner et al. 2023, arXiv:2310.20601.
    """
    started = time.perf_counter()
    check_whole("n_nulls", n_nulls, 1)
    workers = workers or Workers(n_jobs)
    n_jobs = workers.n_jobs
    rng, seed = seeded(rng)
    rng_similarity, rng_connectivity, *rng_nulls = rng.spawn(2 + len(NULLS))

    analysed, dropped = usable(system, constant_units)
    if n_restarts is None:
        n_restarts = N_RESTARTS_OF_MANY if is_large(analysed.n_units) else N_RESTARTS
    models = null_names(null, analysed.geometry, analysed.n_units)
    space = space_of(analysed, models)
    similarity = cosine_similarity(analysed.projection.weights)
    connectivity = connectivity_of(analysed.activity)
    for matrix in (similarity, connectivity):
        matrix.flags.writeable = False

    observed, pairs = _relationship(similarity, connectivity, space, n_jobs)
    # Restarts of many units take so long that each is kept; those of few are over before.
    kept = replace(workers, backend="threads", scheduler=None) if is_large(analysed.n_units) else None
    settings: dict[str, Any] = {"resolution": resolution, "n_restarts": n_restarts, "n_jobs": n_jobs, "workers": kept}
    communities = detect_communities(similarity, rng=rng_similarity, **settings)
    own = detect_communities(connectivity, rng=rng_connectivity, **settings)
    quality = quality_of(connectivity, resolution=resolution, n_jobs=n_threads(n_jobs))
    induced_q = float(quality.of(communities.labels[None], n_jobs=n_threads(n_jobs))[0])

    statistics = {"q": induced_q, "r": observed.pearson_r, "partial_r": observed.partial_r}
    question = Question(
        communities.labels, similarity, connectivity, analysed.projection.weights, space, resolution, quality, pairs
    )
    tests: dict[str, list[NullTest]] = {"q": [], "r": [], "partial_r": []}
    for model in models:
        rng_null = rng_nulls[NULLS.index(model)]  # a null's draws do not depend on which others are asked for
        values = in_chunks(
            null_statistics,
            n=n_nulls,
            chunk_size=chunk_size(model, analysed.n_units),
            rng=rng_null,
            what=f"{model} nulls",
            arguments={"model": model, "question": question},
            workers=workers,
        )
        for name, column in zip(statistics_of(model, space), values.T, strict=True):
            value = statistics[name]
            assert value is not None  # a null speaks of r without distance where it is known
            tests[name].append(significance(value, column, model=model))

    return OriginReport(
        system=analysed,
        dropped=dropped,
        similarity=similarity,
        connectivity=connectivity,
        communities=communities,
        relationship=replace(observed, nulls=tuple(tests["r"]), partial_nulls=tuple(tests["partial_r"])),
        # The best of all partitions seen: a short search must not end below the one it is compared with.
        induced=InducedModularity(induced_q, max(own.q, induced_q), tuple(tests["q"])),
        policies={
            "similarity": "cosine, uncentred; units without input dropped",
            "diagonal": "zero",
            "constant_units": constant_units,
            "fc_scale": fc_scale(analysed),
            "objective": OBJECTIVE,
            "resolution": resolution,
            "n_restarts": n_restarts,
            "null": chosen(null, models, analysed.n_units),
            **_policies_of_many(analysed, models, space),
        },
        rng=seed,
        call=call_of(
            "analyse_origin",
            analysed,
            {
                "null": models,
                "n_nulls": n_nulls,
                "n_restarts": n_restarts,
                "resolution": resolution,
                "constant_units": constant_units,
                "rng": int(seed) if seed.isdigit() else None,
            },
        ),
        seconds=time.perf_counter() - started,
    )


def _relationship(
    similarity: Floats, connectivity: Floats, space: Space, n_jobs: int
) -> tuple[Relationship, DensePairs | None]:
    """The relationship without its nulls; and of many units what their nulls begin with."""
    if not is_large(len(similarity)):
        pearson_r, spearman_rho = correlations(similarity, connectivity)
        if space.distances is None:
            return Relationship(pearson_r, spearman_rho, ()), None
        partial_r = EdgeStatistics.of(connectivity, space.distances).partial_r(similarity)
        by_distance = correlation_by_distance(similarity, connectivity, space.distances)
        return Relationship(pearson_r, spearman_rho, (), partial_r, (), by_distance), None
    pairs = DensePairs.of(connectivity, space.positions, n_jobs=n_threads(n_jobs))
    found = pairs.statistics(similarity)
    assert found.spearman_rho is not None  # it is left out where the similarity is not at hand alone
    relationship = Relationship(
        found.pearson_r, found.spearman_rho, (), found.partial_r, (), found.by_distance, found.joint
    )
    return relationship, replace(pairs, n_jobs=1)  # nulls share the threads already, a chunk each


def _policies_of_many(system: RecurrentSystem, models: Sequence[str], space: Space) -> dict[str, str]:
    """What is done in another way because there are many units, in words."""
    policies = {}
    if "spin" in models and space.assignment == "nearest":
        policies["spin"] = "nearest turned unit; sizes of modules change somewhat"
    if is_large(system.n_units):
        policies["pairs"] = (
            f"more than {edge_moments.LARGE:,} units: ρ from ranks of values rounded to 1e-6"
            + ("; distance in 256 classes" if space.positions is not None else "")
            + ("; distances between units are not used" if _unused_distances(system) else "")
        )
    return policies


def _unused_distances(system: RecurrentSystem) -> bool:
    geometry = system.geometry
    return geometry is not None and geometry.positions is None and geometry.distances is not None


def system_in_json(system: RecurrentSystem, dropped: Sequence[Dropped]) -> dict[str, Any]:
    """What was analysed, as every JSON file says it."""
    provenance = system.provenance
    return {
        "name": system.name,
        "n_units": system.n_units,
        "n_inputs": system.projection.n_inputs,
        "species": provenance.species,
        "citation": provenance.citation,
        "license": provenance.license,
        "dropped": [{"unit": each.unit, "reason": each.reason} for each in dropped],
    }


def provenance_in_json(system: RecurrentSystem, *, rng: str, command: str, seconds: float) -> dict[str, Any]:
    """What a result came from, as every JSON file says it."""
    return {
        "versions": software(system),
        "files": [{"name": file.name, "sha256": file.sha256} for file in system.provenance.files],
        "notes": dict(system.provenance.notes),
        "rng": rng,
        "command": command,
        "seconds": round(seconds, 3),
    }


def software(system: RecurrentSystem) -> dict[str, str]:
    """Versions of Python, fctoolbox, and the distributions that took part in making and analysing a system."""
    names = ["fctoolbox", "numpy", "scipy", "numba", *system.provenance.packages]
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def seeded(rng: int | np.random.Generator | None) -> tuple[np.random.Generator, str]:
    """The generator that `rng` stands for, and in words the seed that repeats it."""
    if isinstance(rng, np.random.Generator):
        return rng, f"a {type(rng.bit_generator).__name__} generator that was handed in"
    seed = np.random.SeedSequence().entropy if rng is None else rng
    return generator(seed), str(int(seed))  # type: ignore[arg-type]


def usable(system: RecurrentSystem, policy: str) -> tuple[RecurrentSystem, tuple[Dropped, ...]]:
    """The system without the units that nothing can be said about, and which these are.

    Parameters
    ----------
    system : RecurrentSystem
    policy : {"drop", "error"}
        What to do with units that never change; those without input are always left out.

    Raises
    ------
    InputError
        If too few units remain, or constant ones are refused.
    """
    if policy not in ("drop", "error"):
        raise InputError(f"constant_units is {policy!r}; it must be 'drop' or 'error'")
    reasons = {int(i): "receives no input" for i in np.flatnonzero(units_without_input(system.projection.weights))}
    if system.activity.connectivity is None and system.activity.timeseries is not None:
        constant = [int(i) for i in np.flatnonzero(constant_units(system.activity.timeseries))]
        if constant and policy == "error":
            raise InputError(
                f"units [{listed(system.units[i] for i in constant)}] are constant, so they have no correlation; "
                "constant_units='drop' (on the command line: --constant-units drop) leaves them out"
            )
        for i in constant:
            reasons[i] = f"{reasons[i]}; constant" if i in reasons else "constant"
    kept = np.array([i for i in range(system.n_units) if i not in reasons], dtype=np.intp)
    if len(kept) < MIN_UNITS:
        left_out = listed(f"{system.units[i]} ({why})" for i, why in sorted(reasons.items()))
        raise InputError(
            f"only {len(kept)} of the {system.n_units} units of {system.name!r} receive input and vary; "
            f"at least {MIN_UNITS} are needed" + (f". Left out: {left_out}" if left_out else "")
        )
    before = [Dropped(unit, reason) for unit, reason in system.provenance.left_out.items()]
    return system.select_units(kept), (*before, *(Dropped(system.units[i], reasons[i]) for i in sorted(reasons)))


def correlations(similarity: Floats, connectivity: Floats) -> tuple[float, float]:
    """Pearson and Spearman correlation of similarity and connectivity over all pairs of units.

    Raises
    ------
    InputError
        If one of the two is the same for every pair.
    """
    from scipy.stats import rankdata

    if is_large(len(similarity)):
        found = DensePairs.of(connectivity).statistics(similarity)
        assert found.spearman_rho is not None
        return found.pearson_r, found.spearman_rho
    pairs = np.triu_indices(len(similarity), 1)
    edges = {
        "similarity of the input projections": similarity[pairs],
        "functional connectivity": connectivity[pairs],
    }
    for what, values in edges.items():
        if np.ptp(values) <= max(1e-12, float(32 * np.finfo(values.dtype).eps)):
            raise InputError(
                f"the {what} is {values[0]:g} for every pair of units, so there is nothing to relate or to partition"
                + (" (do all units receive the same pattern, or only one input?)" if "input" in what else "")
            )
    one, other = edges.values()
    ranks = [rankdata(_unrounded(each)) for each in (one, other)]
    return float(np.corrcoef(one, other)[0, 1]), float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _unrounded(values: Floats) -> Floats:
    # Equal values that rounding has set apart are ties, which share a rank.
    return np.asarray(np.round(values, 12 if values.dtype == np.float64 else 6))


def fc_scale(system: RecurrentSystem) -> str:
    """How the functional connectivity came, and what was made of it."""
    if system.activity.connectivity is None:
        return "pearson-r of the time series"
    return "fisher-z, brought to r by tanh" if system.activity.scale == "fisher-z" else "pearson-r"


def call_of(function: str, system: RecurrentSystem, settings: Mapping[str, Any]) -> str:
    """The call that repeats a result; a system made by hand stands in it as ``system``."""
    source = system.provenance.source
    options = "".join(f", {name}={value!r}" for name, value in system.provenance.options.items())
    loaded = f'fct.load("{source}"{options})' if source else "system"
    return f"fct.{function}({loaded}{''.join(f', {name}={value!r}' for name, value in settings.items())})"
