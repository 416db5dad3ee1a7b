"""The miniature's files, and the published ones where the mirror has them."""

import os
from pathlib import Path

import pytest
from fctoolbox_allen.ccf import read_annotation, read_structures
from fctoolbox_allen.experiments import read_export
from fctoolbox_allen.experiments_miniature import write_export
from fctoolbox_allen.miniature import write_files
from fctoolbox_allen.oh2014 import read_connectome

from fctoolbox.data import locate


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("miniature"), rng=0)


@pytest.fixture(scope="session")
def structures(miniature):
    return read_structures(miniature.structures)


@pytest.fixture(scope="session")
def annotation(miniature):
    return read_annotation(miniature.annotation)


@pytest.fixture(scope="session")
def connectome(miniature):
    return read_connectome(miniature.weights)


@pytest.fixture(scope="session")
def export_folder(miniature, tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export"), miniature, rng=0)


@pytest.fixture(scope="session")
def export(export_folder):
    return read_export(export_folder)


@pytest.fixture
def export_copy(export_folder, tmp_path):
    """A copy that a test may spoil."""
    for path in export_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture(scope="session")
def published():
    """Path of a published file; the test is skipped where it cannot be had without the network."""

    def path_of(file):
        path = locate(file) if os.environ.get("FCTOOLBOX_MIRROR") else None
        if path is None:
            pytest.skip(f"{file.name} is not in FCTOOLBOX_MIRROR")
        return path

    return path_of


@pytest.fixture(scope="session")
def derived():
    """Path of a table that was worked out independently from the published files."""

    def path_of(name):
        path = Path(os.environ.get("FCTOOLBOX_MIRROR", "")) / "derived" / name
        if not path.is_file():
            pytest.skip(f"{name} is not in FCTOOLBOX_MIRROR")
        return path

    return path_of
