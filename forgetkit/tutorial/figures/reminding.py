"""Figures of notebook 03, reminding: memory, perturbations, teachers, resurrection. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from forgetkit.tutorial.figures.base import COLOURS
from forgetkit.tutorial.figures.forgetting import LINES


def pixel_grid(rows: Mapping[str, torch.Tensor], title: str = "") -> Figure:
    """A row of pictures per entry, its name at the left; pictures (N, 3, S, S) in 0..1."""
    columns = max(len(pixels) for pixels in rows.values())
    figure, axes = plt.subplots(len(rows), columns, figsize=(columns * 0.8, len(rows) * 0.84), squeeze=False)
    for line, (name, pixels) in zip(axes, rows.items()):
        for axis in line:
            axis.axis("off")
        for axis, picture in zip(line, pixels.detach().float().cpu()):
            axis.imshow(picture.permute(1, 2, 0).numpy())
        line[0].text(-0.12, 0.5, name, ha="right", va="center", transform=line[0].transAxes)
    figure.subplots_adjust(wspace=0.05, hspace=0.07)
    if title:
        figure.suptitle(title, y=0.98 if len(rows) > 2 else 1.08, fontsize=11)
    return figure


def drift(table: pd.DataFrame, columns: Sequence[str], original: Mapping[str, float]) -> Figure:
    """Accuracy on every column by step of stage 2, in percent of the original's; table: step, and the columns."""
    figure, axis = plt.subplots(figsize=(5.6, 2.8))
    for column in columns:
        if original[column] > 0:  # what the original does not know cannot be lost
            share = 100 * table[column] / original[column]
            axis.plot(table["step"], share, label=column, ms=5, **LINES.get(column, {}))
    axis.axhline(100, color="black", lw=0.8, ls=":")
    axis.set(xlabel="steps of plain fine-tuning (0: after stage 1)", ylabel="accuracy (% of the original's)")
    axis.set_xticks(table["step"])
    axis.legend(frameon=False, bbox_to_anchor=(1.02, 0.5), loc="center left")
    return figure


def alignment_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """L_a by step of alignment, a line per set of images."""
    figure, axis = plt.subplots(figsize=(5, 2.6))
    looks = [(COLOURS["restore"], "-", "o"), (COLOURS["forget"], "--", "s"), (COLOURS["original"], "-.", "^")]
    for (name, curve), (colour, line, marker) in zip(curves.items(), looks):
        axis.plot(range(len(curve)), curve, color=colour, ls=line, marker=marker, ms=4, label=name)
    axis.set(xlabel="step of alignment", ylabel="$L_a$ (sum over layers)", ylim=(0, None))
    axis.legend(frameon=False)
    return figure


def channel_means(
    before: torch.Tensor, after: torch.Tensor, running: torch.Tensor, layer: str, names: Sequence[str]
) -> Figure:
    """Mean of every channel at one BN layer's input against its running mean, (channels,) each; two panels."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.1), sharex=True, sharey=True)
    running = running.cpu().numpy()
    looks = [(COLOURS["original"], "o"), (COLOURS["restore"], "D")]
    for axis, mean, name, (colour, marker) in zip(axes, (before, after), names, looks):
        mean = mean.float().cpu().numpy()
        axis.axline((0, 0), slope=1, color="black", lw=0.8, ls=":")
        axis.scatter(running, mean, s=16, color=colour, marker=marker, edgecolor="black", lw=0.3)
        distance = np.linalg.norm(mean - running)
        axis.set(xlabel="running mean of a channel", title=f"{name}: distance {distance:.1f}")
        axis.margins(0.08)
    axes[0].set_ylabel(f"mean over the images\n(input of {layer})")
    figure.tight_layout()
    return figure


def strength(table: pd.DataFrame) -> Figure:
    """L_a and the original's accuracy by how much of the perturbation is added; table: strength, loss, accuracy."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.5))
    left.plot(table["strength"], table["loss"], color=COLOURS["restore"], marker="o", ms=4)
    left.set(ylabel="$L_a$ of the batch", ylim=(0, None))
    right.plot(table["strength"], table["accuracy"], color=COLOURS["target"], ls="--", marker="s", ms=4)
    right.set(ylabel="original's accuracy (%)", ylim=(0, 100))
    for axis in (left, right):
        axis.set_xlabel("strength $s$ in $x+s\\,\\delta$")
        axis.axvline(1, color="black", lw=0.8, ls=":")
    figure.tight_layout()
    return figure


