"""What a GPU makes of `forgetkit run` (notebook 00) and of `benchmarks.results`, in ten minutes: `make gpu`.

Writes docs/results/cuda.csv, a line a run, with what the committed rows have of it beside. Without a GPU it can be
tried in small: `make gpu DEVICE=cpu SMALL=1`, whose line goes to runs/gpu alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import pandas as pd

from benchmarks.benchmark import KEY
from forgetkit.lessons.committed import RESULTS, committed
from forgetkit.models.clip import describe, pick_device

OUT = Path("runs/gpu")
MINUTES = 7  # in which new runs of the results begin: with the quickstart, and the last ones, ten
SMALL = ("--method", "original", "--method", "projection", "--subgroup", "truck sketches")


def beside(found: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Score, target and seconds of the benchmark's rows in `found`, and in columns `committed ...` those of `known`."""
    shown = ["score", "target", "seconds"]
    both = found.merge(known[[*KEY, *shown]], on=KEY, how="left", suffixes=("", " committed"))
    return both[[*KEY, *shown, *(f"{name} committed" for name in shown), "torch", "device"]]


@click.command(help=__doc__)
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:1 or mps; cpu with --small alone")
@click.option("--small", is_flag=True, help="a subgroup and two methods")
def main(device: str, small: bool) -> None:
    where = pick_device(device)
    if where.type == "cpu" and not small:
        raise click.ClickException("There is no GPU here: try it in small with `make gpu DEVICE=cpu SMALL=1`.")
    start, name = time.monotonic(), str(where)
    run = [sys.executable, "-m", "forgetkit", "run", "--device", name, "--out", str(OUT / "quickstart")]
    subprocess.run(run, check=True)
    took = round(time.monotonic() - start, 1)
    rows = [sys.executable, "-m", "benchmarks.results", "--only", "benchmark", "--device", name]
    rows += ["--folder", str(OUT / "results"), "--minutes", str(MINUTES), *(SMALL if small else ())]
    subprocess.run(rows, check=True)
    table = beside(pd.read_csv(OUT / "results/benchmark.csv"), committed("benchmark"))
    quickstart = {"method": "forgetkit run", "kind": "class", "subgroup": "cat", "seed": 0, "seconds": took}
    told = pd.concat([pd.DataFrame([quickstart | {"device": describe(where)}]), table])
    told.to_csv(OUT / "cuda.csv" if small else RESULTS / "cuda.csv", index=False)
    click.echo(told.to_string(index=False))


if __name__ == "__main__":
    main()
