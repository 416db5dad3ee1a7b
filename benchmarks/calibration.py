"""Do the nulls keep their word? False-positive rates and power on simulated systems, all of them SYNTHETIC.

``make bench BENCH=calibration`` is the short version (a few settings and simulations, under five minutes);
``python benchmarks/calibration.py --full`` wrote the table in ``docs/explanation/nulls.md``.

Projections and functional connectivity (FC) are smooth maps on the same units. In the settings without relation they
are drawn independently: a null that claims validity may reject in 5 % of the simulations. With a relation, FC is made
through the projection, and rejections are what is wanted.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

import fctoolbox as fct
from fctoolbox.chance import NULLS, Question, Space, null_statistics, statistics_of
from fctoolbox.nulls.edges import EdgeStatistics

ALPHA = 0.05
RADIUS = 50.0  # mm


@dataclass(frozen=True)
class Setting:
    """One kind of simulated system.

    Parameters
    ----------
    layout : str
        ``sphere`` (points all over it), ``volume`` (a ball), ``scattered`` (one half
        of a sphere, as areas of a hemisphere).
    n_units : int
    projection_scale, fc_scale : float
        Length scale of the maps, mm, on a radius of 50 mm.
    connectivity : str
        ``networks``: time series of 12 smooth networks; ``distance``: so many that FC depends on distance alone.
    relation : float
        Share of the signal that comes through the projection; 0 is none.
    skewed : bool
        Log-normal weights in place of half-normal ones.
    counts : bool
        Weights are Poisson counts around log-normal rates of 0.5 on average: most are 0.
    unequal : bool
        Inputs of unequal strength (a log-normal factor each), and half-normal weights down to 0 in place of 0.05.
    partition : str
        ``found`` on the projection, or ``compact``: an arbitrary Voronoi partition.
    """

    layout: str
    n_units: int
    projection_scale: float
    fc_scale: float
    connectivity: str
    relation: float = 0.0
    partition: str = "found"
    skewed: bool = False
    unequal: bool = False
    counts: bool = False

    @property
    def weights(self) -> str:
        """How they are distributed."""
        return "count" if self.counts else "log-normal" if self.skewed else "half-normal"

    def __str__(self) -> str:
        kind = (
            "compact, arbitrary partition"
            if self.partition == "compact"
            else f"{'unequal ' if self.unequal else ''}{self.weights} projection {self.projection_scale:g} mm"
        )
        related = f", **{self.relation:.0%} through the projection**" if self.relation else ""
        return f"{self.layout}, {self.n_units} units, {kind}, FC {self.connectivity} {self.fc_scale:g} mm{related}"


SHORT = [
    Setting("sphere", 100, 25, 25, "networks"),
    Setting("scattered", 40, 25, 25, "distance", skewed=True),
    Setting("sphere", 100, 25, 25, "networks", partition="compact"),
    Setting("sphere", 100, 25, 25, "networks", relation=0.5),
]
FULL = [
    *(
        Setting(layout, n_units, scale, scale, connectivity, skewed=skewed)
        for layout, n_units in (("sphere", 120), ("scattered", 60))
        for scale, connectivity, skewed in (
            (25, "networks", False),
            (40, "networks", False),
            (25, "distance", False),
            (25, "networks", True),
            (25, "distance", True),
        )
    ),
    *(
        Setting("scattered", 60, 25, 25, connectivity, skewed=skewed, unequal=True)
        for connectivity in ("networks", "distance")
        for skewed in (False, True)
    ),
    *(Setting("scattered", 60, 25, 25, connectivity, counts=True) for connectivity in ("networks", "distance")),
    *(Setting("volume", 120, 25, 25, connectivity) for connectivity in ("networks", "distance")),
    *(Setting("scattered", 20, 25, 25, connectivity) for connectivity in ("networks", "distance")),
    Setting("sphere", 400, 25, 25, "networks"),
    Setting("sphere", 120, 25, 25, "networks", partition="compact"),
    Setting("scattered", 60, 25, 25, "distance", partition="compact"),
    *(
        Setting(layout, n_units, 25, 25, "networks", relation=0.5)
        for layout, n_units in (("sphere", 120), ("scattered", 60), ("scattered", 20))
    ),
]


def positions(setting: Setting, rng: np.random.Generator) -> np.ndarray:
    """Where the units are, mm."""
    points = rng.standard_normal((setting.n_units, 3))
    points *= RADIUS / np.linalg.norm(points, axis=1, keepdims=True)
    if setting.layout == "volume":
        points *= rng.random((setting.n_units, 1)) ** (1 / 3)
    elif setting.layout == "scattered":
        points[:, 0] = -np.abs(points[:, 0])  # one hemisphere
    return points


def simulate(setting: Setting, rng: np.random.Generator):
    """Positions, projection and functional connectivity of one synthetic system."""
    from fctoolbox.nulls.fields import smooth_fields

    where = positions(setting, rng)
    distances = fct.nulls.euclidean_distances(where)
    inputs = smooth_fields(distances, length_scale=setting.projection_scale, n_fields=35, rng=rng)
    weights = np.exp(inputs.T) if setting.skewed else np.maximum(inputs.T, 0) + (0 if setting.unequal else 0.05)
    if setting.counts:
        weights = rng.poisson(0.3 * np.exp(inputs.T)).astype(float)
    if setting.unequal:
        weights *= np.exp(rng.standard_normal(weights.shape[1]))
    n_networks, n_times = (12, 300) if setting.connectivity == "networks" else (300, 1000)
    maps = smooth_fields(distances, length_scale=setting.fc_scale, n_fields=n_networks, rng=rng)
    signal = rng.standard_normal((n_times, n_networks)) @ maps / np.sqrt(n_networks)
    if setting.relation:
        through = rng.standard_normal((n_times, 35)) @ inputs / np.sqrt(35)
        signal = np.sqrt(setting.relation) * through + np.sqrt(1 - setting.relation) * signal
    noise = 0.3 * rng.standard_normal(signal.shape)
    return where, distances, weights, fct.functional_connectivity(signal + noise)


def p_values(setting: Setting, seed: int, n_nulls: int, models: Sequence[str] = NULLS) -> dict[tuple[str, str], float]:
    """p of each statistic under each null, in one simulated system."""
    from fctoolbox.nulls.graph import nearest_graph

    rng = np.random.default_rng([seed, *str(setting).encode()])
    where, distances, weights, connectivity = simulate(setting, rng)
    similarity = fct.cosine_similarity(weights)
    if setting.partition == "compact":
        seeds = rng.choice(setting.n_units, 6, replace=False)
        labels = distances[:, seeds].argmin(axis=1)
    else:
        labels = fct.detect_communities(similarity, n_restarts=5, rng=rng).labels
    space = Space(distances, nearest_graph(distances, k=6), where)
    question = Question(labels, similarity, connectivity, weights, space)
    edges = EdgeStatistics.of(connectivity, distances)
    observed = {
        "q": fct.modularity(connectivity, labels),
        "r": edges.pearson_r(similarity),
        "partial_r": edges.partial_r(similarity),
    }
    warnings.simplefilter("ignore")  # a boundary that cannot be matched is part of what is measured
    found = {}
    for model in models:
        if model == "spin" and setting.layout != "sphere":
            continue
        if model == "projection" and setting.partition == "compact":
            continue
        values = null_statistics(model, question, n_nulls=n_nulls, rng=rng)
        for name, column in zip(statistics_of(model, space), values.T, strict=True):
            if setting.partition == "found" or name == "q":
                found[model, name] = fct.nulls.significance(observed[name], column, model=model).p_value
    return found


def interval(hits: int, n: int) -> tuple[float, float]:
    """Binomial interval of 95 % (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)


