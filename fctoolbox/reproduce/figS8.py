"""Figure S8: two inputs, and six rules for their weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chunks import Workers
from fctoolbox.communities import compact, detect_communities
from fctoolbox.generative import SIX_RULES, sign_difference_model, six_rules
from fctoolbox.quality import modularity
from fctoolbox.reproduce.curves import DERIVED, summary
from fctoolbox.reproduce.page import Page, Panel, Table
from fctoolbox.similarity import cosine_similarity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_UNITS = 100
PARTITIONS = ("signs (four)", "comparison (two)", "six rules", "best found")
RATIOS = (0.0, 0.25, 0.5, 0.75)

Labels = NDArray[np.intp]


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:
    """The page; seconds when quick."""
    import matplotlib as mpl

    from fctoolbox.report.figures import STYLE

    n_draws, n_restarts = (20, 10) if quick else (200, 100)
    random = np.random.default_rng([rng, 8])

    def partitions(weights: NDArray[np.float64]) -> tuple[list[Labels], list[float]]:
        similarity = cosine_similarity(weights)
        best = detect_communities(similarity, n_restarts=n_restarts, rng=random, n_jobs=workers.n_jobs)
        signs = compact(2 * (weights[:, 0] < 0) + (weights[:, 1] < 0))
        labels = [signs, (weights[:, 0] < weights[:, 1]).astype(np.intp), six_rules(weights), best.labels]
        return labels, [modularity(similarity, each) for each in labels]

    progress(f"figS8: {n_draws} random projections from two inputs")
    draws = [random.standard_normal((N_UNITS, 2)) for _ in range(n_draws)]
    found = [partitions(weights) for weights in draws]
    q = np.array([each for _, each in found])
    n_best = np.array([len(np.unique(labels[3])) for labels, _ in found])
    counts = np.array([np.bincount(labels[2], minlength=6) for labels, _ in found])
    planted = [(ratio, partitions(sign_difference_model(N_UNITS, 0.5, ratio))) for ratio in RATIOS]
    counted = ", ".join(f"{n} in {int((n_best == n).sum())}" for n in np.unique(n_best))
    first = found[0][0]
    six_first = int((q[:, 2] > q[:, :2].max(axis=1)).sum())
    with mpl.rc_context(STYLE):
        panels = (
            _plane_panel("rules", draws[0], first[2], "Six rules", SIX_RULES),
            _plane_panel("best", draws[0], first[3], "Best modules", None),
            _quality_panel(q),
        )
    return Page(
        name="figS8",
        title="Two inputs, six rules",
        claim="with two inputs, the signs and the order of the two weights give six rules, and these say which units "
        "belong together.",
        found=(
            "Six rules describe the plane of two weights completely, but they are not its best modules: over "
            f"{n_draws} random projections Q* is {summary(q[:, 2])} for the six rules, and {summary(q[:, 3])} for "
            "the best partition found.",
            f"The best partition had this many modules: {counted} of {n_draws} projections.",
            f"Fewer rules do better on average: the four combinations of signs reach {summary(q[:, 0])}, and which "
            f"weight is larger, alone, {summary(q[:, 1])}. The six are ahead of both in {six_first} of {n_draws} "
            "projections. They cut through units whose inputs are alike: two positive weights, one larger or the "
            "other, are less than 90° apart.",
        ),
        panels=panels,
        tables=(
            Table(
                "Q* of the cosine similarity under each partition, random weights",
                ("partition", "mean Q*", "least", "largest"),
                tuple(
                    (name, float(column.mean()), float(column.min()), float(column.max()))
                    for name, column in zip(PARTITIONS, q.T, strict=True)
                ),
                f"{n_draws} projections of {N_UNITS} units from 2 inputs, weights independent and normal.",
            ),
            Table(
                "Units by rule, random weights",
                ("rule", "mean number of units", "expected"),
                tuple(
                    (rule, float(counts[:, i].mean()), N_UNITS * (0.125 if i < 4 else 0.25))
                    for i, rule in enumerate(SIX_RULES)
                ),
            ),
            Table(
                "Q* in the sign-difference model, half of the weights negative",
                ("weaker / stronger weight", *PARTITIONS, "modules of the best"),
                tuple((ratio, *values, len(np.unique(labels[3]))) for ratio, (labels, values) in planted),
                "No noise: one matrix each.",
            ),
        ),
        statistics={
            "n_units": N_UNITS,
            "n_draws": n_draws,
            "n_restarts": n_restarts,
            "partitions": list(PARTITIONS),
            "q": q.tolist(),
            "n_modules_of_best": n_best.tolist(),
            "units_by_rule": counts.tolist(),
            "sign_difference_model": [{"ratio": ratio, "q": list(values)} for ratio, (_, values) in planted],
        },
        notes=(
            DERIVED,
            "The rules: the lines w₁ = 0, w₂ = 0 and w₁ = w₂ cut the plane into six sectors, four of 45° and two of "
            "90°. Sizes are compared with their signs; comparing |w₁| and |w₂| would give eight sectors.",
            "All partitions are scored on the cosine similarity of the weights; only the last one was chosen by that "
            "score, so that it must be the highest.",
        ),
    )


def _plane_panel(
    name: str, weights: NDArray[np.float64], labels: Labels, title: str, words: tuple[str, ...] | None
) -> Panel:
    from fctoolbox.report.figures import module_colours, new_figure

    figure: Figure = new_figure(height=3.4)
    axes = figure.add_subplot()
    limit = 1.05 * float(np.abs(weights).max())
    axes.axhline(0, color="0.7", linewidth=0.7)
    axes.axvline(0, color="0.7", linewidth=0.7)
    axes.plot([-limit, limit], [-limit, limit], color="0.7", linewidth=0.7)
    for label, colour in enumerate(module_colours(int(labels.max()) + 1)):
        chosen = weights[labels == label]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=9, color=colour, linewidths=0)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="Weight from input 1", ylabel="Weight from input 2")
    axes.set_aspect("equal")
    axes.set_title(title)
    said = (
        "its module in the best partition found"
        if words is None
        else "the rule that it follows (lines: where they meet)"
    )
    return Panel(name, figure, f"One random projection: each unit's two weights, coloured by {said}.")


def _quality_panel(q: NDArray[np.float64]) -> Panel:
    from fctoolbox.report.figures import module_colours, new_figure

    figure: Figure = new_figure(height=3.4)
    axes = figure.add_subplot()
    (colour,) = module_colours(1)
    places = np.arange(len(PARTITIONS))
    aside = np.linspace(-0.22, 0.22, len(q))
    for place, column in zip(places, q.T, strict=True):
        axes.plot(place + aside, column, ".", color=colour, ms=3, alpha=0.6)
        axes.plot([place - 0.3, place + 0.3], [column.mean()] * 2, color="black", linewidth=1.2)
    axes.set_xticks(places, [name.replace(" (", "\n(") for name in PARTITIONS])
    axes.set(ylabel="Q*", ylim=(0, None))
    axes.set_title("Modularity of the cosine similarity")
    return Panel(
        "quality", figure, f"Q* under each partition, {len(q)} random projections (points) and their mean (line)."
    )
