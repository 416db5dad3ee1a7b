"""The frame of reproduced figures: pages, their files, and the command; the figures have tests of their own."""

import json
import sys
from types import SimpleNamespace

import pytest

from fctoolbox.cli import main
from fctoolbox.errors import InputError
from fctoolbox.report.figures import new_figure
from fctoolbox.reproduce import FIGURES, Page, Panel, Table, make_page, reproduce


def a_page(name, *, rng=0, **changes):
    figure = new_figure()
    figure.subplots().plot([0, 1], [rng, rng + 1])
    table = Table("Numbers", ("what", "value"), (("one", 1.23456789), ("none", None), ("many", 12_345)))
    parts = {
        "title": "A title", "claim": "a < b", "found": ("It was found.", "And more."),
        "panels": (Panel("line", figure, "A line."),), "tables": (table,), "statistics": {"r": 0.5, "seed": rng},
    }  # fmt: skip
    return Page(name, **(parts | changes))


@pytest.fixture
def pages(monkeypatch):
    """Two figures that are made at once, and one that lacks its data; `asked` is what they were asked for."""
    asked = []

    def module(name, failure=None, **changes):
        def make(*, quick, rng, workers, progress):
            asked.append((name, quick, rng, workers.n_jobs))
            progress("working")
            if failure:
                raise InputError(failure)
            return a_page(name, rng=rng, **changes)

        monkeypatch.setitem(sys.modules, f"fctoolbox.reproduce.{name}", SimpleNamespace(make=make))

    module("fig1")
    module("fig2", synthetic=True)
    module("fig3", failure="no data of the mouse")
    return asked


def test_a_page_says_what_was_found_and_keeps_its_numbers(pages, tmp_path):
    assert reproduce(["fig1"], tmp_path, quick=True, rng=3, command="typed this") == {}
    assert pages == [("fig1", True, 3, 1)]
    content = json.loads((tmp_path / "fig1.json").read_text())
    assert content["statistics"] == {"r": 0.5, "seed": 3}
    assert content["found"] == ["It was found.", "And more."]
    assert content["tables"][0]["rows"][1] == ["none", None]
    assert content["provenance"]["command"] == "typed this"
    html = (tmp_path / "fig1.html").read_text()
    for text in ("It was found.", "a &lt; b", "1.235", "12,345", "typed this", "data:image/svg+xml"):
        assert text in html
    assert "Synthetic" not in html
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["fig1-line.png", "fig1-line.svg"]


def test_synthetic_data_are_said_on_the_page_and_in_the_index(pages, tmp_path):
    reproduce(["fig1", "fig2"], tmp_path)
    assert "Synthetic data" in (tmp_path / "fig2.html").read_text()
    assert (tmp_path / "index.html").read_text().count("with synthetic data") == 1


def test_a_figure_that_cannot_be_made_leaves_the_others(pages, tmp_path):
    assert reproduce(["fig3", "fig1"], tmp_path) == {"fig3": "no data of the mouse"}
    assert (tmp_path / "fig1.html").is_file()
    assert not (tmp_path / "fig3.html").exists()
    assert "no data of the mouse" in (tmp_path / "index.html").read_text()


def test_the_index_keeps_the_pages_of_earlier_runs(pages, tmp_path):
    reproduce(["fig2"], tmp_path)
    (tmp_path / "fig3.json").write_bytes((tmp_path / "fig2.json").read_bytes())  # of a run that had its data
    reproduce(["fig1", "fig3"], tmp_path)
    index = (tmp_path / "index.html").read_text()
    assert index.count('href="fig2.html"') == 1
    assert index.index('href="fig1.html"') < index.index('href="fig2.html"')


def test_a_number_that_is_none_stops_before_anything_is_written(monkeypatch, tmp_path):
    make = SimpleNamespace(make=lambda **_: a_page("fig1", statistics={"r": float("nan")}))
    monkeypatch.setitem(sys.modules, "fctoolbox.reproduce.fig1", make)
    with pytest.raises(ValueError, match="not JSON compliant"):
        reproduce(["fig1"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_asked_for_twice_is_made_once(pages, tmp_path):
    reproduce(["fig1", "fig1"], tmp_path)
    assert len(pages) == 1


@pytest.mark.parametrize("name", ["fig11", "Fig1", "figs4"])
def test_an_unknown_figure_is_refused_with_what_there_is(name):
    with pytest.raises(InputError, match=f"no figure '{name}'. Did you mean"):
        make_page(name)


def test_the_command_writes_the_pages_and_names_what_failed(pages, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["reproduce", "fig1", "fig3", "--quick", "--jobs", "2", "--out", str(tmp_path / "out")])
    assert error.value.code == 2
    assert "1 of 2 figures could not be made.\nfig3 (" in capsys.readouterr().err
    assert pages == [("fig1", True, 0, 2), ("fig3", True, 0, 2)]
    content = json.loads((tmp_path / "out" / "fig1.json").read_text())
    assert content["provenance"]["command"] == f"fctoolbox reproduce fig1 fig3 --quick --rng=0 --out {tmp_path / 'out'}"


def test_the_command_without_figures_says_which_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["reproduce", "--out", str(tmp_path)])
    assert error.value.code == 2
    assert ", ".join(FIGURES) in capsys.readouterr().err


def test_a_real_page_from_the_command_line(tmp_path, capsys):
    main(["reproduce", "figS8", "--quick", "--rng", "1", "--out", str(tmp_path)])
    printed = capsys.readouterr()
    assert printed.out == f"Pages: {tmp_path / 'index.html'}\n"
    assert printed.err.startswith(f"figS8: {FIGURES['figS8']}\n")
    content = json.loads((tmp_path / "figS8.json").read_text())
    assert set(content) == {
        "figure", "title", "claim", "found", "panels", "statistics", "tables", "notes", "synthetic", "provenance",
    }  # fmt: skip
    for panel in content["panels"]:
        for kind in ("svg", "png"):
            assert (tmp_path / "figures" / f"figS8-{panel['name']}.{kind}").stat().st_size > 1000
    assert content["found"][0] in (tmp_path / "index.html").read_text()
