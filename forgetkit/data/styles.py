"""Style sets: one class in several styles, in folders `style/class/image` as PACS, Office-Home and DomainNet have them.

The target is one style of a class ("dog sketch": its siblings are dogs in the other styles, the label is one), or a
whole style ("sketch": its siblings are the other styles).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forgetkit.data import tutorial
from forgetkit.data.images import PARTS, DataError, Grouped, ImageSet, Subgroup
from forgetkit.data.layouts import images_in
from forgetkit.data.reading import SHARES, divide, in_parts, plain

# A class in any style: the mean over these wordings says the thing, and none of them fits one style best.
PROMPTS = (
    "a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "a sketch of a {}.", "a painting of a {}.",
)  # fmt: skip


@dataclass(frozen=True)
class StyleSet:
    """Images by part, and by part the style of every image, (N,) names; a subgroup is "class style"."""

    name: str
    parts: dict[str, ImageSet]
    styles: dict[str, np.ndarray]

    def pairs(self, part: str = "train") -> np.ndarray:
        """(N,) "dog sketch": class and style of every image of a part."""
        return np.asarray([f"{c} {s}" for c, s in zip(self.parts[part].names, self.styles[part])])

    def targets(self) -> tuple[str, ...]:
        """What can be forgotten: every style of every class, and every whole style."""
        return (*dict.fromkeys(self.pairs().tolist()), *dict.fromkeys(self.styles["train"].tolist()))


def embedded() -> StyleSet:
    """The tutorial's own: seven classes as photos, sketches and icons."""
    parts, groups = tutorial.styles()
    return StyleSet("styles", parts, {p: np.asarray([g.rpartition(" ")[2] for g in groups[p]]) for p in PARTS})


def load(folder: str | Path, clip, seed: int = 0) -> StyleSet:
    """A folder `style/class/image`, for `clip`'s image size; no image is opened.

    Each class of each style is divided by file names and seed (`reading.divide`); DomainNet's lists, where they are
    there (`sketch_test.txt`, lines `sketch/dog/sketch_094_000001.jpg 93`), say what is test.

    Raises DataError where there is no such folder, or it has fewer than two styles.
    """
    folder = Path(folder).expanduser()
    found = images_in(folder, 2)
    outer = {top for top, _, _ in images_in(folder, 3)} if not found else ()
    if len(outer) == 1:  # an archive often unpacks into one folder
        folder /= min(outer)
        found = images_in(folder, 2)
    if len({style for style, _ in found}) < 2:
        raise DataError(f"{folder} is no folder of two styles or more, such as {folder / 'sketch' / 'dog' / '1.png'}.")
    classes = sorted({plain(kind) for _, kind in found})
    lines = [line for file in folder.glob("*_test.txt") for line in file.read_text(encoding="utf-8").splitlines()]
    tests = {str(folder / line.rsplit(maxsplit=1)[0]) for line in lines if line.strip()}
    rows = {part: [] for part in PARTS}
    for (style, kind), files in found.items():
        without_test = (*(np.array(SHARES[:-1]) / sum(SHARES[:-1])), 0)
        shares = without_test if (folder / f"{style}_test.txt").exists() else SHARES
        parts = divide([file for file in files if file not in tests], shares, seed)
        parts["test"] += [file for file in files if file in tests]
        for part, of in parts.items():
            rows[part] += [(file, classes.index(plain(kind)), plain(style)) for file in of]
    return StyleSet(folder.name, *in_parts(folder.name, rows, clip, classes, PROMPTS))


def group(data: StyleSet, target: str, zero_shot: Mapping[str, Mapping[str, ImageSet]] | None = None) -> Grouped:
    """A style of a class ("dog sketch") beside the same class in other styles; or a whole style beside the others.

    zero_shot: other sets by column, each in its parts: they are only evaluated
    Raises DataError: no such target, or nothing beside it to keep.
    """
    wanted, train = plain(target), data.parts["train"]
    if wanted in data.styles["train"]:
        family, of = "style", data.styles
        names = of["train"]
    elif wanted in data.pairs():
        of = {part: data.pairs(part) for part in PARTS}
        family = str(train.names[of["train"] == wanted][0])
        names = of["train"][train.names == family]
    else:
        raise DataError(f"{data.name} has no subgroup {target!r}. Choose one of: {', '.join(data.targets())}.")
    members = dict.fromkeys(names.tolist())
    siblings = tuple(name for name in members if name != wanted)
    # Other classes go by their style, not by class and style: to calibrate on few.
    others = {p: [f"other {style}" for style in data.styles[p]] for p in PARTS}
    groups = {p: np.where(np.isin(of[p], list(members)), of[p], others[p]) for p in PARTS}
    return Grouped(data.parts, Subgroup(wanted, siblings, family), groups, zero_shot or {})
