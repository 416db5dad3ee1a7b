"""Communities and modularity: speed, memory and quality, beside bctpy and leidenalg.

``make bench BENCH=communities``; two threads, a quarter of an hour, 8 GB of memory and 4 GB of disk.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from measure import Cost, Row, cost, main, median_seconds

import fctoolbox as fct
from fctoolbox.similarity import units_without_input

N_HUMAN = 29_696
N_JOBS = 2


def planted(n, n_groups, *, signal, noise, seed, dtype=np.float32):
    """Symmetric signed weights: groups that attract a little, in Gaussian noise; made in blocks."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_groups, n)
    matrix = np.empty((n, n), dtype=dtype)
    block = 2048
    for top in range(0, n, block):
        for left in range(top, n, block):
            rows, columns = slice(top, min(top + block, n)), slice(left, min(left + block, n))
            values = rng.standard_normal((rows.stop - top, columns.stop - left), dtype=np.float32) * noise
            values += np.where(labels[rows, None] == labels[columns], signal, -signal / n_groups)
            values = (values + values.T) / 2 if top == left else values
            matrix[rows, columns], matrix[columns, rows] = values, values.T
    return matrix, labels


def random_similarity(n, n_inputs, seed):
    """Cosine similarity of a random projection: noise with the dependence that projections bring."""
    return fct.cosine_similarity(np.random.default_rng(seed).standard_normal((n, n_inputs), dtype=np.float32))


def warm_up(matrix):
    """Let the loops be compiled (and kept on disk) outside the measurement."""
    part = np.ascontiguousarray(matrix[:600, :600])
    fct.detect_communities(part, n_restarts=1, n_kicks=1, rng=0)
    fct.modularities(part, np.zeros((2, len(part)), dtype=int))


def one_run(matrix, n_kicks):
    """One restart on both cores."""
    return cost(lambda: fct.detect_communities(matrix, n_restarts=1, n_kicks=n_kicks, rng=0, n_jobs=N_JOBS))


def row_of_run(what, found: Cost, extra=""):
    """The line of a run at human size."""
    communities = found.result
    return Row(
        f"{what}, {N_HUMAN:,}² float32",
        "≤ 60 s, ≤ matrix + 1 GB",
        f"{found.seconds:.1f} s, matrix + {found.peak:.2f} GB; Q* {communities.q:.6f}, {communities.n} communities, "
        f"{communities.passes[0]} passes, {communities.moves[0]:,} moves{extra}",
        found.seconds <= 60 and found.peak <= 1 and communities.converged,
    )


def human_size_planted():
    """One run on planted groups at human size."""
    rows = []
    for n_groups in (7, 17):
        matrix, labels = planted(N_HUMAN, n_groups, signal=0.08, noise=0.3, seed=n_groups)
        warm_up(matrix)
        expected = fct.modularity(matrix, labels, n_jobs=N_JOBS)
        for n_kicks in (0, 10):
            found = one_run(matrix, n_kicks)
            extra = f" (planted {expected:.6f}, adjusted Rand {fct.adjusted_rand(found.result.labels, labels):.3f})"
            rows.append(row_of_run(f"{n_groups} planted groups, {n_kicks} kicks", found, extra))
        del matrix
    return rows


def human_size_random():
    """One run on the similarity of a random projection at human size."""
    matrix = random_similarity(N_HUMAN, 2536, 0)
    warm_up(matrix)
    return [row_of_run(f"random projection, 2,536 inputs, {k} kicks", one_run(matrix, k)) for k in (0, 10)]


