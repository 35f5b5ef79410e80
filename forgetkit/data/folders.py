"""Your own images: `folder/class name/image.jpg`, one folder a class."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from forgetkit.data.images import PARTS, DataError, ImageSet, check_part
from forgetkit.data.reading import SHARES, SUFFIXES, divide, files_for, image_files, plain, visible_folders

PART_NAMES = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
log = logging.getLogger(__name__)


def load_folder(
    path: str | Path, size, part: str = "test", prompts: Sequence[str] = ("a photo of a {}.",),
    fractions: Sequence[float] = SHARES, seed: int = 0,
) -> ImageSet:  # fmt: skip
    """One part of your own images, laid out as `path/class name/image.jpg`; read now, they know their `images.files`.

    size:      the model that is to see them (its size, its way of resizing); or a side in pixels, to which the shorter
               side is resized (bicubic, antialiased) before the centre is cropped
    part:      one of `PARTS`
    fractions: share of each class that goes to train, calibration, validation, test; 0 leaves a part empty
    seed:      an image's part depends on the seed and its file name alone (see `reading.divide`)

    A class is named after its folder, in lower case, underscores as spaces. Hidden files and folders are passed over;
    other files that are not read (of folders below a class, of no image) are counted in one warning.
    Raises DataError: another layout, too few images of a class, images that cannot be read (all are named).
    """
    path = Path(path).expanduser()
    check_part(part)
    if len(fractions) != len(PARTS) or min(fractions) < 0 or not math.isclose(sum(fractions), 1):
        raise DataError(f"fractions must be four shares ({', '.join(PARTS)}) that add up to 1, got {tuple(fractions)}.")
    found = _classes(path)
    needed = sum(fraction > 0 for fraction in fractions)
    for name, files in found.items():
        if len(files) < needed:
            raise DataError(
                f"Class {name!r} has {len(files)} images, but fractions {tuple(fractions)} need {needed} a class, one "
                "for every part: add images, or set a fraction to 0."
            )
    every = [file for files in found.values() for file in files]
    if passed := _passed_over(path, set(every)):
        reasons = ", ".join(f"{n} {reason}" for reason, n in passed.items())
        _warn_once(f"{path}: {passed.total()} of its files are not read: {reasons}.")
    chosen = [divide(files, fractions, seed)[part] for files in found.values()]
    labels = np.repeat(np.arange(len(found)), [len(files) for files in chosen])
    images = files_for(size, [file for files in chosen for file in files])
    try:
        images.pixels = images.read(f"{path.name}: read")
    except DataError:
        for _ in files_for(size, every).each():  # names the broken files of all parts, not only of this one
            pass
        raise
    return ImageSet(path.name, images, labels, tuple(found), tuple(prompts), {"part": part, "source": str(path)})


def _classes(path: Path) -> dict[str, list[str]]:
    """The image files of every class by its name; raises DataError for another layout."""
    if not path.is_dir():
        raise DataError(f"There is no folder {path}.")
    folders = visible_folders(path)
    if not folders:
        raise DataError(f"{path} has no class folders; expected one folder a class: {path / 'cat' / '001.jpg'}.")
    parts = [folder.name for folder in folders if folder.name.lower() in PART_NAMES]
    if len(parts) > 1 or len(parts) == len(folders):
        parts.sort(key=lambda name: name.lower().startswith("test") - name.lower().startswith("train"))
        raise DataError(
            f"The folders {', '.join(parts)} in {path} look like parts, not classes. Load each by itself: for example "
            f"load_folder('{path / parts[0]}', size, part, fractions=(0.7, 0.15, 0.15, 0)) for the parts train, "
            f"calibration and validation, and load_folder('{path / parts[-1]}', size, 'test', fractions=(0, 0, 0, 1))."
        )
    found = {plain(folder.name): image_files(folder) for folder in folders}
    if len(found) < len(folders):
        raise DataError(f"Two folders in {path} give the same class name: {', '.join(f.name for f in folders)}.")
    for folder in folders:
        if not found[plain(folder.name)]:
            known = ", ".join(sorted(SUFFIXES))
            raise DataError(f"Class folder {folder} holds no image directly in it (none of {known}).")
    return found


def _passed_over(path: Path, used: set[str]) -> Counter[str]:
    """How many visible files below `path` are not used, by reason."""
    passed = Counter()
    for base, below, names in os.walk(path):
        below[:] = [name for name in below if not name.startswith((".", "__"))]
        depth = len(Path(base).relative_to(path).parts)
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if name[0] == "." or os.path.join(base, name) in used:
                continue
            if suffix not in SUFFIXES:
                passed[f"with the suffix {suffix}" if suffix else "without a suffix"] += 1
            else:
                passed["in folders below a class folder" if depth > 1 else "beside the class folders"] += 1
    return passed


@lru_cache(maxsize=None)
def _warn_once(message: str) -> None:
    """Four parts are loaded one by one, and say it once."""
    log.warning(message)
