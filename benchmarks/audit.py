"""Audits of the methods and of the oracles: `python -m benchmarks.audit`; the rows are `docs/results/audit.csv`.

A row is one figure of one model on test images; what is there already is not computed again. `original`, and the
oracle of a class where one is embedded, are audited as if they were the unlearned model: what an oracle still calls by
the name, finds and separates is what ignorance looks like. limit, alarm: of the unlearned model's audit, beside them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import pandas as pd

from benchmarks.benchmark import all_methods, drawn, unlearned
from benchmarks.rows import Rows, options
from forgetkit.auditing import audit
from forgetkit.models.clip import Clip
from forgetkit.models.loading import load_clip, oracle_of

METHODS = ("default", "paper", "projection", "ga")
SUBGROUPS = (
    *(("class", name) for name in ("cat", "truck", "ship", "frog")),
    ("style", "cat sketches"), ("cluster", "cat 1"), ("coarse", "ship"),
)  # fmt: skip
SEEDS = (0, 1, 2)
KEY = ["method", "kind", "subgroup", "seed"]


def runs(methods: Sequence[str], subgroups: Iterable[tuple[str, str]], seeds: Sequence[int]) -> list[dict]:
    """The key of every run; models that do not depend on a seed run with the first of `SEEDS` alone."""
    found = []
    for seed in seeds:
        for kind, name in subgroups:
            fixed = [m for m in ("original", oracle_of(name)) if m] if seed == SEEDS[0] else []
            found += [{"method": m, "kind": kind, "subgroup": name, "seed": seed} for m in (*fixed, *methods)]
    return found


def measure(clip: Clip, method: str, kind: str, subgroup: str, seed: int, **settings) -> list[dict]:
    """The figures of what a method makes of one subgroup, a row each; settings as `audit` takes them.

    seconds: of the whole audit, the original's and the oracle's part of it included
    """
    sets, oracle = drawn(clip, kind, subgroup, seed), oracle_of(subgroup)
    never = load_clip(oracle, device=clip.device) if oracle else None
    model = never if method == oracle else unlearned(method, clip, sets, seed)[0]
    found = audit(clip, model, sets, oracle=never if method != oracle else None, **settings)
    rows = found.rows[found.rows["model"] == "unlearned"].drop(columns="model").round(4)
    rows = rows.merge(found.table[["measure", "limit", "alarm", "limited_by"]], on="measure")
    return rows.assign(seconds=round(found.seconds, 1)).to_dict("records")


def measure_all(
    clip: Clip, out: Path, methods: Sequence[str] = METHODS, subgroups: Iterable[tuple[str, str]] = SUBGROUPS,
    seeds: Sequence[int] = SEEDS, **settings,
) -> pd.DataFrame:  # fmt: skip
    """All rows, also in the file `out`; resumable."""
    asked, compute = runs(methods, subgroups, seeds), functools.partial(measure, clip, **settings)
    return Rows(out, KEY, clip.device).fill(asked, compute)


@click.command(help=__doc__)
@options("audit.csv")
@click.option("--method", "methods", multiple=True, type=click.Choice(all_methods()), default=METHODS, help="repeat")
@click.option("--subgroup", "names", multiple=True, type=click.Choice([name for _, name in SUBGROUPS]), help="repeat")
@click.option("--seed", "seeds", multiple=True, type=int, default=SEEDS, show_default=True, help="repeat")
def main(device: str, out: Path, methods: tuple[str, ...], names: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    asked = [subgroup for subgroup in SUBGROUPS if not names or subgroup[1] in names]
    table = measure_all(load_clip("mini", device=device), out, methods, asked, seeds)
    wide = table.pivot_table(index=["subgroup", "measure"], columns="method", values="value", sort=False)
    print(wide.round(2).to_string())


if __name__ == "__main__":
    main()
