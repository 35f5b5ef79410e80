"""Your own pictures, as a folder or a CSV: looked at once, divided so that copies stand together, and grouped.

| layout                                   | what it says                                                          |
|------------------------------------------|-----------------------------------------------------------------------|
| `folder/class/…/image.jpg`               | a subgroup a folder; folders below it belong to it                    |
| `folder/train/class/…`, `folder/class/train/…` | the same, in parts of your own, which are kept                  |
| `list.csv`: `image,label,subgroup[,part]`| paths beside the CSV; subgroups may be finer than labels              |

A part that you did not give is taken out of one that you did: calibration is half of validation, where there is a test
part, too; else it and validation are shares of train, and what you call validation is the test.
"""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from forgetkit.data.copies import MOST, copy_groups, thumbnail
from forgetkit.data.images import CIFAR10, PARTS, DataError, Grouped, ImageSet, Subgroup, listed
from forgetkit.data.layouts import from_csv, from_folder, only_csv
from forgetkit.data.reading import SHARES, ImageFiles, divide, faults, files_for, plain

STRENGTH = {"": 0, "train": 1, "validation": 2, "calibration": 3, "test": 4}  # where copies are in two: which stays
IN_MEMORY = 1_000_000_000  # bytes of pixels that are kept once they are read; more stay in their files
LEAST = 4  # pictures of the target, one for each part


