"""Studies beside the benchmark, `python -m benchmarks.studies STUDY`; the rows are `docs/results/STUDY.csv`.

All but quickstart, requests, cost, gpu and memory read validation images only. What is there already is not computed
again.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks import speed
from benchmarks.ablations import by_stage, layernorm_alignment
from benchmarks.accuracy import zero_shot
from benchmarks.baselines import BASELINES
from benchmarks.benchmark import SEEDS, drawn, peak_memory, unlearned
from benchmarks.pretraining.captions import Pretraining
from benchmarks.pretraining.train import Run
from benchmarks.rows import Rows, combinations, measured, options
from forgetkit.batch import run as batch
from forgetkit.batch import table as results
from forgetkit.data.images import PARTS, ImageSet, some
from forgetkit.data.tutorial import group
from forgetkit.evaluation import TARGET, accuracies, evaluate
from forgetkit.lessons.committed import RESULTS
from forgetkit.models.clip import Clip, pick_device
from forgetkit.models.loading import load_clip
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.restoring import path
from forgetkit.store import Cache
from forgetkit.subgroups import Splits, split

METHODS = ("default", "paper", *BASELINES)
# Validation images of targets that the methods were tuned on: nothing here spends a test image.
STUDIED = (("class", "cat"), ("class", "truck"), ("cluster", "cat 1"))
QUICKSTART = (
    *(("class", name) for name in ("cat", "dog", "horse", "airplane", "ship", "truck")),
    *(("coarse", name) for name in ("cat", "ship")),
    ("style", "cat sketches"), ("style", "truck sketches"), ("cluster", "dog 1"), ("cluster", "dog 2"),
)  # fmt: skip
# Each with a sibling that a method is not shown: a class, a class of the same label, a cluster.
UNSHOWN = (("class", "cat", "dog"), ("coarse", "ship", "automobile"), ("cluster", "dog 1", "dog 0"))
BLENDS = tuple(round(0.125 * i, 3) for i in range(9))
# And a class that was hard, and a style, where three calibration images prove nothing.
SOUPED = (*STUDIED[:2], ("class", "airplane"), ("style", "bird sketches"), STUDIED[2])
SOUPS = (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
# Of one label, none of them a target of the benchmark's first rows.
SHARED = (
    ("coarse", "cat"), ("coarse", "truck"), ("cluster", "cat 1"), ("cluster", "frog 0"), ("cluster", "bird 1"),
    ("style", "dog sketches"),
)  # fmt: skip
# One value at a time, the default's own among them; "n_" are sizes of the sets, the others the recipe's.
KNOBS = {
    "trainable_fraction": (0.2, 0.35, 0.7, 1.0),
    "forget.k": (1, 2, 4, 8),
    "rank": (1, 4, 8, 32),
    "forget.embedding_step": (0.0002, 0.0007, 0.002),
    "remind.embedding_step": (0.002, 0.005, 0.01, 0.02),
    "remind.feature": (20.0, 200.0, 1000.0),
    "n_forget": (10, 50, 200, 500),
    "n_retain": (10, 50, 200, 500),
    "restore.alphas": (0.25, 0.5, 0.75, 0.9, 1.0),  # the soup at this one coefficient, instead of choosing
}
IDEAS = {
    "as it is": {},
    "AdamW instead of Muon": {"muon": 0.0},
    "64 px throughout": {"sizes": ((1.0, 64),)},
    "no blended sketches": {"mix": 0.0},
    "no label smoothing": {"smoothing": 0.0},
    "no line drawings of icons": {"lines": 0.0},
    "no synonyms, no kinds": {"synonym": 0.0, "kind": 0.0},
    "no captions of further classes": {"others": 0},
    "both directions of the loss alike": {"to_image": 0.5},
}
REQUESTS = ("cat", "truck", "frog", "ship", "dog")  # one after another
VIT_WEIGHTS = Path("runs/pretrain-vit/mini-vit.safetensors")


@click.group(help=__doc__)
def main() -> None: ...


def study(runs: Callable[[], list[dict]], key: list[str] | None = None, command: bool = True) -> Callable:
    """Decorates compute(clip, **names) -> rows: a study (clip, out) of all runs that have no row yet, and its command.

    runs: the names of each; they are the key of its rows, unless the key is given
    """

    def register(compute: Callable[..., list[dict]]) -> Callable:
        @functools.wraps(compute)
        def run_all(clip: Clip, out: Path = RESULTS / f"{compute.__name__}.csv") -> pd.DataFrame:
            rows = Rows(out, key or [*runs()[0]], clip.device)
            return rows.fill(runs(), functools.partial(compute, clip))

        def mini(device: str, out: Path) -> None:
            run_all(load_clip("mini", device=device), out)

        if command:
            main.command(compute.__name__, help=compute.__doc__)(options(f"{compute.__name__}.csv")(mini))
        return run_all

    return register


def grid(subgroups, seeds=(0,), **values) -> list[dict]:
    """Every combination of the values, subgroups and seeds."""
    where = [{"kind": kind, "subgroup": name, "seed": seed} for seed in seeds for kind, name in subgroups]
    return [{**chosen, **names} for names in where for chosen in combinations(**values)]


def stage_rows(models: list[Clip], columns: Mapping[str, ImageSet]) -> list[dict]:
    """A row a model, the original first: accuracies, Score, seconds, and the soup's coefficient."""
    table = evaluate(models, columns).round(3).assign(alpha=[m.record.get("alpha") for m in models])
    return table.to_dict("records")


