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
    """The rows of docs/results/STUDY.csv, from wherever this is called."""
    return pd.read_csv(forgetkit.HOME / RESULTS / f"{study}.csv")


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
    """Rows of methods as they are, neither cut short nor without a part, on those subgroups that every one has.

    Of a method, those of a seed that has all of these: so one may have more seeds than another, and their means are
    still over the same subgroups.
    """
    rows = rows[~rows["method"].str.contains(" ")]
    methods = rows.groupby(["kind", "subgroup"])["method"].transform("nunique")
    rows = rows[methods == rows["method"].nunique()]
    ran = rows.groupby(["method", "seed"])["subgroup"].transform("size")
    return rows[ran == len(rows[["kind", "subgroup"]].drop_duplicates())]
