"""The command line: fctoolbox …"""

import json
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fctoolbox.errors import DataUnavailable, InputError, PluginError, blamed_on, listed, suggestion
from fctoolbox.options import parsed
from fctoolbox.plugins import GROUP, Source, discover, find_source, installed, load_every_group, load_source
from fctoolbox.system import RecurrentSystem, options_in_words

if TYPE_CHECKING:
    from fctoolbox.chunks import Workers
    from fctoolbox.groups import GroupComparison
    from fctoolbox.origin import Dropped, OriginReport

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="fctoolbox")
def cli() -> None:
    """Do units with similar input projections work together?

    Start with: fctoolbox sources, then fctoolbox run SOURCE --out DIR.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with 0 (done), 2 (the user's input), 1 (our fault) or 130 (interrupted)."""
    # A warning is a sentence for the person at the terminal, not a line of our code.
    warnings.showwarning = lambda message, *_args, **_kwargs: click.echo(f"Warning: {message}", err=True)
    try:
        cli.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # click takes any for the end of what the user types
            _confess(error.__cause__)
        click.echo("Interrupted. Downloads, training and nulls go on from here when it is run again.", err=True)
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  (the last resort: say whose fault it is, and show all)
        _confess(error)


def _confess(error: BaseException) -> NoReturn:
    traceback.print_exception(error)
    click.echo(
        f"Error: {type(error).__name__}: {error}\nThis is a fault in fctoolbox or a plugin, not in your input.",
        err=True,
    )
    sys.exit(1)


def _analysis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option(
            "--null", "nulls", multiple=True, default=("permutation",), show_default=True,
            help="permutation, variogram, spin, moran, regrow, projection or auto; may be repeated.",
        ),
        click.option("--n-nulls", type=click.IntRange(1), default=1000, show_default=True, help="Nulls of each kind."),
        click.option(
            "--n-restarts", type=click.IntRange(1), help="Louvain runs.  [default: 100; of more than 5,000 units 5]",
        ),
        click.option(
            "--resolution", type=click.FloatRange(0), default=1.0, show_default=True, help="γ of the modularity.",
        ),
        click.option(
            "--constant-units", type=click.Choice(["drop", "error"]), default="drop", show_default=True,
            help="Leave units out that never change, or refuse them.",
        ),
        click.option("--rng", type=click.IntRange(0), default=0, show_default=True, help="Same seed, same report."),
        click.option("--jobs", type=int, default=1, show_default=True, help="Threads; -1 for all. Changes no result."),
        click.option(
            "--backend", type=click.Choice(["threads", "dask"]), default="threads", show_default=True,
            help="Who computes nulls: threads here, or a dask.distributed cluster. Changes no result.",
        ),
        click.option("--scheduler", metavar="ADDRESS", help="Of the cluster's scheduler, such as tcp://node1:8786."),
        click.option(
            "--no-cache", "cache", is_flag=True, flag_value=False, default=True,
            help="Neither read nor keep finished chunks of long work, from which an interrupted run continues.",
        ),
        click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


_PATH = click.Path(path_type=Path)


