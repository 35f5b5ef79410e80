"""The ground truth of ImageNet's flat validation folder, in the forms that go round.

| a line is                                     | for example                              | whose                 |
|-----------------------------------------------|------------------------------------------|-----------------------|
| name, wnid (and boxes, which are left)        | `ILSVRC2012_val_00000001,n01751748 111 ` | Kaggle's solution.csv |
| a wnid; line i is image number i              | `n01751748`                              | TensorFlow's list     |
| ILSVRC2012_ID, 1 to 1000; line i is image i   | `490`                                    | the devkit's          |

The devkit's ids are in an order of its own, neither alphabetical nor that of the class indices: `meta.mat` (or the
later devkits' `map_clsloc.txt`) beside the file says which wnid each is. A name with a bare number (Caffe's `val.txt`)
is refused, since nothing in it says which numbering it uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from scipy.io import loadmat

from forgetkit.data.images import DataError

NAMES = (
    "LOC_val_solution.csv", "val.csv", "val.txt", "imagenet_2012_validation_synset_labels.txt",
    "ILSVRC2012_validation_ground_truth.txt",
)  # fmt: skip
BELOW = (".", "ILSVRC2012_devkit_t12/data", "devkit/data", "data")
WNID = re.compile(r"n\d{8}")


def ground_truth(files: Sequence[str], val: Path, folder: Path, named: str | Path | None = None) -> list[str]:
    """The wnid of every image of a flat validation folder.

    val: the folder of the images; its file of ground truth is looked for there, above it and in `folder`, in the
         devkit's folder below any of these, unless `named`
    Raises DataError: none found, not of a form above, an image that it does not know.
    """
    places = [place / below for place in (val, val.parent, folder) for below in BELOW]
    found = [place / name for name in NAMES for place in places if (place / name).is_file()]
    path = Path(named).expanduser() if named else next(iter(found), None)
    if path is None or not path.is_file():
        raise DataError(
            f"{val} has its images in one folder, and there is {'no ' + str(path) if named else 'no ground truth'}: "
            f"put one of {', '.join(NAMES)} beside it, or move the images into folders by wnid."
        )
    rows = [re.split(r"[,;\s]+", line.strip()) for line in path.read_text().splitlines() if line.strip()]
    alone = all(len(row) == 1 for row in rows)
    wnid_of = dict(enumerate(_wnids([row[0] for row in rows], path), start=1)) if alone else _by_name(rows, path)
    keys = [_number(file) if alone else Path(file).stem for file in files]
    if unknown := [key for key in keys if key not in wnid_of]:
        raise DataError(f"{path} has no line for image {unknown[0]!r}: it belongs to another set of images.")
    return [wnid_of[key] for key in keys]


def _number(file: str) -> int:
    """The number at the end of an image's name: 1 of `ILSVRC2012_val_00000001.JPEG`."""
    if not (found := re.search(r"(\d+)$", Path(file).stem)):
        raise DataError(f"{file} has no number at its end, and the ground truth has one line a number.")
    return int(found[1])


def _by_name(rows: list[list[str]], path: Path) -> dict[str, str]:
    """{image's name: wnid} of rows that begin with the two; the first may be a heading."""
    rows = rows[0 if any(map(WNID.fullmatch, rows[0])) else 1 :]
    wrong = [" ".join(row[:3]) for row in rows if len(row) < 2 or not WNID.fullmatch(row[1])]
    if wrong or not rows:
        raise DataError(
            f"{path} has the line {''.join(wrong[:1])!r}; expected an image's name and its wnid. Numbers of classes "
            "come in several orders: use a file of wnids, or the devkit's ground truth with its meta.mat."
        )
    return {Path(name).stem: wnid for name, wnid, *_ in rows}


def _wnids(lines: Sequence[str], path: Path) -> list[str]:
    """The wnid of every line, which is a wnid or an id of the devkit."""
    if all(map(WNID.fullmatch, lines)):
        return list(lines)
    order = devkit_order(path)
    if wrong := [line for line in lines if not line.isdigit() or int(line) not in order]:
        raise DataError(f"{path} has {wrong[0]!r} among its lines, which is no id of the devkit (1 to 1000).")
    return [order[int(line)] for line in lines]


def devkit_order(path: Path) -> dict[int, str]:
    """{ILSVRC2012_ID: wnid} from `map_clsloc.txt` or `meta.mat` beside the devkit's ground truth at `path`."""
    text, mat = path.with_name("map_clsloc.txt"), path.with_name("meta.mat")
    if text.exists():
        rows = [line.split() for line in text.read_text().splitlines() if line.strip()]
        return {int(number): wnid for wnid, number, *_ in rows}
    if not mat.exists():
        raise DataError(
            f"{path} has ids in the devkit's own order: put the devkit's meta.mat beside it, which says what they are."
        )
    synsets = loadmat(mat, squeeze_me=True)["synsets"]  # leaves first, then the nodes above them
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["ILSVRC2012_ID"]) <= 1000}
