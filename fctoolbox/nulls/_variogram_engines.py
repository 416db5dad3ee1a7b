"""Two engines that smooth maps and take their variograms: our own loops, and torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.devices import torch_for
from fctoolbox.nulls._variogram_space import SMOOTHING, Dense, Pairs, Space
from fctoolbox.threads import blocks, in_threads

_LANES = 8  # maps of one vector instruction
_MAPS_AT_ONCE = 8 * _LANES
_CHUNK_BYTES = 2**28


class Loops:
    """Our own loops, in threads."""

    def __init__(self, space: Space, n_jobs: int) -> None:
        self.space, self.n_jobs = space, n_jobs

    def smooth(self, maps: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_levels, n_units, n_maps) from (n_units, n_maps)."""
        return self.space.smooth(maps, self.n_jobs)

    def variograms(self, pairs: Pairs, stack: NDArray[np.float64], n_jobs: int = 0) -> NDArray[np.float64]:
        """(n_levels, n_maps, n_lags) from (n_levels, n_units, n_maps)."""
        from fctoolbox.nulls._variogram import DEGREE, moments

        n_levels, n_units, n_maps = stack.shape
        columns = stack.transpose(1, 0, 2).reshape(n_units, -1)
        variograms = np.empty((columns.shape[1], len(pairs.from_moments)))

        def task(chosen: slice) -> None:
            width = chosen.stop - chosen.start
            maps = np.zeros((n_units, -(-width // _LANES) * _LANES))
            maps[:, :width] = columns[:, chosen]
            sums = np.empty((len(pairs.starts) - 1, DEGREE + 1, maps.shape[1]))
            moments(maps, pairs.first, pairs.second, pairs.offset, pairs.starts, sums)
            variograms[chosen] = (pairs.from_moments @ sums.reshape(-1, maps.shape[1]))[:, :width].T

        for _ in in_threads(task, blocks(columns.shape[1], _MAPS_AT_ONCE), n_jobs or self.n_jobs):
            pass
        return variograms.reshape(n_levels, n_maps, -1)

    def chosen(self, stack: NDArray[np.float64], levels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Each map at its own level: (n_maps, n_units)."""
        return stack[levels, :, np.arange(len(levels))]


class Torch:
    """The same steps on a device of torch, in double precision; weights of pairs are used as they are, unbinned."""

    n_jobs = 1

    def __init__(self, space: Space, device: str) -> None:
        self.space = space
        self._torch = torch_for(device)
        self._device = device

    def smooth(self, maps: NDArray[np.float64]) -> Any:
        """(n_levels, n_units, n_maps) tensor."""
        space, moved = self.space, self._moved(maps)
        smooth = self._torch.empty((len(space.counts), *maps.shape), dtype=self._torch.float64, device=self._device)
        n_terms = 1 if isinstance(space, Dense) else space.nearest.indices.shape[1] * maps.shape[1]
        size = min(128, max(1, _CHUNK_BYTES // (8 * n_terms)))
        for rows in blocks(space.n_units, size):
            if isinstance(space, Dense):
                near = space.distances[rows].astype(np.float64)
                for level in range(len(space.counts)):
                    smooth[level, rows] = self._moved(space.weights(near, rows, level)) @ moved
            else:
                neighbours = moved[self._moved(space.nearest.indices[rows].astype(np.int64))]
                smooth[:, rows] = (self._moved(space.weights(rows)) @ neighbours).transpose(0, 1)
        return smooth

    def variograms(self, pairs: Pairs, stack: Any, n_jobs: int = 1) -> NDArray[np.float64]:  # noqa: ARG002
        """(n_levels, n_maps, n_lags) array from (n_levels, n_units, n_maps)."""
        torch, lags = self._torch, self.space.lags
        moved = self._moved(stack) if isinstance(stack, np.ndarray) else stack
        n_levels, n_units, n_maps = moved.shape
        columns = moved.transpose(0, 1).reshape(n_units, -1)
        sums = torch.zeros((len(lags), columns.shape[1]), dtype=torch.float64, device=self._device)
        total = torch.zeros((len(lags), 1), dtype=torch.float64, device=self._device)
        places = self._moved(lags)[:, None]
        for chosen in blocks(len(pairs.first), max(1, _CHUNK_BYTES // (8 * max(columns.shape[1], len(lags))))):
            first, second = (self._moved(each[chosen].astype(np.int64)) for each in (pairs.first, pairs.second))
            apart = (self._moved(pairs.lengths[chosen]) - places) * (SMOOTHING / (lags[1] - lags[0]))
            weights = torch.exp(-(apart**2) / 2)
            sums += weights @ (columns[first] - columns[second]) ** 2
            total += weights.sum(dim=1, keepdim=True)
        found: NDArray[np.float64] = (sums / (2 * total)).T.reshape(n_levels, n_maps, -1).cpu().numpy()
        return found

    def chosen(self, stack: Any, levels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Each map at its own level: (n_maps, n_units)."""
        maps: NDArray[np.float64] = stack[self._moved(levels), :, self._moved(np.arange(len(levels)))].cpu().numpy()
        return maps

    def _moved(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


Engine = Loops | Torch
