"""Figures of tables of runs: a sweep, the methods, an audit. Each function returns a Figure."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from forgetkit.lessons.figures.charts import BESIDE, COLOURS, LOOKS, RECIPES

MODELS = {name: (LOOKS[name]["color"], LOOKS[name]["marker"]) for name in ("original", "unlearned", "oracle")}
MOST = 15  # words at an axis, and colours in a legend, about
PANELS = {"%": "percent", "": "AUROC (.5 = says nothing)", "steps": "steps (arrow: not reached)"}


def mean_and_runs(table: pd.DataFrame, value: str, by: Sequence[str]) -> Figure:
    """Every run as a dot, and mean ± standard deviation: along the first column of `by`, coloured by the others.

    Of very many words and colours, some are named.
    """
    short = lambda word: word if len(word) <= 40 else f"{word[:20]}…{word[-19:]}"
    words = [[*map(short, row)] for row in table[list(by)].astype(str).to_numpy()]
    runs = pd.DataFrame({"x": [row[0] if by else "" for row in words], "hue": [", ".join(row[1:]) for row in words]})
    places, names = ({word: i for i, word in enumerate(dict.fromkeys(runs[of]))} for of in runs)
    runs = runs.assign(place=runs["x"].map(places), value=table[value].to_numpy())
    figure, axis = plt.subplots(figsize=(min(14, 2.8 + 0.55 * len(places) * max(1, len(names) / 2)), 3))
    runs["at"] = runs["place"] + np.random.default_rng(0).uniform(-0.04, 0.04, len(runs))
    for i, (name, colour) in enumerate(zip(names, sns.color_palette("colorblind", len(names)))):
        own, beside = runs[runs["hue"] == name], 0.8 * ((i + 0.5) / len(names) - 0.5)
        axis.plot(own["at"] + beside, own["value"], ".", color=colour, alpha=0.6)
        found = own.groupby("place")["value"].agg(["mean", "std"])
        look = {"fmt": "osD^v<>PX*"[i % 10], "color": colour, "capsize": 3, "elinewidth": 1.2}
        axis.errorbar(found.index + beside, found["mean"], found["std"], **look, label=name)
    axis.set(xlabel=by[0] if by else "", ylabel=f"{value}, mean ± sd", xlim=(-0.5, len(places) - 0.5))
    some = [*places][:: max(1, len(places) // MOST)]
    axis.set_xticks([places[word] for word in some], some, rotation=30 if max(map(len, some)) > 6 else 0)
    if len(by) > 1:
        handles = axis.get_legend_handles_labels()[0]
        axis.legend(handles=handles[:: max(1, len(names) // MOST)], title=", ".join(by[1:]), **BESIDE)
    figure.tight_layout()
    return figure


def score_strips(rows: pd.DataFrame) -> Figure:
    """Score of every run by method, best mean first, a panel a kind of subgroup; a bar marks the mean.

    rows: one a run, with `method`, `kind`, `subgroup`, `score`
    """
    order = [*rows.groupby("method")["score"].mean().sort_values(ascending=False).index]
    kinds = rows.groupby("kind", sort=False)
    figure, axes = plt.subplots(1, len(kinds), figsize=(9.5, 0.3 * len(order) + 1), sharey=True, squeeze=False)
    rng = np.random.default_rng(0)  # the same rows give the same picture
    for axis, (kind, found) in zip(axes[0], kinds):
        y = np.array([order.index(method) for method in found["method"]]) + rng.uniform(-0.25, 0.25, len(found))
        colours = [COLOURS["restore"] if method in RECIPES else "#999999" for method in found["method"]]
        axis.scatter(found["score"], y, c=colours, s=16, edgecolor="black", linewidth=0.3)
        mean = found.groupby("method")["score"].mean().reindex(order)
        axis.scatter(mean, range(len(order)), marker="|", s=180, color="black", lw=1.6, zorder=5)
        for method, value in mean.dropna().items():
            place = (1.01, order.index(method))
            axis.text(*place, f"{value:.1f}", va="center", fontsize=8, transform=axis.get_yaxis_transform())
        axis.set(title=f"{kind}\n(of {found['subgroup'].nunique()})", xlabel="Score (%)", ylabel="")
        axis.grid(axis="y", visible=False)
    axes[0, 0].set(yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.5, -0.5))
    figure.tight_layout()
    return figure


def audited(table: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """A line a measure: every model's figure with its 95 % interval, a panel a unit; alarms in the target's colour.

    table, rows: of `auditing.Audit`. Lines in other units (logits, nats, ranks) stand in the table alone.
    """
    shown = {unit: table[table["unit"] == unit] for unit in PANELS if (table["unit"] == unit).any()}
    sizes = [len(lines) for lines in shown.values()]
    size = (6.4, 0.27 * sum(sizes) + 1.1 * len(sizes))
    figure, axes = plt.subplots(len(shown), 1, figsize=size, squeeze=False, height_ratios=sizes)
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
