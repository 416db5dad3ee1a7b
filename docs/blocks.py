"""Run the code blocks of a document as its reader would, in one empty folder, and compare what they print.

A block's first line says what it is:

    ```console               commands after "$ ", each followed by what it prints; exit code 2 where that says "Error:"
    ```python                runs in the document's one Python session; a ```text block right after it holds its output
    ```csv NAME              a file that the reader saves; so with any language and name
    ```console mirror        runs only where FCTOOLBOX_MIRROR has the real data
    ```… no-test             is shown only

In an expected output "…" stands for any text, and line breaks count as spaces, so that long lines may be folded.
`python docs/blocks.py FILE.md …` puts into the documents what is printed now.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

DOCS = Path(__file__).resolve().parent
_FENCE = re.compile(r"^```(?P<language>\w+)(?P<words>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (?P<command>.*(?:\\\n.*)*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)
_WIDTH = 110


@dataclass(frozen=True)
class Block:
    """A fenced block: `start` and `end` are the places of its body in the document."""

    language: str
    words: tuple[str, ...]
    body: str
    start: int
    end: int

    @property
    def file(self) -> str:
        """The name of the file that the block shows; empty where it shows none."""
        return next((word for word in self.words if "." in word), "")

    @property
    def kind(self) -> str:
        """ "plain" or "mirror" (needs the real data) for what runs; "file"; "shown" for the rest."""
        if "no-test" in self.words:
            return "shown"
        if self.file:
            return "file"
        if self.language not in ("console", "python"):
            return "shown"
        return "mirror" if "mirror" in self.words else "plain"


@dataclass(frozen=True)
class Output:
    """What a piece of a document printed, beside what the document says."""

    source: str
    expected: str
    printed: str
    start: int
    end: int

    @property
    def as_said(self) -> bool:
        said = ".*".join(re.escape(" ".join(part.split())) for part in self.expected.split("…"))
        return re.fullmatch(said, " ".join(self.printed.split())) is not None


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    return [
        Block(match["language"], tuple(match["words"].split()), match["body"], match.start("body"), match.end("body"))
        for match in _FENCE.finditer(text)
    ]


def run_document(text: str, folder: Path, *, kind: str) -> Iterator[Output]:
    """Run a document's blocks of a kind ("plain" or "mirror") in `folder`; yields each output as it comes.

    Raises
    ------
    RuntimeError
        If a command's exit code is not the one expected.
    """
    session: dict[str, Any] = {"__name__": "__main__"}
    (folder / "docs").symlink_to(DOCS)  # the reader of the README stands in the clone
    blocks = blocks_of(text)
    for number, block in enumerate(blocks):
        if block.kind == "file":
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.body, encoding="utf-8")
        elif block.kind != kind:
            continue
        elif block.language == "console":
            yield from _run_commands(block, folder)
        else:
            printed = _run_python(block.body, session, folder)
            for after in blocks[number + 1 : number + 2]:
                if text[block.end : after.start].split() == ["```", "```text"]:
                    yield Output(block.body, after.body, printed, after.start, after.end)


def _run_commands(block: Block, folder: Path) -> Iterator[Output]:
    packages = folder / ".packages"
    hidden = {"FCTOOLBOX_STRICT"} | (set() if block.kind == "mirror" else {"FCTOOLBOX_MIRROR"})
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment["PYTHONPATH"] = str(packages)
    for match in _COMMAND.finditer(block.body):
        command = match["command"]
        if command.startswith("pip install "):  # into the reader's folder, and without the internet
            command = command.replace("--editable ", "").replace("-e ", "").replace(
                "pip install", f"python -m pip --disable-pip-version-check install --quiet --no-index --no-deps "
                f"--no-build-isolation --target {packages}",
            )  # fmt: skip
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        expected = 2 if re.search(r"^Error: ", match["output"], re.MULTILINE) else 0
        if done.returncode != expected:
            raise RuntimeError(f"$ {command}\nended with {done.returncode}, not {expected}:\n{done.stdout}")
        start = block.start + match.start("output")
        yield Output(command, match["output"], done.stdout, start, start + len(match["output"]))


def _run_python(source: str, session: dict[str, Any], folder: Path) -> str:
    printed = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        mock.patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        os.environ.pop("FCTOOLBOX_MIRROR", None)
        warnings.simplefilter("error")
        exec(compile(source, "<document>", "exec"), session)
    return printed.getvalue()


def rewritten(text: str, outputs: list[Output]) -> str:
    """The document with what its blocks print now, folded; what is still true is left as it is."""
    for output in sorted(outputs, key=lambda each: -each.start):
        if not output.as_said:
            lines = [line for long in output.printed.splitlines() for line in textwrap.wrap(long, _WIDTH) or [""]]
            text = text[: output.start] + "".join(line + "\n" for line in lines) + text[output.end :]
    return text


def main() -> None:
    kinds = ["plain", "mirror"] if "FCTOOLBOX_MIRROR" in os.environ else ["plain"]
    for name in sys.argv[1:]:
        path = Path(name)
        text = path.read_text(encoding="utf-8")
        outputs = []
        for kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                outputs += run_document(text, Path(folder), kind=kind)
        path.write_text(rewritten(text, outputs), encoding="utf-8")
        print(f"{path}: {sum(not output.as_said for output in outputs)} of {len(outputs)} outputs replaced")


if __name__ == "__main__":
    main()
