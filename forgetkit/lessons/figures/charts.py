"""Curves and bars: lines, markers and hatches tell series apart in grey, too. Each function returns a Figure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forgetkit.lessons.figures.style import COLOURS

# One look a column, or a model, in every figure.
LOOKS = {
    "target": {"color": COLOURS["target"], "ls": "-", "marker": "o", "lw": 2.4},
    "retain": {"color": "#0072B2", "ls": "--", "marker": "s"},
    "other": {"color": "#56B4E9", "ls": "-.", "marker": "^"},
    "fashion": {"color": "#009E73", "ls": ":", "marker": "D"},
    "quickdraw": {"color": "#E69F00", "ls": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    "unseen": {"color": "#CC79A7", "ls": (0, (3, 1, 1, 1)), "marker": "P"},
    "emoji": {"color": "#666666", "ls": (0, (7, 2)), "marker": "x"},
    "score": {"color": "black", "ls": "--", "marker": ""},
    "original": {"color": "#666666", "ls": "--", "marker": "s"},
    "unlearned": {"color": COLOURS["restore"], "ls": "-", "marker": "o"},
    "oracle": {"color": COLOURS["forget"], "ls": ":", "marker": "D"},
}
# And of other series, in turn; stage 2's loss has seven.
HUES = [*(COLOURS[name] for name in ("restore", "target", "original", "forget", "remind")), "#009E73", "#CC79A7"]
STROKES = ("-", "--", "-.", ":", (0, (7, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)))
SERIES = [{"color": colour, "ls": line, "marker": marker} for colour, line, marker in zip(HUES, STROKES, "os^DvPx")]
BESIDE = {"frameon": False, "loc": "center left", "bbox_to_anchor": (1.02, 0.5)}  # a legend right of the axes
ABOVE = {"frameon": False, "loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}


def lines(tables: pd.DataFrame | Mapping[str, pd.DataFrame], label: str | Mapping[str, str], **settings) -> Figure:
    """Curves over the index of a table, a line a column; a panel a table where there are several, by title.

    label: of the y axis, or of each panel's own; settings: `mark` (a dotted line) and those of `Axes.set`, for all or
    by title
    """
    tables = tables if isinstance(tables, Mapping) else {"": tables}
    size = (5.4, 2.7) if len(tables) == 1 else (3.9 * len(tables) + 1, 2.9)
    shared = isinstance(label, str)
    figure, axes = plt.subplots(1, len(tables), figsize=size, sharey=shared, squeeze=False)
    for axis, (title, table) in zip(axes[0], tables.items()):
        taken = {LOOKS[name]["color"] for name in table if name in LOOKS}
        free = itertools.cycle(look for look in SERIES if look["color"] not in taken)
        for name in table:
            line, look = table[name].dropna(), LOOKS.get(name) or next(free)
            axis.plot(line.index, line, label=name, ms=4, markevery=max(1, len(line) // 16), **look)
        own = {name: value.get(title) if isinstance(value, Mapping) else value for name, value in settings.items()}
        own = {name: value for name, value in own.items() if value is not None}
        if "mark" in own:
            axis.axvline(own.pop("mark"), color="black", lw=1, ls=":")
        ylabel = label[title] if not shared else label if axis is axes[0, 0] else ""
        axis.set(**{"title": title, "xlabel": table.index.name, "ylabel": ylabel, **own})
    axes[0, -1].legend(**BESIDE)
    figure.tight_layout()
    return figure


def loss_curves(record: dict) -> Figure:
    """What stage 1, if any, leaves recognised of D_f (and of D_r, where it looks); stage 2's loss terms; by step."""
    terms = pd.DataFrame(record["remind"]).set_index("step").rolling(5, min_periods=1).mean()
    if not record["layers"]:
        return lines(terms, "stage 2: loss", yscale="log")
    known = pd.DataFrame(record["forget"]).set_index("step").drop(columns="loss", errors="ignore").dropna(how="all")
    labels, scale = {"1. forget": "recognised (%)", "2. remind": "loss"}, {"2. remind": "log"}
    figure = lines({"1. forget": known, "2. remind": terms}, labels, yscale=scale, ylim={"1. forget": (-2, None)})
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def soup_path(record: dict, images: str = "calibration set") -> Figure:
    """Accuracy and Score from the original (alpha 0) to the unlearned model (1), the chosen alpha dotted."""
    path = along(record["soup"])
    return lines(path, f"{images} (%)", mark=record["alpha"], xlim=(-0.02, 1.02), ylim=(0, 102))


