"""Figure S5: does each module have an input of its own?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fctoolbox.chunks import Workers
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.errors import InputError
from fctoolbox.generative import ModuleInputs, module_inputs
from fctoolbox.plugins import installed, load
from fctoolbox.reproduce.brains import or_miniature
from fctoolbox.reproduce.curves import DERIVED, summary
from fctoolbox.reproduce.page import Page, Panel, Table
from fctoolbox.similarity import cosine_similarity, units_without_input
from fctoolbox.system import InputProjection, RecurrentSystem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORK = "ctrnn"


@dataclass(frozen=True, eq=False)
class _Related:
    """Modules of one projection, and their inputs."""

    projection: InputProjection
    communities: Communities
    found: ModuleInputs

    @property
    def share(self) -> float:
        """Of the modules, those whose strongest input is theirs alone."""
        return self.found.n_unique / self.communities.n


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:
    """The page; under a minute when quick and the networks are trained."""
    import matplotlib as mpl

    from fctoolbox.report.figures import STYLE

    n_networks, n_shuffled, n_nulls, n_restarts = (6, 20, 200, 20) if quick else (100, 200, 1000, 100)
    random = np.random.default_rng([rng, 5])

    def related(projection: InputProjection) -> _Related | None:
        projection = projection.select_units(np.flatnonzero(~units_without_input(projection.weights)))
        similarity = cosine_similarity(projection.weights)
        communities = detect_communities(similarity, n_restarts=n_restarts, rng=random, n_jobs=workers.n_jobs)
        if communities.n < 2:
            return None
        return _Related(projection, communities, module_inputs(projection, communities, n_nulls=n_nulls, rng=random))

    system = or_miniature("mouse-regional", progress)
    real = related(system.projection)
    if real is None:
        raise InputError(f"the input projections of {system.name} form a single module, so none can have its own input")
    shuffled = [_shuffled(system.projection, random) for _ in range(n_shuffled)]
    beside = [each for each in map(related, shuffled) if each is not None]
    groups: dict[str, list[_Related]] = {"mouse, weights shuffled": beside}
    networks: list[RecurrentSystem] = []
    for trained in (False, True) if NETWORK in installed().sources else ():
        progress(f"figS5: {n_networks} networks, {'trained' if trained else 'before training'}")
        together = {"networks": n_networks, "n_jobs": workers.n_jobs, "trained": trained}
        networks = [load(NETWORK, network=k, **together) for k in range(n_networks)]
        name = "networks, trained" if trained else "networks, before training"
        groups[name] = [each for network in networks if (each := related(network.projection)) is not None]
    groups = {name: each for name, each in groups.items() if each}
    one = groups.get("networks, trained", [None])[0]
    with mpl.rc_context(STYLE):
        panels = [_profile_panel("mouse", system.name, real)]
        if one is not None:
            panels.append(_profile_panel("network", "one trained network", one))
        panels.append(_strength_panel(system.name, real, groups))
    every = {system.name: [real], **groups}
    return Page(
        name="figS5",
        title="Modules and inputs of their own",
        claim="modules and inputs stand in a unique relation: each module goes with an input of its own (we know the "
        "figure's subject, not its numbers).",
        found=(
            _sentence(system.name, real),
            _against_shuffled(system.projection.n_units, real, beside),
            *(
                f"{name[0].upper()}{name[1:]} ({len(each)}): this share is {summary([one.share for one in each])}, "
                f"with {summary([one.communities.n for one in each])} modules from {each[0].projection.n_inputs} "
                f"inputs, and the matched preference {summary([one.found.strength for one in each])} sd."
                for name, each in groups.items()
                if name.startswith("networks")
            ),
        ),
        panels=tuple(panels),
        tables=(
            Table(
                f"Modules of {system.name}",
                ("module", "units", "strongest input", "preference (sd)", "its own?"),
                tuple(_rows(real)),
                "Preference: mean weight of the module's units on that input, each unit's weights at length 1, "
                "standardised over units; negative where the module avoids the input.",
            ),
            Table(
                "Systems",
                (
                    "system",
                    "number",
                    "inputs",
                    "modules (mean)",
                    "share with own input",
                    "strength",
                    "of permuted",
                    "p (largest)",
                ),
                tuple(
                    (
                        name,
                        len(each),
                        each[0].projection.n_inputs,
                        float(np.mean([one.communities.n for one in each])),
                        float(np.mean([one.share for one in each])),
                        float(np.mean([one.found.strength for one in each])),
                        float(np.mean([one.found.null.mean for one in each])),
                        max(one.found.null.p_value for one in each),
                    )
                    for name, each in every.items()
                ),
                "Strength: mean preference where each module is given an input and sign that no other has (Hungarian "
                "method). Permuted: the same modules dealt anew to the units.",
            ),
        ),
        statistics={
            "mouse": {"system": system.name, **_in_json(real)},
            **{name: [_in_json(one) for one in each] for name, each in groups.items()},
        },
        notes=(
            DERIVED,
            "Modules: best partition of the cosine similarity of the input projections. The p-value is small for any "
            "partition found on the same weights, in random weights too: read the share and the shuffled weights "
            "instead.",
            f"Networks: {n_networks}; the inputs are the stimuli, without the fixation cue. "
            if networks
            else f"Networks were left out: no source named '{NETWORK}' is installed (pip install fctoolbox-ctrnn).",
        ),
        synthetic=system.provenance.synthetic,
        packages=("torch", "neurogym") if networks else (),
        sources=(system.provenance.citation, *(networks[0].provenance.citation for _ in networks[:1])),
    )


def _shuffled(projection: InputProjection, random: np.random.Generator) -> InputProjection:
    weights = np.array(projection.weights, dtype=np.float64)
    return InputProjection(random.permuted(weights, axis=0), projection.inputs)


def _sentence(name: str, related: _Related) -> str:
    found, n = related.found, related.communities.n
    return (
        f"In {name}, {found.n_unique} of {n} modules have a strongest input that is no other module's; given one input "
        f"each, their mean preference is {found.strength:.2f} sd, against {found.null.mean:.2f} for permuted modules "
        f"(p = {found.null.p_value:.2g}, {found.null.n} permutations)."
    )


def _against_shuffled(n_units: int, real: _Related, shuffled: list[_Related]) -> str:
    """What the same weights show once each input's are dealt anew to the units."""
    if not shuffled:
        return "With each input's weights dealt anew to the units, no projection had more than one module."
    strength = np.array([one.found.strength for one in shuffled])
    reached = int((strength >= real.found.strength).sum())
    return (
        f"That alone is no sign of order: with each input's weights dealt anew to the {n_units} units, the share of "
        f"modules with a strongest input of their own is {summary([one.share for one in shuffled])}, and their mean "
        f"preference {summary(strength)} sd ({reached} of {len(shuffled)} shuffled projections reach the real one)."
    )


