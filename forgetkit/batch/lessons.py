"""A reader's own copy of the lessons: brought up to date, and never over what the reader has changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import forgetkit
from forgetkit.batch.record import whole

# What a reader's copy has: lessons, solutions, sweeps, and the pages that they lead to.
LESSONS = ("notebooks/*.ipynb", "notebooks/s*/*.*", "docs/*.md", "docs/figures/*.png", "docs/results/*.*")
RECORD = ".copied.json"  # in a copy: the SHA-256 of each file as it was copied


def copy_lessons(folder: Path, home: Path = forgetkit.HOME) -> str:
    """Copy notebooks and docs to a folder; returns what was done, in words.

    A file that is still as it was copied gives way to a newer one; any other that differs is the reader's, and kept.
    Raises ValueError where a folder cannot be written.
    """
    if folder == home:
        return f"{folder} holds the lessons themselves."
    files = sorted(path for pattern in LESSONS for path in home.glob(pattern) if path.is_file())
    record, copied, kept = folder / RECORD, 0, []
    try:
        known = dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}  # then every file that differs counts as the reader's
    try:
        for mine in files:
            theirs = folder / (name := mine.relative_to(home).as_posix())
            new, old = (path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() for path in (mine, theirs))
            if old not in (False, new, known.get(name)):
                kept.append(f"Kept as you changed it: {name}")
                continue
            if old != new:
                theirs.parent.mkdir(parents=True, exist_ok=True)
                with whole(theirs) as half:
                    shutil.copyfile(mine, half)
                copied += 1
            known[name] = new
        record.write_text(json.dumps(known, indent=0), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{error.filename or folder} cannot be written ({error.strerror}): name another.") from None
    return "\n".join([f"{copied} of {len(files)} files copied to {folder}.", *kept])
