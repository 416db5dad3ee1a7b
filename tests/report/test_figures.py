import numpy as np
import pytest
from matplotlib.colors import to_hex

import fctoolbox as fct
from fctoolbox.report.figures import module_colours, report_figures
from tests.conftest import make_system


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(7)
    geometry = fct.Geometry(positions=rng.standard_normal((12, 3)))
    return fct.analyse_origin(make_system(rng, geometry=geometry), n_nulls=29, n_restarts=5, rng=0)


@pytest.fixture(scope="module")
def figures(report):
    return report_figures(report)


@pytest.fixture(scope="module")
def order(report):
    return np.argsort(report.communities.labels, kind="stable")


@pytest.mark.parametrize("name", ["similarity", "connectivity"])
def test_matrices_are_ordered_by_module(report, figures, order, name):
    axes = figures[name].axes[0]
    shown = axes.images[0].get_array()
    expected = getattr(report, name)[np.ix_(order, order)]
    off_diagonal = ~np.eye(12, dtype=bool)
    np.testing.assert_array_equal(np.asarray(shown)[off_diagonal], expected[off_diagonal])
    assert shown.mask.diagonal().all()
    names = [report.system.units[i] for i in order]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == names
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    assert [patch.get_width() for patch in axes.patches] == list(report.communities.sizes)
    assert [patch.get_x() + 0.5 for patch in axes.patches] == [0, *np.cumsum(report.communities.sizes)[:-1]]


def test_every_pair_is_a_point(report, figures):
    pairs = np.triu_indices(12, 1)
    labels = report.communities.labels
    within = labels[pairs[0]] == labels[pairs[1]]
    between_points, within_points = (points.get_offsets() for points in figures["relationship"].axes[0].collections)
    expected = np.stack([report.similarity[pairs], report.connectivity[pairs]], axis=1)
    np.testing.assert_array_equal(within_points, expected[within])
    np.testing.assert_array_equal(between_points, expected[~within])


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("induced-q", lambda report: (report.induced.q, report.induced.q_best)),
        ("null-r", lambda report: (report.relationship.pearson_r,)),
    ],
    ids=["induced-q", "null-r"],
)
def test_all_nulls_and_the_observed_value_are_drawn(report, figures, name, marks):
    axes = figures[name].axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 29
    assert tuple(line.get_xdata()[0] for line in axes.lines) == marks(report)
    values = (report.induced if name == "induced-q" else report.relationship).nulls[0].values
    assert axes.patches[0].get_x() == pytest.approx(values.min())


def test_positions_bear_the_colours_of_their_modules(report, figures):
    points = figures["modules"].axes[0].collections[0]
    np.testing.assert_array_equal(points.get_offsets(), report.system.geometry.positions[:, :2])
    colours = module_colours(report.communities.n)
    assert [to_hex(c).upper() for c in points.get_facecolors()] == [colours[i] for i in report.communities.labels]


def test_loadings_are_those_of_the_principal_components(report):
    system = report.system
    bare = fct.RecurrentSystem(system.name, system.units, system.projection, system.activity, system.provenance)
    left = report_figures(fct.analyse_origin(bare, n_nulls=3, n_restarts=2, rng=0))["modules"].axes[0]
    centred = system.activity.timeseries - system.activity.timeseries.mean(axis=0)
    expected = np.linalg.svd(centred, full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs(left.collections[0].get_offsets().T), np.abs(expected), atol=1e-8)


