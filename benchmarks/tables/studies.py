"""Tables of requests one after another, of a real CLIP, of mini-CLIP, and of what all this costs."""

from __future__ import annotations

import pandas as pd

from benchmarks.tables import table
from forgetkit.lessons.committed import percent_of_original


@table("requests")
def requests_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a request: accuracies then, the worst of all targets so far, the least that another column keeps.

    And how much of what a probe found of the first target it still finds, where the rows have that.
    """
    columns = [name for name in rows.loc[:, "subgroup":"seconds"].columns[1:-1] if not name.endswith(" recall")]
    original, lines = rows[rows["method"] == "original"].iloc[0], []
    for _, found in rows.groupby("method", sort=False):
        for i, (_, row) in enumerate(found.iterrows()):
            gone = [] if row["request"] == 0 else [*found["subgroup"].iloc[: i + 1]]
            kept = [100 * row[name] / original[name] for name in columns if name not in gone and original[name]]
            line = {"method": row["method"], "forgotten last": gone[-1] if gone else "", **row[columns].astype(float)}
            worst = max((row[name] for name in gone), default=float("nan"))
            line |= {"worst target so far": worst, "least kept (% of the original's)": min(kept)}
            if "probe recall" in rows:
                line["first target by a probe (%)"] = 100 * row["probe recall"] / original["probe recall"]
            lines.append(line)
    return pd.DataFrame(lines)


@table("real")
def real_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a method: means over seeds, then over the subgroups of one label, in percent of the original's."""
    found = real_means(rows).groupby("method", sort=False).mean().rename(columns={"score": "Score"})
    found.insert(0, "runs", rows[rows["kind"] == "coarse"]["method"].value_counts())
    return found.reset_index()


def real_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracies in percent of the original's, and Score, by method and subgroup of one label: means over seeds."""
    found = percent_of_original(rows[rows["kind"] == "coarse"])
    columns = ["target", "retain", "other", "fashion", "quickdraw", "score"]
    return found.groupby(["method", "subgroup"], sort=False)[columns].mean()


@table("mini-clip")
def mini_clip_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Zero-shot accuracy of the embedded model and its oracles per set."""
    names = {"set": "set", "images": "test images", "classes": "classes", "chance": "chance (%)"}
    wide = rows.pivot(index="set", columns="model", values="top1")[[*rows["model"].unique()]]
    first = rows.drop_duplicates("set").set_index("set")
    return first.reset_index()[[*names]].rename(columns=names).join(wide.add_suffix(" (%)"), on="set")


@table("cost")
def cost_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Seconds and peak memory of each method, once, alone on the machine."""
    rows = rows[rows["unit"].isin(["s", "MB"])].pivot(index=["device", "what"], columns="unit", values="value")
    rows = rows.sort_values("s").reset_index().rename(columns={"what": "method", "s": "seconds", "MB": "peak MB"})
    return rows[["method", "seconds", "peak MB", "device"]].astype({"peak MB": int})


@table("minutes")
def minutes_table(rows: pd.DataFrame) -> pd.DataFrame:
    """How long a user of this repository waits, a command a line."""
    return rows[["command", "when", "minutes", "device"]]
