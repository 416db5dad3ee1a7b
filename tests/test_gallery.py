"""The gallery of the docs, built from pages."""

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).parent.parent / "docs" / "build_gallery.py"


def a_page(folder, name, **changes):
    page = {
        "title": "A title", "claim": "a claim.", "found": ["The a_b answer.", "And more.", "And even more."],
        "panels": [{"name": "one", "caption": "First Q*."}, {"name": "lesions", "caption": "Lesions."}],
        "synthetic": False, "provenance": {"command": f"fctoolbox reproduce {name} --quick --rng=0 --out out"},
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(page | changes))
    (folder / "figures").mkdir(exist_ok=True)
    for panel, colour in (("one", "red"), ("lesions", "blue")):
        Image.new("RGB", (2000, 1000), colour).save(folder / "figures" / f"{name}-{panel}.png")


def build(pages, into):
    return subprocess.run([sys.executable, SCRIPT, pages, "--into", into], capture_output=True, text=True, check=False)


def test_each_page_has_its_claim_what_was_found_and_a_small_picture(tmp_path):
    pages, into = tmp_path / "out", tmp_path / "gallery"
    pages.mkdir()
    into.mkdir()
    (into / "old.png").write_bytes(b"")
    a_page(pages, "fig1")
    a_page(pages, "figS4", synthetic=True)
    assert build(pages, into).returncode == 0
    text = (into / "README.md").read_text()
    assert "$ fctoolbox reproduce fig1 figS4 --quick" in text
    assert text.count("**Claim.** A claim.\n\n**Found.** The a\\_b answer.\n\n- And more.\n- And even more.\n\n![") == 2
    assert "![Lesions.](fig1.png)" in text
    assert "![First Q\\*.](figS4.png)" in text
    assert text.count("Synthetic data stand") == 1
    assert sorted(path.name for path in into.iterdir()) == ["README.md", "fig1.png", "figS4.png"]
    with Image.open(into / "fig1.png") as picture:
        assert picture.size == (900, 450)
        assert picture.convert("RGB").getpixel((5, 5)) == (0, 0, 255)


def test_pages_are_named_as_they_were_made(tmp_path):
    whole = {"provenance": {"command": "fctoolbox reproduce fig1 --rng=0 --out 'my --quick folder'"}}
    a_page(tmp_path, "fig1", **whole)
    assert build(tmp_path, tmp_path / "gallery").returncode == 0
    text = (tmp_path / "gallery" / "README.md").read_text()
    assert "$ fctoolbox reproduce fig1 --out out\n```\n\nwith 100 networks" in text
    assert "Again: `fctoolbox reproduce fig1 --out out`" in text
    a_page(tmp_path, "fig2")
    found = build(tmp_path, tmp_path / "gallery")
    assert found.returncode == 2
    assert "has pages made with --quick and without" in found.stderr


def test_a_folder_without_pages_is_refused(tmp_path):
    found = build(tmp_path, tmp_path / "gallery")
    assert found.returncode == 2
    assert "has no page; first: fctoolbox reproduce" in found.stderr
    assert not (tmp_path / "gallery").exists()