def test_lateral_is_outside_and_medial_is_towards_the_midline():
    # A ball in the left half: its outer side (smaller x) belongs to units of one module, its inner side to the other's.
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 25)[:-1]
    rings = [(np.cos(h), np.sin(h)) for h in np.linspace(-np.pi / 2, np.pi / 2, 13)[1:-1]]
    vertices = np.array([(r * np.cos(a) - 30, r * np.sin(a), z) for r, z in rings for a in angles])
    corner = lambda i, j: i * 24 + j % 24  # noqa: E731
    faces = [
        triangle
        for i in range(10)
        for j in range(24)
        for triangle in (
            (corner(i, j), corner(i, j + 1), corner(i + 1, j)),
            (corner(i, j + 1), corner(i + 1, j + 1), corner(i + 1, j)),
        )
    ]
    outer = vertices[:, 0] < -30
    # Units 0-5 share one direction, 6-11 another: two modules.
    weights = np.repeat(np.eye(2), 6, axis=0) + 0.1 * rng.random((12, 2))
    unit_of_vertex = np.where(outer, np.arange(len(vertices)) % 6, 6 + np.arange(len(vertices)) % 6)
    surface = fct.Surface(vertices, np.array(faces), unit_of_vertex)
    system = make_system(rng, projection=fct.InputProjection(weights), geometry=fct.Geometry(surface=surface))
    report = fct.analyse_origin(system, n_nulls=3, n_restarts=3, rng=0)
    assert report.communities.labels.tolist() == [0] * 6 + [1] * 6
    lateral, medial = report_figures(report)["modules"].axes
    assert (lateral.get_title(), medial.get_title()) == ("left lateral", "left medial")
    blue_minus_red = [axes.collections[0].get_facecolors()[:, [2, 0]].mean(axis=0) for axes in (lateral, medial)]
    # Module 0 is blue, module 1 orange.
    assert blue_minus_red[0][0] > blue_minus_red[0][1]
    assert blue_minus_red[1][0] < blue_minus_red[1][1]


# --- slices ----------------------------------------------------------------------------------------------------------

# A brain of 9 × 12 × 8 voxels in RAS, 0.5 × 1 × 0.25 mm, with air around it and units in its left half.
GRID = np.full((13, 15, 12), -1)
GRID[2:11, 2:14, 2:10] = -2
GRID[3:6, 2:14, 4:8] = np.arange(144).reshape(3, 12, 4) % 12
AFFINE = np.array([[0.5, 0, 0, -3], [0, 1, 0, -7], [0, 0, 0.25, 1], [0, 0, 0, 1]])
WHITE, GREY = (1, 1, 1), (0.87, 0.87, 0.87)


def turned(orientation):
    """The same brain on a grid that leads elsewhere; the space stays."""
    grid, affine = GRID, AFFINE.copy()
    for axis, letter in enumerate("RAS"):
        if letter not in orientation:  # its opposite is
            affine[:3, 3] += affine[:3, axis] * (grid.shape[axis] - 1)
            affine[:3, axis] *= -1
            grid = np.flip(grid, axis)
    order = [next(axis for axis, pair in enumerate(("RL", "AP", "SI")) if a in pair) for a in orientation]
    return fct.LabelVolume(grid.transpose(order), affine[:, [*order, 3]], orientation)


def slices_of(volume, **geometry):
    rng = np.random.default_rng(3)
    system = make_system(rng, geometry=fct.Geometry(volume=volume, **geometry))
    report = fct.analyse_origin(system, n_nulls=3, n_restarts=2, rng=0)
    return report, report_figures(report)["slices"]


def shown(axes):
    image = axes.images[0]
    letters = {(text.get_position(), text.get_text()) for text in axes.texts}
    return (
        np.asarray(image.get_array()),
        image.get_extent(),
        axes.get_xlim(),
        axes.get_ylim(),
        axes.get_title(),
        letters,
    )


@pytest.fixture(scope="module")
def slices():
    return slices_of(turned("RAS"), axes=("ML (mm)", "AP (mm)", "DV (mm)"))


@pytest.mark.parametrize("orientation", ["PIR", "LPS", "SRA", "ILP"])
def test_slices_look_alike_however_the_voxels_lie_in_memory(orientation, slices):
    _, other = slices_of(turned(orientation), axes=("ML (mm)", "AP (mm)", "DV (mm)"))
    assert len(other.axes) == len(slices[1].axes)
    for one, two in zip(slices[1].axes, other.axes, strict=True):
        if not one.images:
            assert not two.images
            continue
        for mine, theirs in zip(shown(one)[:4], shown(two)[:4], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-12)
        assert shown(one)[4:] == shown(two)[4:]


