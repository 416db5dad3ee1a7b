"""Write docs/gallery from the pages of ``fctoolbox reproduce``: ``python docs/build_gallery.py OUT``.

For each page in OUT: its claim, what was found, and one small picture. The pages themselves hold all pictures, tables
and statistics; they are made anew with the command that the gallery names, and not kept here.
"""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from PIL import Image

FIGURES = ("fig1", "fig2", "fig3", "figS1", "figS4", "figS5", "figS7", "figS8")
# The picture that shows the answer; of other pages the first.
SHOWN = {"fig1": "lesions", "figS1": "lesions", "fig3": "training-r"}
WIDE, NARROW = 900, 460  # pixels
GALLERY = Path(__file__).parent / "gallery"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", type=Path, help="the folder of `fctoolbox reproduce ... --out FOLDER`")
    parser.add_argument("--into", type=Path, default=GALLERY)
    arguments = parser.parse_args()
    found = [name for name in FIGURES if (arguments.pages / f"{name}.json").is_file()]
    if not found:
        parser.error(f"{arguments.pages} has no page; first: fctoolbox reproduce fig1 --quick --out {arguments.pages}")
    arguments.into.mkdir(parents=True, exist_ok=True)
    for old in arguments.into.glob("*.png"):
        old.unlink()
    pages = {name: json.loads((arguments.pages / f"{name}.json").read_text(encoding="utf-8")) for name in found}
    quick = sorted({is_quick(page) for page in pages.values()})
    if len(quick) > 1:
        parser.error(f"{arguments.pages} has pages made with --quick and without; make all of them alike")
    sections = [section(name, page, arguments.pages, arguments.into) for name, page in pages.items()]
    text = "\n\n".join([introduction(found, quick=quick[0]), *sections])
    (arguments.into / "README.md").write_text(f"{text}\n", encoding="utf-8")


def is_quick(page: dict[str, Any]) -> bool:
    return "--quick" in shlex.split(page["provenance"]["command"])


def command(*names: str, quick: bool) -> str:
    return shlex.join(["fctoolbox", "reproduce", *names, *["--quick"] * quick, "--out", "out"])


def introduction(found: list[str], *, quick: bool) -> str:
    size = (
        "with few networks, nulls and draws; without `--quick` there are more of all."
        if quick
        else "with 100 networks, which takes most of an hour on two processors; with `--quick` there are 8, in two "
        "minutes, and what they find is less sure."
    )
    return (
        "# Figures of the paper, found again\n\n"
        "Tanner et al. 2023, [arXiv:2310.20601](https://arxiv.org/abs/2310.20601): what it claims, in our words, and "
        "what was found here, whatever it is. These are the pages of\n\n"
        f"```console no-test\n$ {command(*found, quick=quick)}\n```\n\n"
        f"{size} This page is written by `python docs/build_gallery.py out`."
    )


def section(name: str, page: dict[str, Any], pages: Path, into: Path) -> str:
    captions = {panel["name"]: panel["caption"] for panel in page["panels"]}
    shown = SHOWN.get(name, next(iter(captions)))
    shown = shown if shown in captions else next(iter(captions))
    small_copy(pages / "figures" / f"{name}-{shown}.png", into / f"{name}.png")
    caption = sentence(captions[shown])
    answer, *more = page["found"]
    synthetic = ["*Synthetic data stand for real ones here; they are no finding.*"] if page["synthetic"] else []
    return (
        "\n\n".join(
            [
                f"## {name}: {page['title']}",
                *synthetic,
                f"**Claim.** {sentence(page['claim'])}",
                f"**Found.** {sentence(answer)}",
                *(f"- {sentence(each)}" for each in more),
                f"![{caption}]({name}.png)",
                f"*{caption}* Again: `{command(name, quick=is_quick(page))}`",
            ]
        )
        .replace("\n\n- ", "\n- ")
        .replace("\n- ", "\n\n- ", 1)
    )


def sentence(text: str) -> str:
    """The text as Markdown: signs that would be read as marks are kept as they are."""
    for sign in "*_|<":
        text = text.replace(sign, f"\\{sign}")
    return text[0].upper() + text[1:]


def small_copy(picture: Path, copy: Path) -> None:
    """At most some 40 KB: a few colours are enough, and those of small points are among them."""
    with Image.open(picture) as image:
        width = WIDE if image.width > 1.6 * image.height else NARROW
        height = round(image.height * width / image.width)
        small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        small.quantize(128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(copy, optimize=True)


if __name__ == "__main__":
    main()
