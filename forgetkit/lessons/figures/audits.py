"""An audit as a figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forgetkit.lessons.figures.style import COLOURS

MODELS = {"original": ("#666666", "s"), "unlearned": (COLOURS["restore"], "o"), "oracle": (COLOURS["forget"], "D")}
PANELS = {"%": "percent", "": "AUROC (.5 = says nothing)", "steps": "steps (arrow: not reached)"}


def audited(table: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A line a measure: every model's figure with its 95 % interval, a panel a unit; alarms in the target's colour.

    table, rows: of `auditing.Audit`. Lines in other units (logits, nats, ranks) stand in the table alone.
    """
    shown = {unit: table[table["unit"] == unit] for unit in PANELS if (table["unit"] == unit).any()}
    sizes = [len(lines) for lines in shown.values()]
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(6.4, 0.27 * sum(sizes) + 1.1 * len(sizes)), squeeze=False, height_ratios=sizes
    )
    for axis, (unit, lines) in zip(axes[:, 0], shown.items()):
        reached = rows.loc[(rows["unit"] == unit) & np.isfinite(rows["value"]), "value"]
        end = {"%": 100, "": 1}.get(unit, 1.15 * max(1, reached.max() if len(reached) else 1))
        for i, (model, (colour, marker)) in enumerate(MODELS.items()):
            own = rows[(rows["model"] == model) & (rows["unit"] == unit)].set_index("measure").reindex(lines["measure"])
            if own["value"].isna().all():
                continue
            value, low, high = (own[name].clip(upper=end).to_numpy(float) for name in ("value", "low", "high"))
            at = np.arange(len(own)) + 0.22 * (i - 1)
            axis.hlines(at, low, high, color=colour, lw=1.2)
            axis.scatter(value, at, color=colour, marker=marker, s=20, edgecolor="black", lw=0.3, label=model, zorder=3)
            never = np.isinf(own["value"].to_numpy(float))
            axis.scatter(value[never], at[never], color=colour, marker=">", s=60, zorder=4)
        axis.set(xlim=(-0.02 * end, 1.04 * end), xlabel=PANELS[unit], ylabel="attack", ylim=(len(lines) - 0.5, -0.5))
        axis.set_yticks(range(len(lines)), lines["measure"], fontsize=8)
        for text, alarm in zip(axis.get_yticklabels(), lines["alarm"]):
            if alarm:
                text.set(color=COLOURS["target"], fontweight="bold")
        if unit == "":
            axis.axvline(0.5, color="black", lw=0.8, ls=":")
    axes[0, 0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3, title="bold: alarm")
    figure.tight_layout()
    return figure
