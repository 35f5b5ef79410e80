"""The results of a sweep as one tidy table, its summary, and what became of each image.

A row is a row of a run's `table.csv`, with the run's parameters before it. A run without such rows has one row, whose
`error` says why; its status is "damaged" where a file of it cannot be read. A column of `table.csv` whose name is taken
gets `table_` in front.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from forgetkit.batch.record import COLUMNS, TABLE, is_sweep, read, runs_in, whole

CSV, PARQUET = "results.csv", "results.parquet"
IMAGES = "predictions.parquet"  # what a run may leave: a row an image
SAID = ("image", "label", "subgroup", "before", "after", "similarity")  # its columns
MOST = 12  # different words in a column by which a summary groups unasked


def gather(folder: str | Path) -> pd.DataFrame:
    """The tidy table of all runs in a sweep's folder.

    `table.attrs["parameters"]` names the columns that are parameters. Raises ValueError where the folder is no sweep's.
    """
    folder, frames, parameters = Path(folder), [], {}
    if not is_sweep(folder):
        raise ValueError(f"{folder} is no sweep's folder: there is no run in it.")
    for run in runs_in(folder):
        frame, names = _rows(run)
        frames += [frame] if len(frame) else []
        parameters |= dict.fromkeys(names)
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    own = [name for name in table if name not in COLUMNS and name not in parameters]
    table = table.reindex(columns=[*COLUMNS[:2], *parameters, *own, *COLUMNS[2:]])
    for name in table:
        if name in ("seconds", "peak_mb"):
            table[name] = pd.to_numeric(table[name], errors="coerce")
        elif pd.api.types.infer_dtype(table[name], skipna=True) in ("mixed", "mixed-integer"):  # words, in either file
            table[name] = table[name].map(str, na_action="ignore")
    table.attrs["parameters"] = list(parameters)
    return table


def write(table: pd.DataFrame, folder: Path) -> None:
    """Keep the tidy table in a sweep's folder, as CSV and Parquet."""
    with whole(folder / CSV) as half:
        table.to_csv(half, index=False, encoding="utf-8")
    with whole(folder / PARQUET) as half:
        try:
            table.to_parquet(half, index=False)
        except (OverflowError, TypeError, ValueError):  # whole numbers beyond 64 bits, which it cannot hold: words
            words = {name: "str" for name in table if table[name].dtype == object}
            table.astype(words).to_parquet(half, index=False)


