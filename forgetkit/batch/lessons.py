"""A reader's own copy of the lessons: brought up to date, and never over what the reader has changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import forgetkit
from forgetkit.batch.record import whole

# What a reader's copy has: lessons, solutions, sweeps, and the pages that they lead to.
LESSONS = ("notebooks/*.ipynb", "notebooks/s*/*.*", "docs/*.md", "docs/figures/*.png", "docs/results/*.*")
RECORD = ".copied.json"  # in a copy: the SHA-256 of each file as it was copied


def copy_files(home: Path, folder: Path, files: Iterable[str]) -> tuple[list[str], list[str]]:
    """Copy `files`, paths below `home`, below `folder`: which were copied, and which kept, as the reader changed them.

    A file that is still as it was copied gives way to a newer one. Raises ValueError where a folder cannot be written.
    """
    record, copied, kept = folder / RECORD, [], []
    try:
        known = dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}  # then every file that differs counts as the reader's
    try:
        for name in sorted(files):
            mine, theirs = home / name, folder / name
            new, old = (path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() for path in (mine, theirs))
            if old not in (False, new, known.get(name)):
                kept.append(name)
                continue
            if old != new:
                theirs.parent.mkdir(parents=True, exist_ok=True)
                with whole(theirs) as half:
                    shutil.copyfile(mine, half)
                copied.append(name)
            known[name] = new
        record.write_text(json.dumps(known, indent=0), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{error.filename or folder} cannot be written ({error.strerror}): name another.") from None
    return copied, kept


def copy_lessons(folder: Path) -> str:
    """Copy notebooks and docs to a folder; returns what was done, in words. See `copy_files`."""
    if folder == forgetkit.HOME:
        return f"{folder} holds the lessons themselves."
    files = [path for pattern in LESSONS for path in forgetkit.HOME.glob(pattern) if path.is_file()]
    copied, kept = copy_files(forgetkit.HOME, folder, [path.relative_to(forgetkit.HOME).as_posix() for path in files])
    said = [f"{len(copied)} of {len(files)} files copied to {folder}."]
    return "\n".join(said + [f"Kept as you changed it: {name}" for name in kept])
