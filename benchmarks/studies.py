"""What `python -m benchmarks.results` measures: a file of docs/results each, its runs, and what makes a run's rows.

sensitivity reads validation images only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from benchmarks import audit, benchmark
from benchmarks.ablations import by_stage
from benchmarks.attacks import deep
from benchmarks.benchmark import drawn, makers, shown
from benchmarks.made_by import made_by
from benchmarks.rows import combinations
from forgetkit.auditing.limits import TABLE as LIMITS
from forgetkit.data import tutorial
from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import TARGET, accuracies, evaluate
from forgetkit.models.clip import Clip
from forgetkit.models.loading import EMBEDDED
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.store import Cache
from forgetkit.subgroups import split

STUDIED = (("class", "cat"),)  # the validation images of the sensitivity's rows
QUICKSTART = [of for of in benchmark.SUBGROUPS + benchmark.FURTHER if of[0] != "whole style"]
# One value at a time, the default's own among them; "n_" are sizes of the sets, the others the recipe's.
STEP = Recipe.default().remind.embedding_step
KNOBS = {
    "remind.embedding_step": (round(STEP / 3, 4), STEP, round(3 * STEP, 4)), "n_forget": (50,), "n_retain": (50,),
}  # fmt: skip
UNSHOWN = (
    ("class", "cat", "dog"), ("class", "truck", "automobile"), ("coarse", "ship", "automobile"),
    ("cluster", "dog 1", "dog 0"),
)  # fmt: skip
REQUESTS = ("cat", "truck", "frog", "ship", "dog")  # one after another


@dataclass(frozen=True)
class Study:
    """A file of rows.

    key:     the columns that tell a run; of rows of one run there may be several
    runs:    the values of the key of every run, in the file's order
    compute: (clip, **run) -> its rows
    version: (**run) -> what they are made by
    core:    needed by the pages
    """

    key: tuple[str, ...]
    runs: Callable[[], list[dict]]
    compute: Callable[..., list[dict]]
    version: Callable[..., str]
    core: bool = True


STUDIES: dict[str, Study] = {}


def study(runs: Callable[[], list[dict]], version: Callable[..., str]) -> Callable:
    """Register compute(clip, **run) -> rows as the study of its name."""

    def register(compute: Callable[..., list[dict]]) -> Callable:
        STUDIES[compute.__name__] = Study(tuple(runs()[0]), runs, compute, version)
        return compute

    return register


def on_test_images(clip: Clip, **run) -> list[dict]:
    return benchmark.measure(clip, "test", **run)


STUDIES["benchmark"] = Study(tuple(benchmark.KEY), benchmark.core, on_test_images, benchmark.version)
STUDIES["beyond"] = Study(tuple(benchmark.KEY), benchmark.beyond, on_test_images, benchmark.version, core=False)


def stage_rows(models: list[Clip], columns: Mapping[str, ImageSet]) -> list[dict]:
    """A row a model, the original first: accuracies, Score, seconds, and the soup's coefficient."""
    table = evaluate(models, columns).round(3).assign(alpha=[m.record.get("alpha") for m in models])
    return table.to_dict("records")


def version_of_default(**_) -> str:
    return made_by(EMBEDDED["mini"], drawn, shown, evaluate, *makers("default"))


@study(lambda: [{"kind": kind, "forget": subgroup} for kind, subgroup in QUICKSTART], version_of_default)
def quickstart(clip: Clip, kind: str, forget: str) -> list[dict]:
    """The default recipe on subgroups of every kind, seed 0: every stage on test images."""
    sets = drawn(clip, kind, forget, 0)
    return stage_rows(unlearn(clip, sets, Recipe.default(), Cache()), shown(sets, "test"))


def version_of_change(knob: str, value: float, **_) -> str:
    changes = {} if knob.startswith("n_") else {knob: (value,) if knob == "restore.alphas" else value}
    recipe = Recipe.default(**by_stage(changes))
    return made_by(EMBEDDED["mini"], drawn, shown, evaluate, unlearn, asdict(recipe))


@study(
    lambda: [
        {"knob": knob, "value": value, "kind": kind, "subgroup": name, "seed": 0}
        for kind, name in STUDIED for knob in KNOBS for value in KNOBS[knob]
    ],
    version_of_change,
)  # fmt: skip
def sensitivity(clip: Clip, knob: str, value: float, kind: str, subgroup: str, seed: int) -> list[dict]:
    """The default recipe with one value changed at a time, and with fewer images; every stage, to place a fall."""
    sizes = {knob: value} if knob.startswith("n_") else {}
    changes = {} if sizes else {knob: (value,) if knob == "restore.alphas" else value}
    sets, recipe = drawn(clip, kind, subgroup, seed, **sizes), Recipe.default(**by_stage(changes))
    return stage_rows(unlearn(clip, sets, recipe, Cache()), shown(sets, "validation"))[1:]


