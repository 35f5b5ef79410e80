"""The committed rows of docs/results, as lessons read them."""

from pathlib import Path

import numpy as np
import pandas as pd

import forgetkit
from forgetkit.evaluation import TARGET

RESULTS = Path("docs/results")
KEPT = ["retain", "other", "fashion", "quickdraw", "unseen", "emoji"]
ACCURACIES = [TARGET, *KEPT]


def committed(study: str) -> pd.DataFrame:
    """The rows of docs/results/STUDY.csv, from wherever this is called; raises ValueError where there are none."""
    file = forgetkit.HOME / RESULTS / f"{study}.csv"
    if not file.exists():
        raise ValueError(f"There is no {file}.")
    return pd.read_csv(file)


def whole(method: str) -> bool:
    """Is this a method as it is, neither cut short nor without a part?"""
    return " " not in method


def percent_of_original(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows without the originals; accuracies, and recalls of an attacker, in percent of the one on their subgroup."""
    columns = [name for name in rows if name in ACCURACIES or name.endswith(" recall")]
    of = [name for name in ("model", "pixels", "kind", "subgroup") if name in rows]
    own = rows["method"] == "original"
    original = rows[own].drop_duplicates(of).set_index(of)  # of one seed it says what it does of another
    rows = rows[~own]
    accuracy = original.reindex(pd.MultiIndex.from_frame(rows[of])).set_axis(rows.index)
    return rows.assign(**{name: 100 * rows[name] / accuracy[name].replace(0, np.nan) for name in columns})


def with_whole_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows on those subgroups that every method in them has; of a method, those of a seed that has all of these.

    So one method may have more seeds than another, and their means are still over the same subgroups.
    """
    methods = rows.groupby(["kind", "subgroup"])["method"].transform("nunique")
    rows = rows[methods == rows["method"].nunique()]
    ran = rows.groupby(["method", "seed"])["subgroup"].transform("size")
    return rows[ran == len(rows[["kind", "subgroup"]].drop_duplicates())]


def accuracies_in(rows: pd.DataFrame) -> list[str]:
    return [name for name in ACCURACIES if name in rows]


def before_and_after(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, str]:
    return {name: f"{before[name].mean():.1f} → {after[name].mean():.1f}" for name in accuracies_in(before)}
