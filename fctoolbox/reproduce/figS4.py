"""Figure S4: modules out of the signs and sizes of input weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chunks import Workers
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.generative import (
    difference_model,
    difference_model_q,
    sign_difference_model,
    sign_model,
    sign_model_q,
)
from fctoolbox.reproduce.curves import DERIVED
from fctoolbox.reproduce.page import Page, Panel, Table
from fctoolbox.similarity import cosine_similarity
from fctoolbox.system import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_UNITS = 100
N_INPUTS = (2, 3, 5)  # of the difference model


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:
    """The page; seconds when quick."""
    import matplotlib as mpl

    from fctoolbox.report.figures import STYLE

    n_restarts = 10 if quick else 100
    shares = np.linspace(0, 1, 21 if quick else 101)
    ratios = np.linspace(0, 1, 11 if quick else 51)
    side = 9 if quick else 21
    grid_shares, grid_ratios = np.linspace(0, 0.5, side), np.linspace(0, 1, side)

    def search(weights: NDArray[np.float64]) -> Communities:
        return detect_communities(cosine_similarity(weights), n_restarts=n_restarts, rng=rng, n_jobs=workers.n_jobs)

    progress("figS4: the sign model and the difference model")
    sign = [(float(p), sign_model_q(N_UNITS, p), search(sign_model(N_UNITS, p))) for p in shares]
    difference = {
        k: [
            (float(b), difference_model_q(N_UNITS, b, n_inputs=k), search(difference_model(N_UNITS, b, n_inputs=k)))
            for b in ratios
        ]
        for k in N_INPUTS
    }
    progress("figS4: signs and sizes together")
    both = [[search(sign_difference_model(N_UNITS, p, b)) for b in grid_ratios] for p in grid_shares]
    q = np.array([[each.q for each in row] for row in both])
    n = np.array([[each.n for each in row] for row in both])
    signs = {k: search(sign_model(N_UNITS, [0.5] * k)) for k in (2, 5)}
    apart = max(abs(closed - found.q) for rows in (sign, *difference.values()) for _, closed, found in rows)
    mixed = float(q[-1, side // 2])
    with mpl.rc_context(STYLE):
        panels = (_sign_panel(sign), _difference_panel(difference), _both_panel(grid_shares, grid_ratios, q, n))
    half = sign_model_q(N_UNITS, 0.5)
    return Page(
        name="figS4",
        title="Signs and sizes of input weights, and their modules",
        claim="input weights alone can make modules, by their signs, by the difference of their sizes, and by both.",
        found=(
            f"Signs make better modules than sizes where inputs are few: with half of all weights of {N_UNITS} units "
            f"negative, Q* is {half:.4f} with one input and {signs[2].q:.4f} with two; with two inputs of one sign, "
            f"one half as strong as the other, it is {difference_model_q(N_UNITS, 0.5):.4f}, and "
            f"{difference_model_q(N_UNITS, 0):.4f} at most, where each unit has one input only.",
            f"With more inputs that turns: with five, independent signs reach {signs[5].q:.3f}, and units with one "
            f"input only {difference_model_q(N_UNITS, 0, n_inputs=5):.3f}. But this takes inputs that hardly mix: "
            f"{difference_model_q(N_UNITS, 0.2, n_inputs=5):.3f} once the others are a fifth as strong.",
            f"The closed forms and the search agree to {apart:.0e} at all "
            f"{len(sign) + sum(map(len, difference.values()))} points drawn.",
            f"One sign must not be rare: Q* is {sign_model_q(N_UNITS, 0.25):.3f} with a quarter of the weights "
            f"negative, {sign_model_q(N_UNITS, 0.1):.3f} with a tenth, and 0 with none.",
            "Both together, with two inputs and the weaker one half as strong: "
            f"Q* {q[0, side // 2]:.3f} with no negative weight, {mixed:.3f} with half of each input's weights negative "
            f"({n[-1, side // 2]} modules).",
        ),
        panels=panels,
        tables=(
            Table(
                "Q* of the sign model (one input)",
                ("share negative", "closed form", "search", "modules"),
                tuple((p, closed, found.q, found.n) for p, closed, found in sign[:: max(1, len(sign) // 20)]),
            ),
            Table(
                "Q* of the difference model",
                ("inputs", "weaker / stronger weight", "closed form", "search", "modules"),
                tuple(
                    (k, b, closed, found.q, found.n)
                    for k, rows in difference.items()
                    for b, closed, found in rows[:: max(1, len(rows) // 10)]
                ),
            ),
        ),
        statistics={
            "n_units": N_UNITS,
            "n_restarts": n_restarts,
            "sign": _rows(sign),
            "difference": {str(k): _rows(rows) for k, rows in difference.items()},
            "sign_difference": {
                "share_negative": grid_shares.tolist(),
                "ratio": grid_ratios.tolist(),
                "q": q.tolist(),
                "n_modules": n.tolist(),
            },
            "sign_half_negative": {str(k): {"q": found.q, "n_modules": found.n} for k, found in signs.items()},
            "largest_deviation": apart,
        },
        notes=(
            DERIVED,
            f"{N_UNITS} units without any noise: each parameter gives one matrix, so there is no spread to show. "
            f"Best of {n_restarts} restarts.",
            "Sign model: one input, weights 1 and −1. Difference model: all weights positive, 1 from the input that a "
            "unit prefers and less from all others. Sign-difference model: two inputs, sizes as in the second, signs "
            "as in the first, independent of each other.",
            "Q* is of the cosine similarity itself, not of any activity.",
        ),
    )


def _rows(rows: list[tuple[float, float, Communities]]) -> list[dict[str, Any]]:
    return [{"at": at, "closed_form": closed, "q": found.q, "n_modules": found.n} for at, closed, found in rows]


def _sign_panel(rows: list[tuple[float, float, Communities]]) -> Panel:
    from fctoolbox.report.figures import module_colours, new_figure

    figure: Figure = new_figure(height=2.8)
    axes = figure.add_subplot()
    (colour,) = module_colours(1)
    every = np.arange(N_UNITS + 1) / N_UNITS
    axes.plot(every, [sign_model_q(N_UNITS, p) for p in every], color=colour, linewidth=1, label="closed form")
    axes.plot(
        [p for p, _, _ in rows], [found.q for *_, found in rows], "o", color=colour, ms=3, mfc="none", label="search"
    )
    axes.set(xlabel="Share of negative weights", ylabel="Q*", ylim=(-0.02, 0.9))
    axes.set_title("Sign model, one input")
    axes.legend(frameon=False)
    return Panel("sign", figure, f"Q* of the sign model, {N_UNITS} units and one input: closed form and search.")


def _difference_panel(difference: dict[int, list[tuple[float, float, Communities]]]) -> Panel:
    from fctoolbox.report.figures import module_colours, new_figure

    figure: Figure = new_figure(height=2.8)
    axes = figure.add_subplot()
    every = np.linspace(0, 1, 201)
    for (k, rows), colour in zip(difference.items(), module_colours(len(difference)), strict=True):
        closed = [difference_model_q(N_UNITS, b, n_inputs=k) for b in every]
        axes.plot(every, closed, color=colour, linewidth=1, label=f"{k} inputs")
        axes.plot([b for b, _, _ in rows], [found.q for *_, found in rows], "o", color=colour, ms=3, mfc="none")
    axes.set(xlabel="Weaker / stronger weight", ylabel="Q*", ylim=(-0.02, 0.9))
    axes.set_title("Difference model")
    axes.legend(frameon=False)
    return Panel(
        "difference", figure, f"Q* of the difference model, {N_UNITS} units: closed form (lines) and search (circles)."
    )


def _both_panel(shares: Floats, ratios: Floats, q: NDArray[np.float64], n: NDArray[np.intp]) -> Panel:
    from fctoolbox.report.figures import new_figure

    figure: Figure = new_figure(height=2.9)
    axes = figure.add_subplot()
    image = axes.pcolormesh(ratios, shares, q, cmap="cividis", vmin=0, shading="nearest")
    for row, p in enumerate(shares) if len(shares) < 12 else ():
        for column, b in enumerate(ratios):
            dark = q[row, column] < 0.5 * q.max()
            axes.text(
                b, p, str(n[row, column]), ha="center", va="center", fontsize=6, color="white" if dark else "black"
            )
    bar = figure.colorbar(image, ax=axes, label="Q*", shrink=0.85)
    bar.outline.set_visible(False)
    axes.set(xlabel="Weaker / stronger weight", ylabel="Share of negative weights")
    axes.set_title("Sign-difference model, two inputs")
    numbers = " Numbers: modules." if len(shares) < 12 else ""
    return Panel(
        "both", figure, f"Q* of the sign-difference model, {N_UNITS} units and two inputs, by search.{numbers}"
    )
