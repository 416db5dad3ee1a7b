"""Smooth random maps: Gaussian fields whose covariance depends on distance."""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, check_whole
from fctoolbox.randomness import generator
from fctoolbox.system import Floats, Surface, check_finite, check_symmetric

KERNELS = ("gaussian", "exponential")
_JITTER = 1e-8
_CLIPPED = 0.01  # of the variance: beyond this the covariance is not the one asked for
_FEATURES = 2000
_PROBES = 64
_BLOCK_VALUES = 2**24

Kernel = Literal["gaussian", "exponential"]


def smooth_fields(
    distances: Floats,
    *,
    length_scale: float,
    n_fields: int,
    rng: int | np.random.Generator | None = None,
    kernel: Kernel = "gaussian",
) -> NDArray[np.float64]:
    """Gaussian random fields of mean 0 and variance 1, correlated by distance alone.

    The covariance of two units at distance d is ``exp(-d² / (2 ℓ²))`` (``gaussian``: smooth fields) or ``exp(-d / ℓ)``
    (``exponential``: rough ones). Both are positive definite for straight distances, and the second for distances
    along a sphere. For other distances (geodesics, means over parcels) they need not be: negative eigenvalues are
    then set to zero and the variances brought back to 1, which gives the covariance of `covariance_of`.

    Parameters
    ----------
    distances : (n_units, n_units) array
        mm; symmetric, zero on the diagonal.
    length_scale : float
        ℓ, mm.
    n_fields : int
    rng : int, Generator or None
    kernel : {"gaussian", "exponential"}

    Returns
    -------
    (n_fields, n_units) array

    Raises
    ------
    InputError
        If the distances are not square, symmetric, finite and at least 0, with a zero diagonal, or an option cannot
        be used.

    Warns
    -----
    UserWarning
        If negative eigenvalues hold more than 1 % of the variance.

    References
    ----------
    Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, sections 4.2 and A.2; Gneiting 2013, Bernoulli
    19:1327 (spheres).
    """
    root, _ = _root(distances, length_scale, kernel)
    check_whole("n_fields", n_fields, 1)
    return np.asarray(generator(rng).standard_normal((n_fields, root.shape[1])) @ root.T)


def covariance_of(distances: Floats, *, length_scale: float, kernel: Kernel = "gaussian") -> NDArray[np.float64]:
    """The covariance that `smooth_fields` have for these distances; (n_units, n_units), with ones on the diagonal."""
    root, _ = _root(distances, length_scale, kernel)
    return np.asarray(root @ root.T)


