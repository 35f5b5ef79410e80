"""Sets that are only ever evaluated, where the user has them: CIFAR-100, Food-101, STL-10, ObjectNet.

| column   | below the folder                                | read by                     | images, classes    |
|----------|-------------------------------------------------|-----------------------------|--------------------|
| cifar100 | `cifar-100-python`                              | torchvision                 | test, 10,000, 100  |
| food101  | `food-101/images`, `food-101/meta`              | torchvision (names of files)| test, 25,250, 101  |
| stl10    | `stl10_binary`                                  | torchvision                 | test, 8,000, 10    |
| objectnet| `objectnet-1.0/images`, `objectnet-1.0/mappings`| here                        | 18,574, 113        |

ObjectNet is cut down to the classes that its own `mappings` say are also in ImageNet-1K, by ObjectNet's names for them;
the red frame around its pictures is cut off. Nothing is downloaded, and a set that is not there is not an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torchvision

from forgetkit.models.clip import Clip
from forgetkit.data.sets import IMAGE_SUFFIXES, ImageSet
from forgetkit.data.files import files_for

PHOTO = ("a photo of a {}.", "a photo of the {}.")
BLURRED = (
    "a blurry photo of a {}.",
    "a low contrast photo of a {}.",
    "a good photo of a {}.",
    "a photo of a small {}.",
)


def _cifar100(root: Path, clip: Clip) -> ImageSet:
    found = torchvision.datasets.CIFAR100(root, train=False, download=False)
    return ImageSet("cifar100", found.data, np.asarray(found.targets), _names(found.classes), PHOTO + BLURRED)


def _stl10(root: Path, clip: Clip) -> ImageSet:
    found = torchvision.datasets.STL10(root, split="test", download=False)
    return ImageSet(
        "stl10", found.data.transpose(0, 2, 3, 1), found.labels.astype(np.int64), _names(found.classes), PHOTO
    )


def _food101(root: Path, clip: Clip) -> ImageSet:
    found = torchvision.datasets.Food101(root, split="test", download=False)
    images = files_for(clip, found._image_files)  # the set itself would open and decode each
    prompts = ("a photo of {}, a type of food.",)
    return ImageSet("food101", images, np.asarray(found._labels), _names(found.classes), prompts)


def _objectnet(root: Path, clip: Clip) -> ImageSet:
    root = root / "objectnet-1.0"
    mappings = root / "mappings"
    label_of = json.loads((mappings / "folder_to_objectnet_label.json").read_text())
    shared = json.loads((mappings / "objectnet_to_imagenet_1k.json").read_text())
    folders = sorted(folder for folder, label in label_of.items() if label in shared)
    files, labels = [], []
    for label, folder in enumerate(folders):
        found = sorted(f for f in (root / "images" / folder).iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        files += found
        labels += [label] * len(found)
    images = files_for(clip, files, border=2)
    return ImageSet("objectnet", images, np.asarray(labels), _names(label_of[f] for f in folders), PHOTO)


def _names(classes) -> tuple[str, ...]:
    return tuple(name.replace("_", " ").lower() for name in classes)


SETS: dict[str, tuple[str, Callable[[Path, Clip], ImageSet]]] = {
    "cifar100": ("cifar-100-python", _cifar100),
    "food101": ("food-101", _food101),
    "stl10": ("stl10_binary", _stl10),
    "objectnet": ("objectnet-1.0", _objectnet),
}


def columns(folder: str | Path | None, clip: Clip) -> tuple[dict[str, ImageSet], dict[str, str]]:
    """The sets found below `folder` by column, for `clip`'s image size; and of every other, why it is not there."""
    found, missing = {}, {}
    for name, (below, read) in SETS.items():
        if not folder:
            missing[name] = "no folder was named"
        elif not (Path(folder).expanduser() / below).is_dir():
            missing[name] = f"{below} was not found in {folder}"
        else:
            try:
                found[name] = read(Path(folder).expanduser(), clip)
            except Exception as error:  # a set half fetched raises nearly anything; the others are still worth having
                missing[name] = f"{below} in {folder} cannot be read ({error})"
    return found, missing
