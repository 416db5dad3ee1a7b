"""The null that keeps how much a map varies at every spatial scale (Moran spectral randomisation)."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, check_whole, suggestion
from fctoolbox.nulls._maps import indicators
from fctoolbox.nulls.distances import check_distances
from fctoolbox.randomness import generator
from fctoolbox.system import check_finite

Procedure = Literal["singleton", "pair"]

_MIN_UNITS = 4
_MOST_UNITS = 20_000  # a dense matrix of 3 GB, and an hour for its eigenvectors
_BLOCK_VALUES = 2**23
_CENTRED = 1e-6


@dataclass(frozen=True, eq=False)
class MoranEigenvectors:
    """Orthonormal maps of mean zero, from the smoothest to the roughest.

    Parameters
    ----------
    vectors : (n_units, n_units - 1) array
        In columns.
    values : (n_units - 1,) array
        Eigenvalues, descending: Moran's I of each map, times ``Σ w_ij / n_units``.
    """

    vectors: NDArray[np.float64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        vectors = np.array(self.vectors, dtype=np.float64)
        values = np.array(self.values, dtype=np.float64)
        if vectors.ndim != 2 or values.shape != vectors.shape[1:]:
            raise InputError(
                f"the eigenvectors have shape {vectors.shape} and the eigenvalues {values.shape}; "
                "they need (n_units, n_components) and (n_components,)"
            )
        check_finite(vectors, "the eigenvectors")
        if np.abs(vectors.sum(axis=0)).max() > _CENTRED * np.sqrt(len(vectors)):
            raise InputError("the eigenvectors do not all have a mean of zero; moran_eigenvectors makes such")
        for name, array in (("vectors", vectors), ("values", values)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)


def moran(
    maps: ArrayLike,
    *,
    weights: Any = None,
    distances: ArrayLike | None = None,
    eigenvectors: MoranEigenvectors | None = None,
    n_nulls: int,
    rng: int | np.random.Generator | None = None,
    procedure: Procedure = "singleton",
    joint: bool = False,
) -> NDArray[np.float64]:
    """Random maps with the mean, the variance and the spatial spectrum of the given ones.

    A map is the sum of its mean and of the eigenvectors of the weights, each times a coefficient
    ``c_k = Σ_i vectors_ik (x_i - mean)``. The nulls have random coefficients:

    * ``"singleton"``: those of the map with random signs. Mean, variance and Moran's I are kept exactly.
    * ``"pair"``: those of eigenvectors 0 and 1, 2 and 3 … rotated by a random angle, which gives infinitely many
      different maps. Mean and variance are kept exactly, Moran's I nearly. (Pairs are neighbours in the spectrum, as
      sine and cosine of one frequency would be. Pairs drawn at random, as in brainspace, mix smooth with
      rough maps, and bring Moran's I half of the way to that of noise.)

    What is *not* kept is the distribution of the values: the nulls' is closer to a Gaussian.

    Parameters
    ----------
    maps : (n_units,) or (n_maps, n_units) array
    weights : (n_units, n_units) array or scipy.sparse array
        How strongly two units are neighbours; see `moran_eigenvectors`. Give one of `weights`, `distances` and
        `eigenvectors`.
    distances : (n_units, n_units) array
        mm; the weights are their inverses.
    eigenvectors : MoranEigenvectors
        From `moran_eigenvectors`, for several calls.
    n_nulls : int
    rng : int, Generator or None
    procedure : {"singleton", "pair"}
    joint : bool
        Whether all maps get the same signs or angles. Then the covariances between the maps are kept as well;
        otherwise each map is randomised by itself.

    Returns
    -------
    (n_nulls, n_units) array, or (n_nulls, n_maps, n_units) from a stack

    Raises
    ------
    InputError
        If maps, weights or distances do not fit each other or are not finite, or two units lie at one place.

    References
    ----------
    Wagner & Dray 2015, Methods in Ecology and Evolution 6:1169.
    """
    check_whole("n_nulls", n_nulls, 1)
    if procedure not in get_args(Procedure):
        raise InputError(
            f"no procedure named {procedure!r}.{suggestion(str(procedure), get_args(Procedure))} "
            "There are: singleton, pair."
        )
    random = generator(rng)
    stack = _maps(maps)
    basis = _basis(weights, distances, eigenvectors)
    _check_length(stack, basis)
    n_maps, n_units = np.atleast_2d(stack).shape
    n_components = basis.vectors.shape[1]
    n_drawn = 1 if joint else n_maps
    nulls = np.empty((n_nulls, n_maps, n_units))
    at_once = max(1, _BLOCK_VALUES // (n_maps * n_units))
    for start in range(0, n_nulls, at_once):
        part = nulls[start : start + at_once]
        if procedure == "singleton":
            signs = np.where(random.random((len(part), n_drawn, n_components)) < 0.5, -1.0, 1.0)
            part[:] = moran_by_signs(np.atleast_2d(stack), basis, signs)
        else:
            # A component without partner (the last of an odd number) has an angle of its own, 0 or π.
            angles = 2 * np.pi * random.random((len(part), n_drawn, (n_components + 1) // 2))
            part[:] = moran_by_angles(np.atleast_2d(stack), basis, angles)
    return nulls if stack.ndim == 2 else nulls[:, 0]


def moran_by_signs(maps: ArrayLike, eigenvectors: MoranEigenvectors, signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maps whose coefficients have been multiplied by given signs; ``moran(procedure="singleton")`` draws them.

    Parameters
    ----------
    maps : (n_maps, n_units) array
    eigenvectors : MoranEigenvectors
    signs : (n_nulls, n_maps, n_components) array
        Of 1 and -1; (n_nulls, 1, n_components) for the same in all maps.

    Returns
    -------
    (n_nulls, n_maps, n_units) array
    """
    means, coefficients = _coefficients(maps, eigenvectors)
    return np.asarray((signs * coefficients) @ eigenvectors.vectors.T + means)


