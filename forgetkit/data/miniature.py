"""A stand-in for ImageNet where there is none: CIFAR-10's photos in ImageNet's layout.

Ten classes under the wnid of one ImageNet class each, 32 pixels wide, with CIFAR-10's names, which mini-CLIP knows.
`train` is made of photos that it did not see in pre-training. Its results are not results on ImageNet.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from forgetkit.data.sets import SETS, cache_folder, in_one_step, load_parts

WNIDS = vars(SETS["cifar10"].wnids)  # by class


def imagenet() -> Path:
    """The stand-in's folder in the cache, made once: `train` and `val` with JPEGs a class, and `classnames.txt`."""
    folder = cache_folder() / "miniature-imagenet-unseen"
    if folder.exists():
        return folder
    photos = load_parts("cifar10")
    with in_one_step(folder) as half:
        splits = {"train": (("train", "calibration", "validation"), 850), "val": (("test",), 200)}
        for split, (parts, n) in splits.items():
            for name, wnid in tqdm(WNIDS.items(), f"miniature: {split}", leave=False, delay=2):
                (half / split / wnid).mkdir(parents=True)
                images = np.concatenate([photos[part].images[photos[part].names == name] for part in parts])
                for i, image in enumerate(images[:n]):
                    Image.fromarray(image).save(half / split / wnid / f"{wnid}_{i}.JPEG", quality=95, subsampling=0)
        (half / "classnames.txt").write_text("".join(f"{wnid} {name}\n" for name, wnid in WNIDS.items()))
    return folder
