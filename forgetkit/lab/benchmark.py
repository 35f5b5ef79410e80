"""The benchmark: every method on every subgroup, `python -m forgetkit.lab.benchmark tune | run` (see `--help`).

Rows are appended to `docs/results`; what is there already is not computed again. `tune` scores settings on
validation images of the subgroups in `TUNED_ON`; `run` reads the test images, once a method, subgroup and seed. It is a
sweep (`forgetkit.batch.run`) of `subgroup`, whose rows are put into the table as its runs end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
import torch
from tqdm import tqdm

from forgetkit.batch import run as batch, worker as job
from forgetkit.lab.baselines import BASELINES
from forgetkit.models.clip import Clip
from forgetkit.tutorial.diagnostics import kept
from forgetkit.data.sets import CIFAR10
from forgetkit.evaluation import accuracies
from forgetkit.data.tutorial import tutorial_sets
from forgetkit.models.loading import load_clip
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.lab.rows import Rows, measured, versions

RESULTS = Path("docs/results")
# Two targets of the benchmark and a cluster that is none: tuned on whole classes alone, a method fails on parts of one.
TUNED_ON = (("class", "cat"), ("class", "truck"), ("cluster", "cat 1"))
SUBGROUPS = (
    *(("class", name) for name in CIFAR10),
    *(("style", f"{name} sketches") for name in ("cat", "airplane", "truck")),
    *(("cluster", f"dog {i}") for i in range(3)),
)
ABLATED_ON = tuple(("class", name) for name in ("cat", "dog", "horse", "airplane", "ship", "truck"))
SEEDS = (0, 1, 2)
# What a recipe becomes without one of its parts.
ABLATIONS = {
    "fisher": dict(choose="random"),
    "alignment": dict(align_steps=0),
    "distillation": dict(distill_weight=0.0, feature_weight=0.0, rename_weight=0.0),
    "ema": dict(ema_decay=0.0),
    "soup": dict(alphas=(1.0,)),
    "late layers": dict(last=1.0),
    "raw images": dict(contrastive_on="aligned"),
    "guard": dict(guard_weight=0.0, rename_weight=0.0, distill_without_target=False),
    "lora": dict(rank=0, forget_lr=3e-5, remind_lr=1e-4),  # smaller rates: whole weights move further
}
OURS = ("late layers", "raw images", "guard")  # parts that the published description does not have
# Settings tried for each method: the same effort for all, six each.
GRIDS = {
    "ga": [dict(lr=lr) for lr in (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)],
    "finetune": [dict(lr=lr, steps=n) for lr, n in itertools.product((1e-5, 1e-4, 1e-3), (50, 200))],
    "random_labels": [dict(lr=lr) for lr in (3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)],
    "ga_retain": [dict(lr=lr, retain_weight=w) for lr, w in itertools.product((1e-5, 3e-5, 1e-4), (1.0, 3.0))],
    "emmn": [dict(lr=lr, steps=n) for lr, n in itertools.product((3e-6, 1e-5, 3e-5), (10, 40))],
    "lip": [dict(lr=lr, sigma=s) for lr, s in itertools.product((1e-5, 1e-4, 1e-3), (0.5, 2.0))],
    "salun": [dict(lr=lr, share=s) for lr, s in itertools.product((1e-5, 1e-4, 3e-4), (0.3, 0.7))],
    "task_vector": [dict(lr=lr, steps=n) for lr, n in itertools.product((1e-6, 1e-5, 1e-4), (20, 60))],
    "projection": [dict(orthogonal=o) for o in (True, False)],
    "paper": [dict(k=k, remind_lr=lr) for k, lr in itertools.product((8, 16), (3e-4, 1e-3, 2.5e-3))],
    "default": [dict(remind_lr=lr, guard_margin=m) for lr, m in itertools.product((3.5e-3, 5e-3, 7e-3), (2.0, 3.0))],
}


def recipe_of(method: str, **settings) -> Recipe:
    """The recipe of a method such as "default", "paper" or "default without soup"."""
    name, _, part = method.partition(" without ")
    return Recipe.named(name, **{**(ABLATIONS[part] if part else {}), **settings})


def unlearned(
    method: str, clip: Clip, sets, head: torch.Tensor, seed: int, keep: bool = True, **settings
) -> tuple[Clip, float]:
    """The model a method makes, and the seconds it took: a baseline, a recipe, or a recipe without a part.

    method: a name in `BASELINES`, "default", "paper", or such as "default without soup", "default after forget".
    keep:   a recipe's stages are read where they were computed before: ablations share some
    """
    if method in BASELINES:
        if method != "projection":  # nothing is drawn there
            settings = {"seed": seed, **settings}
        result = BASELINES[method](clip, sets, head, **settings)
        return result, result.record["seconds"]
    name, _, stage = method.partition(" after ")
    models = unlearn(clip, sets, recipe_of(name, seed=seed, **settings), keep=keep)
    last = 1 if stage == "forget" else len(models) - 1
    return models[last], sum(model.record["seconds"] for model in models[1 : last + 1])


@contextmanager
def peak_memory(device: torch.device, every: float = 0.05):
    """A dict whose "MB" is, after the block, the most memory held in it: the GPU's, else the process's."""
    found = {"MB": 0.0}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found["MB"] = torch.cuda.max_memory_allocated(device) / 1e6
        return
    process = psutil.Process()

    def look() -> None:
        found["MB"] = max(found["MB"], process.memory_info().rss / 1e6)

    with job.watched(look, every):
        yield found


def measure(clip: Clip, runs: Iterable[tuple], part: str, rows: Rows, load: Callable = tutorial_sets) -> pd.DataFrame:
    """Append a row for each run (method, settings, kind, target, seed) that has none; `part`: "test" or "validation".

    The original's row has the method "original".
    """
    originals: dict[tuple, dict] = {}
    where = versions(clip.device)
    sets = loaded = None
    for method, settings, kind, target, seed in tqdm(list(runs), unit="run"):
        setting = json.dumps(settings, sort_keys=True)
        names = {"method": method, "setting": setting, "kind": kind, "target": target, "seed": seed}
        if tuple(names[k] for k in rows.key) in rows:
            continue
        if loaded != (kind, target, seed):
            sets, loaded = load(target, seed, kind, clip), (kind, target, seed)
            head = clip.head(sets.classes, sets.prompts)
        columns = getattr(sets, part)
        if (kind, target) not in originals:  # what is evaluated depends on the subgroup only
            originals[kind, target] = accuracies(clip, columns)
        before = originals[kind, target]
        first = {**names, "method": "original", "setting": "{}", "seed": 0}
        if tuple(first[k] for k in rows.key) not in rows:
            rows.add({**first, **measured(before, None), "seconds": 0.0, "peak_mb": 0.0, **where})
        with peak_memory(clip.device) as memory:
            result, seconds = unlearned(method, clip, sets, head, seed, **settings)
        after = accuracies(result, columns)
        alpha = result.record.get("alpha")
        rows.add(
            {**names, **measured(after, before), "seconds": round(seconds, 2), "peak_mb": round(memory["MB"]), **where}
            | {"alpha": alpha}
        )
    return rows.table


def tune(clip: Clip, methods: list[str], out: Path) -> pd.DataFrame:
    """Score every setting of `GRIDS` on validation images of the subgroups in `TUNED_ON`, seed 0."""
    rows = Rows(out, ["method", "setting", "kind", "target", "seed"])
    runs = [(m, s, kind, target, 0) for kind, target in TUNED_ON for m in methods for s in GRIDS[m]]
    return measure(clip, runs, "validation", rows)


def best_setting(table: pd.DataFrame, method: str) -> dict:
    """The setting with the best mean validation Score over the subgroups tuned on."""
    found = table[table["method"] == method].groupby("setting")["score"].mean()
    return json.loads(found.idxmax())


def relative(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a result file without the originals, accuracies as percent of the original's on the same subgroup."""
    rows = rows.rename(columns={"target": "subgroup", "target_acc": "target"})
    columns = ["target", *rows.columns[rows.columns.get_loc("target") + 1 : rows.columns.get_loc("score")]]
    originals = rows[rows["method"] == "original"].set_index("subgroup")[columns]
    return kept(rows[rows["method"] != "original"], originals)


