"""The sets of a subgroup: what the three stages and the evaluation see of it.

| set           | what it is                                                     | read by                    |
|---------------|----------------------------------------------------------------|----------------------------|
| `forget`      | a few hundred images of the target (D_f)                       | stages 1 and 2             |
| `retain`      | a few hundred images of its siblings (D_r)                     | stages 1 and 2             |
| `calibration` | a small mixed set: target, siblings, other classes (D_m)       | stage 3; watched in 1, 2   |
| `validation`  | like the test columns, from images no stage reads              | whoever tunes a recipe     |
| `test`        | target, siblings, other classes, and other sets by prompt      | once, for the table        |
| `previous`    | images of targets of earlier requests, where there were some   | stage 2, to guard them     |
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch

from forgetkit.data import tutorial
from forgetkit.data.images import PARTS, DataError, Grouped, ImageSet, Subgroup, listed
from forgetkit.models.clip import Clip, Inputs, check_head

__all__ = ["Grouped", "ModelSets", "Splits", "Subgroup", "columns", "split", "tutorial_sets"]
N = 400  # images in D_f and in D_r, where there are so many


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What the sets of a subgroup say of themselves, before they are on a model and after."""

    subgroup: Subgroup
    validation: dict[str, ImageSet]
    test: dict[str, ImageSet]
    previous_targets: tuple[str, ...] = ()  # of earlier requests: no siblings, not in D_m, and a column of their own
    never: tuple[int, ...] = ()  # labels that they alone have: what no image may be called any more

    @property
    def classes(self) -> tuple[str, ...]:
        return self.forget.classes

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.forget.prompts

    @cached_property
    def labels(self) -> list[int]:
        """The labels of D_f."""
        return sorted({*self.forget.labels.tolist()})

    @cached_property
    def own_labels(self) -> list[int]:
        """Those of them that no image of D_r has: names that can be given up."""
        return sorted({*self.labels} - {*self.retain.labels.tolist()})


