"""ImageNet-1K in its ordinary folders, and subgroups of it by wnid, by name, or by a node of WordNet's tree.

    train/n02490219/*.JPEG                      val/n02490219/*.JPEG
                                            or  val/ILSVRC2012_val_00000001.JPEG beside a file of names and wnids

also in Kaggle's archive (`ILSVRC/Data/CLS-LOC`), with all classes or a few. The 1,000 wnids in alphabetical order are
the classes 0 to 999; names and 80 templates are open_clip's; `imagenet_families.csv` holds nodes of WordNet 3.0.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
from timm.data import ImageNetInfo

from forgetkit.data.images import PARTS, DataError, Grouped, Subgroup, listed
from forgetkit.data.layouts import images_in
from forgetkit.data.reading import divide, in_parts, plain

TEMPLATES = {
    "all": tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES),
    "simple": tuple(template("{}") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES),
    "one": ("a photo of a {}.",),
}
TRUTHS = ("LOC_val_solution.csv", "val.csv", "val.txt")  # lines of an image's name and its wnid
WNID = re.compile(r"n\d{8}")
BASES = (".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # where `train` and `val` may stand
SHARES = (0.64, 0.3, 0.06, 0)  # of a class in `train`, by part: of 1,300, over 250 calibrate and over 50 validate
SHARES_ALONE = (0.48, 0.22, 0.05, 0.25)  # where there is only `train`, or only `val`
CALIBRATION = 2000  # images of siblings in D_m, which is read into memory, at most
OTHERS = 500  # images a part, evenly over the classes that are neither target nor sibling, outside the test


@lru_cache(maxsize=1)
def wnids() -> tuple[str, ...]:
    """The 1,000 wnids; a wnid's place is its class index."""
    return tuple(ImageNetInfo().label_names())


@lru_cache(maxsize=1)
def families() -> dict[str, tuple[str, ...]]:
    """The wnids of every node that comes with the package, by its name ("monkey", "turtle"), smallest node first."""
    rows = pd.read_csv(Path(__file__).with_name("imagenet_families.csv"))
    found = rows.groupby("family", sort=False)["wnid"].agg(tuple)
    return dict(sorted(found.items(), key=lambda item: len(item[1])))


@dataclass(frozen=True)
class ImageNet:
    """What a folder holds: the images of each class in `train` and `val`, by wnid, and the classes' names."""

    folder: Path
    train: dict[str, list[str]]
    val: dict[str, list[str]]
    names: dict[str, str]  # by wnid, in the order of the classes; a name that two classes have is followed by its wnid

    def class_of(self, files: Sequence[str]) -> np.ndarray:
        """(N,) the class name of every file, whatever its label in a set."""
        of = {f: self.names[w] for found in (self.train, self.val) for w, files in found.items() for f in files}
        return np.asarray([of[file] for file in files])

    def resolve(self, what: str) -> tuple[str, ...]:
        """The wnids that are here of a wnid, a class name or a node; raises DataError with what there is instead."""
        wanted = plain(what)
        named = tuple(w for w, name in self.names.items() if wanted in (w, name.lower(), prompted(name).lower()))
        if len(named) > 1:
            raise DataError(f"{len(named)} classes are called {what!r}: choose one of {', '.join(named)}.")
        below = tuple(w for w in families().get(wanted, ()) if w in self.names)
        if named or below:
            return named or below
        shown = listed([*self.names.values()])
        raise DataError(f"{self.folder.name} has no class or family {what!r}. Choose one of: {shown}.")


def load(folder: str | Path) -> ImageNet:
    """List an ImageNet folder; no image is opened.

    A file `classnames.txt` in the folder (`n02490219 marmoset` a line) replaces open_clip's names.
    Raises DataError: no such folder, another layout, an unknown wnid, no ground truth.
    """
    folder = Path(folder).expanduser()
    base = next((folder / b for b in BASES if (folder / b / "train").is_dir() or (folder / b / "val").is_dir()), None)
    if base is None:
        raise DataError(f"{folder} has neither train nor val (also not in {BASES[1]}): expected train/{wnids()[0]}.")
    train, val = ({wnid: files for (wnid,), files in images_in(base / split, 1).items() if WNID.fullmatch(wnid)}
                  for split in ("train", "val"))  # fmt: skip
    val = val or _flat(base / "val", folder)
    present = [wnid for wnid in wnids() if wnid in train or wnid in val]
    if not present:
        raise DataError(f"{base} holds no image in class folders such as train/{wnids()[0]}.")
    if unknown := sorted({*train, *val} - set(present)):
        raise DataError(f"{unknown[0]} in {base} is no class of ImageNet-1K: remove it, or move it elsewhere.")
    names = dict(zip(wnids(), open_clip.IMAGENET_CLASSNAMES))
    if (own := folder / "classnames.txt").exists():
        for line in filter(None, map(str.strip, own.read_text(encoding="utf-8").splitlines())):
            wnid, *name = line.split(maxsplit=1)
            if wnid not in names or not name:
                raise DataError(f"{own} has the line {line!r}; expected a wnid of ImageNet-1K and its name.")
            names[wnid] = name[0]
    bearers = Counter(names.values())
    unique = {w: names[w] if bearers[names[w]] == 1 else f"{names[w]} ({w})" for w in present}
    return ImageNet(folder, train, val, unique)


