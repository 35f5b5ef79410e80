"""The results of a sweep as one tidy table, and its summary.

A row is a row of a run's `table.csv`, with the run's parameters before it. A run without such rows has one row, whose
`error` says why; its status is "damaged" where a file of it cannot be read. A column of `table.csv` whose name is taken
gets `table_` in front.
"""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import pandas as pd

from forgetkit.batch.record import COLUMNS, TABLE, is_sweep, read, runs_in, whole

NUMBER = r"(?i)[-+]?(((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[-+]?\d+)?|nan|inf)"  # as a table's cell
DIGITS = r"[-+]?0\d+"  # a word of digits, such as 007
NOTHING = "(none)"  # in a summary, where a parameter is None or a cell empty
MOST = 12  # different words in a column by which a summary groups unasked


def gather(folder: str | Path) -> pd.DataFrame:
    """The tidy table of all runs in a sweep's folder.

    `table.attrs["parameters"]` names the columns that are parameters. Raises ValueError where the folder is no sweep's.
    """
    if not is_sweep(folder := Path(folder)):
        raise ValueError(f"{folder} is no sweep's folder: there is no run in it.")
    results = [(run, result) for run in runs_in(folder) if (result := read(run))]
    given = dict.fromkeys(name for _, result in results for name in result["parameters"] if name not in COLUMNS)
    table = pd.DataFrame([row for run, result in results for row in _rows(run, result)], dtype=object)
    own = [name for name in table if name not in COLUMNS and name not in given]
    table = table.reindex(columns=[*COLUMNS[:2], *given, *own, *COLUMNS[2:]])
    for name in ("seconds", "peak_mb"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    for name in given:
        table[name] = _values(table[name])
    for name in own:
        if (numbers := _numbers(table[name], 1.0)) is not None:
            table[name] = numbers
    table.attrs["parameters"] = list(given)
    return table


def write(table: pd.DataFrame, folder: Path) -> None:
    """Keep the tidy table in a sweep's folder, as CSV and Parquet."""
    for name, keep in (("results.csv", table.to_csv), ("results.parquet", table.to_parquet)):
        with whole(folder / name) as half:
            keep(half, index=False)


def _rows(run: Path, result: dict) -> list[dict]:
    """The rows of a run, each with what its result says."""
    rows = []
    if result["status"] == "done":
        try:
            rows = _read(run / TABLE)
            result["error"] = None if rows else f"{TABLE} has no rows"
        except FileNotFoundError:
            result["error"] = f"no {TABLE}"
        except (OSError, ValueError, csv.Error) as error:
            result |= {"status": "damaged", "error": f"{TABLE}: {' '.join(str(error).split())}"}
    versions = ", ".join(f"{name} {found}" for name, found in (result["versions"] or {}).items()) or None
    name = os.fsencode(run.name).decode(errors="replace")
    about = result["parameters"] | {column: result[column] for column in COLUMNS} | {"run": name, "versions": versions}
    names = {}
    for column in rows[0] if rows else ():
        names[column] = column
        while names[column] in about or names[column] in rows[0].keys() - {column}:
            names[column] = f"table_{names[column]}"
    return [{names[column]: cell for column, cell in row.items()} | about for row in rows or [{}]]


def _values(column: pd.Series) -> pd.Series:
    """The values of a parameter in one type: numbers, truth values, words; or all as JSON, where 7 is not "7"."""
    kinds = {float if type(value) is int else type(value) for value in column.dropna()}
    if kinds == {float} and all(abs(value) < 2**53 for value in column.dropna()):
        return pd.to_numeric(column)
    return column if kinds in ({bool}, {str}) else column.map(json.dumps, na_action="ignore")


def _numbers(column: pd.Series, share: float = 0.5) -> pd.Series | None:
    """The numbers of a column, NaN for what is none; None where not more than (or at 1: not) that share are numbers.

    Words of digits, such as 007, are no numbers, and what stands beside them is none.
    """
    if pd.api.types.is_numeric_dtype(column):
        return None if pd.api.types.is_bool_dtype(column) else column
    words = column.dropna().astype(str)
    numbers = words[words.str.fullmatch(NUMBER)]
    enough = len(numbers) == len(words) if share == 1 else len(numbers) > share * len(words)
    if not len(words) or not enough or words.str.fullmatch(DIGITS).any():
        return None
    found = numbers.map(float)
    whole = len(numbers) == len(column) and numbers.str.fullmatch(r"[-+]?\d{1,15}").all()
    return found.astype("int64") if whole else found.reindex(column.index)


def _read(path: Path) -> list[dict[str, str | None]]:
    """The rows of a run's `table.csv`, each cell as it is written, or None where it is empty.

    Raises ValueError, or csv.Error, where it is not a header and rows of at most that length, in UTF-8.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *lines = [line for line in csv.reader(file) if line] or [[]]
    if twice := [name for name in header if header.count(name) > 1]:
        raise ValueError(f"two columns are called {twice[0]!r}")
    if longer := [i for i, line in enumerate(lines, 1) if len(line) > len(header)]:
        raise ValueError(f"row {longer[0]} is longer than its header")
    return [dict.fromkeys(header) | {name: cell or None for name, cell in zip(header, line)} for line in lines]


def describe(table: pd.DataFrame) -> str:
    """How many runs there are, what became of them, and what they cost."""
    runs = table.drop_duplicates("run")
    counts = ", ".join(f"{n} {status}" for status, n in runs["status"].value_counts().sort_index().items())
    said = [f"{len(runs)} runs: {counts or 'none finished'}"]
    if len(runs):
        said[0] += f"; {runs['seconds'].median():.0f} s and {runs['peak_mb'].median():.0f} MB each (median)"
    damaged = runs["status"] == "damaged"
    if len(commits := runs.loc[~damaged, "commit"].fillna("no commit").astype(str).unique()) > 1:
        said.append(f"They come from {len(commits)} states of the code: {', '.join(commits)}.")
    if len(found := runs["versions"].dropna().unique()) > 1:
        said.append(f"They ran with {len(found)} sets of versions: {'; '.join(found)}.")
    said += [f"damaged: {name}: {error}" for name, error in zip(runs["run"][damaged], runs["error"][damaged])]
    if bare := int(((runs["status"] == "done") & runs["error"].notna()).sum()):
        said.append(f"{bare} of the runs that are done left no rows in a table.")
    return "\n".join(said)


def columns(table: pd.DataFrame, by: list | None = None, values: list | None = None) -> tuple[list[str], list[str]]:
    """What to group by, and what to average, where nothing is asked for.

    by:     parameters that vary, except the seed, and columns of few words in the runs' own tables
    values: the numbers in the runs' own tables

    Raises ValueError for a column that is not there, or a value that is no number.
    """
    if missing := [name for name in [*(by or []), *(values or [])] if name not in table]:
        raise ValueError(f"There is no column {missing[0]!r}. There are: {', '.join(table.columns)}.")
    own = [name for name in table if name not in table.attrs["parameters"] and name not in COLUMNS]
    done = table[table["status"] == "done"]
    numbers = [name for name in own if _numbers(done[name]) is not None]
    if by is None:
        differs = lambda name: (done.groupby("task")[name].nunique(dropna=False) > 1).any()
        varying = [name for name in table.attrs["parameters"] if name != "seed" and differs(name)]
        tasks = ["task"] if done["task"].nunique() > 1 else []
        words = [name for name in own if name not in numbers and 1 < done[name].nunique(dropna=False) <= MOST]
        by = [name for name in (*tasks, *varying, *words) if name not in (values or [])]
    for name in values or []:
        if _numbers(done[name], 0.5 if name in own else 1.0) is None:
            raise ValueError(f"{name} is no column of numbers.")
    values = [n for n in numbers if n not in by] if values is None else values
    if not values:
        raise ValueError("No run that is done left a table with numbers: there is nothing to sum up.")
    return by, values


def by_run(table: pd.DataFrame, by: list[str], values: list[str]) -> pd.DataFrame:
    """A row a run that is done and group: the mean over its rows of each value's numbers, NaN where there is none."""
    done = table[table["status"] == "done"]
    shown = lambda value: NOTHING if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
    labels = {name: done[name].map(shown) if done[name].hasnans else done[name] for name in by}
    numbers = {name: _numbers(done[name]).where(lambda found: found.abs() < math.inf) for name in values}
    rows = pd.DataFrame({**labels, "run": done["run"], **numbers})
    return rows.groupby([*dict.fromkeys([*by, "run"])], sort=False)[values].mean().reset_index()


def summarise(table: pd.DataFrame, by: list[str], values: list[str]) -> pd.DataFrame:
    """Mean ± standard deviation of the values over the runs that are done, and their number n, by the columns `by`.

    A run counts once in a group, with the mean of its rows there. `attrs["without"]` names the runs that have no number
    where others have one; where they are fewer, their n stands beside the value.
    """
    runs = by_run(table, by, values)
    groups = runs.groupby(by, sort=False) if by else runs.groupby(lambda _: "all")
    mean, sd, n = groups[values].mean(), groups[values].std(), groups[values].count()
    most, text, without = n.max(axis=1), {}, []
    for name in values:
        rows = zip(mean[name], sd[name], n[name], most)
        text[name] = [_figures(m, s) + (f" (n {some})" if 0 < some < all_ else "") for m, s, some, all_ in rows]
        if len(holes := runs["run"][runs[name].isna() & (groups[name].transform("count") > 0)].unique()):
            which = ", ".join(holes[:10]) + (", …" if len(holes) > 10 else "")
            without.append(f"{name} is no number in {which}: left out of its mean.")
    found = pd.DataFrame({**text, "n": most}, index=mean.index)
    found.attrs["without"] = without
    return found


def _figures(mean: float, sd: float) -> str:
    """Both with the digits that they need: one decimal, or as many as the spread's first digit stands at."""
    if pd.isna(mean):
        return "no number"
    size = sd if sd > 0 else abs(mean) / 10
    decimals = max(1, -math.floor(math.log10(size))) if size else 1
    form = f".{decimals}f" if decimals < 7 and abs(mean) < 1e12 else ".3g"
    return f"{mean:{form}}" + ("" if pd.isna(sd) else f" ± {sd:{form}}")