def teachers(picture: torch.Tensor, table: pd.DataFrame, highlight: str) -> Figure:
    """A picture (3, S, S) in 0..1 and class probabilities by teacher; table: index the class, a column a teacher."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.6), width_ratios=(1, 3))
    left.imshow(picture.permute(1, 2, 0).float().cpu().numpy())
    left.axis("off")
    x, width = np.arange(len(table)), 0.8 / table.shape[1]
    looks = [{"color": COLOURS["original"]}, {"color": COLOURS["restore"], "hatch": "//"}]
    for i, (name, look) in enumerate(zip(table, looks)):
        shift = (i - (table.shape[1] - 1) / 2) * width
        bars = right.bar(x + shift, table[name], width, label=name, edgecolor="black", lw=0.4, **look)
        right.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
    right.set_xticks(x, table.index, rotation=40, ha="right", rotation_mode="anchor")
    for label in right.get_xticklabels():
        if label.get_text() == highlight:
            label.set(color=COLOURS["target"], fontweight="bold")
    right.set(ylabel="probability (%)", ylim=(0, 118))
    right.grid(axis="x", visible=False)
    right.legend(frameon=False, ncol=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    return figure


def weight_path(raw: Sequence[float], averaged: Sequence[float], decay: float) -> Figure:
    """One weight by step of training, and its moving average."""
    figure, axis = plt.subplots(figsize=(5.6, 2.5))
    steps = range(1, len(raw) + 1)
    axis.plot(steps, raw, color=COLOURS["original"], marker="o", ms=3, lw=1, label=r"$\theta$, the optimiser's")
    axis.plot(
        steps, averaged, color=COLOURS["restore"], lw=2.4, label=rf"$\theta_\mathrm{{ema}}$, averaged, $a={decay:g}$"
    )
    axis.set(xlabel="step", ylabel="one weight of an adapter")
    axis.legend(frameon=False, bbox_to_anchor=(1.02, 0.5), loc="center left")
    return figure


def variations(table: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """What each variation of stage 2 leaves: the target as bars, the rest as differences from the original.

    table: model (the first row is the original), accuracies in percent, score
    """
    rest = [name for name in columns if name != "target"]
    shown = table.iloc[1:]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.36 * len(shown) + 1.1), sharey=True, width_ratios=(2, 3.4), gridspec_kw={"wspace": 0.05}
    )
    y = np.arange(len(shown)) + 0.5
    bars = left.barh(y, shown["target"], height=0.7, color=COLOURS["target"], hatch="//", edgecolor="black", lw=0.4)
    left.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    before = table["target"].iloc[0]
    left.axvline(before, color="black", lw=0.8, ls=":")
    left.set(xlabel="target accuracy (%)", xlim=(0, max(1.15 * before, 1.2 * shown["target"].max(), 1)))
    left.set_title(f"to be forgotten (dotted: {before:.0f} before)", fontsize=9)
    left.grid(axis="y", visible=False)
    change = (shown[rest] - table[rest].iloc[0]).round() + 0.0  # no "-0"
    limit = max(10, change.abs().to_numpy().max())
    cells = pd.concat([change, pd.DataFrame({"Score": np.zeros(len(shown))}, index=change.index)], axis=1)
    words = pd.concat([change.map("{:+.0f}".format), shown["score"].map("{:.1f}".format).rename("Score")], axis=1)
    sns.heatmap(
        cells, annot=words, fmt="", cmap="PuOr", vmin=-limit, vmax=limit, cbar=False, linewidths=1, ax=right,
        annot_kws={"fontsize": 9},
    )  # fmt: skip
    right.set_title("to be kept: change from the original (points)", fontsize=9)
    right.set(xlabel="", ylabel="")
    left.set_yticks(y, shown["model"], rotation=0)
    left.set_ylim(len(shown), 0)
    right.tick_params(axis="y", length=0, labelleft=False)
    right.tick_params(axis="x", length=0)
    return figure