def shared(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows on those subgroups and seeds that every method in them has: means over these can be compared."""
    where = pd.MultiIndex.from_frame(rows[["kind", "subgroup", "seed"]])
    by_method = [set(where[(rows["method"] == method).to_numpy()]) for method in rows["method"].unique()]
    return rows[where.isin(set.intersection(*by_method))] if by_method else rows


KEY = ["method", "kind", "target", "seed"]  # of a row of `run`


def subgroup(kind: str, target: str, seed: int, methods: list[str], device: str, out: Path) -> pd.DataFrame:
    """Rows of these methods, and of the original, on test images of one subgroup and seed; also in `out`."""
    runs = [(method, {}, kind, target, seed) for method in methods]
    return measure(load_clip("mini", device=device), runs, "test", Rows(out / "rows.csv", KEY))


def run(
    device: str, methods: list[str], seeds: list[int], subgroups: list[str], out: Path, workers: int = 1,
    folder: Path = Path("runs/benchmark"),
) -> pd.DataFrame:  # fmt: skip
    """Every method on test images, all subgroups and seeds; ablations and stages on those of `ABLATED_ON` only.

    One run a subgroup and seed, in `folder` until its rows are in the table `out`. Seconds in the table are comparable
    among rows of the same `workers`.
    """
    rows, sets = Rows(out, KEY), []
    for seed, (kind, target) in itertools.product(seeds, SUBGROUPS):
        asked = [m for m in methods if whole(m) or (kind, target) in ABLATED_ON]
        missing = [m for m in asked if (m, kind, target, seed) not in rows]
        if missing and (not subgroups or target in subgroups):
            sets.append({"kind": kind, "target": target, "seed": seed, "methods": missing})
    if sets:
        spec = {"function": "forgetkit.lab.benchmark:subgroup", "grid": {"device": device}, "list": sets}
        try:
            status = batch.run(spec, folder, workers=workers, changed="rerun", retry_failed=True)
        finally:
            rows = merge(folder, out)
        if status["failed"]:
            raise RuntimeError(f"{status['failed']} of {len(sets)} runs failed: result.json in {folder} says why.")
    return rows.table


def merge(folder: Path, out: Path) -> Rows:
    """Put the rows of finished runs into the table, and their folders away: what is done stands in the table alone."""
    rows = Rows(out, KEY)
    for done in sorted(folder.glob("*-*")):
        if (found := job.read(done)) and found["status"] == "done":
            table = pd.read_csv(done / job.TABLE)
            rows.add(*(row for row in table.to_dict("records") if tuple(row[k] for k in KEY) not in rows))
            shutil.rmtree(done)
    return rows


def all_methods() -> list[str]:
    """Recipes, baselines, and each recipe after its first stage and without each of the parts it has."""
    recipes = ("default", "paper")
    parts = [f"{r} without {p}" for r in recipes for p in ABLATIONS if r == "default" or p not in OURS]
    return [*recipes, *BASELINES, *(f"{r} after forget" for r in recipes), *parts]


def whole(method: str) -> bool:
    """Is this a method as it is, neither cut short nor without a part?"""
    return " " not in method


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m forgetkit.lab.benchmark", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, methods, function in (("tune", list(GRIDS), tune), ("run", all_methods(), run)):
        sub = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        sub.add_argument("--methods", nargs="+", choices=methods, default=methods, metavar="METHOD")
        sub.add_argument("--device", default="auto")
        sub.add_argument("--out", type=Path, default=RESULTS / ("settings.csv" if name == "tune" else "benchmark.csv"))
        if name == "run":
            sub.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
            sub.add_argument("--subgroups", nargs="+", default=[], help="targets; all, unless named")
            sub.add_argument("--workers", type=int, default=1, help="subgroups at a time")
    args = vars(parser.parse_args(argv))
    if args.pop("command") == "run":
        table = run(**args)
    else:
        table = tune(load_clip("mini", device=args.pop("device")), **args)
        for method in args["methods"]:
            print(f"best for {method}: {best_setting(table, method)}")
    print(table.groupby("method")[["target_acc", "score", "seconds"]].mean().round(1).to_string())


if __name__ == "__main__":
    main()