def along(path) -> pd.DataFrame:
    """The rows of a path from the original to the unlearned model, by alpha."""
    return pd.DataFrame(path).set_index("alpha").rename_axis("alpha (0 = original, 1 = unlearned)")


# --------------------------------------------------------------------------------------------------
# Bars


def bars(table: pd.DataFrame, label: str, highlight: Sequence[str] = (), **settings) -> Figure:
    """A group of bars a row of the table (its index), a bar a column, values above where there is room.

    highlight: rows that are drawn, or named, in the target's colour; settings: as `Axes.set`
    """
    n, groups = table.shape[1], len(table)
    figure, axis = plt.subplots(figsize=(min(9, max(0.3 * table.size, 0.75 * groups) + 2), 2.7))
    fills = ["#dddddd", COLOURS["remind"], COLOURS["restore"], COLOURS["forget"]] if n > 1 else [COLOURS["restore"]]
    for i, name in enumerate(table):
        at = np.arange(groups) + (i - (n - 1) / 2) * 0.8 / n
        colour = COLOURS.get(name) or LOOKS.get(name, {}).get("color", fills[i % len(fills)])
        look = {"color": colour, "hatch": ["", "//", "..", "xx"][i % 4]}
        drawn = axis.bar(at, table[name], 0.8 / n, label=name, edgecolor="black", lw=0.4, **look)
        if table.size <= 40:
            axis.bar_label(drawn, fmt="%.1f" if table.to_numpy().max() < 20 else "%.0f", fontsize=7, padding=1)
        for bar, row in zip(drawn, table.index):
            if n == 1 and row in highlight:
                bar.set(facecolor=COLOURS["target"], hatch="//")
    slant = {"rotation": 60 if groups > 12 else 30, "ha": "right", "rotation_mode": "anchor"}
    slant = slant if groups > 6 or groups * max(map(len, map(str, table.index))) > 60 else {}
    axis.set_xticks(range(groups), table.index, fontsize=7 if groups > 12 else None, **slant)
    for text in axis.get_xticklabels():
        if text.get_text() in highlight:
            text.set(color=COLOURS["target"], fontweight="bold")
    axis.set(**{"ylabel": label, "ylim": (0, 1.15 * max(table.to_numpy().max(), 1)), **settings})
    axis.set_xlim(-0.6, groups - 0.4)
    axis.grid(axis="x", visible=False)
    if n > 1:
        axis.legend(**ABOVE, ncol=n)
    return figure


def table_bars(table: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Accuracy per column, one bar a model, of `evaluate`'s table."""
    return bars(table.set_index("model")[list(columns)].T, "accuracy (%)", ylim=(0, 108))


def alignment_bars(losses) -> Figure:
    """Distance to the BatchNorm statistics before and after alignment; rows of layer, before, after."""
    table = pd.DataFrame(losses).set_index("layer")
    return bars(table, "distance to the\nrunning statistics", xlabel="BatchNorm layer, input to output")


def fisher_bars(table: pd.DataFrame, chosen: Sequence[str], order: Sequence[str] = (), title: str = "") -> Figure:
    """Relative Fisher information of every layer, the chosen ones coloured and hatched.

    table: layer, ratio, as `relative_fisher` makes it or stage 1 records it; order: the layers from input to output,
    the order of the table unless given
    """
    ratio = pd.DataFrame(table).set_index("layer")["ratio"]
    ratio = ratio.loc[list(order)] if len(order) else ratio
    figure, axis = plt.subplots(figsize=(6.4, 0.17 * len(ratio) + 0.9))
    ours = ratio.index.isin(chosen)
    look = {"color": np.where(ours, COLOURS["restore"], "#dddddd"), "edgecolor": np.where(ours, "white", "#999999")}
    axis.barh(ratio.index.str.removesuffix(".weight"), ratio, lw=0.3, hatch=["///" if o else "" for o in ours], **look)
    axis.axvline(1, color="black", lw=0.8, ls=":")
    axis.invert_yaxis()
    label = "relative Fisher information, forget / retain (ratio)"
    axis.set(xlabel=label, ylabel="input  →  output" if len(order) else "layer", title=title)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", visible=False)
    axis.margins(y=0.01)
    return figure
