"""Spheres, grids and partitions of them that several tests of nulls use."""

import numpy as np
from scipy.spatial import ConvexHull

import fctoolbox as fct


def sphere(n, radius=50.0):
    """A mesh with n vertices, evenly spread along a spiral; each vertex is a unit."""
    i = np.arange(n) + 0.5
    height, angle = 1 - 2 * i / n, np.pi * (1 + 5**0.5) * i
    flat = np.sqrt(1 - height**2)
    vertices = radius * np.stack([np.cos(angle) * flat, np.sin(angle) * flat, height], axis=1)
    return fct.Surface(vertices=vertices, faces=ConvexHull(vertices).simplices, unit_of_vertex=np.arange(n))


def caps(surface, n_modules, seed):
    """Voronoi cells of random directions."""
    directions = np.random.default_rng(seed).standard_normal((n_modules, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.argmax(surface.vertices @ directions.T, axis=1)


def grid(*shape):
    """Each voxel a unit."""
    return fct.LabelVolume(unit_of_voxel=np.arange(np.prod(shape)).reshape(shape), affine=np.diag([2.0, 2, 2, 1]))
