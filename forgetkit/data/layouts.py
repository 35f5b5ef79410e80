"""The layouts of your own pictures, folders (in parts or not) or a CSV, as rows (file, label, subgroup, part)."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from forgetkit.data.images import PARTS, DataError, listed
from forgetkit.data.reading import SUFFIXES, plain

NAMES = {"train": "train training", "calibration": "calib calibration", "validation": "val valid validation dev eval",
         "test": "test testing"}  # fmt: skip
PART_OF = {f"{name}{end}": part for end in ("", "_set", "-set", " set", "set")
           for part, names in NAMES.items() for name in names.split()}  # fmt: skip
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
        if (suffix := os.path.splitext(file)[1].lower()) not in SUFFIXES:
            itself = " (name the file itself to read it)" if suffix == ".csv" else ""
            passed[f"with the suffix {suffix}{itself}" if suffix else "without a suffix"] += 1
        elif not below:
            passed["beside the class folders"] += 1
        elif os.path.exists(file) and not os.path.isfile(file):
            passed["no regular files"] += 1
        else:
            found.append((file, below))
    notes = []
    while found and len({below[0] for _, below in found}) == 1 and min(len(below) for _, below in found) > 1:
        if (outer := found[0][1][0]).lower() in PART_OF:
            notes = [f"All images are in the folder {outer}: they are divided among all four parts."]
        found = [(file, below[1:]) for file, below in found]  # an archive often unpacks into one folder
    if not found:
        raise DataError(f"{path} has no class folders with images; expected {path / 'cat' / '001.jpg'}, and so on.")
    at = _depth_of_parts([below for _, below in found])
    rows: list[tuple[str, tuple[str, ...], str]] = []  # file, class folder and those below it, part
    parts: list[tuple[str, str]] = []  # as written, and as they are read
    for file, below in found:
        part = PART_OF.get(below[at].lower(), "") if at is not None and len(below) > at else ""
        parts.append((below[at] if part else "", part))
        if part:
            below = (*below[:at], *below[at + 1 :])
            while at == 0 and len(below) > 1 and PART_OF.get(below[0].lower()) == part:
                below = below[1:]  # `training/training/class`, as archives have it
        if below and not (at == 0 and below[0].lower() in PART_OF):
            rows.append((file, below, part))
        else:
            passed["in a part, but in no class folder"] += 1
    if not rows:
        expected = os.path.join(os.path.dirname(found[0][0]), "cat", "001.jpg")
        raise DataError(f"The images in {path} lie in parts, but in no class folder: expected {expected}, and so on.")
    names = {below[0] for _, below, _ in rows}
    notes += [*_merged(names), *_of_parts(parts)]
    if beside := sorted({below[0] for _, below, part in rows if at == 0 and not part}):
        notes.append(f"Beside the parts stands {listed(beside, 5)}, taken for a class: is it one?")
    nested = {below[:2] for _, below, _ in rows if len(below) > 1}
    several = sorted(name for name, n in Counter(inner for _, inner in nested).items() if n > 1)
    tops = sorted({top for top, inner in nested if inner in several})
    if len(several) > 1 and len(tops) == len(names) and len(rows) > 4 * len(nested):
        notes.append(
            f"The classes are the outer folders ({listed(tops, 3)}), and each has the same folders in it"
            f" ({listed(several, 3)}). If those are your classes, name them in a CSV (image,label,subgroup)."
        )
    return [(file, plain(below[0]), plain(below[0]), part) for file, below, part in rows], passed, notes


def _merged(names: Iterable[str]) -> list[str]:
    """A sentence where names as written become one; raises DataError for one that cannot be read or shown."""
    names = sorted(set(names))
    for name in names:
        if (shown := name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")) != name:
            raise DataError(f"The name {shown!r} is not in UTF-8, as the card of a model needs it: rename it.")
        if {*name} & {*"<>"}:
            raise DataError(f"{name!r} has < or > in it, which a page takes for markup: name this class in words.")
        if not plain(name):
            raise DataError(f"The class name {name!r} has no letters or digits: rename it.")
    written = _written((name, plain(name)) for name in names)
    return [f"{' and '.join(of)} are read as one." for of in written.values() if len(of) > 1]


def _written(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The names as written, sorted, by what they are read as; pairs of both."""
    found: dict[str, list[str]] = {}
    for name, read in sorted({*pairs}):
        found.setdefault(read, []).append(name)
    return found


