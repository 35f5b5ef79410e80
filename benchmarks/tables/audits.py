"""Tables of audits: every line of two classes, alarms by subgroup, what each block tells, and siblings by kind."""

from __future__ import annotations

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


@table("audit")
def audit_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a class (cat, truck) and attack, a column a method, oracles in one: mean over seeds."""
    rows = with_oracle(rows[(rows["kind"] == "class") & rows["subgroup"].isin(["cat", "truck"])])
    found = rows[rows["measure"].isin(AUDITED)].assign(measure=lambda t: pd.Categorical(t["measure"], AUDITED))
    wide = found.pivot_table(index=["subgroup", "measure"], columns="method", values="value", sort=False, observed=True)
    wide = wide.sort_index(level="measure", sort_remaining=False).sort_index(level="subgroup", kind="stable")
    unit = found.drop_duplicates("measure").set_index("measure")["unit"].replace("steps", "%")
    percent = wide.index.get_level_values("measure").map(unit) == "%"
    text = wide.apply(lambda c: [f"{v:.1f}" if p else f"{v:.2f}" for v, p in zip(c, percent)])
    return text.replace({"nan": "", "inf": "never"}).reset_index()


@table("attackers", "audit")
def attackers_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line an attacker: percent of the target's test images that he gets back of each model.

    Means over the classes that have an oracle; last, `default` on the other classes.
    """
    rows = with_oracle(rows[rows["kind"] == "class"])
    beside = set(rows.loc[rows["method"] == "oracle", "subgroup"])
    wide = rows[rows["subgroup"].isin(beside)].pivot_table(index="measure", columns="method", values="value")
    others = rows[~rows["subgroup"].isin(beside) & (rows["method"] == "default")]
    wide[f"default on {', '.join(others['subgroup'].unique())}"] = others.groupby("measure")["value"].mean()
    shown = ["original", "oracle", *dict.fromkeys(rows["method"]), wide.columns[-1]]
    wide = wide.reindex([measure for *_, measure in ATTACKERS])[[*dict.fromkeys(n for n in shown if n in wide)]]
    wide.insert(0, "the attacker has", [has for has, *_ in ATTACKERS])
    wide.insert(1, "and", [does for _, does, _ in ATTACKERS])
    return wide


@table("alarms", "audit")
def alarms_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup, a column a method: alarms, of so many lines with a limit; and which `default` raises.

    Where there are several seeds, the mean of the alarms, and how many seeds.
    """
    rows = rows[rows["limit"].notna() & (rows["method"] != "original") & ~rows["method"].str.contains("-without-")]
    rows = rows.assign(alarm=rows["alarm"].astype(bool))
    lines = []
    for (kind, subgroup), found in rows.groupby(["kind", "subgroup"], sort=False):
        line = {"kind": kind, "subgroup": subgroup}
        for method, of in found.groupby("method", sort=False):
            runs = of.groupby("seed")["alarm"].agg(["sum", "size"])
            seeds = f", {len(runs)} seeds" if len(runs) > 1 else ""
            line[method] = f"{runs['sum'].mean():.3g} of {runs['size'].max()}{seeds}"
        own = found[(found["method"] == "default") & found["alarm"]]
        lines.append(line | {"those of `default`": "; ".join(dict.fromkeys(own["measure"]))})
    shown = pd.DataFrame(lines).fillna("")
    return shown[[*shown.columns.drop("those of `default`"), "those of `default`"]]


@table("blocks", "audit")
def blocks_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a block of the tower, a column a method: a probe finds so much, on ten images a class so much (%).

    Means over the classes that have an oracle.
    """
    rows = with_oracle(rows[rows["measure"].str.contains("probe at ")])
    measure = rows["measure"].str.partition(" at ")
    wide = rows.assign(attack=measure[0], block=measure[2]).pivot_table(
        index="block", columns=["method", "attack"], values="value", sort=False
    )
    found = {
        method: [f"{probe:.0f} / {few:.0f}" for probe, few in zip(of["probe"], of["ten-image probe"])]
        for method, of in ((name, wide[name]) for name in dict.fromkeys(rows["method"]))
    }
    return pd.DataFrame(found, index=wide.index).reset_index()


@table("siblings", "benchmark")
def siblings_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a method, a column a kind: AUROC of the text of the target's label, target against siblings.

    In the mean over runs; .5 says nothing, and 0 sorts them as well as 1, from the wrong end.
    """
    rows = rows[~rows["method"].str.contains(" ") & rows["AUROC against siblings"].notna()]
    wide = rows.pivot_table(index="method", columns="kind", values="AUROC against siblings", sort=False)
    runs = rows.groupby("method", sort=False)["seed"].nunique()
    text = wide.apply(lambda column: column.map("{:.2f}".format)).replace("nan", "")
    return text.assign(seeds=runs).reset_index()
