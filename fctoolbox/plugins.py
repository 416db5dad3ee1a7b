"""Sources: how they are described, found, kept apart when they fail, and loaded.

One hook, ``fctoolbox_sources``, in the entry-point group ``fctoolbox``. Built-in sources use the same door.
"""

import importlib.metadata
import inspect
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from fctoolbox.data import DataFile
from fctoolbox.errors import InputError, PluginError, listed, suggestion
from fctoolbox.system import RecurrentSystem, options_in_words

GROUP = "fctoolbox"
API_VERSION = 1

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class Source:
    """A system that can be loaded by name.

    Parameters
    ----------
    name : str
        What the user types: lower case, hyphens.
    load : callable
        Returns a RecurrentSystem. Its options are keyword-only, each with a default; heavy libraries are
        imported inside it, so that listing sources costs nothing.
    summary : str
        One line: what the units and the inputs are, and how many.
    citation : str
        What a paper that uses it must cite.
    license : str
    species : str
    files : sequence of DataFile
        Everything that `load` may fetch.
    miniature : str
        Name of a synthetic source written in the same file formats, for where the data cannot be had.
    synthetic : bool
    every_group : mapping
        Options with which `load` brings the inputs of all its groups at once (``{"sources": "all"}``), each input with
        its group in `InputProjection.groups`; for ``fctoolbox run --by-group``. Where an option has the name of a
        group as its default, that is the group expected to be the highest.
    write_outputs : callable, optional
        Takes an `OriginReport` of this source's system and the folder of its report, writes files of the field's own
        kinds there (label maps of a surface), and returns their paths. If it fails, that is said, and the report
        is there without them.
    read_labels : callable, optional
        Takes a system of this source and a path, and returns a label for each unit, "none" where it has none; for
        label files of the field's own kinds (``fctoolbox run --systems FILE``). Tables are read without it.
    api_version : int
        Of fctoolbox's plugin interface that the plugin was written for.
    distribution : str
        What brings the source; filled in when it is found.
    """

    name: str
    load: Callable[..., RecurrentSystem]
    summary: str
    citation: str
    license: str
    species: str = ""
    files: tuple[DataFile, ...] = ()
    miniature: str = ""
    synthetic: bool = False
    every_group: Mapping[str, Any] = field(default_factory=dict)
    write_outputs: Callable[[Any, Path], Sequence[Path]] | None = None
    read_labels: Callable[[RecurrentSystem, Path], Sequence[str]] | None = None
    api_version: int = 1  # not API_VERSION: a plugin that does not say was written for the first
    distribution: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The options of `load` and their defaults."""
        return {name: parameter.default for name, parameter in inspect.signature(self.load).parameters.items()}

    @property
    def expected_groups(self) -> tuple[str, ...]:
        """Defaults of the options that stand for a group: the groups that are loaded when nobody asks for others."""
        return tuple(str(self.options[name]) for name in self.every_group if name in self.options)


class _Hooks:
    @hookspec
    def fctoolbox_sources(self) -> list[Source]:
        """The sources that this plugin brings."""
        raise NotImplementedError


@dataclass(frozen=True)
class Plugin:
    """A distribution's entry point, and what came of it.

    `failure` is empty when all is well.
    """

    name: str
    distribution: str
    version: str
    sources: tuple[Source, ...] = ()
    failure: str = ""

    @property
    def remedy(self) -> str:
        """How to get rid of it."""
        return f"pip install --upgrade {self.distribution}, or pip uninstall {self.distribution}"

    def __str__(self) -> str:
        return f"plugin '{self.name}' (distribution {self.distribution} {self.version})"


@dataclass(frozen=True)
class Installed:
    """All plugins that were found, the sources they bring, and the names that two of them claim."""

    plugins: tuple[Plugin, ...]
    sources: Mapping[str, Source]
    refused: Mapping[str, str]


class MisspeltHook(PluginError):
    """A plugin marks a function as a hook that fctoolbox does not have."""


@lru_cache(maxsize=1)
def installed() -> Installed:
    """What is installed; a plugin that fails is named in a warning and skipped.

    Raises
    ------
    PluginError
        If a plugin marks a misspelt hook, or if anything fails while ``FCTOOLBOX_STRICT=1``.
    """
    found = discover(importlib.metadata.entry_points(group=GROUP))
    strict = os.environ.get("FCTOOLBOX_STRICT", "") not in ("", "0")
    for plugin in found.plugins:
        if plugin.failure:
            message = f"{plugin} was skipped: {plugin.failure}. To be rid of this: {plugin.remedy}"
            if strict:
                raise PluginError(message)
            warnings.warn(message, stacklevel=2)
    for message in found.refused.values():
        if strict:
            raise PluginError(message)
        warnings.warn(message, stacklevel=2)
    return found


def discover(
    entry_points: importlib.metadata.EntryPoints | list[importlib.metadata.EntryPoint],
    *,
    tolerate_misspelt: bool = False,
) -> Installed:
    """Load each entry point on its own, so that one that fails leaves the others standing.

    Parameters
    ----------
    entry_points : sequence of EntryPoint
    tolerate_misspelt : bool
        Report a misspelt hook as that plugin's failure, instead of raising (for listing plugins).

    Raises
    ------
    MisspeltHook
    """
    plugins = []
    for entry_point in sorted(entry_points, key=lambda each: (each.name, each.value)):
        distribution = entry_point.dist
        plugin = Plugin(
            entry_point.name,
            distribution.name if distribution else "unknown",
            distribution.version if distribution else "",
        )
        try:
            name = distribution.name if distribution else ""
            sources = tuple(replace(source, distribution=name) for source in _sources(entry_point))
            plugins.append(replace(plugin, sources=sources))
        except MisspeltHook as error:
            if not tolerate_misspelt:
                raise MisspeltHook(f"{plugin}: {error}. Correct it, or {plugin.remedy}") from error
            plugins.append(replace(plugin, failure=str(error)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever a stranger's code raises must not stop the rest)
            plugins.append(replace(plugin, failure=_reason(error)))
    return _settle(tuple(plugins))


def load(name: str, **options: Any) -> RecurrentSystem:
    """The system that an installed source brings.

    Parameters
    ----------
    name : str
        As ``fctoolbox sources`` lists it.
    **options
        Of that source.

    Returns
    -------
    RecurrentSystem
        Its provenance holds the options, defaults included.

    Raises
    ------
    InputError
        If there is no such source or option.
    """
    return load_source(find_source(name), **options)


def find_source(name: str) -> Source:
    """The installed source of that name.

    Raises
    ------
    InputError
        If there is none, or two plugins claim the name.
    """
    found = installed()
    if name in found.refused:
        raise PluginError(found.refused[name])
    if name not in found.sources:
        known = sorted(found.sources)
        failed = [str(plugin) for plugin in found.plugins if plugin.failure]
        raise InputError(
            f"no source named '{name}'.{suggestion(name, known)} Installed: {', '.join(known)}."
            + (f" Skipped, because they failed: {listed(failed)} (see: fctoolbox plugins)." if failed else "")
        )
    return found.sources[name]


def load_source(source: Source, **options: Any) -> RecurrentSystem:
    """Load a source that need not be installed; see `load`."""
    _check_interface(source)
    known = source.options
    for option in options:
        if option not in known:
            offered = ", ".join(known) or "none"
            raise InputError(
                f"source '{source.name}' has no option '{option}'.{suggestion(option, list(known))} It has: {offered}."
            )
    system = source.load(**options)
    if not isinstance(system, RecurrentSystem):
        raise PluginError(f"source '{source.name}' handed over a {type(system).__name__}, not a RecurrentSystem")
    # The options kept are those that the source says it used; what it leaves out is filled in here.
    used = {**known, **options, **system.provenance.options}
    chosen = {option: value for option, value in used.items() if option not in known or value != known[option]}
    packages = tuple(dict.fromkeys(filter(None, (source.distribution, *system.provenance.packages))))
    provenance = replace(system.provenance, options=used, source=source.name, packages=packages)
    return replace(system, name=_with_options(system.name, chosen), provenance=provenance)


def load_every_group(source: Source, **options: Any) -> RecurrentSystem:
    """Load a source with the inputs of all its groups; see `Source.every_group`.

    Raises
    ------
    InputError
        As `load`, and if an option asks for one group where all are meant.
    """
    for name, value in source.every_group.items():
        if options.get(name, value) != value:
            raise InputError(
                f"a comparison of the groups of '{source.name}' loads them all ({name}={value}), so it cannot have "
                f"{name}={options[name]}; leave that option out"
            )
    return load_source(source, **{**options, **source.every_group})


def _with_options(name: str, chosen: Mapping[str, Any]) -> str:
    """The name, and the options that make this system another one than the source's default."""
    words = ", ".join(options_in_words(chosen))
    if not words:
        return name
    return f"{name[:-1]}; {words})" if name.endswith(")") else f"{name} ({words})"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"


