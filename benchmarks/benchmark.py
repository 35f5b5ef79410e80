"""The benchmark: every method on every subgroup, `python -m benchmarks.benchmark tune | run` (see `--help`).

Rows are added to `docs/results`; what is there already is not computed again. `tune` scores settings on validation
images of the subgroups in `TUNED_ON`; `run` reads the test images, once a method, subgroup and seed: accuracies, and
what an attacker finds. It is a sweep (`forgetkit batch`) of `run_subgroup`, whose rows are put into the table as its
runs end.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

import click
import pandas as pd
import psutil
import torch

from benchmarks.ablations import ABLATIONS, PIECES, UNPUBLISHED, by_stage
from benchmarks.attacks import deep
from benchmarks.baselines import BASELINES
from benchmarks.plane import BY_A_PLANE, Plane, plane
from benchmarks.rows import Rows, combinations, importable, measured, options
from forgetkit.batch import record
from forgetkit.batch import run as batch
from forgetkit.data import styles
from forgetkit.data.images import ImageSet, some
from forgetkit.data.tutorial import zero_shot
from forgetkit.evaluation import TARGET, accuracies
from forgetkit.lessons.committed import whole
from forgetkit.models.clip import Clip, pick_device
from forgetkit.models.loading import load_clip
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.store import Cache
from forgetkit.subgroups import ModelSets, split, tutorial_sets

# One of the benchmark's targets, and one of one label that is none: tuned on whole classes alone, a method fails there.
TUNED_ON = (("class", "cat"), ("coarse", "cat"))
# In such an order that the first few are of every kind already.
SUBGROUPS = (
    ("class", "cat"), ("coarse", "ship"), ("style", "truck sketches"), ("cluster", "dog 1"),
    ("whole style", "sketches"), ("class", "truck"), ("coarse", "truck"), ("style", "cat sketches"),
    ("cluster", "dog 2"), ("class", "ship"), ("coarse", "frog"), ("style", "airplane sketches"), ("cluster", "dog 0"),
    ("class", "frog"), ("coarse", "bird"),
    *(("class", name) for name in ("airplane", "automobile", "bird", "deer", "dog", "horse")),
)  # fmt: skip
ABLATED_ON = SUBGROUPS[:3]
RECIPES = ("default", "paper")
SEEDS = (0, 1, 2)
SHOWN = {"test": 2000, "validation": 1000}  # images of a column, at random where there are more
KEY = ["method", "kind", "subgroup", "seed"]  # of a row of `run`
# Settings tried for each method: the same effort for all, six each (`projection` has only two).
GRIDS = {
    "ga": combinations(lr=(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)),
    "finetune": combinations(lr=(1e-5, 1e-4, 1e-3), steps=(50, 200)),
    "random_labels": combinations(lr=(3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)),
    "ga_retain": combinations(lr=(1e-5, 3e-5, 1e-4), retain_weight=(1.0, 3.0)),
    "emmn": combinations(lr=(3e-6, 1e-5, 3e-5), steps=(10, 40)),
    "lip": combinations(lr=(1e-5, 1e-4, 1e-3), sigma=(0.5, 2.0)),
    "salun": combinations(lr=(1e-5, 1e-4, 3e-4), share=(0.3, 0.7)),
    "task_vector": combinations(lr=(1e-6, 1e-5, 1e-4), steps=(20, 60)),
    "scrub": combinations(lr=(3e-6, 1e-5, 1e-4), retain_weight=(1.0, 10.0)),
    "munba": combinations(lr=(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)),
    "text_lora": combinations(lr=(1e-4, 1e-3, 1e-2), keep=(1.0, 10.0)),
    "negmerge": combinations(lr=(1e-6, 1e-5, 1e-4), spread=(2.0, 5.0)),
    "ssd": combinations(alpha=(1.0, 3.0, 10.0), strength=(0.1, 1.0)),
    "projection": combinations(orthogonal=(True, False)),
    "null_space": combinations(rank=(1, 2, 4), orthogonal=(True, False)),
    "erasure": combinations(ridge=(0.1, 1.0, 10.0), held=(0, 600)),
    "paper": combinations(**{"forget.k": (8, 16), "remind.embedding_step": (0.0007, 0.0025, 0.006)}),
    "default": combinations(**{"remind.embedding_step": (0.007, 0.01), "margin": (2.0, 4.0, 6.0)}),
}


def all_methods() -> list[str]:
    """Recipes, baselines, and each recipe after its first stage and without each of the parts it has."""
    parts = [f"{r} without {p}" for r in RECIPES for p in ABLATIONS if r == "default" or p not in UNPUBLISHED]
    return [*RECIPES, *BASELINES, *(f"{r} after forget" for r in RECIPES), *parts]


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
    name, _, stage = method.partition(" after ")
    name, _, part = name.partition(" without ")
    parts = part.split(" and ") if part else []
    left_out = dict(change for one in parts for change in ABLATIONS[one].items())
    pieces = dict(piece for one in parts for piece in PIECES.get(one, {}).items())
    recipe = Recipe.named(name, seed, **by_stage({**left_out, **settings}))
    models = unlearn(clip, sets, recipe, Cache() if cached and not pieces else None, **pieces)
    done = models[1:2] if stage else models[1:]
    return done[-1], sum(model.record["seconds"] for model in done)


@contextmanager
def peak_memory(device: torch.device, every: float = 0.05):
    """A dict whose "MB" is, after the block, the most memory held in it: the GPU's, else the process's."""
    found = {"MB": 0.0}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found["MB"] = torch.cuda.max_memory_allocated(device) / 1e6
        return
    process, done = psutil.Process(), threading.Event()

    def look() -> None:
        ended = False
        while not ended:
            found["MB"] = max(found["MB"], process.memory_info().rss / 1e6)
            ended = done.wait(every)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


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
    with peak_memory(clip.device) as memory:
        result, seconds = unlearned(method, clip, sets, seed, **json.loads(setting))
    found = measured(before, None) if result is clip else measured(accuracies(result, shown(sets, part)), before)
    if part == "test":
        found |= deep(result, clip, sets, shown(sets, "validation"), shown(sets, "test"))
        if sets.own_labels != sets.labels:
            found[BY_A_PLANE] = round(original_plane(clip, part, kind, subgroup, seed).keeps(found[TARGET]), 3)
    cost = {"seconds": round(seconds, 2), "peak_mb": round(memory["MB"])}
    return [{"setting": setting, **found, **cost, "alpha": result.record.get("alpha")}]


def tune(clip: Clip, methods: list[str], out: Path) -> pd.DataFrame:
    """Score the settings of `GRIDS` on validation images of the subgroups in `TUNED_ON`, seed 0.

    All of them on the first, and the better half of each method's on the next (successive halving: Jamieson and
    Talwalkar, AISTATS 2016).
    """
    rows = Rows(out, ["method", "setting", "kind", "subgroup", "seed"], clip.device)
    left = {"original": ["{}"]} | {m: [json.dumps(s, sort_keys=True) for s in GRIDS[m]] for m in methods}
    for kind, name in TUNED_ON:
        where = {"kind": kind, "subgroup": name, "seed": 0}
        runs = [{"method": method, "setting": s, **where} for method, settings in left.items() for s in settings]
        table = rows.fill(runs, partial(measure, clip, "validation"))
        here = table[(table["kind"] == kind) & (table["subgroup"] == name)]  # of the next there may be rows, too
        left = {method: [*ranked(here, method).index[: -(-len(settings) // 2)]] for method, settings in left.items()}
    return table


def ranked(table: pd.DataFrame, method: str) -> pd.Series:
    """The method's settings that were tried on the most subgroups, best mean validation Score first."""
    found = table[table["method"] == method].groupby("setting", sort=False)["score"].agg(["size", "mean"])
    return found[found["size"] == found["size"].max()]["mean"].sort_values(ascending=False, kind="stable")


