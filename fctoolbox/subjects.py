"""The same analysis of each subject of a list, and of their group."""

import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fctoolbox.chance import refusing_early
from fctoolbox.chunks import Workers, content_key
from fctoolbox.data import cache_folder, sha256_of, written_whole
from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox.group_mean import IN_WORDS, Averaging, GroupMean
from fctoolbox.options import typed
from fctoolbox.origin import OriginReport, analyse_origin, software
from fctoolbox.plugins import Source, find_source, load_source
from fctoolbox.system import FileRecord, RecurrentSystem
from fctoolbox.tables import check_exists, text_rows

SCHEMA = 1
STATISTICS = {
    "r": "Similarity–connectivity, Pearson r",
    "partial_r": "Similarity–connectivity, Pearson r without distance",
    "q": "Induced modularity Q* of functional connectivity",
}
_HEADERS = ("subject", "participant_id")
_DEFAULT = ("", "n/a")  # what BIDS tables write where there is nothing to say
_FILE = re.compile(r"[/\\]|\.[A-Za-z][A-Za-z0-9]*$")
_VERSION = 1  # raise it when what is kept of a subject changes


@dataclass(frozen=True)
class SubjectResult:
    """What was found in one subject.

    Parameters
    ----------
    subject : str
    n_units, n_inputs, n_communities : int
    values : mapping of str to float
        Of each of `STATISTICS`; ``"partial_r"`` only where distances are known.
    p_values : mapping of str to mapping of str to float
        Of each statistic, by null.
    spearman_rho : float or None
    q_similarity, q_best : float
        Q* of the similarity, and the best found on the functional connectivity.
    dropped : mapping of str to str
        Units that were left out, and why.
    """

    subject: str
    n_units: int
    n_inputs: int
    n_communities: int
    values: Mapping[str, float]
    p_values: Mapping[str, Mapping[str, float]]
    spearman_rho: float | None
    q_similarity: float
    q_best: float
    dropped: Mapping[str, str]


@dataclass(frozen=True)
class Spread:
    """A statistic over subjects: mean, standard deviation, least and greatest; and in how many it is above zero."""

    n: int
    mean: float
    sd: float | None
    least: float
    greatest: float
    n_above_zero: int


