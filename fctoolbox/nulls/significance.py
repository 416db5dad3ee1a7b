"""How an observed value stands among its nulls."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError


@dataclass(frozen=True, eq=False)
class NullTest:
    """An observed value among its nulls.

    Parameters
    ----------
    model : str
        Name of the null.
    values : (n,) array
        The statistic of each null.
    mean, sd : float
    z : float or None
        ``(observed - mean) / sd``; None where the nulls have no spread.
    p_value : float
        ``(1 + #{null >= observed}) / (1 + n)``, one-sided, never zero.
    """

    model: str
    values: NDArray[np.float64]
    mean: float
    sd: float
    z: float | None
    p_value: float

    @property
    def n(self) -> int:
        """How many nulls."""
        return len(self.values)

    def to_dict(self) -> dict[str, Any]:
        """As in report.json."""
        return {
            "model": self.model,
            "n": self.n,
            "mean": self.mean,
            "sd": self.sd,
            "z": self.z,
            "p_value": self.p_value,
        }


def significance(observed: float, nulls: ArrayLike, *, model: str) -> NullTest:
    """Compare an observed value with the nulls' values, one-sided.

    Parameters
    ----------
    observed : float
    nulls : (n,) array
    model : str
        Name of the null.

    Returns
    -------
    NullTest

    References
    ----------
    Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39: p-values of permutation tests are never zero.

    Examples
    --------
    >>> significance(3.0, [1.0, 2.0, 3.0], model="example").p_value
    0.5
    """
    values = np.array(nulls, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(f"the nulls have shape {values.shape}; they need one value each")
    if not np.isfinite(values).all() or not np.isfinite(observed):
        raise InputError(
            f"null '{model}': the statistic is not finite in {(~np.isfinite(values)).sum()} of {len(values)} nulls"
        )
    values.flags.writeable = False
    mean, sd = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    rounding = 1e-12 * max(1.0, abs(observed), float(np.abs(values).max()))
    # A null that arranges the units just as observed differs by rounding alone, and must count.
    at_least = int((values >= observed - rounding).sum())
    z = (observed - mean) / sd if sd > rounding else None
    return NullTest(model, values, mean, sd, z, (1 + at_least) / (1 + len(values)))
