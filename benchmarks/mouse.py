"""The mouse at voxel scale: the published model's files, of full size and made up, through to an analysis.

The files are written once, into the cache (about 1 GB, some minutes); what is measured begins after that.
"""

import gzip
import os
import shutil
import sys
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measure import Cost, Row, cost, main

N_JOBS = len(os.sched_getaffinity(0))
PART = 0.1  # of the rows, for np.loadtxt
WEIGHTS, NODES = "weights.csv.gz", "nodes.csv.gz"
SHAPES = {WEIGHTS: (226_346, 428), NODES: (428, 448_962)}


def full_size():
    """The folder of the made-up model, written if need be; and what that took, or None."""
    from fctoolbox_allen.voxel_miniature import write_model

    from fctoolbox.data import cache_folder

    folder = cache_folder() / "benchmarks" / "knox-full-size"
    if (folder / "SYNTHETIC.txt").is_file():
        return folder, None
    return folder, cost(lambda: write_model(folder, full_size=True, n_threads=N_JOBS))


def load(folder, **options):
    import fctoolbox as fct

    return fct.load("mouse-voxel", model=str(folder), **options)


def store_of(folder, keep):
    """The converted factors, as the source opens them."""
    from fctoolbox_allen.knox.store import find_model, open_store

    return open_store(find_model(folder), n_sources=226_346, n_targets=448_962, folder=keep)


def text_to_store():
    """Full-size files to memory-mapped factors, the second opening, and np.loadtxt on a part."""
    folder, written = full_size()
    rows = []
    if written is not None:
        rows.append(
            Row(
                "writing the full-size files (7.2 GB of text)",
                "",
                f"{written.seconds:.0f} s, {written.peak:.2f} GB",
                True,
            )
        )
    with TemporaryDirectory(dir=folder.parent) as temporary:
        keep = Path(temporary) / "stores"
        part = Path(temporary) / "part"
        part.mkdir()
        compile_loops(part)
        found = cost(lambda: store_of(folder, keep))
        shapes = found.result.weights.shape, found.result.nodes.shape
        again = cost(lambda: store_of(folder, keep))
        n_values = sum(np.prod(shape) for shape in SHAPES.values())
        rows.append(
            Row(
                "full-size files to float32 store (both factors, SHA-256 of the files included)",
                "≤ 10 min, ≤ 3 GB",
                f"{found.seconds:.1f} s, {found.peak:.2f} GB, {n_values / found.seconds / 1e6:.0f} M values/s, "
                f"with {inflater()}",
                found.seconds <= 600 and found.peak <= 3 and shapes == tuple(SHAPES.values()),
            )
        )
        rows.append(Row("opening the store again", "≤ 5 s", f"{again.seconds * 1000:.0f} ms", again.seconds <= 5))
        rows.append(against_loadtxt(folder, part, found.result))
    return rows


def inflater():
    try:
        import isal
    except ImportError:
        return "gzip (isal is not installed)"
    return f"isal {isal.__version__}"


def compile_loops(folder):
    from fctoolbox_allen.knox.text import stream_rows

    (folder / "small.csv").write_text("1,2\n")
    stream_rows(folder / "small.csv", 2, lambda _: None)


def against_loadtxt(folder, part, store):
    """A part of both files: np.loadtxt one after the other, ours both at once; and what inflating alone takes."""
    paths, n_rows = {}, {name: max(1, round(PART * there)) for name, (there, _) in SHAPES.items()}
    for name in SHAPES:
        paths[name] = part / name
        with gzip.open(folder / name) as whole, gzip.open(paths[name], "wb", 6) as some:
            some.writelines(islice(whole, n_rows[name]))
    # Into arrays that are there already, as the store hands values on to a file that it knows the size of.
    wholes = {name: np.zeros(n_rows[name] * SHAPES[name][1], dtype=np.float32) for name in SHAPES}
    theirs, ours, inflating, busy, theirs_busy = [], [], [], [], []
    for _ in range(5):
        before = time.process_time()
        arrays, seconds = timed(lambda: [with_loadtxt(path) for path in paths.values()])
        theirs.append(seconds)
        theirs_busy.append(time.process_time() - before)
        before = time.process_time()
        ours.append(timed(lambda: both_at_once(paths, wholes))[1])
        busy.append(time.process_time() - before)
        inflating.append(timed(lambda: [inflate(path) for path in paths.values()])[1])
    same = all(
        np.array_equal(array, factor[: len(array)]) and np.array_equal(array.ravel(), whole)
        for array, factor, whole in zip(arrays, (store.weights, store.nodes), wholes.values(), strict=True)
    )
    n_values = sum(array.size for array in arrays)
    ratio, less = min(theirs) / min(ours), min(theirs_busy) / min(busy)
    return Row(
        f"{PART:.0%} of both files ({n_values / 1e6:.1f} M values) against np.loadtxt (numpy {np.__version__})",
        "≥ 10 ×",
        f"{min(ours):.2f} s beside {min(theirs):.2f} s: {ratio:.1f} × on {N_JOBS} processors "
        f"(processor time {min(busy):.2f} s beside {min(theirs_busy):.2f} s: {less:.1f} ×), values "
        f"{'equal' if same else 'DIFFERENT'}; inflating alone, one after the other, {min(inflating):.2f} s: "
        f"{min(theirs) / min(inflating):.1f} ×",
        ratio >= 10 and same,
    )


