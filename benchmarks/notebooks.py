"""The notebooks, executed in place as they are committed, and the pictures they open with.

`python -m benchmarks.notebooks 02 05`, or a_ for CLIP in five cells; without numbers all, with solutions and sweeps.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import nbformat

from forgetkit.batch.notebook import execute, known_parameters, thumbnail

ROOT = Path(__file__).resolve().parents[1]
TOOK = re.compile(r"this notebook took (\d+ s on .+)")


def tell_time(path: Path) -> None:
    """Write what the last line of an executed lesson says, its seconds and the machine, into its first cell."""
    lesson = nbformat.read(path, as_version=4)
    printed = "".join(output.get("text", "") for cell in lesson.cells for output in cell.get("outputs", []))
    if took := TOOK.search(printed):
        lesson.cells[0].source = re.sub(r"\*T(akes|ook) [^;.]*", f"*Took {took[1]}", lesson.cells[0].source, count=1)
        nbformat.write(lesson, path)


@click.command(help=__doc__)
@click.argument("numbers", nargs=-1)
def main(numbers: tuple[str, ...]) -> None:
    notebooks, pictures = ROOT / "notebooks", ROOT / "docs/figures"
    every = [path for below in (".", "solutions", "sweeps") for path in (notebooks / below).glob("*.ipynb")]
    found = [path for path in sorted(every) if not numbers or path.name[:2] in numbers]
    if not found:
        raise click.UsageError(f"no notebook begins with {' or '.join(numbers)}.")
    for path in found:
        execute(path)
        if path.parent != notebooks:
            continue
        tell_time(path)
        cover = notebooks / known_parameters(path)["out"].strip("'") / "cover.png"  # the picture a lesson opens with
        if cover.exists():
            thumbnail(cover, pictures / f"{path.stem}.png")


if __name__ == "__main__":
    main()
