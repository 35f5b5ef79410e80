"""Studies beside the benchmark, `python -m benchmarks.studies STUDY`; the rows are `docs/results/STUDY.csv`.

front and sensitivity read validation images only. What is there already is not computed again.
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

from benchmarks.ablations import by_stage
from benchmarks.baselines import BASELINES
from benchmarks.benchmark import drawn, peak_memory, unlearned
from benchmarks.rows import Rows, combinations, importable, options
from forgetkit.batch import run as batch
from forgetkit.batch import table as results
from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import TARGET, accuracies, evaluate
from forgetkit.lessons.committed import RESULTS
from forgetkit.models.clip import Clip
from forgetkit.models.loading import load_clip
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.restoring import path
from forgetkit.store import Cache

METHODS = ("default", "paper", *BASELINES)
# Validation images of targets that the methods were tuned on: nothing here spends a test image.
STUDIED = (("class", "cat"), ("class", "truck"), ("cluster", "cat 1"))
QUICKSTART = (
    *(("class", name) for name in ("cat", "dog", "horse", "airplane", "ship", "truck")),
    *(("coarse", name) for name in ("cat", "ship")),
    ("style", "cat sketches"), ("style", "truck sketches"), ("cluster", "dog 1"), ("cluster", "dog 2"),
)  # fmt: skip
BLENDS = tuple(round(0.125 * i, 3) for i in range(9))
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
REQUESTS = ("cat", "truck", "frog", "ship", "dog")  # one after another


@click.group(help=__doc__)
def main() -> None: ...


def study(runs: Callable[[], list[dict]], key: list[str] | None = None) -> Callable:
    """Decorates compute(clip, **names) -> rows: a study (clip, out) of all runs that have no row yet, and its command.

    runs: the names of each; they are the key of its rows, unless the key is given
    """

    def register(compute: Callable[..., list[dict]]) -> Callable:
        @functools.wraps(compute)
        def run_all(clip: Clip, out: Path = RESULTS / f"{compute.__name__}.csv") -> pd.DataFrame:
            rows = Rows(out, key or [*runs()[0]], clip.device)
            return rows.fill(runs(), functools.partial(compute, clip))

        def command(device: str, out: Path) -> None:
            run_all(load_clip("mini", device=device), out)

        main.command(compute.__name__, help=compute.__doc__)(options(f"{compute.__name__}.csv")(command))
        return run_all

    return register


def grid(subgroups, **values) -> list[dict]:
    """Every combination of the values and subgroups, seed 0."""
    return [{**chosen, "kind": kind, "subgroup": name, "seed": 0}
            for kind, name in subgroups for chosen in combinations(**values)]  # fmt: skip


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
    sets, recipe = drawn(clip, kind, subgroup, seed, **sizes), Recipe.default(**by_stage(changes))
    return stage_rows(unlearn(clip, sets, recipe, Cache()), some(sets.validation))[1:]


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


@study(lambda: combinations(what=METHODS, unit=("s",)), key=["what", "unit", "device"])
def cost(clip: Clip, what: str, unit: str) -> list[dict]:
    """Seconds and memory of every method on cat, each in a process of its own, with nothing else on the machine."""
    spec = {"function": "benchmarks.studies:alone", "grid": {"device": [str(clip.device)], "method": [what]}}
    with importable(), tempfile.TemporaryDirectory(prefix="cost-") as folder:
        batch.run(spec, folder, workers=1)
        done = results.gather(folder).query("status == 'done'")
    return done[["value", "unit"]].to_dict("records")


def alone(method: str, device: str) -> list[dict]:
    """Seconds and peak memory (MB) of one method on one subgroup, in a process that has done nothing else before."""
    clip = load_clip("mini", device=device)
    sets = drawn(clip, "class", "cat", 0)
    with peak_memory(clip.device) as memory:
        _, seconds = unlearned(method, clip, sets, 0, cached=False)
    return [{"value": round(seconds, 2), "unit": "s"}, {"value": round(memory["MB"]), "unit": "MB"}]


if __name__ == "__main__":
    main()
