"""Copies of a picture: exact ones, and near ones (re-encoded, resized), told by what is left of it in 8 x 8 pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 8  # of a thumbnail, in pixels: noise of an encoder or of resizing averages out, what is shown does not
FLAT = 4.0  # grey levels (standard deviation over a channel); a plainer thumbnail has nothing to tell near copies by
CLOSE = 6.0  # grey levels (root mean square) between near copies, at most, and
ALIKE = 0.99  # their correlation, at least
MOST = 20_000  # images among which near copies are looked for, in some seconds: time grows with the square


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (192,) float32 in 0..255: the means over 8 x 8 boxes."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).reshape(-1)


def copy_groups(digests: list[bytes], thumbs: np.ndarray, near: bool = True, block: int = 1000) -> np.ndarray:
    """(N,) the group of every image, the index of its first member: copies of one picture, or of copies, share it.

    digests: of the N pictures' pixels, equal for exact copies; thumbs: (N, 192), see `thumbnail`
    """
    group = np.arange(len(digests))

    def first(i: int) -> int:
        while group[i] != i:
            group[i] = i = group[group[i]]
        return i

    def join(i: int, j: int) -> None:
        a, b = sorted((first(i), first(j)))
        group[b] = a

    seen: dict[bytes, int] = {}
    for i, digest in enumerate(digests):
        join(seen.setdefault(digest, i), i)
    leaders = np.asarray(sorted(set(seen.values())), np.int64)
    if near and 1 < len(leaders) <= MOST:
        x = thumbs[leaders]
        shown = (x.reshape(len(x), -1, 3) - x.reshape(len(x), -1, 3).mean(1, keepdims=True)).reshape(x.shape)
        spread = shown.std(1)  # what is shown beside the colour of the whole
        unit = shown / (np.maximum(spread, FLAT)[:, None] * np.sqrt(x.shape[1]))
        for start in range(0, len(x), block):
            rows, others = np.nonzero(unit[start : start + block] @ unit.T > ALIKE)
            rows = rows + start
            later = others > rows
            for i, j in zip(rows[later], others[later]):
                if spread[i] > FLAT < spread[j] and np.sqrt(np.mean((x[i] - x[j]) ** 2)) < CLOSE:
                    join(int(leaders[i]), int(leaders[j]))
    return np.asarray([first(i) for i in range(len(group))], np.int64)