@cli.command()
@click.argument("source", required=False)
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the source; may be repeated.",
)
@click.option("--projection", type=_PATH, help="Your own projection, units × inputs: CSV, TSV, NPY, NPZ, MAT, XLSX.")
@click.option("--connectivity", type=_PATH, help="Your own functional connectivity, units × units.")
@click.option("--timeseries", type=_PATH, help="Your own activity, times × units.")
@click.option("--positions", type=_PATH, help="Positions of the units, units × 3, in mm.")
@click.option("--distances", type=_PATH, help="Distances between the units, in mm.")
@click.option("--fisher-z", is_flag=True, help="The connectivity holds Fisher z, not r.")
@click.option("--transposed", is_flag=True, help="The projection's rows are the inputs.")
@click.option("--common", is_flag=True, help="Keep the units that all files share.")
@click.option("--sampling-interval", type=float, help="Seconds between two rows of your own timeseries.")
@click.option("--name", help="What to call the system of your own files; the projection's file name by default.")
@click.option(
    "--groups", type=_PATH, help="Group of each of your own inputs: CSV or TSV with an input and a group column."
)
@click.option(
    "--by-group",
    is_flag=True,
    help="Compare the groups of inputs (divisions of the brain) instead: which explains the connectivity best?",
)
@click.option("--highest", metavar="GROUP", help="With --by-group: the group expected to be the highest.")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="NAME",
    help="With --by-group or --systems: leave this group or network out; may be repeated.",
)
@click.option(
    "--n-bootstrap",
    type=click.IntRange(2),
    default=1000,
    show_default=True,
    help="With --by-group: draws of the units, for intervals.",
)
@click.option(
    "--subjects",
    type=_PATH,
    help="Analyse each subject of a list, and their group: TSV with a subject column, and one for each option "
    "of SOURCE in which subjects differ; paths are relative to the list.",
)
@click.option(
    "--skip-failed", is_flag=True, help="With --subjects: a subject that cannot be analysed is no failure of the run."
)
@click.option(
    "--systems",
    metavar="ANNOTATION",
    help="Ask as well whether similarity is concentrated within each network of this annotation (such as yeo7), or of "
    "your own: CSV or TSV with a unit and a label column, or a label file that the source reads (.dlabel.nii).",
)
@click.option(
    "--function",
    is_flag=True,
    help="Ask as well what the modules carry: their activity beside the variables of the trials, and output lesions.",
)
@_analysis_options
def run(source: str | None, options: tuple[str, ...], out: Path, **settings: Any) -> None:
    """Analyse one SOURCE, or your own matrices, and write a report."""
    own = {name: settings.pop(name) for name in _OWN}
    by_group = settings.pop("by_group")
    of_groups = {name: settings.pop(name) for name in _OF_GROUPS}
    subjects, skip_failed = settings.pop("subjects"), settings.pop("skip_failed")
    if skip_failed and not subjects:
        raise InputError("--skip-failed belongs with --subjects")
    systems, function = settings.pop("systems"), settings.pop("function")
    if subjects and (source is None or by_group or systems or function):
        raise InputError(
            "--subjects belongs with a SOURCE, and does not go with --by-group, --systems, --function or your own "
            "matrices"
        )
    if by_group and function:
        raise InputError("--function belongs to a run without --by-group; ask for one of the two")
    alone = [name for name in _OF_GROUPS if name != "leave_out"] if systems else _OF_GROUPS
    if not by_group and (unused := _typed_in(alone)):
        systems_too = " or --systems" if unused == ["--leave-out"] else ""
        raise InputError(f"{listed(unused)} belongs with --by-group{systems_too}")
    if by_group and systems:
        raise InputError("--systems belongs to a run without --by-group; ask for one of the two")
    if by_group and _typed_in(("nulls",)):
        raise InputError(
            "--null belongs to a run without --by-group: groups are compared by dealing their inputs anew, "
            "--n-nulls times"
        )
    if (source is None) == (own["projection"] is None):
        raise InputError(
            "name a source (see: fctoolbox sources), or give your own files with "
            "--projection FILE and --connectivity FILE or --timeseries FILE" + ("; not both" if source else "")
        )
    _writable(out)
    workers = _workers(settings)
    if source is not None:
        if unused := [f"--{name.replace('_', '-')}" for name, value in own.items() if value]:
            raise InputError(f"{listed(unused)} belongs with --projection, not with a source")
        chosen = find_source(source)
        if subjects:
            _run_subjects(chosen, subjects, parsed(chosen, options), out, workers, settings, skip_failed=skip_failed)
            return
        from fctoolbox.chance import refusing_early

        try:
            with refusing_early(() if by_group else settings["nulls"]):
                system = (load_every_group if by_group else load_source)(chosen, **parsed(chosen, options))
        except DataUnavailable as error:
            if not chosen.miniature:
                raise
            raise DataUnavailable(
                f"{error} To see the method at work on synthetic data: fctoolbox run {chosen.miniature}"
                + (" --by-group" if by_group else "")
            ) from error
        if by_group and system.projection.groups is None:
            able = [name for name, each in installed().sources.items() if each.every_group]
            raise InputError(
                f"source '{source}' does not say which groups its inputs belong to, so --by-group has nothing "
                f"to compare. Sources that do: {', '.join(able) or 'none is installed'}; your own files do with "
                "--groups FILE."
            )
        if by_group and of_groups["highest"] is None:
            there = set(system.projection.groups or ()) - set(of_groups["leave_out"])
            of_groups["highest"] = next((name for name in chosen.expected_groups if name in there), None)
        asked = ["fctoolbox", "run", source, *_options_of(system)]
    else:
        from fctoolbox.matrices import read_system

        if options:
            raise InputError("-o sets the options of a source; your own files have none")
        system = read_system(**own)
        for label, text in system.provenance.notes.items():
            click.echo(f"Note: {label.lower()}: {text}", err=True)
        asked = ["fctoolbox", "run"]
        for name, value in own.items():
            if value:
                asked += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    if by_group:
        comparison = _compare_groups(system, workers, **settings, **of_groups)
        command = shlex.join(
            [*asked, "--by-group", *_group_words(of_groups), *_settings(settings | {"nulls": ()}, out)]
        )
        _say_groups(comparison, comparison.save(out, command=command))
        return
    if systems:
        from fctoolbox.annotations import annotated, is_file
        from fctoolbox.systems import check_networks

        asked += ["--systems", systems]
        if systems not in system.annotations and is_file(systems):
            system, systems = annotated(system, systems), Path(systems).name
        check_networks(system, systems, of_groups["leave_out"])  # before the work, not after it
        asked += [*(word for name in of_groups["leave_out"] for word in ("--leave-out", name))]
    if function:
        from fctoolbox.function import check_variables

        check_variables(system)  # before the work, not after it
        asked += ["--function"]
    report = _analyse(system, workers, **settings)
    command = shlex.join([*asked, *_settings(settings, out)])
    page = report.save(out, command=command)
    _say([report], page)
    _save_systems(report, systems, of_groups["leave_out"], workers, settings, out, command)
    _save_function(system if function else None, report, settings, out, command)


