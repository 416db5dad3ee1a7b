"""Whether two samples differ, and by how much."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError
from fctoolbox.systems import cohens_d, rank_biserial


@dataclass(frozen=True)
class PairedTest:
    """Student's t of matched pairs; Cohen's d of their differences (d_z) and the matched-pairs rank-biserial r."""

    t: float | None
    p_value: float | None
    cohens_d: float | None
    rank_biserial: float | None


@dataclass(frozen=True)
class SampleComparison:
    """Two samples beside each other. A number is None where the values have no spread that it could be measured by.

    Parameters
    ----------
    n : two int
    mean, sd : two float
        sd is None of a single value.
    t, df, p_value : float or None
        Welch's two-sample test, two-sided.
    cohens_d : float or None
        Difference of the means in pooled standard deviations.
    cliffs_delta : float
        P(a > b) - P(a < b), in [-1, 1].
    paired : PairedTest or None
    """

    n: tuple[int, int]
    mean: tuple[float, float]
    sd: tuple[float | None, float | None]
    t: float | None
    df: float | None
    p_value: float | None
    cohens_d: float | None
    cliffs_delta: float
    paired: PairedTest | None = None

    @property
    def difference(self) -> float:
        """Mean of the first less mean of the second."""
        return self.mean[0] - self.mean[1]

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "difference": self.difference}


def compare_samples(a: ArrayLike, b: ArrayLike, *, paired: bool = False) -> SampleComparison:
    """Welch's test with Cohen's d and Cliff's delta; for matched pairs the paired test as well.

    Values of one network are no two independent samples: compare them as pairs. Welch's test then stands beside it for
    comparison with papers that took it.

    Parameters
    ----------
    a, b : (n,) arrays
    paired : bool
        Whether a[i] belongs with b[i].

    Returns
    -------
    SampleComparison

    Raises
    ------
    InputError
        If a sample is empty or not finite, or pairs lack a partner.

    References
    ----------
    Welch 1947, Biometrika 34:28; Cohen 1988, Statistical Power Analysis, 2nd ed., equation 2.5.1; Cliff 1993,
    Psychological Bulletin 114:494.

    Examples
    --------
    >>> compare_samples([2.0, 3.0, 4.0], [0.0, 1.0, 2.0]).cohens_d
    2.0
    """
    one, other = _sample(a, "the first sample"), _sample(b, "the second sample")
    variances = [float(values.var(ddof=1)) if len(values) > 1 else None for values in (one, other)]
    # Values that are equal but for rounding have no spread.
    least = (1e-12 * max(1.0, float(np.abs(one).max()), float(np.abs(other).max()))) ** 2
    t, df, p, d = None, None, None, None
    difference = float(one.mean() - other.mean())
    if variances[0] is not None and variances[1] is not None and sum(each or 0 for each in variances) > least:
        shares = [
            variance / len(values)
            for variance, values in zip(variances, (one, other), strict=True)
            if variance is not None
        ]
        t = difference / float(np.sqrt(sum(shares)))
        df = sum(shares) ** 2 / sum(
            share**2 / (len(values) - 1) for share, values in zip(shares, (one, other), strict=True)
        )
        p = _two_sided(t, df)
        pooled = sum(
            share * len(values) * (len(values) - 1) for share, values in zip(shares, (one, other), strict=True)
        ) / (len(one) + len(other) - 2)
        d = difference / float(np.sqrt(pooled))
    return SampleComparison(
        n=(len(one), len(other)),
        mean=(float(one.mean()), float(other.mean())),
        sd=(_root(variances[0]), _root(variances[1])),
        t=t,
        df=df,
        p_value=p,
        cohens_d=d,
        cliffs_delta=cliffs_delta(one, other),
        paired=_paired(one, other) if paired else None,
    )


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """P(a > b) - P(a < b) for a value of each sample; 0 where neither tends to be larger.

    References
    ----------
    Cliff 1993, Psychological Bulletin 114:494.
    """
    one, other = np.asarray(a, dtype=np.float64), np.sort(np.asarray(b, dtype=np.float64))
    above = np.searchsorted(other, one, side="left").sum()
    below = (len(other) - np.searchsorted(other, one, side="right")).sum()
    return float((above - below) / (len(one) * len(other)))


def _paired(one: NDArray[np.float64], other: NDArray[np.float64]) -> PairedTest:
    if len(one) != len(other):
        raise InputError(f"the samples have {len(one)} and {len(other)} values; in pairs each needs its partner")
    differences = one - other
    d = cohens_d(differences)
    if d is None:
        return PairedTest(None, None, None, rank_biserial(differences))
    t = d * float(np.sqrt(len(one)))
    return PairedTest(t, _two_sided(t, len(one) - 1), d, rank_biserial(differences))


def _two_sided(t: float, df: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def _root(variance: float | None) -> float | None:
    return None if variance is None else float(np.sqrt(variance))


def _sample(values: ArrayLike, what: str) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise InputError(f"{what} has shape {sample.shape}; it needs one or more values in a row")
    if not np.isfinite(sample).all():
        raise InputError(
            f"{what} has {np.count_nonzero(~np.isfinite(sample))} values that are not finite (NaN or infinity)"
        )
    return sample
