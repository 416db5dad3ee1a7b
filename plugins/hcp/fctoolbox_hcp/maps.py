"""A map of the cortex compared with the modules of the input projections, and with the strength of the inputs."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, check_whole
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.nulls.spin import sphere_positions, spin, unit_hemispheres
from fctoolbox.origin import OriginReport, seeded
from fctoolbox_hcp.outputs import input_strength, surface_of
from fctoolbox_hcp.surface_maps import Paths, Which, fetch_map, is_file, read_map

_LEAST = 4  # units with a value
_AT_ONCE = 2**22  # values of turned maps: 32 MB


@dataclass(frozen=True)
class ModuleMean:
    """The values of a map within one module.

    Parameters
    ----------
    module : int
    n_units : int
        With a value.
    mean, sd : float
        Over these units; sd is 0 for a single one.
    """

    module: int
    n_units: int
    mean: float
    sd: float


@dataclass(frozen=True, eq=False, repr=False)
class MapComparison:
    """What `compare_map` found.

    Parameters
    ----------
    name : str
        Of the map.
    system : str
        Name of the system.
    n_units : int
        With a value.
    n_without : int
        Units without a value, which take part in nothing.
    modules : sequence of ModuleMean
    eta_squared : float
        The share of the map's variance over units that lies between modules.
    f : float or None
        The same as the F of an analysis of variance; None where nothing varies within modules. Its own p would take
        neighbouring units for independent: use that of `eta_test`.
    eta_test, pearson_test, spearman_test : NullTest
        Of ``eta_squared``, ``|pearson_r|`` and ``|spearman_rho|`` among those of the map turned on the sphere.
    pearson_r, spearman_rho : float
        With the input strength (sum of the weights onto a unit).
    rng : str
        The seed.
    """

    name: str
    system: str
    n_units: int
    n_without: int
    modules: tuple[ModuleMean, ...]
    eta_squared: float
    f: float | None
    eta_test: NullTest
    pearson_r: float
    pearson_test: NullTest
    spearman_rho: float
    spearman_test: NullTest
    rng: str

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return {
            "map": self.name,
            "system": self.system,
            "n_units": self.n_units,
            "n_without": self.n_without,
            "modules": [asdict(each) for each in self.modules],
            "eta_squared": self.eta_squared,
            "f": self.f,
            "eta_null": self.eta_test.to_dict(),
            "input_strength": {
                "pearson_r": self.pearson_r,
                "pearson_null": self.pearson_test.to_dict(),
                "spearman_rho": self.spearman_rho,
                "spearman_null": self.spearman_test.to_dict(),
            },
            "rng": self.rng,
        }

    def sentence(self) -> str:
        """The answer in a sentence, with its numbers."""
        without = f" ({self.n_without:,} have no value)" if self.n_without else ""
        return (
            f"Over {self.n_units:,} units of {self.system}{without}, {100 * self.eta_squared:.1f} % of the variance of "
            f"{self.name} lies between the {len(self.modules)} modules (η², spins of the map: "
            f"{100 * self.eta_test.mean:.1f} ± {100 * self.eta_test.sd:.1f} %, p = {self.eta_test.p_value:.2g}); its "
            f"correlation with the input strength is r = {self.pearson_r:.3f} (two-sided p = "
            f"{self.pearson_test.p_value:.2g}), Spearman ρ = {self.spearman_rho:.3f} (p = "
            f"{self.spearman_test.p_value:.2g}); {self.eta_test.n:,} spins."
        )

    def __repr__(self) -> str:
        return (
            f"<MapComparison of {self.name!r}: η² = {self.eta_squared:.3f} (p = {self.eta_test.p_value:.2g}), "
            f"r = {self.pearson_r:.3f} (p = {self.pearson_test.p_value:.2g})>"
        )


def compare_map(
    report: OriginReport,
    source: Paths,
    *,
    which: Which = 0,
    n_nulls: int = 1000,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> MapComparison:
    """Ask whether a map of the cortex differs between the modules of a report, and goes with the input strength.

    1. A unit's value is the mean of the map over its vertices that have one; units without any are left out, counted.
    2. η² and F over modules; Pearson's r and Spearman's ρ with the sum of each unit's weights.
    3. The map is turned on the sphere (`fctoolbox.nulls.spin`, ``assignment="nearest"``), the same turns for all, and
       each statistic computed anew. p of η² is one-sided, p of r and ρ two-sided. The units without a value neither
       give nor receive one.

    Parameters
    ----------
    report : OriginReport
        Of a system whose geometry is a surface with a sphere.
    source : path, or one for each hemisphere, or str
        Files as for `read_map`; anything else is taken for the name of a neuromaps annotation (`fetch_map`).
    which : int or str
        The map, counted from 0 or by name, in a file of several.
    n_nulls : int
    rng : int, Generator or None
    n_jobs : int
        Threads; the result does not depend on it.

    Returns
    -------
    MapComparison

    Raises
    ------
    InputError
        If the map cannot be read, is of another mesh, has the same value everywhere, or there is no sphere.

    References
    ----------
    Alexander-Bloch et al. 2018, NeuroImage 178:540 (spins); Markello et al. 2022, Nature Methods 19:1472 (neuromaps).
    """
    check_whole("n_nulls", n_nulls, 1)
    system = report.system
    surface = surface_of(system)
    sphere = sphere_positions(surface, system.n_units)  # before anything is read: it refuses a surface without one
    hemispheres = np.array(unit_hemispheres(surface, system.n_units))
    on_vertices = read_map(source, surface, which=which) if is_file(source) else fetch_map(str(source), surface)
    name = _name(source, which)
    values = unit_means(on_vertices, surface.unit_of_vertex, system.n_units)
    used = np.flatnonzero(np.isfinite(values))
    if len(used) < _LEAST:
        raise InputError(f"{name} has a value in {len(used)} units of {system.name!r}; at least {_LEAST} are needed")
    values, labels = values[used], report.communities.labels[used]
    strength = input_strength(system.projection.weights)[used]
    for what, its in ((name, values), ("the input strength", strength)):
        if np.ptp(its) <= 1e-9 * max(1.0, float(np.abs(its).max())) * (len(its) > 0):
            raise InputError(f"{what} is {its[0]:g} in every unit, so there is nothing to compare")
    present = np.unique(labels)
    if len(present) < 2:
        raise InputError(f"the units in which {name} has a value belong to one module; two are needed to compare")

    from scipy.stats import rankdata

    statistics = _Statistics(np.searchsorted(present, labels), strength, rankdata(strength))
    ranks = rankdata(values)
    eta, r, rho = statistics.of(values[None], ranks[None])[0]
    rng, seed = seeded(rng)
    orders = spin(
        sphere[used],
        hemispheres=hemispheres[used].tolist(),
        n_nulls=n_nulls,
        rng=rng,
        assignment="nearest",
        n_jobs=n_jobs,
    )
    nulls = np.concatenate([statistics.of(values[part], ranks[part]) for part in _parts(orders)])
    n, n_modules = len(used), len(present)
    within = (1 - eta) / (n - n_modules) if n > n_modules else 0.0
    return MapComparison(
        name=name,
        system=system.name,
        n_units=n,
        n_without=system.n_units - n,
        modules=tuple(_module_mean(int(module), values[labels == module]) for module in present),
        eta_squared=float(eta),
        f=float(eta / (n_modules - 1) / within) if within > 1e-12 else None,
        eta_test=significance(float(eta), nulls[:, 0], model="spin"),
        pearson_r=float(r),
        pearson_test=significance(abs(float(r)), np.abs(nulls[:, 1]), model="spin"),
        spearman_rho=float(rho),
        spearman_test=significance(abs(float(rho)), np.abs(nulls[:, 2]), model="spin"),
        rng=seed,
    )


def unit_means(values: NDArray[np.float64], unit_of_vertex: NDArray[Any], n_units: int) -> NDArray[np.float64]:
    """Mean over the vertices of each unit that have a value; NaN for units without any.

    Parameters
    ----------
    values : (n_vertices,) array
        NaN where there is none.
    unit_of_vertex : (n_vertices,) integers
        Negative where there is none.
    n_units : int

    Returns
    -------
    (n_units,) array
    """
    there = np.isfinite(values) & (unit_of_vertex >= 0)
    counts = np.bincount(unit_of_vertex[there], minlength=n_units)
    sums = np.bincount(unit_of_vertex[there], values[there], minlength=n_units)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


@dataclass(frozen=True, eq=False)
class _Statistics:
    """What stays where it is while a map turns: modules, input strength, and its ranks."""

    labels: NDArray[np.intp]
    strength: NDArray[np.float64]
    ranked: NDArray[np.float64]

    def of(self, maps: NDArray[np.float64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """η², r and ρ of each of some maps; (n_maps, 3) array."""
        sizes = np.bincount(self.labels)
        centred = maps - maps.mean(axis=1, keepdims=True)
        sums = centred @ np.eye(len(sizes))[self.labels]
        total = (centred**2).sum(axis=1)
        between = (sums**2 / sizes).sum(axis=1)
        eta = np.divide(between, total, out=np.zeros(len(maps)), where=total > 0)
        return np.column_stack([eta, _correlation(maps, self.strength), _correlation(ranks, self.ranked)])


def _correlation(maps: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r of each map with another; 0 for a map that is the same everywhere."""
    centred, fixed = maps - maps.mean(axis=1, keepdims=True), other - other.mean()
    lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(fixed)
    return np.asarray(np.divide(centred @ fixed, lengths, out=np.zeros(len(maps)), where=lengths > 0))


def _parts(orders: NDArray[np.int32]) -> Iterator[NDArray[np.int32]]:
    at_once = max(1, _AT_ONCE // orders.shape[1])
    for start in range(0, len(orders), at_once):
        yield orders[start : start + at_once]


def _module_mean(module: int, values: NDArray[np.float64]) -> ModuleMean:
    sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return ModuleMean(module, len(values), float(values.mean()), sd)


def _name(source: Paths, which: Which) -> str:
    if not is_file(source):
        return str(source)
    if isinstance(source, str | os.PathLike):
        paths = [source]
    else:
        paths = list(source.values() if isinstance(source, Mapping) else source)
    names = " and ".join(Path(path).name for path in paths)
    return f"{names} ({which if isinstance(which, str) else f'map {which}'})" if which else names
