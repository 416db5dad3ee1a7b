"""Write docs/reference/api.md from the docstrings; `make docs` calls it, and a test compares.

Types stand in the docstrings, so signatures show names and defaults only: they are the same under every version of
Python and NumPy.
"""

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import fctoolbox.function
import fctoolbox.nulls

TARGET = Path(__file__).resolve().parent / "reference" / "api.md"
_TITLE = """# Python reference

Written by `docs/build_reference.py` from the docstrings; change those, not this page.
In shapes, `n_units`, `n_inputs` and `n_times` mean the same everywhere. All errors that a user can repair are
[`InputError`](#inputerror).
"""
_GROUPS = {
    "The analysis": ("load", "analyse_origin", "OriginReport", "compare_groups", "GroupComparison", "chunks.Workers"),
    "What a plugin hands over": (
        "RecurrentSystem", "InputProjection", "FactoredMatrix", "RecurrentActivity", "Geometry", "Surface",
        "LabelVolume", "Provenance", "FileRecord",
    ),
    "Your own files": ("matrices.read_system",),
    "Subjects": ("analyse_subjects", "SubjectsReport", "load_subjects", "group_system"),
    "Networks of an annotation": ("analyse_systems", "SystemsReport"),
    "What modules carry": tuple(f"function.{name}" for name in fctoolbox.function.__all__),
    "How inputs make modules": tuple(
        f"generative.{name}" for name in (
            "sample_connectivity", "expected_connectivity", "connectivity_by_samples", "modules_by_inputs",
            "modules_by_chosen_inputs", "sign_model", "sign_model_q", "difference_model", "difference_model_q",
            "sign_difference_model", "six_rules", "module_inputs",
        )
    ),
    "Figures of the paper": ("reproduce.reproduce", "reproduce.make_page", "reproduce.Page"),
    "The steps, one by one": (
        "cosine_similarity", "functional_connectivity", "relationship_r", "detect_communities", "Communities",
        "LowRankNull", "modularity", "modularities",
    ),
    "Many partitions": (
        "coassignment", "expected_coassignment", "consensus_partition", "Consensus", "resolution_sweep",
        "ResolutionSweep", "adjusted_rand", "adjusted_mutual_information", "variation_of_information", "z_rand",
        "mean_agreement",
    ),
    "Nulls": tuple(f"nulls.{name}" for name in fctoolbox.nulls.__all__),
    "Plugins": ("Source", "hookimpl", "DataFile", "fetch", "cache_folder", "testing.check_source"),
    "Atlases": ("_atlases.load_atlas", "_atlases.atlas_names", "_atlases.Atlas"),
    "Errors": ("InputError", "DataUnavailable", "PluginError"),
}  # fmt: skip
# Objects that come from a library and whose own docstring speaks of the library.
_WORDS = {
    "fctoolbox.hookimpl": "Marks `fctoolbox_sources`, the function through which a plugin says what it brings; see "
    "[the tutorial](../tutorials/plugin.md)."
}


def reference() -> str:
    """The whole page."""
    parts = [_TITLE]
    for group, names in _GROUPS.items():
        parts.append(f"## {group}\n")
        parts.extend("\n".join(_entry(_full(name))) for name in names)
    return "\n".join(parts)


def documented() -> set[str]:
    """The names on the page."""
    return {_full(name) for names in _GROUPS.values() for name in names}


def _full(name: str) -> str:
    return f"fctoolbox{name}" if name.startswith("_") else f"fctoolbox.{name}"


def _entry(name: str) -> Iterator[str]:
    module, _, short = name.rpartition(".")
    member = getattr(importlib.import_module(module), short)
    yield f"### {short}\n"
    if name in _WORDS:
        yield f"`{name}`\n\n{_WORDS[name]}\n"
        return
    if not (inspect.isclass(member) and issubclass(member, BaseException)):
        yield f"```python no-test\n{name}{_signature(member)}\n```\n"
    yield _markdown(inspect.getdoc(member) or "")
    if inspect.isclass(member):
        for part_name, part in vars(member).items():
            if not part_name.startswith("_") and (inspect.isfunction(part) or isinstance(part, property)):
                shown = part_name + (_signature(part) if inspect.isfunction(part) else "")
                yield f"#### `{short}.{shown}`\n\n{_markdown(inspect.getdoc(part) or '')}"


def _signature(member: Callable[..., Any]) -> str:
    names: list[str] = []
    for name, parameter in inspect.signature(member).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={_spelt(member, name, parameter.default)}"
        if name != "self":
            names.append(f"{prefix}{name}{default}")
    line = f"({', '.join(names)})"
    return line if len(line) < 80 else "(\n" + "".join(f"    {each},\n" for each in names) + ")"


def _spelt(member: object, name: str, default: object) -> str:
    made = is_dataclass(member) and any(
        each.name == name and each.default_factory is not MISSING for each in fields(member)
    )
    return "{}" if made else repr(default).replace("'", '"')


def _markdown(docstring: str) -> str:
    """A numpydoc docstring as Markdown."""
    text = re.sub(r"``(.+?)``", r"`\1`", docstring)
    text = re.sub(r"^\.\. (\w+)::\n((?:[ ]{3}.*\n|\n)+)", _admonition, text + "\n", flags=re.MULTILINE)
    head, *sections = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    parts = [_prose(head)]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        parts.append(f"**{title}**\n\n" + {"Examples": _examples, "References": _prose}.get(title, _definitions)(body))
    return "\n".join(parts)


def _admonition(match: re.Match[str]) -> str:
    lines = textwrap.dedent(match[2]).strip().splitlines()
    return "\n".join(f"> {line}".rstrip() for line in [f"**{match[1].capitalize()}**", "", *lines]) + "\n\n"


def _prose(text: str) -> str:
    # Formulas, which docstrings indent, become code.
    return re.sub(r"^((?: {4}.*\n)+)", _formula, text.strip() + "\n", flags=re.MULTILINE)


def _formula(match: re.Match[str]) -> str:
    return f"```\n{textwrap.dedent(match[1])}```\n"


def _examples(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(f"```pycon\n{each}\n```" if each.startswith(">>>") else each for each in paragraphs) + "\n"


def _definitions(text: str) -> str:
    lines = []
    for item in re.split(r"^(?=\S)", text.strip(), flags=re.MULTILINE)[1:] or [text.strip()]:
        head, _, body = item.partition("\n")
        name, colon, kind = head.partition(" : ")
        words = f"* `{name}`: {kind}" if colon else f"* `{name}`"
        lines.append(f"{words} — {' '.join(body.split())}" if body.strip() else words)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"wrote {TARGET}")