def _rows(related: _Related) -> list[tuple[Any, ...]]:
    found = related.found
    return [
        (
            module + 1,
            size,
            related.projection.inputs[j],
            float(found.profile[module, j]),
            "yes" if found.strongest.count((j, sign)) == 1 else "shared",
        )
        for module, (size, (j, sign)) in enumerate(zip(related.communities.sizes, found.strongest, strict=True))
    ]


def _in_json(related: _Related) -> dict[str, Any]:
    found = related.found
    return {
        "n_units": related.projection.n_units,
        "n_inputs": related.projection.n_inputs,
        "n_modules": related.communities.n,
        "n_unique": found.n_unique,
        "strength": found.strength,
        "permuted_strength": found.null.mean,
        "p_value": found.null.p_value,
    }


def _profile_panel(name: str, title: str, related: _Related) -> Panel:
    from fctoolbox.report.figures import new_figure

    profile, n_inputs = related.found.profile, related.projection.n_inputs
    figure: Figure = new_figure(height=2.6, width=10.5 if n_inputs > 12 else 3.5)
    axes = figure.add_subplot()
    limit = float(np.abs(profile).max()) or 1.0
    image = axes.imshow(profile, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    for module, own in enumerate(related.found.matched):
        if own is not None:
            axes.plot(own[0], module, "s", ms=5, mfc="none", mec="black", mew=1)
    bar = figure.colorbar(image, ax=axes, label="Preference (sd)", shrink=0.85)
    bar.outline.set_visible(False)
    axes.set_xticks(range(n_inputs), related.projection.inputs, rotation=90 if n_inputs > 4 else 0, fontsize=6)
    axes.set_yticks(range(len(profile)), [str(module + 1) for module in range(len(profile))])
    axes.set(xlabel="Input", ylabel="Module")
    axes.set_title(title)
    return Panel(
        name,
        figure,
        f"Which inputs the modules of {title} prefer (red) or avoid (blue); squares: each module's own input, where "
        "no two may have the same input and sign.",
        wide=n_inputs > 12,
    )


def _strength_panel(name: str, real: _Related, groups: dict[str, list[_Related]]) -> Panel:
    from fctoolbox.report.figures import module_colours, new_figure

    figure: Figure = new_figure(height=2.6)
    axes = figure.add_subplot()
    rows = {name: [real], **groups}
    for place, (each, colour) in enumerate(zip(rows.values(), module_colours(len(rows)), strict=True)):
        values = np.array([one.found.strength for one in each])
        aside = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(values, place + aside, "o", color=colour, ms=3.5, alpha=0.7, mew=0)
        axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color="black", linewidth=1.2)
    axes.set_yticks(range(len(rows)), [each.replace(", ", ",\n") for each in rows])
    axes.invert_yaxis()
    axes.set(xlabel="Mean preference (sd)", xlim=(0, None))
    axes.set_title("An input of its own for each module")
    return Panel(
        "strength",
        figure,
        "Mean preference where each module is given an input and sign that no other has: each system (points), and "
        "the mean (lines). Compare only systems with as many inputs.",
    )