_OF_GROUPS = ("highest", "leave_out", "n_bootstrap")
# fmt: off
_OWN = (
    "projection", "connectivity", "timeseries", "positions", "distances", "fisher_z", "transposed", "common",
    "sampling_interval", "name", "groups",
)
# fmt: on


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="SOURCE:KEY=VALUE",
    help="Option of one of the sources.",
)
@click.option(
    "--or-miniature", is_flag=True,
    help="Where a source's data can be neither found nor downloaded, run its synthetic miniature instead, and say so.",
)  # fmt: skip
@_analysis_options
def compare(sources: tuple[str, ...], options: tuple[str, ...], or_miniature: bool, out: Path, **settings: Any) -> None:
    """The same analysis of several SOURCES side by side, on one page."""
    from fctoolbox.chance import refusing_early
    from fctoolbox.report import save_comparison

    if twice := [name for name in dict.fromkeys(sources) if sources.count(name) > 1]:
        raise InputError(
            f"a source can be compared once, and these repeat: {listed(twice)}. To see one source with different "
            "options, run each on its own: fctoolbox run"
        )
    _writable(out)
    workers = _workers(settings)
    chosen = [find_source(name) for name in sources]
    given = _parsed_by_source(chosen, options)
    reports = []
    asked = ["fctoolbox", "compare"]
    for source in chosen:
        click.echo(f"{source.name} …", err=True)
        try:
            with refusing_early(settings["nulls"]):
                system = load_source(source, **given[source.name])
        except DataUnavailable as error:
            if not (or_miniature and source.miniature):
                if source.miniature:
                    raise DataUnavailable(
                        f"{error} (--or-miniature runs the synthetic '{source.miniature}' instead)"
                    ) from error
                raise
            click.echo(
                f"Warning: {error}\nRunning the SYNTHETIC miniature '{source.miniature}' instead of '{source.name}'.",
                err=True,
            )
            if source.miniature in sources:
                raise InputError(
                    f"'{source.name}' cannot be had, and its miniature '{source.miniature}' is compared already; "
                    f"leave '{source.name}' out"
                ) from error
            miniature = find_source(source.miniature)
            if strange := [name for name in given[source.name] if name not in miniature.options]:
                raise InputError(
                    f"the miniature '{miniature.name}' has no option {listed(strange)}, which '{source.name}' was given"
                ) from error
            with refusing_early(settings["nulls"]):
                system = load_source(miniature, **given[source.name])
        loaded = system.provenance.source
        asked += [loaded, *_options_of(system, loaded)]
        reports.append(_analyse(system, workers, **settings))
    command = shlex.join([*asked, *_settings(settings, out)])
    page = save_comparison(reports, out, command=command)
    _say(reports, page)