def smooth_fields_at(
    positions: Floats, *, length_scale: float, n_fields: int, rng: int | np.random.Generator | None = None
) -> NDArray[np.float64]:
    """Smooth fields of many units, from their positions: no matrix of distances is formed.

    Random Fourier features: each field is the sum of 2,000 plane waves of random frequency, phase and amplitude, and
    its covariance ``exp(-d² / (2 ℓ²))``, d straight, is exact over repeated draws.

    Parameters
    ----------
    positions : (n_units, n_dimensions) array
        mm.
    length_scale : float
        ℓ, mm.
    n_fields : int
    rng : int, Generator or None

    Returns
    -------
    (n_fields, n_units) array
        Mean 0, variance 1 (over fields).

    Raises
    ------
    InputError
        If the positions are not finite numbers in two dimensions, or an option cannot be used.

    References
    ----------
    Rahimi & Recht 2007, Advances in Neural Information Processing Systems 20.
    """
    positions = np.asarray(positions, dtype=np.float64)
    if positions.ndim != 2:
        raise InputError(f"positions have shape {positions.shape}; they need (n_units, n_dimensions)")
    check_finite(positions, "positions")
    _check_length(length_scale)
    check_whole("n_fields", n_fields, 1)
    own = generator(rng)
    fields = np.empty((n_fields, len(positions)))
    rows = max(1, _BLOCK_VALUES // _FEATURES)
    for field in fields:  # waves of its own for each field: those of others would tie them together
        waves = own.standard_normal((positions.shape[1], _FEATURES)) / length_scale
        phases = own.uniform(0, 2 * np.pi, _FEATURES)
        amplitudes = own.standard_normal(_FEATURES) * np.sqrt(2 / _FEATURES)
        for start in range(0, len(positions), rows):
            part = slice(start, start + rows)
            field[part] = np.cos(positions[part] @ waves + phases) @ amplitudes
    return fields


def smooth_fields_on_mesh(
    surface: Surface, *, length_scale: float, n_fields: int, rng: int | np.random.Generator | None = None
) -> NDArray[np.float64]:
    """Smooth fields at the vertices of a mesh, correlated along the surface, for meshes of any size.

    Solutions of ``(κ² - Δ) f = noise`` by linear finite elements, κ = √8 / ℓ: Matérn fields (ν = 1) whose correlation
    is ``κ d K₁(κ d)`` at a distance d along the surface, 0.14 at d = ℓ, where the surface is flat at the scale of ℓ.
    Their variance is 1 on average over each connected mesh, and larger at a rim. Separate meshes are independent.

    Parameters
    ----------
    surface : Surface
        Its sphere and units are not used.
    length_scale : float
        ℓ, mm; edges should be shorter than half of it.
    n_fields : int
    rng : int, Generator or None

    Returns
    -------
    (n_fields, n_vertices) array

    Raises
    ------
    InputError
        If a vertex belongs to no face, a face has no area, or an option cannot be used.

    References
    ----------
    Lindgren, Rue & Lindström 2011, J R Stat Soc B 73:423, sections 2.3 and 3.1.
    """
    from scipy.sparse.linalg import splu

    _check_length(length_scale)
    check_whole("n_fields", n_fields, 1)
    mass, stiffness = _finite_elements(surface)
    own = generator(rng)
    solve = splu((sparse.diags_array(8 / length_scale**2 * mass) + stiffness).tocsc()).solve
    noise = np.sqrt(mass)[:, None]

    def drawn(n: int) -> NDArray[np.float64]:
        return np.asarray(solve(noise * own.standard_normal((n, len(mass))).T)).T

    probes = drawn(_PROBES)
    _, mesh = sparse.csgraph.connected_components(stiffness, directed=False)
    variance = np.bincount(mesh, weights=(probes**2).mean(axis=0) * mass) / np.bincount(mesh, weights=mass)
    fields = drawn(n_fields)
    return np.asarray(fields / np.sqrt(variance[mesh]))


def _root(distances: Floats, length_scale: float, kernel: Kernel) -> tuple[NDArray[np.float64], float]:
    """A matrix whose product with its transpose is the covariance, and the share of variance that was clipped."""
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise InputError(f"distances have shape {distances.shape}, but must be square (n_units, n_units)")
    check_finite(distances, "distances")
    check_symmetric(distances, "distances")
    if distances.min() < 0 or np.abs(np.diagonal(distances)).max() > 0:
        raise InputError("distances must be ≥ 0, with zeros on the diagonal")
    _check_length(length_scale)
    if kernel not in KERNELS:
        raise InputError(f"kernel is {kernel!r}; it must be one of {', '.join(map(repr, KERNELS))}")
    scaled = distances / length_scale
    covariance = np.exp(-(scaled**2) / 2) if kernel == "gaussian" else np.exp(-scaled)
    try:
        return np.linalg.cholesky(covariance + _JITTER * np.eye(len(covariance))) / np.sqrt(1 + _JITTER), 0.0
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    clipped = float(-values[values < 0].sum() / np.abs(values).sum())
    if clipped > _CLIPPED:
        warnings.warn(
            f"the {kernel} covariance with length scale {length_scale:g} mm is not positive definite for these "
            f"distances: negative eigenvalues with {100 * clipped:.1f} % of the variance were set to 0; a shorter "
            "length scale, or straight distances, need less",
            stacklevel=3,
        )
    root = vectors * np.sqrt(np.maximum(values, 0))
    return root / np.linalg.norm(root, axis=1, keepdims=True), clipped


def _check_length(length_scale: Any) -> None:
    number = isinstance(length_scale, int | float | np.number) and not isinstance(length_scale, bool)
    if not (number and np.isfinite(length_scale) and length_scale > 0):
        raise InputError(f"length_scale is {length_scale!r}; it must be a positive number of mm")


def _finite_elements(surface: Surface) -> tuple[NDArray[np.float64], sparse.csr_array]:
    """Area of each vertex (a third of its faces') and stiffness matrix (cotangents) of a mesh."""
    corners = np.asarray(surface.vertices, dtype=np.float64)[surface.faces]
    n_vertices = len(surface.vertices)
    # The side opposite each corner.
    sides = np.stack([corners[:, (k + 2) % 3] - corners[:, (k + 1) % 3] for k in range(3)], axis=1)
    twice_area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    if len(flat := np.flatnonzero(twice_area == 0)):
        raise InputError(f"face {flat[0]} of the mesh (counted from 0) has no area")
    thirds = np.repeat(twice_area / 6, 3)
    mass = np.bincount(surface.faces.ravel(), weights=thirds, minlength=n_vertices).astype(np.float64)
    if len(loose := np.flatnonzero(mass == 0)):
        raise InputError(f"vertex {loose[0]} of the mesh (counted from 0) belongs to no face")
    products = np.einsum("fak,fbk->fab", sides, sides) / (2 * twice_area)[:, None, None]
    rows, columns = np.repeat(surface.faces, 3, axis=1).ravel(), np.tile(surface.faces, (1, 3)).ravel()
    return mass, sparse.csr_array((products.ravel(), (rows, columns)), shape=(n_vertices, n_vertices))
