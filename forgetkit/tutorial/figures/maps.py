"""Heat maps of tables, and the map of an embedding. Each function returns a Figure."""

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
from forgetkit.lab.figures import COLOURS
from forgetkit.models.clip import Clip
from forgetkit.tutorial.figures.charts import BESIDE


def percents(tables: Mapping[str, pd.DataFrame], size: tuple[float, float], label: str, **settings) -> Figure:
    """A heat map a table of percent, side by side; size: of one of them in inches; settings: as `Axes.set`."""
    width = size[0] * len(tables) + 0.6
    figure, axes = plt.subplots(1, len(tables), figsize=(width, size[1]), squeeze=False, sharey=True)
    for axis, (name, table) in zip(axes[0], tables.items()):
        look = {"annot_kws": {"fontsize": 7}, "cmap": "cividis", "vmin": 0, "vmax": 100, "cbar": axis is axes[0, -1]}
        sns.heatmap(table, annot=True, fmt=".0f", ax=axis, cbar_kws={"label": label, "shrink": 0.8}, **look)
        axis.set(**{"title": name, "xlabel": "", "ylabel": "", "facecolor": "#dddddd", **settings})  # grey: no images
        axis.grid(visible=False)
        axis.tick_params(axis="x", rotation=30)
        axis.tick_params(axis="y", rotation=0)
    figure.tight_layout()
    return figure


def confusion(models: Sequence[Clip], part: ImageSet, head: torch.Tensor) -> Figure:
    """What each model calls the images of each class, in percent of the class; head (C, D)."""
    shares = {}
    for clip in models:
        called = predict(clip, part.images, head).numpy()
        counts = np.zeros([len(part.classes)] * 2)
        np.add.at(counts, (part.labels, called), 1)
        share = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
        shares[clip.name] = pd.DataFrame(share, part.classes, part.classes)
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


def embedding_map(points: Mapping[str, Mapping[str, np.ndarray]], texts: Mapping[str, np.ndarray], name: str) -> Figure:
    """A panel a model, the same plane in all: images by group (n, 2), class texts (2,) as stars, `name`'s marked."""
    size = (4.2 * len(points), 3.9)
    figure, axes = plt.subplots(1, len(points), figsize=size, sharex=True, sharey=True, squeeze=False)
    looks = {
        "other": {"marker": ".", "color": "#bbbbbb"},
        "retain": {"marker": "^", "edgecolor": COLOURS["remind"], "facecolor": "none"},
        "target": {"marker": "o", "color": COLOURS["target"]},
    }
    for axis, (model, groups) in zip(axes[0], points.items()):
        for group, look in looks.items():
            if group in groups:
                axis.scatter(*groups[group].T, s=14, lw=0.7, label=group, **look)
        for i, text in enumerate(sorted(texts, key=lambda text: (text == name, texts[text][1]))):
            ours = text == name
            colour, at = COLOURS["target"] if ours else "black", texts[text]
            axis.scatter(*at, s=260 if ours else 130, marker="*", color=colour, edgecolor="black", lw=0.7, zorder=6)
            axis.annotate(
                text, at, (-6, 4) if ours else (4, -10 if i % 2 else 4), textcoords="offset points", fontsize=8,
                color=colour, ha="right" if ours else "left", fontweight="bold" if ours else "normal", zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
            )  # fmt: skip
        axis.set(title=model, xlabel="first principal axis")
    axes[0, 0].set_ylabel("second principal axis")
    axes[0, -1].legend(title="★ class texts", **BESIDE)
    figure.tight_layout()
    return figure