def moran_by_angles(
    maps: ArrayLike,
    eigenvectors: MoranEigenvectors,
    angles: NDArray[np.float64],
    *,
    pairs: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.float64]:
    """Maps whose coefficients have been rotated in pairs; ``moran(procedure="pair")`` draws the angles.

    Parameters
    ----------
    maps : (n_maps, n_units) array
    eigenvectors : MoranEigenvectors
    angles : (n_nulls, n_maps, n_pairs) array
        Radians; (n_nulls, 1, n_pairs) for the same in all maps. If the number of components is odd, one more for the
        last of them: it changes its sign where the cosine is negative.
    pairs : (n_components,) integers, optional
        The components in an order in which partners follow each other; 0, 1, 2 … when left out.

    Returns
    -------
    (n_nulls, n_maps, n_units) array
    """
    means, coefficients = _coefficients(maps, eigenvectors)
    n_components = coefficients.shape[1]
    order = np.arange(n_components) if pairs is None else np.asarray(pairs)
    n_pairs = n_components // 2
    one, other = order[0 : 2 * n_pairs : 2], order[1 : 2 * n_pairs : 2]
    cosine, sine = np.cos(angles), np.sin(angles)
    turned = np.empty((len(angles), *coefficients.shape))
    x, y = coefficients[:, one], coefficients[:, other]
    turned[..., one] = cosine[..., :n_pairs] * x - sine[..., :n_pairs] * y
    turned[..., other] = sine[..., :n_pairs] * x + cosine[..., :n_pairs] * y
    if n_components % 2:
        turned[..., order[-1]] = np.where(cosine[..., -1] < 0, -1.0, 1.0) * coefficients[:, order[-1]]
    return np.asarray(turned @ eigenvectors.vectors.T + means)


