"""Figure 2: noise through a projection, and the functional connectivity that comes of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chunks import Workers
from fctoolbox.generative import (
    Nonlinearity,
    SampleCurve,
    connectivity_by_samples,
    expected_connectivity,
    sample_connectivity,
)
from fctoolbox.reproduce.curves import draw_spread, spread_rows, summary
from fctoolbox.reproduce.page import Page, Panel, Table
from fctoolbox.similarity import cosine_similarity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_UNITS = 100
N_INPUTS = (2, 10, 100)
N_SAMPLES = (20, 50, 100, 200, 500, 1000, 2000, 5000)
NONLINEARITIES: tuple[Nonlinearity, ...] = ("linear", "relu")

Curves = dict[tuple[Nonlinearity, int], tuple[NDArray[np.float64], NDArray[np.float64]]]


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:  # noqa: ARG001
    """The page; seconds when quick, under a minute otherwise."""
    import matplotlib as mpl

    from fctoolbox.report.figures import STYLE

    n_draws = 10 if quick else 100
    random = np.random.default_rng([rng, 2])
    curves: Curves = {}
    for nonlinearity in NONLINEARITIES:
        for k in N_INPUTS:
            progress(f"fig2: noise through {k} inputs, {nonlinearity} units")
            curves[nonlinearity, k] = _by_samples(nonlinearity, k, n_draws, random)
    unrelated = np.array([_unrelated(random) for _ in range(n_draws)])
    with mpl.rc_context(STYLE):
        panels = (*_curve_panels(curves), _pairs_panel(random))
    last = {key: values[:, -1] for key, (values, _) in curves.items()}
    few, many = N_INPUTS[0], N_INPUTS[-1]
    limits = np.concatenate([curves["relu", k][1] for k in N_INPUTS])
    return Page(
        name="fig2",
        title="Noise through a projection",
        claim="units that receive nothing but noise through their input weights, without any recurrent connection, "
        "already have a functional connectivity that resembles the similarity of these weights.",
        found=(
            f"It does: after {N_SAMPLES[-1]:,} samples r between cosine similarity and functional connectivity of "
            f"linear units is {summary(last['linear', few])} with {few} inputs and {summary(last['linear', many])} "
            f"with {many}.",
            f"More inputs need more samples: with {N_SAMPLES[1]} samples r is "
            f"{summary(curves['linear', few][0][:, 1])} with {few} inputs, and "
            f"{summary(curves['linear', many][0][:, 1])} with {many}.",
            "For linear units this is no finding but algebra: the expected functional connectivity is the cosine "
            "similarity. Rectified units keep its order, but not its values: their correlation is a fixed, bent "
            f"function of the cosine, so that r ends at {summary(limits)} over the projections drawn, however long one "
            "samples.",
            f"Through another projection than the one compared, r is {summary(unrelated)}: nothing.",
        ),
        panels=panels,
        tables=(
            Table(
                "r between cosine similarity and functional connectivity",
                ("units", "inputs", "samples", "mean r", "least", "largest", "limit (mean)"),
                tuple(
                    (*row, float(limit.mean()))
                    for (nonlinearity, k), (r, limit) in curves.items()
                    for row in spread_rows(N_SAMPLES, r, nonlinearity, k)
                ),
                f"Over {n_draws} projections of {N_UNITS} units with independent normal weights, and noise of their "
                "own. Limit: after infinitely many samples, in closed form.",
            ),
        ),
        statistics={
            "n_units": N_UNITS,
            "n_draws": n_draws,
            "n_samples": list(N_SAMPLES),
            "curves": [
                {"nonlinearity": nonlinearity, "n_inputs": k, "r": r.tolist(), "limit": limit.tolist()}
                for (nonlinearity, k), (r, limit) in curves.items()
            ],
            "unrelated_r": unrelated.tolist(),
        },
        notes=(
            f"{N_UNITS} units, weights and noise independent and normal; {n_draws} draws of both at each point. Bands "
            "show all of them, not a standard error.",
            "Rectified units: max(0, drive), without a threshold. The closed form of their connectivity is derived in "
            "docs/explanation/generative.md.",
            "Only the correlation over pairs of units is compared; no modules are involved.",
        ),
    )


def _by_samples(
    nonlinearity: Nonlinearity, n_inputs: int, n_draws: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The r of each projection (n_draws, n_samples), and its limit (n_draws,)."""
    found: list[SampleCurve] = [
        connectivity_by_samples(
            random.standard_normal((N_UNITS, n_inputs)), N_SAMPLES, nonlinearity=nonlinearity, n_draws=1, rng=random
        )
        for _ in range(n_draws)
    ]
    return np.vstack([each.r for each in found]), np.array([each.limit for each in found])


