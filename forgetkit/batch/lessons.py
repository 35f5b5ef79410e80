"""A reader's own copy of the lessons: brought up to date, and never over what the reader has changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import forgetkit
from forgetkit.batch.record import whole

LESSONS = (  # what a reader's copy has
    "notebooks/*.ipynb", "notebooks/solutions/*.ipynb", "notebooks/sweeps/*.*", "docs/*.md", "docs/figures/*.png",
    "docs/results/*.*",
)  # fmt: skip
RECORD = ".copied.json"  # in a copy: the SHA-256 of each file as it was copied


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_files(home: Path, folder: Path, files: Iterable[str]) -> tuple[list[str], list[str]]:
    """Copy `files`, paths below `home`, to the same paths below `folder`; what is the same already is left alone.

    Returns the files that were copied, and those that were kept because the reader has changed them. A file that is
    still as it was copied gives way to a newer one; any other that differs is the reader's. Nothing is deleted.
    Raises ValueError where a folder cannot be written.
    """
    record, copied, kept = folder / RECORD, [], []
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        known = known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        known = {}  # then every file that differs counts as the reader's
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(files):
            mine, theirs = home / name, folder / name
            new, old = sha256(mine), sha256(theirs) if theirs.exists() else None
            if old not in (None, new, known.get(name)):
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
    names = [path.relative_to(forgetkit.HOME).as_posix() for path in files]
    copied, kept = copy_files(forgetkit.HOME, folder, names)
    lines = [f"Kept as you changed it: {name}" for name in kept]
    return "\n".join([f"{len(copied)} of {len(names)} files copied to {folder}.", *lines])


def open_lab(folder: Path, options: Sequence[str] = ()) -> int:
    """Open lesson 00 of a copy in JupyterLab, until it ends; returns its exit status. options: of JupyterLab."""
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", *options]
    server = subprocess.Popen([*command, "notebooks/00_quickstart.ipynb"], cwd=folder)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is JupyterLab's, which asks whether to stop
    try:
        return server.wait()
    finally:
        signal.signal(signal.SIGINT, before)
