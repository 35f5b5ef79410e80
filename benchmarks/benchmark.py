"""The benchmark: every method on every kind of subgroup; `python -m benchmarks.results` makes its rows.

Its rows are of test images: accuracies, and what an attacker finds. `python -m benchmarks.benchmark` (see `--help`)
searches the methods' settings on validation images of the subgroups in `TUNED_ON`, which `results` does not do anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path

import click
import pandas as pd

from benchmarks.ablations import ABLATIONS, OURS, PIECES, by_stage
from benchmarks.attacks import deep
from benchmarks.baselines import BASELINES
from benchmarks.made_by import made_by
from benchmarks.plane import BY_A_PLANE, Plane, plane
from benchmarks.rows import Rows, combinations, measured, options, sampled
from forgetkit.data import styles
from forgetkit.data.images import ImageSet, some
from forgetkit.data.tutorial import zero_shot
from forgetkit.evaluation import TARGET, accuracies, score
from forgetkit.models.clip import Clip
from forgetkit.models.loading import EMBEDDED, load_clip
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.store import Cache
from forgetkit.subgroups import ModelSets, split, tutorial_sets

# Tuned on a class alone, a method fails within one label. Rows are of test images, which no setting was chosen by.
TUNED_ON = (("class", "cat"), ("coarse", "cat"), ("style", "cat sketches"), ("cluster", "dog 0"))
# Two of each kind, and one whole style, on which all methods of the core are compared; `default` is run on some more.
SUBGROUPS = (
    ("class", "cat"), ("class", "truck"), ("coarse", "ship"), ("coarse", "cat"),
    ("style", "truck sketches"), ("style", "cat sketches"), ("cluster", "dog 1"), ("cluster", "dog 2"),
)  # fmt: skip
FURTHER = (("class", "ship"), ("class", "frog"), ("cluster", "dog 0"), ("whole style", "sketches"))
BEYOND = (  # of `results --all`
    ("coarse", "truck"), ("coarse", "frog"), ("coarse", "bird"), ("style", "airplane sketches"),
    *(("class", name) for name in ("airplane", "automobile", "bird", "deer", "dog", "horse")),
)  # fmt: skip
ABLATED_ON = (("class", "cat"), ("coarse", "ship"), ("style", "cat sketches"))
PUBLISHED_KIND = ("coarse", "ship")
RECIPES = ("default", "paper")
BEST_OTHER = "text_lora"
# The closed forms, and of each other family the best that takes at most half a minute, by rows on all subgroups.
OTHERS = ("paper", "projection", "null_space", "erasure", "ga", "salun")
SEEDS = (0, 1, 2)
SHOWN = {"test": 1000, "validation": 1000}  # images of a column, at random where there are more
KEY = ["method", "kind", "subgroup", "seed"]
# What is not published of `paper`, and what we guessed before we searched.
UNPUBLISHED = {
    "forget.k": (4, 8, 12),
    "forget.trainable_fraction": (0.35, 1.0),
    "forget.embedding_step": (0.0004, 0.0007, 0.0015),
    "forget.stop": (1.0, 5.0, 20.0),
    "remind.trainable_fraction": (None, 0.35, 0.075),
    "remind.steps": (50, 100, 200),
    "remind.embedding_step": (0.0004, 0.0007, 0.0015, 0.003),
    "remind.ema_decay": (0.9, 0.95, 0.98),
    "remind.align_steps": (5, 15, 40),
    "remind.distill": (0.3, 1.0, 3.0, 10.0),
    "remind.feature": (0.0, 50.0, 200.0),
}
FIRST_GUESS = {
    "forget.k": 8, "forget.trainable_fraction": 1.0, "forget.embedding_step": 0.0007, "forget.stop": 1.0,
    "remind.trainable_fraction": None, "remind.steps": 100, "remind.embedding_step": 0.0007, "remind.ema_decay": 0.95,
    "remind.align_steps": 15, "remind.distill": 1.0, "remind.feature": 0.0,
}  # fmt: skip
# Settings tried for each method: six each (`projection` has only two); sixty of `paper`, as most is not published.
GRIDS = {
    "ga": combinations(lr=(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)),
    "salun": combinations(lr=(1e-5, 1e-4, 3e-4), share=(0.3, 0.7)),
    "task_vector": combinations(lr=(1e-6, 1e-5, 1e-4), steps=(20, 60)),
    "munba": combinations(lr=(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)),
    "text_lora": combinations(lr=(1e-4, 1e-3, 1e-2), keep=(1.0, 10.0)),
    "projection": combinations(orthogonal=(True, False)),
    "null_space": combinations(rank=(1, 2, 4), orthogonal=(True, False)),
    "erasure": combinations(ridge=(0.1, 1.0, 10.0), held=(0, 600)),
    "slug": combinations(stop=(1.0, 5.0, 20.0), at_most=(2, 8)),
    "damp": combinations(share=(0.05, 0.2, 1.0)),
    "paper": [FIRST_GUESS, *sampled(59, **UNPUBLISHED)],
    "default": combinations(**{"remind.feature": (200.0, 400.0), "remind.margin": (1.0, 2.0, 4.0)}),
}


def parts_of(recipe: str) -> list[str]:
    """The recipe after its first stage, where it has one, and without each of the parts that it has."""
    has_stage1 = Recipe.named(recipe).forget.steps > 0
    parts = [p for p in ABLATIONS if (recipe == "default" or p not in OURS) and (has_stage1 or p != "fisher")]
    changed = [m for m in (f"{recipe} without {p}" for p in parts) if recipe_of(m) != (Recipe.named(recipe), {})]
    return [*([f"{recipe} after forget"] if has_stage1 else []), *changed]


def all_methods() -> list[str]:
    return [*RECIPES, *BASELINES, *(method for recipe in RECIPES for method in parts_of(recipe))]


def runs(methods, subgroups, seeds=(0,)) -> list[dict]:
    return [{"method": m, "kind": kind, "subgroup": name, "seed": seed}
            for seed in seeds for kind, name in subgroups for m in methods]  # fmt: skip


def core() -> list[dict]:
    """The key of every row that the pages need."""
    return [
        *runs(["original"], SUBGROUPS + FURTHER),
        *runs(["default", BEST_OTHER], SUBGROUPS, SEEDS),
        *runs(["default"], FURTHER),
        *runs(OTHERS, SUBGROUPS),
        *runs(parts_of("default"), ABLATED_ON, SEEDS[:2]),
        *runs(parts_of("paper"), [PUBLISHED_KIND], SEEDS[:2]),
        *runs(["paper"], [PUBLISHED_KIND], SEEDS[1:2]),
    ]


def beyond() -> list[dict]:
    """Every method on every subgroup with every seed, ablations on those of `ABLATED_ON`: what `core` leaves out."""
    every = SUBGROUPS + FURTHER + BEYOND
    parts = [method for recipe in RECIPES for method in parts_of(recipe)]
    wanted = [*runs(["original"], BEYOND), *runs((*RECIPES, *BASELINES), every, SEEDS), *runs(parts, ABLATED_ON, SEEDS)]
    done = core()
    return [run for run in wanted if run not in done]


@lru_cache(maxsize=1)
def drawn(clip: Clip, kind: str, subgroup: str, seed: int, **sizes: int) -> ModelSets:
    """The sets of one of the tutorial's subgroups or of a whole style, on the model; the last ones are remembered."""
    if kind == "whole style":
        data = styles.embedded()
        grouped = styles.group(data, subgroup, zero_shot(data.parts["train"].classes))  # not of the same sketches
        return split(grouped, seed=seed, **sizes).on(clip)
    return tutorial_sets(subgroup, seed, kind, clip, **sizes).on(clip)


