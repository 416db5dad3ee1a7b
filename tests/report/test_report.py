import csv
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox.plugins import Installed, load_source
from fctoolbox.report import save_comparison
from fctoolbox.report.figures import NAMES, module_colours, report_figures
from fctoolbox.report.page import folder_names
from fctoolbox.report.places import _seen, place_of
from fctoolbox.report.write import _write_json
from fctoolbox.system import LabelVolume, Surface
from tests.conftest import make_system


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs)
        for key in ("src", "href"):
            if key in attrs:
                self.links.append(attrs[key])

    def handle_data(self, data):
        self.text.append(data)


def quick(system, **settings):
    return fct.analyse_origin(system, **{"n_nulls": 19, "n_restarts": 2, "rng": 0, **settings})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    system = fct.load("toy", n_units=30, n_inputs=12, n_communities=3, n_times=400)
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    report = quick(system)
    return report, report.save(folder, command="fctoolbox run toy"), folder


def test_files(saved):
    report, page, folder = saved
    assert page == folder / "report.html"
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.json", "labels.tsv", "figures"}
    assert set(report_figures(report)) == set(NAMES) - {"slices"}  # the toy has no volume
    for name in set(NAMES) - {"slices"}:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert ET.parse(folder / "figures" / f"{name}.svg").getroot().tag.endswith("svg")
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert content == report.to_dict(command="fctoolbox run toy")


def test_labels_come_back(saved):
    report, _, folder = saved
    with (folder / content_labels(folder)).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["unit"] for row in rows] == list(report.system.units)
    assert [int(row["label"]) for row in rows] == report.communities.labels.tolist()
    assert [row["planted"] for row in rows] == list(report.system.annotations["planted"])


def test_a_label_stands_beside_the_name_of_its_unit_whatever_their_order(tmp_path):
    system = fct.load("toy", n_units=30, n_inputs=12, n_communities=3, n_times=400)
    planted = dict(zip(system.units, system.annotations["planted"], strict=True))
    order = np.random.default_rng(3).permutation(30)
    quick(system.select_units(order), n_restarts=10).save(tmp_path)
    with (tmp_path / "labels.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["unit"] for row in rows] == [f"unit-{i}" for i in order]
    # One label for each planted community, and the other way round.
    pairs = {(row["label"], planted[row["unit"]]) for row in rows}
    assert len(pairs) == len({label for label, _ in pairs}) == 3


def content_labels(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))["communities"]["labels"]


def test_page_is_whole_and_self_contained(saved):
    report, path, _ = saved
    page = Page(path.read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.text).split())
    assert " ".join(report.sentence().split()) in text
    assert all(link.startswith("data:") for link in page.links)
    assert len(page.images) == len(report_figures(report))
    assert all(image["alt"] for image in page.images)
    for expected in (
        "Synthetic data",
        "negative_asym",
        "fctoolbox run toy",
        "arXiv:2310.20601",
        "Mantel 1967",
    ):
        assert expected in text


def test_same_report_same_files(saved, tmp_path):
    report, page, folder = saved
    again = report.save(tmp_path, command="fctoolbox run toy")
    assert again.read_bytes() == page.read_bytes()
    assert (tmp_path / "figures/similarity.svg").read_bytes() == (folder / "figures/similarity.svg").read_bytes()


def test_no_figure_of_an_earlier_report_stays(saved, tmp_path):
    report = saved[0]
    report.save(tmp_path)
    (tmp_path / "figures/mine.png").touch()
    replace(report, relationship=replace(report.relationship, nulls=())).save(tmp_path)
    names = set(report_figures(report)) - {"null-r"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "mine.png", *(f"{name}.{kind}" for name in names for kind in ("svg", "png"))
    }  # fmt: skip


def test_names_are_escaped(tmp_path):
    toy = fct.load("toy", n_units=12, n_inputs=5, n_communities=2, n_times=100)
    system = fct.RecurrentSystem(
        "<script>alert(1)</script> (synthetic)",
        tuple(f"<i>{i}" for i in range(12)),
        toy.projection,
        toy.activity,
        toy.provenance,
    )
    text = quick(system).save(tmp_path).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "<i>0" not in text


def test_comparison_has_a_column_for_each_system(tmp_path):
    reports = [quick(fct.load("toy", planted=planted, n_units=20, n_times=200)) for planted in (True, False)]
    page = save_comparison(reports, tmp_path, command="fctoolbox compare")
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [each["system"]["name"] for each in content["comparison"]] == [report.system.name for report in reports]
    for each in content["comparison"]:
        assert (tmp_path / each["communities"]["labels"]).is_file()
    parsed = Page(page.read_text(encoding="utf-8"))
    assert len(parsed.images) == sum(len(report_figures(report)) for report in reports)
    assert {link for link in parsed.links if not link.startswith("data:")} == {
        "toy/report.html",
        "toy~2/report.html",
    }
    for link in ("toy/report.html", "toy~2/report.html"):
        assert (tmp_path / link).is_file()


