"""The notebooks of the series, executed in place as they are committed, and the pictures they open with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import forgetkit
from forgetkit.batch.notebook import execute, known_parameters, thumbnail
from forgetkit.tutorial import figures

TOOK = re.compile(r"this notebook took (\d+ s on .+)")


def execute_in_place(root: Path | None = None, numbers: Sequence[str] = ()) -> None:
    """Execute the lessons, solutions and sweeps below `root/notebooks`; their covers go to `root/docs/figures`.

    root: a copy that `forgetkit lab` made; None: the clone
    numbers: such as ["02", "05"]; all, if there are none
    Raises ValueError where there is no clone, or no notebook begins with one of the numbers;
    papermill.PapermillExecutionError where a cell fails.
    """
    if root is None and forgetkit.HOME == Path(forgetkit.__file__).parent:
        raise ValueError("There is no clone: copy the lessons with `forgetkit lab --no-open DIR`, and give --dir DIR.")
    root = (root or forgetkit.HOME).resolve()
    notebooks, pictures = root / "notebooks", root / "docs/figures"
    every = [path for below in (".", "solutions", "sweeps") for path in (notebooks / below).glob("*.ipynb")]
    found = [path for path in sorted(every) if not numbers or path.name[:2] in numbers]
    if not found:
        raise ValueError(f"No notebook in {notebooks} begins with {' or '.join(numbers) or 'a number'}.")
    figures.use_style()
    figures.save(figures.towers(), pictures, "towers")
    thumbnail(pictures / "towers.png", pictures / "towers.png")
    for here in ("", *figures.STAGES):  # the picture of the method, and in it where the reader is
        picture = pictures / (f"story_{here}.png" if here else "story.png")
        figures.save(figures.story(here), pictures, picture.stem)
        thumbnail(picture, picture)
    for path in found:
        execute(path)
        if path.parent != notebooks:
            continue
        tell_time(path)
        cover = notebooks / known_parameters(path)["out"].strip("'") / "cover.png"  # the picture a lesson opens with
        if cover.exists():
            thumbnail(cover, pictures / f"{path.stem}.png")


def tell_time(path: Path) -> None:
    """Write what the last line of an executed lesson says, its seconds and the machine, into its first cell."""
    import nbformat

    lesson = nbformat.read(path, as_version=4)
    printed = "".join(output.get("text", "") for cell in lesson.cells for output in cell.get("outputs", []))
    if took := TOOK.search(printed):
        lesson.cells[0].source = re.sub(r"\*T(akes|ook) [^;.]*", f"*Took {took[1]}", lesson.cells[0].source, count=1)
        nbformat.write(lesson, path)
