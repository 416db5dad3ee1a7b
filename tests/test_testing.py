import pickle
import random
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import fctoolbox as fct
from fctoolbox import DataFile, FactoredMatrix, FileRecord, Geometry, InputProjection, RecurrentActivity, Source
from fctoolbox.testing import ContractError, check_source
from tests.conftest import make_system

WEIGHTS = np.random.default_rng(1).standard_normal((12, 5))
FILE = DataFile("published.csv", "https://example.org/published.csv", "0" * 64, 10)


def a_system(**changes):
    rng = np.random.default_rng(7)
    return make_system(rng, **{"name": "tectum (synthetic)", **changes})


def a_source(load=a_system, **changes):
    described = {"summary": "tectum", "citation": "nobody", "license": "CC0-1.0", "synthetic": True, "files": (FILE,)}
    return Source("tectum", lambda: load(), **{**described, **changes})


def test_the_toy_keeps_the_contract():
    clauses = check_source("toy", n_units=20, n_times=100)
    assert len(clauses) == len(set(clauses)) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"projection": InputProjection(sparse.csr_array(WEIGHTS))},
        {"projection": InputProjection(FactoredMatrix(WEIGHTS, WEIGHTS.T))},
        {"geometry": Geometry(positions=np.ones((12, 3)))},
    ],
    ids=["dense", "sparse", "factored", "with positions"],
)
def test_a_good_source_keeps_it(changes):
    assert check_source(a_source(lambda: a_system(**changes))) == check_source("toy", n_units=20, n_times=100)


def provenance(**changes):
    return replace(fct.Provenance("nobody", "CC0-1.0", synthetic=True), **changes)


class Restless:
    """Loads something else each time."""

    def __init__(self, **changes):
        self.changes, self.calls = changes, 0

    def __call__(self):
        self.calls += 1
        return a_system(**{what: change(self.calls) for what, change in self.changes.items()})


def touching(draw):
    def load():
        draw()
        return a_system()

    return load


def numbers(k):
    return np.random.default_rng(k).standard_normal


def constant(n_constant):
    timeseries = numbers(0)((50, 12))
    timeseries[:, :n_constant] = 1
    return RecurrentActivity(timeseries)


