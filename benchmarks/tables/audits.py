"""Tables of audits: every line of two classes, alarms by subgroup, and what each block tells."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from benchmarks.tables import table
from forgetkit.models.loading import ORACLE

# Of the audit's lines, those that the pages show.
AUDITED = [
    "target accuracy", "offset recall", "offset, other images", "AUROC, target against all", "synonyms",
    "sketches named", "icons named", "soft prompt", "soft prompt, other images", "20-NN recall", "prototype recall",
    "probe recall", "ten-image probe recall", "20-NN beneath", "probe beneath", "ten-image probe beneath",
    "statistics anew", "statistics anew, other images", "relearning of the last block, to 80 %",
    "relearning of the last block, siblings",
]  # fmt: skip


# What an attacker has, what he does with it, and the line of the audit that says what he gets back.
ATTACKERS = [
    ("no picture", "adds a number to one logit", "offset recall"),
    ("no picture", "takes BatchNorm's statistics anew", "statistics anew"),
    ("ten pictures a class", "learns three words", "soft prompt"),
    ("ten pictures a class", "fits a probe on the embedding", "ten-image probe recall"),
    ("ten a class and the weights", "fits a probe on what enters the last block", "ten-image probe beneath"),
    ("all validation images and the weights", "the same", "probe beneath"),
]


def with_oracle(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every oracle under one name."""
    return rows.assign(method=rows["method"].where(~rows["method"].str.startswith(ORACLE.format("")), "oracle"))


def in_order(models: Iterable[str]) -> list[str]:
    """The original first, then the oracle, then the methods as they come."""
    return sorted(dict.fromkeys(models), key=lambda name: {"original": 0, "oracle": 1}.get(name, 2))


@table("audit")
def audit_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a class (cat, truck) and attack, a column a method, oracles in one: mean over seeds."""
    rows = with_oracle(rows[(rows["kind"] == "class") & rows["subgroup"].isin(["cat", "truck"])])
    found = rows[rows["measure"].isin(AUDITED)].assign(measure=lambda t: pd.Categorical(t["measure"], AUDITED))
    wide = found.pivot_table(index=["subgroup", "measure"], columns="method", values="value", sort=False, observed=True)
    wide = wide.sort_index(level="measure", sort_remaining=False).sort_index(level="subgroup", kind="stable")
    unit = found.drop_duplicates("measure").set_index("measure")["unit"].replace("steps", "%")
    percent = wide.index.get_level_values("measure").map(unit) == "%"
    text = wide[in_order(rows["method"])].apply(lambda c: [f"{v:.1f}" if p else f"{v:.2f}" for v, p in zip(c, percent)])
    return text.replace({"nan": "", "inf": "never"}).reset_index()


def of_all_methods(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of those classes on which all methods were audited."""
    methods = rows.groupby("subgroup")["method"].transform("nunique")
    return rows[methods == methods.max()]


@table("attackers", "audit")
def attackers_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line an attacker: percent of the target's test images that he gets back of each model.

    Means over the classes on which all methods were audited; last, `default` on the other classes.
    """
    rows = with_oracle(rows[rows["kind"] == "class"])
    own = of_all_methods(rows)
    wide = own.pivot_table(index="measure", columns="method", values="value")
    others = rows.drop(own.index).query("method == 'default'")
    wide[f"default on {', '.join(others['subgroup'].unique())}"] = others.groupby("measure")["value"].mean()
    wide = wide.reindex([measure for *_, measure in ATTACKERS])[[*in_order(rows["method"]), wide.columns[-1]]]
    wide.insert(0, "the attacker has", [has for has, *_ in ATTACKERS])
    wide.insert(1, "and", [does for _, does, _ in ATTACKERS])
    return wide


@table("alarms", "audit")
def alarms_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup, a column a method: alarms, of so many lines with a limit; and which `default` raises."""
    rows = rows[rows["limit"].notna() & (rows["method"] != "original") & ~rows["method"].str.contains("-without-")]
    rows = rows.assign(alarm=rows["alarm"].astype(bool))
    count = rows.groupby(["kind", "subgroup", "method"], sort=False)["alarm"].agg(["sum", "size"])
    told = (count["sum"].astype(str) + " of " + count["size"].astype(str)).unstack(sort=False).fillna("")
    own = rows[(rows["method"] == "default") & rows["alarm"]].groupby(["kind", "subgroup"])["measure"]
    return told.assign(**{"those of `default`": own.agg("; ".join)}).fillna("").reset_index()


@table("blocks", "audit")
def blocks_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a block of the tower, a column a method: a probe finds so much, on ten images a class so much (%).

    Means over the classes on which all methods were audited.
    """
    rows = of_all_methods(with_oracle(rows[rows["measure"].str.contains("probe at ")]))
    measure = rows["measure"].str.partition(" at ")
    wide = rows.assign(attack=measure[0], block=measure[2]).pivot_table(
        index="block", columns=["method", "attack"], values="value", sort=False
    )
    found = {
        method: [f"{probe:.0f} / {few:.0f}" for probe, few in zip(of["probe"], of["ten-image probe"])]
        for method, of in ((name, wide[name]) for name in in_order(rows["method"]))
    }
    return pd.DataFrame(found, index=wide.index).reset_index()
