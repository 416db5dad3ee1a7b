"""The documents tell the truth: their blocks run and print what they say, their links lead somewhere."""

import os
import re
import textwrap
from pathlib import Path

import pytest

import fctoolbox
from fctoolbox.plugins import installed

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(REPOSITORY.glob("*.md")) + sorted((REPOSITORY / "docs").rglob("*.md"))
OWN_DISTRIBUTIONS = {"fctoolbox", "fctoolbox-allen", "fctoolbox-ctrnn", "fctoolbox-hcp"}


def _name(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


def _with_blocks(kind: str) -> list[Path]:
    return [document for document in DOCUMENTS if re.search(rf"^```{kind}\n", document.read_text(), re.MULTILINE)]


def _check(outputs) -> None:
    for output in outputs:
        assert output.as_said, f"{output.source}\nprints\n{output.printed}\nbut the document says\n{output.expected}"


@pytest.mark.parametrize("document", _with_blocks("(console|python)"), ids=_name)
def test_blocks_print_what_the_document_says(document, blocks, tmp_path):
    _check(blocks.run_document(document.read_text(), tmp_path, kind="plain"))


@pytest.mark.mirror
@pytest.mark.parametrize("document", _with_blocks("console mirror"), ids=_name)
def test_blocks_on_real_data_print_what_the_document_says(document, blocks, tmp_path):
    if "FCTOOLBOX_MIRROR" not in os.environ:
        pytest.skip("FCTOOLBOX_MIRROR is not set")
    _check(blocks.run_document(document.read_text(), tmp_path, kind="mirror"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", document.read_text()):
        path, _, section = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{target} leads nowhere"
        if section:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert section in [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles], target


def test_the_files_of_the_tutorials_are_those_that_they_show(blocks):
    shown = set()
    for tutorial in (REPOSITORY / "docs" / "tutorials").glob("*.md"):
        for block in blocks.blocks_of(tutorial.read_text()):
            for folder in (tutorial.parent, tutorial.with_suffix("")):
                if block.file and (folder / block.file).is_file():
                    assert (folder / block.file).read_text() == block.body, block.file
                    shown.add(block.file)
    assert {"cortex.csv", "fc.csv", "positions.csv", "fctoolbox-zebrafish/fctoolbox_zebrafish.py"} <= shown


def test_the_readme_lists_the_sources():
    section = (REPOSITORY / "README.md").read_text().partition("## Sources\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`([\w-]+)`", " ".join(re.findall(r"^\| (`.+?) \|", section, re.MULTILINE))))
    plugins = [plugin for plugin in installed().plugins if plugin.distribution in OWN_DISTRIBUTIONS]
    sources = {source.name for plugin in plugins for source in plugin.sources}
    assert sources <= listed
    if {plugin.distribution for plugin in plugins} == OWN_DISTRIBUTIONS:
        assert listed == sources


def test_one_version_everywhere():
    assert f'\nversion: "{fctoolbox.__version__}"\n' in (REPOSITORY / "CITATION.cff").read_text()
    assert f"\n## {fctoolbox.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_every_decision_is_in_the_index():
    folder = REPOSITORY / "docs" / "decisions"
    records = sorted(folder.glob("0*.md"))
    titles = [record.read_text().partition("\n")[0].removeprefix("# ") for record in records]
    assert [title.partition(" ")[0] for title in titles] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record, title in zip(records, titles, strict=True):
        number, _, words = title.partition(" ")
        assert f"| [{number}]({record.name}) | {words} |" in (folder / "README.md").read_text()


# --- the tool that runs the blocks ----------------------------------------------------------------------


def _document(text: str) -> str:
    return textwrap.dedent(text).replace("'''", "```")


def test_a_wrong_output_is_found(blocks, tmp_path):
    text = _document("""
        '''console
        $ echo one two
        one
          two
        $ echo three
        four
        '''
    """)
    assert [output.as_said for output in blocks.run_document(text, tmp_path, kind="plain")] == [True, False]


@pytest.mark.parametrize(
    ("expected", "as_said"),
    [("one … four", True), ("…\nfour", True), ("one … five", False), ("one two", False), ("…", True)],
)
def test_an_ellipsis_stands_for_any_text(blocks, expected, as_said):
    assert blocks.Output("", expected, "one two\nthree four\n", 0, 0).as_said is as_said


@pytest.mark.parametrize("command", ["echo Error: one; exit 0", "echo Error: one; exit 1"])
def test_an_error_must_end_with_2(blocks, tmp_path, command):
    text = f"```console\n$ {command}\nError: one\n```\n"
    with pytest.raises(RuntimeError, match=r"ended with [01], not 2"):
        list(blocks.run_document(text, tmp_path, kind="plain"))


def test_python_keeps_its_session_and_files_are_written(blocks, tmp_path):
    text = _document("""
        '''csv a.csv
        1,2
        '''

        '''python
        import pathlib
        rows = pathlib.Path("a.csv").read_text().strip()
        '''

        '''python
        print(rows)
        '''

        '''text
        1,3
        '''

        '''python no-test
        raise RuntimeError
        '''

        '''console mirror
        $ exit 1
        '''
    """)
    outputs = list(blocks.run_document(text, tmp_path, kind="plain"))
    assert [output.as_said for output in outputs] == [False]
    assert "\n```text\n1,2\n```\n" in blocks.rewritten(text, outputs)