@cli.command()
@click.argument("names", nargs=-1, metavar="FIGURE...")
@click.option("--quick", is_flag=True, help="Fewer networks, nulls and draws: two minutes instead of most of an hour.")
@click.option("--rng", type=click.IntRange(0), default=0, show_default=True, help="Same seed, same pages.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Threads; -1 for all. Changes no result.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill.")
def reproduce(names: tuple[str, ...], quick: bool, rng: int, jobs: int, out: Path) -> None:
    """Find the paper's figures again: one page each, with what it claims and what was found here."""
    from fctoolbox.chunks import Workers
    from fctoolbox.reproduce import FIGURES, check_names
    from fctoolbox.reproduce import reproduce as make_pages

    check_names(names)
    _writable(out)
    workers = Workers(jobs)
    workers.check()
    settings = ["--quick"] * quick + [f"--rng={rng}", "--out", str(out)]
    command = shlex.join(["fctoolbox", "reproduce", *names, *settings])
    failures = make_pages(
        names, out, quick=quick, rng=rng, workers=workers, command=command,
        progress=lambda text: click.echo(text, err=True),
    )  # fmt: skip
    click.echo(f"Pages: {out / 'index.html'}")
    if failures:
        reasons = "\n".join(f"{name} ({FIGURES[name]}): {reason}" for name, reason in failures.items())
        raise InputError(f"{len(failures)} of {len(set(names))} figures could not be made.\n{reasons}")


