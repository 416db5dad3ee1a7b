"""What `make` says about the Python that it is given; nothing is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make_with(tmp_path):
    """Runs `make setup` in an empty checkout, with a Python that says it has that version and cannot make a venv."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "atlases/pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)

    def run(version):
        python = tmp_path / "python"
        python.write_text(
            "#!/bin/sh\n"
            '[ "$1" = -m ] && { echo "asked for a venv" >&2; exit 7; }\n'
            f'exec {sys.executable} -c "import sys; sys.version_info = {version}; $2"\n'
        )
        python.chmod(0o755)
        return subprocess.run(
            ["make", "setup", "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 14, 0)])
def test_a_python_without_wheels_is_refused_before_anything_is_made(make_with, version):
    done = make_with(version)
    assert done.returncode != 0
    expected = f"have wheels for Python 3.11 to 3.13, and ./python is 3.{version[1]}; use: make PYTHON=python3.13"
    assert expected in done.stderr
    assert "asked for a venv" not in done.stderr


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 9)])
def test_a_python_with_wheels_makes_the_environment(make_with, version):
    assert "asked for a venv" in make_with(version).stderr
