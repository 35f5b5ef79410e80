"""Numbers in prose: `<!-- = FILE | query | column | aggregation | format -->79.2<!-- . -->`, made of committed rows.

FILE: of docs/results; `FILE%` has accuracies and recalls in percent of the original's on the same subgroup
query: which rows, as `DataFrame.query` takes it; all where it is empty
column: or an expression of columns (`DataFrame.eval`): with `sum`, a condition counts the rows where it holds
aggregation: `mean`, `min`, `max`, `median`, `sum`; `size`, the number of rows, of no column; `seeds`: the mean, and
    after ± the standard deviation among the means of its seeds
format: Python's, such as `.1f`

In a cell of a table, `|` is written `\\|`. A comment does not begin a line: Markdown would take the line as HTML.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from forgetkit.lessons.committed import percent_of_original

VALUE = re.compile(r"(<!-- = (.+?) -->)[^<]*(<!-- \. -->)", re.S)


def over_seeds(values: pd.Series, seeds: pd.Series, spec: str = ".1f") -> str:
    """The mean, and the standard deviation among the means of the seeds where there are several."""
    means = values.groupby(seeds).mean()
    return f"{means.mean():{spec}}" + (f" ± {means.std():{spec}}" if len(means) > 1 else "")


def value(asked: str, results: Path) -> str:
    """What the five fields between `<!-- =` and `-->` ask for; raises ValueError where there is no such number."""
    fields = [" ".join(field.split()) for field in re.split(r"\\?\|", asked)]
    if len(fields) != 5:
        raise ValueError(f"it has {len(fields)} fields, not FILE | query | column | aggregation | format.")
    file, query, column, how, spec = fields
    rows = pd.read_csv(results / f"{file.removesuffix('%')}.csv")
    rows = percent_of_original(rows) if file.endswith("%") else rows
    rows = rows.query(query) if query else rows
    if rows.empty:
        raise ValueError(f"no row of {file.removesuffix('%')}.csv fits its query.")
    if how == "size":
        return format(len(rows), spec)
    values = rows.eval(column)
    if how == "seeds":
        return over_seeds(values, rows["seed"], spec)
    found = getattr(values, how)()
    if pd.isna(found):
        raise ValueError(f"the rows that fit its query have no {column!r}.")
    return format(found, spec)


def filled(text: str, results: Path, page: str = "") -> str:
    """The text with every such number made anew; raises ValueError, naming page and comment, where one cannot be."""

    def one(match: re.Match) -> str:
        try:
            if text[: match.start()].rpartition("\n")[2].strip() == "":
                raise ValueError("it begins a line, which Markdown then takes as HTML: put a word before it.")
            return match[1] + value(match[2], results) + match[3]
        except Exception as error:  # pandas raises its own for a wrong query or column
            raise ValueError(f"{page}: {match[1]}: {error}") from error

    return VALUE.sub(one, text)
