import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox import subjects
from fctoolbox.chunks import Workers
from fctoolbox.counting import announce_units
from fctoolbox.plugins import Installed, Source
from fctoolbox.subjects import analyse_subjects, load_subjects, read_subjects
from tests.conftest import make_system
from tests.test_cli import QUICK, call

SETTINGS = {"n_nulls": 49, "n_restarts": 2, "rng": 0}
TOY = "subject\tseed\tn_units\n" + "".join(f"s{k}\t{k}\t{24 if k < 3 else 30}\n" for k in range(4))


def load(*, file: str = "", runs: str = "", gain: float = 1.0, planted: bool = True, side: str = "left"):
    """A source whose activity comes from a file: 16 units in 4 communities, or unrelated to them."""
    seed = int(Path(file).read_text(encoding="utf-8"))
    rng = np.random.default_rng(7)
    weights = rng.random((16, 8)) + 3 * np.repeat(np.eye(4), 4, axis=0) @ rng.random((4, 8))
    of_subject = np.random.default_rng(seed)
    drive = weights if planted else of_subject.random((16, 8))
    activity = of_subject.standard_normal((200, 8)) @ drive.T + of_subject.standard_normal((200, 16))
    if seed == 13:
        raise fct.InputError(f"{file} was measured on a Friday")
    return make_system(
        rng,
        n_units=16,
        name="mine (synthetic)",
        projection=fct.InputProjection(gain * weights, tuple(f"n{j}" for j in range(8))),
        activity=fct.RecurrentActivity(activity),
    )


MINE = Source("mine", load, "made up", "nobody", "CC0-1.0", synthetic=True)


@pytest.fixture
def table(tmp_path):
    def write(seeds=(1, 2, 3), extra=""):
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        for seed in seeds:
            (folder / f"run{seed}.txt").write_text(str(seed), encoding="utf-8")
        text = "subject\tfile\n" + "".join(f"s{seed}\trun{seed}.txt\n" for seed in seeds) + extra
        (folder / "subjects.tsv").write_text(text, encoding="utf-8")
        return folder / "subjects.tsv"

    return write


@pytest.fixture
def toys(tmp_path):
    (tmp_path / "toys.tsv").write_text(TOY, encoding="utf-8")
    return tmp_path / "toys.tsv"


def test_the_table_becomes_options(table, tmp_path):
    path = table((1, 2), "s3\tn/a\n")
    assert read_subjects(path, MINE) == {
        "s1": {"file": str(tmp_path / "study/run1.txt")},
        "s2": {"file": str(tmp_path / "study/run2.txt")},
        "s3": {},
    }