@dataclass(frozen=True, eq=False, repr=False)
class SubjectsReport:
    """The results of all subjects, and the report of their group.

    Parameters
    ----------
    results : sequence of SubjectResult
        In the order of the table.
    failures : mapping of str to str
        Subjects that could not be analysed, and why.
    group : OriginReport
        Of the mean over the subjects in `results`.
    one_projection : bool
        Whether all have the same projection.
    policies : mapping
        The choices that the group depends on; those of each analysis are in ``group.policies``.
    files : sequence of FileRecord
        The table of subjects.
    call : str
    seconds : float
    """

    results: tuple[SubjectResult, ...]
    failures: Mapping[str, str]
    group: OriginReport
    one_projection: bool
    policies: Mapping[str, Any]
    files: tuple[FileRecord, ...] = ()
    call: str = ""
    seconds: float = 0.0

    def spread(self, statistic: str) -> Spread | None:
        """A statistic of `STATISTICS` over subjects; None where no subject has it."""
        values = np.array([each.values[statistic] for each in self.results if statistic in each.values])
        if not values.size:
            return None
        sd = float(values.std(ddof=1)) if values.size > 1 else None
        least, greatest = float(values.min()), float(values.max())
        return Spread(len(values), float(values.mean()), sd, least, greatest, int((values > 0).sum()))

    @property
    def of_group(self) -> dict[str, float]:
        """The statistics of the group's system."""
        return _statistics(self.group)

    def sentence(self) -> str:
        """The answer in words."""
        r, q = self.spread("r"), self.spread("q")
        assert r is not None  # every analysis has both
        assert q is not None
        return (
            f"In {len(self.results)} subjects, similarity of input projections and functional connectivity correlate "
            f"with r = {_mean_and_sd(r)} (mean over subjects), above zero in {r.n_above_zero}; the induced modularity "
            f"is Q* = {_mean_and_sd(q)}. In the mean of their data r = {self.of_group['r']:.3f} and "
            f"Q* = {self.of_group['q']:.3f}."
        )

    def caution(self) -> str:
        """What the numbers must not be taken for."""
        text = (
            "The group's numbers are those of averaged data, which are less noisy than any subject's: they are no mean "
            "of the subjects' numbers, and usually larger. Each p asks about the units of one subject; how many "
            "subjects are below 0.05 says how often, not how sure. "
        )
        if self.one_projection:
            text += (
                "All subjects have the same projection, so that they differ in their activity alone: they are no "
                "independent repetitions of the whole question. "
            )
        if self.failures:
            text += f"Without {listed(self.failures)}, which could not be analysed. "
        return text.strip()

    def to_dict(self, *, command: str = "") -> dict[str, Any]:
        """As in subjects.json (schema 1)."""
        spreads = {name: self.spread(name) for name in STATISTICS}
        return {
            "schema": SCHEMA,
            "subjects": [asdict(each) for each in self.results],
            "failures": dict(self.failures),
            "over_subjects": {name: asdict(each) for name, each in spreads.items() if each is not None},
            "group": {"name": self.group.system.name, **self.of_group, "report": "report.json"},
            "one_projection": self.one_projection,
            "policies": dict(self.policies),
            "files": [{"name": file.name, "sha256": file.sha256} for file in self.files],
            "command": command or self.call,
            "seconds": round(self.seconds, 3),
        }

    def save(self, folder: str | Path, *, command: str = "") -> Path:
        """Write subjects.html, subjects.tsv, subjects.json and their figure beside the group's report; the page."""
        from fctoolbox.report import save_subjects

        return save_subjects(self, Path(folder), command=command)

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<SubjectsReport of {len(self.results)} subjects{failed}: r = {self.of_group['r']:.3f} in the group>"


def read_subjects(table: str | Path, source: str | Source) -> dict[str, dict[str, Any]]:
    """The options with which to load each subject of a list.

    Parameters
    ----------
    table : path
        TSV or CSV with a column ``subject`` (or BIDS' ``participant_id``) and one for each option of the source that
        differs between subjects. Paths of files are relative to the table; an empty cell, or ``n/a``, leaves an
        option at its default.
    source : str or Source

    Returns
    -------
    dict of str to dict of str to value
        By subject, in the order of the table.

    Raises
    ------
    InputError
        If a column is no option, a subject is missing or occurs twice, or a cell is not of the option's kind.
    """
    source = find_source(source) if isinstance(source, str) else source
    file = Path(table)
    check_exists(file)
    head, *rows = text_rows(file)
    names = [cell.strip().lower().replace("-", "_") for cell in head]
    column = next((names.index(word) for word in _HEADERS if word in names), None)
    if column is None:
        raise InputError(f"{file} has the columns {listed(head)}; one called 'subject' is needed")
    known = source.options
    for k, name in enumerate(names):
        if k != column and name not in known:
            raise InputError(
                f"{file} has a column '{head[k]}', but source '{source.name}' has no such option."
                f"{suggestion(name, list(known))} It has: {', '.join(known) or 'none'}. Take other columns out."
            )
        if names.count(name) > 1:
            raise InputError(f"{file} has more than one column '{name}'")
    subjects: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=2):
        cells = [*row, *[""] * (len(head) - len(row))]
        if len(cells) > len(head):
            raise InputError(f"{file}, row {number}: {len(row)} cells, but {len(head)} columns")
        subject = cells[column]
        if subject in _DEFAULT:
            raise InputError(f"{file}, row {number}: it names no subject")
        if subject in subjects:
            raise InputError(f"{file}, row {number}: subject '{subject}' occurs twice")
        options = {}
        for name, cell in zip(names, cells, strict=True):
            if name in known and cell.lower() not in _DEFAULT:
                try:
                    value = typed(cell, known[name], name)
                except InputError as error:
                    raise InputError(f"{file}, subject '{subject}': {error}") from error
                options[name] = _beside(file.parent, value) if isinstance(value, str) else value
        subjects[subject] = options
    if not subjects:
        raise InputError(f"{file} has a header, but no subjects below it")
    return subjects