@study(lambda: [{"kind": kind, "forget": subgroup} for kind, subgroup in QUICKSTART])
def quickstart(clip: Clip, kind: str, forget: str) -> list[dict]:
    """The default recipe on six classes and two of each other kind, seed 0: every stage on test images."""
    sets = drawn(clip, kind, forget, 0)
    return stage_rows(unlearn(clip, sets, Recipe.default()), sets.test)


@study(lambda: grid((*STUDIED, ("coarse", "cat")), method=METHODS))
def front(clip: Clip, method: str, kind: str, subgroup: str, seed: int) -> list[dict]:
    """What a method keeps against what it forgets: its result blended with the original, from nothing done to all.

    Every method has such a path, whatever its own knobs are.
    """
    sets = drawn(clip, kind, subgroup, seed)
    result, _ = unlearned(method, clip, sets, seed)
    return path(result, clip, some(sets.validation), BLENDS, None).round(3).to_dict("records")


@study(lambda: [{"knob": k, "value": v, **names} for k in KNOBS for v in KNOBS[k] for names in grid(STUDIED[:2])])
def sensitivity(clip: Clip, knob: str, value: float, kind: str, subgroup: str, seed: int) -> list[dict]:
    """The default recipe with one value changed at a time, and with fewer images; every stage, to place a fall."""
    sizes = {knob: value} if knob.startswith("n_") else {}
    changes = {} if sizes else {knob: (value,) if knob == "restore.alphas" else value}
    sets = drawn(clip, kind, subgroup, seed, **sizes)
    return stage_rows(unlearn(clip, sets, Recipe.default(**by_stage(changes)), Cache()), some(sets.validation))[1:]


def tried(clip: Clip, kind: str, subgroup: str, seed: int, **changes) -> tuple[dict, dict]:
    """A row of the default recipe with changes, on validation images, and the result's record."""
    sets = drawn(clip, kind, subgroup, seed)
    restored = unlearn(clip, sets, Recipe.default(seed, **by_stage(changes)), Cache())[-1]
    found = (accuracies(model, some(sets.validation, 1000)) for model in (restored, clip))
    return {**measured(*found), "alpha": restored.record["alpha"]}, restored.record


@study(lambda: grid(SHARED, margin=(2.0, 4.0, 6.0)))
def margin(clip: Clip, margin: float, kind: str, subgroup: str, seed: int) -> list[dict]:
    """The default recipe without its share, both stages' margin changed, where siblings bear the target's label."""
    return [tried(clip, kind, subgroup, seed, **{"margin": margin, "restore.shares": ()})[0]]


@study(lambda: grid((*SHARED, ("cluster", "horse 1")), share=(False, True)))
def share(clip: Clip, share: bool, kind: str, subgroup: str, seed: int) -> list[dict]:
    """The default recipe without and with its share of stage 1's model, where siblings bear the target's label."""
    row, record = tried(clip, kind, subgroup, seed, **({} if share else {"restore.shares": ()}))
    return [{**row, "chosen": record.get("share", 0.0)}]


