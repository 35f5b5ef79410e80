"""The method on a real CLIP: `python -m benchmarks.real_clip --weights FILE --data DIR` (see `--help`).

Rows go to docs/results/real.csv; what is there already is not computed again. Two kinds of subgroups:

- `class`: cats among the animals of CIFAR-10, without the two classes for which there is no text embedding
- `coarse`: subgroups of one label, as `subgroups.csv` lists them (tabby cats among "cat")

DIR holds text.npz, class embeddings where the text tower cannot be had (`names` (C,) and unit `vectors` (C, D));
subgroups.csv (wnid, label, subgroup); and images/train/WNID and images/val/WNID. Sets without such names
(Fashion-MNIST, QuickDraw) get a head of image prototypes: they show what else is lost.

Beside the methods, `classifier` and `classifier on features` are rows of what could be had: see `plane.classifier`.
Features of images are kept, as most runs share them; `seconds` are those of a run that has none.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.attacks import deep
from benchmarks.baselines import BASELINES
from benchmarks.benchmark import unlearned
from benchmarks.plane import BY_A_PLANE, Plane, classifier, plane
from benchmarks.rows import Rows, combinations, measured, options
from forgetkit.data.folders import scan
from forgetkit.data.images import PARTS, Grouped, ImageSet, Subgroup, some
from forgetkit.data.reading import plain
from forgetkit.data.sets import load_parts
from forgetkit.evaluation import TARGET, accuracies
from forgetkit.lora import adaptable
from forgetkit.models.clip import Clip, Inputs, autocast
from forgetkit.models.loading import load_clip
from forgetkit.models.prefix import Features, n_frozen, run, shared
from forgetkit.subgroups import ModelSets, split

SYNONYMS = {"automobile": "car", "ship": "boat"}  # CIFAR-10's names as the texts have them
SIZES = dict(n_forget=150, n_retain=150, n_calibration=30, n_calibration_target=150)
PER_CLASS = 150  # test images of a class of CIFAR-10, and three times as many of a set of another style
CLASSES, PROTOTYPES = 40, 8  # of a set without texts: classes at most, and images of which a class embedding is made
METHODS = ("default", "paper", "projection", "ga", "task_vector")


@dataclass(frozen=True)
class Keeping(Clip):
    """A model that keeps what its blocks make of an image, by its pixels, while it does not change.

    spent: seconds for so many images, and how many were not computed again
    """

    kept: dict[int, torch.Tensor] = field(default_factory=dict, compare=False)
    spent: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "images": 0, "saved": 0}, compare=False)

    @property
    def cut(self) -> int:
        return n_frozen(self.model.visual, adaptable(self.model.visual)[-1:])

    def copy(self, name: str | None = None, **record) -> Clip:
        """A plain one: its weights are about to change."""
        clip = Clip(self.model, self.tokenizer, self.name, self.record, self.heads)
        return clip.copy(name, **record)

    @torch.no_grad()
    def features(self, x, n_frozen: int, mixed: bool = True):
        if isinstance(x, Features) or not 0 < self.cut <= n_frozen or not mixed:
            return super().features(x, n_frozen, mixed)
        keys = [hash(image.cpu().numpy().tobytes()) for image in x]
        if new := [i for i, key in enumerate(keys) if key not in self.kept]:
            start = time.perf_counter()
            values = super().features(x[new], self.cut, mixed).values
            self.spent["seconds"] += time.perf_counter() - start
            self.kept.update(zip([keys[i] for i in new], values))
        self.spent["images"] += len(new)
        self.spent["saved"] += len(keys) - len(new)
        values = torch.stack([self.kept[key] for key in keys])
        with autocast(self.device):
            return Features(run(self.model.visual, Features(values, self.cut), n_frozen), n_frozen)

    def saved(self) -> float:
        """Seconds that images would have cost that were not computed again, so far."""
        return self.spent["saved"] * self.spent["seconds"] / max(1, self.spent["images"])

    def behind(self, columns: Mapping[str, ImageSet], of: Clip) -> dict[str, ImageSet | Inputs]:
        """The columns as kept features, where model `of` has the same blocks before them; else as they are."""
        if shared([self.model.visual, of.model.visual]) < self.cut:
            return dict(columns)
        found = {}
        for name, part in columns.items():
            part = part if isinstance(part, Inputs) else self.inputs(part)
            found[name] = replace(part, images=self.features(part.images, self.cut))
        return found


@cache
def texts(data: Path) -> dict[str, torch.Tensor]:
    """Unit class embeddings (D,) by name."""
    found = np.load(data / "text.npz")
    return dict(zip(found["names"].tolist(), torch.as_tensor(found["vectors"]).float()))


@cache
def scratch() -> tempfile.TemporaryDirectory:
    """One that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="real-")


