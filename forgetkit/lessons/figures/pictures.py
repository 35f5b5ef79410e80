"""Figures made of images. Each function returns a Figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from forgetkit.lessons.figures.charts import COLOURS, short

if TYPE_CHECKING:  # figures of tables need no torch
    import torch

    from forgetkit.data.images import ImageSet
    from forgetkit.models.clip import Clip


def grid(rows: Sequence[tuple[str, Iterable]], columns: int, width: float, height: float) -> Figure:
    """Rows of pictures, each row under its name at the left; width, height: of a cell, in inches.

    rows: (name, pictures), a picture as (image, the text above it, whether that is marked)
    """
    size = (columns * width, len(rows) * height)
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, (name, pictures) in zip(axes, rows):
        line[0].text(-0.14, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
        for axis, (image, text, marked) in zip(line, pictures):
            axis.imshow(image)
            look = {"color": COLOURS["target"], "fontweight": "bold"} if marked else {}
            axis.set_title(text, fontsize=8, pad=3, **look)
    figure.subplots_adjust(wspace=0.05, hspace=0.08)
    return figure


def image_grid(rows: Mapping[str, ImageSet], columns: int = 12, seed: int = 0) -> Figure:
    """A row of random images per set, with its name and size at the left."""
    rng = np.random.default_rng(seed)
    pictures = lambda part: [(part.images[i], "", False) for i in rng.permutation(len(part))[:columns]]
    return grid([(f"{name}\n({len(part)})", pictures(part)) for name, part in rows.items()], columns, 0.72, 0.78)


def pixel_grid(rows: Mapping[str, torch.Tensor]) -> Figure:
    """A row of pictures per entry, its name at the left; pictures (N, 3, S, S) in 0..1."""
    pictures = lambda x: [(image, "", False) for image in x.detach().float().cpu().permute(0, 2, 3, 1).numpy()]
    return grid([(name, pictures(x)) for name, x in rows.items()], max(map(len, rows.values())), 0.8, 0.84)


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
    rng, rows = np.random.default_rng(seed), []
    for column, part in columns.items():
        part = part.take(rng.permutation(len(part))[:200])
        head = heads[column] if heads else original.head(part.classes, part.prompts)
        before, p0 = guess(original, part.images, head)
        right = np.flatnonzero(before == part.labels)[:per_column]
        after, p1 = guess(unlearned, part.images[right], head) if len(right) else ([], [])
        name = lambda label: short(part.classes[label])
        said = [f"{name(before[i])} {p0[i]:.0f} %\n→ {name(now)} {p:.0f} %" for i, now, p in zip(right, after, p1)]
        rows.append((column, [*zip((part.images[i] for i in right), said, after != before[right])]))
    figure = grid(rows, per_column, width, 1.75)
    figure.tight_layout(h_pad=0.6, w_pad=0.4)
    return figure


def guesses(clip: Clip, part: ImageSet, head: torch.Tensor, n: int = 16, seed: int = 0) -> Figure:
    """Random images of a set with what the model calls them; wrong names are marked."""
    part = part.take(np.random.default_rng(seed).permutation(len(part))[:n])
    names, p = guess(clip, part.images, head)
    said = [f"{short(part.classes[name], 11)} {share:.0f} %" for name, share in zip(names, p)]
    pictures = [*zip(part.images, said, names != part.labels)]
    figure = grid([("", pictures[i : i + 8]) for i in range(0, len(pictures), 8)], 8, 1.05, 1.3)
    figure.tight_layout(h_pad=0.5, w_pad=0.2)
    return figure


def neighbour_grid(
    part: ImageSet, queries: Sequence[int], found: Mapping[str, np.ndarray], target: int, names: Sequence[str]
) -> Figure:
    """A row a query image of `part`, and after a gap each model's nearest images to it; class `target` is marked.

    found: by model, (Q, k) indices into `part`; names: what stands beside each query
    """
    gap = (np.ones((1, 1, 3)), "", False)
    shown = lambda i: (part.images[i], short(part.classes[part.labels[i]], 10), part.labels[i] == target)
    rows = [[shown(query)] for query in queries]
    for nearest in found.values():
        for row, images in zip(rows, nearest):
            row += [gap, *map(shown, images)]
    figure = grid([*zip(names, rows)], len(rows[0]), 0.72, 0.98)
    figure.suptitle(f"nearest for {', then for '.join(found)}", fontsize=10)
    return figure
