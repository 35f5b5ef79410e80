"""Studies beside the benchmark, `python -m forgetkit.lab.studies STUDY`; the rows are `docs/results/STUDY.csv`.

front:       what a method keeps against what it forgets, along the path from the original to its result
sensitivity: the default recipe with one value changed at a time, and with fewer images
soup:        the path of the default recipe's soup on validation images, beside the alpha that calibration chose
probe:       how far the original's own embedding tells a cluster from its siblings: what forgetting one can hope for
cost:        seconds and peak memory of every method, and the speed of the stages' steps against a plain training step
vit:         alignment without BatchNorm, to the statistics of LayerNorm inputs, and none, on a small ViT
gpu:         the speed of every stage on the paper's models, weights random (`throughput`)
memory:      how much memory a step of 256 images needs on RN50, counted (`throughput`)

All but the last two and `cost` read validation images only. What is there already is not computed again.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from forgetkit.batch import run as batch, table as results
from forgetkit.alignment import align
from forgetkit.lab.baselines import BASELINES
from forgetkit.lab.benchmark import RESULTS, SEEDS, peak_memory, recipe_of, unlearned
from forgetkit.store import cached
from forgetkit.models.clip import Clip
from forgetkit.data.sets import ImageSet
from forgetkit.evaluation import accuracies
from forgetkit.forgetting import forget
from forgetkit.data.tutorial import tutorial_sets
from forgetkit.models.loading import load_clip
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.reminding import remind
from forgetkit.lab.rows import Rows, measured, versions
from forgetkit.restoring import path
from forgetkit.subgroups import Splits
from forgetkit.lab.speed import MODELS, images_per_second, memory, plain_steps, throughput

# Validation images of targets that the methods were tuned on: nothing here spends a test image.
STUDIED = (("class", "cat"), ("class", "truck"), ("cluster", "cat 1"))
FRONT = tuple(round(0.125 * i, 3) for i in range(9))
# One value at a time, the default's own among them; "n_" are sizes of the sets, the others the recipe's.
KNOBS = {
    "last": (0.2, 0.35, 0.7, 1.0),
    "k": (1, 2, 4, 8),
    "rank": (1, 4, 8, 32),
    "forget_lr": (1e-4, 3e-4, 1e-3),
    "remind_lr": (1e-3, 2.5e-3, 5e-3, 1e-2),
    "feature_weight": (20.0, 200.0, 1000.0),
    "n_forget": (10, 50, 200, 500),
    "n_retain": (10, 50, 200, 500),
    "alphas": (0.25, 0.5, 0.75, 0.9, 1.0),  # the soup at this one coefficient, instead of choosing
}
SIZES = {"n_forget": 400, "n_retain": 400}


def some(columns: dict[str, ImageSet], n: int = 400, seed: int = 0) -> dict[str, ImageSet]:
    """At most n random images of each column, the same in every call."""
    rng = np.random.default_rng(seed)
    return {name: part.take(rng.permutation(len(part))[:n]) for name, part in columns.items()}


def front(clip: Clip, out: Path = RESULTS / "front.csv", load: Callable[..., Splits] = tutorial_sets) -> pd.DataFrame:
    """Blend each method's result with the original in steps: one curve a method, from nothing done to all of it.

    Every method has such a path, whatever its own knobs are.
    """
    rows = Rows(out, ["method", "kind", "target", "seed", "alpha"])
    for (kind, target), method in tqdm(list(itertools.product(STUDIED, ("default", "paper", *BASELINES))), unit="run"):
        names = {"method": method, "kind": kind, "target": target, "seed": 0}
        if (*names.values(), FRONT[-1]) in rows:
            continue
        sets = load(target, 0, kind, clip)
        result, _ = unlearned(method, clip, sets, clip.head(sets.classes, sets.prompts), 0)
        table = path(result, clip, some(sets.validation), FRONT, None).rename(columns={"target": "target_acc"})
        rows.add(*({**names, **row, **versions(clip.device)} for row in table.round(3).to_dict("records")))
    return rows.table


def sensitivity(
    clip: Clip, out: Path = RESULTS / "sensitivity.csv", load: Callable[..., Splits] = tutorial_sets
) -> pd.DataFrame:
    """Change one knob of `default` at a time; the stages' own results are in the rows, so that a fall can be placed."""
    rows = Rows(out, ["knob", "value", "kind", "target", "seed"])
    for (kind, target), (knob, values) in itertools.product(STUDIED[:2], KNOBS.items()):
        for value in tqdm(values, desc=f"{target}: {knob}"):
            names = {"knob": knob, "value": float(value), "kind": kind, "target": target, "seed": 0}
            if tuple(names.values()) in rows:
                continue
            sets = load(target, 0, kind, clip, **{**SIZES, **({knob: value} if knob in SIZES else {})})
            changed = {knob: (value,) if knob == "alphas" else value}
            recipe = Recipe.default(**({} if knob in SIZES else changed))
            models, columns = unlearn(clip, sets, recipe, keep=True), some(sets.validation)
            before = accuracies(clip, columns)
            for model in models[1:]:
                found = {**measured(accuracies(model, columns), before), "alpha": models[-1].record["alpha"]}
                rows.add({**names, "model": model.name, **found, **versions(clip.device)})
    return rows.table


