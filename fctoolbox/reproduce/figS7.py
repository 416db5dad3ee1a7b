"""Figure S7: the number of inputs, and the number of modules."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fctoolbox.chunks import Workers
from fctoolbox.communities import detect_communities
from fctoolbox.generative import ModuleCounts, difference_model, modules_by_chosen_inputs, modules_by_inputs
from fctoolbox.reproduce.brains import or_miniature
from fctoolbox.reproduce.curves import DERIVED, draw_spread, spread_rows, summary
from fctoolbox.reproduce.page import Page, Panel, Table
from fctoolbox.similarity import cosine_similarity, units_without_input

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_UNITS = 100
N_INPUTS = (1, 2, 3, 5, 10, 20, 50, 100)
OWN_RATIO = 0.02  # of all other inputs to a unit's own


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:
    """The page; under a minute when quick."""
    import matplotlib as mpl

    from fctoolbox.report.figures import STYLE

    n_draws, n_restarts = (8, 10) if quick else (100, 100)
    random = np.random.default_rng([rng, 7])
    progress("figS7: modules of random weights")
    random_weights = modules_by_inputs(
        N_UNITS, N_INPUTS, n_draws=n_draws, n_restarts=n_restarts, rng=random, n_jobs=workers.n_jobs
    )
    progress("figS7: inputs of their own")
    own = [
        detect_communities(
            cosine_similarity(difference_model(N_UNITS, OWN_RATIO, n_inputs=k)), n_restarts=n_restarts, rng=random
        )
        for k in N_INPUTS[1:-1]
    ]
    system = or_miniature("mouse-regional", progress)
    projection = system.projection.select_units(np.flatnonzero(~units_without_input(system.projection.weights)))
    some = (*(k for k in (5, 10, 20) if k < projection.n_inputs), projection.n_inputs)
    progress(f"figS7: some inputs of {system.name}")
    chosen = modules_by_chosen_inputs(
        projection, some, n_draws=n_draws, n_restarts=n_restarts, rng=random, n_jobs=workers.n_jobs
    )
    many = N_INPUTS[-1]
    q, n = random_weights.q, random_weights.n_modules
    with mpl.rc_context(STYLE):
        panels = _panels(random_weights, [each.n for each in own], chosen, system.name)
    return Page(
        name="figS7",
        title="Number of inputs, number of modules",
        claim="the number of inputs bears on the number of modules (we know the figure's subject, not its numbers).",
        found=(
            f"In random weights it hardly does: from 2 to {many} inputs the best partition of {N_UNITS} units keeps "
            f"{n[:, 1:].min()} to {n[:, 1:].max()} modules (mean {n[:, 1].mean():.1f} with 2, {n[:, -1].mean():.1f} "
            f"with {many}), while they fade: Q* is {summary(q[:, 1])} with 2 inputs and {summary(q[:, -1])} with "
            f"{many}.",
            "Where each unit has an input of its own, there are as many modules as inputs: "
            + ", ".join(f"{k} inputs {each.n}" for k, each in zip(N_INPUTS[1:-1], own, strict=True))
            + ". So it is the weights that decide, not the number of inputs by itself.",
            f"In {system.name}, {some[0]} inputs drawn at random give {chosen.n_modules[:, 0].mean():.1f} modules on "
            f"average, and all {some[-1]} give {chosen.n_modules[:, -1].mean():.1f} (Q* {chosen.q[:, -1].mean():.3f}, "
            f"{chosen.n_units[0, -1]} units).",
        ),
        panels=panels,
        tables=(
            Table(
                "Q* by number of inputs",
                ("weights", "inputs", "mean Q*", "least", "largest"),
                (
                    *map(tuple, spread_rows(N_INPUTS, q, "random")),
                    *map(tuple, spread_rows(some, chosen.q, system.name)),
                ),
            ),
            Table(
                "Modules by number of inputs",
                ("weights", "inputs", "mean modules", "least", "largest"),
                (
                    *map(tuple, spread_rows(N_INPUTS, n, "random")),
                    *map(tuple, spread_rows(some, chosen.n_modules, system.name)),
                    *(
                        (f"own (others {OWN_RATIO})", k, each.n, None, None)
                        for k, each in zip(N_INPUTS[1:-1], own, strict=True)
                    ),
                ),
            ),
        ),
        statistics={
            "n_units": N_UNITS,
            "n_draws": n_draws,
            "n_restarts": n_restarts,
            "random": _counts(random_weights),
            "own": {"ratio": OWN_RATIO, "n_inputs": list(N_INPUTS[1:-1]), "n_modules": [each.n for each in own]},
            "mouse": {"system": system.name, **_counts(chosen)},
        },
        notes=(
            DERIVED,
            f"Random: {n_draws} projections of {N_UNITS} units at each number, weights independent and normal. What "
            "their modules reach is what other modules of as many units and inputs have to exceed.",
            f"Own: the difference model, all other inputs {OWN_RATIO} times as strong as a unit's own; one matrix "
            "each.",
            f"{system.name}: {n_draws} draws of inputs without replacement; areas that none of them reaches are left "
            "out of that draw. These weights have one sign only.",
        ),
        synthetic=system.provenance.synthetic,
        sources=(system.provenance.citation,),
    )


def _counts(found: ModuleCounts) -> dict[str, object]:
    return {"n_inputs": list(found.n_inputs), "n_modules": found.n_modules.tolist(), "q": found.q.tolist()}


def _panels(random_weights: ModuleCounts, own: list[int], chosen: ModuleCounts, name: str) -> tuple[Panel, ...]:
    from fctoolbox.report.figures import module_colours, new_figure

    colours = module_colours(3)
    panels = []
    for what, label in (("n_modules", "Modules"), ("q", "Q*")):
        figure: Figure = new_figure(height=2.8)
        axes = figure.add_subplot()
        draw_spread(axes, N_INPUTS, getattr(random_weights, what), label="random weights", colour=colours[0])
        draw_spread(axes, chosen.n_inputs, getattr(chosen, what), label=name, colour=colours[1])
        if what == "n_modules":
            axes.plot(N_INPUTS[1:-1], own, "s--", color=colours[2], ms=3, linewidth=0.8, label="an input each")
            axes.set_yscale("log")
            axes.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
            axes.minorticks_off()
        axes.set(xscale="log", xlabel="Inputs", ylabel=label)
        axes.set_xticks([1, 10, 100], ["1", "10", "100"])
        axes.set_title("Number of modules" if what == "n_modules" else "Their modularity")
        axes.legend(frameon=False, fontsize=6)
        panels.append(
            Panel(
                what.replace("_", "-"),
                figure,
                f"{'Modules in' if what == 'n_modules' else 'Q* of'} the best partition of the cosine similarity, by "
                "number of inputs (line: mean; band: all draws).",
            )
        )
    return tuple(panels)
