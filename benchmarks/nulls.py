"""Spatial nulls: speed and memory, beside the packages of the field.

``make bench BENCH=nulls``; two threads, a few minutes, 2 GB of memory.
"""

import sys
import warnings

import numpy as np
from measure import Row, cost, main, median_seconds

from fctoolbox.nulls import euclidean_distances, variogram
from fctoolbox.nulls.variogram import nearest_units, variogram_surrogates

N_HUMAN = 29_696
N_JOBS = 2


def on_a_sphere(n, seed):
    """Evenly spread at random on a sphere of 100 mm, in an order in which neighbours are near."""
    points = np.random.default_rng(seed).standard_normal((n, 3))
    points *= 100 / np.linalg.norm(points, axis=1, keepdims=True)
    return points[np.lexsort(np.round(points / 20).T)]


def smooth_map(positions, seed):
    """Waves in random directions: many length scales, and no covariance matrix."""
    rng = np.random.default_rng(seed)
    waves = positions @ rng.standard_normal((3, 200)) / 40
    return (np.cos(waves + rng.uniform(0, 2 * np.pi, 200)) * rng.standard_normal(200)).sum(axis=1)


def variogram_against_brainsmash():
    """2,000 units, 100 surrogates; brainsmash makes 10 of them, with two processes that are running already."""
    warnings.simplefilter("ignore")
    from brainsmash.mapgen.base import Base

    positions = on_a_sphere(2000, 0)
    distances, values = euclidean_distances(positions), smooth_map(positions, 0)

    def ours():
        return variogram_surrogates(values, distances=distances, n_nulls=100, rng=0, n_jobs=N_JOBS)

    found = cost(ours)  # compiles, too
    seconds = median_seconds(ours, 7)
    Base(values[:50], distances[:50, :50], n_jobs=N_JOBS)(n=2)
    theirs = cost(lambda: Base(values, distances, n_jobs=N_JOBS, seed=0)(n=10))
    ratio = 10 * theirs.seconds / seconds
    return [
        Row(
            "variogram, 2,000 units, 100 surrogates, against brainsmash Base (n_jobs = 2)",
            "≥ 100 × faster",
            f"{ratio:.0f} × ({seconds:.2f} s, {10 * theirs.seconds:.0f} s: ten times the time of 10), "
            f"{found.peak:.2f} GB; median error {np.median(found.result.error):.2f}",
            ratio >= 100,
        )
    ]


def variogram_sampled_at_human_size():
    """29,696 points, 1,000 neighbours, 500 sampled rows."""
    warnings.simplefilter("ignore")
    positions = on_a_sphere(N_HUMAN, 1)
    values = smooth_map(positions, 1)
    warm_up = nearest_units(positions[:600], 100)
    variogram_surrogates(values[:600], distances=warm_up, n_nulls=2, rng=0)
    near = cost(lambda: nearest_units(positions, 1000, n_jobs=N_JOBS))
    found = cost(lambda: variogram_surrogates(values, distances=near.result, n_nulls=100, rng=0, n_jobs=N_JOBS))
    return [
        Row(
            f"variogram (sampled), {N_HUMAN:,} vertices, 100 surrogates, after distances",
            "≤ 180 s, ≤ 8 GB",
            f"{found.seconds:.1f} s, {near.peak + found.peak:.2f} GB (distances: {near.seconds:.1f} s); median error "
            f"{np.median(found.result.error):.2f}",
            found.seconds <= 180 and near.peak + found.peak <= 8,
        )
    ]


def variogram_of_partitions():
    """2,000 units in 12 compact communities, 100 surrogates."""
    positions = on_a_sphere(2000, 2)
    distances = euclidean_distances(positions)
    seeds = np.random.default_rng(2).choice(2000, 12, replace=False)
    labels = np.unique(np.argmin(distances[:, seeds], axis=1), return_inverse=True)[1]
    variogram(labels, distances=distances, n_nulls=2, rng=0)
    found = cost(lambda: variogram(labels, distances=distances, n_nulls=100, rng=0, n_jobs=N_JOBS))
    nearest = np.argsort(distances, axis=1)[:, 1:6]
    shared = [np.mean([(k[nearest] == k[:, None]).mean() for k in each]) for each in ([labels], found.result)]
    return [
        Row(
            "variogram of partitions, 2,000 units, 12 communities, 100 surrogates",
            "(no bar)",
            f"{found.seconds:.1f} s, {found.peak:.2f} GB; the five nearest units share a unit's community in "
            f"{shared[1]:.0%} of cases, in the observed partition in {shared[0]:.0%}",
            True,
        )
    ]


if __name__ == "__main__":
    sys.exit(
        main(
            "Spatial nulls",
            [variogram_against_brainsmash, variogram_sampled_at_human_size, variogram_of_partitions],
        )
    )