def _unrelated(random: np.random.Generator) -> float:
    one, other = random.standard_normal((2, N_UNITS, N_INPUTS[1]))
    pairs = np.triu_indices(N_UNITS, 1)
    connectivity = sample_connectivity(other, N_SAMPLES[-1], rng=random)
    return float(np.corrcoef(cosine_similarity(one)[pairs], connectivity[pairs])[0, 1])


def _curve_panels(curves: Curves) -> list[Panel]:
    from fctoolbox.report.figures import module_colours, new_figure

    panels = []
    for nonlinearity in NONLINEARITIES:
        figure: Figure = new_figure(height=2.8)
        axes = figure.add_subplot()
        for k, colour in zip(N_INPUTS, module_colours(len(N_INPUTS)), strict=True):
            r, limit = curves[nonlinearity, k]
            draw_spread(axes, N_SAMPLES, r, label=f"{k} inputs", colour=colour)
            axes.axhline(float(limit.mean()), color=colour, linestyle=":", linewidth=0.8)
        axes.set(xscale="log", xlabel="Samples of noise", ylabel="r(cosine, FC)", ylim=(0, 1.03))
        axes.set_title(f"{'Linear' if nonlinearity == 'linear' else 'Rectified'} units")
        axes.legend(frameon=False, loc="lower right")
        panels.append(
            Panel(
                nonlinearity,
                figure,
                f"Correlation of cosine similarity and functional connectivity over all pairs of {N_UNITS} "
                f"{'linear' if nonlinearity == 'linear' else 'rectified'} units (line: mean; band: all projections; "
                "dotted: after infinitely many samples).",
            )
        )
    return panels


def _pairs_panel(random: np.random.Generator) -> Panel:
    from fctoolbox.report.figures import module_colours, new_figure

    figure: Figure = new_figure(height=2.8)
    axes = figure.add_subplot()
    weights = random.standard_normal((N_UNITS, 3))
    pairs = np.triu_indices(N_UNITS, 1)
    cosine = cosine_similarity(weights)[pairs]
    order = np.argsort(cosine)
    for nonlinearity, colour in zip(NONLINEARITIES, module_colours(2), strict=True):
        connectivity = sample_connectivity(weights, N_SAMPLES[-1], nonlinearity=nonlinearity, rng=random)[pairs]
        expected = expected_connectivity(weights, nonlinearity=nonlinearity)[pairs]
        axes.scatter(cosine, connectivity, s=1, color=colour, alpha=0.35, linewidths=0, rasterized=True)
        axes.plot(cosine[order], expected[order], color=colour, linewidth=1.2, label=nonlinearity)
    axes.set(
        xlabel="Cosine similarity of inputs", ylabel="Functional connectivity (r)", xlim=(-1, 1), ylim=(-1.05, 1.05)
    )
    axes.set_title("Every pair of units")
    axes.legend(frameon=False, loc="upper left")
    return Panel(
        "pairs",
        figure,
        f"Every pair of {N_UNITS} units with 3 inputs after {N_SAMPLES[-1]:,} samples (dots), and the closed forms "
        "(lines): linear units lie on the diagonal, rectified ones on a curve.",
    )
