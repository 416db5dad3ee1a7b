"""What chance would give: one module per null, all returning ``(n_nulls, n_units)``."""

from fctoolbox.nulls.distances import euclidean_distances
from fctoolbox.nulls.permutation import permutation
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.nulls.variogram import variogram

__all__ = ["NullTest", "euclidean_distances", "permutation", "significance", "variogram"]