def test_comparison_shows_the_nulls_and_p_of_each_system(tmp_path):
    reports = [
        quick(fct.load("toy", planted=planted, n_units=20, n_inputs=8, n_times=200), n_nulls=99)
        for planted in (True, False)
    ]
    page = save_comparison(reports, tmp_path, command="").read_text(encoding="utf-8")
    rows = re.findall(r"<tr><td>&emsp;permutation null, mean ± SD; p</td>(.*)</tr>", page)
    shown = [re.findall(r'<td class="number">(.*?)</td>', row) for row in rows]
    assert shown == [
        [f"{test.mean:.4f} ± {test.sd:.4f}; {test.p_value:.2g}" for test in tests]
        for tests in (
            [report.relationship.nulls[0] for report in reports],
            [report.induced.nulls[0] for report in reports],
        )
    ]
    assert all(one != other for one, other in shown)
    assert all(one.endswith("; 0.01") and not other.endswith("; 0.01") for one, other in shown)


def test_a_folder_is_named_by_the_source_or_by_what_can_be_a_file_name(system):
    by_hand = replace(system, name="a/b: c (synthetic)")
    assert folder_names([quick(system), quick(by_hand)]) == ["made-up-synthetic", "a-b-c-synthetic"]
    assert folder_names([quick(fct.load("toy", n_units=8, n_times=50))]) == ["toy"]


def test_module_colours_differ():
    assert len(set(module_colours(16))) == 16
    assert len(module_colours(40)) == 40


def tetrahedra():
    """Two tetrahedra, left and right; the unit of each vertex."""
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    vertices = np.vstack([corners - [5, 0, 0], corners + [5, 0, 0]])
    return Surface(
        vertices,
        np.vstack([faces, faces + 4]),
        np.array([0, 1, 2, 3, 4, 5, 6, -1]),
        hemispheres=("left",) * 4 + ("right",) * 4,
    )


def with_geometry(geometry, with_activity):
    toy = fct.load("toy", n_units=12, n_inputs=5, n_communities=2, n_times=100)
    connectivity = fct.functional_connectivity(toy.activity.timeseries)
    activity = toy.activity if with_activity else fct.RecurrentActivity(connectivity=connectivity)
    return fct.RecurrentSystem(toy.name, toy.units, toy.projection, activity, toy.provenance, geometry=geometry)


def volume():
    grid = np.full((8, 6, 10), -2)
    grid[0] = grid[-1] = -1
    for unit in range(12):
        grid[1 + unit % 6, 1 + unit % 4, unit % 10] = unit
    return LabelVolume(grid, np.diag([0.1, 0.1, 0.1, 1]), "PIR")


@pytest.mark.parametrize(
    ("place", "geometry", "with_activity"),
    [
        ("surface", lambda: fct.Geometry(surface=tetrahedra()), True),
        ("volume", lambda: fct.Geometry(volume=volume()), True),
        (
            "positions",
            lambda: fct.Geometry(positions=np.random.default_rng(0).standard_normal((12, 3))),
            None,
        ),
        ("activity", lambda: None, True),
        ("similarity", lambda: None, False),
    ],
)
def test_every_place_can_be_drawn(place, geometry, with_activity, tmp_path):
    report = quick(with_geometry(geometry(), with_activity))
    assert place_of(report) == place
    figure = report_figures(report)["modules"]
    assert len(figure.axes) >= 1
    assert all(axes.get_xlabel() or not axes.axison for axes in figure.axes)
    report.save(tmp_path)
    assert (tmp_path / "figures/modules.png").stat().st_size > 3000