def load_subjects(source: str | Source, table: str | Path, **options: Any) -> dict[str, RecurrentSystem]:
    """One system for each subject of a list; see `read_subjects`.

    Parameters
    ----------
    source : str or Source
    table : path
    **options
        Of the source, the same for all subjects.

    Returns
    -------
    dict of str to RecurrentSystem

    Raises
    ------
    InputError
        As of the table and of the source, with the subject's name first.
    """
    source = find_source(source) if isinstance(source, str) else source
    return {subject: _load(source, subject, its) for subject, its in _options(source, table, options).items()}


def analyse_subjects(
    source: str | Source,
    table: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    projection: Averaging = "share",
    workers: Workers | None = None,
    **settings: Any,
) -> SubjectsReport:
    """Analyse each subject of a list, and the mean of all.

    A finished subject is kept in the cache under all that its numbers depend on, so that interrupted work continues
    with the first one that is not. Subjects are loaded one after the other.

    Parameters
    ----------
    source : str or Source
    table : path
        See `read_subjects`.
    options : mapping, optional
        Of the source, the same for all subjects.
    projection : {"share", "sum"}
        How projections are averaged; see `group_system`.
    workers : Workers, optional
    **settings
        Of `analyse_origin`. The same `rng` is used for each subject and for the group, so that no subject's numbers
        depend on which others there are.

    Returns
    -------
    SubjectsReport
        A subject whose data cannot be used is in `failures`, and the others are analysed without it.

    Raises
    ------
    InputError
        If the table or a setting cannot be used, or fewer than two subjects could be analysed.
    """
    from tqdm import tqdm

    started = time.perf_counter()
    source = find_source(source) if isinstance(source, str) else source
    subjects = _options(source, table, options or {})
    if len(subjects) < 2:
        raise InputError(
            f"{table} has one subject; a group needs at least two. To analyse one, give its columns as options (-o) "
            "and leave --subjects out"
        )
    workers = workers or Workers(settings.pop("n_jobs", 1))
    settings["rng"] = _seed(settings.get("rng"))
    mean = GroupMean(projection)
    results: list[SubjectResult] = []
    failures: dict[str, str] = {}
    for subject, its in tqdm(subjects.items(), desc="subjects", unit="subject", disable=None):
        try:
            with refusing_early(settings.get("null", ())):
                system = _load(source, subject, its)
            result = _analysed(subject, system, settings, workers)
            mean.add(subject, system)
            results.append(result)
        except InputError as error:
            failures[subject] = str(error).removeprefix(f"subject '{subject}': ")
    if len(results) < 2:
        reasons = "; ".join(f"{subject}: {reason}" for subject, reason in list(failures.items())[:3])
        raise InputError(
            f"{len(results)} of the {len(subjects)} subjects of {table} could be analysed, and at least 2 are needed. "
            f"{reasons}"
        )
    synthetic = " (synthetic)" if source.synthetic else ""
    report = analyse_origin(mean.system(f"{source.name}, mean of {len(results)} subjects{synthetic}"), **settings,
                            workers=workers)  # fmt: skip
    words = "".join(f", {name}={value!r}" for name, value in {**({"options": dict(options)} if options else {}),
                                                             "projection": projection, **settings}.items())  # fmt: skip
    call = f'fct.analyse_subjects("{source.name}", "{table}"{words})'
    return SubjectsReport(
        results=tuple(results),
        failures=failures,
        group=replace(report, call=call),
        one_projection=mean.one_projection,
        policies={
            "group_connectivity": "tanh of the mean of the subjects' Fisher z",
            "group_projection": "the same in all subjects" if mean.one_projection else IN_WORDS[projection],
            "group_units": "those that all subjects have, and that vary in all",
        },
        files=(FileRecord(Path(table).name, sha256_of(Path(table))),),
        call=call,
        seconds=time.perf_counter() - started,
    )


