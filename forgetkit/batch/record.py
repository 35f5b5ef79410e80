"""A run's folder: where it is, what its result says, and who holds it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forgetkit.batch.notebook import code_of

RESULT, TABLE, LOG = "result.json", "table.csv", "log.txt"
VERSIONS = ("forgetkit", "open_clip_torch", "torch", "numpy")  # of what a result depends on
MARK = ".sweep"  # in a sweep's folder: the locks of its runs
# What the table says of each run, beside its parameters.
COLUMNS = ("run", "task", "status", "error", "seconds", "peak_mb", "commit", "source", "versions")


def is_sweep(folder: Path) -> bool:
    """Is this the folder of a sweep?"""
    return (folder / MARK).is_dir() or any((run / RESULT).is_file() for run in runs_in(folder))


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs in a sweep's folder; raises ValueError for a link, which is not followed."""
    found = sorted(run for run in folder.glob("*-*") if re.search(r"-[0-9a-f]{10}$", run.name))
    if links := [path for path in (folder / MARK, *found) if path.is_symlink()]:
        raise ValueError(f"{links[0]} is a link, which leads out of the sweep's folder: put there what it means.")
    return [run for run in found if run.is_dir()]


def folder_of(job: dict) -> Path:
    """Where the run is, or is to be: one that began under another name goes on there."""
    root = Path(job["root"])
    return next(filter(Path.is_dir, root.glob(f"*-{job['key']}")), root / f"{job['name']}-{job['key']}")


def file_name(text: str) -> str:
    """A text as a name of a file that every system and locale can write, at most 100 bytes long."""
    return re.sub(r"[^\w.=+-]+", "_", text, flags=re.A)[:100].strip("_-.") or "unnamed"


def read(folder: Path) -> dict | None:
    """The result in a run's folder; None while there is none. A file that is no result is one, which is "damaged"."""
    empty = dict.fromkeys((*COLUMNS, "ended"))
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        said = (result["parameters"], result.get("versions") or {})
        if result["status"] in ("done", "failed") and all(isinstance(part, dict) for part in said):
            return empty | result
        error = f"{RESULT} says neither done nor failed, or has no parameters"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as failure:
        error = f"{RESULT} cannot be read ({failure!r})"
    return empty | {"status": "damaged", "error": error, "parameters": {}}


def finished(job: dict) -> dict | None:
    """The result of a run that has been done; None while it has not, or not anew."""
    result = read(folder_of(job))
    return result if result and result["status"] != "damaged" and result["ended"] != job["redo"] else None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` at the end: nobody reads half a file."""
    half = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield half
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def write(folder: Path, result: dict, name: str = RESULT) -> None:
    """Put the result in its place, whole, after everything else in the folder."""
    with whole(folder / name) as half, half.open("w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())


def source_of(file: Path, is_notebook: bool) -> str:
    """A hash of a notebook's code, or of a module's file; raises OSError or ValueError where there is none."""
    code = code_of(file).encode(errors="replace") if is_notebook else file.read_bytes()
    return hashlib.sha256(code).hexdigest()[:16]


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}


def commit_of(folder: Path) -> str | None:
    """The commit of the repository that holds `folder`, with "-dirty" where files differ from it; None without one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def death(code: int) -> str:
    """What an exit status says, as a sentence."""
    name = next((s.name for s in signal.Signals if s == -code), -code)
    why = f"signal {name}" if code < 0 else f"exit status {code}"
    return f"The process ended with {why}{' (was there enough memory?)' if code == -9 else ''}."