@cache
def listed(data: Path) -> Path:
    """A CSV of all images with label, subgroup and part, as `data.folders.look` takes it."""
    file, rows = Path(scratch().name) / "images.csv", []
    for row in pd.read_csv(data / "subgroups.csv").itertuples():
        for part, folder in (("train", "train"), ("test", "val")):
            images = sorted((data / "images" / folder / row.wnid).resolve().iterdir())
            rows += [{"image": image, "label": row.label, "subgroup": row.subgroup, "part": part} for image in images]
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def few(part: ImageSet, per_class: int, seed: int = 0) -> ImageSet:
    """At most so many random images of each class, the same in every call."""
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.flatnonzero(part.labels == c))[:per_class] for c in range(len(part.classes))]
    return part.take(np.sort(np.concatenate(members)))


def only(part: ImageSet, names: list[str], called: Mapping[str, str] = {}) -> ImageSet:
    """The images of these classes, which are then all there are, in this order; called: other names for some."""
    part = part.take(np.isin(part.names, names))
    labels = np.asarray([names.index(name) for name in part.names], np.int64)
    return replace(part, labels=labels, classes=tuple(called.get(name, name) for name in names))


def cifar(known: Mapping[str, torch.Tensor]) -> dict[str, ImageSet]:
    """CIFAR-10's parts without the classes that the texts do not name."""
    parts = load_parts("cifar10")
    names = [name for name in parts["train"].classes if SYNONYMS.get(name, name) in known]
    return {part: only(parts[part], names, SYNONYMS) for part in PARTS} | {
        "test": few(only(parts["test"], names, SYNONYMS), PER_CLASS)
    }


def by_prototypes(clip: Clip, name: str) -> tuple[ImageSet, torch.Tensor]:
    """Test images of a set without texts, and class embeddings made of its training images."""
    parts = load_parts(name)
    counts = [np.bincount(parts[p].labels, minlength=len(parts[p].classes)) for p in ("train", "test")]
    names = [parts["train"].classes[c] for c in np.flatnonzero(np.minimum(*counts))][:CLASSES]
    shown = some({name: only(parts["test"], names)}, 3 * PER_CLASS)[name]
    return shown, clip.prototypes(few(only(parts["train"], names), PROTOTYPES))


@lru_cache(maxsize=1)
def real_clip(model: str, weights: Path | None, size: int, device: str) -> Clip:
    clip = load_clip(model, pretrained=weights and str(weights), image_size=size, device=device)
    return Keeping(clip.model, clip.tokenizer, clip.name, clip.record, clip.heads)


@lru_cache(maxsize=1)
def others(clip: Clip) -> tuple[dict[str, ImageSet], dict[str, torch.Tensor]]:
    """Columns of other styles, and their heads."""
    found = {name: by_prototypes(clip, name) for name in ("fashion", "quickdraw")}
    return {name: part for name, (part, _) in found.items()}, {name: head for name, (_, head) in found.items()}


