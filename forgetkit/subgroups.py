"""A subgroup to forget, and the sets that the three stages and the evaluation see of it.

| set           | what it is                                                     | read by                    |
|---------------|----------------------------------------------------------------|----------------------------|
| `forget`      | a few hundred images of the target (D_f)                       | stages 1 and 2             |
| `retain`      | a few hundred images of its siblings (D_r)                     | stages 1 and 2             |
| `calibration` | a small mixed set: target, siblings, other classes (D_m)       | stage 3, to choose alpha   |
| `validation`  | like the test columns, from images no stage reads              | whoever tunes a recipe     |
| `test`        | target, siblings, other classes, and other sets by prompt      | once, for the table        |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .data import DataError, ImageSet

# CIFAR-10's ten classes as a label tree of two families.
CIFAR10_FAMILIES = {
    "animal": ("bird", "cat", "deer", "dog", "frog", "horse"),
    "vehicle": ("airplane", "automobile", "ship", "truck"),
}


@dataclass(frozen=True)
class Subgroup:
    """The class to forget and the siblings to keep; all other classes of the set count as `other`."""

    target: str
    siblings: tuple[str, ...]
    family: str = ""

    def __post_init__(self):
        if not self.siblings:
            raise DataError(f"Subgroup {self.target!r} has no siblings: name at least one class to keep beside it.")
        if self.target in self.siblings:
            raise DataError(f"{self.target!r} is both target and sibling: forget and retain sets must not overlap.")

    @classmethod
    def within(cls, target: str, families: Mapping[str, tuple[str, ...]] = CIFAR10_FAMILIES) -> Subgroup:
        """The subgroup `target` with all other members of its family as siblings."""
        for family, members in families.items():
            if target in members:
                return cls(target, tuple(m for m in members if m != target), family)
        choices = ", ".join(m for members in families.values() for m in members)
        raise DataError(f"No family has a member {target!r}. Choose one of: {choices}.")


@dataclass(frozen=True)
class Splits:
    """Everything the stages and the evaluation read; see the module's table."""

    subgroup: Subgroup
    forget: ImageSet
    retain: ImageSet
    calibration: dict[str, ImageSet]
    validation: dict[str, ImageSet]
    test: dict[str, ImageSet]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.forget.classes

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.forget.prompts

    @property
    def target_index(self) -> int:
        return self.classes.index(self.subgroup.target)


def split(
    parts: Mapping[str, ImageSet],
    subgroup: Subgroup,
    *,
    zero_shot: Mapping[str, Mapping[str, ImageSet]] | None = None,
    n_forget: int = 400,
    n_retain: int = 400,
    n_calibration: int = 100,
    seed: int = 0,
) -> Splits:
    """Draw the sets of a subgroup.

    parts:         the four parts of the image set (`data.load_parts`)
    zero_shot:     other sets by column name, each with its four parts: never used by a stage, only evaluated
    n_forget:      images of the target in D_f
    n_retain:      images of the siblings in D_r, drawn evenly over them
    n_calibration: images a class in D_m (at most)

    Raises DataError: unknown class, empty subgroup, or fewer images than asked for.
    """
    train = parts["train"]
    wanted = (subgroup.target, *subgroup.siblings)
    for name in wanted:
        train.class_index(name)
    for name, n in (("n_forget", n_forget), ("n_retain", n_retain), ("n_calibration", n_calibration)):
        if n < 1:
            raise DataError(f"{name} must be at least 1, got {n}: an empty set teaches nothing.")
    if n_retain < len(subgroup.siblings):
        raise DataError(
            f"n_retain={n_retain} is fewer than the {len(subgroup.siblings)} siblings: ask for one of each."
        )
    rng = np.random.default_rng(seed)

    def draw(part: ImageSet, name: str, n: int, what: str) -> np.ndarray:
        found = np.flatnonzero(part.labels == part.class_index(name))
        if len(found) < n:
            raise DataError(f"{part.name} has {len(found)} images of {name!r} for the {what} set, {n} were asked for.")
        return rng.choice(found, n, replace=False)

    forget = draw(train, subgroup.target, n_forget, "forget")
    per_sibling = [len(a) for a in np.array_split(np.arange(n_retain), len(subgroup.siblings))]
    retain = np.concatenate([draw(train, s, n, "retain") for s, n in zip(subgroup.siblings, per_sibling)])

    def few(part: ImageSet) -> ImageSet:
        index = [rng.permutation(np.flatnonzero(part.labels == c))[:n_calibration] for c in range(len(part.classes))]
        return part.take(np.sort(np.concatenate(index)))

    others = {name: dict(sets) for name, sets in (zero_shot or {}).items()}
    return Splits(
        subgroup=subgroup,
        forget=train.take(forget),
        retain=train.take(rng.permutation(retain)),
        calibration=columns(few(parts["calibration"]), subgroup),
        validation={**columns(parts["validation"], subgroup), **{n: s["validation"] for n, s in others.items()}},
        test={**columns(parts["test"], subgroup), **{n: s["test"] for n, s in others.items()}},
    )


def columns(part: ImageSet, subgroup: Subgroup) -> dict[str, ImageSet]:
    """The images of a part as `target`, `retain` and, where there are further classes, `other`."""
    target = part.labels == part.class_index(subgroup.target)
    retain = np.isin(part.labels, [part.class_index(s) for s in subgroup.siblings])
    found = {"target": target, "retain": retain, "other": ~(target | retain)}
    for name in ("target", "retain"):
        if not found[name].any():
            raise DataError(f"{part.name} has no image of the {name} classes: the subgroup is empty there.")
    return {name: part.take(mask) for name, mask in found.items() if mask.any()}
