"""Figures of the tutorial: one look, colour-blind safe, axes named with units. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from .clips import Clip
from .data import ImageSet
from .evaluate import predict

# Okabe and Ito's colours; light to dark also in grey.
COLOURS = {"original": "#999999", "forget": "#E69F00", "remind": "#56B4E9", "restore": "#0072B2", "target": "#D55E00"}
STYLE = {"figure.dpi": 90, "savefig.dpi": 140, "font.size": 10, "axes.titlesize": 11}


def use_style() -> None:
    """The tutorial's look, for every figure made afterwards."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE)


def save(figure: Figure, folder: str | Path, name: str) -> Figure:
    """Write `folder/name.png` and hand the figure on."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(folder) / f"{name}.png", bbox_inches="tight")
    return figure


def image_grid(rows: Mapping[str, ImageSet], columns: int = 12, seed: int = 0) -> Figure:
    """A row of random images per set, with its name and size at the left."""
    figure, axes = plt.subplots(len(rows), columns, figsize=(columns * 0.72, len(rows) * 0.78), squeeze=False)
    rng = np.random.default_rng(seed)
    for line, (name, part) in zip(axes, rows.items()):
        chosen = rng.permutation(len(part))[:columns]
        for axis in line:
            axis.axis("off")
        for axis, i in zip(line, chosen):
            axis.imshow(part.images[i])
        line[0].text(-0.15, 0.5, f"{name}\n({len(part)})", ha="right", va="center", transform=line[0].transAxes)
    figure.subplots_adjust(wspace=0.05, hspace=0.08)
    return figure


def _guess(clip: Clip, images: np.ndarray, head: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Most probable class and its probability in percent, (N,) each."""
    with torch.no_grad():
        p = (clip.scale * clip.embed(images) @ head.T).softmax(1).max(1)
    return p.indices.cpu().numpy(), 100 * p.values.cpu().numpy()


def before_after(
    original: Clip, unlearned: Clip, columns: Mapping[str, ImageSet], per_column: int = 6, seed: int = 0,
    width: float = 1.45,
) -> Figure:  # fmt: skip
    """Real test images, `width` inches each, with what the original and the unlearned model call them.

    Images are drawn at random among those that the original model gets right, so that what is lost is seen.
    """
    rng = np.random.default_rng(seed)
    figure, axes = plt.subplots(
        len(columns), per_column, figsize=(per_column * width, len(columns) * 1.75), squeeze=False
    )
    for line, (name, part) in zip(axes, columns.items()):
        part = part.take(rng.permutation(len(part))[:200])
        head = original.head(part.classes, part.prompts)
        before, p0 = _guess(original, part.images, head)
        right = np.flatnonzero(before == part.labels)[:per_column]
        after, p1 = _guess(unlearned, part.images[right], head)
        for axis in line:
            axis.axis("off")
        for axis, i, now, p in zip(line, right, after, p1):
            axis.imshow(part.images[i])
            changed = now != before[i]
            axis.set_title(
                f"{_short(part.classes[before[i]])} {p0[i]:.0f} %\n→ {_short(part.classes[now])} {p:.0f} %",
                fontsize=8,
                color=COLOURS["target"] if changed else "black",
                fontweight="bold" if changed else "normal",
            )
        line[0].text(-0.12, 0.5, name, ha="right", va="center", transform=line[0].transAxes, fontweight="bold")
    figure.tight_layout(h_pad=0.6, w_pad=0.4)
    return figure


