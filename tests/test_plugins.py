import importlib.metadata
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from textwrap import dedent

import pytest

import fctoolbox as fct
from fctoolbox import PluginError, Source, plugins
from fctoolbox.plugins import MisspeltHook, discover, load_source
from tests.conftest import make_system

# The start of every plugin here: a load function that works, and a way to describe it in a word.
GOOD = """
    import fctoolbox
    from fctoolbox.toy import load as toy

    def load(*, seed: int = 0, size="small"):
        return toy(n_units=12, seed=seed)

    def source(name, load=load, **changes):
        return fctoolbox.Source(name, load, "a source", "nobody", "CC0-1.0", synthetic=True, **changes)
"""


def hook(returned):
    return f"""
    @fctoolbox.hookimpl
    def fctoolbox_sources():
        {returned}
    """


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Write a distribution as pip would: a module, and metadata with its entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name, *code, version="1.2", attribute=""):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text("\n".join(map(dedent, code)), encoding="utf-8")
        folder = tmp_path / f"{module}-{version}.dist-info"
        folder.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: lab-{name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(metadata, encoding="utf-8")
        (folder / "entry_points.txt").write_text(f"[fctoolbox]\n{name} = {module}{attribute}\n", encoding="utf-8")

    yield write
    for module in set(sys.modules) - before:
        if (tmp_path / f"{module}.py").exists():
            del sys.modules[module]


@pytest.fixture
def entry_points(tmp_path, install):
    def ours(*, group="fctoolbox"):
        return [
            entry_point
            for distribution in importlib.metadata.distributions(path=[str(tmp_path)])
            for entry_point in distribution.entry_points
            if entry_point.group == group
        ]

    return ours


@pytest.fixture
def alone(monkeypatch, entry_points):
    """No plugin but those written by the test."""
    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def failure_of(name, found):
    return next(plugin.failure for plugin in found.plugins if plugin.name == name)


def test_a_plugin_of_a_few_lines(install, alone):
    install("good", GOOD, hook("return [source('tectum'), source('retina')]"))
    found = plugins.installed()
    assert list(found.sources) == ["retina", "tectum"]
    assert [(p.name, p.distribution, p.version, p.failure) for p in found.plugins] == [("good", "lab-good", "1.2", "")]
    assert fct.load("tectum").n_units == 12


FAILING = {
    "needs what is not there": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "ends the program": ("raise SystemExit(3)", "SystemExit: 3"),
    "is misspelt": ("def f(:", "SyntaxError: invalid syntax"),
    "divides": ("1 / 0", "ZeroDivisionError: division by zero"),
    "fails in the hook": (GOOD + hook("raise OSError('disk is full')"), "OSError: disk is full"),
    "ends in the hook": (GOOD + hook("raise SystemExit"), "SystemExit"),
    "forgets the mark": (
        GOOD + "\n    def fctoolbox_sources(): return []",
        "registers no source: it needs a function fctoolbox_sources marked with @fctoolbox.hookimpl",
    ),
    "wants an argument": (
        GOOD + hook("return []").replace("sources()", "sources(config)"),
        "Argument(s) {'config'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "returns nothing": (GOOD + hook("pass"), "fctoolbox_sources returned nothing; it must return a list"),
    "returns one source": (GOOD + hook("return source('a')"), "returned a Source; it must return a list"),
    "returns a name": (GOOD + hook("return 'abc'"), "returned a str; it must return a list of fctoolbox.Source"),
    "yields": (GOOD + hook("yield source('a')"), "returned a generator; it must return a list"),
    "lists something else": (GOOD + hook("return [{'name': 'a'}]"), "lists {'name': 'a'}; it must return a list"),
    "lists a source twice": (GOOD + hook("return [source('a'), source('a')]"), "more than one source named 'a'"),
    "loads by nothing": (GOOD + hook("return [source('a', None)]"), "source 'a': load is None, not a function"),
    "writes by a name": (
        GOOD + hook("return [source('a', write_outputs='labels')]"),
        "source 'a': write_outputs is 'labels', not a function",
    ),
    "reads labels by a name": (
        GOOD + hook("return [source('a', read_labels='labels')]"),
        "source 'a': read_labels is 'labels', not a function",
    ),
    "takes any option": (
        GOOD + hook("return [source('a', lambda **options: toy(**options))]"),
        "source 'a': option 'options' of its load function must be keyword-only with a default",
    ),
    "takes options by position": (
        GOOD + hook("return [source('a', lambda seed=0: toy(seed=seed))]"),
        "option 'seed' of its load function must be keyword-only with a default",
    ),
    "takes an option without default": (
        GOOD + hook("return [source('a', lambda *, seed: toy(seed=seed))]"),
        "option 'seed' of its load function must be keyword-only with a default (def load(*, seed=…))",
    ),
    "was written for tomorrow": (
        GOOD + hook("return [source('a', api_version=99)]"),
        "source 'a' was written for plugin interface 99, and this fctoolbox has 1: upgrade the older of the two",
    ),
}


@pytest.mark.parametrize("code", FAILING.values(), ids=FAILING)
def test_a_plugin_that_fails_is_named_and_the_others_work(install, alone, code, monkeypatch):
    code, reason = code
    install("bad", code)
    install("good", GOOD, hook("return [source('tectum')]"))
    with pytest.warns(UserWarning, match=r"plugin 'bad' \(distribution lab-bad 1\.2\) was skipped") as caught:
        found = plugins.installed()
    assert list(found.sources) == ["tectum"]
    message = str(caught[0].message)
    assert reason in message
    assert "pip uninstall lab-bad" in message
    assert failure_of("good", found) == ""
    # One who looks for its sources is told, too.
    with pytest.raises(fct.InputError, match=r"no source named 'a'.*Skipped, because they failed: plugin 'bad'"):
        fct.load("a")
    monkeypatch.setenv("FCTOOLBOX_STRICT", "1")
    plugins.installed.cache_clear()
    with pytest.raises(PluginError) as error:
        plugins.installed()
    assert str(error.value) == message


@pytest.mark.parametrize("strict", ["", "0"])
def test_strict_has_to_be_asked_for(install, alone, monkeypatch, strict):
    install("bad", "1 / 0")
    monkeypatch.setenv("FCTOOLBOX_STRICT", strict)
    with pytest.warns(UserWarning, match="was skipped"):
        plugins.installed()


@pytest.mark.parametrize("spelling", ["fctoolbox_source", "fctoolbox_sourcs", "sources"])
def test_a_misspelt_hook_is_an_error_but_plugins_can_be_listed(install, entry_points, alone, spelling):
    install("bad", GOOD, hook("return [source('a')]").replace("fctoolbox_sources", spelling))
    install("good", GOOD, hook("return [source('tectum')]"))
    message = rf"plugin 'bad' \(distribution lab-bad 1\.2\): it marks {spelling} as a hook, .* only fctoolbox_sources"
    for call in (plugins.installed, lambda: fct.load("tectum"), lambda: discover(entry_points())):
        with pytest.raises(MisspeltHook, match=message) as error:
            call()
        assert "pip uninstall lab-bad" in str(error.value)
    found = discover(entry_points(), tolerate_misspelt=True)
    assert f"it marks {spelling} as a hook" in failure_of("bad", found)
    assert list(found.sources) == ["tectum"]


def test_two_plugins_that_claim_a_name_are_both_named_and_both_refused(install, alone, monkeypatch):
    install("one", GOOD, hook("return [source('tectum'), source('retina')]"))
    install("two", GOOD, hook("return [source('tectum')]"), version="2.0")
    refusal = (
        r"'tectum' is refused, because plugin 'one' \(distribution lab-one 1\.2\) and "
        r"plugin 'two' \(distribution lab-two 2\.0\) both bring it: uninstall one of them"
    )
    with pytest.warns(UserWarning, match=refusal):
        assert list(plugins.installed().sources) == ["retina"]
    assert fct.load("retina").n_units == 12
    with pytest.raises(PluginError, match=refusal):
        fct.load("tectum")
    monkeypatch.setenv("FCTOOLBOX_STRICT", "1")
    plugins.installed.cache_clear()
    with pytest.raises(PluginError, match=refusal):
        plugins.installed()


def test_a_name_that_does_not_exist(install, alone):
    install("good", GOOD, hook("return [source('allen-mouse'), source('hcp-human')]"))
    with pytest.raises(fct.InputError) as error:
        fct.load("alen-mouse")
    assert str(error.value) == (
        "no source named 'alen-mouse'. Did you mean 'allen-mouse'? Installed: allen-mouse, hcp-human."
    )


def test_an_option_that_does_not_exist(install, alone):
    install("good", GOOD, hook("return [source('tectum'), source('plain', lambda: toy())]"))
    with pytest.raises(
        fct.InputError, match=r"'tectum' has no option 'sed'\. Did you mean 'seed'\? It has: seed, size\."
    ):
        fct.load("tectum", sed=1)
    with pytest.raises(fct.InputError, match=r"source 'plain' has no option 'x'\. It has: none\."):
        fct.load("plain", x=1)


def test_the_options_used_are_kept_with_the_defaults(install, alone):
    install("good", GOOD, hook("return [source('tectum')]"))
    assert fct.load("tectum", seed=3).provenance.options == {"seed": 3, "size": "small"}
    assert plugins.find_source("tectum").options == {"seed": 0, "size": "small"}


def test_what_the_source_says_that_it_used_is_believed(rng):
    def load(*, species="any", seed=0):
        provenance = fct.Provenance("c", "l", options={"species": "mouse"}, synthetic=True)
        return make_system(rng, provenance=provenance)

    system = load_source(Source("s", load, "", "", ""), seed=1)
    assert system.provenance.options == {"species": "mouse", "seed": 1}


def test_a_source_that_hands_over_something_else():
    with pytest.raises(PluginError, match="source 's' handed over a str, not a RecurrentSystem"):
        load_source(Source("s", lambda: "a system", "", "", ""))


def test_a_source_that_is_not_installed_keeps_the_same_interface(rng):
    source = Source("s", lambda **options: make_system(rng), "", "", "")
    with pytest.raises(PluginError, match="option 'options' of its load function must be keyword-only"):
        load_source(source)
    with pytest.raises(PluginError, match="plugin interface 2"):
        load_source(replace(source, api_version=2))


def test_an_entry_point_may_be_an_object(install, entry_points):
    plugin = """
    class Plugin:
        @fctoolbox.hookimpl
        def fctoolbox_sources(self):
            return [source('tectum')]

    plugin = Plugin()
    """
    install("good", GOOD, plugin, attribute=":plugin")
    assert list(discover(entry_points()).sources) == ["tectum"]


def test_a_distribution_that_is_not_known(entry_points, install):
    install("bad", "1 / 0")
    found = discover([importlib.metadata.EntryPoint("loose", "bad", "fctoolbox")])
    assert str(found.plugins[0]) == "plugin 'loose' (distribution unknown )"


def test_what_is_installed_is_found_once_and_in_order():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the plugins of this environment
        found = plugins.installed()
        assert plugins.installed() is found
    assert "toy" in found.sources
    assert list(found.sources) == sorted(found.sources)


# ---- the same through the command line, in a process of its own


def command(tmp_path, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fctoolbox.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_skips_and_names_a_plugin_that_fails(install, tmp_path):
    install("bad", "import no_such_library")
    install("good", GOOD, hook("return [source('tectum')]"))
    done = command(tmp_path, "sources")
    assert done.returncode == 0
    assert "tectum" in done.stdout
    assert "toy" in done.stdout
    assert "Warning: plugin 'bad' (distribution lab-bad 1.2) was skipped: ModuleNotFoundError" in done.stderr

    strict = command(tmp_path, "sources", FCTOOLBOX_STRICT="1")
    assert strict.returncode == 2
    assert "was skipped" in strict.stderr
    assert "Traceback" not in strict.stderr


def test_the_command_line_refuses_a_misspelt_hook_but_lists_the_plugins(install, tmp_path):
    install("bad", GOOD, hook("return []").replace("fctoolbox_sources", "fctoolbox_source"))
    refused = command(tmp_path, "sources")
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: plugin 'bad' (distribution lab-bad 1.2): it marks fctoolbox_source")
    listed = command(tmp_path, "plugins", "--json")
    assert listed.returncode == 0
    rows = {row["name"]: row for row in json.loads(listed.stdout)["plugins"]}
    assert rows["bad"]["failure"].startswith("it marks fctoolbox_source as a hook")
    assert "pip uninstall lab-bad" in rows["bad"]["remedy"]
    assert rows["toy"]["sources"] == ["toy"]
    assert rows["toy"]["failure"] == ""


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "fish (synthetic)"),
        ({"n": 30}, "fish (synthetic)"),  # as by default
        ({"kind": "zebra", "wild": True}, "fish (synthetic; kind=zebra, wild=true)"),
    ],
)
def test_the_name_says_what_departs_from_the_default(rng, options, name):
    def load(*, n=30, kind="toy", wild=False):
        return make_system(rng, name="fish (synthetic)")

    source = plugins.Source("fish", load, "a fish", "nobody", "CC0-1.0", synthetic=True)
    system = plugins.load_source(source, **options)
    assert system.name == name
    assert system.provenance.source == "fish"
    assert system.provenance.options == {"n": 30, "kind": "toy", "wild": False, **options}


def test_all_groups_are_loaded_with_the_options_that_the_source_names(rng):
    def load(*, part="one", n=3):
        return make_system(rng, name=f"fish (synthetic) {part} {n}")

    source = plugins.Source("fish", load, "a fish", "nobody", "CC0-1.0", synthetic=True, every_group={"part": "all"})
    assert source.expected_groups == ("one",)
    assert plugins.load_every_group(source, n=4).provenance.options == {"part": "all", "n": 4}
    assert plugins.load_every_group(source, part="all").provenance.options["part"] == "all"
    with pytest.raises(fct.InputError, match="it cannot have part=two"):
        plugins.load_every_group(source, part="two")
    with pytest.raises(PluginError, match="every_group sets parts, which its load function does not have"):
        plugins.load_source(replace(source, every_group={"parts": "all"}))