BREAKERS = {
    "an upper-case name": (
        lambda: replace(a_source(lambda: a_system(name="Tectum (synthetic)")), name="Tectum"),
        ["the source is described: name 'Tectum' must be lower case words joined by hyphens"],
    ),
    "no summary": (lambda: a_source(summary=" "), ["the source is described: summary is empty"]),
    "no citation": (lambda: a_source(citation=""), ["the source is described: citation is empty"]),
    "no license": (lambda: a_source(license=""), ["the source is described: license is empty"]),
    "a long summary": (lambda: a_source(summary="x" * 121), ["the source is described: summary must be one line"]),
    "a summary of two lines": (lambda: a_source(summary="a\nb"), ["the source is described: summary must be one line"]),
    "a short hash": (
        lambda: a_source(files=(replace(FILE, sha256="abc"),)),
        ["the source is described: file published.csv needs a SHA-256"],
    ),
    "no size": (
        lambda: a_source(files=(replace(FILE, size=0),)),
        ["the source is described: file published.csv needs a SHA-256 of 64 hexadecimal digits and its size"],
    ),
    "numpy's generator": (
        lambda: a_source(touching(lambda: np.random.rand(1))),
        ["global random state is left alone: load changed numpy's global random state"],
    ),
    "numpy's seed": (
        lambda: a_source(touching(lambda: np.random.seed(0))),
        ["global random state is left alone: load changed numpy's global random state"],
    ),
    "Python's generator": (
        lambda: a_source(touching(random.random)),
        ["global random state is left alone: load changed Python's global random state"],
    ),
    "other weights each time": (
        lambda: a_source(Restless(projection=lambda k: InputProjection(numbers(k)((12, 5))))),
        ["loading twice gives the same system: weights differs: give the source a seed option"],
    ),
    "other sparse weights each time": (
        lambda: a_source(Restless(projection=lambda k: InputProjection(sparse.csr_array(WEIGHTS + k)))),
        ["loading twice gives the same system: weights.data differs"],
    ),
    "other activity each time": (
        lambda: a_source(Restless(activity=lambda k: RecurrentActivity(numbers(k)((50, 12))))),
        ["loading twice gives the same system: activity.timeseries differs"],
    ),
    "a connectivity now and then": (
        lambda: a_source(
            Restless(activity=lambda k: RecurrentActivity(numbers(0)((50, 12)), np.eye(12) if k > 1 else None))
        ),
        ["loading twice gives the same system: activity.connectivity differs"],
    ),
    "other units each time": (
        lambda: a_source(Restless(units=lambda k: tuple(f"{k}-{i}" for i in range(12)))),
        ["loading twice gives the same system: units differs"],
    ),
    "other annotations each time": (
        lambda: a_source(Restless(annotations=lambda k: {"yeo7": [str(k)] * 12})),
        ["loading twice gives the same system: annotations differs"],
    ),
    "other inputs each time": (
        lambda: a_source(Restless(projection=lambda k: InputProjection(WEIGHTS, [f"{k}{j}" for j in range(5)]))),
        ["loading twice gives the same system: projection.inputs differs"],
    ),
    "the name of another": (
        lambda: a_source(lambda: a_system(name="retina (synthetic)")),
        ["the system is described: the system is named 'retina (synthetic)'; its name must begin with the source's"],
    ),
    "not said to be synthetic": (
        lambda: a_source(synthetic=False),
        ["the system is described: source.synthetic is False, but provenance.synthetic is True"],
    ),
    "a system without a license": (
        lambda: a_source(lambda: a_system(provenance=provenance(license=""))),
        ["the system is described: provenance.license is empty"],
    ),
    "a system without a citation": (
        lambda: a_source(lambda: a_system(provenance=provenance(citation=" "))),
        ["the system is described: provenance.citation is empty"],
    ),
    "a file that is not named": (
        lambda: a_source(
            lambda: a_system(provenance=provenance(files=(FileRecord("other.csv", "f" * 64),), synthetic=False)),
            synthetic=False,
        ),
        ["files are those that the source names: provenance names other.csv (ffffffffffff…), which is not among"],
    ),
    "arrays that come writable out of a pickle": (
        lambda: a_source(lambda: pickle.loads(pickle.dumps(a_system()))),  # noqa: S301
        ["arrays are read-only: activity.timeseries can be written to", "arrays are read-only: weights can be "],
    ),
    "most units constant": (
        lambda: a_source(lambda: a_system(activity=constant(7))),
        ["enough units receive input and vary: only 5 of 12 units receive input and vary"],
    ),
    "all units constant": (
        lambda: a_source(lambda: a_system(activity=constant(12))),
        ["enough units receive input and vary: it cannot be analysed: "],
    ),
    "two at once": (
        lambda: a_source(lambda: a_system(name="retina (synthetic)"), license=""),
        ["the source is described: license is empty", "the system is described: the system is named 'retina"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("breaker", BREAKERS)
def test_each_clause_is_broken_by_its_breach_alone(breaker):
    make, complaints = BREAKERS[breaker]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with pytest.raises(ContractError) as error:
            check_source(make())
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
    first, *lines = str(error.value).split("\n  ")
    assert re.fullmatch(r"source '[Tt]ectum' breaks its contract:", first)
    assert len(lines) == len(complaints)
    for line, complaint in zip(lines, complaints, strict=True):
        assert line.startswith(complaint)


def test_every_clause_has_a_breaker():
    clauses = set(check_source("toy", n_units=20, n_times=100))
    assert {complaint.partition(":")[0] for _, complaints in BREAKERS.values() for complaint in complaints} == clauses


def test_some_constant_units_are_fine_and_so_is_a_network_with_many():
    check_source(a_source(lambda: a_system(activity=constant(5))))
    check_source(a_source(lambda: a_system(activity=constant(7), model=object())))


def test_its_options_are_passed_on_and_checked():
    with pytest.raises(fct.InputError, match="source 'toy' has no option 'units'"):
        check_source("toy", units=3)
    with pytest.raises(fct.InputError, match=r"no source named 'toi'\. Did you mean 'toy'"):
        check_source("toi")
    with pytest.raises(fct.PluginError, match="must be keyword-only with a default"):
        check_source(replace(a_source(), load=lambda **anything: a_system()))


def test_the_users_own_files_need_not_be_among_those_of_the_source(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "own.csv").touch()
    own = provenance(files=(FileRecord("own.csv", "f" * 64),), synthetic=False)
    source = replace(
        a_source(synthetic=False),
        load=lambda *, data=None, other="x": a_system(provenance=own),
    )
    for given in ("own.csv", "runs/*.csv", "first.csv, some/own.csv", str(tmp_path / "runs")):
        assert check_source(source, data=given)
    for given in ("other.csv", "", str(tmp_path / "nowhere")):
        with pytest.raises(ContractError, match=r"provenance names own\.csv"):
            check_source(source, data=given)
