"""Figures of the benchmark and of the studies beside it, from their committed rows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from forgetkit.tutorial.diagnostics import front
from forgetkit.tutorial.figures.base import COLOURS

OURS = ("default", "paper")  # drawn larger
MARKERS = "osD^v<>PXh*"
LINES = ("-", "--", "-.", ":")


def _look(i: int, method: str) -> dict:
    """Colour, marker and line of the i-th method: markers and lines tell them apart in grey."""
    colour = {"default": COLOURS["restore"], "paper": COLOURS["forget"]}.get(method, f"C{i}")
    return {"color": colour, "marker": MARKERS[i % len(MARKERS)], "ls": LINES[i % len(LINES)]}


@contextmanager
def _same_jitter():
    """seaborn draws its jitter from NumPy's global generator: the same rows shall give the same picture."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


def score_strips(rows: pd.DataFrame) -> Figure:
    """Score of every run by method, best mean first, a panel a kind of subgroup; a bar marks the mean.

    rows: one a run, with `method`, `kind`, `score`
    """
    order = rows.groupby("method")["score"].mean().sort_values(ascending=False).index
    kinds = list(dict.fromkeys(rows["kind"]))
    figure, axes = plt.subplots(1, len(kinds), figsize=(9.5, 0.3 * len(order) + 1), sharey=True, squeeze=False)
    colours = {m: COLOURS["restore"] if m in OURS else "#999999" for m in order}
    for axis, kind in zip(axes[0], kinds):
        found = rows[rows["kind"] == kind]
        with _same_jitter():
            sns.stripplot(
                found, x="score", y="method", order=order, hue="method", palette=colours, jitter=0.25, size=4,
                edgecolor="black", linewidth=0.3, legend=False, ax=axis,
            )  # fmt: skip
        mean = found.groupby("method")["score"].mean().reindex(order)
        axis.scatter(mean, range(len(order)), marker="|", s=180, color="black", lw=1.6, zorder=5)
        for y, value in enumerate(mean):
            if not np.isnan(value):
                axis.annotate(
                    f"{value:.1f}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8,
                    annotation_clip=False,
                )  # fmt: skip
        axis.set(title=f"{kind} ({found['subgroup'].nunique()} subgroups)", xlabel="Score (%)", ylabel="")
    figure.tight_layout()
    return figure


def fronts(rows: pd.DataFrame) -> Figure:
    """A curve a method from the original to its result: target accuracy against what is kept, a panel a subgroup.

    rows: `method`, `kind`, `target`, `alpha`, accuracies in percent from `target_acc` on; alpha 0 is the original
    """
    columns = [c for c in ("retain", "other", "fashion", "quickdraw", "emoji") if c in rows]
    targets = list(dict.fromkeys(rows["target"]))
    methods = list(dict.fromkeys(rows["method"]))
    figure, axes = plt.subplots(1, len(targets), figsize=(3.4 * len(targets) + 1.2, 3.4), sharey=True, squeeze=False)
    for axis, target in zip(axes[0], targets):
        for i, method in reversed(list(enumerate(methods))):
            curve = front(rows[(rows["target"] == target) & (rows["method"] == method)], columns)
            ours = method in OURS
            axis.plot(
                curve["target"], curve["kept"], **_look(i, method), label=method, ms=5 if ours else 4,
                lw=1.8 if ours else 0.9, markeredgecolor="black", markeredgewidth=0.3, zorder=3 if ours else 2,
            )  # fmt: skip
        axis.set(title=target, xlabel="target (% of original)", xlim=(-4, 104))
    axes[0, 0].set_ylim(top=101.5)
    axes[0, 0].set_ylabel("kept, mean of the rest (% of original)")
    handles, labels = axes[0, -1].get_legend_handles_labels()
    axes[0, -1].legend(handles[::-1], labels[::-1], frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def sensitivity(rows: pd.DataFrame, default: Mapping[str, float]) -> Figure:
    """A panel a knob: Score and target accuracy of the result by its value, for each target; the default is marked.

    A thin line is the Score after stage 1 alone. rows: `knob`, `value`, `target`, `model`, `score`, `target_acc`
    """
    first, rows = (rows[rows["model"] == model] for model in ("forget", "restore"))
    knobs = list(dict.fromkeys(rows["knob"]))
    wide = -(-len(knobs) // 2)
    figure, axes = plt.subplots(2, wide, figsize=(2.5 * wide, 4.6), sharey=True, squeeze=False)
    for axis in axes.flat[len(knobs) :]:
        axis.axis("off")
    for axis, knob in zip(axes.flat, knobs):
        for target, marker, colour in zip(dict.fromkeys(rows["target"]), "os^", ("restore", "forget", "remind")):
            found = rows[(rows["knob"] == knob) & (rows["target"] == target)].sort_values("value")
            axis.plot(
                found["value"], found["score"], marker=marker, color=COLOURS[colour], label=f"Score, {target}",
                markeredgecolor="black", markeredgewidth=0.4,
            )  # fmt: skip
            axis.plot(
                found["value"], found["target_acc"], marker=marker, color=COLOURS[colour], ls=":", mfc="white",
                label=f"target accuracy, {target}",
            )  # fmt: skip
            early = first[(first["knob"] == knob) & (first["target"] == target)].sort_values("value")
            label = f"Score after stage 1, {target}"
            axis.plot(early["value"], early["score"], color=COLOURS[colour], lw=0.8, ls="-.", label=label)
        axis.axvline(default[knob], color="black", lw=0.8, ls="--", zorder=0)
        axis.set(xscale="log", xlabel=knob, ylim=(-4, 104))
        values = sorted(rows.loc[rows["knob"] == knob, "value"].unique())
        axis.set_xticks(values, [f"{v:g}" for v in values], fontsize=7)
        axis.minorticks_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("percent")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="lower center", ncols=4, bbox_to_anchor=(0.5, -0.05))
    figure.tight_layout()
    return figure
