"""The look of all figures: colours, style, and how a figure is saved; and the Score of every run by method."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

# Okabe and Ito's colours; light to dark also in grey.
COLOURS = {"original": "#999999", "forget": "#E69F00", "remind": "#56B4E9", "restore": "#0072B2", "target": "#CC3311"}
STYLE = {"figure.dpi": 90, "savefig.dpi": 140, "font.size": 10, "axes.titlesize": 11}
RECIPES = {"default": COLOURS["restore"], "paper": COLOURS["forget"]}  # drawn larger than the baselines


def use_style() -> None:
    """The tutorial's look, for every figure made afterwards."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE)


def save(figure: Figure, folder: str | Path, name: str) -> Figure:
    """Write `folder/name.png` and hand the figure on."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(folder) / f"{name}.png", bbox_inches="tight")
    return figure


def score_strips(rows: pd.DataFrame) -> Figure:
    """Score of every run by method, best mean first, a panel a kind of subgroup; a bar marks the mean.

    rows: one a run, with `method`, `kind`, `subgroup`, `score`
    """
    order = [*rows.groupby("method")["score"].mean().sort_values(ascending=False).index]
    kinds = [*dict.fromkeys(rows["kind"])]
    figure, axes = plt.subplots(1, len(kinds), figsize=(9.5, 0.3 * len(order) + 1), sharey=True, squeeze=False)
    rng = np.random.default_rng(0)  # the same rows give the same picture
    for axis, kind in zip(axes[0], kinds):
        found = rows[rows["kind"] == kind]
        y = np.array([order.index(method) for method in found["method"]]) + rng.uniform(-0.25, 0.25, len(found))
        colours = [COLOURS["restore"] if method in RECIPES else "#999999" for method in found["method"]]
        axis.scatter(found["score"], y, c=colours, s=16, edgecolor="black", linewidth=0.3)
        mean = found.groupby("method")["score"].mean().reindex(order)
        axis.scatter(mean, range(len(order)), marker="|", s=180, color="black", lw=1.6, zorder=5)
        beside = dict(xycoords=("axes fraction", "data"), va="center", fontsize=8, annotation_clip=False)
        for line, value in enumerate(mean):
            if not np.isnan(value):
                axis.annotate(f"{value:.1f}", (1.01, line), **beside)
        axis.set(title=f"{kind}\n(of {found['subgroup'].nunique()})", xlabel="Score (%)", ylabel="")
        axis.grid(axis="y", visible=False)
    axes[0, 0].set(yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.5, -0.5))
    figure.tight_layout()
    return figure