@cli.command("induced-q")
@click.option("--connectivity", type=_PATH, required=True, help="Functional connectivity, units × units.")
@click.option("--labels", type=_PATH, required=True, help="CSV or TSV with a unit and a label column.")
@click.option("--fisher-z", is_flag=True, help="The connectivity holds Fisher z, not r.")
@click.option("--resolution", type=click.FloatRange(0), default=1.0, show_default=True, help="γ of the modularity.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def induced_q(connectivity: Path, labels: Path, fisher_z: bool, resolution: float, as_json: bool) -> None:
    """Modularity Q* of a connectivity under a partition that comes from elsewhere."""
    import numpy as np

    from fctoolbox.matrices import read_connectivity, read_labels
    from fctoolbox.quality import modularity
    from fctoolbox.similarity import connectivity_of
    from fctoolbox.system import RecurrentActivity

    matrix, units = read_connectivity(connectivity)
    activity = RecurrentActivity(connectivity=matrix, scale="fisher-z" if fisher_z else "pearson-r")
    partition = read_labels(labels, units, len(matrix))
    q = modularity(connectivity_of(activity), partition, resolution=resolution)
    n_communities = len(np.unique(partition))
    if as_json:
        click.echo(json.dumps({"q": q, "n_communities": n_communities}))
    else:
        click.echo(f"induced Q* = {q:.6f} ({n_communities} communities, {len(matrix)} units)")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sources(as_json: bool) -> None:
    """What can be analysed here."""
    found = installed().sources
    if as_json:
        click.echo(json.dumps([_described(source) for source in found.values()], indent=1, ensure_ascii=False))
        return
    width = max((len(name) for name in found), default=0)
    for name, source in found.items():
        click.echo(f"{name:<{width}}  {source.summary}")
        options = "  ".join(options_in_words(source.options))
        if options:
            click.echo(click.wrap_text(options, 110, " " * (width + 4), " " * (width + 4)))


@cli.command()
@click.argument("source")
def fetch(source: str) -> None:
    """Download the files of SOURCE, or say how to obtain them."""
    from fctoolbox.data import fetch as fetch_file

    chosen = find_source(source)
    if not chosen.files:
        click.echo(f"{chosen.name} needs no files.")
    failures = []
    for file in chosen.files:
        try:
            click.echo(f"{file.name}: {fetch_file(file)}")
        except DataUnavailable as error:
            failures.append(file.name)
            click.echo(f"{file.name}: {error}", err=True)
    if failures:
        raise DataUnavailable(
            f"{len(failures)} of {len(chosen.files)} files of '{source}' are missing: {listed(failures)}"
        )


@cli.command()
@click.argument("source")
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the source.")
def check(source: str, options: tuple[str, ...]) -> None:
    """Check that SOURCE keeps the plugin contract."""
    from fctoolbox.testing import ContractError, check_source

    chosen = find_source(source)
    try:
        clauses = check_source(chosen, **parsed(chosen, options))
    except ContractError as error:
        raise PluginError(str(error)) from error
    for clause in clauses:
        click.echo(f"✓ {clause}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """What plugins were found, what failed, and why."""
    import importlib.metadata

    found = discover(importlib.metadata.entry_points(group=GROUP), tolerate_misspelt=True)
    rows = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "sources": [source.name for source in plugin.sources],
            "failure": plugin.failure,
            "remedy": plugin.remedy if plugin.failure else "",
        }
        for plugin in found.plugins
    ]
    if as_json:
        click.echo(json.dumps({"plugins": rows, "refused": dict(found.refused)}, indent=1, ensure_ascii=False))
        return
    for plugin in found.plugins:
        click.echo(
            f"{plugin.name}  ({plugin.distribution} {plugin.version})  " + ", ".join(s.name for s in plugin.sources)
        )
        if plugin.failure:
            click.echo(f"    failed: {plugin.failure}\n    to be rid of this: {plugin.remedy}")
    for message in found.refused.values():
        click.echo(message)


def _analyse(system: RecurrentSystem, workers: "Workers", **settings: Any) -> "OriginReport":
    from fctoolbox.origin import analyse_origin

    names = {"nulls": "null"}
    asked = {names.get(name, name): value for name, value in settings.items() if value is not None}
    return analyse_origin(system, **asked, workers=workers)


def _save_systems(
    report: "OriginReport",
    annotation: str | None,
    leave_out: Sequence[str],
    workers: "Workers",
    settings: Mapping[str, Any],
    out: Path,
    command: str,
) -> None:
    from fctoolbox.report.systems import remove_systems

    if annotation is None:
        remove_systems(out)  # of an earlier report in this folder
        return
    from fctoolbox.systems import analyse_systems

    found = analyse_systems(
        report, annotation, n_nulls=settings["n_nulls"], leave_out=leave_out, rng=settings["rng"], workers=workers
    )
    page = found.save(out, command=command)
    click.echo(found.sentence())
    click.echo(f"Systems: {page}")


def _save_function(
    system: RecurrentSystem | None, report: "OriginReport", settings: Mapping[str, Any], out: Path, command: str
) -> None:
    from fctoolbox.report.function import remove_function

    if system is None:
        remove_function(out)  # of an earlier report in this folder
        return
    from fctoolbox.function import function_of

    # The system as loaded: without its dropped units it would have lost its model.
    found = function_of(system, report, n_nulls=settings["n_nulls"], rng=settings["rng"])
    page = found.save(out, command=command)
    click.echo(found.sentence())
    click.echo(f"Function: {page}")


def _compare_groups(
    system: RecurrentSystem, workers: "Workers", *, nulls: Sequence[str], n_nulls: int, **settings: Any
) -> "GroupComparison":
    from fctoolbox.groups import compare_groups

    del nulls  # there is one way to deal inputs
    settings = {name: value for name, value in settings.items() if value is not None}
    return compare_groups(system, n_permutations=n_nulls, workers=workers, **settings)


def _run_subjects(
    source: Source,
    table: Path,
    options: Mapping[str, Any],
    out: Path,
    workers: "Workers",
    settings: Mapping[str, Any],
    *,
    skip_failed: bool,
) -> None:
    from fctoolbox.subjects import analyse_subjects

    given = {("null" if name == "nulls" else name): value for name, value in settings.items()}
    report = analyse_subjects(source, table, options=options, workers=workers, **given)
    words = [part for word in options_in_words(options) for part in ("-o", word)]
    asked = ["fctoolbox", "run", source.name, *words, "--subjects", str(table)]
    page = report.save(out, command=shlex.join([*asked, *_settings(settings, out)]))
    click.echo(report.sentence())
    click.echo(f"Report: {page}")
    if report.failures and not skip_failed:
        reasons = "\n".join(f"  {subject}: {reason}" for subject, reason in report.failures.items())
        raise InputError(
            f"{len(report.failures)} of {len(report.failures) + len(report.results)} subjects could not be analysed. "
            f"The others are in the report; correct these and run again (finished subjects are kept), or say "
            f"--skip-failed:\n{reasons}"
        )


def _typed_in(names: Sequence[str]) -> list[str]:
    """Those of the options that the user wrote, as the user wrote them."""
    context = click.get_current_context()
    written = [each for each in context.command.params if each.name in names]
    default = click.core.ParameterSource.DEFAULT
    return [each.opts[0] for each in written if context.get_parameter_source(str(each.name)) is not default]


def _workers(settings: dict[str, Any]) -> "Workers":
    """Those asked for, taken out of the settings and checked before the work and not after it."""
    from fctoolbox.chunks import Workers

    names = {"jobs": "n_jobs", "backend": "backend", "scheduler": "scheduler", "cache": "cache"}
    workers = Workers(**{name: settings.pop(option) for option, name in names.items()})
    workers.check()
    return workers


def _writable(folder: Path) -> None:
    # Before the work, not after it; the folder is made only when there is something to put into it.
    with blamed_on(f"--out {folder}"):
        existing = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
        if not existing.is_dir():
            raise InputError(f"--out {folder}: {existing} is not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(f"--out {folder}: {existing} cannot be written to")


def _say(reports: "Sequence[OriginReport]", page: Path) -> None:
    for report in reports:
        click.echo(report.sentence())
        if report.dropped:
            click.echo(f"  Left out of {report.system.name}: {_dropped_in_words(report.dropped)}")
    click.echo(f"Report: {page}")


def _dropped_in_words(dropped: "Sequence[Dropped]") -> str:
    by_reason: dict[str, list[str]] = {}
    for each in dropped:
        by_reason.setdefault(each.reason, []).append(each.unit)
    groups = "; ".join(f"{listed(units)} ({reason})" for reason, units in by_reason.items())
    return f"{len(dropped):,} of its units: {groups}"


def _say_groups(comparison: "GroupComparison", page: Path) -> None:
    click.echo(comparison.sentence())
    click.echo(comparison.chance())
    if comparison.left_out:
        click.echo(f"  Left out on request: {', '.join(comparison.left_out)}")
    for group in comparison.groups:
        if group.reason:
            click.echo(f"  Not compared: {group.name}: {group.reason}")
    if comparison.without:
        steps = ", then ".join(f"{each.group} ({each.n_common})" for each in comparison.without)
        click.echo(
            f"  Reached by all: {len(comparison.common_units)} of {comparison.system.n_units} units. More would be if "
            f"groups were left out (--leave-out): {steps}"
        )
    if comparison.dropped:
        click.echo(f"  Left out of {comparison.system.name}: {_dropped_in_words(comparison.dropped)}")
    click.echo(f"Report: {page}")


def _group_words(of_groups: Mapping[str, Any]) -> list[str]:
    words = [] if of_groups["highest"] is None else ["--highest", of_groups["highest"]]
    for name in of_groups["leave_out"]:
        words += ["--leave-out", name]
    return [*words, "--n-bootstrap", str(of_groups["n_bootstrap"])]


def _described(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "summary": source.summary,
        "species": source.species,
        "citation": source.citation,
        "license": source.license,
        "options": source.options,
        "files": [file.name for file in source.files],
        "synthetic": source.synthetic,
    }


def _options_of(system: RecurrentSystem, source: str = "") -> list[str]:
    words = options_in_words(system.provenance.options)
    return [part for word in words for part in ("-o", f"{source}:{word}" if source else word)]


def _settings(settings: Mapping[str, Any], out: Path) -> list[str]:
    words = [word for null in settings["nulls"] for word in ("--null", null)]
    for name in ("n_nulls", "n_restarts", "resolution", "constant_units", "rng"):
        if settings[name] is not None:
            words += [f"--{name.replace('_', '-')}", str(settings[name])]
    return [*words, "--out", str(out)]


def _parsed_by_source(sources: Sequence[Source], options: Sequence[str]) -> dict[str, dict[str, Any]]:
    given: dict[str, list[str]] = {source.name: [] for source in sources}
    for option in options:
        name, colon, rest = option.partition(":")
        if not colon or "=" in name:
            raise InputError(f"-o {option}: with several sources, write SOURCE:KEY=VALUE")
        if name not in given:
            raise InputError(f"-o {option}: '{name}' is not compared here.{suggestion(name, list(given))}")
        given[name].append(rest)
    return {source.name: parsed(source, given[source.name]) for source in sources}


if __name__ == "__main__":
    main()
