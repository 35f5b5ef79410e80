"""What it saves to compute what is frozen once: `python -m benchmarks.frozen`; the rows are docs/results/frozen.csv.

A stage runs as it is, and then with a tower that has no body (`models.body`), in one process. mini-CLIP forgets cats by
the default recipe; large models have random weights, noise for images, and fewer images and steps, in stage 2 some 17
draws from each image where the recipe has 26. Measure when the machine has nothing else to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from forgetkit.pacing import Watch

from benchmarks.benchmark import drawn
from benchmarks.rows import Rows, options
from benchmarks.speed import noise_sets
from forgetkit.evaluation import evaluate
from forgetkit.forgetting import forget
from forgetkit.models import body
from forgetkit.models.clip import Clip, pick_device
from forgetkit.models.loading import load_clip
from forgetkit.recipe import Recipe
from forgetkit.reminding import remind
from forgetkit.restoring import restore
from forgetkit.subgroups import Splits

MODELS = (("mini", 64), ("RN50", 224), ("ViT-B-16", 224))
FEW = {
    "forget": {"steps": 8, "batch": 8, "fisher_samples": 8, "stop": None, "spare": None},
    "remind": {"steps": 30, "batch": 5, "n_noise": 4, "n_abstract": 8, "align_steps": 1},
}


@contextmanager
def whole() -> Iterator[None]:
    """No tower has a body: it is run from the first block to the last every time."""
    blocks, body.blocks = body.blocks, lambda tower: []
    try:
        yield
    finally:
        body.blocks = blocks


def stages(clip: Clip, sets: Splits, recipe: Recipe) -> tuple[dict[str, float], float]:
    """Seconds of every stage and of the table; and how far stage 2 leaves kept images: mean 1 - cos."""
    seconds, models = {}, [clip]
    for name, run in {
        "forget": lambda: forget(clip, sets, recipe.forget),
        "remind": lambda: remind(models[1], clip, sets, recipe.remind),
        "restore": lambda: restore(models[2], clip, sets, recipe.restore, models[1]),
        "table": lambda: evaluate(models[:4], sets.test, head=None if clip.is_mini else sets.head),
    }.items():
        start = time.perf_counter()
        models.append(run())
        seconds[name] = time.perf_counter() - start
    return seconds, Watch.of(clip, sets).look(models[2]).drift


def compute(device: str, model: str, pixels: int) -> list[dict]:
    """A row a stage: seconds, seconds with the whole tower, their ratio, and the drift of kept images by stage 2."""
    clip = load_clip(model, device=device)
    sets = drawn(clip, "class", "cat", 0) if clip.is_mini else noise_sets(clip, 8, others=16)
    recipe = Recipe.default() if clip.is_mini else Recipe.default(**FEW)
    once, drift = stages(clip, sets, recipe)
    with whole():
        again, _ = stages(clip, sets, recipe)
    once["all"], again["all"] = sum(once.values()), sum(again.values())
    times = {name: (once[name], again[name], again[name] / once[name]) for name in once}
    names = ("seconds", "whole", "ratio")
    rows = [{"stage": stage, **{n: round(v, 2) for n, v in zip(names, of)}} for stage, of in times.items()]
    return [{**row, "drift": round(drift, 4)} for row in rows]


@click.command(help=__doc__)
@options("frozen.csv")
def main(device: str, out: Path) -> None:
    runs = [{"model": model, "pixels": pixels} for model, pixels in MODELS]
    table = Rows(out, ["model", "pixels"], pick_device(device)).fill(runs, partial(compute, device))
    print(table.to_string())


if __name__ == "__main__":
    main()