def _options(source: Source, table: str | Path, shared: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    subjects = read_subjects(table, source)
    for name in shared:
        if any(name in its for its in subjects.values()):
            raise InputError(
                f"option {name} is given for all subjects, and {table} has a column of it; give one of both"
            )
    return {subject: {**shared, **its} for subject, its in subjects.items()}


def _load(source: Source, subject: str, options: Mapping[str, Any]) -> RecurrentSystem:
    try:
        system = load_source(source, **options)
    except InputError as error:
        raise type(error)(f"subject '{subject}': {error}") from error
    # The options would put the paths of the subject's files into the name.
    synthetic = " (synthetic)" if system.provenance.synthetic else ""
    return replace(system, name=f"{source.name}, {subject}{synthetic}")


def _beside(folder: Path, value: str) -> str:
    """The value, or where it is the path of a file, that path from the table's folder; of each part between commas."""

    def path(part: str) -> str:
        name = part.strip()
        is_file = bool(name) and (_FILE.search(name) is not None or (folder / name).exists())
        return str(folder / Path(name).expanduser()) if is_file else part

    return ",".join(path(part) for part in value.split(","))


def _seed(rng: object) -> int:
    if rng is None:
        return int(np.random.SeedSequence().entropy)  # type: ignore[arg-type]
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    return rng  # type: ignore[return-value]  # analyse_origin refuses what is no whole number


def _analysed(subject: str, system: RecurrentSystem, settings: Mapping[str, Any], workers: Workers) -> SubjectResult:
    """The subject's result, from the cache if the same was done before."""
    activity = system.activity
    data = (system.units, system.projection.weights, activity.timeseries, activity.connectivity, activity.scale)
    key = content_key((_VERSION, data, system.geometry, system.provenance.left_out, dict(settings), software(system)))
    path = cache_folder() / "subjects" / f"{key[:32]}.json"
    if workers.cache and (kept := _read(path)):
        return replace(kept, subject=subject)
    try:
        report = analyse_origin(system, **settings, workers=workers)
    except InputError as error:
        raise InputError(f"subject '{subject}': {error}") from error
    tests = {"r": report.relationship.nulls, "partial_r": report.relationship.partial_nulls, "q": report.induced.nulls}
    values = _statistics(report)
    result = SubjectResult(
        subject=subject,
        n_units=report.system.n_units,
        n_inputs=report.system.projection.n_inputs,
        n_communities=report.communities.n,
        values=values,
        p_values={name: {test.model: test.p_value for test in tests[name]} for name in values},
        spearman_rho=report.relationship.spearman_rho,
        q_similarity=report.communities.q,
        q_best=report.induced.q_best,
        dropped={each.unit: each.reason for each in report.dropped},
    )
    if workers.cache:
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(asdict(result), allow_nan=False), encoding="utf-8")
    return result


def _read(path: Path) -> SubjectResult | None:
    with suppress(OSError, ValueError, TypeError):  # damaged, it is made anew
        return SubjectResult(**json.loads(path.read_text(encoding="utf-8")))
    return None


def _statistics(report: OriginReport) -> dict[str, float]:
    values = {"r": report.relationship.pearson_r, "partial_r": report.relationship.partial_r, "q": report.induced.q}
    return {name: float(value) for name, value in values.items() if value is not None}


def _mean_and_sd(spread: Spread) -> str:
    return f"{spread.mean:.3f}" + ("" if spread.sd is None else f" ± {spread.sd:.3f}")