def _of_parts(parts: list[tuple[str, str]]) -> list[str]:
    """Sentences on an image's part as written and as read, "" for none: what is read as one, or as another."""
    written = _written(parts)
    notes = [f"The parts {' and '.join(of)} are read as one, {part}." for part, of in written.items() if len(of) > 1]
    if "validation" in written and "test" not in written:
        notes.append(f"There is no test part: {' and '.join(written['validation'])} is used as the test.")
    if (none := sum(not part for _, part in parts)) and none < len(parts):
        notes.append(f"{none} images are in none of your parts: they are divided among all four.")
    return notes


def images_in(path: Path, depth: int) -> dict[tuple[str, ...], list[str]]:
    """The image files in each folder that lies so deep below `path`, by the names of the folders to it; all sorted."""
    found: dict[tuple[str, ...], list[str]] = {}
    for file, below in _walk(path, Counter()):
        if len(below) == depth and os.path.splitext(file)[1].lower() in SUFFIXES:
            found.setdefault(below, []).append(file)
    return found


def _walk(path: Path, passed: Counter[str]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """(file, names of the folders from `path` to it), sorted; links followed, circles and hidden ones not."""
    closed = lambda error: passed.update([f"folder that cannot be opened ({error.filename})"])
    seen: set[str] = set()
    for base, folders, names in os.walk(path, followlinks=True, onerror=closed):
        if (real := os.path.realpath(base)) in seen:
            passed["links to folders that are read already"] += 1
            folders.clear()
            continue
        seen.add(real)
        passed.update([] if folders or names else ["empty folders"])
        unread = sorted(f for f in folders if f.startswith((".", "__")) or f.lower() in SYSTEM)
        passed.update(f"{'folders of a system' if f.lower() in SYSTEM else 'hidden folders'} ({f})" for f in unread)
        folders[:] = sorted({*folders} - {*unread})
        passed.update("hidden files" for f in names if f[0] == "." and os.path.splitext(f)[1].lower() in SUFFIXES)
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
    table.columns = table.columns.str.strip().str.lower()
    if "image" not in table or not {"label", "subgroup"} & set(table.columns):
        raise DataError(f"{path} needs the columns image,label,subgroup[,part], and has: {', '.join(table.columns)}.")
    if table.empty:
        raise DataError(f"{path}: it has no rows.")
    table = table.fillna("").apply(lambda column: column.str.strip())
    label = table.get("label", table.get("subgroup"))
    subgroup = table.get("subgroup", label)
    said = next((name for name in PART_COLUMNS if name in table), None)
    written = table[said] if said else pd.Series("", table.index)
    parts = written.str.lower().map({"": "", **PART_OF})
    if unknown := sorted(set(written[parts.isna()])):
        raise DataError(f"{path}: the {said} {unknown[0]!r} is none of {', '.join(PARTS)}: rename it, or the column.")
    if empty := [str(i + 2) for i in table.index[(table["image"] == "") | (label == "") | (subgroup == "")]]:
        raise DataError(f"{path}: a value is missing in line {', '.join(empty[:5])}.")
    unread = [name for name in table.columns if name not in ("image", "label", "subgroup", said)]
    notes = [f"Columns that are not read: {listed(unread)}."] if unread else []
    notes += [note for column in (label, subgroup) for note in _merged(column) if note not in notes]
    notes += _of_parts([*zip(written, parts)])
    files = [path.parent / Path(name).expanduser() for name in table["image"]]
    files = [str(file) if file.exists() else str(file).replace("\\", os.sep) for file in files]  # as Windows has them
    return list(zip(files, map(plain, label), map(plain, subgroup), parts)), Counter(), notes