# A class that was hard, besides; and a style, where three calibration images prove nothing.
SOUPED = (*STUDIED[:2], ("class", "airplane"), ("style", "bird sketches"), STUDIED[2])


def soups(clip: Clip, out: Path = RESULTS / "soup.csv", load: Callable[..., Splits] = tutorial_sets) -> pd.DataFrame:
    """The soups between the original and `default` after stage 2, and which of them stage 3 chooses."""
    rows = Rows(out, ["kind", "target", "seed", "alpha"])
    alphas = (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
    for kind, target in tqdm(SOUPED, unit="subgroup"):
        if (kind, target, 0, alphas[-1]) in rows:
            continue
        sets = load(target, 0, kind, clip)
        *_, reminded, restored = unlearn(clip, sets, Recipe.default(), keep=True)
        table = path(reminded, clip, sets.validation, alphas, None).rename(columns={"target": "target_acc"}).round(3)
        names = {"kind": kind, "target": target, "seed": 0}
        chosen = {"chosen": restored.record["alpha"], "calibration_target": len(sets.calibration["target"])}
        rows.add(*({**names, **row, **chosen, **versions(clip.device)} for row in table.to_dict("records")))
    return rows.table


# Clusters of the benchmark, and those that recipes were tuned on.
PROBED = ("dog 0", "dog 1", "dog 2", "cat 1", "frog 0", "horse 0")


def separation(clip: Clip, sets: Splits, ridge: float = 0.1, limit: float = 2.0) -> dict[str, float]:
    """Percent of validation images of target and siblings on the wrong side of a plane between D_f and D_r.

    The plane is the ridge regression of +1 (D_f) and -1 (D_r) on the original's embeddings. It knows only what the
    stages know, so subgroups that it confuses cannot be told apart much better by any of them. `siblings_lost`: how
    many of them go with the target where the plane is moved until at most `limit` percent of the target are left.
    """
    z = torch.cat([clip.embed(part.images) for part in (sets.forget, sets.retain)])
    side = torch.ones(len(z), device=z.device)
    side[len(sets.forget) :] = -1
    plane = torch.linalg.solve(z.T @ z + ridge * torch.eye(z.shape[1], device=z.device), z.T @ side)
    target, siblings = (clip.embed(sets.validation[name].images) @ plane for name in ("target", "retain"))
    moved = target.sort().values[int(limit / 100 * len(target))]  # what lies below it stays
    share = lambda wrong: 100 * wrong.double().mean().item()
    return {
        "target_wrong": share(target <= 0),
        "siblings_wrong": share(siblings > 0),
        "siblings_lost": share(siblings >= moved),
    }


def probe(clip: Clip, out: Path = RESULTS / "probe.csv", load: Callable[..., Splits] = tutorial_sets) -> pd.DataFrame:
    """One row a cluster: what a linear probe confuses."""
    rows = Rows(out, ["kind", "target", "seed"])
    for target in tqdm(PROBED, unit="cluster"):
        if ("cluster", target, 0) in rows:
            continue
        sets = load(target, 0, "cluster", clip)
        found = {name: round(value, 3) for name, value in separation(clip, sets).items()}
        images = sum(len(sets.validation[name]) for name in ("target", "retain"))
        rows.add({"kind": "cluster", "target": target, "seed": 0, **found, "images": images, **versions(clip.device)})
    return rows.table


# --------------------------------------------------------------------------------------------------
# Cost


def step_speeds(clip: Clip, sets: Splits) -> dict[str, float]:
    """images/s of the steps of forgetting, alignment and reminding, and of plain training at the same batches."""
    head, recipe = clip.head(sets.classes, sets.prompts), recipe_of("default", forget_stop=None, n_noise=0)
    forgotten = cached(forget)(clip, sets, recipe_of("default"), head)
    x = clip.preprocess(sets.retain.images[:200])
    pools = 4 * recipe.remind_batch  # retain, aligned, forget, classless
    forgetting = lambda steps: forget(clip, sets, replace(recipe, forget_steps=steps, fisher_samples=4), head)
    reminding = lambda steps: remind(forgotten, clip, sets, replace(recipe, remind_steps=steps, align_steps=1), head)
    return {
        "forget": images_per_second(forgetting, recipe.forget_batch),
        f"plain, batch {recipe.forget_batch}": images_per_second(
            plain_steps(clip, sets, recipe.forget_batch), recipe.forget_batch
        ),
        "align": images_per_second(lambda steps: align(clip, x, steps), len(x), 2, 8),
        f"plain, batch {len(x)}": images_per_second(plain_steps(clip, sets, len(x)), len(x), 2, 8),
        "remind": images_per_second(reminding, pools),
        f"plain, batch {pools}": images_per_second(plain_steps(clip, sets, pools), pools),
    }


def alone(method: str, device: str) -> list[dict]:
    """Seconds and peak memory of one method on one subgroup, in a process that has done nothing else before."""
    clip = load_clip("mini", device=device)
    sets = tutorial_sets("cat", 0, "class", clip)
    head = clip.head(sets.classes, sets.prompts)
    with peak_memory(clip.device) as memory:
        _, seconds = unlearned(method, clip, sets, head, 0, keep=False)
    return [{"what": method, "value": v, "unit": u} for v, u in ((round(seconds, 2), "s"), (round(memory["MB"]), "MB"))]


COSTED = ("default", "paper", *BASELINES)


def cost(clip: Clip, out: Path = RESULTS / "cost.csv", load: Callable[..., Splits] = tutorial_sets) -> pd.DataFrame:
    """The speed of the steps, and each method once, in a process of its own; `what,value,unit`.

    Measure when the machine has nothing else to do.
    """
    rows, where = Rows(out, ["what", "unit", "device"]), versions(clip.device)
    if ("forget", "images/s", where["device"]) not in rows:
        speeds = step_speeds(clip, load("cat", 0, "class", clip))
        rows.add(*({"what": w, "value": round(v, 2), "unit": "images/s", **where} for w, v in speeds.items()))
    if methods := [method for method in COSTED if (method, "s", where["device"]) not in rows]:
        spec = {"function": "forgetkit.lab.studies:alone", "grid": {"device": str(clip.device), "method": methods}}
        with tempfile.TemporaryDirectory(prefix="cost-") as folder:
            batch.run(spec, folder, workers=1)
            done = results.gather(folder).query("status == 'done'")
            rows.add(*({**row, **where} for row in done[["what", "value", "unit"]].to_dict("records")))
    return rows.table


# --------------------------------------------------------------------------------------------------
# Larger models


def vit(clip: Clip, out: Path = RESULTS / "vit.csv", load: Callable[..., Splits] = tutorial_sets) -> pd.DataFrame:
    """The default recipe on a ViT, aligned to the statistics of its LayerNorm inputs and not aligned at all."""
    rows = Rows(out, ["alignment", "kind", "target", "seed", "model"])
    ways = {"layernorm": {"align_layernorm": True}, "none": {}}
    runs = itertools.product(SEEDS, STUDIED, ways.items())
    for seed, (kind, target), (alignment, changes) in tqdm(list(runs), unit="run"):
        names = {"alignment": alignment, "kind": kind, "target": target, "seed": seed}
        if (*names.values(), "restore") in rows:
            continue
        sets = load(target, seed, kind, clip)
        models, columns = unlearn(clip, sets, Recipe.default(seed=seed, **changes), keep=True), some(sets.validation)
        before = accuracies(clip, columns)
        for model in models:
            found = measured(accuracies(model, columns) if model is not clip else before, before)
            found |= {"seconds": round(model.record.get("seconds", 0.0), 2), "alpha": model.record.get("alpha")}
            rows.add({**names, "model": model.name, **found, **versions(clip.device)})
    return rows.table


STUDIES = {
    "front": front, "sensitivity": sensitivity, "soup": soups, "probe": probe, "cost": cost, "vit": vit,
}  # fmt: skip
VIT_WEIGHTS = Path("runs/pretrain-vit/mini-vit.safetensors")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m forgetkit.lab.studies", description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=[*STUDIES, "gpu", "memory"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="docs/results/STUDY.csv, unless named")
    parser.add_argument("--weights", type=Path, default=VIT_WEIGHTS, help=f"vit: of mini-vit ({VIT_WEIGHTS})")
    parser.add_argument("--models", nargs="+", help=f"open_clip's names: gpu {' '.join(MODELS)}; memory RN50")
    parser.add_argument("--batch", type=int, help="images a step: gpu 256, 8 on a CPU; memory 256")
    args = parser.parse_args(argv)
    out = args.out or RESULTS / f"{args.study}.csv"
    if args.study == "gpu":
        throughput(args.models or MODELS, args.batch, args.device, out)
    elif args.study == "memory":
        memory(args.models or ("RN50",), args.batch, args.device, out)
    elif args.study == "vit":
        if not args.weights.exists():
            parser.error(f"there is no {args.weights}: train it with the command in forgetkit/mini/README.md.")
        vit(load_clip("mini-vit", args.weights, args.device), out)
    else:
        STUDIES[args.study](load_clip("mini", device=args.device), out)


if __name__ == "__main__":
    main()
