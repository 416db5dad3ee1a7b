import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox.chunks import Workers
from fctoolbox.report.groups import NAMES, group_figures
from tests.report.test_report import Page
from tests.test_groups import grouped


def quick(system, **settings):
    defaults = {"n_bootstrap": 30, "n_permutations": 9, "n_restarts": 2, "rng": 0, "workers": Workers(cache=False)}
    return fct.compare_groups(system, **(defaults | settings))


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(3)
    sizes = {"thal": 5, "pons & co": 4, "olf": 3, "one": 1}
    return quick(grouped(rng, sizes, driver="thal", silent={"olf": [2, 3]}), highest="thal")


@pytest.fixture(scope="module")
def saved(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups") / "new"
    return comparison.save(folder, command="fctoolbox run x --by-group"), folder


def test_files(comparison, saved):
    page, folder = saved
    assert page == folder / "groups.html"
    assert {path.name for path in folder.iterdir()} == {"groups.html", "groups.json", "groups.tsv", "figures"}
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.{kind}" for name in NAMES for kind in ("svg", "png")
    }
    content = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
    assert content == comparison.to_dict(command="fctoolbox run x --by-group")


def test_the_table_holds_the_numbers(comparison, saved):
    with (saved[1] / "groups.tsv").open(encoding="utf-8", newline="") as stream:
        rows = {(row["group"], row["units"]): row for row in csv.DictReader(stream, delimiter="\t")}
    assert set(rows) == {(group.name, where) for group in comparison.groups for where in ("own", "common")}
    for group in comparison.compared:
        for where in ("own", "common"):
            score, row = getattr(group, where), rows[group.name, where]
            assert int(row["n_units"]) == len(score.units)
            assert int(row["n_communities"]) == score.communities.n
            for statistic in ("r", "q"):
                estimate = getattr(score, statistic)
                assert float(row[statistic]) == estimate.value
                assert (float(row[f"{statistic}_low"]), float(row[f"{statistic}_high"])) == (
                    estimate.low,
                    estimate.high,
                )
                assert int(row[f"{statistic}_rank"]) == estimate.rank
                assert float(row[f"{statistic}_behind"]) == estimate.behind
    assert rows["one", "own"]["r"] == ""
    assert rows["one", "own"]["reason"].startswith("it has a single input")


def test_page_is_whole_and_self_contained(comparison, saved):
    content = saved[0].read_text(encoding="utf-8")
    page = Page(content)
    text = " ".join(" ".join(page.text).split())
    assert len(page.images) == len(NAMES)
    assert all(image["alt"] for image in page.images)
    assert all(link.startswith("data:") for link in page.links)
    for expected in (
        comparison.sentence(),
        comparison.chance(),
        comparison.caution(),
        "Synthetic data",
        "it has a single input, from which all units receive the same pattern",
        "Without olf there would be 12.",
        "fctoolbox run x --by-group",
        "Snijders",
    ):
        assert expected in text
    assert "pons & co" not in content  # it is escaped
    shown = re.findall(r'<td class="number">(-?0\.\d{4})</td>', content)
    for group in comparison.compared:
        for where in ("own", "common"):
            for statistic in ("r", "q"):
                assert f"{getattr(getattr(group, where), statistic).value:.4f}" in shown


def test_same_comparison_same_files(comparison, saved, tmp_path):
    again = comparison.save(tmp_path, command="fctoolbox run x --by-group")
    assert again.read_bytes() == saved[0].read_bytes()
    assert (tmp_path / "figures/groups.svg").read_bytes() == (saved[1] / "figures/groups.svg").read_bytes()


def test_every_estimate_is_drawn_where_it_belongs(comparison):
    left, right = group_figures(comparison)["groups"].axes
    for axes, statistic in ((left, "r"), (right, "q")):
        points = {(line.get_marker(), *line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 1}
        ends = {tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2}
        for group in comparison.compared:
            for where, shape in (("own", "o"), ("common", "s")):
                estimate = getattr(getattr(group, where), statistic)
                assert (shape, estimate.value) in points
                assert (estimate.low, estimate.high) in ends
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names == [f"{group.name} ({group.n_inputs}, {len(group.own.units)})" for group in comparison.compared]
    assert [tick.get_fontweight() for tick in left.get_yticklabels() if tick.get_text().startswith("thal")] == ["bold"]
    low, high = left.get_ylim()
    assert low > high  # the first group stands at the top


def test_without_common_units_there_is_one_row_of_deals_and_no_common_column(tmp_path):
    rng = np.random.default_rng(0)
    system = grouped(rng, {"a": 3, "b": 3, "c": 3}, silent={"a": range(6), "b": range(5, 12)})
    comparison = quick(system)
    figures = group_figures(comparison)
    assert len(figures["groups-dealt"].axes) == 2
    page = comparison.save(tmp_path).read_text(encoding="utf-8")
    assert "Fewer than 4 of the 12 units are reached by all groups" in page
    assert "On the units that all reach" not in page
    assert "No group was named before looking" in page


def test_no_figure_of_an_earlier_comparison_stays(comparison, tmp_path):
    comparison.save(tmp_path)
    (tmp_path / "figures/mine.png").touch()
    everywhere = tuple(replace(group, unreached=()) for group in comparison.groups)
    replace(comparison, groups=everywhere, without=()).save(tmp_path)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"mine.png", *(f"{name}.{kind}" for name in NAMES[:2] for kind in ("svg", "png"))}
    assert "Nothing: every group reaches every unit." in (tmp_path / "groups.html").read_text(encoding="utf-8")


def test_intervals_that_nobody_knows_are_left_out(comparison, tmp_path):
    def unknown(score):
        if score is None:
            return None
        nothing = {"low": None, "high": None, "behind_low": None, "behind_high": None}
        return replace(score, r=replace(score.r, **nothing), q=replace(score.q, **nothing))

    groups = tuple(replace(each, own=unknown(each.own), common=unknown(each.common)) for each in comparison.groups)
    without = replace(comparison, groups=groups)
    assert "interval" not in without.sentence()
    without.save(tmp_path)
    assert json.loads((tmp_path / "groups.json").read_text(encoding="utf-8"))["groups"][0]["own"]["r"]["low"] is None


def test_a_folder_that_cannot_be_written_to(comparison, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(fct.InputError, match="cannot be written"):
        comparison.save(tmp_path / "file")
