"""Figures made of images. Each function returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from forgetkit.data.images import ImageSet
from forgetkit.lessons.figures.style import COLOURS
from forgetkit.models.clip import Clip


def short(name: str, length: int = 14) -> str:
    """A name that fits above a small picture, in which a $ is a $."""
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")


def grid(names: Sequence[str], columns: int, width: float, height: float, bold: bool = False):
    """(figure, axes): a row a name, which stands at the left, all axes off; width, height: of a cell, in inches."""
    size = (columns * width, len(names) * height)
    figure, axes = plt.subplots(len(names), columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, name in zip(axes[:, 0], names):
        look = {"ha": "right", "va": "center", "fontweight": "bold" if bold else "normal"}
        axis.text(-0.14, 0.5, name, transform=axis.transAxes, **look)
    figure.subplots_adjust(wspace=0.05, hspace=0.08)
    return figure, axes


def title(axis, text: str, marked: bool, **look) -> None:
    """A small title; a marked one is bold and in the target's colour."""
    colour, weight = (COLOURS["target"], "bold") if marked else ("black", "normal")
    axis.set_title(text, color=colour, fontweight=weight, **{"fontsize": 8, **look})


def image_grid(rows: Mapping[str, ImageSet], columns: int = 12, seed: int = 0) -> Figure:
    """A row of random images per set, with its name and size at the left."""
    figure, axes = grid([f"{name}\n({len(part)})" for name, part in rows.items()], columns, 0.72, 0.78)
    rng = np.random.default_rng(seed)
    for line, part in zip(axes, rows.values()):
        for axis, i in zip(line, rng.permutation(len(part))[:columns]):
            axis.imshow(part.images[i])
    return figure


def pixel_grid(rows: Mapping[str, torch.Tensor], title: str = "") -> Figure:
    """A row of pictures per entry, its name at the left; pictures (N, 3, S, S) in 0..1."""
    figure, axes = grid([*rows], max(map(len, rows.values())), 0.8, 0.84)
    for line, pixels in zip(axes, rows.values()):
        for axis, picture in zip(line, pixels.detach().float().cpu()):
            axis.imshow(picture.permute(1, 2, 0).numpy())
    if title:
        figure.suptitle(title, y=0.98 if len(rows) > 2 else 1.08, fontsize=11)
    return figure


def style_grid(cells: Mapping[tuple[str, str], ImageSet], per_cell: int = 4, seed: int = 0) -> Figure:
    """Random images of every class (row) and style (column), `per_cell` of them side by side; empty where none are."""
    classes, styles = (list(dict.fromkeys(names)) for names in zip(*cells))
    figure, axes = grid(classes, len(styles) * per_cell, 0.75, 0.8)
    rng = np.random.default_rng(seed)
    for (name, style), part in cells.items():
        first = styles.index(style) * per_cell
        for axis, i in zip(axes[classes.index(name), first:], rng.permutation(len(part))[:per_cell]):
            axis.imshow(part.images[i])
    for axis, style in zip(axes[0, ::per_cell], styles):
        axis.text(0, 1.1, style, va="bottom", transform=axis.transAxes)
    return figure


@torch.no_grad()
def guess(clip: Clip, images, head: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Most probable class and its probability in percent, (N,) each."""
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
    figure, axes = grid([*columns], per_column, width, 1.75, bold=True)
    for line, (name, part) in zip(axes, columns.items()):
        part = part.take(rng.permutation(len(part))[:200])
        head = heads[name] if heads else original.head(part.classes, part.prompts)
        before, p0 = guess(original, part.images, head)
        right = np.flatnonzero(before == part.labels)[:per_column]
        after, p1 = guess(unlearned, part.images[right], head) if len(right) else ([], [])
        for axis, i, now, p in zip(line, right, after, p1):
            axis.imshow(part.images[i])
            was, name = short(part.classes[before[i]]), short(part.classes[now])
            title(axis, f"{was} {p0[i]:.0f} %\n→ {name} {p:.0f} %", now != before[i])
    figure.tight_layout(h_pad=0.6, w_pad=0.4)
    return figure


def guesses(clip: Clip, part: ImageSet, head: torch.Tensor, n: int = 16, seed: int = 0) -> Figure:
    """Random images of a set with what the model calls them; wrong names are marked."""
    part = part.take(np.random.default_rng(seed).permutation(len(part))[:n])
    names, p = guess(clip, part.images, head)
    figure, axes = grid([""] * -(-len(part) // 8), 8, 1.05, 1.3)
    for axis, image, label, name, share in zip(axes.flat, part.images, part.labels, names, p):
        axis.imshow(image)
        title(axis, f"{short(part.classes[name], 11)} {share:.0f} %", name != label, pad=2)
    figure.tight_layout(h_pad=0.5, w_pad=0.2)
    return figure


def neighbour_grid(
    part: ImageSet, queries: Sequence[int], found: Mapping[str, np.ndarray], target: int, names: Sequence[str]
) -> Figure:
    """A row a query image of `part`, framed, and its nearest images before and after; class `target` is marked.

    found: by model, (Q, k) indices into `part`; names: what stands beside each query
    """
    k = next(iter(found.values())).shape[1]
    figure, axes = grid(names, 1 + len(found) * (k + 1), 0.72, 0.98, bold=True)

    def show(axis, i: int, framed: bool) -> None:
        hit = part.labels[i] == target
        axis.imshow(part.images[i])
        axis.axis("on")
        axis.set(xticks=[], yticks=[])
        title(axis, short(part.classes[part.labels[i]], 10), hit, fontsize=7, pad=1.5)
        for spine in axis.spines.values():
            spine.set(visible=framed or hit, color=COLOURS["target"] if hit else "black", linewidth=2.2 if hit else 1.2)

    for row, query in enumerate(queries):
        show(axes[row, 0], query, framed=True)
        for m, nearest in enumerate(found.values()):
            for j, i in enumerate(nearest[row]):
                show(axes[row, 2 + m * (k + 1) + j], i, framed=False)
    for m, model in enumerate(found):
        axes[0, 2 + m * (k + 1)].text(0, 1.45, f"nearest for {model}", transform=axes[0, 2 + m * (k + 1)].transAxes)
    figure.subplots_adjust(wspace=0.06, hspace=0.32)
    return figure