def against_bctpy():
    """One run each at n = 4,000."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bct
    rows = []
    for what, matrix in (
        ("random projection", random_similarity(4000, 2536, 1)),
        ("12 planted groups", planted(4000, 12, signal=0.08, noise=0.3, seed=1)[0]),
    ):
        matrix = matrix.astype(np.float64)
        np.fill_diagonal(matrix, 0)  # bctpy counts the diagonal
        warm_up(matrix)
        theirs = cost(lambda matrix=matrix: bct.community_louvain(matrix, B="negative_asym", seed=0))
        labels, _ = theirs.result
        for n_kicks in (0, 10):
            seconds = median_seconds(
                lambda matrix=matrix, n_kicks=n_kicks: fct.detect_communities(
                    matrix, n_restarts=1, n_kicks=n_kicks, rng=0, n_jobs=N_JOBS
                ),
                5,
            )
            ours = fct.detect_communities(matrix, n_restarts=1, n_kicks=n_kicks, rng=0).q
            ratio = theirs.seconds / seconds
            rows.append(
                Row(
                    f"against bctpy community_louvain, n = 4,000, {what}, {n_kicks} kicks",
                    "≥ 20 × faster" if n_kicks == 0 else "(the default; no bar)",
                    f"{ratio:.0f} × ({seconds:.2f} s, {theirs.seconds:.1f} s); Q* {ours:.6f}, "
                    f"theirs {fct.modularity(matrix, labels):.6f}",
                    ratio >= 20 or n_kicks > 0,
                )
            )
    return rows


def against_leidenalg():
    """Signed modularity at n = 1,000: leidenalg needs two layers, one for each sign."""
    import igraph
    import leidenalg

    matrix = planted(1000, 12, signal=0.12, noise=0.3, seed=2, dtype=np.float64)[0]
    np.fill_diagonal(matrix, 0)
    warm_up(matrix)
    above, below = np.maximum(matrix, 0), np.maximum(-matrix, 0)

    def theirs():
        layers = []
        for part in (above, below):
            i, j = np.nonzero(np.triu(part, 1))
            graph = igraph.Graph(n=len(part), edges=np.column_stack([i, j]).tolist())
            graph.es["weight"] = part[i, j].tolist()
            layers.append(leidenalg.ModularityVertexPartition(graph, weights="weight"))
        optimiser = leidenalg.Optimiser()
        optimiser.set_rng_seed(0)
        # Each layer's modularity is normalised by its own total: Q* weighs the negative one by s⁻ / (s⁺ + s⁻).
        share = below.sum() / (above.sum() + below.sum())
        optimiser.optimise_partition_multiplex(layers, layer_weights=[1.0, -share], n_iterations=-1)
        return np.array(layers[0].membership)

    other = cost(theirs)
    rows = []
    for n_kicks in (0, 10):
        seconds = median_seconds(
            lambda n_kicks=n_kicks: fct.detect_communities(matrix, n_restarts=1, n_kicks=n_kicks, rng=0, n_jobs=N_JOBS),
            7,
        )
        q = fct.detect_communities(matrix, n_restarts=1, n_kicks=n_kicks, rng=0).q
        ratio = other.seconds / seconds
        rows.append(
            Row(
                f"against leidenalg multiplex, n = 1,000, {n_kicks} kicks",
                "≥ 50 × faster",
                f"{ratio:.0f} × ({seconds * 1000:.0f} ms, {other.seconds:.1f} s); Q* {q:.6f}, "
                f"theirs {fct.modularity(matrix, other.result):.6f}",
                ratio >= 50,
            )
        )
    return rows


def hundred_matrices():
    """Signed noise, planted groups, correlations, and parts of real similarities and FC."""
    rng = np.random.default_rng(0)
    for _ in range(25):
        n = int(rng.integers(20, 200))
        noise = rng.standard_normal((n, n))
        yield "random signed", noise + noise.T
    for k in range(25):
        n, n_groups = int(rng.integers(60, 300)), int(rng.integers(3, 18))
        yield "planted", planted(n, n_groups, signal=rng.uniform(0.1, 0.6), noise=0.5, seed=k, dtype=np.float64)[0]
    for _ in range(25):
        n = int(rng.integers(20, 200))
        mixing = rng.standard_normal((n, int(rng.integers(3, 30))))
        series = rng.standard_normal((int(rng.integers(50, 300)), mixing.shape[1])) @ mixing.T
        yield "correlation", fct.functional_connectivity(series + 3 * rng.standard_normal(series.shape))
    real = []
    for name in ("mouse-regional", "human-template"):
        system = fct.load(name)
        system = system.select_units(np.flatnonzero(~units_without_input(system.projection.weights)))
        real += [
            (name, fct.cosine_similarity(system.projection.weights)),
            (name, np.asarray(system.activity.connectivity, dtype=np.float64)),
        ]
    yield from real
    while len(real) < 25:
        name, matrix = real[len(real) % 4]
        chosen = np.sort(rng.permutation(len(matrix))[: int(0.8 * len(matrix))])  # four fifths of the areas
        real.append((name, matrix[np.ix_(chosen, chosen)]))
        yield real[-1]


def quality():
    """Best of 10 restarts each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bct
    kinds: dict[str, list[float]] = {}
    for matrix_kind, values in hundred_matrices():
        kind = "real" if "-" in matrix_kind else matrix_kind
        matrix = (values + values.T) / 2
        np.fill_diagonal(matrix, 0)
        theirs = max(bct.community_louvain(matrix, B="negative_asym", seed=seed)[1] for seed in range(10))
        ours = fct.detect_communities(matrix, n_restarts=10, rng=0).q
        kinds.setdefault(kind, []).append(ours - theirs)
    gains = np.concatenate(list(kinds.values()))
    by_kind = ", ".join(f"{kind} {np.mean(each):+.6f} ({len(each)})" for kind, each in kinds.items())
    return [
        Row(
            f"best of 10 against bctpy's best of 10, {len(gains)} matrices",
            "never below by more than 1e-6; on average above",
            f"lowest difference {gains.min():+.1e}, mean {gains.mean():+.6f}, above in {(gains > 1e-6).sum()}, equal "
            f"in {(np.abs(gains) <= 1e-6).sum()}; mean by kind: {by_kind}",
            gains.min() >= -1e-6 and gains.mean() > 0 and len(gains) == 100,
        )
    ]


