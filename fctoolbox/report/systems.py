"""Files of an analysis of systems: JSON, TSV, a page, and its figure."""

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fctoolbox.data import written_whole
from fctoolbox.errors import blamed_on
from fctoolbox.origin import software
from fctoolbox.report.figures import STYLE, WIDTH, Picture, new_figure, rendered
from fctoolbox.report.page import METHODS, POLICIES, embedded, environment, provenance_view
from fctoolbox.systems import SystemsReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("systems.json", "systems.tsv", "systems.svg", "systems.html")
CAPTION = (
    "Concentration of each network: mean similarity of input projections within it minus that to all other networks, "
    "mean over its units (points; filled where p, corrected, is at most 0.05). Grey: 95 % of the nulls, and their mean "
    "(line). In brackets: units. The order is the ranking."
)
_POLICIES = {**POLICIES, "null": "null", "n_nulls": "nulls", "correction": "correction of p"}
_METHODS = (
    METHODS[0],
    "Alexander-Bloch et al. 2018, NeuroImage 178:540–551 (spins)",
    "Kerby 2014, Comprehensive Psychology 3:11.IT.3.1 (rank-biserial correlation)",
    "Holm 1979, Scandinavian Journal of Statistics 6:65–70 (correction)",
)
_COLUMNS = (
    "rank", "network", "n_units", "within", "others", "concentration", "cohens_d", "rank_biserial", "null", "n_nulls",
    "null_mean", "null_sd", "null_low", "null_high", "z", "p", "p_corrected", "n_lost", "n_pairs", "paper_t",
)  # fmt: skip


def save_systems(report: SystemsReport, folder: Path, *, command: str = "") -> Path:
    """Write an analysis of systems; the path of its page.

    Parameters
    ----------
    report : SystemsReport
    folder : Path
        Made if need be. Files of an earlier analysis are replaced, each whole.
    command : str
        What the user typed.

    Returns
    -------
    Path
        ``folder/systems.html``, beside ``systems.json``, ``systems.tsv`` and ``systems.svg``.
    """
    picture = rendered({"systems": systems_figure(report)})["systems"]
    # allow_nan=False: a NaN that got this far must stop here, not in somebody's parser.
    content = json.dumps(report.to_dict(command=command), indent=1, ensure_ascii=False, allow_nan=False)
    page = systems_page(report, picture, command=command)
    with written_whole(folder / "systems.json") as path:
        path.write_text(content + "\n", encoding="utf-8")
    with written_whole(folder / "systems.tsv") as path, path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows([_COLUMNS, *_rows(report)])
    with written_whole(folder / "systems.svg") as path:
        path.write_bytes(picture.svg)
    with written_whole(folder / "systems.html") as path:
        path.write_text(page, encoding="utf-8")
    return folder / "systems.html"


def remove_systems(folder: Path) -> None:
    """Remove the files of an earlier analysis, which would be taken for one of the report beside them."""
    for name in NAMES:
        with blamed_on(f"{folder / name} cannot be removed"):
            (folder / name).unlink(missing_ok=True)


def systems_page(report: SystemsReport, picture: Picture, *, command: str = "") -> str:
    """The HTML of an analysis of systems, self-contained."""
    system = report.system
    provenance = system.provenance
    return environment().get_template("systems.html.jinja").render(
        title=f"fctoolbox: {system.name}, by {report.annotation}",
        report=report,
        system={
            "name": system.name,
            "synthetic": provenance.synthetic,
            **provenance_view(system),
        },
        policies={_POLICIES.get(name, name): value for name, value in report.policies.items()},
        image=embedded(picture),
        caption=CAPTION,
        command=command or report.call,
        versions=software(system),
        methods=_METHODS,
    )  # fmt: skip


def systems_figure(report: SystemsReport) -> "Figure":
    """Networks in the order of their rank: concentration, and where the nulls lie."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        networks = report.networks
        figure = new_figure(height=0.95 + 0.24 * len(networks), width=1.5 * WIDTH)
        axes = figure.add_subplot()
        axes.axvline(0, color="#999999", lw=0.8, zorder=0)
        for y, network in enumerate(networks):
            low, high = network.null_interval()
            axes.plot([low, high], [y, y], color="#c4c4c4", lw=6, solid_capstyle="butt", zorder=1)
            axes.plot([network.test.mean] * 2, [y - 0.22, y + 0.22], color="#777777", lw=1, zorder=2)
            inside = "#0072B2" if network in report.concentrated else "white"
            axes.plot([network.concentration], [y], "o", ms=5, color="#0072B2", mfc=inside, mew=1.1, zorder=3)
            axes.annotate(
                f"p = {network.p_corrected:.2g}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=7
            )
        axes.plot([], [], "o", ms=5, color="#0072B2", label="observed")
        axes.plot([], [], color="#c4c4c4", lw=6, label=f"95 % of {report.lead.n:,} nulls ({report.null})")
        axes.set_yticks(range(len(networks)), [f"{each.name} ({each.n_units:,})" for each in networks])
        axes.set_ylim(len(networks) - 0.4, -0.6)
        axes.set_xlabel("Concentration: similarity within − to other networks")
        axes.set_title(f"{report.annotation}; p corrected (Holm)")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
        return figure


def _rows(report: SystemsReport) -> list[list[Any]]:
    """A row for each network, in the order of the ranking; empty cells where there is no number."""
    rows = []
    for each in report.networks:
        test = each.test
        cells = [
            each.rank, each.name, each.n_units, each.within, each.others, each.concentration, each.cohens_d,
            each.rank_biserial, test.model, test.n, test.mean, test.sd, *each.null_interval(), test.z, test.p_value,
            each.p_corrected, each.n_lost, each.n_pairs, each.paper_t,
        ]  # fmt: skip
        rows.append(["" if cell is None else cell for cell in cells])
    return rows