def _sources(entry_point: importlib.metadata.EntryPoint) -> tuple[Source, ...]:
    module = entry_point.load()
    # A manager of its own for each plugin: a partial registration can be thrown away whole.
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(_Hooks)
    try:
        manager.register(module)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        unknown = [name for name in _hooks_of(module) if not hasattr(_Hooks, name)]
        if unknown:
            raise MisspeltHook(
                f"it marks {listed(unknown)} as a hook, but fctoolbox has only fctoolbox_sources"
            ) from error
        raise
    if not manager.hook.fctoolbox_sources.get_hookimpls():
        raise PluginError(
            f"{entry_point.value} registers no source: it needs a function fctoolbox_sources marked with "
            "@fctoolbox.hookimpl"
        )
    returned = next(iter(manager.hook.fctoolbox_sources()), None)  # pluggy leaves out a None
    if not isinstance(returned, list | tuple):
        what = "nothing" if returned is None else f"a {type(returned).__name__}"
        raise PluginError(f"fctoolbox_sources returned {what}; it must return a list of fctoolbox.Source")
    for source in returned:
        _check_interface(source)
    if twice := [name for name, count in Counter(source.name for source in returned).items() if count > 1]:
        raise PluginError(f"it brings more than one source named {listed(map(repr, twice))}")
    return tuple(returned)


