"""The layouts of your own pictures, folders (in parts or not) or a CSV, as rows (file, label, subgroup, part)."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from forgetkit.data.images import PARTS, DataError, listed
from forgetkit.data.reading import SUFFIXES, plain

PART_OF = {
    "train": "train", "training": "train", "calib": "calibration", "calibration": "calibration", "val": "validation",
    "valid": "validation", "validation": "validation", "dev": "validation", "eval": "validation", "test": "test",
    "testing": "test",
}  # fmt: skip
PART_OF |= {f"{name}{end}": part for name, part in PART_OF.items() for end in ("_set", "-set", " set", "set")}
PART_COLUMNS = ("part", "split", "subset", "set", "fold", "partition")  # of a CSV: the first of them that is there
# Folders that a system or a program of pictures puts beside yours: thumbnails, and what was thrown away.
SYSTEM = {"@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs",
          "thumbnails"}  # fmt: skip
Rows = list[tuple[str, str, str, str]]  # file, label, subgroup, and the part or ""


def from_folder(path: Path) -> tuple[Rows, Counter[str], list[str]]:
    """(file, label, subgroup, part) of every image below a folder, what is passed over, and what else is to be said."""
    if not path.is_dir():
        raise DataError(f"There is no folder or CSV {path}.")
    found, passed = [], Counter()
    for file, below in _walk(path, passed):
        suffix = os.path.splitext(file)[1].lower()
        if suffix not in SUFFIXES:
            passed[f"with the suffix {suffix}" if suffix else "without a suffix"] += 1
        elif not below:
            passed["beside the class folders"] += 1
        elif os.path.exists(file) and not os.path.isfile(file):
            passed["no regular files"] += 1
        else:
            found.append((file, below))
    while found and len({below[0] for _, below in found}) == 1 and min(len(below) for _, below in found) > 1:
        found = [(file, below[1:]) for file, below in found]  # an archive often unpacks into one folder
    if not found:
        raise DataError(f"{path} has no class folders with images; expected {path / 'cat' / '001.jpg'}, and so on.")
    at = _depth_of_parts([below for _, below in found])
    rows, names, above, beside = [], [], {}, set()
    for file, below in found:
        part = PART_OF.get(below[at].lower(), "") if at is not None and len(below) > at else ""
        if part:
            below = (*below[:at], *below[at + 1 :])
            while at == 0 and len(below) > 1 and PART_OF.get(below[0].lower()) == part:
                below = below[1:]  # `training/training/class`, as archives have it
        if not below or (at == 0 and below[0].lower() in PART_OF):
            passed["in a part, but in no class folder"] += 1
            continue
        names.append(below[0])
        if at == 0 and not part:
            beside.add(below[0])
        if len(below) > 1:
            above.setdefault(below[1], set()).add(below[0])
        rows.append((file, plain(below[0]), plain(below[0]), part))
    if not rows:
        raise DataError(
            f"The {len(found)} images in {path} lie in parts, but in no class folder: expected"
            f" {Path(found[0][0]).parent / 'cat' / os.path.basename(found[0][0])}, and so on."
        )
    notes = _merged(names)
    if beside:
        notes.append(f"Beside the parts stands {listed(sorted(beside), 5)}, taken for a class: is it one?")
    if several := sorted(name for name, tops in above.items() if len(tops) > 1):
        tops = sorted(set.union(*(above[name] for name in several)))
        if len(several) > 1 and len(tops) == len(set(names)) and len(rows) > 4 * sum(map(len, above.values())):
            notes.append(
                f"The classes are the outer folders ({listed(tops, 3)}), and each has the same folders in it"
                f" ({listed(several, 3)}). If those are your classes, name them in a CSV (image,label,subgroup)."
            )
    return rows, passed, notes


def _merged(names: Iterable[str]) -> list[str]:
    """A sentence where names as written become one; raises DataError for one that a card or a page cannot show."""
    written: dict[str, set[str]] = {}
    for name in sorted(set(names)):
        if (shown := name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")) != name:
            raise DataError(f"The name {shown!r} is not in UTF-8, as the card of a model needs it: rename it.")
        if {*name} & {*"<>"}:
            raise DataError(f"{name!r} has < or > in it, which a page takes for markup: name this class in words.")
        written.setdefault(plain(name), set()).add(name)
    return [f"{' and '.join(sorted(of))} are read as one." for of in written.values() if len(of) > 1]


def _walk(path: Path, passed: Counter[str]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """(file, names of the folders from `path` to it), sorted; hidden ones left out, links followed, circles not."""
    closed = lambda error: passed.update([f"folder that cannot be opened ({error.filename})"])
    seen: set[str] = set()
    for base, folders, names in os.walk(path, followlinks=True, onerror=closed):
        real = os.path.realpath(base)
        passed.update(f"folders of a system ({f})" for f in folders if f.lower() in SYSTEM)
        visible = (f for f in folders if not f.startswith((".", "__")) and f.lower() not in SYSTEM)
        folders[:] = [] if real in seen else sorted(visible)
        if real in seen:
            passed["links to folders that are read already"] += 1
            continue
        seen.add(real)
        if not folders and not names:
            passed["empty folders"] += 1
        below = Path(base).relative_to(path).parts
        yield from ((os.path.join(base, name), below) for name in sorted(names) if name[0] != ".")


def _depth_of_parts(folders: list[tuple[str, ...]]) -> int | None:
    """0 for `train/class`, 1 for `class/train`, None where no folders are parts; a class may be called "train"."""
    for depth in (0, 1):
        names = [below[depth].lower() if len(below) > depth else "" for below in folders]
        parts = {name for name in names if name in PART_OF}
        if len(parts) > 1 or (parts and len(parts) == len(set(names))):
            return depth
    return None


def only_csv(path: Path) -> Path | None:
    """The CSV of a folder that has no folders of its own."""
    if not path.is_dir() or any(f.is_dir() and f.name[0] not in "._" for f in path.iterdir()):
        return None
    found = [*path.glob("*.csv")]
    return found[0] if len(found) == 1 else None


def from_csv(path: Path) -> tuple[Rows, Counter[str], list[str]]:
    """(file, label, subgroup, part) of every row, what is to be said; raises DataError for columns without sense."""
    try:
        heading = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        mark = max(",;\t", key=heading.count)
        with warnings.catch_warnings(category=pd.errors.ParserWarning, action="error"):  # rows longer than the heading
            table = pd.read_csv(path, sep=mark, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path} cannot be read as a CSV in UTF-8 ({' '.join(str(error).split())[:120]}).") from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    if "image" not in table or not {"label", "subgroup"} & set(table.columns):
        raise DataError(f"{path} needs the columns image,label,subgroup[,part], and has: {', '.join(table.columns)}.")
    table = table.fillna("").apply(lambda column: column.str.strip())
    label = table.get("label", table.get("subgroup"))
    subgroup = table.get("subgroup", label)
    said = next((name for name in PART_COLUMNS if name in table), None)
    parts = table[said].str.lower() if said else pd.Series("", table.index)
    if table.empty:
        raise DataError(f"{path}: it has no rows.")
    if unknown := sorted(set(parts) - {"", *PART_OF}):
        raise DataError(
            f"{path}: the {said} {unknown[0]!r} is none of {', '.join(PARTS)}: rename the column where it says no part."
        )
    if empty := [str(i + 2) for i in table.index[(table["image"] == "") | (label == "") | (subgroup == "")]]:
        raise DataError(f"{path}: a value is missing in line {', '.join(empty[:5])}.")
    unread = [name for name in table.columns if name not in ("image", "label", "subgroup", said)]
    notes = [f"Columns that are not read: {listed(unread)}."] if unread else []
    notes += [note for column in (label, subgroup) for note in _merged(column) if note not in notes]
    files = [path.parent / Path(name).expanduser() for name in table["image"]]
    files = [str(file) if file.exists() else str(file).replace("\\", os.sep) for file in files]  # as Windows has them
    return list(zip(files, map(plain, label), map(plain, subgroup), parts.map({"": "", **PART_OF}))), Counter(), notes
