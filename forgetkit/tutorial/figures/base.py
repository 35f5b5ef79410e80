"""Figures that several notebooks share, and their look. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from forgetkit.models.clip import Clip
from forgetkit.data.sets import ImageSet
from forgetkit.evaluation import predict

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
    width: float = 1.45, heads: Mapping[str, torch.Tensor] | None = None,
) -> Figure:  # fmt: skip
    """Real test images, `width` inches each, with what the original and the unlearned model call them.

    heads: class embeddings (C, D) by column, where they are made already
    Images are drawn at random among those that the original model gets right, so that what is lost is seen; where
    there are none, the row is empty.
    """
    rng = np.random.default_rng(seed)
    figure, axes = plt.subplots(
        len(columns), per_column, figsize=(per_column * width, len(columns) * 1.75), squeeze=False
    )
    for line, (name, part) in zip(axes, columns.items()):
        part = part.take(rng.permutation(len(part))[:200])
        head = heads[name] if heads else original.head(part.classes, part.prompts)
        before, p0 = _guess(original, part.images, head)
        right = np.flatnonzero(before == part.labels)[:per_column]
        after, p1 = _guess(unlearned, part.images[right], head) if len(right) else ([], [])
        for axis in line:
            axis.axis("off")
        for axis, i, now, p in zip(line, right, after, p1):
            axis.imshow(part.images[i])
            changed = now != before[i]
            axis.set_title(
                f"{short(part.classes[before[i]])} {p0[i]:.0f} %\n→ {short(part.classes[now])} {p:.0f} %",
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
        title = f"{short(part.classes[guess], 11)} {share:.0f} %"
        colour = COLOURS["target"] if wrong else "black"
        axis.set_title(title, fontsize=8, color=colour, fontweight="bold" if wrong else "normal", pad=2)
    figure.tight_layout(h_pad=0.5, w_pad=0.2)
    return figure


def short(name: str, length: int = 14) -> str:
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


def loss_curves(record: dict) -> Figure:
    """What stage 1 leaves recognised of D_f (and of D_r, where it looks); stage 2's loss terms; by step."""
    forget, remind = pd.DataFrame(record["forget"]), pd.DataFrame(record["remind"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6))
    known = forget.dropna(subset=["target"])
    left.plot(known["step"], known["target"], color=COLOURS["target"], marker="o", label="forget images")
    if "retain" in known:
        left.plot(known["step"], known["retain"], color=COLOURS["remind"], marker="s", ls="--", label="retain images")
    left.set(xlabel="step", ylabel="recognised (%)", title="1. forget", ylim=(-2, None))
    left.legend(frameon=False, fontsize=8)
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