def _hooks_of(module: ModuleType | object) -> list[str]:
    return [name for name in dir(module) if getattr(getattr(module, name, None), f"{GROUP}_impl", None) is not None]


def _check_interface(source: object) -> None:
    if not isinstance(source, Source):
        raise PluginError(f"fctoolbox_sources lists {source!r}; it must return a list of fctoolbox.Source")
    if source.api_version != API_VERSION:
        raise PluginError(
            f"source '{source.name}' was written for plugin interface {source.api_version}, and this fctoolbox has "
            f"{API_VERSION}: upgrade the older of the two"
        )
    if not callable(source.load):
        raise PluginError(f"source '{source.name}': load is {source.load!r}, not a function")
    for name in ("write_outputs", "read_labels"):
        value = getattr(source, name)
        if value is not None and not callable(value):
            raise PluginError(f"source '{source.name}': {name} is {value!r}, not a function")
    for name, parameter in inspect.signature(source.load).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise PluginError(
                f"source '{source.name}': option '{name}' of its load function must be keyword-only with a default "
                f"(def load(*, {name}=…)), so that it can be listed and set"
            )
    if strange := [name for name in source.every_group if name not in source.options]:
        raise PluginError(
            f"source '{source.name}': every_group sets {listed(strange)}, which its load function does not have"
        )


def _settle(plugins: tuple[Plugin, ...]) -> Installed:
    claims: dict[str, list[tuple[Plugin, Source]]] = defaultdict(list)
    for plugin in plugins:
        for source in plugin.sources:
            claims[source.name].append((plugin, source))
    refused = {
        name: f"the source name '{name}' is refused, because {' and '.join(str(plugin) for plugin, _ in rivals)} "
        "both bring it: uninstall one of them"
        for name, rivals in claims.items()
        if len(rivals) > 1
    }
    sources = {name: rivals[0][1] for name, rivals in sorted(claims.items()) if name not in refused}
    return Installed(plugins, sources, refused)
