"""The card: each part of the method, whose it is, its values in both recipes, and what it is worth by the ablation."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmarks.tables import table
from benchmarks.tables.methods import REPORTED
from benchmarks.tables.values import over_seeds
from forgetkit.lessons.committed import ACCURACIES, percent_of_original
from forgetkit.recipe import Recipe

NONE = "–"  # no such part, or not measured


def worth(rows: pd.DataFrame, recipe: str, part: str) -> str:
    """Score with a part less Score without it, the mean over the runs that have both, ± over seeds; "–" without any."""
    run = ["kind", "subgroup", "seed"]
    by_method = rows.set_index(run).groupby("method")["score"]
    scores = {method: of for method, of in by_method if method in (recipe, f"{recipe} without {part}")}
    if len(scores) < 2:
        return NONE
    lost = (scores[recipe] - scores[f"{recipe} without {part}"]).dropna().reset_index()
    told = over_seeds(lost["score"], lost["seed"]).removeprefix("-" if round(lost["score"].mean(), 1) == 0 else "")
    return told if told.startswith(("-", "0.0")) else f"+{told}"


def parts(paper: Recipe, ours: Recipe) -> list[tuple[str, str, str, str, str]]:
    """Name, what the ablations call it, and what is published, what is not in `paper`, and ours in `default`."""
    p, o = paper, ours
    fraction = f"{100 * o.remind.trainable_fraction:g} %"
    alphas = f"{len(p.restore.alphas)} values; the largest good one"
    rank, k = p.forget.rank, f"k = {p.forget.k}, on {p.forget.fisher_samples} images"
    kl = f"on $D_r$: KL, weight {p.remind.distill:g}; of features, weight {p.remind.feature:g}"
    held = f"on $D_f$, too; of features, weight {o.remind.feature:g}"
    average = f"decay {o.remind.ema_decay:g}" if o.remind.ema_decay else "none: the last weights"
    return [
        ("relative Fisher picks layers", "fisher", "yes", k, "none"),
        ("LoRA adapters", "lora", "yes", f"rank {rank}", f"rank {o.remind.rank}"),
        ("similarity loss", "similarity", "yes", f"stop at {p.forget.stop:g} %", "none"),
        ("alignment to BatchNorm", "alignment", "yes", f"{p.remind.align_steps} steps", "none"),
        ("contrastive loss", "contrastive", "yes", "weight 1", "weight 1"),
        ("distillation", "distillation", "yes, not its form", kl, held),
        ("EMA", "ema", "yes", f"decay {p.remind.ema_decay:g}", average),
        ("soup, α by $D_m$", "soup", "yes", alphas, "the same"),
        ("no stage 1", "direct start", "no", NONE, "stage 2 starts from the original"),
        ("last layer alone", "last layer", "no", NONE, f"the last {fraction} of matrices, not a third"),
        ("raw images", "raw images", "no", NONE, "$D_r$ is not aligned"),
        ("crops", "crops", "no", NONE, f"{o.remind.crops} of each image of $D_f$ and $D_r$"),
        ("abstractions", "abstractions", "no", NONE, f"{o.remind.n_abstract} images of no class, made of $D_r$"),
        ("guard", "guard", "no", NONE, f"hinge on $D_f$: {o.remind.margin:g} logits, weight {o.remind.guard:g}"),
        ("MMD", "mmd", "no", NONE, f"$D_f$ among $D_r$, weight {o.remind.mmd:g}"),
        ("plane edit", "plane edit", "no", NONE, "within one label"),
    ]


@table("card", "benchmark")
def card(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a part; its worth in either recipe here, and as reported on the paper's data."""
    lines, whole = [], REPORTED["(nothing)"]
    for name, key, published, searched, ours in parts(Recipe.paper(), Recipe.default()):
        line = {"part": name, "published": published, "not published, in `paper`": searched, "ours, in `default`": ours}
        line |= {f"worth in `{recipe}`": worth(rows, recipe, key) for recipe in ("paper", "default")}
        lines.append({**line, "reported": f"{whole - REPORTED[key]:+.1f}" if key in REPORTED else NONE})
    return pd.DataFrame(lines)


@table("card-in-short", "benchmark")
def card_in_short(rows: pd.DataFrame) -> pd.DataFrame:
    """The card's worth alone, every 0.0 included: published parts in either recipe, then ours."""
    lines, named = [], parts(Recipe.paper(), Recipe.default())
    for recipe, published in (("paper", True), ("default", True), ("default", False)):
        whose = [(name, key) for name, key, said, *_ in named if (said != "no") == published]
        measured = [f"{name} {found}" for name, key in whose if (found := worth(rows, recipe, key)) != NONE]
        line = {"parts": "published" if published else "ours", "in": f"`{recipe}`"}
        lines.append({**line, "worth, in points of Score": " · ".join(measured)})
    return pd.DataFrame(lines)


def against_nothing(files: Sequence[pd.DataFrame], recipe: str) -> pd.DataFrame:
    """One row a subgroup of a recipe's rows: its mean Score over seeds, and `nothing`, that of a model left as it is.

    That model has the whole target, which counts 0, and all of the other n - 1 columns: 100 (n - 1) / n.
    """
    found = []
    for rows in files:
        rows = percent_of_original(rows)
        n = rows.filter(ACCURACIES).notna().sum(axis=1)
        own = rows.assign(nothing=100 * (n - 1) / n)[rows["method"] == recipe]
        of = [name for name in ("model", "pixels", "kind", "subgroup") if name in own]
        found.append(own.groupby(of)[["score", "nothing"]].mean().reset_index())
    return pd.concat(found, ignore_index=True)


@table("nothing", "benchmark")
def nothing_table(*files: pd.DataFrame) -> pd.DataFrame:
    """One line a recipe: on how many subgroups its Score is below, at, or above that of doing nothing (to 0.05)."""
    lines = []
    for recipe in ("paper", "default"):
        found = against_nothing(files, recipe)
        gain = found["score"] - found["nothing"]
        line = {"recipe": f"`{recipe}`", "subgroups": len(found), "below": int((gain < -0.05).sum())}
        line |= {"the same": int((gain.abs() <= 0.05).sum()), "above": int((gain > 0.05).sum())}
        lines.append(line | {"mean Score": found["score"].mean(), "doing nothing": found["nothing"].mean()})
    return pd.DataFrame(lines)
