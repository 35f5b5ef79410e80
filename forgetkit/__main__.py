"""Command line: `python -m forgetkit fetch | run | notebooks` (see `--help`)."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pandas as pd

from forgetkit.data.sets import SETS, DataError, cache_folder, load_parts
from forgetkit.models.clip import ModelError
from forgetkit.recipe import Recipe
from forgetkit.subgroups import Subgroup

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def fetch() -> None:
    """Bring every set of the tutorial into the cache."""
    for name in SETS:
        parts = load_parts(name)
        print(f"{name}: " + ", ".join(f"{len(p)} {part}" for part, p in parts.items()))
    print(f"cached in {cache_folder()}")


def run(target: str, seed: int, recipe: str, device: str, out: Path) -> None:
    """Execute notebooks/00_quickstart.ipynb with these parameters; leave it, its figures and its table in `out`."""
    import papermill

    from forgetkit.batch.notebook import execute

    Subgroup.within(target)  # a wrong name is told before anything starts
    Recipe.named(recipe)
    notebook = NOTEBOOKS / "00_quickstart.ipynb"
    if not notebook.exists():
        raise DataError(
            f"There is no {notebook}: run this from a clone of the repository, installed with `pip install -e .`."
        )
    fetch()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        parameters = {"target": target, "seed": seed, "recipe": recipe, "device": device, "out": str(out)}
        execute(notebook, out / notebook.name, parameters)
    except papermill.PapermillExecutionError as error:
        raise SystemExit(
            f"The notebook stopped in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"It is kept, with the full traceback, in {out / notebook.name}."
        ) from None
    print(pd.read_csv(out / "table.csv").to_string(index=False))
    print(f"Executed notebook, figures and table.csv are in {os.path.relpath(out)}.")


def notebooks(names: list[str]) -> None:
    """Execute notebooks in place, as they are committed; `names` such as 02, or all of them with their solutions."""
    from forgetkit.batch.notebook import execute, thumbnail

    found = [path for path in sorted(NOTEBOOKS.rglob("[0-9]*.ipynb")) if not names or path.name[:2] in names]
    if not found:
        raise DataError(f"No notebook in {NOTEBOOKS} begins with {' or '.join(names)}.")
    for path in found:
        execute(path)
        cover = NOTEBOOKS.parent / "runs" / path.stem / "cover.png"  # the picture a lesson opens with
        if path.parent == NOTEBOOKS and cover.exists():
            thumbnail(cover, NOTEBOOKS.parent / "docs/figures" / f"{path.stem}.png")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m forgetkit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help=fetch.__doc__)
    sub = commands.add_parser("run", help=run.__doc__)
    sub.add_argument("--recipe", default="default", help="default or paper")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    sub.add_argument("--target", default="cat", help="a class of CIFAR-10")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, default=Path("runs/quickstart"))
    sub = commands.add_parser("notebooks", help=notebooks.__doc__)
    sub.add_argument("names", nargs="*")
    args = vars(parser.parse_args(argv))
    try:
        globals()[args.pop("command")](**args)
    except (DataError, ModelError, ValueError) as error:
        sys.exit(f"forgetkit: {error}")


if __name__ == "__main__":
    main()
