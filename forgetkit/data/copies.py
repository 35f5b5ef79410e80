"""Copies of a picture: exact ones by their pixels, near ones (re-encoded, resized, mirrored) by thumbnails of 8 x 8.

Not found are copies that were cropped, turned, or made brighter or darker.
"""

import numpy as np
from PIL import Image
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components

SIDE = 8  # of a thumbnail, in pixels: noise of an encoder or of resizing averages out, what is shown does not
FLAT = 4.0  # grey levels (standard deviation over a channel); near copies of a plainer thumbnail are not looked for
CLOSE = 6.0  # grey levels (root mean square) between near copies, at most, and
ALIKE = 0.99  # their correlation, at least
MOST = 20_000  # images among which near copies are looked for, in some seconds: time grows with the square


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (192,) float32 in 0..255: the means over 8 x 8 boxes."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).reshape(-1)


def copy_groups(digests: list[bytes], thumbs: np.ndarray, near: bool = True, block: int = 1000) -> np.ndarray:
    """(N,) the group of every image, the index of its first member: copies of one picture, or of copies, share it.

    digests: of the N pictures' pixels, equal for exact copies; thumbs: (N, 192), see `thumbnail`
    near: look for near ones, too: not among the frames of a fixed camera, which are all alike
    """
    numbers: dict[bytes, int] = {}
    group = np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], np.int64)
    if near and 1 < len(numbers) <= MOST:
        x = thumbs[np.unique(group, return_index=True)[1]]  # one of each
        shown = (x.reshape(len(x), -1, 3) - x.reshape(len(x), -1, 3).mean(1, keepdims=True)).reshape(x.shape)
        spread = shown.std(1, keepdims=True)  # what is shown beside the colour of the whole
        unit = shown / (np.where(spread > FLAT, spread, np.inf) * np.sqrt(x.shape[1]))  # a plain one is like none
        squares, alike = (x**2).sum(1), []
        mirrored = np.arange(x.shape[1]).reshape(SIDE, SIDE, 3)[:, ::-1].reshape(-1)
        for start in range(0, len(x), block):
            rows, found = slice(start, start + block), False
            for order in (slice(None), mirrored):
                apart = squares[rows, None] + squares - 2 * x[rows] @ x[:, order].T
                found |= (unit[rows] @ unit[:, order].T > ALIKE) & (apart < x.shape[1] * CLOSE**2)
            alike.append(csr_array(found))
        group = connected_components(vstack(alike), directed=False)[1][group]
    return np.unique(group, return_index=True)[1][group]
