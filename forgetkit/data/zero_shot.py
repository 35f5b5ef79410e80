"""Sets that are only ever evaluated, where the user has them: CIFAR-100, Food-101, STL-10 as torchvision leaves them.

And ObjectNet, cut down to the 113 classes that its own `mappings` say are also in ImageNet-1K, without its red frame.
Nothing is downloaded, and a set that is not there is not an error.
"""

import json
from pathlib import Path

import numpy as np
from torchvision import datasets

from forgetkit.data.images import ImageSet
from forgetkit.data.reading import files_for, plain

PHOTO = ("a photo of a {}.", "a photo of the {}.")
BLURRED = (
    "a blurry photo of a {}.", "a low contrast photo of a {}.", "a good photo of a {}.", "a photo of a small {}.",
)  # fmt: skip


# Each reader, of (folder, clip): images, labels, classes, prompts.
def _cifar100(root: Path, clip):
    found = datasets.CIFAR100(root, train=False)
    return found.data, found.targets, found.classes, PHOTO + BLURRED


def _stl10(root: Path, clip):
    found = datasets.STL10(root, split="test")
    return found.data.transpose(0, 2, 3, 1), found.labels, found.classes, PHOTO


def _food101(root: Path, clip):
    found = datasets.Food101(root, split="test")
    images = files_for(clip, found._image_files)  # the set itself would open and decode each
    return images, found._labels, found.classes, ("a photo of {}, a type of food.",)


def _objectnet(root: Path, clip):
    images, mappings = (root / "objectnet-1.0" / below for below in ("images", "mappings"))
    label_of = json.loads((mappings / "folder_to_objectnet_label.json").read_text(encoding="utf-8"))
    shared = json.loads((mappings / "objectnet_to_imagenet_1k.json").read_text(encoding="utf-8"))
    folders = sorted(folder for folder, label in label_of.items() if label in shared)
    rows = [(file, label) for label, of in enumerate(folders) for file in sorted((images / of).glob("*.png"))]
    files, labels = zip(*rows)
    return files_for(clip, files, border=2), labels, [label_of[f] for f in folders], PHOTO


SETS = {"cifar100": "cifar-100-python", "food101": "food-101", "stl10": "stl10_binary", "objectnet": "objectnet-1.0"}


def columns(folder: str | Path | None, clip) -> tuple[dict[str, ImageSet], dict[str, str]]:
    """The sets found below `folder` by column, for `clip`'s image size; and of every other, why it is not there."""
    found, missing, root = {}, {}, Path(folder or "").expanduser()
    for name, below in SETS.items():
        if not folder or not (root / below).is_dir():
            missing[name] = f"{below} was not found in {folder}" if folder else "no folder was named"
            continue
        try:
            images, labels, classes, prompts = globals()[f"_{name}"](root, clip)
            found[name] = ImageSet(name, images, np.asarray(labels, np.int64), tuple(map(plain, classes)), prompts)
        except Exception as error:  # a set half fetched raises nearly anything; the others are still worth having
            missing[name] = f"{below} in {folder} cannot be read ({error})"
    return found, missing
