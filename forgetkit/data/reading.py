"""Reading images: a file gives the same pixels whichever kind of set it belongs to.

`read_image` turns a picture upright, on white, to RGB; resizing and cropping are open_clip's own.
"""

import contextlib
import copy
import hashlib
import io
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torchvision.transforms import Compose
from tqdm.auto import tqdm

from forgetkit.data.images import PARTS, DataError, ImageSet

with contextlib.suppress(ImportError):  # an optional package, which teaches Pillow HEIC
    import pillow_heif

    pillow_heif.register_heif_opener()

Image.init()
# Formats that a Pillow may lack, and the package that brings them: their files are images, too, not to be passed over.
PLUGINS = {".heic": "pillow-heif", ".heif": "pillow-heif", ".avif": "pillow-avif-plugin", ".jxl": "pillow-jxl-plugin"}
PICTURES = {*Image.OPEN} - {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}  # these Pillow cannot decode
SUFFIXES = {*PLUGINS} | {suffix for suffix, kind in Image.registered_extensions().items() if kind in PICTURES}
SHARES = (0.6, 0.1, 0.1, 0.2)  # of a class's files, by part
WORKERS = ThreadPoolExecutor(min(32, os.cpu_count() or 1), "decode")  # Pillow gives up Python's lock while it decodes


def read_image(
    file: str | os.PathLike, transform: Callable[[Image.Image], Image.Image] | None = None, border: int = 0
) -> np.ndarray:
    """(H, W, 3) uint8: the (first) picture in a file, upright, on white, less its border, after the transform.

    Raises DataError, naming the file, for one that cannot be read.
    """
    try:
        with Image.open(file) as image:
            image = to_rgb(image)
        image = ImageOps.crop(image, border) if border else image
        return np.asarray(transform(image) if transform else image)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and more for a broken file
        suffix = os.path.splitext(file)[1].lower()
        if isinstance(error, UnidentifiedImageError) and suffix not in Image.registered_extensions():
            error = f"Pillow has no reader for {suffix} here: install {PLUGINS.get(suffix)}, or save it as PNG"
        raise DataError(f"{os.fspath(file)} cannot be read as an image ({error}): replace or remove it.") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB of 8 bits: turned as its EXIF data say, transparent parts on white, by its colour profile.

    Of 16-bit grey, 65,535 is white. Grey of 32 bits or floats has no white of its own: it is 1 (floats only), 255 or
    65,535, the first that no pixel exceeds. Raises ValueError for other values (negative, larger, not finite).
    """
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # Pillow's own conversion would clip the values at 255
        grey = np.asarray(image).astype(np.float64)
        low, high = grey.min(), grey.max()
        whites = (65535,) if sixteen else (1, 255, 65535) if image.mode == "F" else (255, 65535)
        white = next((white for white in whites if 0 <= low and high <= white), None)
        if white is None:
            raise ValueError(f"nothing says which of its values, {low:g} to {high:g}, is white: bring them to 0..255")
        image = Image.fromarray(np.rint(grey * (255 / white)).astype(np.uint8))
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a damaged profile
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image.convert("RGB")


class ImageFiles:
    """N images in files, (N, H, W, 3) uint8 RGB once they are read; stands where `ImageSet.images` may be an array.

    size, interpolation, resize_mode: as in the model's preprocessing, see `open_clip.image_transform`
    border: pixels cut off each side first (ObjectNet's pictures have a red frame)

    It is indexed like an array; `select` gives images still unread. Raises DataError for files that cannot be read.
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(
        self, files: Sequence[str | os.PathLike], size: int | tuple[int, int], interpolation: str = "bicubic",
        resize_mode: str = "shortest", border: int = 0,
    ):  # fmt: skip
        self.files = [os.fspath(file) for file in files]
        height, width = (size, size) if isinstance(size, int) else size
        self.how = (height, width, interpolation, resize_mode, border)  # all that pixels depend on beside the file
        self.pixels: np.ndarray | None = None  # the images, where someone has read them and keeps them
        whole = open_clip.image_transform((height, width), False, interpolation=interpolation, resize_mode=resize_mode)
        self.transform = Compose(whole.transforms[:-2])  # up to an RGB picture: not the last two, tensor and normalise

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), *self.how[:2], 3

    def select(self, index) -> "ImageFiles":
        """The images at `index` (a slice, integers, or N booleans), unread."""
        chosen = copy.copy(self)
        chosen.files = [self.files[i] for i in np.arange(len(self))[index]]
        chosen.pixels = None if self.pixels is None else self.pixels[index]
        return chosen

    def __getitem__(self, index) -> np.ndarray:
        return self.select([index]).read()[0] if isinstance(index, int | np.integer) else self.select(index).read()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.read(), dtype)

    def read(self, progress: str = "") -> np.ndarray:
        """All images, (N, H, W, 3) uint8; a bar called `progress` where it is not empty."""
        if self.pixels is not None:
            return self.pixels
        images, broken = np.empty(self.shape, self.dtype), []
        for row, image in enumerate(self.each(progress)):
            if isinstance(image, DataError):
                broken.append(str(image))
            else:
                images[row] = image
        if broken:
            raise DataError("\n  ".join(faults(broken)))
        return images

    def batches(self, n: int) -> Iterator[np.ndarray]:
        """Slices of n images in order; while one is used, the next is being decoded."""
        with ThreadPoolExecutor(1) as ahead:
            jobs = (ahead.submit(self.select(slice(start, start + n)).read) for start in range(0, len(self), n))
            job = next(jobs, None)
            while job:
                shown, job = job, next(jobs, None)
                yield shown.result()

    def each(self, progress: str = "") -> Iterator[np.ndarray | DataError]:
        """Every image, or the error where a file cannot be read."""
        found = WORKERS.map(self._read, self.files)
        yield from tqdm(found, progress, len(self), leave=False) if progress else found

    def _read(self, file: str) -> np.ndarray | DataError:
        try:
            return read_image(file, self.transform, self.how[-1])
        except DataError as error:
            return error


