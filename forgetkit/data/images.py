"""What every image set becomes: images with labels, the subgroup to forget, and both together.

Each set stands in four disjoint parts: `train` (forget and retain images come from here), `calibration` (chooses the
soup coefficient), `validation` (for whoever tunes a recipe), `test` (read once). A named set has a fifth, `pretrain`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

PARTS = ("train", "calibration", "validation", "test")
PROMPTS = ("a photo of a {}.",)  # unless a set has its own
CIFAR10_FAMILIES = {  # its ten classes as a label tree
    "animal": ("bird", "cat", "deer", "dog", "frog", "horse"),
    "vehicle": ("airplane", "automobile", "ship", "truck"),
}

CIFAR10 = sum(CIFAR10_FAMILIES.values(), ())


class DataError(RuntimeError):
    """The data cannot be had or read; the message says what to do."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, class names and prompt templates.

    images:  (N, H, W, 3) uint8, RGB, 0..255; or as many in files (`reading.ImageFiles`)
    labels:  (N,) int64, indices into `classes`, C names as they stand in a prompt
    prompts: templates with one `{}`; a class is embedded as the mean over them

    Raises DataError where shapes, types or labels do not fit together.
    """

    name: str
    images: np.ndarray  # or ImageFiles, which looks like one
    labels: np.ndarray
    classes: tuple[str, ...]
    prompts: tuple[str, ...] = PROMPTS

    def __post_init__(self):
        if isinstance(self.classes, str) or isinstance(self.prompts, str) or not self.prompts:
            raise DataError(f"{self.name}: classes and prompts are tuples, as ('cat', 'dog'), and not empty.")
        shape, kind = self.images.shape, self.images.dtype
        if len(shape) != 4 or shape[-1] != 3 or kind != np.uint8:
            raise DataError(f"{self.name}: images must be (N, H, W, 3) uint8, got {shape} {kind}.")
        if len(self.images) != len(self.labels):
            raise DataError(f"{self.name}: {len(self.images)} images but {len(self.labels)} labels.")
        if len(self.labels) and self.labels.dtype.kind not in "iu":
            raise DataError(f"{self.name}: labels are whole numbers, indices into classes, got {self.labels.dtype}.")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise DataError(f"{self.name}: labels must lie in 0..{len(self.classes) - 1}.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> np.ndarray:
        """(N,) the class name of every image."""
        return np.asarray(self.classes)[self.labels]

    def take(self, index: np.ndarray | Sequence[int] | Sequence[bool]) -> "ImageSet":
        """The images at `index` (integers, or a mask of N booleans), same classes and prompts; files stay unread."""
        index = np.asarray(index) if len(index) else np.empty(0, np.int64)  # an empty list is float to NumPy
        images = self.images[index] if isinstance(self.images, np.ndarray) else self.images.select(index)
        return replace(self, images=images, labels=self.labels[index])

    def loaded(self) -> "ImageSet":
        """The same set with its images as an array in memory: for those that are gone through many times."""
        return self if isinstance(self.images, np.ndarray) else replace(self, images=self.images.read())


def listed(names: Sequence[str], n: int = 20) -> str:
    """The first n names, for an error message."""
    return ", ".join(names[:n]) + (", …" if len(names) > n else "")


def some(columns: Mapping[str, ImageSet], n: int = 400, seed: int = 0) -> dict[str, ImageSet]:
    """At most n random images of each column, the same in every call."""
    rng = np.random.default_rng(seed)
    return {name: part.take(rng.permutation(len(part))[:n]) for name, part in columns.items()}


@dataclass(frozen=True)
class Subgroup:
    """The subgroup to forget, a class (cats) or part of one (sketches of cats), and the siblings to keep beside it."""

    target: str
    siblings: tuple[str, ...]
    family: str = ""

    def __post_init__(self):
        if isinstance(self.siblings, str) or not all(isinstance(name, str) for name in (self.target, *self.siblings)):
            raise DataError(f"Siblings are a tuple of names, as ('dog',), the target is one: got {self.siblings!r}.")
        object.__setattr__(self, "siblings", tuple(self.siblings))
        if twice := [name for name, n in Counter(self.siblings).items() if n > 1]:
            raise DataError(f"The sibling {twice[0]!r} is named twice: name each once.")
        if not self.siblings:
            raise DataError(f"Subgroup {self.target!r} has no siblings: name at least one class to keep beside it.")
        if self.target in self.siblings:
            raise DataError(f"{self.target!r} is both target and sibling: forget and retain sets must not overlap.")

    def without(self, previous_targets: Sequence[str]) -> "Subgroup":
        """The same without the siblings that were forgotten before; raises DataError where the target is among them."""
        if isinstance(previous_targets, str):
            raise DataError(f"What was forgotten before is a tuple of names, as ('cat',), got {previous_targets!r}.")
        if self.target in previous_targets:
            raise DataError(f"{self.target!r} is both the target and forgotten before: name it once.")
        return replace(self, siblings=tuple(name for name in self.siblings if name not in previous_targets))

    @classmethod
    def within(cls, target: str) -> "Subgroup":
        """A class of CIFAR-10 with all other members of its family as siblings."""
        for family, members in CIFAR10_FAMILIES.items():
            if target in members:
                return cls(target, tuple(name for name in members if name != target), family)
        raise DataError(f"No family has a member {target!r}. Choose one of: {', '.join(CIFAR10)}.")


@dataclass(frozen=True, eq=False)
class Grouped:
    """An image set in its parts, the subgroup of every image, and what is to go: what `split` takes.

    parts: the set by the names in `PARTS`; groups: by part, (N,) the subgroup of every image; None: its class
    zero_shot: other sets by column name, each in its parts: they are only evaluated
    previous_targets: subgroups of earlier requests, which are to stay forgotten

    Raises DataError for another division, no `Subgroup`, or two classes of one of its names.
    """

    parts: Mapping[str, ImageSet]
    subgroup: Subgroup
    groups: Mapping[str, np.ndarray] | None = None
    zero_shot: Mapping[str, Mapping[str, ImageSet]] = field(default_factory=dict)
    previous_targets: Sequence[str] = ()

    def __post_init__(self):
        if not isinstance(self.subgroup, Subgroup):
            raise DataError(f"The subgroup is Subgroup(target, siblings), got {self.subgroup!r}.")
        if not isinstance(self.parts, Mapping) or not {*PARTS} <= {*self.parts}:
            found = ", ".join(self.parts) if isinstance(self.parts, Mapping) else type(self.parts).__name__
            raise DataError(f"A set is divided into its parts by name, {', '.join(PARTS)}, none missing: got {found}.")
        for part in self.parts.values():
            if twice := [n for n in (self.subgroup.target, *self.subgroup.siblings) if part.classes.count(n) > 1]:
                raise DataError(f"{part.name} has two classes called {twice[0]!r}: name each once, or make them one.")
