"""The results of a sweep as one tidy table, its summary and its figures.

A row is a row of a run's `table.csv`, with the run's parameters before it; a run that left no table, or failed, has one
row. A column of such a table whose name is taken, by a parameter or one of `RUN`, gets `table_` in front.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from forgetkit.batch.worker import TABLE, read

CSV, PARQUET = "results.csv", "results.parquet"
RUN = ("run", "task", "status", "error", "seconds", "peak_mb", "commit")
MOST = 12  # different words in a column by which a summary groups unasked


def gather(folder: str | Path, write: bool = False) -> pd.DataFrame:
    """The tidy table of all runs in a sweep's folder; kept there as CSV and Parquet, too, if asked to `write`.

    `table.attrs["parameters"]` names the columns that are parameters. Raises ValueError where there is no such folder.
    """
    folder, frames, parameters = Path(folder), [], {}
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    for run in sorted(folder.glob("*-*")):
        if result := read(run):
            frames.append(_rows(run, result))
            parameters |= result["parameters"]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(RUN))
    for name in table:  # numbers and words in one column: words, in either file
        if pd.api.types.infer_dtype(table[name], skipna=True) in ("mixed", "mixed-integer"):
            table[name] = table[name].map(str, na_action="ignore")
    table.attrs["parameters"] = list(parameters)
    if write:
        _replace(folder / CSV, lambda half: table.to_csv(half, index=False))
        _replace(folder / PARQUET, lambda half: table.to_parquet(half, index=False))
    return table


def _rows(run: Path, result: dict) -> pd.DataFrame:
    plain = lambda v: json.dumps(v) if isinstance(v, (list, dict)) else v
    parameters = {name: plain(value) for name, value in result["parameters"].items()}
    first = {"run": run.name, "task": result["task"], **parameters}
    last = {"status": result["status"], "error": result.get("error"), **{k: result[k] for k in RUN[4:]}}
    taken = {*first, *RUN}
    rows = pd.DataFrame()
    if result["status"] == "done" and (run / TABLE).exists() and (run / TABLE).read_text().strip():
        rows = pd.read_csv(run / TABLE)
        rows = rows.rename(columns={name: f"table_{name}" for name in rows if name in taken})
    rows = rows if len(rows) else pd.DataFrame(index=[0])
    return pd.concat([pd.DataFrame([first] * len(rows)), rows, pd.DataFrame([last] * len(rows))], axis=1)


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    half = path.with_name(f".{os.getpid()}-{path.name}")
    write(half)
    os.replace(half, path)


# --------------------------------------------------------------------------------------------------
# Summary


def describe(table: pd.DataFrame) -> str:
    """How many runs there are, what became of them, and what they cost."""
    runs = table.drop_duplicates("run")
    counts = ", ".join(f"{n} {status}" for status, n in runs["status"].value_counts().items())
    text = f"{len(runs)} runs: {counts or 'none finished'}"
    if len(runs):
        text += f"; {runs['seconds'].median():.0f} s and {runs['peak_mb'].median():.0f} MB each (median)"
    if len(commits := runs["commit"].fillna("no commit").unique()) > 1:
        text += f"\nThey come from {len(commits)} states of the code: {', '.join(commits)}."
    return text


def columns(
    table: pd.DataFrame, by: list[str] | None = None, values: list[str] | None = None
) -> tuple[list[str], list[str]]:
    """What to group by, and what to average, where nothing is asked for.

    by:     parameters that vary, except the seed, and columns of few words in the runs' own tables
    values: the numbers in the runs' own tables

    Raises ValueError for a column that is not there, or a value that is no number.
    """
    for name in [*(by or []), *(values or [])]:
        if name not in table:
            raise ValueError(f"There is no column {name!r}. There are: {', '.join(table.columns)}.")
    own = [name for name in table if name not in table.attrs["parameters"] and name not in RUN]
    numbers = [n for n in own if pd.api.types.is_numeric_dtype(table[n]) and not pd.api.types.is_bool_dtype(table[n])]
    if by is None:
        varying = [name for name in table.attrs["parameters"] if table[name].nunique() > 1 and name != "seed"]
        tasks = ["task"] if table["task"].nunique() > 1 else []
        words = [name for name in own if name not in numbers and 1 < table[name].nunique() <= MOST]
        by = [*tasks, *varying, *words]
    for name in values or []:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"{name} is no column of numbers.")
    values = [n for n in numbers if n not in by] if values is None else values
    if not values:
        raise ValueError("No run that is done left a table with numbers: there is nothing to sum up.")
    return by, values


def summarise(table: pd.DataFrame, by: list[str], values: list[str], digits: int = 1) -> pd.DataFrame:
    """Mean ± standard deviation of the values over the runs that are done, and their number n, by the columns `by`."""
    table = table[table["status"] == "done"]
    groups = table.groupby(by, dropna=False, sort=False) if by else table.groupby(lambda _: "all")
    mean, sd, n = groups[values].mean(), groups[values].std(), groups["run"].nunique()
    text = {
        name: [f"{m:.{digits}f}" + ("" if pd.isna(s) else f" ± {s:.{digits}f}") for m, s in zip(mean[name], sd[name])]
        for name in values
    }
    return pd.DataFrame(text, index=mean.index).assign(n=n)


def draw(table: pd.DataFrame, by: list[str], values: list[str], folder: Path) -> list[Path]:
    """A figure a value, saved in `folder`: every run, and mean ± standard deviation."""
    import matplotlib.pyplot as plt

    from forgetkit.tutorial import figures

    figures.use_style()
    done = table[table["status"] == "done"]
    for name in values:
        plt.close(figures.save(figures.mean_and_runs(done, name, by), folder, name))
    return [folder / f"{name}.png" for name in values]