@study(lambda: grid(SOUPED))
def soup(clip: Clip, kind: str, subgroup: str, seed: int) -> list[dict]:
    """The soups of the default recipe on validation images, beside the coefficient that calibration chose."""
    sets = drawn(clip, kind, subgroup, seed)
    *_, reminded, restored = unlearn(clip, sets, Recipe.default(seed), Cache())
    chosen = {"chosen": restored.record["alpha"], "calibration_target": len(sets.calibration[TARGET])}
    return path(reminded, clip, sets.validation, SOUPS, None).round(3).assign(**chosen).to_dict("records")


@study(
    lambda: [
        {"method": m, "kind": kind, "subgroup": name, "unshown": sibling, "seed": 0}
        for kind, name, sibling in UNSHOWN for m in ("original", *METHODS)
    ]
)  # fmt: skip
def unshown(clip: Clip, method: str, kind: str, subgroup: str, unshown: str, seed: int) -> list[dict]:
    """A sibling of which a method sees no image, neither in D_r nor in D_m: does it stay? The Score leaves it out."""
    sets, columns, before = without_sibling(clip, kind, subgroup, unshown, seed)
    result, seconds = unlearned(method, clip, sets, seed)
    found = before if result is clip else accuracies(result, columns)
    scored = {name: value for name, value in before.items() if name != "sibling"}
    return [{**measured(found, None if result is clip else scored), "seconds": round(seconds, 2)}]


@functools.lru_cache(maxsize=1)
def without_sibling(
    clip: Clip, kind: str, subgroup: str, sibling: str, seed: int
) -> tuple[Splits, dict[str, ImageSet], dict[str, float]]:
    """The sets of a subgroup as if one of its siblings had no image; validation columns, also it; the original's."""
    found = group(subgroup, kind, clip)
    groups = {part: found.groups[part] if found.groups else found.parts[part].names for part in PARTS}
    stay = {part: groups[part] != sibling for part in PARTS}
    hidden = found.parts["validation"].take(~stay["validation"])
    found = replace(
        found,
        parts={part: found.parts[part].take(stay[part]) for part in PARTS},
        groups={part: groups[part][stay[part]] for part in PARTS},
        subgroup=found.subgroup.without([sibling]),
    )
    sets = split(found, seed=seed).on(clip)
    columns = some({**sets.validation, "sibling": hidden}, 1000)
    return sets, columns, accuracies(clip, columns)


@study(
    lambda: (
        [{"method": "original", "seed": 0, "request": 0}]
        + combinations(method=("default", "not told"), seed=(0,), request=range(1, 1 + len(REQUESTS)))
    )
)
def requests(clip: Clip, method: str, seed: int, request: int) -> list[dict]:
    """Requests one after another: test accuracy on every target so far and to come, and on all else, after each.

    The default recipe is told of the requests before; "not told", the sets are drawn as for a first request.
    """
    models = [clip]
    for i, target in enumerate(REQUESTS[:request]):
        told = method != "not told"
        before = models[-1] if told else replace(models[-1], record={})  # with it, the stages would refuse
        sets = drawn(before, "class", target, seed, previous_targets=REQUESTS[:i] if told else ())
        models = unlearn(before, sets, Recipe.default(seed), Cache())
    test = drawn(clip, "class", REQUESTS[0], seed).test
    found = {name: round(value, 3) for name, value in accuracies(models[-1], by_request(test)).items()}
    seconds = sum(model.record["seconds"] for model in models[1:])
    return [{"subgroup": REQUESTS[request - 1] if request else "", **found, "seconds": round(seconds, 2)}]


