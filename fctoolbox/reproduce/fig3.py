"""Figure 3: does the relationship of input projections and functional connectivity hold in networks and in brains?"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fctoolbox.chance import IN_SHORT, recommended
from fctoolbox.chunks import Workers
from fctoolbox.origin import OriginReport, analyse_origin
from fctoolbox.report.figures import report_figures
from fctoolbox.reproduce.brains import or_miniature
from fctoolbox.reproduce.draw import p_in_words, spread, strips_figure
from fctoolbox.reproduce.networks import DECISIONS, Networks
from fctoolbox.reproduce.page import Page, Panel, Table
from fctoolbox.samples import SampleComparison, compare_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLAIM = (
    "units that receive similar input projections are correlated in their activity, so that the modules of the input "
    "projections alone say something about those of functional connectivity: in trained networks, and likewise in "
    "the cortex of mice and humans, with the thalamus as input."
)
BRAINS = {"mouse": "mouse-regional", "human": "human-template"}
_PICTURES = {
    "similarity": "cosine similarity of the input projections, by module",
    "connectivity": "functional connectivity in the same order, with the same squares",
    "relationship": "all pairs of units",
    "induced-q": "modularity of functional connectivity under the modules of the inputs (line), nulls, and the best "
    "partition (dashed)",
}
_LEVEL = 0.05


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    n_networks: int
    n_nulls: int
    n_restarts: int


QUICK, FULL = Sizes(8, 200, 20), Sizes(100, 1000, 100)


@dataclass(frozen=True)
class Origin:
    """Of one network, before or after training."""

    network: int
    n_units: int
    n_constant: int
    n_modules: int
    r: float
    p_r: float
    q: float
    p_q: float
    q_best: float

    @classmethod
    def of(cls, number: int, report: OriginReport) -> "Origin":
        """The numbers of a report whose only null is the permutation."""
        (of_r,), (of_q,) = report.relationship.nulls, report.induced.nulls
        return cls(
            number, report.system.n_units, len(report.dropped), report.communities.n,
            report.relationship.pearson_r, of_r.p_value, report.induced.q, of_q.p_value, report.induced.q_best,
        )  # fmt: skip


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:
    """The page (see `fctoolbox.reproduce.make_page`)."""
    sizes = QUICK if quick else FULL
    settings: dict[str, Any] = {
        "n_nulls": sizes.n_nulls, "n_restarts": sizes.n_restarts, "rng": rng, "workers": workers,
    }  # fmt: skip
    before: list[Origin] = []
    after: list[Origin] = []
    first: OriginReport | None = None
    for kept, trained in ((after, True), (before, False)):
        for number, system in enumerate(Networks(DECISIONS, sizes.n_networks, trained, workers.n_jobs)):
            progress(f"  network {number + 1} of {sizes.n_networks}, {'after' if trained else 'before'} training")
            report = analyse_origin(system, null="permutation", **settings)
            kept.append(Origin.of(number, report))
            first = first or report
    assert first is not None  # there is at least one network
    brains = {}
    for name, source in BRAINS.items():
        progress(f"  {name}: {source}")
        system = or_miniature(source, progress)
        # The plain null, that of the networks, and the one that keeps what depends on distance.
        nulls = list(dict.fromkeys(["permutation", recommended(system.geometry, system.n_units)]))
        brains[name] = analyse_origin(system, null=nulls, **settings)
    compared = {
        name: compare_samples([getattr(o, name) for o in after], [getattr(o, name) for o in before], paired=True)
        for name in ("r", "q", "q_best")
    }
    reports = {"network 0, trained": first, **brains}
    made_up = [each.system.name for each in brains.values() if each.system.provenance.synthetic]
    return Page(
        name="fig3",
        title="Input projections and functional connectivity: networks, mouse, human",
        claim=CLAIM,
        found=(
            *_of_networks(before, after, compared, brains),
            *(_of_brain(name, each) for name, each in brains.items()),
        ),
        panels=(*_training_panels(before, after, compared), *_panels(reports)),
        tables=(_systems_table(reports), _networks_table(before, after)),
        statistics={
            "networks": {"before": [asdict(o) for o in before], "after": [asdict(o) for o in after]},
            "after_less_before": {name: each.to_dict() for name, each in compared.items()},
            **{name: _in_json(report) for name, report in brains.items()},
        },
        notes=(
            f"{sizes.n_networks} networks of task {DECISIONS}, each before and after training; {sizes.n_nulls:,} "
            f"nulls of each kind, {sizes.n_restarts} restarts of the community detection.",
            "Nulls of networks exchange units. Units of a brain lie somewhere, and neighbours share inputs and "
            "activity: a second null keeps what depends on distance.",
            "Constant units (silent throughout, as many rectified units are after training) have no correlation; they "
            "are left out and counted.",
            *((f"Made up by a program, and no finding: {', '.join(made_up)}.",) if made_up else ()),
        ),
        synthetic=bool(made_up),
        packages=tuple(dict.fromkeys(each for r in reports.values() for each in r.system.provenance.packages)),
        sources=tuple(dict.fromkeys(each.system.provenance.citation for each in reports.values())),
    )  # fmt: skip


def _of_networks(
    before: Sequence[Origin],
    after: Sequence[Origin],
    compared: dict[str, SampleComparison],
    brains: dict[str, OriginReport],
) -> tuple[str, str]:
    n = len(after)
    beyond_r, beyond_q = (sum(getattr(o, p) <= _LEVEL for o in after) for p in ("p_r", "p_q"))
    constant = [o.n_constant for o in after]
    others = "".join(f"; in the {name} at {each.relationship.pearson_r:.3f}" for name, each in brains.items())
    return (
        f"Over {n} trained networks, similarity of input projections and functional connectivity are correlated at r = "
        f"{spread([o.r for o in after])}; before training at {spread([o.r for o in before])}{others}. "
        f"{_change('Training', 'r', compared['r'])} r is beyond that of exchanged units in {beyond_r} of {n} networks.",
        f"Networks: the modules of the inputs, imposed on functional connectivity, reach an induced Q* of "
        f"{spread([o.q for o in after])} after training ({spread([o.q for o in before])} before), beyond exchanged "
        f"units in {beyond_q} of {n}, where the best partition reaches {spread([o.q_best for o in after])}. "
        f"{_change('Training', 'induced Q*', compared['q'])} {min(constant)} to {max(constant)} units of a network are "
        "constant after training.",
    )


def _change(what: str, measure: str, samples: SampleComparison) -> str:
    paired = samples.paired
    p = None if paired is None else paired.p_value
    if p is None or p > _LEVEL:
        change = f"{samples.difference:+.3f} on average, no more than chance"
        return f"{what} changes {measure} by {change} ({p_in_words(p)})."
    d = "" if paired is None or paired.cohens_d is None else f", d = {paired.cohens_d:.2f}"
    verb = "raises" if samples.difference > 0 else "lowers"
    return f"{what} {verb} {measure} by {abs(samples.difference):.3f} on average (paired {p_in_words(p)}{d})."


def _of_brain(name: str, report: OriginReport) -> str:
    tests = "; ".join(
        f"{IN_SHORT[test.model]}: {test.mean:.3f} ± {test.sd:.3f}, {p_in_words(test.p_value)}"
        for test in report.induced.nulls
    )
    beaten = [test.p_value <= _LEVEL for test in report.induced.nulls]
    verdict = (
        "Beyond both." if all(beaten) else "Beyond none." if not any(beaten)
        else "Beyond units at random, but not clearly beyond projections that keep distance." if beaten[0]
        else "Not beyond units at random."
    )  # fmt: skip
    return (
        f"{name.capitalize()} ({report.system.name}, {report.system.n_units} units): r = "
        f"{report.relationship.pearson_r:.3f}; induced Q* = {report.induced.q:.3f} of {report.induced.q_best:.3f} "
        f"({tests}). {verdict if len(beaten) > 1 else ''}"
    ).strip()


def _training_panels(
    before: Sequence[Origin], after: Sequence[Origin], compared: dict[str, SampleComparison]
) -> list[Panel]:
    panels = []
    for name, what in (("r", "Similarity–connectivity r"), ("q", "Induced Q*"), ("q_best", "Best Q*")):
        paired = compared[name].paired
        figure = strips_figure(
            {"before": [getattr(o, name) for o in before], "after": [getattr(o, name) for o in after]},
            ylabel=what, paired=True,
            title=f"{len(after)} networks, {'' if paired is None else 'paired ' + p_in_words(paired.p_value)}",
        )  # fmt: skip
        caption = f"{what} of each network before and after training; bars: means."
        panels.append(Panel(f"training-{name.replace('_', '-')}", figure, caption))
    return panels


def _panels(reports: dict[str, OriginReport]) -> list[Panel]:
    drawn: dict[str, dict[str, Figure]] = {
        title: report_figures(report, tuple(_PICTURES)) for title, report in reports.items()
    }
    panels = []
    for picture, caption in _PICTURES.items():
        for title, figures in drawn.items():
            heading = figures[picture].axes[0].title
            heading.set_text(f"{title}\n{heading.get_text()}")
            name = f"{title.split()[0]}-{picture}"
            panels.append(Panel(name, figures[picture], f"{title} ({reports[title].system.name}): {caption}."))
    return panels


def _systems_table(reports: dict[str, OriginReport]) -> Table:
    rows = []
    for title, report in reports.items():
        for of_r, of_q in zip(_by_model(report, report.relationship.nulls), report.induced.nulls, strict=True):
            rows.append((
                title, report.system.n_units, report.communities.n, report.relationship.pearson_r,
                report.relationship.spearman_rho, report.relationship.partial_r, report.induced.q,
                report.induced.q_best, of_q.model, of_q.mean, of_q.z, of_q.p_value, of_r,
            ))  # fmt: skip
    columns = (
        "system", "units", "modules", "r", "ρ", "r without distance", "induced Q*", "best Q*", "null", "Q* of nulls",
        "z", "p of Q*", "p of r",
    )  # fmt: skip
    return Table("Three systems", columns, tuple(rows), "One network stands here; all of them are below.")


def _by_model(report: OriginReport, nulls: Sequence[Any]) -> list[float | None]:
    """P of r for each null of the induced Q*; some nulls speak of modules alone."""
    p = {test.model: test.p_value for test in nulls}
    return [p.get(test.model) for test in report.induced.nulls]


def _networks_table(before: Sequence[Origin], after: Sequence[Origin]) -> Table:
    rows = tuple(
        (b.network, b.r, a.r, b.q, a.q, b.q_best, a.q_best, b.n_constant, a.n_constant, a.p_r, a.p_q)
        for b, a in zip(before, after, strict=True)
    )
    columns = (
        "network", "r before", "r after", "Q* before", "Q* after", "best Q* before", "best Q* after", "constant before",
        "constant after", "p of r after", "p of Q* after",
    )  # fmt: skip
    return Table("Networks, before and after training", columns, rows, "Q*: induced by the modules of the inputs.")


def _in_json(report: OriginReport) -> dict[str, Any]:
    content = report.to_dict()
    return {name: content[name] for name in ("relationship", "communities", "induced_modularity", "policies")} | {
        "source": report.system.name, "n_units": int(np.asarray(report.system.n_units)),
    }  # fmt: skip