def best_setting(table: pd.DataFrame, method: str) -> dict:
    """The setting with the best mean validation Score over the subgroups tuned on."""
    return json.loads(ranked(table, method).index[0])


def run_subgroup(kind: str, subgroup: str, seed: int, methods: list[str], device: str, out: Path) -> pd.DataFrame:
    """Rows of these methods on test images of one subgroup and seed; also in `out`."""
    clip, where = load_clip("mini", device=device), {"kind": kind, "subgroup": subgroup, "seed": seed}
    runs = [{"method": method, **where} for method in methods]
    return Rows(out / "rows.csv", KEY, clip.device).fill(runs, partial(measure, clip, "test"))


def run_all(
    device: str, methods: list[str], seeds: list[int], subgroups: list[str], out: Path, workers: int = 1,
    folder: Path = Path("runs/benchmark"),
) -> pd.DataFrame:  # fmt: skip
    """Every method on test images, all subgroups and seeds; ablations and stages on those of `ABLATED_ON` only.

    One run a subgroup and seed, in `folder` until its rows are in the table `out`. Seconds in the table are comparable
    among rows of the same `workers`.
    """
    rows, sets = Rows(out, KEY, pick_device(device)), []
    for seed, (kind, name) in itertools.product(seeds, SUBGROUPS):
        where = {"kind": kind, "subgroup": name, "seed": seed}
        asked = [method for method in methods if whole(method) or (kind, name) in ABLATED_ON]
        missing = [method for method in asked if {"method": method, **where} not in rows]
        if seed == seeds[0] and {"method": "original", **where, "seed": 0} not in rows:  # the same for every seed
            missing.insert(0, "original")
        if missing and (not subgroups or name in subgroups):
            sets.append({**where, "methods": missing})
    if sets:
        spec = {"function": "benchmarks.benchmark:run_subgroup", "grid": {"device": device}, "list": sets}
        try:
            with importable():
                status = batch.run(spec, folder, workers=workers, changed="rerun", retry_failed=True)
        finally:
            collect(rows, folder)
        if status["failed"]:
            raise RuntimeError(f"{status['failed']} of {len(sets)} runs failed: result.json in {folder} says why.")
    return rows.table


