"""Figures of a sweep, from its tidy table."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

MARKERS = "osD^v<>PX*"


def mean_and_runs(table: pd.DataFrame, value: str, by: Sequence[str]) -> Figure:
    """Every run as a dot, and mean ± standard deviation: along the first column of `by`, coloured by the second, a
    panel for each combination of the others.
    """
    x, hue, *rest = [*by[:2], *[None] * (2 - len(by[:2])), *by[2:]]
    words = table[list(by)].astype(str)
    words["panel"] = words[rest].agg(lambda row: ", ".join(f"{n}={v}" for n, v in row.items()), axis=1) if rest else ""
    words[value] = table[value]
    x = x or words.columns[-2]  # the empty panel: one group of all runs
    wide = 0.8 + 0.55 * words[x].nunique() * max(1, words[hue].nunique() / 2 if hue else 1)
    panels = list(dict.fromkeys(words["panel"]))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(min(14, wide * len(panels) + 2), 3), sharey=True, squeeze=False
    )
    for axis, panel in zip(axes[0], panels):
        part = words[words["panel"] == panel]
        order = {"order": list(dict.fromkeys(words[x])), "ax": axis, "data": part, "x": x, "y": value}
        look = {"color": "C0"}
        if hue:
            names = list(dict.fromkeys(words[hue]))
            look = {"hue": hue, "hue_order": names, "palette": sns.color_palette("colorblind", len(names))}
        n = words[hue].nunique() if hue else 1
        dodge = {"dodge": True} if n > 1 else {}
        sns.stripplot(**order, **look, **dodge, legend=False, jitter=0.05, size=4, alpha=0.6)
        dodge = {"dodge": 0.8 * (n - 1) / n} if n > 1 else {}
        sns.pointplot(
            **order, **look, **dodge, errorbar="sd", linestyle="none", capsize=0.1, err_kws={"linewidth": 1.2},
            markers=[MARKERS[i % len(MARKERS)] for i in range(n)] if hue else "o", markersize=6, legend=bool(hue),
        )  # fmt: skip
        axis.set(title=panel, xlabel=x if by else "", ylabel=f"{value}, mean ± sd")
        axis.tick_params(axis="x", rotation=30 if words[x].str.len().max() > 6 else 0)
        if hue:
            axis.legend(title=hue, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
            axis.get_legend().set_visible(axis is axes[0][-1])
    figure.tight_layout()
    return figure
