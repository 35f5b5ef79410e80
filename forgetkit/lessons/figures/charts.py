"""The look of all figures; curves, bars, heat maps, and the decision boundary between two texts."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

# Okabe and Ito's colours; light to dark also in grey.
COLOURS = {"original": "#999999", "forget": "#E69F00", "remind": "#56B4E9", "restore": "#0072B2", "target": "#CC3311"}
RECIPES = {"default": COLOURS["restore"], "paper": COLOURS["forget"]}  # drawn larger than the baselines
STYLE = {"figure.dpi": 90, "savefig.dpi": 140, "font.size": 10, "axes.titlesize": 11}
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
# And of other series, in turn.
HUES = [*(COLOURS[name] for name in ("restore", "target", "original", "forget", "remind")), "#009E73", "#CC79A7"]
STROKES = ("-", "--", "-.", ":", (0, (7, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)))
SERIES = [{"color": colour, "ls": line, "marker": marker} for colour, line, marker in zip(HUES, STROKES, "os^DvPx")]
BESIDE = {"frameon": False, "loc": "center left", "bbox_to_anchor": (1.02, 0.5)}  # a legend right of the axes


def use_style() -> None:
    """The tutorial's look, for every figure made afterwards."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE)


def short(name: str, length: int = 14) -> str:
    """A name that fits above a small picture, in which a $ is a $."""
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")


def save(figure: Figure, folder: str | Path, name: str) -> Figure:
    """Write `folder/name.png` and hand the figure on."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(folder) / f"{name}.png", bbox_inches="tight")
    return figure


def lines(tables: pd.DataFrame | Mapping[str, pd.DataFrame], label: str | Mapping[str, str], **settings) -> Figure:
    """Curves over the index of a table, a line a column; a panel a table where there are several, by title.

    label: of the y axis, or by title; settings: `mark` (a dotted line) and those of `Axes.set`, for all or by title
    """
    tables = tables if isinstance(tables, Mapping) else {"": tables}
    size = (5.4, 2.7) if len(tables) == 1 else (3.9 * len(tables) + 1, 2.9)
    figure, axes = plt.subplots(1, len(tables), figsize=size, sharey=isinstance(label, str), squeeze=False)
    for axis, (title, table) in zip(axes[0], tables.items()):
        taken = {LOOKS[name]["color"] for name in table if name in LOOKS}
        free = itertools.cycle(look for look in SERIES if look["color"] not in taken)
        for name in table:
            line, look = table[name].dropna(), LOOKS.get(name) or next(free)
            axis.plot(line.index, line, label=name, ms=4, markevery=max(1, len(line) // 16), **look)
        given = {"ylabel": label, **settings}.items()
        own = {name: value.get(title) if isinstance(value, Mapping) else value for name, value in given}
        if (mark := own.pop("mark", None)) is not None:
            axis.axvline(mark, color="black", lw=1, ls=":")
        axis.set(title=title, xlabel=table.index.name, **{name: value for name, value in own.items() if value})
        if isinstance(label, str):
            axis.label_outer()
    axes[0, -1].legend(**BESIDE)
    figure.tight_layout()
    return figure


def loss_curves(record: dict) -> Figure:
    """What stage 1, if any, leaves recognised of D_f (and of D_r, where it looks); stage 2's loss terms; by step."""
    terms = pd.DataFrame(record["remind"]).set_index("step").rolling(5, min_periods=1).mean()
    terms = terms.where(terms > 1e-6)  # a hinge at 0 has no place on a log axis
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
    slant = {"rotation": 60 if groups > 12 else 30, "ha": "right", "rotation_mode": "anchor"}
    slant = slant if groups > 6 or groups * max(map(len, map(str, table.index))) > 60 else {}
    axis.set_xticks(range(groups), table.index, fontsize=7 if groups > 12 else None, **slant)
    for text, bar in zip(axis.get_xticklabels(), axis.containers[0]):
        if text.get_text() in highlight:
            text.set(color=COLOURS["target"], fontweight="bold")
            bar.set(**{"facecolor": COLOURS["target"], "hatch": "//"} if n == 1 else {})
    axis.set(**{"ylabel": label, "ylim": (0, 1.15 * max(table.to_numpy().max(), 1)), **settings})
    axis.set_xlim(-0.6, groups - 0.4)
    axis.grid(axis="x", visible=False)
    if n > 1:
        axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=n)
    return figure


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


def decisions(points: Mapping[str, Mapping[str, np.ndarray]], name: str) -> Figure:
    """A filmstrip, a panel a model: every image by its similarity to the best other text and to that of `name`.

    On the diagonal the two are equal: above it, where the panel is red, an image is called `name`. The share of each
    column's images that are stands in the legend.

    points: by model and column, (n, 2) as `diagnostics.rivals` makes them
    """
    name, columns = short(name, 24), list(dict.fromkeys(column for groups in points.values() for column in groups))
    size = (2.75 * len(points) + 0.5, 3.4)
    figure, axes = plt.subplots(1, len(points), figsize=size, sharex=True, sharey=True, squeeze=False)
    every = np.concatenate([xy for groups in points.values() for xy in groups.values()])
    low, high = every.min() - 0.03, every.max() + 0.03
    for axis, (model, groups) in zip(axes[0], points.items()):
        axis.fill_between([low, high], [low, high], high, color=COLOURS["target"], alpha=0.08, lw=0)
        axis.plot([low, high], [low, high], color="black", lw=1, ls="--")
        for column in reversed(columns):  # the target last, on top
            own, other = groups[column].T
            look = {"color": LOOKS[column]["color"], "marker": LOOKS[column]["marker"]}
            said = f"{column} {100 * (own > other).mean():.0f} %"
            axis.scatter(other, own, s=11, alpha=0.65, lw=0, label=said, **look)
        axis.legend(loc="center left", reverse=True, fontsize=8, labelcolor="linecolor", handletextpad=0.2)
        axis.set(title=model, xlabel="cosine to the best other text", xlim=(low, high), ylim=(low, high))
    axes[0, 0].set_ylabel(f"cosine to the text '{name}'")
    figure.tight_layout()
    return figure
