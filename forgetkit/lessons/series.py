"""The notebooks of the series: executed in place as they are committed, their pictures, links to hosted services."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import forgetkit
from forgetkit.batch.notebook import execute, known_parameters, thumbnail

TOOK = re.compile(r"this notebook took (\d+ s on .+)")
OPEN = "**Open it on a hosted service:**"
INSTALL = """\
# On a hosted service: installs the package, and with it what is missing there. Where it is there, this does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("forgetkit") is None:
    source = "git+https://github.com/{}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)"""


def home(root: Path | None) -> Path:
    """Where `notebooks` lies: in a copy that `forgetkit lab` made, or, for None, in the clone; ValueError without."""
    if root is None and forgetkit.HOME == Path(forgetkit.__file__).parent:
        raise ValueError("There is no clone: copy the lessons with `forgetkit lab --no-open DIR`, and give --dir DIR.")
    return (root or forgetkit.HOME).resolve()


def execute_in_place(root: Path | None = None, numbers: Sequence[str] = ()) -> None:
    """Execute the lessons, solutions and sweeps below `root/notebooks`; their covers go to `root/docs/figures`.

    root: as `home` takes it; numbers: such as ["02", "05"]; all, if there are none
    Raises ValueError where there is no clone, or no notebook begins with one of the numbers;
    papermill.PapermillExecutionError where a cell fails.
    """
    root = home(root)
    notebooks, pictures = root / "notebooks", root / "docs/figures"
    every = [path for below in (".", "solutions", "sweeps") for path in (notebooks / below).glob("*.ipynb")]
    found = [path for path in sorted(every) if not numbers or path.name[:2] in numbers]
    if not found:
        raise ValueError(f"No notebook in {notebooks} begins with {' or '.join(numbers) or 'a number'}.")
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


def link(address: str, root: Path | None = None) -> list[Path]:
    """Give each lesson links that open it on hosted services, and a first code cell that installs what they lack.

    address: OWNER/REPO on GitHub, whose branch main is what the services read; root: as `home` takes it. A lesson that
    has links gets these instead; nothing is executed. Raises ValueError for another form of address.
    """
    import nbformat

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", address):
        raise ValueError(f"{address} is no OWNER/REPO, such as someone/forgetkit.")
    found = sorted((home(root) / "notebooks").glob("*.ipynb"))
    for path in found:
        lesson, at = nbformat.read(path, as_version=4), f"notebooks/{path.name}"
        colab = f"[Colab](https://colab.research.google.com/github/{address}/blob/main/{at})"
        binder = f"[Binder](https://mybinder.org/v2/gh/{address}/main?labpath={at})"
        title, _, rest = re.sub(rf"{re.escape(OPEN)}.*\n\n", "", lesson.cells[0].source).partition("\n\n")
        lesson.cells[0].source = f"{title}\n\n{OPEN} {colab} · {binder}\n\n{rest}"
        others = [cell for cell in lesson.cells if cell.id != "install"]
        install = nbformat.v4.new_code_cell(INSTALL.format(address), id="install", metadata={"tags": ["install"]})
        lesson.cells = [others[0], install, *others[1:]]
        nbformat.write(lesson, path)
    return found