def _flat(val: Path, folder: Path) -> dict[str, list[str]]:
    """The images that lie in `val` itself by wnid, as a file says that is there, above or in `folder`."""
    files = images_in(val, 0).get((), [])
    found = [place / name for name in TRUTHS for place in (val, val.parent, folder) if (place / name).is_file()]
    if files and not found:
        raise DataError(f"{val} is one folder, and there is no ground truth: put one of {', '.join(TRUTHS)} beside it.")
    rows = [re.split(r"[,;\s]+", line.strip()) for line in found[0].read_text().splitlines()] if files else []
    wnid_of = {Path(row[0]).stem: row[1] for row in rows if len(row) > 1 and WNID.fullmatch(row[1])}
    by_wnid: dict[str, list[str]] = {}
    for file in files:
        if (name := Path(file).stem) not in wnid_of:
            raise DataError(f"{found[0]} has no line of image {name!r} and its wnid. Numbers come in several orders.")
        by_wnid.setdefault(wnid_of[name], []).append(file)
    return by_wnid


def prompted(name: str) -> str:
    """A class's name as it stands in a prompt, without the wnid that follows a name of two classes."""
    return re.sub(r" \(n\d{8}\)$", "", name)


def subgroup(data: ImageNet, target: str, family: str | Sequence[str] = "") -> tuple[Subgroup, dict[str, str]]:
    """What to forget and what to keep beside it, and the subgroup's name of every wnid of the two.

    target: a wnid ("n02490219"), a class name ("marmoset"), or a node, to forget all below it ("monkey")
    family: the node whose other classes are the siblings; the smallest that has any here, unless named.
            Or the siblings themselves: wnids or names, in a list or separated by commas

    Raises DataError: nothing of that name here, no siblings here.
    """
    wanted = data.resolve(target)
    name = data.names[wanted[0]] if len(wanted) == 1 else plain(target)
    given = [part.strip() for part in (family.split(",") if isinstance(family, str) else family) if part.strip()]
    if not given:
        given = [node for node, below in families().items() if set(wanted) < set(below) & set(data.names)][:1]
    if not given:
        raise DataError(f"No family has {name!r} and another class of {data.folder.name}: name its siblings.")
    siblings = [w for part in given for w in data.resolve(part) if w not in wanted]
    groups = {**{w: name for w in wanted}, **{w: data.names[w] for w in siblings}}
    whole = len(given) == 1 and set(wanted) <= set(families().get(plain(given[0]), ()))
    return Subgroup(name, tuple(groups[w] for w in siblings), plain(given[0]) if whole else ""), groups


def _rows(
    data: ImageNet, chosen: Subgroup, groups: Mapping[str, str], label_of: Mapping[str, int], n_other: int, seed: int
) -> dict[str, list[tuple[str, int, str]]]:
    """(file, label, subgroup) of images by part; of classes outside the groups, few, and n_other in all in the test."""
    found = {part: [] for part in PARTS}
    few = max(5, OTHERS // max(1, len(data.names) - len(groups)))
    for wnid, label in label_of.items():
        train, val, name = data.train.get(wnid, []), data.val.get(wnid, []), groups.get(wnid, "other")
        parts = divide(train, SHARES) | {"test": val} if train and val else divide(train or val, SHARES_ALONE)
        if wnid not in groups:
            parts = {part: files if part == "test" else files[:few] for part, files in parts.items()}
        elif name != chosen.target:
            parts["calibration"] = parts["calibration"][: -(-CALIBRATION // len(chosen.siblings))]
        for part, files in parts.items():
            found[part] += [(file, label, name) for file in files]
    other = [i for i, (*_, name) in enumerate(found["test"]) if name == "other"]
    gone = set(np.random.default_rng(seed).permutation(other)[n_other:].tolist())
    found["test"] = [row for i, row in enumerate(found["test"]) if i not in gone]
    return found


def group(
    data: ImageNet, target: str, clip, family: str | Sequence[str] = "", labels: str = "fine",
    templates: str = "all", n_other: int = 50_000, seed: int = 0,
) -> Grouped:  # fmt: skip
    """A subgroup of ImageNet with all other classes here, for `clip`'s image size; no image is opened.

    target, family: see `subgroup`; templates: "all" 80 of open_clip's, the 7 "simple" ones, or "one"
    labels: "fine", every class under its own name, or "coarse", target and siblings under the family's
    n_other: at most so many images of the other classes are evaluated, drawn by the seed

    `val` is the test; where it or `train` is missing, the other is divided (`reading.divide`). Raises DataError.
    """
    if labels not in ("fine", "coarse") or templates not in TEMPLATES:
        raise DataError(f"labels is one of fine, coarse, templates one of {', '.join(TEMPLATES)}.")
    chosen, groups = subgroup(data, target, family)
    if labels == "coarse" and not chosen.family:
        raise DataError("Coarse labels are a family's name: give as family one node that has the target below it.")
    own = {w: chosen.family if labels == "coarse" and w in groups else name for w, name in data.names.items()}
    unique = [*dict.fromkeys(own.values())]  # where two classes may have one name in a prompt
    label_of = {wnid: unique.index(name) for wnid, name in own.items()}
    rows = _rows(data, chosen, groups, label_of, n_other, seed)
    parts, of = in_parts("imagenet", rows, clip, tuple(map(prompted, unique)), TEMPLATES[templates])
    return Grouped(parts, chosen, of)