def guesses(clip: Clip, part: ImageSet, head: torch.Tensor, n: int = 16, seed: int = 0) -> Figure:
    """Random images of a set with what the model calls them; wrong names in red."""
    part = part.take(np.random.default_rng(seed).permutation(len(part))[:n])
    names, p = _guess(clip, part.images, head)
    columns = 8
    figure, axes = plt.subplots(
        -(-len(part) // columns), columns, figsize=(columns * 1.05, -(-len(part) // columns) * 1.3)
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, label, guess, share in zip(axes.flat, part.images, part.labels, names, p):
        axis.imshow(image)
        wrong = guess != label
        title = f"{_short(part.classes[guess], 11)} {share:.0f} %"
        colour = COLOURS["target"] if wrong else "black"
        axis.set_title(title, fontsize=8, color=colour, fontweight="bold" if wrong else "normal", pad=2)
    figure.tight_layout(h_pad=0.5, w_pad=0.2)
    return figure


def _short(name: str, length: int = 14) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def table_bars(table: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Accuracy per column, one bar a model."""
    long = table.melt(id_vars="model", value_vars=list(columns), var_name="column", value_name="accuracy")
    figure, axis = plt.subplots(figsize=(8, 2.8))
    palette = [COLOURS.get(m, "#009E73") for m in table["model"]]
    sns.barplot(long, x="column", y="accuracy", hue="model", palette=palette, edgecolor="black", linewidth=0.4, ax=axis)
    axis.set(xlabel="", ylabel="accuracy (%)", ylim=(0, 100))
    sns.move_legend(axis, "upper center", ncol=4, title=None, frameon=False, bbox_to_anchor=(0.5, 1.18))
    return figure


def fisher_bars(record: dict) -> Figure:
    """Relative Fisher information of every layer, the chosen ones in colour; from the record of stage 1."""
    table = pd.DataFrame(record["fisher"])
    figure, axis = plt.subplots(figsize=(7, 0.18 * len(table) + 0.8))
    chosen = table["layer"].isin(record["layers"])
    axis.barh(
        table["layer"], table["ratio"], color=np.where(chosen, COLOURS["restore"], "#cccccc"), edgecolor="black", lw=0.3
    )
    axis.axvline(1, color="black", lw=0.8, ls=":")
    axis.invert_yaxis()
    axis.set(xlabel="relative Fisher information, forget / retain (ratio)")
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", visible=False)
    return figure


def alignment_bars(record: dict) -> Figure:
    """Distance to the BatchNorm statistics per layer, before and after alignment; from the record of stage 2."""
    long = pd.DataFrame(record["align"]).melt("layer", var_name="images", value_name="distance")
    figure, axis = plt.subplots(figsize=(8, 2.6))
    palette = [COLOURS["original"], COLOURS["restore"]]
    sns.barplot(long, x="layer", y="distance", hue="images", palette=palette, edgecolor="black", linewidth=0.3, ax=axis)
    axis.set(xlabel="BatchNorm layer, input to output", ylabel="distance to the\nrunning statistics")
    axis.tick_params(axis="x", rotation=70, labelsize=7)
    axis.legend(title=None, frameon=False)
    return figure


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
    axis.set(xlabel="alpha (0 = original, 1 = unlearned)", ylabel=f"{images} (%)", xlim=(0, 1), ylim=(0, 102))


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


def loss_curves(record: dict) -> Figure:
    """Stage 1's similarity and what is still recognised of D_f; stage 2's loss terms; by step."""
    forget, remind = pd.DataFrame(record["forget"]), pd.DataFrame(record["remind"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6))
    known = forget.dropna(subset=["target"])
    left.plot(known["step"], known["target"], color=COLOURS["target"], marker="o", label="recognised in D_f")
    left.set(xlabel="step", ylabel="recognised in D_f (%)", title="1. forget", ylim=(-2, None))
    for name in remind.columns.drop("step"):
        right.plot(remind["step"], remind[name].rolling(5, min_periods=1).mean(), label=name)
    right.set(xlabel="step", ylabel="loss", title="2. remind", yscale="log")
    right.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.02, 0.5), loc="center left")
    figure.tight_layout()
    return figure


def confusion(models: Sequence[Clip], part: ImageSet, head: torch.Tensor | None = None) -> Figure:
    """What each model calls the images of each class, in percent of the class; one heat map a model."""
    head = models[0].head(part.classes, part.prompts) if head is None else head
    n = len(part.classes)
    figure, axes = plt.subplots(1, len(models), figsize=(4.6 * len(models) + 0.6, 4.2), squeeze=False, sharey=True)
    for axis, clip in zip(axes[0], models):
        counts = np.zeros((n, n))
        np.add.at(counts, (part.labels, predict(clip, part.images, head).numpy()), 1)
        share = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
        sns.heatmap(
            share, annot=True, fmt=".0f", annot_kws={"fontsize": 7}, cmap="cividis", vmin=0, vmax=100, square=True,
            xticklabels=part.classes, yticklabels=part.classes, cbar=axis is axes[0][-1],
            cbar_kws={"label": "images of the class (%)", "shrink": 0.8}, ax=axis,
        )  # fmt: skip
        axis.set(title=clip.name, xlabel="called", ylabel="is" if axis is axes[0][0] else "")
    figure.tight_layout()
    return figure


def similarities(clip: Clip, columns: Mapping[str, ImageSet], text: torch.Tensor, name: str) -> Figure:
    """How similar the images of each set are to one text, (D,): the distributions of the cosine."""
    figure, axis = plt.subplots(figsize=(6.5, 2.6))
    colours = [COLOURS["target"], COLOURS["restore"], COLOURS["original"], COLOURS["remind"]]
    for (column, part), colour, style in zip(columns.items(), colours, ["-", "--", ":", "-."]):
        cosine = (clip.embed(part.images) @ text).cpu().numpy()
        sns.kdeplot(x=cosine, color=colour, ls=style, lw=2, label=column, ax=axis)  # lines tell them apart in grey
    axis.set(xlabel=f"cosine of image and the text {name!r}", ylabel="density", yticks=[])
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def bars(table: pd.DataFrame, x: str, y: str, label: str, highlight: Sequence[str] = ()) -> Figure:
    """One bar a row, values written above; the highlighted ones in the target's colour, hatched."""
    figure, axis = plt.subplots(figsize=(min(9, 0.75 * len(table) + 1.5), 2.6))
    drawn = axis.bar(table[x], table[y], color=COLOURS["restore"], edgecolor="black", lw=0.4)
    for bar, name in zip(drawn, table[x]):
        if name in highlight:
            bar.set(facecolor=COLOURS["target"], hatch="//")
    axis.bar_label(drawn, fmt="%.0f", fontsize=8, padding=1)
    axis.set(ylabel=label, ylim=(0, 1.15 * max(table[y].max(), 1)))
    axis.tick_params(axis="x", rotation=35 if len(table) > 5 else 0)
    axis.grid(axis="x", visible=False)
    return figure


# --------------------------------------------------------------------------------------------------
# 05 Evaluation

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
            _short(part.classes[part.labels[image]], 10), fontsize=7, pad=1.5, color=colour,
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
    figure, axes = plt.subplots(1, len(points), figsize=(4.2 * len(points), 3.9), sharex=True, sharey=True)
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


def methods(rows: pd.DataFrame, nothing: float) -> Figure:
    """Score by method with its spread, and what each forgot against what it kept; behind the name, how many runs.

    rows: one a run, with `method`, `score`, `target` (accuracy, %) and `kept` (mean over the other columns, % of the
    original); nothing: the Score of doing nothing, a dotted line
    """
    runs = rows["method"].map(rows["method"].value_counts())
    rows = rows.assign(method=rows["method"] + " (" + runs.astype(str) + ")")
    by = rows.groupby("method").agg(["mean", "std"])
    by = by.loc[by[("score", "mean")].sort_values(ascending=False).index]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.24 * len(by) + 2), width_ratios=(1.2, 1))
    y = np.arange(len(by))
    error = by["score", "std"].fillna(0)
    left.barh(y, by["score", "mean"], xerr=error, color=COLOURS["remind"], edgecolor="black", lw=0.4, capsize=3)
    left.axvline(nothing, color="black", lw=1, ls=":")
    left.text(nothing, -0.55, "nothing done", ha="center", va="bottom", fontsize=8)
    left.set_yticks(y, by.index)
    left.set(xlabel="Score (%), mean ± standard deviation over runs", xlim=(0, 100), ylim=(len(by) - 0.5, -0.5))
    left.grid(axis="y", visible=False)
    for i, (method, row) in enumerate(by.iterrows()):
        right.errorbar(
            row["kept", "mean"], row["target", "mean"], xerr=np.nan_to_num(row["kept", "std"]),
            yerr=np.nan_to_num(row["target", "std"]), fmt=MARKERS[i % len(MARKERS)], color=f"C{i % 10}",
            markeredgecolor="black", markeredgewidth=0.5, elinewidth=0.7, label=method,
        )  # fmt: skip
    right.set(xlabel="kept, mean of the other columns (% of original)", ylabel="target accuracy (%)")
    right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


# --------------------------------------------------------------------------------------------------
# 02 Forgetting

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


def layer_choice(table: pd.DataFrame, k: int, order: Sequence[str], title: str) -> Figure:
    """Relative Fisher information of every layer in the network's order, the top k coloured and hatched.

    table: layer, ratio; order: the layers from input to output
    """
    ratio = table.set_index("layer")["ratio"].loc[list(order)]
    chosen = set(table.nlargest(k, "ratio")["layer"])
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


# --------------------------------------------------------------------------------------------------
# 03 Reminding


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
