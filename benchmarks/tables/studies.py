"""Tables of requests one after another, of changed values, of other CLIPs, of mini-CLIP, and of minutes."""

from __future__ import annotations

import pandas as pd

from benchmarks.tables import table
from forgetkit.lessons.committed import percent_of_original


@table("requests")
def requests_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a request: the worst of all targets so far, and what else has lost most of the original's accuracy.

    And how much of what a probe found of the first target it still finds.
    """
    columns = [name for name in rows.loc[:, "subgroup":"seconds"].columns[1:-1] if not name.endswith(" recall")]
    original, lines = rows[rows["method"] == "original"].iloc[0], []
    columns = [name for name in columns if original[name]]
    for method, found in rows[rows["request"] > 0].groupby("method", sort=False):
        for _, row in found.iterrows():
            gone = [*found.loc[found["request"] <= row["request"], "subgroup"]]
            kept = (100 * row[columns] / original[columns]).drop(gone, errors="ignore").astype(float)
            lines.append({
                "method": method, "forgotten last": gone[-1], "worst target so far": row[gone].max(),
                "least kept (% of the original's)": f"{kept.min():.1f} ({kept.idxmin()})",
                "first target by a probe (%)": 100 * row["probe recall"] / original["probe recall"],
            })  # fmt: skip
    return pd.DataFrame(lines)


@table("sensitivity")
def sensitivity_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a value that was changed: what the whole recipe makes of it."""
    rows = rows[rows["model"] == "restore"].assign(value=rows["value"].map("{:g}".format))
    return rows[["knob", "value", "target", "retain", "score"]]


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


@table("families")
def families_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a family: did it go through, where its tower is cut, and how much faster a step then is."""
    reference = rows.loc[rows["family"] == "ViT", "seconds"].item()
    number = lambda column, digits: column.map(lambda x: "" if pd.isna(x) else f"{x:.{digits}f}")
    return pd.DataFrame({
        "family": rows["family"], "model": rows["model"], "through": rows["through"],
        "cut before": rows["cut"].fillna(""),
        "BatchNorm layers": number(rows["batch norms"], 0),
        "seconds of the stages, against ViT-B-32": number(rows["seconds"] / reference, 1),
        "a step of stage 2, times as fast": number(rows["whole step"] / rows["step"], 1),
    })  # fmt: skip


@table("small")
def small_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a folder: what 300 others a class say before and after, in percent, and the folder's own test part."""
    wide = rows.pivot(index=["pictures", "subgroup"], columns="model", values=["held target", "held retain", "target"])
    told = lambda name: [f"{o:.0f}→{r:.0f}" for o, r in zip(wide[name, "original"], wide[name, "restore"])]
    pictures = rows[rows["model"] == "restore"].set_index(["pictures", "subgroup"])["test pictures"]
    return pd.DataFrame({
        "pictures a class": wide.index.get_level_values(0), "target": wide.index.get_level_values(1),
        "it is recognised": told("held target"), "siblings": told("held retain"),
        "it, by its own test pictures": [f"{t} ({n})" for t, n in zip(told("target"), pictures.loc[wide.index])],
    })  # fmt: skip


@table("mini-clip")
def mini_clip_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Zero-shot accuracy of the embedded model and its oracles per set."""
    names = {"set": "set", "images": "test images", "classes": "classes", "chance": "chance (%)"}
    wide = rows.pivot(index="set", columns="model", values="top1")[[*rows["model"].unique()]]
    first = rows.drop_duplicates("set").set_index("set")
    return first.reset_index()[[*names]].rename(columns=names).join(wide.add_suffix(" (%)"), on="set")


@table("minutes")
def minutes_table(rows: pd.DataFrame) -> pd.DataFrame:
    """How long a user of this repository waits, a command a line."""
    return rows[["command", "when", "minutes", "device"]]
