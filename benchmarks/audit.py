"""Audits of the methods and of the oracles: `python -m benchmarks.audit`; the rows are `docs/results/audit.csv`.

A row is one figure of one model on test images; what is there already is not computed again. `original`, and the
oracle of a class where one is embedded, are audited as if they were the unlearned model: what an oracle still calls by
the name, finds and separates is what ignorance looks like. limit, alarm: of the unlearned model's audit, beside them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import pandas as pd
from tqdm import tqdm

from benchmarks.benchmark import all_methods, drawn, unlearned
from benchmarks.rows import Rows, options
from forgetkit.auditing import audits, depth
from forgetkit.data.tutorial import own_styles
from forgetkit.models.clip import Clip
from forgetkit.models.loading import load_clip, oracle_of

METHODS = ("default", "paper", "projection", "ga", "salun")
SUBGROUPS = (
    *(("class", name) for name in ("cat", "truck", "ship")), ("coarse", "ship"),
)  # fmt: skip
SEEDS = (0,)
KEY = ["method", "kind", "subgroup", "seed"]


def measure(clip: Clip, methods: Sequence[str], kind: str, subgroup: str, seed: int, **settings) -> list[dict]:
    """The figures of what each method makes of one subgroup, a row each; settings as `audits` takes them.

    Original and oracle, attacked once for all methods, have rows of their own with the first of `SEEDS`. Where there is
    an oracle, every block of the tower is asked, too: measures "probe at layer4.1" and so on.
    seconds: of the audit, its part of the original's and the oracle's included
    """
    sets, oracle = drawn(clip, kind, subgroup, seed), oracle_of(subgroup)
    never = load_clip(oracle, device=clip.device) if oracle else None
    models = {method: unlearned(method, clip, sets, seed)[0] for method in methods}
    if seed == SEEDS[0]:
        models |= {"original": clip, **({oracle: never} if oracle else {})}
    styles = own_styles(subgroup) if kind == "class" else {}
    rows = []
    for method, found in audits(clip, models, sets, oracle=never, styles=styles, **settings).items():
        own = found.rows[found.rows["model"] == "unlearned"].drop(columns="model").round(4)
        own = own.merge(found.table[["measure", "limit", "alarm", "limited_by"]], on="measure")
        own = own.assign(method=method, kind=kind, subgroup=subgroup, seed=seed, seconds=round(found.seconds, 1))
        rows += own[[*KEY, *own.columns.drop(KEY)]].to_dict("records")
    blocks = depth({"original": clip, **models}, sets) if oracle else pd.DataFrame()
    for row in blocks.to_dict("records"):
        block, method = row.pop("block"), row.pop("model")
        row |= {"measure": f"{row['measure']} at {block}", "unit": "%"}
        rows += (
            [{"method": method, "kind": kind, "subgroup": subgroup, "seed": seed, **row}] if method in models else []
        )
    return rows


def measure_all(
    clip: Clip, out: Path, methods: Sequence[str] = METHODS, subgroups: Iterable[tuple[str, str]] = SUBGROUPS,
    seeds: Sequence[int] = SEEDS, **settings,
) -> pd.DataFrame:  # fmt: skip
    """All rows, also in the file `out`; resumable."""
    rows = Rows(out, KEY, clip.device)
    for seed, (kind, name) in tqdm([*itertools.product(seeds, subgroups)], unit="subgroup"):
        where = {"kind": kind, "subgroup": name, "seed": seed}
        if missing := [method for method in methods if {"method": method, **where} not in rows]:
            rows.add(*(row for row in measure(clip, missing, **where, **settings) if row not in rows))
    return rows.table


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
