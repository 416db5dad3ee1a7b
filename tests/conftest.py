"""What all tests share: a cache of their own, and no plugin list left over from another test."""

import os
from pathlib import Path

import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox import plugins
from tests.own_files import text


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FCTOOLBOX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("FCTOOLBOX_STRICT", raising=False)
        if mirror := os.environ.get("FCTOOLBOX_MIRROR"):  # some tests change the folder
            patch.setenv("FCTOOLBOX_MIRROR", str(Path(mirror).resolve()))
        yield


@pytest.fixture(autouse=True)
def _fresh_plugins():
    plugins.installed.cache_clear()
    yield
    plugins.installed.cache_clear()


@pytest.fixture
def rng():
    return np.random.default_rng(20601)


@pytest.fixture
def system(rng):
    """12 units in 3 planted communities; small enough to look at."""
    return make_system(rng)


@pytest.fixture(scope="session")
def toy():
    return fct.load("toy", n_units=30, n_inputs=12, n_communities=3, n_times=400)


def make_system(rng, *, n_units=12, n_inputs=5, **changes):
    weights = rng.standard_normal((n_units, n_inputs))
    parts = {
        "name": "made up (synthetic)",
        "units": tuple(f"u{i}" for i in range(n_units)),
        "projection": fct.InputProjection(weights),
        "activity": fct.RecurrentActivity(rng.standard_normal((200, n_inputs)) @ weights.T),
        "provenance": fct.Provenance(citation="nobody", license="CC0-1.0", synthetic=True),
    }
    return fct.RecurrentSystem(**{**parts, **changes})


@pytest.fixture
def write(tmp_path):
    """Writes a file of that content, or a matrix as text."""

    def to(name, content, **layout):
        path = tmp_path / name
        content = content if isinstance(content, str | bytes) else text(content, **layout)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to
