"""Projections of grayordinates onto grayordinates: from sparse matrices, dense connectomes or streamlines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox_hcp.projection_matrices import (
    Wanted,
    Weights,
    check_chosen,
    check_filled,
    check_is_cifti,
    from_dense,
    from_sparse,
    is_archive,
    names_of,
)
from fctoolbox_hcp.smoothing import Grayordinates, Mesh, check_length
from fctoolbox_hcp.streamlines import Joined, explain_distance, is_tractogram, join, read_ends
from fctoolbox_hcp.structures import Structure, structures_of, template_axis

_FWHM = 6.0  # mm, for streamlines
_DIRECTIONS = ("rows", "columns")
_RANGES = ("all", "chosen")


def read_projection(
    path: Path,
    targets: Sequence[Structure],
    sources: Sequence[Structure],
    *,
    surfaces: Mapping[str, Mesh],
    fwhm: float | None = None,
    epsilon: float = 0.01,
    max_distance: float = 2.0,
    structures: Mapping[str, Structure] | None = None,
    grayordinates: str = "all",
    direction: str | None = None,
    n_jobs: int = 1,
) -> tuple[Weights, dict[str, str]]:
    """How strongly each grayordinate of the sources projects to each of the targets.

    The file is recognised by its content:

    * a tractogram (TCK, TRK, TinyTrack; mm of MNI152): each end counts for the nearest grayordinate within
      `max_distance`, then connectome spatial smoothing (``K A Kᵀ``, see `fctoolbox_hcp.smoothing`);
    * a sparse matrix of `scipy.sparse.save_npz`, of all grayordinates in CIFTI order, or of the chosen ones only
      (targets × sources, in their order);
    * a dense ``.dconn.nii``, of which only the rows and columns of the chosen structures are read.

    Parameters
    ----------
    path : Path
    targets, sources : sequence of Structure
        Of `structures`; the order of rows and columns.
    surfaces : mapping of str to (vertices, faces)
        Midthickness of the structures that are surfaces, mm. For streamlines (and to smooth a matrix) all cortices of
        `structures` must be there, as ends near another cortex count for that one.
    fwhm : float, optional
        Of the Gaussian, mm; 0 for none. When left out, 6 for streamlines and 0 for matrices, which are as a rule
        smoothed before they are saved.
    epsilon : float
        The Gaussian ends where it falls below this share of its peak.
    max_distance : float
        mm, for streamlines.
    structures : mapping of str to Structure, optional
        All grayordinates, of which the rows of a matrix are; the HCP's 91,282 when left out.
    grayordinates : {"all", "chosen"}
        For streamlines and for smoothing: ``"all"`` lets all grayordinates compete for an end, and an end be shared out
        among all structures around it, as the package does; ``"chosen"`` lets the targets and sources alone.
    direction : {"rows", "columns"}, optional
        Needed where a matrix is neither symmetric nor one half of a symmetric one: ``"rows"`` if row i holds what
        grayordinate i receives, ``"columns"`` if column i does.
    n_jobs : int
        Threads.

    Returns
    -------
    weights : (n_targets, n_sources) scipy.sparse.csr_array or array of float32
        Sparse without smoothing from streamlines or a sparse matrix, else dense.
    notes : dict of str to str
        What was read, left out and done.

    Raises
    ------
    InputError
        If an option is not possible; if the file cannot be read, has another number of grayordinates, or values that
        are negative or not finite; if no streamline joins targets and sources; if a whole structure has no weight.
    """
    check_length("max_distance", max_distance, zero_allowed=False)
    if fwhm is not None:
        check_length("fwhm", fwhm, zero_allowed=True)
    _check_word("grayordinates", grayordinates, _RANGES)
    if direction is not None:
        _check_word("direction", direction, _DIRECTIONS)
    every = structures_of(template_axis(), "the HCP's grayordinates") if structures is None else structures
    check_chosen((*targets, *sources), every)
    wanted = Wanted(path, tuple(targets), tuple(sources), every, surfaces, grayordinates, epsilon, n_jobs)
    if is_tractogram(path):
        if direction is not None:
            raise InputError(f"direction is {direction!r}, but {path} holds streamlines, which have none: leave it out")
        width = _FWHM if fwhm is None else fwhm
        weights, notes = _from_streamlines(wanted, width, max_distance)
    else:
        width = fwhm or 0.0
        sparse_one = is_archive(path)
        if not sparse_one:
            check_is_cifti(path)
        read = from_sparse if sparse_one else from_dense
        weights, notes = read(wanted, width, direction)
    if width or "Streamlines" in notes:
        notes["Smoothing"] = wanted.how_smoothed(width)
    hint = "" if "Streamlines" in notes else ", or look whether the file holds these structures in another order"
    return weights, {**notes, **check_filled(weights, wanted, hint)}


def _from_streamlines(wanted: Wanted, fwhm: float, max_distance: float) -> tuple[Weights, dict[str, str]]:
    path, among = wanted.path, wanted.among
    ends = read_ends(path)
    joined = join(ends, among.positions, max_distance, n_jobs=wanted.n_jobs)
    far = f"the median distance of its ends from the nearest grayordinate is {joined.median_distance:.1f} mm"
    if not joined.n_kept:
        raise InputError(
            f"none of the {len(ends):,} streamlines of {path} has both ends within {max_distance:g} mm of a "
            f"grayordinate; {far}: {explain_distance(ends, joined.median_distance)}"
        )
    rows, columns = among.rows_of(wanted.targets), among.rows_of(wanted.sources)
    between = sparse.csr_array(joined.counts[rows][:, columns].astype(np.float32))
    n_between = int(between.sum())
    if not n_between:
        raise InputError(
            f"{joined.n_kept:,} of the {len(ends):,} streamlines of {path} have both ends within {max_distance:g} mm "
            f"of a grayordinate, but none of them joins {names_of(wanted.sources)} and {names_of(wanted.targets)}; "
            f"they join {_most_joined(joined, among)}"
        )
    notes = {
        "Streamlines": (
            f"{joined.n_kept:,} of {len(ends):,} ({joined.n_kept / len(ends):.1%}) have both ends within "
            f"{max_distance:g} mm of a grayordinate and count for the nearest ones; {n_between:,} of them join "
            f"{names_of(wanted.sources)} and {names_of(wanted.targets)}; {far}"
        )
    }
    return (wanted.smoothed(joined.counts, fwhm) if fwhm else between), notes


def _most_joined(joined: Joined, among: Grayordinates) -> str:
    names = [each.name for each in among.structures]
    of = np.repeat(np.arange(len(names)), [len(each) for each in among.structures])
    counts = joined.counts.tocoo()
    pairs = np.zeros((len(names), len(names)))
    np.add.at(pairs, (of[counts.coords[0]], of[counts.coords[1]]), counts.data)
    np.fill_diagonal(pairs, pairs.diagonal() / 2)
    upper = np.triu(pairs)
    most = np.argsort(-upper, axis=None, kind="stable")[:4]
    found = [(int(flat // len(names)), int(flat % len(names))) for flat in most]
    return listed(f"{names[i]} and {names[j]} ({int(upper[i, j]):,})" for i, j in found if upper[i, j])


def _check_word(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{option} is {value!r}.{suggestion(str(value), known)} It must be one of {listed(known)}.")