def test_slices_show_the_modules_where_they_are(slices):
    report, figure = slices
    panels = np.array(figure.axes).reshape(3, 4)
    colours = [tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in module_colours(report.communities.n)]
    # For each row: which coordinate is cut, which grows to the right and which upwards, and with which sign.
    for row, (cut, (across, to_right), (up, upwards)) in zip(
        panels, [(1, (0, 1), (2, 1)), (2, (0, 1), (1, 1)), (0, (1, -1), (2, 1))], strict=True
    ):
        for axes in row:
            if not axes.images:
                continue
            picture, (left, right, bottom, top), xlim, ylim, title, _ = shown(axes)
            assert np.sign(right - left) == np.sign(xlim[1] - xlim[0]) == to_right
            assert np.sign(top - bottom) == np.sign(ylim[1] - ylim[0]) == upwards
            at = float(title.split()[1])
            seen = set()
            for voxel in np.ndindex(*GRID.shape):
                place = AFFINE[:3, :3] @ voxel + AFFINE[:3, 3]
                if abs(place[cut] - at) > 0.06:  # the title has one decimal
                    continue
                column = (place[across] - left) / (right - left) * picture.shape[1]
                line = (place[up] - top) / (bottom - top) * picture.shape[0]
                unit = GRID[voxel]
                if not (0 <= column < picture.shape[1] and 0 <= line < picture.shape[0]):
                    assert unit == -1  # only air is cut off
                    continue
                expected = GREY if unit == -2 else WHITE if unit == -1 else colours[report.communities.labels[unit]]
                np.testing.assert_allclose(picture[int(line), int(column)], expected, atol=1e-9)
                seen.add(expected)
            assert GREY in seen
            assert len(seen) > 1


def test_slices_go_through_equal_parts_of_the_units(slices):
    # 3 × 12 × 4 voxels of units: planes at (i + 1/2)/4 of them, and each plane once.
    panels = np.array(slices[1].axes).reshape(3, 4)
    titles = [[axes.get_title() for axes in row if axes.images] for row in panels]
    assert titles[0] == ["AP 5.0 mm", "AP 2.0 mm", "AP -1.0 mm", "AP -4.0 mm"]
    assert titles[1] == ["DV 2.8 mm", "DV 2.5 mm", "DV 2.2 mm", "DV 2.0 mm"]
    assert titles[2] == ["ML -1.5 mm", "ML -1.0 mm", "ML -0.5 mm"]
    assert [row[0].get_ylabel() for row in panels] == ["coronal", "horizontal", "sagittal"]


def test_letters_stand_at_the_edges_of_slices(slices):
    panels = np.array(slices[1].axes).reshape(3, 4)
    edges = [{text.get_position(): text.get_text() for text in row[1].texts} for row in panels]
    right, left, below, above = (1, 0.5), (0, 0.5), (0.5, 0), (0.5, 1)
    assert edges == [
        {right: "R", left: "L", below: "V", above: "D"},
        {right: "R", left: "L", below: "P", above: "A"},
        {right: "P", left: "A", below: "V", above: "D"},
    ]


def test_slices_are_drawn_at_one_scale(slices):
    panels = [axes for axes in slices[1].axes if axes.images]
    assert len({round(abs(np.subtract(*axes.get_xlim())), 9) for axes in panels}) == 1
    assert all(axes.get_aspect() == 1 for axes in panels)
    last_row = np.array(slices[1].axes).reshape(3, 4)[-1, 0]
    # 12 mm from nose to tail and a fifth of it beside it: the bar is of 2 mm, not of 5.
    assert last_row.texts[-1].get_text() == "2 mm"
    assert np.ptp(last_row.lines[0].get_xdata()) == pytest.approx(2 / 14.4)


def test_slices_of_a_space_whose_coordinates_bear_no_names():
    _, figure = slices_of(fct.LabelVolume(np.arange(12).reshape(3, 2, 2), np.eye(4)))
    assert figure.axes[0].get_title() == "y 1.0 mm"