@lru_cache(maxsize=1)
def sets_of(
    clip: Clip, kind: str, target: str, seed: int, data: Path
) -> tuple[ModelSets, dict[str, torch.Tensor], dict[str, float], Plane]:
    """The sets of a subgroup on the model, the heads of its test columns, the original's accuracies and plane there."""
    known = texts(data)
    columns, heads = others(clip)
    if kind == "class":
        grouped, sizes = Grouped(cifar(known), Subgroup(target, ("bird", "dog", "horse"))), SIZES
    else:
        found, target = scan(listed(data), clip, seed), plain(target)
        rows = found.rows.drop_duplicates("subgroup").set_index("subgroup")["label"]
        siblings = [name for name in rows.index if rows[name] == rows[target] and name != target]
        grouped, sizes = found.group(target, siblings), {**SIZES, "n_forget": None, "n_retain": None}
    drawn = split(grouped, seed=seed, **sizes)
    sets = drawn.on(clip, torch.stack([known[name] for name in drawn.classes]))
    heads = {**dict.fromkeys(sets.test, sets.head), **heads}
    sets = replace(sets, test={**sets.test, **columns})
    test = clip.behind(sets.test, clip)
    known = replace(sets, **clip.behind({"forget": sets.forget, "retain": sets.retain}, clip))
    known = replace(known, calibration=clip.behind(sets.calibration, clip))
    return sets, heads, accuracies(clip, test, heads), plane(clip, known, test)


@click.command(help=__doc__)
@click.option("--model", default="ViT-B-16-quickgelu", show_default=True, help="architecture, or local-dir:FOLDER")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="its checkpoint")
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="texts and images: above")
@click.option("--size", default=112, show_default=True, help="pixels")
@click.option("--kind", type=click.Choice(["class", "coarse"]), default="class", show_default=True)
@click.option("--target", "targets", multiple=True, default=["cat"], show_default=True)
@click.option("--method", "methods", multiple=True, default=METHODS, show_default=True)
@click.option("--seed", "seeds", multiple=True, default=[0], show_default=True)
@options("real.csv")
def main(model, weights, data, size, kind, targets, methods, seeds, device, out) -> pd.DataFrame:
    clip = real_clip(model, weights, size, device)
    rows = Rows(out, ["model", "pixels", "kind", "subgroup", "method", "seed"], clip.device)

    def compute(kind: str, subgroup: str, method: str, seed: int, **_) -> list[dict]:
        sets, heads, before, by_plane = sets_of(clip, kind, subgroup, seed, data)

        def found_by(result: Clip) -> dict[str, float]:
            few_each = {name: few(part, PER_CLASS) for name, part in sets.validation.items()}
            columns = [clip.behind(part, result) for part in (few_each, sets.test)]
            seen = replace(sets, **clip.behind({"forget": sets.forget}, result))
            return deep(result, clip, seen, *columns)

        if method == "original":
            return [{**measured(before, None), **found_by(clip)}]
        if method.startswith("classifier"):
            known = replace(sets, **clip.behind({"forget": sets.forget, "retain": sets.retain}, clip))
            test, n_frozen = clip.behind(sets.test, clip), clip.cut if method.endswith("features") else 0
            return [measured(classifier(clip, known, test, before, n_frozen), before)]
        saved = clip.saved()
        result, seconds = unlearned(method, clip, sets, seed, cached=False)
        seconds += clip.saved() - saved
        found = measured(accuracies(result, clip.behind(sets.test, result), heads), before)
        if sets.own_labels != sets.labels:
            found[BY_A_PLANE] = round(by_plane.keeps(found[TARGET]), 3)
        row = {"seconds": round(seconds, 1), "alpha": result.record.get("alpha"), "images": len(sets.forget)}
        row |= result.record.get("edit", {})
        pace = {
            f"{stage}_rate": told["rate"]
            for stage, told in result.record.get("pace", {}).items()
            if method not in BASELINES
        }
        return [{**found, **row, **pace, **found_by(result)}]

    where = {"model": Path(model.removeprefix("local-dir:")).name, "pixels": size, "kind": kind}
    asked = combinations(subgroup=targets, seed=seeds, method=("original", *methods))
    return rows.fill([{**where, **run} for run in asked], compute)


if __name__ == "__main__":
    main()
