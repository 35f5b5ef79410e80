"""Figures of notebook 02, forgetting: what the loss and the adapters do, step by step. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forgetkit.tutorial.figures.base import COLOURS

# Line and marker of each column, so that they stay apart in grey.
LINES = {
    "target": {"color": "#D55E00", "ls": "-", "marker": "o", "lw": 2.4},
    "retain": {"color": "#0072B2", "ls": "--", "marker": "s"},
    "other": {"color": "#56B4E9", "ls": "-.", "marker": "^"},
    "fashion": {"color": "#009E73", "ls": ":", "marker": "D"},
    "quickdraw": {"color": "#E69F00", "ls": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    "emoji": {"color": "#666666", "ls": (0, (7, 2)), "marker": "x"},
}


def gradient_squares(table: pd.DataFrame) -> Figure:
    """Mean of the samples' squared gradients and square of their mean gradient by number of images.

    table: images, "mean of squares", "square of mean"
    """
    figure, axis = plt.subplots(figsize=(5.2, 2.6))
    styles = [(COLOURS["restore"], "-", "o"), (COLOURS["target"], "--", "s")]
    for name, (colour, line, marker) in zip(("mean of squares", "square of mean"), styles):
        axis.plot(table["images"], table[name], color=colour, ls=line, marker=marker, label=name)
    axis.set(xscale="log", yscale="log", xlabel="images averaged over", ylabel="squared gradient\n(cosine² / weight²)")
    axis.set_xticks(table["images"], [str(n) for n in table["images"]])
    axis.minorticks_off()
    axis.legend(frameon=False)
    return figure


def layer_choice(table: pd.DataFrame, chosen: Sequence[str], order: Sequence[str], title: str) -> Figure:
    """Relative Fisher information of every layer in the network's order, the chosen ones coloured and hatched.

    table: layer, ratio; order: the layers from input to output
    """
    ratio = table.set_index("layer")["ratio"].loc[list(order)]
    figure, axis = plt.subplots(figsize=(6.4, 0.17 * len(ratio) + 0.9))
    for name, value in ratio.items():
        look = {"color": COLOURS["restore"], "hatch": "///"} if name in chosen else {"color": "#dddddd"}
        axis.barh(
            name.removesuffix(".weight"), value, edgecolor="white" if name in chosen else "#999999", lw=0.3, **look
        )
    axis.axvline(1, color="black", lw=0.8, ls=":")
    axis.invert_yaxis()
    axis.set(xlabel="relative Fisher information, forget / retain (ratio)", ylabel="input  →  output", title=title)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", visible=False)
    axis.margins(y=0.01)
    return figure


def adapter_gradients(table: pd.DataFrame) -> Figure:
    """The gradient's length at every adapter, one bar a way of putting it there.

    table: layer, and a column of lengths for each way (0: no gradient arrives)
    """
    ways = list(table.columns.drop("layer"))
    figure, axis = plt.subplots(figsize=(8, 2.5))
    x, width = np.arange(len(table)), 0.8 / len(ways)
    looks = [{"color": COLOURS["restore"]}, {"color": COLOURS["forget"], "hatch": "///"}]
    for i, (way, look) in enumerate(zip(ways, looks)):
        axis.bar(x + (i - (len(ways) - 1) / 2) * width, table[way], width, label=way, edgecolor="black", lw=0.3, **look)
        for j in np.flatnonzero(table[way].to_numpy() == 0):
            axis.text(j + i * width / 2, axis.get_ylim()[0], "none", rotation=90, ha="center", va="bottom", fontsize=7)
    axis.set(yscale="log", ylabel="gradient at B (length)", xlabel="adapted weight, input to output")
    bottom = table[ways].replace(0, np.nan).min(axis=None)
    axis.set_ylim(bottom / 3, None)
    for text in axis.texts:
        text.set_y(bottom / 2.6)
        text.set_color(COLOURS["target"])
        text.set_fontweight("bold")
    axis.set_xticks(x, [name.removesuffix(".weight") for name in table["layer"]], rotation=70, ha="right", fontsize=7)
    axis.set_xlim(-0.6, len(table) - 0.4)
    axis.grid(axis="x", visible=False)
    axis.legend(frameon=False, ncol=len(ways), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def similarity_by_step(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean cosine of D_f's images and their class text while each loss is minimised; curves: step, similarity."""
    figure, axis = plt.subplots(figsize=(5.6, 2.6))
    looks = [(COLOURS["target"], "-", "o"), (COLOURS["restore"], "--", "s"), (COLOURS["original"], "-.", "^")]
    for (name, curve), (colour, line, marker) in zip(curves.items(), looks):
        axis.plot(curve["step"], curve["similarity"], color=colour, ls=line, marker=marker, ms=4, label=name)
    axis.axhline(0, color="black", lw=0.8)
    axis.set(xlabel="step", ylabel="cosine of $D_f$'s images\nand their text (mean)", ylim=(-1, 1))
    axis.legend(frameon=False, title="loss")
    return figure


def accuracy_by_step(
    curves: Mapping[str, pd.DataFrame], columns: Sequence[str], stops: Mapping[str, float | None]
) -> Figure:
    """Accuracy on every column by step, in percent of step 0; a panel a loss, the stopping rule's step marked.

    curves: by loss, step and a column of accuracies for each of `columns`; stops: by loss, the step
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(3.9 * len(curves) + 1, 3), sharey=True, squeeze=False)
    for axis, (name, curve) in zip(axes[0], curves.items()):
        for column in columns:
            if curve[column].iloc[0] > 0:  # what the original does not know cannot be lost
                share = 100 * curve[column] / curve[column].iloc[0]
                axis.plot(curve["step"], share, label=column, ms=4, **LINES.get(column, {}))
        if stops.get(name) is not None:
            axis.axvspan(stops[name], curve["step"].max(), color="black", alpha=0.07, lw=0)
            axis.axvline(stops[name], color="black", lw=1.2)
            axis.text(stops[name], 117, " the rule\n stops here", va="top", fontsize=8)
        axis.set(xlabel="step", title=name, ylim=(-3, 120))
    axes[0, 0].set_ylabel("accuracy (% of the original's)")
    axes[0, -1].legend(frameon=False, bbox_to_anchor=(1.02, 0.5), loc="center left")
    figure.tight_layout()
    return figure
