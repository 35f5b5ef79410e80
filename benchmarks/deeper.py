"""Tables of audits, of requests one after another, and of a real CLIP; `benchmarks.tables` renders them."""

from __future__ import annotations

import pandas as pd

from benchmarks.rows import BY_A_PLANE
from benchmarks.shown import picked, table
from forgetkit.lessons.committed import before_and_after, percent_of_original, real_table
from forgetkit.models.loading import ORACLE

# Of the audit's lines, those that the pages show.
AUDITED = [
    "target accuracy", "offset recall", "offset, other images", "AUROC, target against all", "synonyms", "20-NN recall",
    "prototype recall", "probe recall",
]  # fmt: skip


@table("audit")
def audit_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a class (cat, truck) and attack, a column a method, oracles in one: mean over seeds."""
    rows = rows[(rows["kind"] == "class") & rows["subgroup"].isin(["cat", "truck"])].copy()
    rows["method"] = rows["method"].where(~rows["method"].str.startswith(ORACLE.format("")), "oracle")
    found = rows[rows["measure"].isin(AUDITED)].assign(measure=lambda t: pd.Categorical(t["measure"], AUDITED))
    wide = found.pivot_table(index=["subgroup", "measure"], columns="method", values="value", sort=False, observed=True)
    wide = wide.sort_index(level="measure", sort_remaining=False).sort_index(level="subgroup", kind="stable")
    unit = found.drop_duplicates("measure").set_index("measure")["unit"]
    percent = wide.index.get_level_values("measure").map(unit) == "%"
    text = wide.apply(lambda c: [f"{v:.1f}" if p else f"{v:.2f}" for v, p in zip(c, percent)])
    return text.replace("nan", "").reset_index()


@table("audit-kinds", "audit")
def audit_kinds_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup, a column an attack: what it finds of the original → of `default`, mean over its seeds."""
    rows, lines = rows[rows["measure"].isin(AUDITED)], []
    for (kind, subgroup), found in rows.groupby(["kind", "subgroup"], sort=False):
        mean = found.groupby(["method", "measure"])["value"].mean()
        seeds = found[found["method"] == "default"]["seed"].nunique()
        digits = found.drop_duplicates("measure").set_index("measure")["unit"].map(lambda unit: 2 * (unit != "%"))
        shown = {m: f"{mean['original', m]:.{n}f} → {mean['default', m]:.{n}f}" for m, n in digits.items()}
        lines.append({"kind": kind, "forget": subgroup, "seeds": seeds, **shown})
    return pd.DataFrame(lines).fillna("")


@table("requests")
def requests_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a request: accuracies then, the worst of all targets so far, the least that another column keeps."""
    columns, lines = [*rows.loc[:, "subgroup":"seconds"].columns[1:-1]], []
    original = rows[rows["method"] == "original"].iloc[0]
    for _, found in rows.groupby("method", sort=False):
        for i, (_, row) in enumerate(found.iterrows()):
            gone = [] if row["request"] == 0 else [*found["subgroup"].iloc[: i + 1]]
            kept = [100 * row[name] / original[name] for name in columns if name not in gone and original[name]]
            line = {"method": row["method"], "forgotten last": gone[-1] if gone else "", **row[columns].astype(float)}
            worst = max((row[name] for name in gone), default=float("nan"))
            lines.append(line | {"worst target so far": worst, "least kept (% of the original's)": min(kept)})
    return pd.DataFrame(lines)


table("real")(real_table)

# How long a user of this repository waits.
table("minutes")(picked(command="command", when="when", minutes="minutes", device="device"))

# Seconds of a stage with what is frozen computed once, and without.
table("frozen")(picked(
    model="model", pixels="pixels", stage="stage", seconds="s", whole="s, tower run whole", ratio="ratio",
    device="device",
))  # fmt: skip


@table("real-coarse", "real")
def real_methods_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a method: means over seeds, then over the subgroups of one label, in percent of the original's."""
    found = real_means(rows).groupby("method", sort=False).mean().rename(columns={"score": "Score"})
    found.insert(0, "runs", rows[rows["kind"] == "coarse"]["method"].value_counts())
    return found.reset_index()


