"""Folders of generated pictures, for every test of the data room that reads files."""

import zlib

import numpy as np
from PIL import Image


def write_images(folder, counts, size=(12, 8), names="{:03}.png"):
    """Noise in folder/name/000.png ..., as many as `counts` says of each name, another picture in every file."""
    for name, n in counts.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            image = Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8))
            image.save(folder / name / names.format(i))


def write_waves(folder, files, size=96):
    """Waves of three colours, seeded by the file's place: something to see, which survives JPEG and resizing."""
    y, x = np.mgrid[:size, :size] / size
    for seed, file in enumerate(files):
        u, v, w = np.random.default_rng(seed).uniform(0.3, 2, (3, 3))
        waves = np.sin(2 * np.pi * (u * x[..., None] + v * y[..., None] + w))
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((127 + 100 * waves).astype(np.uint8)).save(folder / file)


def linked(to, folder):
    """`to` as a folder, each entry of which links to the one in `folder`."""
    to.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        (to / entry.name).symlink_to(entry)
    return to


def files_by_part(parts):
    """The files of a set in its parts, which have none in common."""
    files = {part: set(images.images.files) for part, images in parts.items()}
    assert sum(map(len, files.values())) == len(set.union(*files.values())), "a file stands in two parts"
    return files
