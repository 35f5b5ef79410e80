"""Figures of notebook 04, restoring: the path between two models. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure

from forgetkit.models.clip import Clip
from forgetkit.tutorial.figures.base import COLOURS


def soup_path(record: dict, images: str = "calibration set") -> Figure:
    """Accuracy from the original (alpha 0) to the unlearned model (1), the chosen alpha marked."""
    figure, axis = plt.subplots(figsize=(6, 2.8))
    _path(axis, pd.DataFrame(record["soup"]), images)
    axis.axvline(record["alpha"], color="black", lw=0.8, ls=":")
    axis.legend(frameon=False, bbox_to_anchor=(1.02, 0.5), loc="center left")
    return figure


def _path(axis, table: pd.DataFrame, images: str) -> None:
    colours, markers = cycle(("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999999")), cycle("os^Dvx")
    for name in table.columns.drop(["alpha", "score"]):
        colour = COLOURS["target"] if name == "target" else next(colours)
        width = 2.5 if name == "target" else 1.2
        axis.plot(
            table["alpha"], table[name], label=name, color=colour, lw=width, marker=next(markers), ms=4, markevery=2
        )
    axis.plot(table["alpha"], table["score"], label="Score", color="black", ls="--")
    axis.set(xlabel="alpha (0 = original, 1 = unlearned)", ylabel=f"{images} (%)", xlim=(-0.02, 1.02), ylim=(0, 102))


def soup_pair(paths: Mapping[str, pd.DataFrame]) -> Figure:
    """Two paths from the original side by side, on test images."""
    figure, axes = plt.subplots(1, len(paths), figsize=(4.2 * len(paths), 2.8), sharey=True)
    for axis, (name, table) in zip(axes, paths.items()):
        _path(axis, table, "test set")
        axis.set(title=name, ylabel="test set (%)" if axis is axes[0] else "")
    axes[-1].legend(frameon=False, bbox_to_anchor=(1.02, 0.5), loc="center left")
    figure.tight_layout()
    return figure


def soup_choice(calibration: pd.DataFrame, test: pd.DataFrame, alpha: float) -> Figure:
    """Score and target along the path, on the set that chose alpha and on the one that judges it."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6))
    for axis, column, label in zip(axes, ("score", "target"), ("Score", "target accuracy (%)")):
        axis.plot(calibration["alpha"], calibration[column], label="calibration", color=COLOURS["remind"], ls="--")
        axis.plot(test["alpha"], test[column], label="test", color=COLOURS["restore"], marker="o", ms=4)
        axis.axvline(alpha, color="black", lw=0.8, ls=":")
        axis.set(xlabel="alpha (0 = original, 1 = unlearned)", ylabel=label)
    axes[1].legend(frameon=False)
    figure.tight_layout()
    return figure


def soup_point(table: pd.DataFrame, alpha: float) -> Figure:
    """Every column of one blend as bars, the original's accuracy as lines."""
    row = table.loc[(table["alpha"] - alpha).abs().idxmin()]
    before = table.loc[table["alpha"].idxmin()]
    names = list(table.columns.drop(["alpha", "score"]))
    figure, axis = plt.subplots(figsize=(6.5, 2.6))
    colours = [COLOURS["target"] if name == "target" else COLOURS["restore"] for name in names]
    drawn = axis.bar(names, row[names], color=colours, edgecolor="black", lw=0.4, width=0.7)
    axis.bar_label(drawn, fmt="%.0f", fontsize=8, padding=1)
    for i, name in enumerate(names):
        axis.hlines(before[name], i - 0.42, i + 0.42, color="#666666", lw=2)
    axis.set(ylim=(0, 105), ylabel="test set (%)", title=f"alpha = {row['alpha']:.1f}: Score {row['score']:.1f}")
    axis.grid(axis="x", visible=False)
    return figure


def distance_bars(unlearned: Clip, original: Clip) -> Figure:
    """Relative distance of every changed weight from the original's, input to output."""
    before = dict(original.model.visual.named_parameters())
    rows = [
        (name, ((weight - before[name]).norm() / before[name].norm()).item() * 100)
        for name, weight in unlearned.model.visual.named_parameters()
        if not torch.equal(weight, before[name])
    ]
    figure, axis = plt.subplots(figsize=(8, 2.4))
    axis.bar([name for name, _ in rows], [d for _, d in rows], color=COLOURS["restore"], edgecolor="black", lw=0.3)
    axis.set(ylabel="distance (% of the\noriginal's length)")
    axis.tick_params(axis="x", rotation=80, labelsize=7)
    axis.grid(axis="x", visible=False)
    return figure
