"""What README and docs show of the committed rows: functions from rows to a table, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

TABLES: dict[str, tuple[tuple[str, ...], Callable[..., pd.DataFrame]]] = {}  # by name: files of rows, what is shown


def table(name: str, *files: str) -> Callable:
    """Register a function from the rows of docs/results/FILE.csv (NAME.csv unless given), one or more, to a table."""

    def register(function: Callable[..., pd.DataFrame]) -> Callable:
        TABLES[name] = files or (name,), function
        return function

    return register


def made(name: str, results: Path) -> str:
    """The table NAME as Markdown; floats to one decimal, NaN as nothing."""
    files, function = TABLES[name]
    shown = function(*(pd.read_csv(results / f"{file}.csv") for file in files))

    def cell(value) -> str:
        if isinstance(value, float):
            return "" if pd.isna(value) else f"{value:.1f}"
        return str(value)

    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.itertuples(index=False)]
    return "\n".join("|" + "|".join(cell(v) for v in line) + "|" for line in lines)
