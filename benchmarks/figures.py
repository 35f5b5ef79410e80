"""The figures of the benchmark and of the studies beside it, from their committed rows."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from forgetkit.evaluation import TARGET
from forgetkit.lessons.committed import ACCURACIES
from forgetkit.lessons.figures.style import COLOURS, RECIPES

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


def trade_off(path: pd.DataFrame) -> pd.DataFrame:
    """A path from the original as `target` (what is left) and `kept` (mean of the rest), in percent of the original.

    path: accuracies by `alpha`; alpha 0 is the original. As in the Score, what a column gains does not count.
    """
    path = path.sort_values("alpha")[[name for name in ACCURACIES if name in path]]
    ratio = 100 * path / path.iloc[0]
    return pd.DataFrame({TARGET: ratio[TARGET], "kept": ratio.drop(columns=TARGET).clip(upper=100).mean(axis=1)})


def kept_at_target(curve: pd.DataFrame, level: float) -> float:
    """What a `trade_off` keeps where its target first falls to `level` percent, interpolated; NaN if it never does."""
    below = np.flatnonzero(curve[TARGET] <= level)
    if not len(below):
        return np.nan
    ends = curve.iloc[max(below[0] - 1, 0) : below[0] + 1].sort_values(TARGET)
    return float(np.interp(level, ends[TARGET], ends["kept"]))


def fronts(rows: pd.DataFrame, lowest: float = 85.0) -> Figure:
    """A curve a method from the original to its result: target accuracy against what is kept, a panel a subgroup.

    Of the baselines, grey, the best is drawn at every level of the target. What lies below `lowest` is not shown.
    rows: `method`, `kind`, `subgroup`, `alpha`, accuracies in percent from `target` on; alpha 0 is the original
    """
    panels = [*rows.groupby(["kind", "subgroup"], sort=False)]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.9 * len(panels), 3), sharey=True, squeeze=False)
    levels = np.arange(0.0, 101.0, 2.5)
    for axis, ((kind, name), found) in zip(axes[0], panels):
        curves = {method: trade_off(path) for method, path in found.groupby("method", sort=False)}
        others = [curve for method, curve in curves.items() if method not in RECIPES]
        for curve in others:
            axis.plot(curve["target"], curve["kept"], color="#BBBBBB", lw=0.8, label="a baseline")
        best = pd.DataFrame([[kept_at_target(curve, level) for curve in others] for level in levels]).max(axis=1)
        axis.plot(levels, best, color="black", lw=1.2, ls="--", label="the best baseline")
        for (method, colour), marker in zip(RECIPES.items(), MARKERS):
            if method in curves:
                style = dict(color=colour, marker=marker, ms=4, markeredgecolor="black", markeredgewidth=0.3)
                axis.plot(curves[method]["target"], curves[method]["kept"], lw=1.8, label=method, **style)
        axis.set(title=f"{kind} {name}", xlabel="target left (% of original)", xlim=(-4, 104), ylim=(lowest, 100.5))
    axes[0, 0].set_ylabel("kept, mean of the rest (% of original)")
    labels = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels())))  # each once
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.legend(labels.values(), labels, loc="lower center", ncols=len(labels), frameon=False)
    return figure


def sensitivity(rows: pd.DataFrame, default: Mapping[str, float]) -> Figure:
    """Score and target accuracy where one value of the recipe is changed: a panel a knob, its default marked.

    rows: `knob`, `value`, `subgroup`, `model`, `score`, `target`
    """
    first, last = (rows[rows["model"] == model] for model in ("forget", "restore"))
    shown = {"Score": (last, "score"), "target accuracy": (last, "target"), "Score after stage 1": (first, "score")}
    long = pd.concat([found.assign(percent=found[name], shown=what) for what, (found, name) in shown.items()])
    colours = dict(zip(dict.fromkeys(rows["subgroup"]), (COLOURS[s] for s in ("restore", "forget", "remind"))))
    grid = sns.relplot(
        long, x="value", y="percent", col="knob", col_wrap=-(-rows["knob"].nunique() // 2), hue="subgroup",
        style="shown", style_order=[*shown], palette=colours, kind="line", markers=["o", "s", "."],
        dashes=["", (1, 1), (3, 1, 1, 1)], height=2.3, facet_kws=dict(sharex=False),
    )  # fmt: skip
    for knob, axis in grid.axes_dict.items():
        values = sorted(rows.loc[rows["knob"] == knob, "value"].unique())
        if knob in default:  # rows of an earlier recipe may name a value that there is no more
            axis.axvline(default[knob], color="black", lw=0.8, ls="--", zorder=1)
        axis.set(xscale="log", xlabel=knob, ylim=(-4, 104), title="")
        axis.set_xticks(values, [f"{v:g}" for v in values], fontsize=7)
        axis.minorticks_off()
    grid.figure.tight_layout(rect=(0, 0, 0.88, 1))
    return grid.figure


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