def unlearned(
    method: str, clip: Clip, sets: ModelSets, seed: int, cached: bool = True, **settings
) -> tuple[Clip, float]:
    """The model a method makes, and the seconds it took: a baseline, a recipe, or a recipe without a part.

    method: "original", a name in `BASELINES`, "default", "paper", or such as "default without soup and mmd",
            "default after forget"
    cached: a recipe's stages are read where they were computed before: ablations share some
    """
    if method == "original":
        return clip, 0.0
    if method in BASELINES:
        result = BASELINES[method](clip, sets, **{"seed": seed, **settings})
        return result, result.record["seconds"]
    recipe, pieces = recipe_of(method, seed, **settings)
    models = unlearn(clip, sets, recipe, Cache() if cached and not pieces else None, **pieces)
    done = models[1:2] if " after " in method else models[1:]
    return done[-1], sum(model.record["seconds"] for model in done)


def recipe_of(method: str, seed: int = 0, **settings) -> tuple[Recipe, dict[str, Callable]]:
    """The recipe that a method's name means, and the pieces of the method that are exchanged."""
    name, _, part = method.partition(" after ")[0].partition(" without ")
    parts = part.split(" and ") if part else []
    left_out = dict(change for one in parts for change in ABLATIONS[one].items())
    pieces = dict(piece for one in parts for piece in PIECES.get(one, {}).items())
    return Recipe.named(name, seed, **by_stage({**left_out, **settings})), pieces


