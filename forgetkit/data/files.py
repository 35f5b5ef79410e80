"""Images that stay in their files until they are asked for: a large folder costs its list of names, not its pixels.

`ImageFiles` stands where `ImageSet.images` is an array: it has a length, a shape and a type, and slices of it are
arrays. Resizing and cropping are open_clip's own evaluation transform, in threads (Pillow gives up Python's lock while
it works). JPEG's `draft` mode, which decodes at a lower resolution, would change pixels and is not used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import open_clip
from PIL import Image, ImageOps
from torchvision.transforms import Compose

from forgetkit.data.sources import DataError

if TYPE_CHECKING:
    from forgetkit.models.clip import Clip


@lru_cache(maxsize=1)
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1), thread_name_prefix="decode")


class ImageFiles:
    """N images in files, (N, H, W, 3) uint8 RGB once they are read.

    files:         N paths
    size:          the model's image size: H and W, or one number for both
    interpolation: of the resizing, as in the model's preprocessing: "bicubic" or "bilinear"
    resize_mode:   likewise: the "shortest" side brought to the size and the centre cut out, the "longest", or "squash"
    border:        pixels cut off each side first (ObjectNet's pictures have a red frame)

    An integer gives one image (H, W, 3), a slice or an array of indices or booleans gives (n, H, W, 3); `select` gives
    the same images still unread. Raises DataError, naming the file, for one that cannot be read.
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(
        self, files: Sequence[str | os.PathLike], size: int | tuple[int, int], interpolation: str = "bicubic",
        resize_mode: str = "shortest", border: int = 0,
    ):  # fmt: skip
        self.files = [os.fspath(file) for file in files]
        height, width = (size, size) if isinstance(size, int) else size
        self.how = (height, width, interpolation, resize_mode, border)  # all that pixels depend on beside the file

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), *self.how[:2], 3

    def select(self, index) -> ImageFiles:
        """The images at `index` (a slice, integers, or N booleans), unread. Raises IndexError, as NumPy does."""
        height, width, *how = self.how
        return ImageFiles([self.files[i] for i in np.arange(len(self))[index]], (height, width), *how)

    def __getitem__(self, index) -> np.ndarray:
        if isinstance(index, (int, np.integer)):
            return self._read(self.files[index])
        return self.select(index).read()

    def read(self) -> np.ndarray:
        """All images, (N, H, W, 3) uint8."""
        images = np.empty(self.shape, self.dtype)
        for row, image in enumerate(_workers().map(self._read, self.files)):
            images[row] = image
        return images

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.read(), dtype)

    def batches(self, n: int) -> Iterator[np.ndarray]:
        """Slices of n images in order; while one is used, the next is being decoded."""
        pending = []
        for start in range(0, len(self), n):
            following = [_workers().submit(self._read, file) for file in self.files[start : start + n]]
            if pending:
                yield np.stack([job.result() for job in pending])
            pending = following
        if pending:
            yield np.stack([job.result() for job in pending])

    def _read(self, file: str) -> np.ndarray:
        height, width, interpolation, resize_mode, border = self.how
        return read_image(file, transform((height, width), interpolation, resize_mode), border)


def files_for(clip: Clip, files: Sequence[str | os.PathLike], border: int = 0) -> ImageFiles:
    """The files as `clip` is to see them: at its size, resized as its preprocessing says."""
    cfg = clip.model.visual.preprocess_cfg
    mode = cfg.get("resize_mode", "shortest")
    return ImageFiles(files, clip.model.visual.image_size, cfg["interpolation"], mode, border)


@lru_cache(maxsize=8)
def transform(size: tuple[int, int], interpolation: str, resize_mode: str) -> Callable[[Image.Image], Image.Image]:
    """open_clip's transform for evaluation up to an RGB picture: without its last two steps, tensor and normalise."""
    whole = open_clip.image_transform(size, is_train=False, interpolation=interpolation, resize_mode=resize_mode)
    return Compose(whole.transforms[:-2])


def read_image(file: str, transform: Callable[[Image.Image], Image.Image], border: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: the picture in a file, less its border, after the transform."""
    try:
        with Image.open(file) as image:
            return np.asarray(transform(ImageOps.crop(image, border) if border else image))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and more for a broken file
        raise DataError(
            f"{file} cannot be read as an image ({error}): replace or remove it and run again; "
            "stages and embeddings finished so far are kept."
        ) from error
