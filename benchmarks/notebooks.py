"""The notebooks, executed in place as they are committed, and the pictures they open with.

`python -m benchmarks.notebooks 03 07`, or a_ for CLIP in five cells; without numbers all, with solutions and sweeps.

Numbers of the run in a lesson's prose stand as `<!-- run: EXPRESSION:FORMAT -->79.2<!-- . -->`, what Python has between
the braces of an f-string; they are made anew from what the lesson's cells leave.
"""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import click
import nbformat
from PIL import Image

from forgetkit.batch.notebook import execute
from forgetkit.batch.task import parameters_of

ROOT = Path(__file__).resolve().parents[1]
TOOK = re.compile(r"this notebook took (\d+ s on .+)")
NUMBER = re.compile(r"(<!-- run: (.+?) -->)[^<]*(<!-- \. -->)", re.S)


def execute_committed(path: Path) -> None:
    """Execute a notebook in place, also if it fails, as it is committed.

    That is without stderr, times and the machine's name, with pictures of 256 colours and the run's numbers in prose.
    """
    notebook = nbformat.read(path, as_version=4)
    prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = ", ".join(f"f'''{{{found[2]}}}'''" for found in NUMBER.finditer(prose))
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\n\nprint(json.dumps([{asked}]))"))
    nbformat.write(notebook, path)
    try:
        execute(path, path)
    finally:
        notebook = nbformat.read(path, as_version=4)
        outputs = notebook.cells.pop().outputs
        if outputs and outputs[-1].output_type == "stream":  # it came to its end
            with_numbers(notebook, json.loads(outputs[-1].text))
        for cell in notebook.cells:
            cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags" and v}
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
                for output in cell.outputs:
                    if "image/png" in output.get("data", {}):
                        output.data["image/png"] = smaller(output.data["image/png"])
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
        nbformat.write(notebook, path)


def with_numbers(notebook: nbformat.NotebookNode, numbers: list[str]) -> None:
    """Put these into the prose, in the order in which it asks for them."""
    left = iter(numbers)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "markdown"):
        cell.source = NUMBER.sub(lambda found: found[1] + next(left) + found[3], cell.source)


def smaller(encoded: str) -> str:
    """A PNG in base64 brought to 256 colours, where that makes it smaller."""
    data = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    image.quantize(256).save(data, format="png", optimize=True)
    return min(encoded, base64.b64encode(data.getvalue()).decode() + "\n", key=len)


def thumbnail(picture: Path, to: Path) -> None:
    """Write a picture at most 700 pixels wide, in 256 colours."""
    image = Image.open(picture).convert("RGB")
    image.thumbnail((700, 700))
    image.quantize(256).save(to, optimize=True)


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
        execute_committed(path)
        if path.parent != notebooks:
            continue
        tell_time(path)
        cover = notebooks / parameters_of(path)["out"].default / "cover.png"  # the picture a lesson opens with
        if cover.exists():
            thumbnail(cover, pictures / f"{path.stem}.png")


if __name__ == "__main__":
    main()