def test_a_volume_comes_with_label_maps_and_slices(tmp_path):
    nib = pytest.importorskip("nibabel")
    system = with_geometry(fct.Geometry(volume=volume()), with_activity=True)
    weights = system.projection.weights.copy()
    weights[4] = 0  # a unit that is dropped: those behind it move up
    report = quick(replace(system, projection=fct.InputProjection(weights)))
    page = report.save(tmp_path).read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html", "report.json", "labels.tsv", "figures", "modules.nii.gz", "units.nii.gz"
    }  # fmt: skip
    assert "modules.nii.gz and units.nii.gz" in page
    assert (tmp_path / "figures/slices.png").stat().st_size > 3000
    with (tmp_path / "labels.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    modules, units = (np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj) for name in ("modules", "units"))
    grid = volume().unit_of_voxel
    for unit, name in enumerate(system.units):
        (voxel,) = np.argwhere(grid == unit)
        if unit == 4:
            assert (modules[*voxel], units[*voxel]) == (0, 0)
        else:
            row = rows[units[*voxel] - 1]
            assert (row["unit"], int(row["label"])) == (name, modules[*voxel] - 1)
    assert np.count_nonzero(modules) == np.count_nonzero(units) == 11


def test_no_label_map_or_slice_of_an_earlier_report_stays(tmp_path):
    report = quick(with_geometry(fct.Geometry(volume=volume()), with_activity=True))
    report.save(tmp_path)
    quick(with_geometry(None, with_activity=True)).save(tmp_path)
    assert not list(tmp_path.glob("*.nii.gz"))
    assert not list(tmp_path.glob("figures/slices*"))


def test_every_system_of_a_comparison_has_its_own_label_maps(tmp_path):
    reports = [quick(with_geometry(geometry, True)) for geometry in (fct.Geometry(volume=volume()), None)]
    save_comparison(reports, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*.nii.gz"))] == [
        "toy/modules.nii.gz", "toy/units.nii.gz"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "geometry",
    [
        fct.Geometry(surface=replace(tetrahedra(), unit_of_vertex=np.full(8, -1))),
        fct.Geometry(surface=replace(tetrahedra(), faces=np.empty((0, 3), dtype=int))),
        fct.Geometry(volume=LabelVolume(np.full((2, 2, 2), -2), np.eye(4))),
    ],
    ids=["no vertex of a unit", "no face", "no voxel of a unit"],
)
def test_where_no_unit_can_be_seen_the_modules_are_drawn_elsewhere(geometry):
    report = quick(with_geometry(geometry, with_activity=True))
    assert place_of(report) == "activity"
    assert report_figures(report)["modules"].axes
    assert "slices" not in report_figures(report)


def test_looking_into_a_volume():
    # PIR: the first axis leads back, the second down, the third right. Voxel 7 lies above 8; 9 far right.
    grid = np.full((3, 4, 5), -1)
    grid[:, 1:, :] = -2
    grid[0, 2, 1], grid[0, 3, 1], grid[2, 2, 4] = 7, 8, 9
    affine = np.diag([0.5, 0.2, 0.1, 1])
    affine[:3, 3] = [0.25, 0.1, 0.05]  # the first voxel begins at 0
    volume = LabelVolume(grid, affine, "PIR")
    above, right, down = _seen(volume, "S")
    assert (right.leads, down.leads) == ("R", "P")  # right is right, the nose is up
    assert (right.edges, down.edges) == (pytest.approx((0, 0.5)), pytest.approx((0, 1.5)))
    assert (above[0, 1], above[2, 4]) == (7, 9)  # the brain above the units is looked through, 8 is hidden by 7
    assert (right.at(1), down.at(2)) == (pytest.approx(0.15), pytest.approx(1.25))
    left, right, down = _seen(volume, "L")
    assert (right.leads, down.leads) == ("P", "I")  # from the left, the nose points left
    assert (left[2, 0], left[3, 0], left[2, 2], left[0, 0]) == (7, 8, -2, -1)  # the brain hides 9
    mirrored, right, down = _seen(volume, "R")
    assert (right.leads, down.leads) == ("A", "I")
    assert right.edges == pytest.approx((1.5, 0))  # a mirrored axis keeps the coordinates of the space
    assert (mirrored[2, 0], mirrored[2, 2]) == (9, -2)
    below, right, down = _seen(volume, "I")
    assert (right.leads, down.leads) == ("L", "P")
    assert below[0, 3] == 8


def test_activity_trajectories_follow_the_trials():
    toy = fct.load("toy", n_units=12, n_inputs=5, n_communities=2, n_times=100)
    activity = fct.RecurrentActivity(
        toy.activity.timeseries,
        trials=np.repeat(np.arange(10), 10),
        variables={"choice": np.repeat(np.arange(10) % 2, 10)},
    )
    system = fct.RecurrentSystem(toy.name, toy.units, toy.projection, activity, toy.provenance)
    right = report_figures(quick(system))["modules"].axes[1]
    lines = [line for line in right.lines if line.get_marker() == "None"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["choice 0", "choice 1"]
    assert len(lines) == 2
    assert all(len(line.get_xdata()) == 10 for line in lines)


def test_nulls_without_spread_can_be_drawn(tmp_path):
    # Positive weights at a low resolution make one module, and all its rearrangements are the same.
    toy = fct.load("toy", n_units=12, n_inputs=5, n_communities=2, n_times=100)
    projection = fct.InputProjection(np.abs(toy.projection.weights))
    system = fct.RecurrentSystem(toy.name, toy.units, projection, toy.activity, toy.provenance)
    report = quick(system, resolution=0.1)
    assert report.communities.n == 1
    assert report.induced.nulls[0].z is None
    assert "a single module" in report.sentence()
    page = report.save(tmp_path).read_text(encoding="utf-8")
    assert "no spread" not in page  # the page shows a dash, the figure says so
    assert json.loads((tmp_path / "report.json").read_text())["induced_modularity"]["nulls"][0]["z"] is None


def test_the_page_names_what_was_left_out_and_who_is_in_which_module(tmp_path, rng):
    weights = rng.standard_normal((12, 5))
    weights[4] = 0
    system = make_system(
        rng,
        projection=fct.InputProjection(weights),
        annotations={"side": ["left"] * 6 + ["right"] * 6, "full name": [f"area {i}" for i in range(12)]},
    )
    report = quick(system)
    text = " ".join(" ".join(Page(report.save(tmp_path).read_text(encoding="utf-8")).text).split())
    assert "1 unit left out of everything: receives no input: u4" in text
    assert report.caution() in text
    assert "area 0" not in text  # a name that only one unit bears tells nothing about a module
    for module in range(report.communities.n):
        members = [
            u for u, label in zip(report.system.units, report.communities.labels, strict=True) if label == module
        ]
        sides = ["left" if int(u[1:]) < 6 else "right" for u in members]
        assert f"{module} {len(members)} {', '.join(members)}" in text
        assert f"{max(set(sides), key=sides.count)} {max(map(sides.count, sides))}" in text
    assert f"Induced modularity Q* of functional connectivity {report.induced.q:.4f} permutation" in text
    assert f"Best Q* found on functional connectivity itself {report.induced.q_best:.4f}" in text


def test_nan_never_reaches_a_file(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        _write_json(tmp_path / "r.json", {"q": float("nan")})
    assert list(tmp_path.iterdir()) == []


# --- what a source writes of its own kind ----------------------------------------------------------------------------


def of_source(monkeypatch, write_outputs):
    """A quick report of a source that writes files of its own."""
    source = fct.Source("own", lambda: make_system(np.random.default_rng(0)), "made up", "nobody", "CC0-1.0",
                        synthetic=True, write_outputs=write_outputs)  # fmt: skip
    monkeypatch.setattr("fctoolbox.report.write.installed", lambda: Installed((), {"own": source}, {}))
    monkeypatch.setattr("fctoolbox.report.write.report_figures", lambda report: {})  # drawn elsewhere, and slow
    return quick(load_source(source))


def test_a_source_writes_files_of_its_own_kind(monkeypatch, tmp_path):
    def write_outputs(report, folder):
        path = folder / "modules.dlabel.nii"
        path.write_text(" ".join(map(str, report.communities.labels)))
        return [path]

    report = of_source(monkeypatch, write_outputs)
    page = report.save(tmp_path / "new")
    assert (tmp_path / "new/modules.dlabel.nii").read_text().split() == [str(k) for k in report.communities.labels]
    assert "modules.dlabel.nii" in page.read_text(encoding="utf-8")
    other = quick(make_system(np.random.default_rng(0))).save(tmp_path / "other")
    assert "modules.dlabel.nii" not in other.read_text(encoding="utf-8")
    save_comparison([report, report], tmp_path / "both")
    assert (tmp_path / "both/own/modules.dlabel.nii").exists()
    assert (tmp_path / "both/own~2/modules.dlabel.nii").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [(ZeroDivisionError("a\nfault"), "ZeroDivisionError: a fault"), (fct.InputError("no room."), "no room")],
)
def test_a_source_that_fails_to_write_costs_no_other_file(error, said, monkeypatch, tmp_path):
    def write_outputs(report, folder):
        raise error

    report = of_source(monkeypatch, write_outputs)
    with pytest.warns(UserWarning, match="could not write") as heard:
        page = report.save(tmp_path)
    [message] = [str(each.message) for each in heard]
    assert message == f"source 'own' could not write its own files into {tmp_path}: {said}. All others are there."
    assert page.exists()
    assert {"report.json", "labels.tsv"} <= {path.name for path in tmp_path.iterdir()}
    assert "As files for other programs" not in page.read_text(encoding="utf-8")


def test_ctrl_c_while_a_source_writes_is_heard(monkeypatch, tmp_path):
    def write_outputs(report, folder):
        raise KeyboardInterrupt

    report = of_source(monkeypatch, write_outputs)
    with pytest.raises(KeyboardInterrupt):
        report.save(tmp_path)
