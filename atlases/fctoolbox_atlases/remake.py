"""What all build scripts do alike: a table as text, and a command that writes it."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def table_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as the text of a TSV file."""
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()


def remake(atlas: str, build: Callable[[], str], table: Path) -> None:
    """Write the table that a script builds; the script's command line.

    Parameters
    ----------
    atlas : str
    build : callable
        Returns the text of the table.
    table : Path
        Where it belongs in the package.
    """
    parser = argparse.ArgumentParser(description=f"Remake the region table of the atlas {atlas}.")
    parser.add_argument("--mirror", help="folder with copies of the files (default: FCTOOLBOX_MIRROR)")
    parser.add_argument("--out", type=Path, default=table, help="where to write (default: into the package)")
    arguments = parser.parse_args()
    if arguments.mirror:
        os.environ["FCTOOLBOX_MIRROR"] = arguments.mirror
    text = build()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8", newline="\n")
    sys.stdout.write(f"{arguments.out}: {text.count(chr(10)) - 1} rows, {len(text.encode()):,} bytes\n")