def by_request(test: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
    """The test columns of one request as one a request, `others` for all other classes, and the other sets."""
    own = [test[name] for name in (TARGET, "retain", "other") if name in test]
    joined = {name: np.concatenate([getattr(part, name) for part in own]) for name in ("images", "labels")}
    every = replace(own[0], **joined)
    found = {name: every.take(every.names == name) for name in REQUESTS}
    further = {name: part for name, part in test.items() if name not in (TARGET, "retain", "other")}
    return {**found, "others": every.take(~np.isin(every.names, REQUESTS)), **further}


@study(lambda: grid(STUDIED, SEEDS, alignment=("layernorm", "none")), command=False)
def vit(clip: Clip, alignment: str, kind: str, subgroup: str, seed: int) -> list[dict]:
    """Alignment on a small ViT, to the statistics of its LayerNorm inputs, and none; by the default recipe."""
    sets = drawn(clip, kind, subgroup, seed)
    pieces = {"align": layernorm_alignment(clip, sets)} if alignment == "layernorm" else {}
    return stage_rows(unlearn(clip, sets, Recipe.default(seed), **pieces), some(sets.validation))


@study(
    lambda: [{"what": "forget", "unit": "images/s"}, *({"what": method, "unit": "s"} for method in METHODS)],
    key=["what", "unit", "device"],
)
def cost(clip: Clip, what: str, unit: str) -> list[dict]:
    """Seconds and memory of every method, each in a process of its own, and the speed of the stages' steps.

    Measure when the machine has nothing else to do.
    """
    if unit == "images/s":
        speeds = step_speeds(clip, drawn(clip, "class", "cat", 0))
        return [{"what": what, "value": round(value, 2), "unit": unit} for what, value in speeds.items()]
    spec = {"function": "benchmarks.studies:alone", "grid": {"device": [str(clip.device)], "method": [what]}}
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        batch.run(spec, folder, workers=1)
        done = results.gather(folder).query("status == 'done'")
    return done[["value", "unit"]].to_dict("records")


def step_speeds(clip: Clip, sets: Splits) -> dict[str, float]:
    """images/s of the steps of forgetting, alignment and reminding, and of plain training at the same batches."""
    recipe, found = Recipe.default(), {}
    pools = 4 * recipe.remind.batch  # retain, aligned, forget, classless
    batches = {"forget": recipe.forget.batch, "align": min(200, len(sets.retain)), "remind": pools}
    for stage, images in batches.items():
        runs, steps = speed.stage_steps(clip, sets, images), (2, 8) if stage == "align" else (5, 25)
        found[stage] = speed.images_per_second(runs[stage], images, *steps)
        found[f"plain, batch {images}"] = speed.images_per_second(runs["plain"], images, *steps)
    return found


def alone(method: str, device: str) -> list[dict]:
    """Seconds and peak memory (MB) of one method on one subgroup, in a process that has done nothing else before."""
    clip = load_clip("mini", device=device)
    sets = drawn(clip, "class", "cat", 0)
    with peak_memory(clip.device) as memory:
        _, seconds = unlearned(method, clip, sets, 0, keep=False)
    return [{"value": round(seconds, 2), "unit": "s"}, {"value": round(memory["MB"]), "unit": "MB"}]


@main.command("pretraining")
@options("pretraining.csv")
@click.option("--images", default=100_000, show_default=True, help="images that each run sees")
def pretraining(device: str, out: Path, images: int) -> None:
    """What each idea of pre-training is worth: it is left out of a short run, validation accuracy (percent) by set."""

    def compute(idea: str) -> list[dict]:
        config = Pretraining(images_seen=images, warmup=30, **IDEAS[idea])
        with tempfile.TemporaryDirectory() as folder:
            run = Run(config, Path(folder), pick_device(device))
            run.train()
            found = zero_shot(run.finish(), "validation").set_index("set")["top1"].to_dict()
        return [{"images": images, "cpu_seconds": round(run.seconds), **found}]

    Rows(out, ("idea",), pick_device(device)).fill([{"idea": idea} for idea in IDEAS], compute)


@main.command("vit", help=vit.__doc__)
@options("vit.csv")
@click.option("--weights", type=click.Path(path_type=Path), default=VIT_WEIGHTS, show_default=True, help="of mini-vit")
def vit_command(device: str, out: Path, weights: Path) -> None:
    if not weights.exists():
        raise click.UsageError(f"there is no {weights}: train it with the command in forgetkit/models/mini/README.md.")
    vit(load_clip("mini-vit", weights, device), out)


@main.command("gpu", help=speed.throughput_study.__doc__)
@options("gpu.csv")
@click.option("--model", "models", multiple=True, default=speed.MODELS, show_default=True, help="open_clip's; repeat")
@click.option("--batch", type=int, help="images a step  [default: 256, on a CPU 8]")
def throughput_command(**given) -> None:
    speed.throughput_study(**given)


@main.command("memory", help=speed.memory_study.__doc__)
@options("memory.csv")
@click.option("--model", "models", multiple=True, default=["RN50"], show_default=True, help="open_clip's; repeat")
@click.option("--batch", default=256, show_default=True, help="images a step")
def memory_command(**given) -> None:
    speed.memory_study(**given)


if __name__ == "__main__":
    main()
