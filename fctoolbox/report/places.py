"""Where the modules are: on the cortical surface, in the volume, at positions, or in the space of activity."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chance import is_large
from fctoolbox.origin import OriginReport
from fctoolbox.report.figures import WIDTH, module_colours, new_figure
from fctoolbox.system import Floats, LabelVolume, Surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NOWHERE = (0.87, 0.87, 0.87)
_ENDS = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "dorsal", "I": "ventral"}
_NAME_SIZE = 5.0  # points
_MIN_PIXELS = 15  # a smaller patch bears no name
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
_MAX_TRACES = 6
# The side from which a plane is looked at: left is left where both are seen, and the nose is up or to the left.
_PLANES = {"P": "coronal", "S": "horizontal", "L": "sagittal"}
_N_SLICES = 4
_MARGIN = 0.2  # of the longest side, so that letters stand beside the brain
_LETTERS = "#666666"
_LEGEND_WIDTH = 40  # letters of a legend, beside its colours, across a column


def place_of(report: OriginReport) -> str:
    """What the modules are drawn on: the most telling picture that the system allows."""
    geometry = report.system.geometry
    if geometry is not None and geometry.surface is not None and _sides(geometry.surface):
        return "surface"
    if volume_of(report) is not None:
        return "volume"
    if geometry is not None and geometry.positions is not None:
        return "positions"
    return "similarity" if report.system.activity.timeseries is None else "activity"


def volume_of(report: OriginReport) -> LabelVolume | None:
    """The volume that holds the units; None where no voxel belongs to one."""
    volume = None if report.system.geometry is None else report.system.geometry.volume
    return volume if volume is not None and (volume.unit_of_voxel >= 0).any() else None


def modules_figure(report: OriginReport) -> "Figure":
    """The modules, drawn on the place that `place_of` names."""
    return {
        "surface": _surface_figure,
        "volume": _volume_figure,
        "activity": _activity_figure,
        "similarity": _spectral_figure,
        "positions": _positions_figure,
    }[place_of(report)](report)


def _part(report: OriginReport, name: str) -> Any:
    return getattr(report.system.geometry, name)


def _legend(figure: "Figure", report: OriginReport) -> None:
    from matplotlib.patches import Patch

    n = report.communities.n
    sizes = report.communities.sizes
    handles = [Patch(color=colour, label=f"{i} ({sizes[i]})") for i, colour in enumerate(module_colours(n)[:16])]
    title = "Module (units)" if n <= 16 else f"Module (units); first 16 of {n}"
    longest = max(len(handle.get_label()) for handle in handles)
    figure.legend(
        handles=handles,
        title=title,
        frameon=False,
        loc="outside lower center",
        ncols=min(n, _LEGEND_WIDTH // (longest + 1)),
        columnspacing=1.0,
    )


def _rgb(n_modules: int) -> NDArray[np.float64]:
    """(n_modules + 1, 3): a colour for each module; the last one for what belongs to none."""
    from matplotlib.colors import to_rgb

    return np.array([*map(to_rgb, module_colours(n_modules)), _NOWHERE])


# --- surface ---------------------------------------------------------------------------------------------------------


def _surface_figure(report: OriginReport) -> "Figure":
    """Every hemisphere that holds units, from outside and from the midline."""
    surface = _part(report, "surface")
    shown = _sides(surface)
    figure = new_figure(height=0.45 + 1.35 * len(shown) if len(shown) > 1 else 1.9)
    panels = figure.subplots(len(shown), 2, squeeze=False)
    colours = _rgb(report.communities.n)
    module_of_unit = np.append(report.communities.labels, report.communities.n)  # index -1: no unit
    module_of_vertex = module_of_unit[np.maximum(surface.unit_of_vertex, -1)]
    for row, (side, faces) in zip(panels, shown.items(), strict=True):
        outside = -1.0 if side == "left" else 1.0
        for axes, towards, view in ((row[0], outside, "lateral"), (row[1], -outside, "medial")):
            _draw_mesh(axes, surface.vertices, faces, colours[module_of_vertex], towards)
            axes.set_title(f"{side} {view}", pad=2)
    _legend(figure, report)
    return figure


def _sides(surface: Surface) -> dict[str, NDArray[Any]]:
    """The faces of each hemisphere on which a unit can be seen."""
    of_vertex = (
        np.where(surface.vertices[:, 0] < 0, "left", "right")
        if surface.hemispheres is None
        else np.array(surface.hemispheres)
    )
    faces = {side: surface.faces[(of_vertex[surface.faces] == side).all(axis=1)] for side in ("left", "right")}
    return {side: its for side, its in faces.items() if (surface.unit_of_vertex[its] >= 0).any()}


def _draw_mesh(
    axes: "Axes", vertices: Floats, faces: NDArray[Any], colours: NDArray[np.float64], towards: float
) -> None:
    """The faces that look at a viewer on the x axis (`towards` is its sign), the nearest drawn last."""
    from matplotlib.collections import PolyCollection

    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # Whether faces wind clockwise differs between files: outward is away from the middle of the mesh.
    outward = np.sign(
        np.einsum("ij,ij->i", normals, corners.mean(axis=1) - vertices[np.unique(faces)].mean(axis=0)).sum()
    )
    normals *= outward if outward else 1
    visible = np.flatnonzero(normals[:, 0] * towards > 0)
    visible = visible[np.argsort(corners[visible, :, 0].mean(axis=1) * towards)]
    light = 0.55 + 0.45 * normals[visible, 0] * towards
    # A face takes the colour of most of its corners (of the first, when all three differ).
    of_corner = colours[faces[visible]]
    same = (of_corner[:, 1] == of_corner[:, 2]).all(axis=1)
    shade = np.where(same[:, None], of_corner[:, 1], of_corner[:, 0]) * light[:, None]
    flat = np.stack([-towards * corners[visible, :, 1] * -1, corners[visible, :, 2]], axis=-1)
    axes.add_collection(PolyCollection(flat, facecolors=shade, edgecolors=shade, linewidths=0.15, rasterized=True))
    axes.autoscale_view()
    axes.set_aspect("equal")
    axes.set_axis_off()


# --- volume ----------------------------------------------------------------------------------------------------------


def _volume_figure(report: OriginReport) -> "Figure":
    """The units seen from above and from both sides."""
    volume = _part(report, "volume")
    figure = new_figure(height=3.4)
    # -2 (brain without a unit) and -1 (air) pick the last two colours.
    code = np.append(report.communities.labels, [report.communities.n, report.communities.n + 1])
    colours = np.vstack([_rgb(report.communities.n), (1, 1, 1)])
    views = _named_views(volume)
    for place, letter in (((1, 3), "S"), (2, "L"), (4, "R")):
        axes = figure.add_subplot(2, 2, place)
        picture, right, down = _seen(volume, letter)
        axes.imshow(colours[code[picture]], extent=(*right.edges, *down.edges[::-1]), interpolation="nearest")
        axes.set_title(views[letter], pad=3)
        axes.set_xlabel(f"{_ENDS[_OPPOSITE[right.leads]]} – {_ENDS[right.leads]} (mm)", labelpad=1)
        axes.set_ylabel(f"{_ENDS[down.leads]} – {_ENDS[_OPPOSITE[down.leads]]} (mm)", labelpad=1)  # read upwards
        _name_regions(axes, picture, report.system.units, right, down)
    _legend(figure, report)
    return figure


@dataclass(frozen=True)
class _Axis:
    """One axis of a picture: where it leads, the coordinates (mm) of its two ends, and its number of pixels."""

    leads: str
    edges: tuple[float, float]
    n: int

    @property
    def length(self) -> float:
        return abs(self.edges[1] - self.edges[0])

    def around(self, length: float) -> tuple[float, float]:
        """The two ends of a piece of that length with the same middle and direction."""
        middle, half = sum(self.edges) / 2, np.sign(self.edges[1] - self.edges[0]) * length / 2
        return float(middle - half), float(middle + half)

    @property
    def turned(self) -> "_Axis":
        return _Axis(_OPPOSITE[self.leads], self.edges[::-1], self.n)

    def at(self, pixel: int) -> float:
        return self.edges[0] + (pixel + 0.5) * (self.edges[1] - self.edges[0]) / self.n


def _named_views(volume: LabelVolume) -> dict[str, str]:
    """What is seen from above, left and right: of a single hemisphere its outer side and its midline."""
    axis = _axis_of(volume, "R")
    used = np.flatnonzero((np.moveaxis(volume.unit_of_voxel, axis, 0) >= 0).any(axis=(1, 2)))
    middle = (volume.unit_of_voxel.shape[axis] - 1) / 2
    towards = volume.orientation[axis]
    if used.max() <= middle + 1:
        side = _OPPOSITE[towards]
    elif used.min() >= middle - 1:
        side = towards
    else:
        return {"S": "dorsal", "L": "left lateral", "R": "right lateral"}
    outer, inner = f"{_ENDS[side]} lateral", f"{_ENDS[side]} medial"
    return {"S": "dorsal", side: outer, _OPPOSITE[side]: inner}


def _axes_of(volume: LabelVolume) -> list[_Axis]:
    axes = []
    for i, (leads, n) in enumerate(zip(volume.orientation, volume.unit_of_voxel.shape, strict=True)):
        # Along each axis of the grid the coordinate that changes most.
        row = _coordinate_along(volume, i)
        step, origin = float(volume.affine[row, i]), float(volume.affine[row, 3])
        axes.append(_Axis(leads, (origin - step / 2, origin + (n - 0.5) * step), n))
    return axes


def _coordinate_along(volume: LabelVolume, axis: int) -> int:
    return int(np.abs(volume.affine[:3, axis]).argmax())


def _seen(volume: LabelVolume, letter: str) -> tuple[NDArray[Any], _Axis, _Axis]:
    """What is met first when looking in from side `letter`: the picture, its axis to the right and its axis down.

    The viewer stands where the units begin; what lies before that (the other hemisphere) is looked through.
    """
    depth_axis = _axis_of(volume, letter)
    grid = np.moveaxis(volume.unit_of_voxel, depth_axis, 0)
    if volume.orientation[depth_axis] == letter:  # the viewer stands where the index ends
        grid = grid[::-1]
    first = int((grid >= 0).any(axis=(1, 2)).argmax())
    depth = (grid[first:] != -1).argmax(axis=0)
    picture = np.take_along_axis(grid[first:], depth[None], axis=0)[0]
    return _upright(np.where((picture == -1) & (grid != -1).any(axis=0), -2, picture), volume, letter)


def _axis_of(volume: LabelVolume, letter: str) -> int:
    """The axis of the grid that leads to `letter`, or away from it."""
    return next(i for i, leads in enumerate(volume.orientation) if letter in (leads, _OPPOSITE[leads]))


def _upright(picture: NDArray[Any], volume: LabelVolume, letter: str) -> tuple[NDArray[Any], _Axis, _Axis]:
    """A plane of the grid as it looks from side `letter`: the picture, its axis to the right and its axis down."""
    down, right = (axis for i, axis in enumerate(_axes_of(volume)) if i != _axis_of(volume, letter))
    # Superior is up in a view from the side, anterior in a view from above.
    if right.leads in ("SI" if letter in "LRAP" else "AP"):
        picture, down, right = picture.T, right, down
    if down.leads in "SA":
        picture, down = picture[::-1], down.turned
    # What lies to the viewer's right when looking in from each side.
    if right.leads != {"L": "P", "R": "A", "S": "R", "I": "L", "A": "L", "P": "R"}[letter]:
        picture, right = picture[:, ::-1], right.turned
    return picture, right, down


def _name_regions(axes: "Axes", picture: NDArray[Any], names: tuple[str, ...], right: _Axis, down: _Axis) -> None:
    """Write the name of each region on it, the largest first, where no other name stands yet."""
    from matplotlib.patheffects import withStroke

    # Points to mm, for a panel half as wide as the figure.
    mm_per_point = max(abs(right.edges[1] - right.edges[0]) / 110, abs(down.edges[1] - down.edges[0]) / 160)
    taken: list[tuple[float, float, float]] = []
    units, areas = np.unique(picture[picture >= 0], return_counts=True)
    units, areas = units[areas >= _MIN_PIXELS], areas[areas >= _MIN_PIXELS]
    for unit in units[np.argsort(-areas, kind="stable")]:
        rows, columns = np.nonzero(picture == unit)
        # The point of the region nearest to its centre, so that the name of a bent region lies on it.
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        x, y = right.at(int(columns[nearest])), down.at(int(rows[nearest]))
        half_width, height = 0.34 * _NAME_SIZE * len(names[unit]) * mm_per_point, 1.2 * _NAME_SIZE * mm_per_point
        if any(abs(x - other) < half_width + half and abs(y - line) < height for other, line, half in taken):
            continue
        taken.append((x, y, half_width))
        outline = [withStroke(linewidth=1.2, foreground="white")]
        axes.text(x, y, names[unit], ha="center", va="center", fontsize=_NAME_SIZE, path_effects=outline)


# --- slices ----------------------------------------------------------------------------------------------------------


def slices_figure(report: OriginReport) -> "Figure":
    """The modules in planes through the volume: each kind of plane a row, all at one scale."""
    whole = volume_of(report)
    assert whole is not None  # who asks has made sure
    volume = _cropped(whole)
    code = np.append(report.communities.labels, [report.communities.n, report.communities.n + 1])
    colours = np.vstack([_rgb(report.communities.n), (1, 1, 1)])
    rows = {letter: [_plane(volume, letter, index) for index in _through_units(volume, letter)] for letter in _PLANES}
    longest = max(planes[0].right.length for planes in rows.values())
    width, beside = (1 + _MARGIN) * longest, _MARGIN * longest
    heights = [(planes[0].down.length + beside) / width for planes in rows.values()]
    n_columns = max(map(len, rows.values()))
    figure = new_figure(height=sum(heights) * 0.93 * WIDTH / n_columns + 0.9)
    panels = figure.subplots(len(rows), n_columns, squeeze=False, height_ratios=heights)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for (letter, planes), row in zip(rows.items(), panels, strict=True):
        row[0].set_ylabel(_PLANES[letter], labelpad=1, fontsize="small")
        coordinate = _part(report, "axes")[_coordinate_along(volume, _axis_of(volume, letter))]
        for axes, plane in zip(row, planes, strict=False):
            _draw_plane(axes, plane, colours[code[plane.picture]], width, plane.down.length + beside)
            axes.set_title(f"{coordinate.partition('(')[0].strip()} {plane.at:.1f} mm", fontsize="x-small", pad=1)
    _draw_scale(panels[-1, 0], width)
    _legend(figure, report)
    return figure


@dataclass(frozen=True)
class _Plane:
    """A plane of the grid as it is looked at, and its coordinate (mm) on the axis that it cuts."""

    picture: NDArray[Any]
    right: _Axis
    down: _Axis
    at: float


def _plane(volume: LabelVolume, letter: str, index: int) -> _Plane:
    axis = _axis_of(volume, letter)
    picture, right, down = _upright(np.take(volume.unit_of_voxel, index, axis=axis), volume, letter)
    return _Plane(picture, right, down, _axes_of(volume)[axis].at(index))


def _through_units(volume: LabelVolume, letter: str) -> list[int]:
    """Indices of the planes across the axis to `letter`, between which lie equal parts of the units' voxels.

    In the order anterior to posterior, dorsal to ventral, left to right.
    """
    axis = _axis_of(volume, letter)
    n_voxels = np.count_nonzero(np.moveaxis(volume.unit_of_voxel, axis, 0) >= 0, axis=(1, 2))
    forward = 1 if volume.orientation[axis] in "PIR" else -1
    shares = (np.arange(_N_SLICES) + 0.5) / _N_SLICES
    places = np.unique(np.searchsorted(np.cumsum(n_voxels[::forward]), shares * n_voxels.sum()))
    return [int(index) for index in np.arange(len(n_voxels))[::forward][places]]


def _cropped(volume: LabelVolume) -> LabelVolume:
    """The smallest part of the grid that holds the brain."""
    inside = volume.unit_of_voxel != -1
    box = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    affine = volume.affine.astype(np.float64)
    affine[:3, 3] += affine[:3, :3] @ [its.start for its in box]
    return replace(volume, unit_of_voxel=volume.unit_of_voxel[tuple(box)], affine=affine)


def _draw_plane(axes: "Axes", plane: _Plane, picture: NDArray[np.float64], width: float, height: float) -> None:
    """A plane in the middle of a panel of that size (mm), with letters at its four sides."""
    right, down = plane.right, plane.down
    axes.imshow(picture, extent=(*right.edges, *down.edges[::-1]), interpolation="nearest")
    axes.set_xlim(*right.around(width))
    axes.set_ylim(*down.around(height)[::-1])
    sides = (
        (right.leads, {"x": 1, "y": 0.5, "ha": "right", "va": "center"}),
        (_OPPOSITE[right.leads], {"x": 0, "y": 0.5, "ha": "left", "va": "center"}),
        (down.leads, {"x": 0.5, "y": 0, "ha": "center", "va": "bottom"}),
        (_OPPOSITE[down.leads], {"x": 0.5, "y": 1, "ha": "center", "va": "top"}),
    )
    for leads, where in sides:
        letter = _ENDS[leads][0].upper()
        axes.text(s=letter, **where, transform=axes.transAxes, fontsize=_NAME_SIZE, color=_LETTERS)


def _draw_scale(axes: "Axes", width: float) -> None:
    """A bar of 1, 2 or 5 times a power of ten mm, about a third of the panel."""
    power = 10.0 ** np.floor(np.log10(width / 3))
    length = max((step * power for step in (2, 5) if step * power <= width / 3), default=power)
    end, below = length / width, -0.08
    axes.plot([0, end], [below, below], transform=axes.transAxes, color="black", lw=1, clip_on=False)
    axes.text(end + 0.04, below, f"{length:g} mm", transform=axes.transAxes, fontsize=_NAME_SIZE, va="center")


# --- positions and activity ------------------------------------------------------------------------------------------


def _positions_figure(report: OriginReport) -> "Figure":
    positions, names = _part(report, "positions"), _part(report, "axes")
    figure = new_figure(height=2.3)
    colours = np.array(module_colours(report.communities.n))[report.communities.labels]
    for axes, (across, up) in zip(figure.subplots(1, 2), ((0, 1), (0, 2)), strict=True):
        axes.scatter(positions[:, across], positions[:, up], c=colours, lw=0, **_dots(len(positions), 14))
        axes.set_xlabel(_with_unit(names[across]))
        axes.set_ylabel(_with_unit(names[up]))
        axes.set_aspect("equal", adjustable="datalim")
    figure.suptitle("Modules at the positions of the units", fontsize=9)
    _legend(figure, report)
    return figure


def _dots(n_units: int, size: float) -> dict[str, Any]:
    """Of many units small dots, as a picture: each as an outline would make files of many megabytes."""
    return {"s": 1, "rasterized": True} if is_large(n_units) else {"s": size}


def _with_unit(name: str) -> str:
    return name if "(" in name else f"{name} (mm)"


def _activity_figure(report: OriginReport) -> "Figure":
    """Each unit at its loadings on the first principal components, and the mean trajectory of each choice."""
    activity = report.system.activity
    figure = new_figure(height=2.5)
    assert activity.timeseries is not None  # place_of has made sure
    centred = activity.timeseries - activity.timeseries.mean(axis=0)
    explained, loadings = _principal(centred)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xlabel(f"PC 1 ({explained[0]:.0f} %)")
        axes.set_ylabel(f"PC 2 ({explained[1]:.0f} %)")
    colours = np.array(module_colours(report.communities.n))[report.communities.labels]
    left.scatter(loadings[0], loadings[1], c=colours, lw=0, **_dots(len(colours), 12))
    left.set_title("Units: loadings")
    _draw_trajectories(right, report, (centred @ loadings[:2].T))
    _legend(figure, report)
    return figure


def _principal(centred: Floats) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Share of the variance (%) and loadings (a row each) of the principal components, at least two, of n_units."""
    if is_large(centred.shape[1]):
        from scipy.sparse.linalg import svds

        _, sizes, loadings = svds(centred, k=2, v0=np.ones(min(centred.shape), centred.dtype))
        return 100 * sizes[::-1] ** 2 / np.square(centred).sum(dtype=np.float64), loadings[::-1]
    spread, vectors = np.linalg.eigh(centred.T @ centred)
    return 100 * spread[::-1] / spread.sum(), vectors.T[::-1]


