import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def _script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"docs_{name}", REPOSITORY / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up there
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def blocks():
    """docs/blocks.py"""
    return _script("blocks")


@pytest.fixture(scope="session")
def build_reference():
    """docs/build_reference.py"""
    return _script("build_reference")