def table(settings: list[Setting], n_simulations: int, n_nulls: int, models: Sequence[str], jobs: int) -> Iterator[str]:
    """Markdown: a row for each setting and statistic, a column for each null."""
    names = {"q": "induced Q*", "r": "r", "partial_r": "r without distance"}
    yield f"| system (synthetic) | statistic | {' | '.join(models)} |"
    yield f"|---|---|{'---|' * len(models)}"
    with ProcessPoolExecutor(jobs) as pool:
        for setting in settings:
            tasks = [pool.submit(p_values, setting, seed, n_nulls, models) for seed in range(n_simulations)]
            found = [task.result() for task in tqdm(tasks, desc=str(setting), disable=None, leave=False)]
            for name, words in names.items():
                cells = []
                for model in models:
                    ps = [each[model, name] for each in found if (model, name) in each]
                    if not ps:
                        cells.append("–")
                        continue
                    hits = int(np.sum(np.array(ps) <= ALPHA))
                    low, high = interval(hits, len(ps))
                    cells.append(f"{hits / len(ps):.2f} ({low:.2f}–{high:.2f})")
                if any(cell != "–" for cell in cells):
                    yield f"| {setting} | {words} | {' | '.join(cells)} |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all settings, 200 simulations each")
    parser.add_argument("--simulations", type=int, help="of each setting")
    parser.add_argument("--nulls", type=int, default=39, help="of each kind")
    parser.add_argument("--null", action="append", choices=NULLS, help="only this one; repeatable")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    n_simulations = options.simulations or (200 if options.full else 20)
    started = time.perf_counter()
    print(
        f"Share of {n_simulations} simulations with p ≤ {ALPHA} ({options.nulls} nulls each), 95 % interval.\n",
        flush=True,
    )
    for line in table(
        FULL if options.full else SHORT, n_simulations, options.nulls, options.null or NULLS, options.jobs
    ):
        print(line, flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