def _rows(run: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows of a run, none while it has no result, and the names of its parameters."""
    about, rows = {"run": _plain(run.name)}, pd.DataFrame()
    try:
        result = read(run)
    except ValueError as error:
        return pd.DataFrame([{**about, "status": "damaged", "error": _plain(str(error))}]), []
    if result is None:
        return rows, []
    parameters = {_plain(key): _plain(value) for key, value in result["parameters"].items() if key not in COLUMNS}
    if result["status"] == "done":
        try:
            rows = _read(run / TABLE)
            result |= {} if len(rows) else {"error": f"{TABLE} has no rows"}
        except FileNotFoundError:
            result["error"] = f"no {TABLE}"
        except (OSError, ValueError) as error:
            result |= {"status": "damaged", "error": f"{TABLE}: {' '.join(str(error).split())}"}
    for column in [column for column in rows if column in (*parameters, *COLUMNS)]:
        free = f"table_{column}"
        while free in (*rows, *parameters):
            free = f"table_{free}"
        rows = rows.rename(columns={column: free})
    rows = rows if len(rows) else pd.DataFrame(index=[0])
    about = {column: _plain(result[column]) for column in COLUMNS} | about
    return rows.assign(**parameters, **about), list(parameters)


def _plain(value):
    """A value as a table can hold it: lists and mappings as JSON, text that UTF-8 can write."""
    value = json.dumps(value) if isinstance(value, (list, dict)) else value
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _read(path: Path) -> pd.DataFrame:
    """A run's `table.csv`; raises ValueError where it is not a header and rows of that length, in UTF-8."""
    table = pd.read_csv(path, encoding="utf-8-sig")
    header = pd.read_csv(path, encoding="utf-8-sig", header=None, nrows=1, dtype=str).loc[0]
    if header.duplicated().any():
        raise ValueError(f"two columns are called {header[header.duplicated()].iloc[0]!r}")
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("its rows are longer than its header")
    return table


def describe(table: pd.DataFrame) -> str:
    """How many runs there are, what became of them, and what they cost."""
    runs = table.drop_duplicates("run")
    counts = ", ".join(f"{n} {status}" for status, n in runs["status"].value_counts().sort_index().items())
    text = f"{len(runs)} runs: {counts or 'none finished'}"
    if len(runs):
        text += f"; {runs['seconds'].median():.0f} s and {runs['peak_mb'].median():.0f} MB each (median)"
    if len(commits := runs.loc[runs["status"] != "damaged", "commit"].fillna("no commit").astype(str).unique()) > 1:
        text += f"\nThey come from {len(commits)} states of the code: {', '.join(commits)}."
    for name, error in runs.loc[runs["status"] == "damaged", ["run", "error"]].itertuples(index=False):
        text += f"\ndamaged: {name}: {error}"
    if bare := int(((runs["status"] == "done") & runs["error"].notna()).sum()):
        text += f"\n{bare} of the runs that are done left no rows in a table."
    return text


def columns(table: pd.DataFrame, by: list | None = None, values: list | None = None) -> tuple[list[str], list[str]]:
    """What to group by, and what to average, where nothing is asked for.

    by:     parameters that vary, except the seed, and columns of few words in the runs' own tables
    values: the numbers in the runs' own tables

    Raises ValueError for a column that is not there, or a value that is no number.
    """
    for name in [*(by or []), *(values or [])]:
        if name not in table:
            raise ValueError(f"There is no column {name!r}. There are: {', '.join(table.columns)}.")
    own = [name for name in table if name not in table.attrs["parameters"] and name not in COLUMNS]
    numbers = [n for n in own if pd.api.types.is_numeric_dtype(table[n]) and not pd.api.types.is_bool_dtype(table[n])]
    if by is None:
        varying = [name for name in table.attrs["parameters"] if table[name].nunique() > 1 and name != "seed"]
        tasks = ["task"] if table["task"].nunique() > 1 else []
        words = [name for name in own if name not in numbers and 1 < table[name].nunique() <= MOST]
        by = [name for name in (*tasks, *varying, *words) if name not in (values or [])]
    for name in values or []:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"{name} is no column of numbers.")
    values = [n for n in numbers if n not in by] if values is None else values
    if not values:
        raise ValueError("No run that is done left a table with numbers: there is nothing to sum up.")
    return by, values


def summarise(table: pd.DataFrame, by: list[str], values: list[str]) -> pd.DataFrame:
    """Mean ± standard deviation of the values over the runs that are done, and their number n, by the columns `by`."""
    table = table[table["status"] == "done"]
    groups = table.groupby(by, dropna=False, sort=False) if by else table.groupby(lambda _: "all")
    mean, sd, n = groups[values].mean(), groups[values].std(), groups["run"].nunique()
    spread = lambda s: "" if pd.isna(s) else f" ± {s:.1f}"
    text = {name: [f"{m:.1f}{spread(s)}" for m, s in zip(mean[name], sd[name])] for name in values}
    return pd.DataFrame(text, index=mean.index).assign(n=n)


def predictions(folder: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """What the runs that are done say of each image (`IMAGES`), and a sentence for each run that cannot be read.

    Columns: run, parameters, `SAID`: an image, its label and subgroup, the words predicted before and after, and the
    similarity of the image to its own label after.
    """
    frames, faults = [pd.DataFrame(columns=["run", *SAID])], []
    for run in runs_in(Path(folder)):
        try:
            result = read(run)
            if result and result["status"] == "done" and (run / IMAGES).exists():
                rows = pd.read_parquet(run / IMAGES, columns=[*SAID])
                parameters = {k: _plain(v) for k, v in result["parameters"].items() if k not in (*SAID, "run")}
                rows["similarity"] = pd.to_numeric(rows["similarity"], errors="coerce")
                frames.append(rows.assign(**parameters, run=run.name))
        except (OSError, ValueError, RuntimeError) as error:  # pyarrow's, too
            faults.append(f"{run.name}: {IMAGES} cannot be read ({' '.join(str(error).split())}).")
    return pd.concat(frames[1:] or frames, ignore_index=True), faults


def changes(images: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Of the images in each group: how many, percent right before and after, and what most are taken for after."""
    right = {name: 100.0 * (images[name] == images["label"]) for name in ("before", "after")}
    groups = images.assign(most=images["after"], **right).groupby([*by, "subgroup"], dropna=False, sort=False)
    mean = groups[["before", "after", "similarity"]].mean()
    return mean.assign(images=groups.size(), most=groups["most"].agg(lambda words: next(iter(words.mode()), None)))