@dataclass(frozen=True, eq=False)
class Folder:
    """What a folder or CSV holds, every file read once.

    rows:   a row an image: file, label, subgroup, part ("train" ...), given (the user's part, or ""), copy (see
            `copy_groups`) and dropped (a copy of one in another part that the user gave)
    broken: a sentence for each file that cannot be read; passed: files passed over, by reason; notes: other sentences
    """

    path: Path
    images: ImageFiles
    rows: pd.DataFrame
    broken: tuple[str, ...]
    passed: Counter[str]
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> pd.DataFrame:
        """The rows that are not dropped."""
        return self.rows[~self.rows["dropped"]]

    @property
    def subgroups(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.rows["subgroup"])))

    def counts(self) -> pd.DataFrame:
        """Images that are used, a row a subgroup and a column a part."""
        found = pd.crosstab(self.used["subgroup"], self.used["part"])
        found = found.reindex(index=self.subgroups, columns=PARTS, fill_value=0).rename_axis(None, axis=1)
        return found.assign(all=found.sum(axis=1))

    def findings(self) -> list[str]:
        """What is to be known before the work, a sentence each; the numbers of `counts` aside."""
        said = shortened([*faults(self.broken), *self.notes])
        if reasons := ", ".join(f"{n} {reason}" for reason, n in self.passed.items()):
            said.append(f"Passed over: {reasons}.")
        copies = self.rows[self.rows.duplicated("copy", keep=False)].groupby("copy")["subgroup"].agg(["size", "unique"])
        between = copies[copies["unique"].map(len) > 1]
        within, n_between = copies.drop(between.index), int((between["size"] - 1).sum())
        if n := int((within["size"] - 1).sum()):
            how = "" if len(self.images) <= MOST else " (too many images to look for near ones)"
            often = " (frames of a fixed camera? --exact-copies, near=False)" if 2 * n > len(self.rows) else ""
            said.append(f"{n} images are copies within a subgroup{how}: they stay in one part{often}.")
        if pairs := sorted({" and ".join(sorted(names)) for names in between["unique"]}):
            said.append(f"{n_between} images are copies between subgroups ({listed(pairs)}): remove one of each.")
        if dropped := int(self.rows["dropped"].sum()):
            said.append(f"{dropped} images are copies of one in a later part of yours, and are left out.")
        return said

    def part(self, part: str, labels: pd.Series | None = None, classes: Sequence[str] | None = None) -> ImageSet:
        """The images of a part (one of `PARTS`); labels: a class name for each row of `used`, its own label if None."""
        labels = (self.used["label"] if labels is None else labels)[self.used["part"] == part]
        classes = sorted(set(self.rows["label"])) if classes is None else classes
        images = self.images.select(labels.index.to_numpy())
        return ImageSet(self.path.stem, images, np.array(labels.map(classes.index), np.int64), tuple(classes))

    def group(
        self, target: str, siblings: Sequence[str] | None = None, labels: str | None = None,
        previous_targets: Sequence[str] | None = None,
    ) -> Grouped:  # fmt: skip
        """What `split` takes: this subgroup to forget, its siblings to keep.

        siblings: None: the other subgroups of the target's label where there are any, else all others
        labels: one label for target and siblings (the coarse case), beside which, if alone, compete ten plain words
        previous_targets: subgroups of earlier requests, which are to stay forgotten; they are no siblings

        Raises DataError: files that cannot be read, no such subgroup, too few images of the target.
        """
        if self.broken:
            raise DataError("\n  ".join(shortened(faults(self.broken))))
        if any(isinstance(of, str) for of in (siblings, previous_targets)) or not isinstance(labels or "", str):
            raise DataError("Siblings and previous_targets are lists: write ['dog'], not 'dog'; labels is one label.")
        used, wanted = self.used, self._named(target)
        if siblings is None:
            own = used["label"][used["subgroup"] == wanted]
            others = [name for name in self.subgroups if name != wanted]
            siblings = sorted({*used["subgroup"][used["label"].isin(own)]} - {wanted}) or others
        subgroup = Subgroup(wanted, tuple(map(self._named, siblings)), plain(labels or ""))
        if (pictures := used[used["subgroup"] == wanted]["copy"].nunique()) < LEAST:
            raise DataError(f"{wanted!r} has {pictures} pictures that are no copies: {LEAST} are the least.")
        counts = self.counts()
        for what, names in {"target": [wanted], "siblings": [*subgroup.siblings]}.items():
            if empty := [part for part in PARTS if not counts.loc[names, part].sum()]:
                raise DataError(f"No image of the {what} ({listed(names)}) is in the part {empty[0]}: add some.")
        coarse = used["subgroup"].isin([wanted, *subgroup.siblings]) & bool(subgroup.family)
        names = used["label"].mask(coarse, subgroup.family)
        classes = tuple(dict.fromkeys([*sorted(set(names)), *(CIFAR10 if names.nunique() == 1 else ())]))
        parts = {part: self.part(part, names, classes) for part in PARTS}
        groups = {part: used["subgroup"][used["part"] == part].to_numpy(str) for part in PARTS}
        return Grouped(parts, subgroup, groups, previous_targets=tuple(map(self._named, previous_targets or ())))

    def _named(self, name: str) -> str:
        """The subgroup of that name, as people write it; raises DataError with the choices."""
        if not isinstance(name, str) or plain(name) not in self.subgroups:
            raise DataError(f"{self.path} has no subgroup {name!r}. Choose one of: {listed(self.subgroups)}.")
        return plain(name)


def shortened(said: list[str], n: int = 5) -> list[str]:
    """The first n + 1 sentences, and how many more there are."""
    return said if len(said) <= n + 1 else [*said[: n + 1], f"... and {len(said) - n - 1} more such lines."]


def scan(path: str | Path, size, seed: int = 0, near: bool = True) -> Folder:
    """Read every picture of a folder or CSV once, find copies, and divide what you have not divided.

    size: the model that is to see them, or a side in pixels; near: see `copies.copy_groups`
    seed: an image's part depends on it and the file's name (`reading.divide`), or its folder's where a class has more
          folders than names of files, as `object_017/left.jpg`; copies go with the first of them

    Raises DataError where there is nothing to look at, or a layout or CSV that cannot be understood.
    """
    path = Path(path).expanduser()
    listed_in = path if path.is_file() else only_csv(path)
    rows, passed, notes = from_csv(listed_in) if listed_in else from_folder(path)
    rows = pd.DataFrame(rows, columns=["file", "label", "subgroup", "given"], dtype=object)
    images = files_for(size, rows["file"])
    keep, good, broken, digests, thumbs, pixels = np.prod(images.shape) <= IN_MEMORY, [], [], [], [], []
    for row, image in enumerate(images.each("read")):
        if isinstance(image, DataError):
            broken.append(str(image))
            continue
        good.append(row)
        digests.append(hashlib.sha256(image.tobytes()).digest())
        thumbs.append(thumbnail(image))
        pixels += [image] if keep else []
    if not good:
        raise DataError("\n  ".join([f"None of the {len(rows)} images in {path} can be read:", *shortened(broken)]))
    images = images.select(good)
    images.pixels = np.stack(pixels) if keep else None
    rows = rows.iloc[good].reset_index(drop=True).assign(copy=copy_groups(digests, np.array(thumbs), near))
    rows["unit"], together = _units(rows, path if path.is_dir() else path.parent)
    if together:
        notes.append(f"The files of {listed(together, 5)} have one name in many folders: a folder stays in one part.")
    notes += _unseen(images)
    return Folder(path, images, _divided(rows, seed), tuple(broken), passed, tuple(notes))


