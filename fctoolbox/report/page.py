"""The page: what was asked, the answer, the figures, and everything needed to repeat it."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fctoolbox.chance import is_large
from fctoolbox.errors import listed
from fctoolbox.nulls.significance import NullTest
from fctoolbox.origin import Dropped, OriginReport, software
from fctoolbox.report.figures import Picture, module_colours
from fctoolbox.report.places import place_of
from fctoolbox.system import RecurrentSystem, options_in_words

if TYPE_CHECKING:
    from jinja2 import Environment

METHODS = (
    "Tanner et al. 2023, arXiv:2310.20601 (input projections and induced modularity)",
    "Rubinov & Sporns 2011, NeuroImage 56:2068–2079 (signed modularity Q*)",
    "Blondel et al. 2008, J. Stat. Mech. P10008 (Louvain)",
)
_NULL_METHODS = {
    "permutation": "Mantel 1967, Cancer Research 27:209–220 (permutation of units)",
    "variogram": "Burt et al. 2020, NeuroImage 220:117038 (variogram-matched maps, here of each module)",
    "spin": "Alexander-Bloch et al. 2018, NeuroImage 178:540–551; Markello & Misic 2021, NeuroImage 236:118052 (spins)",
    "moran": "Wagner & Dray 2015, Methods in Ecology and Evolution 6:1169–1178 (Moran spectral randomisation)",
    "regrow": "regrown modules: as documented in fctoolbox, after the idea of parcels moved over the cortex (Gordon et "
    "al. 2016, Cerebral Cortex 26:288–303)",
    "projection": "rearranged projections: as documented in fctoolbox, after Wagner & Dray 2015, Methods in Ecology "
    "and Evolution 6:1169–1178",
}
_CAPTIONS = {
    "similarity": "Cosine similarity of the input projections of every two units, ordered by module (squares). The "
    "colours end at the 99th percentile; the diagonal (grey) takes part in nothing.",
    "connectivity": "Functional connectivity in the same order, with the same squares: here the partition is imposed.",
    "relationship": "Every pair of units: how alike their inputs are, and how correlated their activity.",
    "induced-q": "Modularity Q* of functional connectivity: modules of the input projections (line), nulls, and the "
    "best partition of functional connectivity itself (dashed).",
    "null-r": "Correlation of similarity and functional connectivity (line), and under each null.",
    "null-partial-r": "The same with a smooth function of distance taken out of both.",
    "modules": "The modules of the input projections.",
    "slices": "The same modules in slices through the brain (grey: tissue without a unit; letters: left and right, "
    "anterior and posterior, dorsal and ventral). As label maps: modules.nii.gz and units.nii.gz, beside labels.tsv.",
}
_SIMILARITY_OF_MANY = (
    "Cosine similarity of the input projections, ordered by module (squares). There are more pairs of units than "
    "pixels: each pixel is the mean over a block of them, without pairs of a unit with itself. The colours end at the "
    "99th percentile."
)
_RELATIONSHIP_OF_MANY = (
    "All pairs of units, counted in cells: how alike their inputs are, and how correlated their activity."
)
_PLACES = {
    "surface": "The modules of the input projections on the cortical surface (grey: no unit).",
    "volume": "The modules of the input projections on the brain (grey: tissue without a unit).",
    "activity": "Left: each unit at its loadings on the principal components of the activity (% of "
    "variance), coloured by module. Right: mean trajectories of the activity (dot: start).",
    "similarity": "Units on the leading eigenvectors of the similarity, coloured by module (no positions given).",
    "positions": "The modules of the input projections at the positions of the units.",
}
POLICIES = {
    "similarity": "similarity of input projections",
    "diagonal": "diagonal of both matrices",
    "constant_units": "constant units",
    "fc_scale": "functional connectivity given as",
    "objective": "modularity",
    "resolution": "resolution γ",
    "n_restarts": "restarts of Louvain",
    "null": "nulls",
    "spin": "places when the sphere is turned",
    "pairs": "pairs of units",
}
DROPPED = "dropped.tsv"
MOST_NAMED = 50  # units left out; of more the page says how many, and a file which
_MAX_SHOWN = 4
_MAX_MEMBERS = 60
_MAX_CATEGORIES = 20


def report_page(
    report: OriginReport, pictures: Mapping[str, Picture], *, command: str = "", outputs: Sequence[str] = ()
) -> str:
    """The HTML of one report, self-contained; `outputs` are files that its source has written beside it."""
    captions = {**_CAPTIONS, "modules": _PLACES[place_of(report)]}
    if is_large(report.system.n_units):
        captions |= {"similarity": _SIMILARITY_OF_MANY, "relationship": _RELATIONSHIP_OF_MANY}
    return environment().get_template("report.html.jinja").render(
        title=f"fctoolbox: {report.system.name}",
        system=_system_view(report, pictures),
        captions=captions,
        outputs=outputs,
        command=command or report.call,
        versions=software(report.system),
        methods=_methods([report]),
    )  # fmt: skip


def comparison_page(
    reports: Sequence[OriginReport], pictures: Sequence[Mapping[str, Picture]], *, command: str = ""
) -> str:
    """The HTML of several reports, a column each, self-contained."""
    names = [name for name in _CAPTIONS if any(name in its for its in pictures)]
    return environment().get_template("comparison.html.jinja").render(
        title="fctoolbox: " + ", ".join(report.system.name for report in reports),
        systems=[_system_view(report, its) | {"folder": folder}
            for folder, report, its in zip(folder_names(reports), reports, pictures, strict=True)],
        relationship_models=_models(test for report in reports for test in report.relationship.nulls),
        induced_models=_models(test for report in reports for test in report.induced.nulls),
        figure_names=names,
        captions=_CAPTIONS,
        command=command,
        versions={name: version for report in reports for name, version in software(report.system).items()},
        methods=_methods(reports),
    )  # fmt: skip


def folder_names(reports: Sequence[OriginReport]) -> list[str]:
    """A folder for each report of a comparison: its source's name, or what of the system's can be a file name."""
    names: list[str] = []
    for report in reports:
        words = re.sub(r"[^\w.-]+", "-", report.system.provenance.source or report.system.name).strip("-.") or "system"
        taken = sum(name == words or name.startswith(f"{words}~") for name in names)
        names.append(f"{words}~{taken + 1}" if taken else words)
    return names


@lru_cache(maxsize=1)
def environment() -> "Environment":
    """Where the templates are; whatever goes into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("fctoolbox.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _system_view(report: OriginReport, pictures: Mapping[str, Picture]) -> dict[str, Any]:
    """What the templates need of a report, in words and plain values."""
    system = report.system
    return {
        "name": system.name,
        "synthetic": system.provenance.synthetic,
        "sentence": report.sentence(),
        "caution": report.caution(),
        "place": _PLACES[place_of(report)],
        **provenance_view(system),
        **dropped_view(report.dropped),
        "n_units": system.n_units,
        "n_inputs": system.projection.n_inputs,
        "policies": {POLICIES.get(name, name): value for name, value in report.policies.items()},
        "relationship": report.relationship,
        "induced": report.induced,
        "controls": report.controls(),
        "communities": report.communities,
        "modules": _modules(report),
        "figures": {name: embedded(picture) for name, picture in pictures.items()},
        "rng": report.rng,
        "seconds": report.seconds,
    }


def dropped_view(dropped: Sequence[Dropped]) -> dict[str, Any]:
    """What was left out, for the templates; `dropped_file` is empty where few enough are to be named."""
    return {"dropped": dropped, "dropped_file": DROPPED if len(dropped) > MOST_NAMED else ""}


def _modules(report: OriginReport) -> list[dict[str, Any]]:
    rows = []
    for module, colour in enumerate(module_colours(report.communities.n)):
        members = [
            unit for unit, label in zip(report.system.units, report.communities.labels, strict=True) if label == module
        ]
        makeup = []
        for name, labels in report.system.annotations.items():
            # A label that nearly every unit has to itself (a full name) tells nothing about a module.
            if not 1 < len(set(labels)) <= min(_MAX_CATEGORIES, len(labels) / 2):
                continue
            counts = Counter(label for label, of in zip(labels, report.communities.labels, strict=True) if of == module)
            shown = [f"{label or '(none)'} {count}" for label, count in counts.most_common(_MAX_SHOWN)]
            others = counts.total() - sum(count for _, count in counts.most_common(_MAX_SHOWN))
            makeup.append((name, ", ".join([*shown, *([f"others {others}"] if others else [])])))
        rows.append(
            {
                "label": module,
                "colour": colour,
                "size": len(members),
                "members": listed(members, most=_MAX_MEMBERS),
                "makeup": makeup,
            }
        )
    return rows


def _methods(reports: Sequence[OriginReport]) -> list[str]:
    models = {test.model for report in reports for test in report.induced.nulls}
    return [*METHODS, *(text for model, text in _NULL_METHODS.items() if model in models)]


def _models(tests: Iterable[NullTest]) -> list[str]:
    return list(dict.fromkeys(test.model for test in tests))


def provenance_view(system: RecurrentSystem) -> dict[str, Any]:
    """What a page says of where a system comes from; each of its facts once."""
    said_elsewhere = ("Citation", "License", "Options")
    return {
        "facts": {key: text for key, text in system.facts().items() if key not in said_elsewhere},
        "citation": system.provenance.citation,
        "license": system.provenance.license,
        "files": system.provenance.files,
        "options": options_in_words(system.provenance.options),
    }


def embedded(picture: Picture) -> str:
    """The picture as an address that holds it."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg).decode("ascii")