def real_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracies in percent of the original's, and Score, by method and subgroup of one label: means over seeds."""
    once = (rows["method"] != "original") | (rows["seed"] == 0)  # of a seed it says the same as of another
    found = percent_of_original(rows[once & (rows["kind"] == "coarse")])
    columns = ["target", "retain", "other", "fashion", "quickdraw", "score"]
    return found.groupby(["method", "subgroup"], sort=False)[columns].mean()


@table("real-depth", "real")
def real_depth_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a method: what an attacker with validation images finds of a class that a real CLIP forgot."""
    rows = rows[(rows["kind"] == "class") & (rows["pixels"] == rows["pixels"].min())]
    asked = ["offset recall", "AUROC against siblings", "20-NN recall", "prototype recall", "probe recall"]
    return two_digits(rows.groupby("method", sort=False)[asked].mean()).reset_index()


@table("batchnorm")
def batchnorm_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a method on the tower whose BatchNorm remembers ImageNet: before → after, mean over seeds."""
    original, lines = rows[rows["method"] == "original"], []
    for method, found in rows[rows["method"] != "original"].groupby("method", sort=False):
        line = {"method": method, "seeds": len(found), **before_and_after(original, found)}
        line |= {BY_A_PLANE: found[BY_A_PLANE].mean()}
        line["Score"] = f"{found['score'].mean():.1f} ± {found['score'].std():.1f}"
        found_by = [table["probe recall"].mean() for table in (original, found)]
        lines.append(line | {"target, by a probe": "{:.1f} → {:.1f}".format(*found_by)})
    return pd.DataFrame(lines)


@table("unshown")
def unshown_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a method: target / siblings that it is shown / one that it is not, in percent of the original's."""
    columns, lines = ["target", "retain", "sibling"], []
    original = rows[rows["method"] == "original"].set_index(["kind", "subgroup"])
    for method, found in rows[rows["method"] != "original"].groupby("method", sort=False):
        found = found.set_index(["kind", "subgroup"])
        share = 100 * found[columns] / original.loc[found.index, columns]
        text = share.map("{:.0f}".format).agg(" / ".join, axis=1)
        line = {f"{of[0]} {of[1]}, {hidden} not shown": text[of] for of, hidden in found["unshown"].items()}
        lines.append({"method": method, **line, "mean kept of what is not shown": share["sibling"].mean()})
    return pd.DataFrame(lines)


def compared(rows: pd.DataFrame, by: pd.Series) -> pd.DataFrame:
    """One line a subgroup, one column a value of `by`: target / siblings / Score on validation images."""
    text = rows[["target", "retain", "score"]].map("{:.1f}".format).agg(" / ".join, axis=1)
    wide = rows.assign(text=text, by=by).pivot_table("text", ["kind", "subgroup"], "by", "first", sort=False)
    return wide.reset_index()


table("margin")(lambda rows: compared(rows, rows["margin"].map("margin {:g}".format)))


@table("share")
def share_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup of one label, without and with a share of stage 1's model, and the share that was chosen."""
    chosen = rows.loc[rows["share"], ["kind", "subgroup", "chosen"]].rename(columns={"chosen": "share"})
    chosen["share"] = chosen["share"].map("{:g}".format)
    return chosen.merge(compared(rows, rows["share"].map({False: "without", True: "with it"})))


@table("depth")
def depth_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup and idea: target, siblings, Score, and what an attacker finds, on validation images."""
    asked = ["offset recall", "AUROC against siblings", "synonyms", "20-NN recall", "probe recall", "membership AUROC"]
    return two_digits(
        rows[["subgroup", "idea", "target", "retain", "score", *asked]].rename(columns={"score": "Score"})
    )


def two_digits(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every AUROC, which lies between 0 and 1, as text of two digits."""
    return rows.assign(**{name: rows[name].map("{:.2f}".format) for name in rows if "AUROC" in name})
