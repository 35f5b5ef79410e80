"""Heat maps of tables, and the decision boundary between two texts. Each function returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from forgetkit.data.images import ImageSet
from forgetkit.evaluation import predict
from forgetkit.lessons.figures.charts import BESIDE, LOOKS
from forgetkit.lessons.figures.pictures import short
from forgetkit.lessons.figures.style import COLOURS
from forgetkit.models.clip import Clip


def percents(tables: Mapping[str, pd.DataFrame], size: tuple[float, float], label: str, **settings) -> Figure:
    """A heat map a table of percent, side by side; size: of one of them in inches; settings: as `Axes.set`."""
    width = size[0] * len(tables) + 0.6
    figure, axes = plt.subplots(1, len(tables), figsize=(width, size[1]), squeeze=False, sharey=True)
    for axis, (name, table) in zip(axes[0], tables.items()):
        look = {"annot_kws": {"fontsize": 7}, "cmap": "cividis", "vmin": 0, "vmax": 100, "cbar": axis is axes[0, -1]}
        sns.heatmap(table, annot=True, fmt=".0f", ax=axis, cbar_kws={"label": label, "shrink": 0.8}, **look)
        axis.set(**{"title": name, "xlabel": "", "ylabel": "", "facecolor": "#dddddd", **settings})  # grey: no images
        axis.grid(visible=False)
        plt.setp(axis.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
        axis.tick_params(axis="y", rotation=0)
    figure.tight_layout()
    return figure


def confusion(models: Sequence[Clip], part: ImageSet, head: torch.Tensor) -> Figure:
    """What each model calls the images of each class, in percent of the class; head (C, D)."""
    shares, names = {}, [*map(short, part.classes)]
    for clip in models:
        called = predict(clip, part.images, head).numpy()
        counts = np.zeros([len(part.classes)] * 2)
        np.add.at(counts, (part.labels, called), 1)
        share = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
        shares[clip.name] = pd.DataFrame(share, names, names)
    figure = percents(shares, (4.6, 4.2), "images of the class (%)", xlabel="called")
    figure.axes[0].set_ylabel("is")
    return figure


def style_accuracies(tables: Mapping[str, pd.DataFrame], targets: Mapping[str, Sequence[str]]) -> Figure:
    """A panel a model: accuracy in percent of every class (row) in every style (column); target cells framed.

    Cells without images are grey. targets: by class, the styles that are to be forgotten
    """
    table = next(iter(tables.values()))
    figure = percents(tables, (0.8 * table.shape[1] + 1.6, 0.34 * len(table) + 1), "accuracy (%)")
    for axis in figure.axes[: len(tables)]:
        for y, name in enumerate(table.index):
            for x, style in enumerate(table.columns):
                if style in targets.get(name, ()):
                    frame = {"fill": False, "edgecolor": COLOURS["target"], "lw": 2.5, "clip_on": False}
                    axis.add_patch(Rectangle((x, y), 1, 1, **frame))
    return figure


def variations(table: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """What each variation of stage 2 leaves: the target as bars, the rest as differences from the original.

    table: model (the first row is the original), accuracies in percent, score
    """
    rest = [name for name in columns if name != "target"]
    shown, before = table.iloc[1:], table["target"].iloc[0]
    size = (9, 0.36 * len(shown) + 1.1)
    figure, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(2, 3.4))
    y = np.arange(len(shown)) + 0.5
    bars = left.barh(y, shown["target"], height=0.7, color=COLOURS["target"], hatch="//", edgecolor="black", lw=0.4)
    left.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    left.axvline(before, color="black", lw=0.8, ls=":")
    left.set(xlabel="target accuracy (%)", xlim=(0, max(1.15 * before, 1.2 * shown["target"].max(), 1)))
    left.set_title(f"to be forgotten (dotted: {before:.0f} before)", fontsize=9)
    left.grid(axis="y", visible=False)
    change = (shown[rest] - table[rest].iloc[0]).round() + 0.0  # no "-0"
    limit = max(10, change.abs().to_numpy().max())
    words = change.map("{:+.0f}".format).assign(Score=shown["score"].map("{:.1f}".format))
    look = {"cmap": "PuOr", "vmin": -limit, "vmax": limit, "cbar": False, "linewidths": 1}
    sns.heatmap(change.assign(Score=0.0), annot=words, fmt="", annot_kws={"fontsize": 9}, ax=right, **look)
    right.set_title("to be kept: change from the original (points)", fontsize=9)
    right.set(xlabel="", ylabel="")
    right.tick_params(length=0, labelleft=False)
    left.set_yticks(y, shown["model"], rotation=0)
    left.set_ylim(len(shown), 0)
    figure.subplots_adjust(wspace=0.05)
    return figure


def decisions(points: Mapping[str, Mapping[str, np.ndarray]], name: str) -> Figure:
    """A filmstrip, a panel a model: every image by its similarity to the best other text and to that of `name`.

    On the diagonal the two are equal: above it, where the panel is red, an image is called `name`. The share of each
    column's images that are stands in the corner.

    points: by model and column, (n, 2) as `diagnostics.rivals` makes them
    """
    name, columns = short(name, 24), list(dict.fromkeys(column for groups in points.values() for column in groups))
    size = (2.75 * len(points) + 0.5, 3.4)
    figure, axes = plt.subplots(1, len(points), figsize=size, sharex=True, sharey=True, squeeze=False)
    every = np.concatenate([xy for groups in points.values() for xy in groups.values()])
    low, high = every.min() - 0.03, every.max() + 0.03
    plate = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    for axis, (model, groups) in zip(axes[0], points.items()):
        axis.fill_between([low, high], [low, high], high, color=COLOURS["target"], alpha=0.08, lw=0)
        axis.plot([low, high], [low, high], color="black", lw=1, ls="--")
        for line, column in enumerate(reversed(columns)):  # the target last, on top
            own, other = groups[column].T
            look = {name: LOOKS[column][name] for name in ("color", "marker")}
            axis.scatter(other, own, s=11, alpha=0.65, lw=0, label=column, **look)
            words = {"va": "top", "fontsize": 8, "weight": "bold", "color": look["color"], "bbox": plate}
            height = 0.72 - 0.075 * (len(columns) - 1 - line)
            axis.text(0.03, height, f"{column} {100 * (own > other).mean():.0f} %", transform=axis.transAxes, **words)
        axis.set(title=model, xlabel="cosine to the best other text", xlim=(low, high), ylim=(low, high))
    axes[0, 0].set_ylabel(f"cosine to the text '{name}'")
    handles, labels = axes[0, -1].get_legend_handles_labels()
    axes[0, -1].legend(handles[::-1], labels[::-1], title=f"corner: called\n'{name}' (%)", **BESIDE)
    figure.tight_layout()
    return figure
