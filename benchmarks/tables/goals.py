"""The table of what `default` was to reach, and what it reached."""

from __future__ import annotations

from math import inf, isinf

import pandas as pd

from benchmarks.tables import table
from benchmarks.tables.audits import with_oracle
from benchmarks.tables.studies import real_means
from forgetkit.lessons.committed import percent_of_original

SCORES = {"class": 98.5, "coarse": 98.5, "style": 98.5, "cluster": 95.5}


def line(goal: str, values: pd.Series, low: float = -inf, high: float = inf, digits: int = 1) -> dict[str, str]:
    """A goal, its limits, and the values beside them, one a run or subgroup."""
    asked = f"at most {high:g}" if isinf(low) else f"at least {low:g}" if isinf(high) else f"{low:g} to {high:g}"
    told = {name: f"{getattr(values, how)():.{digits}f}" for name, how in FIGURES.items()}
    return {"goal": goal, "asked": asked, **told, "met by": f"{values.between(low, high).sum()} of {len(values)}"}


FIGURES = {"mean": "mean", "least": "min", "most": "max"}


@table("goals", "benchmark", "audit", "unshown", "real")
def goals_table(rows: pd.DataFrame, audited: pd.DataFrame, unshown: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """One line a goal: what it asks, and what `default` has in the mean, at least, at most, and how many runs meet it.

    "above the oracle": in points, of the audits beside one; of a probe, in percent of what it finds in the original.
    """
    own, scores = rows[rows["method"] == "default"], percent_of_original(rows).query("method == 'default'")
    lines = [line(f"Score, {kind}", scores.loc[scores["kind"] == kind, "score"], low) for kind, low in SCORES.items()]
    classes = own[own["kind"] == "class"]
    lines.append(line("class: target, statistics anew (%)", classes["statistics anew"], high=10))
    audited = with_oracle(audited[audited["kind"] == "class"])
    wide = audited.pivot_table(index=["measure", "subgroup"], columns="method", values="value", observed=True)
    above = (wide["default"] - wide["oracle"]).dropna()
    lines.append(line("class: the same, above the oracle", above["statistics anew"], high=5))
    share = 100 * above["probe beneath"] / wide["original"]["probe beneath"].reindex(above["probe beneath"].index)
    lines.append(line("class: probe beneath, above the oracle", share, high=5))
    lines.append(line("class: AUROC against siblings", classes["AUROC against siblings"], 0.4, 0.85, digits=2))
    lines.append(line("class: membership AUROC", classes["membership AUROC"], 0.45, 0.55, digits=2))
    limited = audited[(audited["method"] == "default") & audited["limit"].notna()]
    alarms = limited["alarm"].astype(bool).groupby(limited["subgroup"]).sum()
    lines.append(line("class: alarms of an audit", alarms, high=2))
    hidden = unshown.pivot(index=["kind", "subgroup"], columns="method", values="sibling")
    lines.append(line("a sibling nobody showed (%)", 100 * hidden["default"] / hidden["original"], low=90))
    lines.append(line("seconds of the three stages", own["seconds"], high=20))
    there = real_means(real).loc["default"]
    lines.append(line("real CLIP, one label: Score", there["score"], low=96.5))
    lines.append(line("real CLIP, one label: target (%)", there["target"], high=10))
    lines.append(line("real CLIP, one label: siblings (%)", there["retain"], low=97))
    return pd.DataFrame(lines)