def _draw_trajectories(axes: "Axes", report: OriginReport, scores: NDArray[np.float64]) -> None:
    activity = report.system.activity
    axes.set_title("Activity")
    if activity.trials is None:
        axes.plot(*scores.T, lw=0.5, color="#555555")
        return
    trials, starts = np.unique(activity.trials, return_index=True)
    length = int(np.bincount(np.searchsorted(trials, activity.trials)).min())
    paths = np.stack([scores[start : start + length] for start in np.sort(starts)])
    groups, names = _groups(report, np.sort(starts) + length - 1)
    if len(names) > _MAX_TRACES:
        groups, names = np.zeros_like(groups), ["mean trial"]
    styles = ("-", "--", ":", "-.", (0, (1, 3)), (0, (5, 1)))
    for group, (name, style) in enumerate(zip(names, styles, strict=False)):
        path = paths[groups == group].mean(axis=0)
        axes.plot(*path.T, ls=style, lw=1.2, color="black", label=name)
        axes.plot(*path[0], "o", ms=3, color="black")
    axes.legend(frameon=False, fontsize=6.5, handlelength=1.8, borderaxespad=0.1)
    axes.margins(y=0.15)


def _groups(report: OriginReport, ends: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """The group of each trial by its choice (or target) at its end, and what the groups are called."""
    variables = report.system.activity.variables
    name = next((name for name in ("choice", "target") if name in variables), None)
    if name is None:
        return np.zeros(len(ends), dtype=np.intp), ["mean trial"]
    values, groups = np.unique(variables[name][ends], axis=0, return_inverse=True)
    one_hot = values.shape[1] > 1 and np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()
    called = values.argmax(axis=1) if one_hot else (values[:, 0] if values.shape[1] == 1 else range(len(values)))
    return groups.ravel(), [f"{name} {value:g}" for value in called]


def _spectral_figure(report: OriginReport) -> "Figure":
    """Without positions or activity: the units on the leading eigenvectors of the similarity."""
    values, vectors = _leading(report.similarity)
    figure = new_figure(height=2.9)
    axes = figure.add_subplot()
    colours = np.array(module_colours(report.communities.n))[report.communities.labels]
    across, up = vectors[:, -1] * np.sqrt(max(values[-1], 0)), vectors[:, -2] * np.sqrt(max(values[-2], 0))
    axes.scatter(across, up, c=colours, lw=0, **_dots(len(colours), 16))
    axes.set_xlabel("Eigenvector 1 of the similarity")
    axes.set_ylabel("Eigenvector 2")
    axes.set_title("Units by their input projections")
    _legend(figure, report)
    return figure


def _leading(similarity: Floats) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Eigenvalues and eigenvectors, the two largest last."""
    if is_large(len(similarity)):
        from scipy.sparse.linalg import eigsh

        values, vectors = eigsh(similarity, k=2, v0=np.ones(len(similarity), similarity.dtype))
    else:
        values, vectors = np.linalg.eigh(similarity.astype(np.float64))
    return values, vectors
