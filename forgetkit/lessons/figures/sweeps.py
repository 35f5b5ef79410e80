"""The figure of a sweep, from its tidy table."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from forgetkit.lessons.figures.charts import BESIDE


def mean_and_runs(table: pd.DataFrame, value: str, by: Sequence[str]) -> Figure:
    """Every run as a dot, and mean ± standard deviation: along the first column of `by`, coloured by the second, a
    panel for each combination of the others.
    """
    words = table[list(by)].astype(str).assign(**{value: table[value]})
    words["panel"] = [", ".join(f"{n}={v}" for n, v in zip(by[2:], row)) for row in words[list(by[2:])].to_numpy()]
    x, hue = by[0] if by else "panel", by[1] if len(by) > 1 else None
    names = list(dict.fromkeys(words[hue])) if hue else []
    wide, panels = 0.8 + 0.55 * words[x].nunique() * max(1, len(names) / 2), list(dict.fromkeys(words["panel"]))
    size = (min(14, wide * len(panels) + 2), 3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    look = {"hue": hue, "hue_order": names, "palette": sns.color_palette("colorblind", len(names))} if hue else {}
    marks = {"markers": [*("osD^v<>PX*" * 3)[: len(names)]]} if hue else {"markers": "o"}
    beside = (True, 0.8 * (len(names) - 1) / len(names)) if len(names) > 1 else (False, False)
    for axis, panel in zip(axes[0], panels):
        order = {"order": list(dict.fromkeys(words[x])), "ax": axis, "x": x, "y": value, **(look or {"color": "C0"})}
        part = words[words["panel"] == panel]
        sns.stripplot(part, **order, dodge=beside[0], legend=False, jitter=0.05, size=4, alpha=0.6)
        bars = {"errorbar": "sd", "linestyle": "none", "capsize": 0.1, "err_kws": {"linewidth": 1.2}, "markersize": 6}
        sns.pointplot(part, **order, **marks, **bars, dodge=beside[1], legend=bool(hue) and axis is axes[0, -1])
        axis.set(title=panel, xlabel=x if by else "", ylabel=f"{value}, mean ± sd")
        axis.tick_params(axis="x", rotation=30 if words[x].str.len().max() > 6 else 0)
    if hue:
        axes[0, -1].legend(title=hue, **BESIDE)
    figure.tight_layout()
    return figure
