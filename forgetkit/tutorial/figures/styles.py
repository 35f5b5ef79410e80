"""Figures of notebook 07: classes in several styles. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from forgetkit.data.sets import ImageSet
from forgetkit.tutorial.figures.base import COLOURS


def style_grid(cells: Mapping[tuple[str, str], ImageSet], per_cell: int = 4, seed: int = 0) -> Figure:
    """Random images of every class (row) and style (column), `per_cell` of them side by side; empty where none are."""
    classes, styles = (list(dict.fromkeys(names)) for names in zip(*cells))
    figure, axes = plt.subplots(
        len(classes), len(styles) * per_cell, figsize=(0.75 * len(styles) * per_cell, 0.8 * len(classes)), squeeze=False
    )
    rng = np.random.default_rng(seed)
    for axis in axes.flat:
        axis.axis("off")
    for (name, style), part in cells.items():
        row, column = classes.index(name), styles.index(style) * per_cell
        for i, chosen in enumerate(rng.permutation(len(part))[:per_cell]):
            axes[row, column + i].imshow(part.images[chosen])
    for row, name in enumerate(classes):
        axes[row, 0].text(-0.15, 0.5, name, ha="right", va="center", transform=axes[row, 0].transAxes)
    for column, style in enumerate(styles):
        axes[0, column * per_cell].text(0, 1.1, style, va="bottom", transform=axes[0, column * per_cell].transAxes)
    figure.subplots_adjust(wspace=0.05, hspace=0.08)
    return figure


def style_accuracies(tables: Mapping[str, pd.DataFrame], targets: Mapping[str, list[str]]) -> Figure:
    """A panel a model: accuracy in percent of every class (row) in every style (column); target cells framed.

    Cells without images are grey.

    targets: by class, the styles that are to be forgotten
    """
    height, width = next(iter(tables.values())).shape
    figure, axes = plt.subplots(
        1, len(tables), figsize=((0.8 * width + 1.6) * len(tables), 0.34 * height + 1), squeeze=False, sharey=True
    )
    for axis, (model, table) in zip(axes[0], tables.items()):
        sns.heatmap(
            table, annot=True, fmt=".0f", annot_kws={"fontsize": 8}, cmap="cividis", vmin=0, vmax=100, ax=axis,
            cbar=axis is axes[0][-1], cbar_kws={"label": "accuracy (%)"},
        )  # fmt: skip
        for y, name in enumerate(table.index):
            for x, style in enumerate(table.columns):
                if style in targets.get(name, ()):
                    axis.add_patch(
                        Rectangle((x, y), 1, 1, fill=False, edgecolor=COLOURS["target"], lw=2.5, clip_on=False)
                    )
        axis.set(title=model, xlabel="", ylabel="", facecolor="#dddddd")  # no images: grey
        axis.grid(visible=False)
        axis.tick_params(axis="x", rotation=25)
        axis.tick_params(axis="y", rotation=0)
    figure.tight_layout()
    return figure