def permutations_at_human_size():
    """1,000 permutations of labels on a memory-mapped matrix."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="fctoolbox-bench-") as folder:
        path = Path(folder) / "matrix.npy"
        matrix, labels = planted(N_HUMAN, 12, signal=0.08, noise=0.3, seed=0)
        np.save(path, matrix)
        warm_up(matrix)
        del matrix
        mapped = np.load(path, mmap_mode="r")
        partitions = np.stack([rng.permutation(labels) for _ in range(1000)]).astype(np.int32)
        found = cost(lambda: fct.modularities(mapped, partitions, n_jobs=N_JOBS))
        apart = abs(found.result[7] - fct.modularity(mapped, partitions[7], n_jobs=N_JOBS))
    return [
        Row(
            f"1,000 label permutations, {N_HUMAN:,}² float32 (3.5 GB, memory-mapped)",
            "≤ 150 s, ≤ 1.5 GB beyond page cache",
            f"{found.seconds:.0f} s, {found.peak:.2f} GB; one of them alone differs by {apart:.0e}",
            found.seconds <= 150 and found.peak <= 1.5 and apart < 1e-12,
        )
    ]


def permutations_at_400():
    """1,000 permutations against a loop over Q as bctpy computes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bct
    matrix, labels = planted(400, 7, signal=0.2, noise=0.5, seed=0, dtype=np.float64)
    np.fill_diagonal(matrix, 0)
    rng = np.random.default_rng(0)
    partitions = np.stack([rng.permutation(labels) for _ in range(1000)])
    warm_up(matrix)
    seconds = median_seconds(lambda: fct.modularities(matrix, partitions, n_jobs=N_JOBS), 7)

    # The objective as bctpy's community_louvain sets it up and sums it, for a partition that is given.
    def q_in_numpy(partition):
        above, below = matrix * (matrix > 0), -matrix * (matrix < 0)
        plus, minus = above.sum(), below.sum()
        b = (above - np.outer(above.sum(axis=1), above.sum(axis=0)) / plus) / plus
        b -= (below - np.outer(below.sum(axis=1), below.sum(axis=0)) / minus) / (plus + minus)
        return b[partition[:, None] == partition].sum()

    rows = []
    for what, function in (
        ("bctpy-style Q in numpy", q_in_numpy),
        ("bctpy modularity_und_sign", lambda partition: bct.modularity_und_sign(matrix, partition + 1)[1]),
    ):
        theirs = cost(lambda function=function: [function(each) for each in partitions[:100]])
        apart = np.abs(fct.modularities(matrix, partitions[:100]) - theirs.result).max()
        ratio = 10 * theirs.seconds / seconds
        rows.append(
            Row(
                f"1,000 permutations at n = 400, against a loop over {what}",
                "≥ 200 ×",
                f"{ratio:.0f} × ({seconds * 1000:.1f} ms, {10 * theirs.seconds:.1f} s); values differ by {apart:.0e}",
                ratio >= 200 and apart < 1e-12,
            )
        )
    return rows


def importing():
    """Import in a fresh process."""
    code = "import time; start = time.perf_counter(); import fctoolbox; print(time.perf_counter() - start)"
    seconds = sorted(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(7)
    )[3]
    return [Row("import fctoolbox", "≤ 0.5 s", f"{seconds:.2f} s", seconds <= 0.5)]


if __name__ == "__main__":
    sys.exit(
        main(
            "Communities and induced Q",
            [
                human_size_planted, human_size_random, against_bctpy, against_leidenalg, quality,
                permutations_at_human_size, permutations_at_400, importing,
            ],
        )
    )  # fmt: skip
