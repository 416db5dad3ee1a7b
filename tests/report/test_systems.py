import csv
import json

import numpy as np
import pytest

from fctoolbox.report.systems import NAMES, remove_systems, systems_figure
from tests.report.test_report import Page
from tests.test_systems import LABELS, SURFACE, on_sphere, quick

pytestmark = pytest.mark.filterwarnings("ignore:with .* nulls and .* networks no corrected p")


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(5)
    system = on_sphere(LABELS, rng.standard_normal((8, 20))[LABELS] + rng.standard_normal((300, 20)), SURFACE)
    labels = [*system.annotations["nets"]]
    labels[0] = "none"
    labels = [label.replace("net 1", "A & <B>") for label in labels]
    return quick(type(system)(**{**vars(system), "annotations": {"nets": labels}}), n_nulls=199)


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("systems") / "new"
    return report.save(folder, command="fctoolbox run x --systems nets"), folder


def test_files(report, saved):
    page, folder = saved
    assert page == folder / "systems.html"
    assert {path.name for path in folder.iterdir()} == set(NAMES)
    content = json.loads((folder / "systems.json").read_text(encoding="utf-8"))
    assert content == report.to_dict(command="fctoolbox run x --systems nets")
    assert (folder / "systems.svg").read_bytes().startswith(b"<?xml")
    again = folder.parent / "again"
    report.save(again, command="fctoolbox run x --systems nets")
    for name in NAMES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    (again / "mine.txt").touch()
    remove_systems(again)
    assert [path.name for path in again.iterdir()] == ["mine.txt"]
    remove_systems(again)


def test_the_table_holds_the_numbers(report, saved):
    with (saved[1] / "systems.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["network"] for row in rows] == [each.name for each in report.networks]
    for row, each in zip(rows, report.networks, strict=True):
        for name in ("rank", "n_units", "within", "others", "concentration", "cohens_d", "p_corrected", "paper_t"):
            assert float(row[name]) == getattr(each, name)
        assert float(row["p"]) == each.test.p_value
        assert float(row["null_low"]) < float(row["null_mean"]) < float(row["null_high"])


def test_page(report, saved):
    text = saved[0].read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.images) == 1
    assert page.images[0]["src"].startswith("data:image/svg+xml;base64,")
    assert page.images[0]["alt"]
    assert "A &amp; &lt;B&gt;" in text
    assert "<B>" not in text
    assert "not to be believed" in text
    assert "1 unit without a network" in text
    assert "Synthetic data" in text
    assert "fctoolbox run x --systems nets" in text
    assert all(link.startswith("data:") for link in page.links)
    for each in report.networks:
        assert f"{each.concentration:.4f}" in text


def test_the_figure_is_in_the_order_of_the_ranking(report):
    axes = systems_figure(report).axes[0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [f"{each.name} ({each.n_units})" for each in report.networks]
    low, high = axes.get_ylim()
    assert low > high  # the first at the top
    points = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in points] == [each.concentration for each in report.networks]
    filled = [line.get_markerfacecolor() != "white" for line in points]
    assert filled == [each in report.concentrated for each in report.networks]
