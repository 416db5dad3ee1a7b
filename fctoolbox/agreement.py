"""How alike two partitions of the same units are."""

import math
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError


def adjusted_rand(one: ArrayLike, other: ArrayLike) -> float:
    """Adjusted Rand index: the share of pairs that both put together or apart, corrected for chance.

    Parameters
    ----------
    one, other : (n_units,) array
        Community of each unit: numbers or names.

    Returns
    -------
    float
        1 for the same partition, about 0 for independent ones; it can be negative.

    References
    ----------
    Hubert & Arabie 1985, J Classif 2:193. Computed by scikit-learn.

    Examples
    --------
    >>> adjusted_rand([0, 0, 1, 1], ["b", "b", "a", "a"])
    1.0
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*_pair(one, other)))


def adjusted_mutual_information(one: ArrayLike, other: ArrayLike) -> float:
    """Adjusted mutual information: what one partition says of the other, corrected for chance.

    Unlike the Rand index it does not let the pairs of the largest communities decide.

    Parameters
    ----------
    one, other : (n_units,) array

    Returns
    -------
    float
        1 for the same partition, about 0 for independent ones; normalised by the mean of the two entropies.

    References
    ----------
    Vinh, Epps & Bailey 2010, J Mach Learn Res 11:2837. Computed by scikit-learn.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(*_pair(one, other)))


def variation_of_information(one: ArrayLike, other: ArrayLike) -> float:
    """Variation of information, ``(H(X|Y) + H(Y|X)) / ln n``: a distance between partitions.

    Parameters
    ----------
    one, other : (n_units,) array

    Returns
    -------
    float
        0 for the same partition, at most 1; multiply by ``ln(n_units)`` for nats.

    References
    ----------
    Meilă 2007, J Multivar Anal 98:873, equation 15; normalised as in its section 5.1.
    """
    both, first, second = _counts(*_pair(one, other))
    n = int(both.sum())
    if n < 2:
        raise InputError("a single unit has no partitions to tell apart")
    apart = 2 * _entropy(both, n) - _entropy(first, n) - _entropy(second, n)
    return max(0.0, apart / math.log(n))


def z_rand(one: ArrayLike, other: ArrayLike) -> float:
    """z-score of the Rand coefficient: how many standard deviations of random relabelling it stands above chance.

    It grows with the number of units, so compare it between partitions of one set of units only.

    Parameters
    ----------
    one, other : (n_units,) array

    Returns
    -------
    float

    Raises
    ------
    InputError
        If random relabelling changes nothing: a partition holds one community or only single units, or one holds a
        single unit beside one community, and the other communities of one size.

    References
    ----------
    Traud, Kelsic, Mucha & Porter 2011, SIAM Rev 53:526, equations 3-6.
    """
    counts = _counts(*_pair(one, other))
    n = int(counts[0].sum())
    if n < 4:
        raise InputError(f"z-Rand needs 4 units or more, not {n}")
    pairs = n * (n - 1) // 2
    # Whole numbers of any size: the terms nearly cancel, and n³ leaves the range of machine integers.
    both, first, second = ([int(size) for size in sizes] for sizes in counts)
    together, m1, m2 = (sum(k * (k - 1) // 2 for k in sizes) for sizes in (both, first, second))
    if m1 in (0, pairs) or m2 in (0, pairs):
        raise InputError("a partition holds one community, or only single units, so its z-Rand is undefined")
    c1, c2 = (
        n * (n**2 - 3 * n - 2) - 8 * (n + 1) * m + 4 * sum(k**3 for k in sizes)
        for m, sizes in ((m1, first), (m2, second))
    )
    a1, a2 = ((4 * m - 2 * pairs) ** 2 for m in (m1, m2))
    variance = (
        Fraction(pairs, 16)
        - Fraction(a1 * a2, 256 * pairs**2)
        + Fraction(c1 * c2, 16 * n * (n - 1) * (n - 2))
        + Fraction((a1 - 4 * c1 - 4 * pairs) * (a2 - 4 * c2 - 4 * pairs), 64 * n * (n - 1) * (n - 2) * (n - 3))
    )
    if not variance:
        raise InputError("random relabelling never changes how many pairs these partitions share: z-Rand is undefined")
    return float(together - Fraction(m1 * m2, pairs)) / math.sqrt(variance)


def mean_agreement(partitions: ArrayLike) -> float:
    """Mean adjusted Rand index over all pairs of partitions; 1 for a single one.

    Parameters
    ----------
    partitions : (n_partitions, n_units) array

    Returns
    -------
    float
    """
    rows = np.asarray(partitions)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"partitions have shape {rows.shape}; they need (n_partitions, n_units)")
    # Restarts often end in the same partition: each pair of different ones is compared once.
    different, counts = np.unique(rows, axis=0, return_counts=True)
    n = len(rows)
    if n == 1:
        return 1.0
    total = sum(int(count) * (int(count) - 1) / 2 for count in counts)
    for i, j in combinations(range(len(different)), 2):
        total += float(counts[i] * counts[j]) * adjusted_rand(different[i], different[j])
    return total / (n * (n - 1) / 2)


def check_labels(labels: NDArray[Any]) -> None:
    """Refuse labels of which some are missing.

    Raises
    ------
    InputError
    """
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError("labels hold NaN or infinity; give every unit a community")
    if labels.dtype.kind == "O" and any(name is None or name != name for name in labels.ravel()):
        raise InputError("labels hold None or NaN; give every unit a community")


def _pair(one: ArrayLike, other: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    arrays = [np.asarray(each) for each in (one, other)]
    for array in arrays:
        if array.ndim != 1 or not len(array):
            raise InputError(f"a partition has shape {array.shape}; it needs one label for each unit")
        check_labels(array)
    if len(arrays[0]) != len(arrays[1]):
        raise InputError(f"the partitions are of {len(arrays[0])} and {len(arrays[1])} units; they must be of the same")
    first, second = (
        np.unique(array.astype(str) if array.dtype.kind == "O" else array, return_inverse=True)[1].astype(np.intp)
        for array in arrays
    )
    return first, second


def _counts(
    one: NDArray[np.intp], other: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Units in each community of both at once (where there are any), of the first and of the second."""
    both = np.unique(one * (int(other.max()) + 1) + other, return_counts=True)[1]
    return both, np.bincount(one), np.bincount(other)


def _entropy(counts: NDArray[np.intp], n: int) -> float:
    shares = counts / n
    return float(-(shares * np.log(shares)).sum())
