"""What chance would give: one module per null, all returning ``(n_nulls, n_units)``."""

from fctoolbox.nulls.distances import (
    euclidean_distances,
    geodesic_distances,
    geodesic_within,
    great_circle_distances,
    nearest_euclidean,
    nearest_geodesic,
    parcel_distances,
)
from fctoolbox.nulls.edges import DistanceBin, correlation_by_distance, partial_correlation
from fctoolbox.nulls.graph import mesh_graph, nearest_graph, neighbours_of, voxel_graph
from fctoolbox.nulls.moran import moran, moran_eigenvectors, moran_labels
from fctoolbox.nulls.permutation import permutation
from fctoolbox.nulls.projection import ProjectionModes, projection_modes
from fctoolbox.nulls.regrow import boundary_length, n_pieces, regrow
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.nulls.spin import sphere_positions, spin, unit_hemispheres
from fctoolbox.nulls.variogram import VariogramSurrogates, variogram, variogram_surrogates

__all__ = [
    "DistanceBin",
    "NullTest",
    "ProjectionModes",
    "VariogramSurrogates",
    "boundary_length",
    "correlation_by_distance",
    "euclidean_distances",
    "geodesic_distances",
    "geodesic_within",
    "great_circle_distances",
    "mesh_graph",
    "moran",
    "moran_eigenvectors",
    "moran_labels",
    "n_pieces",
    "nearest_euclidean",
    "nearest_geodesic",
    "nearest_graph",
    "neighbours_of",
    "parcel_distances",
    "partial_correlation",
    "permutation",
    "projection_modes",
    "regrow",
    "significance",
    "sphere_positions",
    "spin",
    "unit_hemispheres",
    "variogram",
    "variogram_surrogates",
    "voxel_graph",
]
