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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forgetkit.data.sets import DataError, ImageSet

# CIFAR-10's ten classes as a label tree of two families.
CIFAR10_FAMILIES = {
    "animal": ("bird", "cat", "deer", "dog", "frog", "horse"),
    "vehicle": ("airplane", "automobile", "ship", "truck"),
}


@dataclass(frozen=True)
class Subgroup:
    """The subgroup to forget and the siblings to keep; all others of the set count as `other`.

    A subgroup may be a class of a family (cats among animals), or a part of one class (sketches of cats, one kind of
    cat): then target and siblings bear the same label.
    """

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


def split(
    parts: Mapping[str, ImageSet],
    subgroup: Subgroup,
    *,
    groups: Mapping[str, np.ndarray] | None = None,
    zero_shot: Mapping[str, Mapping[str, ImageSet]] | None = None,
    n_forget: int = 400,
    n_retain: int = 400,
    n_calibration: int = 100,
    n_calibration_target: int = 250,
    seed: int = 0,
) -> Splits:
    """Draw the sets of a subgroup.

    parts:         the four parts of the image set (`data.load_parts`)
    groups:        by part, (N,) the name of the subgroup each image belongs to; its class unless given
    zero_shot:     other sets by column name, each with its four parts: never used by a stage, only evaluated
    n_forget:      images of the target in D_f
    n_retain:      images of the siblings in D_r, drawn evenly over them (a small sibling gives all it has)
    n_calibration: images a group in D_m (at most), and
    n_calibration_target: of the target (at most): that none of few is recognised proves little

    Raises DataError: unknown subgroup, empty subgroup, or fewer images than asked for.
    """
    groups = groups or {name: class_groups(part) for name, part in parts.items()}
    train, names = parts["train"], list(dict.fromkeys(groups["train"].tolist()))
    for name in (subgroup.target, *subgroup.siblings):
        if name not in names:
            shown = ", ".join(sorted(names)[:20]) + (", …" if len(names) > 20 else "")
            raise DataError(f"{train.name} has no subgroup {name!r}. Choose among: {shown}.")
    sizes = {"n_forget": n_forget, "n_retain": n_retain, "n_calibration": n_calibration}
    for name, n in {**sizes, "n_calibration_target": n_calibration_target}.items():
        if n < 1:
            raise DataError(f"{name} must be at least 1, got {n}: an empty set teaches nothing.")
    if n_retain < len(subgroup.siblings):
        raise DataError(
            f"n_retain={n_retain} is fewer than the {len(subgroup.siblings)} siblings: ask for one of each."
        )
    rng = np.random.default_rng(seed)
    members = {name: np.flatnonzero(groups["train"] == name) for name in (subgroup.target, *subgroup.siblings)}

    def draw(names: Sequence[str], n: int, what: str) -> np.ndarray:
        """n indices, evenly over the names; the smallest first, so that others make up for what it lacks."""
        found = []
        for i, name in enumerate(sorted(names, key=lambda name: len(members[name]))):
            share = (n - sum(map(len, found))) // (len(names) - i)
            found.append(rng.permutation(members[name])[:share])
        found = np.concatenate(found)
        if len(found) < n:
            raise DataError(
                f"{train.name} has {len(found)} images of {', '.join(names)} for the {what} set, {n} were asked for."
            )
        return rng.permutation(found)

    def few(part: ImageSet, of: np.ndarray) -> np.ndarray:
        index = [
            rng.permutation(np.flatnonzero(of == name))[
                : n_calibration_target if name == subgroup.target else n_calibration
            ]
            for name in names
        ]
        return np.sort(np.concatenate(index))

    chosen = few(parts["calibration"], groups["calibration"])
    others = {name: dict(sets) for name, sets in (zero_shot or {}).items()}

    def shown(part: str) -> dict[str, ImageSet]:
        own = columns(parts[part], subgroup, groups[part])
        return {**own, **{name: sets[part] for name, sets in others.items()}}

    return Splits(
        subgroup=subgroup,
        forget=train.take(draw([subgroup.target], n_forget, "forget")).loaded(),
        retain=train.take(draw(subgroup.siblings, n_retain, "retain")).loaded(),
        calibration=columns(parts["calibration"].take(chosen).loaded(), subgroup, groups["calibration"][chosen]),
        validation=shown("validation"),
        test=shown("test"),
    )


def class_groups(part: ImageSet) -> np.ndarray:
    """(N,) every image's class name: the subgroups of a label tree."""
    return np.asarray(part.classes)[part.labels]


def columns(part: ImageSet, subgroup: Subgroup, of: np.ndarray | None = None) -> dict[str, ImageSet]:
    """The images of a part as `target`, `retain` and, where there are further subgroups, `other`.

    of: (N,) the subgroup of every image; its class unless given
    """
    of = class_groups(part) if of is None else of
    target, retain = of == subgroup.target, np.isin(of, subgroup.siblings)
    found = {"target": target, "retain": retain, "other": ~(target | retain)}
    for name in ("target", "retain"):
        if not found[name].any():
            raise DataError(f"{part.name} has no image of the {name} subgroups: nothing could be measured there.")
    return {name: part.take(mask) for name, mask in found.items() if mask.any()}
