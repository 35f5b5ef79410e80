"""Tables, numbers and figures of README, docs and lessons, made from rows: `python -m benchmarks.tables` rewrites them.

A block `<!-- table: NAME -->` ... `<!-- end -->` holds what the table NAME makes of `docs/results`; numbers in prose
are made by `values`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import nbformat
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import figures
from benchmarks.tables import audits, card, goals, made, methods, studies  # noqa: F401  (they register tables)
from benchmarks.tables.values import filled
from forgetkit.lessons.committed import RESULTS
from forgetkit.lessons.figures import save, score_strips, use_style
from forgetkit.models.loading import EMBEDDED

PAGES = ("README.md", "docs/*.md", "docs/results/README.md", "forgetkit/models/mini/README.md", "notebooks/*.ipynb")
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)


def pictures(results: Path) -> dict[str, Figure]:
    """The figures of the docs, by name: those whose rows are there."""
    use_style()
    drawn = {  # by name: the file of rows, and what is drawn of them
        "benchmark": ("benchmark", lambda rows: score_strips(methods.whole_methods(rows))),
        "depth": ("benchmark", lambda rows: figures.score_and_depth(methods.whole_methods(rows))),
    }
    records = {file.stem: json.loads(file.with_suffix(".training.json").read_text()) for file in EMBEDDED.values()}
    there = {name: (results / f"{file}.csv", draw) for name, (file, draw) in drawn.items()}
    found = {name: draw(pd.read_csv(file)) for name, (file, draw) in there.items() if file.exists()}
    return {**found, "pretraining": figures.pretraining(records)}


def render(text: str, results: Path, page: str = "") -> str:
    """The text with every table and number made anew from the rows; page: its name, for what is refused."""
    return filled(BLOCK.sub(lambda m: m[1] + made(m[2], results) + "\n" + m[3], text), results, page)


def pages(root: Path) -> list[Path]:
    """The pages and lessons of `PAGES` that hold a table or a number."""
    found = [file for pattern in PAGES for file in sorted(root.glob(pattern))]
    return [file for file in found if re.search(r"<!-- (table:|=) ", file.read_text(encoding="utf-8"))]


def rendered(page: Path, results: Path) -> str:
    """The page's text, or the lesson's JSON, made anew."""
    if page.suffix == ".md":
        return render(page.read_text(encoding="utf-8"), results, page.name)
    lesson = nbformat.read(page, as_version=4)
    for cell in (cell for cell in lesson.cells if cell.cell_type == "markdown"):
        cell.source = render(cell.source, results, page.name)
    return nbformat.writes(lesson) + "\n"


@click.command(help=__doc__)
def main() -> None:
    root = Path(__file__).resolve().parents[2]
    for page in pages(root):
        page.write_text(rendered(page, root / RESULTS), encoding="utf-8")
    for name, figure in pictures(root / RESULTS).items():
        save(figure, root / "docs/figures", name)


if __name__ == "__main__":
    main()
