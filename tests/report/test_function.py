import csv
import json

import numpy as np
import pytest

from fctoolbox.cli import _save_function, main
from fctoolbox.function import function_of
from fctoolbox.report.function import NAMES, remove_function, stars
from tests.networks import decisions, with_variables
from tests.report.test_report import Page


@pytest.fixture(scope="module")
def report():
    system, module = decisions(np.random.default_rng(1))
    some = np.where(np.arange(24) == 23, -1, module)
    stimulus = system.activity.variables["stimulus"]
    return function_of(
        with_variables(system, **{"A & <B>": stimulus[:, :1], "stimulus": None}),
        some,
        lags=[-0.04, 0.0, 0.02],
        n_nulls=99,
        n_restarts=2,
        rng=0,
    )


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("function") / "new"
    return report.save(folder, command="fctoolbox run x --function"), folder


def _rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_files(report, saved):
    page, folder = saved
    assert page == folder / "function.html"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(NAMES)
    content = json.loads((folder / "function.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(report.to_dict(command="fctoolbox run x --function")))
    assert content["schema"] == 1
    assert [each["name"] for each in content["modules"]] == ["recurrent activity", "input drive"]
    again = folder.parent / "again"
    report.save(again, command="fctoolbox run x --function")
    for name in NAMES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    (again / "mine.txt").touch()
    remove_function(again)
    assert [path.name for path in again.rglob("*") if path.is_file()] == ["mine.txt"]


def test_the_tables_hold_the_numbers(report, saved):
    rows = _rows(saved[1] / "function.tsv")
    assert len(rows) == sum(kind.n_modules * kind.relation.defined.sum() for kind in report.kinds)
    # The target differs at the last step of each trial alone, which is cut off where the module is read later.
    assert [row["lag_seconds"] for row in rows if row["variable"] == "target[1]"][-1] == "0.0"
    for row in rows[:: len(rows) // 40]:
        kind = next(kind for kind in report.kinds if kind.name == row["modules_of"])
        relation = kind.relation
        at = (
            int(np.flatnonzero(relation.lags == float(row["lag_seconds"]))[0]),
            int(row["module"]),
            kind.columns.index(row["variable"]),
        )
        assert float(row["r"]) == relation.r[at]
        assert float(row["expected_r"]) == relation.expected[at]
        assert float(row["p"]) == relation.p[at]
        assert float(row["p_corrected"]) == relation.p_corrected[at]
        assert float(row["p_any_lag"]) == relation.p_any_lag[at[1:]]
    lesions = _rows(saved[1] / "function-lesions.tsv")
    assert len(lesions) == 3 * 3 * 2
    first = lesions[0]
    assert (first["module"], first["trials"], first["control"]) == ("0", "all", "same size")
    assert float(first["accuracy"]) == report.lesions.accuracy[0, 0]
    assert float(first["control_accuracy"]) == report.lesions.same_size[0].accuracy[:, 0].mean()
    assert float(first["p"]) == report.lesions.same_size[0].tests[0].p_value


def test_page(saved):
    text = saved[0].read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.images) == 3
    assert all(image["src"].startswith("data:image/svg+xml;base64,") and image["alt"] for image in page.images)
    assert "A &amp; &lt;B&gt;" in text
    assert "<B>" not in text
    assert "Synthetic data" in text
    assert "u23" in text
    assert "choice[0]" in text
    assert "fctoolbox run x --function" in text
    assert "None" not in text
    assert all(link.startswith("data:") for link in page.links)


def test_a_report_without_drive_lesions_and_lags(report, tmp_path):
    system = with_variables(report.system, inputs=None, target=None)
    small = function_of(system, report.modules.labels, lags=[0.0], n_nulls=19, rng=0)
    report.save(tmp_path)
    small.save(tmp_path)  # what it lacks must not be left over from the one before
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"function.json", "function.tsv", "function.html", "function-r.svg", "function-r.png"}
    text = (tmp_path / "function.html").read_text(encoding="utf-8")
    assert "its input drive is not known" in text.replace("&#39;", "'")
    assert "Accuracy without" not in text


def test_stars():
    assert [stars(p) for p in (0.2, 0.05, 0.01, 0.0005)] == ["", "*", "**", "***"]


def test_on_the_command_line(tmp_path, capsys):
    options = ["--n-nulls", "19", "--n-restarts", "2", "--out", str(tmp_path)]
    main(["run", "toy", "-o", "n_trials=20", "-o", "n_units=20", "-o", "n_times=400", "--function", *options])
    said = capsys.readouterr().out
    assert f"Function: {tmp_path / 'function.html'}" in said
    content = json.loads((tmp_path / "function.json").read_text(encoding="utf-8"))
    assert " --function " in content["provenance"]["command"]
    assert (
        content["provenance"]["command"] == json.loads((tmp_path / "report.json").read_text())["provenance"]["command"]
    )
    assert content["modules"][0]["found_on"] == "similarity of input projections"
    _save_function(None, None, {}, tmp_path, "")  # as a later run does that does not ask
    assert not list(tmp_path.rglob("function*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy", "--function"], "has no variables; to know what its modules carry"),
        (["toy", "--by-group", "--function"], "--function belongs to a run without --by-group"),
        (["toy", "--subjects", "x.tsv", "--function"], "does not go with --by-group, --systems, --function"),
    ],
)
def test_on_the_command_line_where_it_cannot_be(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["run", *arguments, "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