def test_paths_are_relative_to_the_table_and_words_are_words(tmp_path):
    (tmp_path / "t.tsv").write_text(
        "participant_id\tfile\truns\tgain\tplanted\tside\n"
        "s1\t/data/a.nii\tsub/b.dtseries.nii,c.dtseries.nii\t0.5\tfalse\tleft\ns2\tmissing.nii\t*.nii\t2\tyes\tright\n",
        encoding="utf-8",
    )
    first, second = read_subjects(tmp_path / "t.tsv", MINE).values()
    assert first == {
        "file": "/data/a.nii",
        "runs": f"{tmp_path}/sub/b.dtseries.nii,{tmp_path}/c.dtseries.nii",
        "gain": 0.5,
        "planted": False,
        "side": "left",
    }
    assert second["file"] == str(tmp_path / "missing.nii")
    assert second["runs"] == f"{tmp_path}/*.nii"
    assert second["side"] == "right"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\tfile\ns\tx\n", "has the columns name, file; one called 'subject' is needed"),
        ("subject\tfiel\ns\tx\n", "has a column 'fiel', but source 'mine' has no such option. Did you mean 'file'"),
        ("subject\tage\ns\t3\n", "Take other columns out"),
        ("subject\tfile\ns\tx\ns\ty\n", "row 3: subject 's' occurs twice"),
        ("subject\tfile\n\tx\n", "row 2: it names no subject"),
        ("subject\tgain\ns\tmuch\n", "subject 's': option gain is 'much'; it must be a number"),
        ("subject\tfile\tfile\ns\tx\ty\n", "more than one column 'file'"),
        ("subject\tfile\n", "no subjects below it"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "t.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(fct.InputError, match=re.escape(message)):
        read_subjects(tmp_path / "t.tsv", MINE)


def test_one_system_for_each(toys):
    systems = load_subjects("toy", toys, noise=0.1)
    assert list(systems) == ["s0", "s1", "s2", "s3"]
    assert [each.n_units for each in systems.values()] == [24, 24, 24, 30]
    assert systems["s2"].name == "toy, s2 (synthetic)"
    assert systems["s2"].provenance.options["noise"] == 0.1
    with pytest.raises(fct.InputError, match=r"option seed is given for all subjects, and .* has a column of it"):
        load_subjects("toy", toys, seed=3)


def test_identical_subjects_are_their_group(table):
    path = table((1,), "again\trun1.txt\nthird\trun1.txt\n")
    report = analyse_subjects(MINE, path, **SETTINGS)
    alone = fct.analyse_origin(load(file=str(path.parent / "run1.txt")), **SETTINGS)
    for result in report.results:
        assert result.values == {"r": alone.relationship.pearson_r, "q": alone.induced.q}
        assert result.p_values["r"] == {"permutation": alone.relationship.nulls[0].p_value}
    assert report.of_group == pytest.approx(report.results[0].values, abs=1e-12)
    assert report.spread("r").sd == pytest.approx(0, abs=1e-12)
    assert report.spread("r").mean == pytest.approx(alone.relationship.pearson_r, abs=1e-12)
    assert report.spread("partial_r") is None
    assert report.one_projection
    assert "the same projection" in report.caution()


def test_planted_is_found_in_each_and_in_the_group(table):
    report = analyse_subjects(MINE, table(range(20, 26)), **SETTINGS)
    assert all(each.p_values["r"]["permutation"] == 0.02 for each in report.results)
    assert report.spread("r").n_above_zero == 6
    # Noise is averaged away, so that the mean of the data shows more than the mean over subjects.
    assert report.of_group["r"] > report.spread("r").mean
    assert report.group.relationship.nulls[0].p_value == 0.02
    assert report.group.rng == "0"


def test_in_noise_nothing_is_found(table):
    report = analyse_subjects(MINE, table(range(20, 36)), options={"planted": False}, **SETTINGS)
    p_values = [each.p_values["r"]["permutation"] for each in report.results]
    assert sum(p <= 0.05 for p in p_values) <= 3  # of 16: beyond that, p = 0.007 by chance
    assert 4 <= report.spread("r").n_above_zero <= 12
    assert abs(report.spread("r").mean) < 0.1


def test_a_subject_does_not_depend_on_the_others(table):
    three = analyse_subjects(MINE, table((1, 2, 3)), **SETTINGS, workers=Workers(cache=False))
    two = analyse_subjects(MINE, table((3, 2)), **SETTINGS, workers=Workers(cache=False))
    assert {each.subject: each for each in two.results} == {each.subject: each for each in three.results[1:]}


def test_a_finished_subject_is_not_analysed_again(table, monkeypatch):
    path = table((41, 42, 43))
    done = []
    analyse = subjects.analyse_origin

    def interrupted(system, **settings):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(system.name)
        return analyse(system, **settings)

    monkeypatch.setattr(subjects, "analyse_origin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        analyse_subjects(MINE, path, **SETTINGS)
    assert done == ["mine, s41 (synthetic)", "mine, s42 (synthetic)"]
    seen = []
    monkeypatch.setattr(
        subjects, "analyse_origin", lambda s, **settings: (seen.append(s.name), analyse(s, **settings))[1]
    )
    resumed = analyse_subjects(MINE, path, **SETTINGS)
    assert seen == ["mine, s43 (synthetic)", "mine, mean of 3 subjects (synthetic)"]
    fresh = analyse_subjects(MINE, path, **SETTINGS, workers=Workers(cache=False))
    assert resumed.results == fresh.results
    assert resumed.of_group == fresh.of_group
    seen.clear()
    (path.parent / "run42.txt").write_text("44", encoding="utf-8")  # other data under the same name
    analyse_subjects(MINE, path, **SETTINGS)
    assert "mine, s42 (synthetic)" in seen
    seen.clear()
    analyse_subjects(MINE, path, **{**SETTINGS, "n_nulls": 50})
    assert len(seen) == 4


def test_a_failing_subject_is_named_and_the_others_are_kept(table):
    report = analyse_subjects(MINE, table((1, 13, 2)), **SETTINGS)
    assert [each.subject for each in report.results] == ["s1", "s2"]
    assert list(report.failures) == ["s13"]
    assert report.failures["s13"].endswith("was measured on a Friday")
    assert "Without s13, which could not be analysed" in report.caution()
    assert "mean of 2 subjects" in report.group.system.name
    with pytest.raises(fct.InputError, match=r"1 of the 2 subjects.*at least 2.*s13: .*Friday"):
        analyse_subjects(MINE, table((1, 13)), **SETTINGS)
    with pytest.raises(fct.InputError, match=r"has one subject; a group needs at least two.*leave --subjects out"):
        analyse_subjects(MINE, table((1,)), **SETTINGS)


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src")]


def test_a_null_of_too_many_units_is_refused_before_they_are_loaded(toys):
    def load(*, seed: int = 0, n_units: int = 24):
        announce_units("vast", 10**5)
        raise AssertionError("it went on")

    source = Source("vast", load, "large", "nobody", "CC0-1.0", synthetic=True)
    with pytest.raises(
        fct.InputError, match=r"^0 of the 4 subjects .* s0: the null 'moran' needs the distances of all"
    ):
        analyse_subjects(source, toys, null=["permutation", "moran"], rng=0)
    with pytest.raises(AssertionError, match="it went on"):
        analyse_subjects(source, toys, rng=0)


def test_files(table, tmp_path):
    report = analyse_subjects(MINE, table((1, 13, 2)), **SETTINGS)
    page = report.save(tmp_path / "out", command="fctoolbox run mine --subjects t")
    assert page == tmp_path / "out/subjects.html"
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"subjects.html", "subjects.tsv", "subjects.json", "report.html", "report.json", "labels.tsv"} <= there
    assert {"subjects.svg", "subjects.png", "similarity.svg"} <= {p.name for p in (tmp_path / "out/figures").iterdir()}
    with (tmp_path / "out/subjects.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["subject"] for row in rows] == ["s1", "s2", "s13"]
    assert float(rows[0]["r"]) == report.results[0].values["r"]
    assert float(rows[1]["p_q_permutation"]) == report.results[1].p_values["q"]["permutation"]
    assert rows[0]["partial_r"] == ""
    assert rows[2]["r"] == ""
    assert "Friday" in rows[2]["failure"]
    content = json.loads((tmp_path / "out/subjects.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(report.to_dict(command="fctoolbox run mine --subjects t")))
    html = page.read_text(encoding="utf-8")
    assert "Friday" in html
    assert report.sentence() in html
    tags = _Tags()
    tags.feed(html)
    assert {link for link in tags.links if not link.startswith("data:")} <= {"report.html"}


def test_many_subjects_are_drawn_without_names(table):
    report = analyse_subjects(MINE, table((1, 2)), **SETTINGS)
    one = report.results[0]
    many = replace(report, results=tuple(replace(one, subject=f"s{k}") for k in range(70)))
    from fctoolbox.report.subjects import subject_figures

    [figure] = subject_figures(many).values()
    assert figure.get_axes()[0].get_yticks().size == 0
    [figure] = subject_figures(report).values()
    assert [label.get_text() for label in figure.get_axes()[0].get_yticklabels()] == ["s1", "s2"]


@pytest.fixture
def with_mine(monkeypatch):
    from fctoolbox import plugins

    found = Installed((), {"mine": MINE}, {})
    monkeypatch.setattr(plugins, "installed", lambda: found)
    monkeypatch.setattr(plugins.installed, "cache_clear", lambda: None, raising=False)


def test_command_line(toys, tmp_path, capsys):
    words = ("run", "toy", "-o", "noise=0.2", "--subjects", toys, *QUICK, "--out", tmp_path / "o")
    assert call(*words) == 0
    out = capsys.readouterr().out
    assert out.startswith("In 4 subjects, ")
    assert "subjects.html" in out
    report = json.loads((tmp_path / "o/report.json").read_text(encoding="utf-8"))
    assert report["system"]["name"] == "toy, mean of 4 subjects (synthetic)"
    assert report["system"]["n_units"] == 24
    assert len(report["system"]["dropped"]) == 6
    command = report["provenance"]["command"]
    assert command.startswith(f"fctoolbox run toy -o noise=0.2 --subjects {toys} --null permutation")
    assert call(*command.replace(str(tmp_path / "o"), str(tmp_path / "again")).split()[1:]) == 0
    assert (tmp_path / "o/subjects.tsv").read_bytes() == (tmp_path / "again/subjects.tsv").read_bytes()


def test_command_line_with_a_failing_subject(table, tmp_path, capsys, with_mine):
    words = ("run", "mine", "--subjects", table((1, 13, 2)), *QUICK)
    assert call(*words, "--out", tmp_path / "o") == 2
    captured = capsys.readouterr()
    assert "1 of 3 subjects could not be analysed" in captured.err
    assert "s13: " in captured.err
    assert (tmp_path / "o/subjects.tsv").is_file()
    assert call(*words, "--skip-failed", "--out", tmp_path / "o") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toy", "--skip-failed"], "--skip-failed belongs with --subjects"),
        (["toy", "--subjects", "x", "--by-group"], "does not go with --by-group"),
        (["--projection", "p", "--connectivity", "c", "--subjects", "x"], "belongs with a SOURCE"),
        (["toy", "--subjects", "nowhere.tsv"], "there is no file nowhere.tsv"),
    ],
)
def test_words_that_do_not_go_together(words, message, tmp_path, capsys):
    assert call("run", *words, *QUICK, "--out", tmp_path / "o") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