def moran_labels(
    labels: ArrayLike,
    *,
    weights: Any = None,
    distances: ArrayLike | None = None,
    eigenvectors: MoranEigenvectors | None = None,
    n_nulls: int,
    rng: int | np.random.Generator | None = None,
    procedure: Procedure = "singleton",
) -> NDArray[np.integer[Any]]:
    """Random partitions with communities of the same sizes, spread in space like the given ones.

    Labels are names: no number enters. The communities' indicator maps (1 inside, 0 outside) are randomised with the
    *same* signs or angles, so that they still add up to 1 at every unit; then each unit gets one community,
    such that the sizes are those observed and the sum of the chosen values is largest. Calling the communities
    otherwise gives the same nulls with the other names (the communities are worked through in the order of their
    first units).

    .. warning::
       The maps keep their spectrum, the partition made of them does not: choosing one community for each unit
       adds borders. The nulls' communities are less compact than the observed ones and often in several pieces (Yeo's
       networks on 119 Glasser areas: 0.31 of an area's five nearest neighbours share its label, observed 0.50, shuffled
       0.15), so a partition that is merely compact can still come out as significant. Where compactness itself is the
       alternative, use a null that keeps it ('regrow', 'spin').

    Parameters
    ----------
    labels : (n_units,) array
    weights, distances, eigenvectors, n_nulls, rng, procedure
        As for `moran`.

    Returns
    -------
    (n_nulls, n_units) array

    Raises
    ------
    InputError
        As for `moran`.
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise InputError(f"labels have shape {given.shape}; there must be one for each unit, (n_units,)")
    names, maps = indicators(given)
    sizes = maps.sum(axis=1).astype(np.intp)
    check_whole("n_nulls", n_nulls, 1)
    basis = _basis(weights, distances, eigenvectors)
    if len(given) != len(basis.vectors):
        raise InputError(f"there are {len(given)} labels, but the weights are of {len(basis.vectors)} units")
    random = generator(rng)
    nulls = np.empty((n_nulls, len(given)), dtype=given.dtype)
    at_once = max(1, _BLOCK_VALUES // maps.size)
    from fctoolbox.nulls._moran import sized_assignment

    for start in range(0, n_nulls, at_once):
        scores = moran(
            maps, eigenvectors=basis, n_nulls=min(at_once, n_nulls - start), rng=random, procedure=procedure,
            joint=True,
        )  # fmt: skip
        for k, each in enumerate(scores):
            nulls[start + k] = names[sized_assignment(each, sizes)]
    return nulls


def moran_eigenvectors(weights: Any) -> MoranEigenvectors:
    """The maps of mean zero into which Moran's I falls apart: eigenvectors of the doubly centred weights.

    Parameters
    ----------
    weights : (n_units, n_units) array or scipy.sparse array
        Only ``w_ij + w_ji`` matters, as in Moran's I, so nearest-neighbour weights need not be symmetric. The diagonal
        is not read: Moran's I has none, and the same number in all its places (1 mm⁻¹, as it is often
        set for inverse distances) moves the eigenvalues and leaves the eigenvectors as they are.

    Returns
    -------
    MoranEigenvectors
        All n_units - 1 of them, those with eigenvalue zero included: without them variance would be lost.

    Raises
    ------
    InputError
        If the weights are not square or not finite, all are zero, or there are too few or too many units.

    References
    ----------
    Dray, Legendre & Peres-Neto 2006, Ecological Modelling 196:483.
    """
    from scipy import sparse
    from scipy.linalg import eigh

    matrix = np.array(weights.toarray() if sparse.issparse(weights) else weights, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"the weights have shape {matrix.shape}, but they must be square (n_units, n_units)")
    n_units = len(matrix)
    if not _MIN_UNITS <= n_units <= _MOST_UNITS:
        raise InputError(
            f"the null 'moran' is for {_MIN_UNITS} to {_MOST_UNITS:,} units, and there are {n_units:,}; for vertices "
            "use the null 'variogram', 'spin' or 'regrow'"
        )
    np.fill_diagonal(matrix, 0)
    check_finite(matrix, "the weights")
    if not matrix.any():
        raise InputError("all weights are zero, so that no unit is another's neighbour")
    matrix = (matrix + matrix.T) / 2
    # The reflection that maps constant maps onto the first axis: without that axis, the rest has mean zero, exactly.
    mirror = np.full(n_units, 1 / np.sqrt(n_units))
    mirror[0] += 1
    mirror /= np.linalg.norm(mirror)
    product = matrix @ mirror
    product -= (mirror @ product) * mirror
    matrix -= 2 * (np.outer(mirror, product) + np.outer(product, mirror))
    values, inner = eigh(matrix[1:, 1:], overwrite_a=True, check_finite=False)
    vectors = np.vstack([np.zeros(n_units - 1), inner])
    vectors -= 2 * np.outer(mirror, mirror @ vectors)
    return MoranEigenvectors(vectors[:, ::-1], values[::-1])


def inverse_distances(distances: ArrayLike) -> NDArray[np.float64]:
    """Weights ``1 / d_ij``, zero on the diagonal.

    Parameters
    ----------
    distances : (n_units, n_units) array
        mm.

    Returns
    -------
    (n_units, n_units) array
        1/mm.

    Raises
    ------
    InputError
        If the distances cannot be used, or two units lie at one place.
    """
    lengths = check_distances(distances).astype(np.float64)
    np.fill_diagonal(lengths, 1)
    if (lengths == 0).any():
        i, j = np.argwhere(lengths == 0)[0]
        raise InputError(
            f"units {i} and {j} (counted from 0) lie at the same place, so that the inverse of their distance is "
            "infinite; leave one out, or give weights of your own"
        )
    lengths = 1 / lengths
    np.fill_diagonal(lengths, 0)
    return lengths


def _basis(weights: Any, distances: ArrayLike | None, eigenvectors: MoranEigenvectors | None) -> MoranEigenvectors:
    if sum(each is not None for each in (weights, distances, eigenvectors)) != 1:
        raise InputError("the null 'moran' needs one of weights, distances and eigenvectors")
    if eigenvectors is not None:
        return eigenvectors
    return moran_eigenvectors(inverse_distances(distances) if distances is not None else weights)


def _maps(maps: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(maps, dtype=np.float64)
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise InputError(f"the maps have shape {array.shape}; they need (n_units,) or (n_maps, n_units)")
    check_finite(np.atleast_2d(array), "the array of maps")
    return array


def _check_length(stack: NDArray[np.float64], basis: MoranEigenvectors) -> None:
    if stack.shape[-1] != len(basis.vectors):
        raise InputError(
            f"the maps have shape {stack.shape}, but the weights are of {len(basis.vectors)} units. Maps run along "
            "the last axis: (n_maps, n_units)"
        )


def _coefficients(maps: ArrayLike, eigenvectors: MoranEigenvectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stack = np.asarray(maps, dtype=np.float64)
    means = stack.mean(axis=1, keepdims=True)
    return means, (stack - means) @ eigenvectors.vectors