@study(
    lambda: (
        [{"method": "original", "seed": 0, "request": 0}]
        + combinations(method=("default", "not told"), seed=(0,), request=range(1, 1 + len(REQUESTS)))
    ),
    lambda **_: made_by(EMBEDDED["mini"], drawn, shown, accuracies, deep, by_request, REQUESTS, *makers("default")),
)
def requests(clip: Clip, method: str, seed: int, request: int) -> list[dict]:
    """Requests one after another: test accuracy on every target so far and to come, and on all else, after each.

    The default recipe is told of the requests before; "not told", the sets are drawn as for a first request. Recalls:
    what an attacker finds of the first target.
    """
    models = [clip]
    for i, target in enumerate(REQUESTS[:request]):
        told = method != "not told"
        before = models[-1] if told else replace(models[-1], record={})  # with it, the stages would refuse
        sets = drawn(before, "class", target, seed, previous_targets=REQUESTS[:i] if told else ())
        models = unlearn(before, sets, Recipe.default(seed), Cache())
    first = drawn(clip, "class", REQUESTS[0], seed)
    found = accuracies(models[-1], some(by_request(first.test), benchmark.SHOWN["test"]))
    recalls = deep(models[-1], clip, first, shown(first, "validation"), shown(first, "test"))
    found |= {name: value for name, value in recalls.items() if name.endswith("recall")}
    seconds = sum(model.record["seconds"] for model in models[1:])
    told = {name: round(value, 3) for name, value in found.items()}
    return [{"subgroup": REQUESTS[request - 1] if request else "", **told, "seconds": round(seconds, 2)}]


def by_request(test: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
    """The test columns of one request as one a request, `others` for all other classes, and the other sets."""
    own = [test[name] for name in (TARGET, "retain", "other") if name in test]
    joined = {name: np.concatenate([getattr(part, name) for part in own]) for name in ("images", "labels")}
    every = replace(own[0], **joined)
    found = {name: every.take(every.names == name) for name in REQUESTS}
    further = {name: part for name, part in test.items() if name not in (TARGET, "retain", "other")}
    return {**found, "others": every.take(~np.isin(every.names, REQUESTS)), **further}


@study(
    lambda: [{"kind": kind, "subgroup": name, "unshown": sibling} for kind, name, sibling in UNSHOWN],
    lambda **_: made_by(EMBEDDED["mini"], tutorial.group, split, shown, evaluate, *makers("default")),
)
def unshown(clip: Clip, kind: str, subgroup: str, unshown: str) -> list[dict]:
    """One sibling is kept from every stage, though its text is among the names: the default recipe, seed 0.

    Validation images; `sibling`: those of the one that nobody showed. A row a model, the original first.
    """
    grouped = tutorial.group(subgroup, kind, clip)
    stays = {part: groups != unshown for part, groups in grouped.groups.items()}
    parts = {part: grouped.parts[part].take(mask) for part, mask in stays.items()}
    groups = {part: grouped.groups[part][mask] for part, mask in stays.items()}
    known = replace(grouped, parts=parts, groups=groups, subgroup=grouped.subgroup.without((unshown,)))
    sets = split(known, seed=0).on(clip)
    sibling = clip.inputs(grouped.parts["validation"].take(~stays["validation"]))
    columns = {**shown(sets, "validation"), "sibling": sibling}
    original, *_, restored = stage_rows(unlearn(clip, sets, Recipe.default(), Cache()), columns)
    return [{"method": "original", **original}, {"method": "default", **restored}]


def audited(kind: str, subgroup: str) -> tuple[str, ...]:
    """What is audited beside the original and the oracle: every method on one class, `default` on the others."""
    return audit.METHODS if (kind, subgroup) == audit.SUBGROUPS[0] else ("default",)


def version_of_audit(kind: str, subgroup: str, **_) -> str:
    methods = [part for method in audited(kind, subgroup) for part in makers(method)]
    return made_by(EMBEDDED["mini"], drawn, audit.audits, audit.depth, LIMITS, *methods)


STUDIES["audit"] = Study(
    ("kind", "subgroup", "seed"),
    lambda: [{"kind": kind, "subgroup": name, "seed": 0} for kind, name in audit.SUBGROUPS],
    lambda clip, kind, subgroup, seed: audit.measure(clip, audited(kind, subgroup), kind, subgroup, seed),
    version_of_audit,
)
