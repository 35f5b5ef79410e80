"""Result rows in a CSV file that is whole at every moment, what is computed from them, and the options of commands.

An interrupted command goes on where it was: what its file holds is not computed again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import open_clip
import pandas as pd
import torch
from tqdm import tqdm

from forgetkit.evaluation import TARGET, score
from forgetkit.lessons.committed import ACCURACIES, RESULTS
from forgetkit.models.clip import describe

# What a linear probe would keep of the siblings for as much of the target, and leave of that for as many siblings:
BY_A_PLANE, LEFT_BY_A_PLANE = "retain by a plane", "target by a plane"  # `benchmarks.limit`


def options(file: str) -> Callable:
    """The options of every command in `benchmarks`: `--device`, and `--out`, docs/results/FILE unless given."""
    device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps")
    path = click.Path(path_type=Path, dir_okay=False)
    out = click.option("--out", type=path, default=RESULTS / file, show_default=True, help="where the rows are kept")
    return lambda command: device(out(command))


def combinations(**values: Sequence) -> list[dict]:
    """Every combination of the values of these names; the last name's vary fastest."""
    return [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]


class Rows:
    """The rows in `file`, so far in `table`; a row is told by its values in the columns `key`.

    device: where they are computed; every new row names it, and the versions of torch and open_clip.
    """

    def __init__(self, file: Path, key: Sequence[str], device: torch.device):
        self.file, self.key = file, [*key]
        self.where = {"torch": torch.__version__, "open_clip": open_clip.__version__, "device": describe(device)}
        self.table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=self.key)

    def __contains__(self, names: Mapping) -> bool:
        found = self.table[self.key].itertuples(index=False, name=None)
        return tuple({**self.where, **names}[column] for column in self.key) in set(found)

    def fill(self, runs: Iterable[dict], compute: Callable[..., Iterable[dict]]) -> pd.DataFrame:
        """Add the rows compute(**names) of each run, `names` being the values of its key, that has none; the table."""
        for names in tqdm([*runs], unit="run"):
            if names not in self:
                self.add(*({**names, **row} for row in compute(**names)))
        return self.table

    def add(self, *rows: dict) -> None:
        """Append rows, and replace the file in one step."""
        if rows:
            new = pd.DataFrame([{**self.where, **row} for row in rows])
            new = new[[*new.columns.drop([*self.where]), *self.where]]
            self.table = pd.concat([self.table, new], ignore_index=True) if len(self.table) else new
            self.file.parent.mkdir(parents=True, exist_ok=True)
            half = self.file.with_suffix(".part")
            self.table.to_csv(half, index=False)
            os.replace(half, self.file)


def measured(found: Mapping[str, float], original: Mapping[str, float] | None) -> dict[str, float | None]:
    """A row's accuracies and, where there is an original to compare with, the Score; percent, three digits."""
    rounded = {name: round(value, 3) for name, value in found.items()}
    return {**rounded, "score": round(score(found, original), 3) if original else None}


def over_seeds(rows: pd.DataFrame) -> str:
    """The mean Score, and the standard deviation among the means of its seeds where there are several."""
    means = rows.groupby("seed")["score"].mean()
    return f"{means.mean():.1f}" + (f" ± {means.std():.1f}" if len(means) > 1 else "")


def trade_off(path: pd.DataFrame) -> pd.DataFrame:
    """A path from the original as `target` (what is left) and `kept` (mean of the rest), in percent of the original.

    path: accuracies by `alpha`; alpha 0 is the original. As in the Score, what a column gains does not count.
    """
    path = path.sort_values("alpha")[[name for name in ACCURACIES if name in path]]
    ratio = 100 * path / path.iloc[0]
    return pd.DataFrame({TARGET: ratio[TARGET], "kept": ratio.drop(columns=TARGET).clip(upper=100).mean(axis=1)})


def kept_at_target(curve: pd.DataFrame, level: float) -> float:
    """What a `trade_off` keeps where its target first falls to `level` percent, interpolated; NaN if it never does."""
    below = np.flatnonzero(curve[TARGET] <= level)
    if not len(below):
        return np.nan
    ends = curve.iloc[max(below[0] - 1, 0) : below[0] + 1].sort_values(TARGET)
    return float(np.interp(level, ends[TARGET], ends["kept"]))
