"""Figures of notebook 05, evaluation: what changed, image by image and row by row. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forgetkit.data.sets import ImageSet
from forgetkit.tutorial.figures.base import COLOURS, short

MARKERS = ("o", "s", "^", "D", "v", "P")


def score_slots(parts: pd.DataFrame) -> Figure:
    """A row a model, a slot a column, filled as far as it counts in the Score; from `compare.contributions`."""
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(parts) + 0.9))
    width = 100 / parts.shape[1]
    for y, row in enumerate(parts.to_numpy()):
        for i, (name, share) in enumerate(zip(parts.columns, row)):
            colour = COLOURS["target"] if name == "target" else COLOURS["restore"]
            axis.barh(y, 0.96 * width, left=i * width, color="white", edgecolor="#777777", hatch="////", lw=0.4)
            axis.barh(y, 0.96 * width * max(share, 0) / 100, left=i * width, color=colour, edgecolor="black", lw=0.4)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axis.text((i + 0.48) * width, y, f"{share:.1f}", ha="center", va="center", fontsize=8, bbox=box)
        axis.text(101, y, f"{row.mean():.1f}", va="center", fontweight="bold")
    axis.text(101, -0.75, "Score", va="center", fontweight="bold")
    axis.set_yticks(range(len(parts)), parts.index)
    axis.set_xticks([(i + 0.48) * width for i in range(parts.shape[1])], parts.columns)
    axis.set(xlim=(0, 100), ylim=(len(parts) - 0.4, -0.6), xlabel="share of the Score (%), a slot a column")
    axis.grid(visible=False)
    return figure


def dumbbells(table: pd.DataFrame, label: str, before: str = "original", after: str = "restore") -> Figure:
    """A line a row (its index), from the value before (circle) to the one after (diamond), in percent."""
    figure, axis = plt.subplots(figsize=(6.5, 0.26 * len(table) + 0.9))
    y = np.arange(len(table))
    axis.hlines(y, table[before], table[after], color="#777777", lw=1.5)
    axis.scatter(table[before], y, s=40, color=COLOURS["original"], edgecolor="black", lw=0.5, label=before, zorder=3)
    axis.scatter(
        table[after], y, s=36, marker="D", color=COLOURS["restore"], edgecolor="black", lw=0.5, label=after, zorder=3
    )
    axis.set_yticks(y, table.index)
    axis.set(xlabel=label, xlim=(-2, 102), ylim=(len(table) - 0.5, -0.5))
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def grouped_bars(table: pd.DataFrame, label: str) -> Figure:
    """A group of bars a row (its index), one a column; hatches tell the columns apart in grey, too."""
    figure, axis = plt.subplots(figsize=(min(9, 0.3 * table.size + 2.5), 2.6))
    colours = ["#dddddd", COLOURS["remind"], COLOURS["restore"]][-table.shape[1] :]
    x, width = np.arange(len(table)), 0.8 / table.shape[1]
    for i, (name, hatch) in enumerate(zip(table, ["", "//", ".."][-table.shape[1] :])):
        bars = axis.bar(
            x + (i - (table.shape[1] - 1) / 2) * width, table[name], width, label=name, color=colours[i], hatch=hatch,
            edgecolor="black", lw=0.4,
        )  # fmt: skip
        axis.bar_label(bars, fmt="%.0f" if table.to_numpy().max() > 20 else "%.1f", fontsize=7, padding=1)
    slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(table) > 6 else {}
    axis.set_xticks(x, table.index, **slanted)
    axis.set(ylabel=label, ylim=(0, 1.15 * max(table.to_numpy().max(), 1)))
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.grid(axis="x", visible=False)
    return figure


def neighbour_grid(
    part: ImageSet, queries: Sequence[int], found: Mapping[str, np.ndarray], target: int, names: Sequence[str]
) -> Figure:
    """A row a query image of `part`, framed, and its nearest images before and after; those of class `target` in red.

    found: by model, (Q, k) indices into `part`; names: what stands beside each query
    """
    k = next(iter(found.values())).shape[1]
    width = 1 + len(found) * (k + 0.35)
    figure = plt.figure(figsize=(0.8 * width, 0.98 * len(queries) + 0.3))
    ratios = [1] + ([0.35] + [1] * k) * len(found)
    grid = figure.add_gridspec(len(queries), len(ratios), width_ratios=ratios, wspace=0.06, hspace=0.32)

    def show(row: int, column: int, image: int, framed: bool = False) -> plt.Axes:
        axis = figure.add_subplot(grid[row, column])
        axis.imshow(part.images[image])
        axis.set(xticks=[], yticks=[])
        hit = part.labels[image] == target
        colour = COLOURS["target"] if hit else "black"
        axis.set_title(
            short(part.classes[part.labels[image]], 10), fontsize=7, pad=1.5, color=colour,
            fontweight="bold" if hit else "normal",
        )  # fmt: skip
        for spine in axis.spines.values():
            spine.set(visible=framed or hit, color=colour, linewidth=2.2 if hit else 1.2)
        return axis

    for row, query in enumerate(queries):
        axis = show(row, 0, query, framed=True)
        axis.text(-0.2, 0.5, names[row], ha="right", va="center", transform=axis.transAxes, fontweight="bold")
        for m, (model, nearest) in enumerate(found.items()):
            for j, image in enumerate(nearest[row]):
                axis = show(row, 2 + m * (k + 1) + j, image)
                if row == 0 and j == k // 2:
                    axis.annotate(
                        f"nearest for {model}", (0.5, 1), xytext=(0, 16), xycoords="axes fraction", ha="center",
                        textcoords="offset points", fontweight="bold", annotation_clip=False,
                    )  # fmt: skip
    return figure


def embedding_map(points: Mapping[str, Mapping[str, np.ndarray]], texts: Mapping[str, np.ndarray], name: str) -> Figure:
    """A panel a model, the same plane in both: images by group (n, 2), and class texts (2,) as stars, `name` in red."""
    size = (4.2 * len(points), 3.9)
    figure, axes = plt.subplots(1, len(points), figsize=size, sharex=True, sharey=True, squeeze=False)
    axes = axes[0]
    looks = {  # group: colour, marker, filled
        "other": ("#bbbbbb", ".", True), "retain": (COLOURS["remind"], "^", False),
        "target": (COLOURS["target"], "o", True),
    }  # fmt: skip
    for axis, (model, groups) in zip(axes, points.items()):
        for group, (colour, marker, filled) in looks.items():
            if group in groups:
                face = colour if filled else "none"
                look = {"marker": marker, "facecolor": face, "edgecolor": colour, "label": group}
                axis.scatter(*groups[group].T, s=14, lw=0.7, **look)
        for i, (text, at) in enumerate(sorted(texts.items(), key=lambda item: (item[0] == name, item[1][1]))):
            colour = COLOURS["target"] if text == name else "black"
            offset = (-6, 4) if text == name else (4, -10 if i % 2 else 4)
            size = 260 if text == name else 130
            axis.scatter(*at, s=size, marker="*", color=colour, edgecolor="black", lw=0.7, zorder=6)
            weight = "bold" if text == name else "normal"
            axis.annotate(
                text, at, xytext=offset, textcoords="offset points", fontsize=8, color=colour,
                ha="right" if text == name else "left",
                fontweight=weight, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}, zorder=5,
            )  # fmt: skip
        axis.set(title=model, xlabel="first principal axis")
    axes[0].set_ylabel("second principal axis")
    axes[-1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), title="★ class texts")
    figure.tight_layout()
    return figure


def spread(table: pd.DataFrame, x: str, y: str, hue: str, label: str) -> Figure:
    """Mean and standard deviation of `y` over the rows of each `x` and `hue`, as points with error bars."""
    figure, axis = plt.subplots(figsize=(8, 3))
    names, kinds = list(dict.fromkeys(table[x])), list(dict.fromkeys(table[hue]))
    for i, kind in enumerate(kinds):
        found = table[table[hue] == kind].groupby(x)[y].agg(["mean", "std"]).reindex(names)
        at = np.arange(len(names)) + 0.18 * (i - (len(kinds) - 1) / 2)
        axis.errorbar(
            at, found["mean"], found["std"].fillna(0), fmt=MARKERS[i % len(MARKERS)], color=COLOURS.get(kind, f"C{i}"),
            markeredgecolor="black", markeredgewidth=0.5, ecolor="black", elinewidth=0.8, capsize=3, ms=6, label=kind,
        )  # fmt: skip
    axis.axhline(100, color="black", lw=0.8, ls=":")
    axis.set_xticks(range(len(names)), names)
    axis.set(ylabel=label)
    axis.grid(axis="x", visible=False)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