def collect(rows: Rows, folder: Path) -> None:
    """Put the rows of finished runs into the table, and their folders away: what is done stands in the table alone.

    The original's row stands there once, with seed 0.
    """
    for done in sorted(folder.glob("*-*")):
        if (found := record.read(done)) and found["status"] == "done":
            new = pd.read_csv(done / record.TABLE)
            new.loc[new["method"] == "original", "seed"] = 0
            rows.add(*(row for row in new.to_dict("records") if row not in rows))
            shutil.rmtree(done)


def methods_option(choices: list[str]):
    choice = click.Choice(choices)
    given = dict(multiple=True, type=choice, default=choices, metavar="METHOD", help="repeat; default: all")
    return click.option("--method", "methods", **given)


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command("tune", help=tune.__doc__)
@options("settings.csv")
@methods_option([*GRIDS])
def tune_command(device: str, out: Path, methods: tuple[str, ...]) -> None:
    table = tune(load_clip("mini", device=device), methods, out)
    for method in methods:
        print(f"best for {method}: {best_setting(table, method)}")


@main.command("run", help=run_all.__doc__)
@options("benchmark.csv")
@methods_option(all_methods())
@click.option("--seed", "seeds", multiple=True, type=int, default=SEEDS, show_default=True, help="repeat")
@click.option("--subgroup", "subgroups", multiple=True, help="repeat; default: all")
@click.option("--workers", default=1, show_default=True, help="subgroups at a time")
def run_command(**given) -> None:
    print(run_all(**given).groupby("method")[["target", "score", "seconds"]].mean().round(1).to_string())


if __name__ == "__main__":
    main()
