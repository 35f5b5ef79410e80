"""Images that stay in their files until they are asked for: a large folder costs its list of names, not its pixels.

`ImageFiles` stands where `ImageSet.images` is an array: it has a length, a shape and a type, and slices of it are
arrays. Decoding, resizing and cropping are those of open_clip's evaluation transform, step by step in Pillow, in
threads (Pillow gives up Python's lock while it works). JPEG's `draft` mode, which decodes at a lower resolution, would
change pixels and is not used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from .sources import DataError

if TYPE_CHECKING:
    from .clips import Clip


@lru_cache(maxsize=1)
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1), thread_name_prefix="decode")


class ImageFiles:
    """N images in files, (N, S, S, 3) uint8 RGB once they are read.

    files:         N paths
    size:          S, the model's image size: the shorter side is resized to it, then the centre is cropped
    interpolation: of the resizing, as in the model's preprocessing: "bicubic" or "bilinear"
    border:        pixels cut off each side first (ObjectNet's pictures have a red frame)

    An integer gives one image (S, S, 3), a slice or an array of indices or booleans gives (n, S, S, 3); `select` gives
    the same images still unread. Raises DataError, naming the file, for one that cannot be read.
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(self, files: Sequence[str | os.PathLike], size: int, interpolation: str = "bicubic", border: int = 0):
        self.files = [os.fspath(file) for file in files]
        self.size, self.interpolation, self.border = size, interpolation, border

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), self.size, self.size, 3

    def select(self, index) -> ImageFiles:
        """The images at `index` (a slice, integers, or N booleans), unread. Raises IndexError, as NumPy does."""
        chosen = np.arange(len(self))[index]
        return ImageFiles([self.files[i] for i in chosen], self.size, self.interpolation, self.border)

    def __getitem__(self, index) -> np.ndarray:
        if isinstance(index, (int, np.integer)):
            return self._read(self.files[index])
        return self.select(index).read()

    def read(self) -> np.ndarray:
        """All images, (N, S, S, 3) uint8."""
        images = np.empty(self.shape, self.dtype)
        for row, image in enumerate(_workers().map(self._read, self.files)):
            images[row] = image
        return images

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.read(), dtype)

    def batches(self, n: int) -> Iterator[np.ndarray]:
        """Slices of n images in order; while one is used, the next is being decoded."""
        pending = None
        for start in range(0, len(self), n):
            following = [_workers().submit(self._read, file) for file in self.files[start : start + n]]
            if pending:
                yield np.stack([job.result() for job in pending])
            pending = following
        if pending:
            yield np.stack([job.result() for job in pending])

    def _read(self, file: str) -> np.ndarray:
        return read_image(file, self.size, self.interpolation, self.border)


def files_for(clip: Clip, files: Sequence[str | os.PathLike], border: int = 0) -> ImageFiles:
    """The files as `clip` is to see them: at its size, resized as its preprocessing says."""
    return ImageFiles(files, clip.image_size, clip.model.visual.preprocess_cfg["interpolation"], border)


def read_image(file: str, size: int, interpolation: str = "bicubic", border: int = 0) -> np.ndarray:
    """(size, size, 3) uint8: shorter side to `size`, centre crop, RGB, in this order, as open_clip's transform."""
    try:
        with Image.open(file) as image:
            if border:
                image = ImageOps.crop(image, border)
            image = TF.center_crop(TF.resize(image, size, InterpolationMode(interpolation)), [size, size])
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and more for a broken file
        raise DataError(
            f"{file} cannot be read as an image ({error}): replace or remove it and run again; "
            "stages and embeddings finished so far are kept."
        ) from error