def timed(function):
    started = time.perf_counter()
    result = function()
    return result, time.perf_counter() - started


def with_loadtxt(path):
    return np.loadtxt(path, delimiter=",", dtype=np.float32)  # with max_rows it takes no less


def both_at_once(paths, wholes):
    from concurrent.futures import ThreadPoolExecutor

    from fctoolbox_allen.knox.text import stream_rows

    def read(name):
        there = 0

        def write(values):
            nonlocal there
            wholes[name][there : there + len(values)] = values
            there += len(values)

        stream_rows(paths[name], SHAPES[name][1], write)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, paths))


def inflate(path):
    try:
        from isal.igzip import open as opened
    except ImportError:
        opened = gzip.open
    block = bytearray(2**18)
    with opened(path, "rb") as stream:
        while stream.readinto(block):
            pass


def second_load():
    """The whole system, with the factors converted before: thalamus onto the left cortex's regions."""
    folder, _ = full_size()
    load(folder)
    found = cost(lambda: load(folder))
    weights = found.result.projection.weights
    return [
        Row(
            f"second load: {weights.shape[1]:,} thalamic voxels → {weights.shape[0]:,} regions of the left cortex "
            f"(k = {weights.left.shape[1]})",
            "≤ 5 s",
            f"{found.seconds:.2f} s, {found.peak:.2f} GB",
            found.seconds <= 5,
        )
    ]


def similarity_at_15314():
    """Thalamus onto as many regions of the left cortex as Coletta has in the whole brain."""
    from fctoolbox_allen.knox.store import find_model, open_store
    from fctoolbox_allen.voxel import read_world
    from fctoolbox_allen.voxel_choices import Choices
    from fctoolbox_allen.voxel_miniature import THALAMUS
    from fctoolbox_allen.voxel_units import side_of

    from fctoolbox import cosine_similarity
    from fctoolbox.data import cache_folder

    folder, _ = full_size()
    load(folder)  # the store is there
    cosine_similarity(np.ones((3, 2)))

    def run():
        from fctoolbox_allen.knox.model import factored_projection
        from fctoolbox_allen.rois import N_ROIS, voronoi_rois

        choices, model = Choices(), find_model(folder)
        world, _ = read_world(folder, model, choices)
        side = side_of(world, choices)
        voxels = np.flatnonzero(side.column >= 0)
        unit = voronoi_rois(world.targets[voxels], np.zeros(len(voxels), dtype=int), n_rois=N_ROIS, rng=0) - 1
        store = open_store(
            model, n_sources=len(world.sources), n_targets=len(world.targets), folder=cache_folder() / "allen"
        )
        sources = np.flatnonzero(world.source_divisions() == THALAMUS)
        columns = side.column[voxels]
        weights = factored_projection(store, sources, columns, unit, N_ROIS)
        return cosine_similarity(weights), store, sources, columns, unit, weights

    found = cost(run)
    similarity, store, sources, columns, unit, weights = found.result
    some = np.random.default_rng(0).choice(len(similarity), 200, replace=False)
    nodes = np.stack([store.nodes[:, columns[unit == each]].mean(axis=1, dtype=np.float64) for each in some])
    rows = nodes @ store.weights[sources].astype(np.float64).T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    off = np.abs(rows @ rows.T - similarity[np.ix_(some, some)]).max()
    return [
        Row(
            f"similarity thalamus → left isocortex, {len(similarity):,} regions, from the store "
            f"(k = {weights.left.shape[1]}, {similarity.dtype})",
            "≤ 60 s, ≤ 6 GB, 1e-5",
            f"{found.seconds:.1f} s, {found.peak:.2f} GB, at most {off:.1e} from the explicit product (200 regions)",
            found.seconds <= 60 and found.peak <= 6 and off <= 1e-5 and similarity.dtype == np.float32,
        )
    ]


def whole_analysis():
    """Loading, modules, and 1,000 partitions grown elsewhere."""
    import fctoolbox as fct
    from fctoolbox.chunks import Workers

    folder, _ = full_size()
    fct.analyse_origin(fct.load("mouse-voxel-mini"), null="regrow", n_nulls=2, n_restarts=2, rng=0)  # compiles

    def run():
        system = load(folder)
        return fct.analyse_origin(system, null="regrow", n_nulls=1000, rng=0, workers=Workers(N_JOBS, cache=False))

    found: Cost = cost(run)
    report = found.result
    test, r = report.induced.nulls[0], report.relationship.pearson_r
    return [
        Row(
            f"whole analysis, {report.system.n_units:,} regions of the left cortex, 1,000 regrow nulls, "
            f"{report.policies['n_restarts']} restarts",
            "≤ 5 min",
            f"{found.seconds:.0f} s, {found.peak:.2f} GB on {N_JOBS} processors; r {r:.3f}, "
            f"{report.communities.n} modules, induced Q* {report.induced.q:.3f} beside {test.mean:.3f} ± {test.sd:.3f}",
            found.seconds <= 300,
        )
    ]


if __name__ == "__main__":
    if "--again" in sys.argv:  # write the files anew
        sys.argv.remove("--again")
        from fctoolbox.data import cache_folder

        shutil.rmtree(cache_folder() / "benchmarks" / "knox-full-size", ignore_errors=True)
    sys.exit(main("The mouse at voxel scale", [text_to_store, second_load, similarity_at_15314, whole_analysis]))
