"""Style sets: one class in several styles, in folders `style/class/image` as PACS, Office-Home and DomainNet have them.

The target is one style of a class ("dog sketch": its siblings are dogs in the other styles, the label is one), or a
whole style ("sketch": its siblings are the other styles). The same without any folder: CIFAR-10's photos, QuickDraw's
sketches and emoji icons of seven classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forgetkit.data import tutorial as kinds
from forgetkit.models.clip import Clip
from forgetkit.data.sets import IMAGE_SUFFIXES, PARTS, DataError, ImageSet, load_parts
from forgetkit.data.files import files_for
from forgetkit.subgroups import Splits, Subgroup, split

# A class in any style: the mean over these wordings says the thing, and none of them fits one style best.
PROMPTS = (
    "a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "a sketch of a {}.", "a painting of a {}.",
)  # fmt: skip
FRACTIONS = (0.6, 0.1, 0.1, 0.2)  # of the images of a class and style, by part


@dataclass(frozen=True)
class StyleSet:
    """Images by part, and by part the style of every image, (N,) names; a subgroup is "class style"."""

    name: str
    parts: dict[str, ImageSet]
    styles: dict[str, np.ndarray]

    def pairs(self, part: str = "train") -> np.ndarray:
        """(N,) "dog sketch": class and style of every image of a part."""
        classes = np.asarray(self.parts[part].classes)[self.parts[part].labels]
        return np.asarray([f"{c} {s}" for c, s in zip(classes, self.styles[part])])

    def targets(self) -> tuple[str, ...]:
        """What can be forgotten: every style of every class, and every whole style."""
        return (*dict.fromkeys(self.pairs().tolist()), *dict.fromkeys(self.styles["train"].tolist()))


def embedded() -> StyleSet:
    """The tutorial's own: seven classes as photos, sketches and icons."""
    parts, groups = kinds.styles()
    return StyleSet("styles", parts, {p: np.asarray([g.rpartition(" ")[2] for g in groups[p]]) for p in PARTS})


def embedded_columns() -> dict[str, dict[str, ImageSet]]:
    """The tutorial's zero-shot sets by column and part; of the sketches, those of the other 338 classes."""
    found = {name: load_parts(name) for name in kinds.ZERO_SHOT}
    drawn = found["quickdraw"]
    ours = [drawn["test"].class_index(name) for name in kinds.ICONS]
    found["quickdraw"] = {part: images.take(~np.isin(images.labels, ours)) for part, images in drawn.items()}
    return found


def load(folder: str | Path, clip: Clip, seed: int = 0) -> StyleSet:
    """A folder `style/class/image`, for `clip`'s image size; no image is opened.

    Names in lower case, underscores as spaces. Each class of each style is divided by `FRACTIONS` and the seed; where
    DomainNet's lists are there (`sketch_test.txt`, lines `sketch/dog/sketch_094_000001.jpg 93`), they say what is test.

    Raises DataError where there is no such folder, or it has fewer than two styles.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}: give the one that holds a folder a style.")
    styles = [f for f in _folders(folder) if any(_folders(f))]
    if len(styles) == 1:  # an archive often unpacks into one folder that has the rest
        folder = styles[0]
        styles = [f for f in _folders(folder) if any(_folders(f))]
    if len(styles) < 2:
        raise DataError(f"{folder} needs two styles or more, in folders such as {folder / 'sketch' / 'dog' / '1.png'}.")
    classes = sorted({plain(c.name) for style in styles for c in _folders(style)})
    rows = {part: [] for part in PARTS}
    for style in styles:
        listed = _listed(folder, style.name)
        for kind in _folders(style):
            files = sorted(f for f in kind.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != ".")
            label = classes.index(plain(kind.name))
            for part, chosen in _divide(files, listed, folder, [seed, styles.index(style), label]).items():
                rows[part] += [(file, label, plain(style.name)) for file in chosen]
    if empty := [part for part in PARTS if not rows[part]]:
        raise DataError(
            f"{folder} has too few images: nothing is left for {empty[0]}. Ten of a class and style will do."
        )
    parts, of = {}, {}
    for part, found in rows.items():
        files, labels, names = zip(*found)
        images = files_for(clip, files)
        parts[part] = ImageSet(
            folder.name, images, np.asarray(labels, np.int64), tuple(classes), PROMPTS, {"part": part}
        )
        of[part] = np.asarray(names)
    return StyleSet(folder.name, parts, of)


def plain(name: str) -> str:
    """A folder's name as it stands in a prompt: `Real_World` is "real world"."""
    return name.replace("_", " ").lower()


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def _listed(folder: Path, style: str) -> set[str] | None:
    """What DomainNet's list of a style's test images names; None where there is no such list."""
    file = folder / f"{style}_test.txt"
    if not file.exists():
        return None
    return {line.rsplit(maxsplit=1)[0] for line in file.read_text().splitlines() if line.strip()}


def _divide(files: Sequence[Path], listed: set[str] | None, folder: Path, seed: list[int]) -> dict[str, list[Path]]:
    """Files by part: at random by `FRACTIONS`, or the listed ones test and the others in the same proportions."""
    test = [f for f in files if listed and f.relative_to(folder).as_posix() in listed]
    rest = sorted(set(files) - set(test))
    rest = [rest[i] for i in np.random.default_rng(seed).permutation(len(rest))]
    shares = np.cumsum(FRACTIONS if listed is None else np.asarray(FRACTIONS[:-1]) / sum(FRACTIONS[:-1]))
    edges = [0, *np.floor(shares * len(rest) + 0.5 + 1e-9).astype(int)]
    found = {part: rest[a:b] for part, a, b in zip(PARTS, edges, edges[1:])}
    return {"test": test, **found} if listed is not None else found


def sets(
    data: StyleSet,
    target: str,
    zero_shot: Mapping[str, Mapping[str, ImageSet]] | None = None,
    seed: int = 0,
    **sizes: int,
) -> Splits:
    """The sets to forget a style of a class ("dog sketch"), or a whole style ("sketch").

    zero_shot, sizes: as in `split`; of D_f and D_r, as many as there are
    Raises DataError: no such target, or nothing beside it to keep.
    """
    wanted = plain(target)
    of = {part: data.styles[part] for part in PARTS}
    if wanted not in of["train"]:
        of = {part: data.pairs(part) for part in PARTS}
    if wanted not in of["train"]:
        raise DataError(f"{data.name} has no subgroup {target!r}. Choose one of: {', '.join(data.targets())}.")
    if wanted in data.styles["train"]:
        family, siblings = "style", [s for s in dict.fromkeys(of["train"].tolist()) if s != wanted]
    else:
        first = int(np.flatnonzero(of["train"] == wanted)[0])
        family = data.parts["train"].classes[data.parts["train"].labels[first]]
        same = np.asarray(data.parts["train"].classes)[data.parts["train"].labels] == family
        siblings = [s for s in dict.fromkeys(of["train"][same].tolist()) if s != wanted]
    beside = {p: np.isin(of[p], [wanted, *siblings]) for p in PARTS}
    of = {p: np.where(beside[p], of[p], [f"other {s}" for s in data.styles[p]]) for p in PARTS}  # to calibrate on few
    here = {"n_forget": (of["train"] == wanted).sum(), "n_retain": np.isin(of["train"], siblings).sum()}
    sizes = {**sizes, **{name: min(sizes.get(name, 400), int(n)) for name, n in here.items()}}
    return split(
        data.parts, Subgroup(wanted, tuple(siblings), family), groups=of, zero_shot=zero_shot, seed=seed, **sizes
    )
