"""Spatial nulls: speed and memory, beside the packages of the field.

``make bench BENCH=nulls``; two threads, a few minutes, 2 GB of memory.
"""

import sys
import warnings

import numpy as np
from measure import Row, cost, main, median_seconds
from scipy import sparse

from fctoolbox import adjusted_rand
from fctoolbox.nulls import boundary_length, euclidean_distances, regrow, spin, variogram
from fctoolbox.nulls.spin import random_rotations
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
    from joblib.externals.loky import get_reusable_executor

    positions = on_a_sphere(2000, 0)
    distances, values = euclidean_distances(positions), smooth_map(positions, 0)

    def ours():
        return variogram_surrogates(values, distances=distances, n_nulls=100, rng=0, n_jobs=N_JOBS)

    found = cost(ours)  # compiles, too
    seconds = median_seconds(ours, 7)
    Base(values[:50], distances[:50, :50], n_jobs=N_JOBS)(n=2)
    theirs = cost(lambda: Base(values, distances, n_jobs=N_JOBS, seed=0)(n=10))
    get_reusable_executor().shutdown(wait=True)  # idle processes of joblib would be waited for, for five minutes
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


def spins_at_human_size():
    """1,000 rotations, each vertex taking the value of the nearest rotated one."""
    from scipy.spatial import cKDTree

    sphere = on_a_sphere(N_HUMAN, 0)
    spin(sphere[:500], n_nulls=2, rng=0, assignment="nearest")
    found = cost(lambda: spin(sphere, n_nulls=1000, rng=0, assignment="nearest", n_jobs=N_JOBS))
    turns = random_rotations(1000, rng=0)

    def peer(turn):
        return cKDTree(sphere @ turn.T).query(sphere, workers=N_JOBS)[1]

    theirs = cost(lambda: np.stack([peer(turn) for turn in turns[:10]]))
    same = (theirs.result == found.result[:10]).mean()
    return [
        Row(
            f"spin, {N_HUMAN:,} vertices, 1,000 rotations, nearest",
            "≤ 60 s",
            f"{found.seconds:.1f} s, {found.peak:.2f} GB; {100 * theirs.seconds / found.seconds:.0f} × a k-d tree for "
            f"each rotation, {same:.2%} of assignments the same",
            found.seconds <= 60 and same > 0.999,
        )
    ]


def regrown_modules_at_human_size():
    """1,000 partitions into modules of the same sizes and boundary."""
    from scipy.spatial import ConvexHull

    sphere = on_a_sphere(N_HUMAN, 0)
    triangles = ConvexHull(sphere).simplices
    pairs = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [0, 2]]].reshape(-1, 2), axis=1), axis=0)
    length = np.linalg.norm(sphere[pairs[:, 0]] - sphere[pairs[:, 1]], axis=1)
    graph = sparse.coo_array((length, pairs.T), shape=(N_HUMAN, N_HUMAN)).tocsr()
    graph = (graph + graph.T).tocsr()
    seeds = np.random.default_rng(1).choice(N_HUMAN, 7, replace=False)
    labels = (sphere @ sphere[seeds].T).argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regrow(labels, neighbours=graph, n_nulls=2, rng=1)
        found = cost(lambda: regrow(labels, neighbours=graph, n_nulls=1000, rng=0, n_jobs=N_JOBS))
    sizes = np.bincount(labels)
    kept = all((np.bincount(null) == sizes).all() for null in found.result)
    boundary = np.array([boundary_length(null, graph) for null in found.result]) / boundary_length(labels, graph)
    alike = np.mean([adjusted_rand(labels, null) for null in found.result[:100]])
    return [
        Row(
            f"regrow, {N_HUMAN:,} vertices, 7 modules, 1,000 nulls",
            "≤ 120 s",
            f"{found.seconds:.0f} s, {found.peak:.2f} GB; sizes {'kept' if kept else 'NOT kept'}, boundary "
            f"{np.median(boundary):.3f} of the original's (95 % between {np.quantile(boundary, 0.025):.3f} and "
            f"{np.quantile(boundary, 0.975):.3f}), adjusted Rand with it {alike:.3f}",
            found.seconds <= 120 and kept,
        )
    ]


if __name__ == "__main__":
    sys.exit(
        main(
            "Spatial nulls",
            [
                variogram_against_brainsmash,
                variogram_sampled_at_human_size,
                variogram_of_partitions,
                spins_at_human_size,
                regrown_modules_at_human_size,
            ],
        )
    )