def makers(method: str) -> list:
    """What `made_by` takes of a method: its code, and a recipe's values."""
    if method == "original" or method.startswith("mini-clip"):
        return []
    if method in BASELINES:
        return [BASELINES[method]]
    recipe, pieces = recipe_of(method)
    return [unlearn, asdict(recipe), *pieces.values()]


def version(method: str, kind: str, subgroup: str, seed: int) -> str:
    """What a row of `measure` on test images is made by."""
    return made_by(EMBEDDED["mini"], drawn, shown, accuracies, score, deep, plane, *makers(method))


@lru_cache(maxsize=1)
def original_accuracies(clip: Clip, part: str, kind: str, subgroup: str, seed: int) -> dict[str, float]:
    return accuracies(clip, shown(drawn(clip, kind, subgroup, seed), part))


def shown(sets: ModelSets, part: str) -> dict[str, ImageSet]:
    return some(getattr(sets, part), SHOWN[part])


@lru_cache(maxsize=1)
def original_plane(clip: Clip, part: str, kind: str, subgroup: str, seed: int) -> Plane:
    sets = drawn(clip, kind, subgroup, seed)
    return plane(clip, sets, shown(sets, part))


def measure(clip: Clip, part: str, method: str, kind: str, subgroup: str, seed: int, setting: str = "{}") -> list[dict]:
    """The row of one method; part: "test" or "validation", setting: JSON. The original's row has no Score.

    Of test images, also what an attacker with the validation images finds, and, where siblings bear the target's label,
    what a plane through the original's embeddings would keep of them for as much of the target.
    """
    sets, before = drawn(clip, kind, subgroup, seed), original_accuracies(clip, part, kind, subgroup, seed)
    result, seconds = unlearned(method, clip, sets, seed, **json.loads(setting))
    found = measured(before, None) if result is clip else measured(accuracies(result, shown(sets, part)), before)
    if part == "test":
        found |= deep(result, clip, sets, shown(sets, "validation"), shown(sets, "test"))
        if sets.own_labels != sets.labels:
            found[BY_A_PLANE] = round(original_plane(clip, part, kind, subgroup, seed).keeps(found[TARGET]), 3)
    return [{**found, "seconds": round(seconds, 2), "alpha": result.record.get("alpha")}]


def tune(clip: Clip, methods: list[str], out: Path) -> pd.DataFrame:
    """Score the settings of `GRIDS` on validation images of the subgroups in `TUNED_ON`, seed 0.

    All of them on the first, and each method's best third on the next (successive halving, by three: Jamieson and
    Talwalkar, AISTATS 2016).
    """
    rows = Rows(out, ["method", "setting", "kind", "subgroup", "seed"], clip.device)
    left = {"original": ["{}"]} | {m: [json.dumps(s, sort_keys=True) for s in GRIDS[m]] for m in methods}
    for kind, name in TUNED_ON:
        where = {"kind": kind, "subgroup": name, "seed": 0}
        runs = [{"method": method, "setting": s, **where} for method, settings in left.items() for s in settings]
        table = rows.fill(runs, partial(measure, clip, "validation"))
        here = table[(table["kind"] == kind) & (table["subgroup"] == name)]  # of the next there may be rows, too
        left = {method: [*ranked(here, method).index[: -(-len(settings) // 3)]] for method, settings in left.items()}
    return table


def ranked(table: pd.DataFrame, method: str) -> pd.Series:
    """The method's settings that were tried on the most subgroups, best mean validation Score first."""
    found = table[table["method"] == method].groupby("setting", sort=False)["score"].agg(["size", "mean"])
    return found[found["size"] == found["size"].max()]["mean"].sort_values(ascending=False, kind="stable")


def best_setting(table: pd.DataFrame, method: str) -> dict:
    """The setting with the best mean validation Score over the subgroups tuned on."""
    return json.loads(ranked(table, method).index[0])


@click.command(help=tune.__doc__)
@options("settings.csv")
@click.option("--method", "methods", multiple=True, type=click.Choice([*GRIDS]), default=[*GRIDS], help="repeat")
def main(device: str, out: Path, methods: tuple[str, ...]) -> None:
    table = tune(load_clip("mini", device=device), methods, out)
    for method in methods:
        print(f"best for {method}: {best_setting(table, method)}")


if __name__ == "__main__":
    main()
