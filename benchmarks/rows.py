"""Result rows in a CSV file that is whole at every moment, and the options of the commands that make them.

An interrupted command goes on where it was: what its file holds is not computed again.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import click
import open_clip
import pandas as pd
import torch
from tqdm import tqdm

from forgetkit.evaluation import score
from forgetkit.lessons.committed import RESULTS
from forgetkit.models.clip import describe


def options(file: str) -> Callable:
    """The options of the commands of one file: `--device`, and `--out`, which is docs/results/FILE unless given."""
    device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps")
    path = click.Path(path_type=Path, dir_okay=False)
    out = click.option("--out", type=path, default=RESULTS / file, show_default=True, help="where the rows are kept")
    return lambda command: device(out(command))


def combinations(**values: Sequence) -> list[dict]:
    """Every combination of the values of these names; the last name's vary fastest."""
    return [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]


def sampled(n: int, **values: Sequence) -> list[dict]:
    """n random combinations of the values of these names."""
    draw = random.Random(0)
    return [{name: draw.choice(of) for name, of in values.items()} for _ in range(n)]


class Rows:
    """The rows in `file`, so far in `table`; a run, of one row or several, is told by its values in the columns `key`.

    device: where they are computed; every new row names it, and the versions of torch and open_clip.
    order: runs in the order in which the file has their rows, whenever they end; else as they are added
    """

    def __init__(self, file: Path, key: Sequence[str], device: torch.device, order: Iterable[Mapping] = ()):
        self.file, self.key = file, [*key]
        self.where = {"torch": torch.__version__, "open_clip": open_clip.__version__, "device": describe(device)}
        self.table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=self.key)
        self.order = {tuple(run[name] for name in self.key): i for i, run in enumerate(order)}

    def keys(self) -> list[tuple]:
        """The run of every row."""
        return [*self.table[self.key].itertuples(index=False, name=None)]

    def records(self) -> list[dict]:
        """Every row as what it holds."""
        return [{k: v for k, v in row.items() if pd.notna(v)} for row in self.table.to_dict("records")]

    def __contains__(self, names: Mapping) -> bool:
        return tuple({**self.where, **names}[column] for column in self.key) in set(self.keys())

    def fill(self, runs: Iterable[dict], compute: Callable[..., Iterable[dict]]) -> pd.DataFrame:
        """Add the rows compute(**names) of each run, `names` being the values of its key, that has none; the table."""
        for names in tqdm([*runs], unit="run"):
            if names not in self:
                self.add(*({**names, **row} for row in compute(**names)))
        return self.table

    def add(self, *rows: dict) -> None:
        """Add the rows of runs, in the place of those that these runs had, and replace the file in one step."""
        if not rows:
            return
        rows = [{**self.where, **row} for row in rows]
        new = {tuple(row[name] for name in self.key) for row in rows}
        self.keep([row for key, row in zip(self.keys(), self.records()) if key not in new] + rows)

    def keep(self, rows: list[dict]) -> None:
        """Make these all rows that there are, in their order, and replace the file in one step."""
        rows = sorted(rows, key=lambda row: self.order.get(tuple(row[name] for name in self.key), 0))
        found = dict.fromkeys(name for row in rows for name in row)
        last = [name for name in ("made_by", *self.where) if name in found]
        self.table = pd.DataFrame(rows, columns=[*(name for name in found if name not in last), *last] or self.key)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        half = self.file.with_suffix(".part")
        self.table.to_csv(half, index=False)
        os.replace(half, self.file)


def measured(found: Mapping[str, float], original: Mapping[str, float] | None) -> dict[str, float | None]:
    """A row's accuracies and, where there is an original to compare with, the Score; percent, three digits."""
    rounded = {name: round(value, 3) for name, value in found.items()}
    return {**rounded, "score": round(score(found, original), 3) if original else None}
