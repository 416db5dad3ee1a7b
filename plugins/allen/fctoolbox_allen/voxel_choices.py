"""The options of the sources at voxel scale."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox_allen.ccf import HEMISPHERES
from fctoolbox_allen.rois import N_ROIS

UNITS = ("rois", "voxels")
RESOLUTIONS = (100, 200)
_OF_RUNS = ("mask", "confounds", "columns", "scrub", "low", "high", "smoothing_fwhm")  # series have a t_r, too


@dataclass(frozen=True)
class Choices:
    """The options of the voxel sources; see `load_voxel`."""

    annotation: str | None = None
    tree: str | None = None
    export: str | Path | None = None
    sources: str = "Thalamus"
    targets: str = "Isocortex"
    hemisphere: str = "left"
    units: str = "rois"
    n_rois: int = N_ROIS
    roi_volume: str | None = None
    save_rois: str | None = None
    resolution: int = 100
    max_gb: float = 8.0
    series: str | None = None
    runs: str | Sequence[str | Path] | None = None
    mask: str | Path | None = None
    t_r: float | None = None
    confounds: str | Sequence[str | Path] | None = None
    columns: str | Sequence[str] | None = None
    scrub: Any = None
    low: float = 0.01
    high: float = 0.1
    smoothing_fwhm: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, known in (
            ("hemisphere", self.hemisphere, HEMISPHERES),
            ("units", self.units, UNITS),
            ("resolution", self.resolution, RESOLUTIONS),
        ):
            if value not in known:
                words = [str(each) for each in known]
                raise InputError(
                    f"{option} is {value!r}; it must be {' or '.join(words)}.{suggestion(str(value), words)}"
                )
        if self.resolution != RESOLUTIONS[0] and self.units == "rois":
            raise InputError(
                f"resolution={self.resolution} is for units=voxels; regions (units=rois) have n_rois instead"
            )
        if self.units == "voxels" and self.roi_volume is not None:
            raise InputError("roi_volume is for units=rois, not for units=voxels")
        if self.series is not None and self.runs is not None:
            raise InputError("give the activity as one of series (regions' time series) and runs (NIfTI)")
        if self.export is not None and (given := self._given(("annotation", "tree"))):
            raise InputError(f"export has an annotation and a tree already; leave {' and '.join(given)} out, or export")
        if self.runs is None and (given := self._given(_OF_RUNS)):
            belong = "belongs" if len(given) == 1 else "belong"
            raise InputError(f"{listed(given)} {belong} to runs of your own: name their files with runs")
        check_whole("n_rois", self.n_rois, 1)
        check_whole("seed", self.seed, 0)
        if not self.max_gb > 0:
            raise InputError(f"max_gb is {self.max_gb}; it must be a positive number of GB")

    def _given(self, names: Sequence[str]) -> list[str]:
        """Those of the options that were not left at their defaults."""
        defaults = {each.name: each.default for each in fields(self)}
        given = []
        for name in names:
            value, default = getattr(self, name), defaults[name]
            # Only None is compared by identity: an option may be an array.
            if value is not None if default is None else value != default:
                given.append(name)
        return given