def faults(broken: Sequence[str]) -> list[str]:
    """A sentence for each file that cannot be read, under a heading where there are several."""
    return [*[f"{len(broken)} files cannot be read as images:"][: len(broken) > 1], *broken]


def files_for(clip, files: Sequence[str | os.PathLike], border: int = 0) -> ImageFiles:
    """The files as `clip` is to see them; in place of a model, a size in pixels: bicubic, shortest side."""
    if isinstance(clip, int):
        return ImageFiles(files, clip, border=border)
    cfg = clip.model.visual.preprocess_cfg
    mode = cfg.get("resize_mode", "shortest")
    return ImageFiles(files, clip.model.visual.image_size, cfg["interpolation"], mode, border)


def plain(name: str) -> str:
    """A folder's name as it stands in a prompt: `Real_World` is "real world", whichever way its accents are coded."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").lower().split())


def divide(files: Sequence[str], shares: Sequence[float] = SHARES, seed: int = 0) -> dict[str, list[str]]:
    """The files of a class by part, in the given shares; the same wherever and whenever it is asked.

    The hash of a file's name (without its folder) and the seed is a number in 0..1, and the shares cut 0..1 into
    intervals. So a file's part depends on its own name alone: another file, class or folder moves no image, copies of
    one name stay together, and numbers come near the shares without being equal to them. One exception keeps small
    classes whole: where a part with a share would stay empty, it takes the file whose number is nearest to its
    interval from a part that has two or more; there, a further file may move one image.
    """
    names = [os.path.basename(file) for file in files]
    digests = (hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest() for name in names)
    place = np.array([int.from_bytes(digest[:8]) / 2**64 for digest in digests])
    edges = np.cumsum([0.0, *shares])
    part = np.minimum(np.searchsorted(edges[1:], place, side="right"), np.flatnonzero(shares).max())
    for empty in (p for p in np.flatnonzero(shares) if p not in part):
        several = np.bincount(part, minlength=len(shares))[part] > 1
        if several.any():
            distance = np.maximum(edges[empty] - place, place - edges[empty + 1])
            part[np.where(several, distance, np.inf).argmin()] = empty
    return {name: [files[i] for i in np.flatnonzero(part == p)] for p, name in enumerate(PARTS)}


def in_parts(
    name: str, rows: Mapping[str, Sequence[tuple[str, int, str]]], clip, classes: Sequence[str], prompts: Sequence[str]
) -> tuple[dict[str, ImageSet], dict[str, np.ndarray]]:
    """Image sets and subgroups by part, of (file, label, subgroup) rows; raises DataError where a part has none."""
    parts, groups = {}, {}
    for part in PARTS:
        if not rows[part]:
            raise DataError(f"{name} has too few images: nothing is left for {part}. Twenty of each kind will do.")
        files, labels, names = zip(*rows[part])
        labels, groups[part] = np.asarray(labels, np.int64), np.asarray(names)
        parts[part] = ImageSet(name, files_for(clip, files), labels, tuple(classes), tuple(prompts))
    return parts, groups