def _unseen(images: ImageFiles) -> list[str]:
    """Sentences on what files show and the model will not see: later pictures, and the ends of long ones."""
    several = long = 0
    for file in images.files:
        with contextlib.suppress(OSError, EOFError, SyntaxError, ValueError), Image.open(file) as image:
            long += images.how[3] == "shortest" and max(image.size) > 2 * min(image.size)
            several += getattr(image, "n_frames", 1) > 1
    notes = {
        f"{several} files hold several pictures (frames, pages): only the first is read.": several,
        f"{long} images are more than twice as long as wide: the model sees only the middle.": long,
    }
    return [note for note, n in notes.items() if n]


def _units(rows: pd.DataFrame, root: Path) -> tuple[pd.Series, list[str]]:
    """(N,) what stays in one part, a file's name or its folder's path, and the subgroups of which it is the folder."""
    of = lambda part: pd.Series([part(file) for file in rows["file"]], dtype=object)  # also of names not in UTF-8
    names, folders = of(os.path.basename), of(lambda file: os.path.relpath(os.path.dirname(file), root))
    group = [rows["subgroup"], rows["given"]]
    together = folders.groupby(group).transform("nunique") > names.groupby(group).transform("nunique")
    units = [folder.replace(os.sep, "|") if whole else name for whole, folder, name in zip(together, folders, names)]
    return pd.Series(units, dtype=object), sorted(set(rows["subgroup"][together]))


def _divided(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows with their `part` and whether they are `dropped`; the parts given are kept, copies stay together."""
    given, stated = rows["given"], set(rows["given"])
    if "validation" in stated and "test" not in stated:
        given = given.replace("validation", "test")
    # Copies in two parts of the user's: the later part keeps its own, the others are left out.
    strength = given.map(STRENGTH)
    strongest = strength.groupby(rows["copy"]).transform("max")
    dropped = (strength < strongest) & (strength > 0)
    given = strongest.map({value: name for name, value in STRENGTH.items()})
    lacking = [part for part in PARTS if part not in set(given)]
    shares = {"": list(SHARES)}
    if {"validation", "test"} <= set(given) and "calibration" in lacking:
        shares["validation"], lacking = [0, 0.5, 0.5, 0], [part for part in lacking if part != "calibration"]
    of_train = [share if part == "train" or part in lacking else 0 for part, share in zip(PARTS, SHARES)]
    shares["train"] = [share / sum(of_train) for share in of_train]
    part_of: dict[int, str] = {}
    for (_, part), group in rows.assign(given=given).groupby(["subgroup", "given"], sort=True):
        waiting = sorted(((unit, copy) for unit, copy in zip(group["unit"], group["copy"]) if copy not in part_of))
        unit_of = {copy: unit for unit, copy in reversed(waiting)}  # the first of each group of copies
        units = sorted({*unit_of.values()})
        divided = divide(units, shares[part], seed) if part in shares else {part: units}
        part_with = {unit: name for name, units in divided.items() for unit in units}
        part_of |= {copy: part_with[unit] for copy, unit in unit_of.items()}
    return rows.assign(part=rows["copy"].map(part_of), dropped=dropped)