@dataclass(frozen=True, kw_only=True)
class Splits(Labelled):
    """The sets of a subgroup as images; see the module's table."""

    forget: ImageSet
    retain: ImageSet
    calibration: dict[str, ImageSet]
    previous: ImageSet | None = None

    def on(self, clip: Clip, head: torch.Tensor | None = None) -> "ModelSets":
        """These sets for `clip`: D_f, D_r and D_m preprocessed once, on its device, and the head.

        head (C, D): class embeddings in the order of `classes`, of any length; from the sets' prompts by default.
        Raises ModelError for a head of another shape or with numbers that are not finite.
        """
        head = clip.head(self.classes, self.prompts) if head is None else check_head(head, len(self.classes), clip)
        as_they_are = {field.name: getattr(self, field.name) for field in fields(Labelled)}
        return ModelSets(
            **as_they_are, forget=clip.inputs(self.forget), retain=clip.inputs(self.retain),
            calibration={name: clip.inputs(part) for name, part in self.calibration.items()},
            previous=self.previous and clip.inputs(self.previous), head=head, bias=clip.bias,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelSets(Labelled):
    """The sets as a model takes them, which the stages read, with its head (C, D), unit rows, and `Clip.bias`."""

    forget: Inputs
    retain: Inputs
    calibration: dict[str, Inputs]
    head: torch.Tensor
    previous: Inputs | None = None
    bias: torch.Tensor | None = None


def split(
    grouped: Grouped, *, n_forget: int | None = None, n_retain: int | None = None, n_calibration: int = 100,
    n_calibration_target: int = 250, seed: int = 0,
) -> Splits:  # fmt: skip
    """Draw the sets of a subgroup.

    n_forget: images of the target in D_f (as many guard earlier targets); None: 400, or all where they are fewer
    n_retain: images of the siblings in D_r, drawn evenly over them (a small sibling gives all it has); None: alike
    n_calibration, n_calibration_target: images in D_m (at most) of each group, and of the target

    Raises DataError: unknown subgroup, empty subgroup, or fewer images than asked for.
    """
    parts, zero_shot, previous_targets = grouped.parts, grouped.zero_shot or {}, grouped.previous_targets
    subgroup = grouped.subgroup.without(previous_targets)
    wanted = (subgroup.target, *grouped.subgroup.siblings, *previous_targets)
    groups = {name: np.asarray(grouped.groups[name]) if grouped.groups else parts[name].names for name in PARTS}
    if wrong := [name for name in PARTS if len(groups[name]) != len(parts[name])]:
        raise DataError(f"groups name the subgroup of every image: {wrong[0]} has another number of them than images.")
    train, names = parts["train"], list(dict.fromkeys(groups["train"].tolist()))
    if unknown := ", ".join(repr(name) for name in wanted if name not in names):
        raise DataError(f"{train.name} has no subgroup {unknown}. Choose among: {listed(sorted(names))}.")
    members = {name: np.flatnonzero(groups["train"] == name) for name in wanted}
    names = [name for name in names if name not in previous_targets]
    usual = lambda names: min(N, sum(len(members[name]) for name in names))
    n_forget = usual([subgroup.target]) if n_forget is None else n_forget
    n_retain = usual(subgroup.siblings) if n_retain is None else n_retain
    sizes = {"n_forget": n_forget, "n_retain": n_retain, "n_calibration": n_calibration}
    for name, n in {**sizes, "n_calibration_target": n_calibration_target, "seed": seed}.items():
        least = int(name != "seed")
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < least:
            raise DataError(f"{name} must be a whole number, at least {least}, got {n!r}.")
    rng = np.random.default_rng(seed)
    if n_retain < len(subgroup.siblings):
        raise DataError(f"n_retain={n_retain} is less than the {len(subgroup.siblings)} siblings: ask for one of each.")

    def draw(names: Sequence[str], n: int, what: str) -> ImageSet:
        """n images, evenly over the names; the smallest first, so that others make up for what it lacks."""
        found = []
        for i, name in enumerate(sorted(names, key=lambda name: len(members[name]))):
            share = (n - sum(map(len, found))) // (len(names) - i)
            found.append(rng.permutation(members[name])[:share])
        found = np.concatenate(found)
        if len(found) < n:
            raise DataError(
                f"{train.name} has {len(found)} images of {', '.join(names)} for the {what} set, {n} asked."
            )
        return train.take(rng.permutation(found)).loaded()

    def shown(part: str) -> dict[str, ImageSet]:
        others = {name: sets[part] for name, sets in zero_shot.items()}
        return {**columns(parts[part], subgroup, groups[part], previous_targets), **others}

    of = groups["calibration"]  # few images of each group, more of the target
    few = [(np.flatnonzero(of == n), n_calibration_target if n == subgroup.target else n_calibration) for n in names]
    chosen = np.sort(np.concatenate([rng.permutation(index)[:most] for index, most in few]))
    gone = np.isin(groups["train"], [*previous_targets])
    n_previous = min(max(n_forget, len(previous_targets)), int(gone.sum()))
    return Splits(
        subgroup=subgroup,
        forget=draw([subgroup.target], n_forget, "forget"),
        retain=draw(subgroup.siblings, n_retain, "retain"),
        previous=draw(previous_targets, n_previous, "previous") if previous_targets else None,
        calibration=columns(parts["calibration"].take(chosen).loaded(), subgroup, of[chosen]),
        validation=shown("validation"),
        test=shown("test"),
        previous_targets=tuple(previous_targets),
        never=tuple(sorted({*train.labels[gone].tolist()} - {*train.labels[~gone].tolist()})),
    )


def columns(
    part: ImageSet, subgroup: Subgroup, of: np.ndarray | None = None, previous_targets: Sequence[str] = ()
) -> dict[str, ImageSet]:
    """The images of a part as `target`, `retain` and, where there are some, `other` and `previous_targets`.

    of: (N,) the subgroup of every image; its class unless given; previous_targets: subgroups of earlier requests
    """
    of = part.names if of is None else of
    target, retain, gone = of == subgroup.target, np.isin(of, subgroup.siblings), np.isin(of, [*previous_targets])
    found = {"target": target, "retain": retain, "other": ~(target | retain | gone), "previous_targets": gone}
    for name in ("target", "retain"):
        if not found[name].any():
            raise DataError(f"{part.name} has no image of the {name} subgroups: nothing could be measured there.")
    return {name: part.take(mask) for name, mask in found.items() if mask.any()}


def tutorial_sets(
    target: str = "cat", seed: int = 0, kind: str = "class", clip: Clip | None = None,
    previous_targets: Sequence[str] = (), **sizes: int | None,
) -> Splits:  # fmt: skip
    """The sets of one of the tutorial's subgroups, with the sets of other styles as further columns.

    kind: "class", "coarse", "style" or "cluster" (`data.tutorial`); clip: in whose embedding clusters are found
    previous_targets: targets of earlier requests, of the same kind, which are to stay forgotten; sizes: as in `split`

    Raises DataError: unknown kind or target, fewer images than asked for, data not to be had.
    """
    return split(tutorial.group(target, kind, clip, previous_targets), seed=seed, **sizes)
