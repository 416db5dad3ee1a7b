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
