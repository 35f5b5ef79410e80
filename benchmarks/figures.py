"""The figures of the benchmark and of the studies beside it, from their committed rows."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from forgetkit.lessons.figures import RECIPES

RECALLS = {
    "offset recall": "Found by an offset", "20-NN recall": "Found by neighbours", "probe recall": "Found by a probe",
}  # fmt: skip
MARKERS = "osD^v<>PXh*"


def score_and_depth(rows: pd.DataFrame) -> Figure:
    """A point a method: mean Score on whole classes against what an attacker still finds; right and low is best.

    rows: as `percent_of_original` makes them, with `method`, `kind`, `score` and the recalls
    """
    mean = rows[rows["kind"] == "class"].groupby("method")[["score", *RECALLS]].mean().sort_values("score")
    figure, axes = plt.subplots(1, len(RECALLS), figsize=(11, 4), sharex=True)
    for axis, (column, title) in zip(axes, RECALLS.items()):
        for i, (method, row) in enumerate(mean.iterrows()):
            grey = "#CCCCCC" if i < len(MARKERS) else "#666666"  # a marker comes twice, in two shades
            style = dict(color=RECIPES.get(method, grey), marker=MARKERS[i % len(MARKERS)], edgecolor="black")
            axis.scatter(
                row["score"], row[column], s=70 if method in RECIPES else 30, linewidth=0.4, label=method, **style
            )
        axis.set(title=title, xlabel="Score (%)", ylabel="% of the original's" if axis is axes[0] else "")
        axis.set_ylim(-3, max(105, axis.get_ylim()[1]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="center right", fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0, 0.87, 1))
    return figure


def pretraining(records: Mapping[str, dict]) -> Figure:
    """The loss of each pre-training run by the images it has seen; a grey line where the images become larger.

    records: by model, its `training.json`
    """
    figure, axis = plt.subplots(figsize=(6, 2.8))
    for (name, record), line in zip(records.items(), ("-", "--", ":")):
        step, loss, _ = zip(*record["loss"])
        seen = record["config"]["images_seen"] / record["steps"] / 1e6
        axis.plot([seen * s for s in step], loss, line, label=name)
        for until, _ in record["config"]["sizes"][:-1]:
            axis.axvline(until * record["config"]["images_seen"] / 1e6, color="#999999", lw=1)
    axis.set(xlabel="images seen (millions)", ylabel="loss, mean of 50 steps")
    axis.legend(frameon=False)
    figure.tight_layout()
    return figure
