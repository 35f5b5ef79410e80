"""A run's folder: where it is, what its result says, who holds it, and a hash of the code that it executes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock

from forgetkit.batch.notebook import code_of

RESULT, TABLE, LOG = "result.json", "table.csv", "log.txt"
MARK = ".sweep"  # in a sweep's folder: the locks of its runs, and a sign that the folder is a sweep's
COLUMNS = ("run", "task", "status", "error", "seconds", "peak_mb", "commit", "source")  # columns that each run has
PACKAGE = Path(__file__).resolve().parent.parent
IMPORTS = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)[\w.]*[ \t]+import\b|import[ \t]+([^\n#;]+))", re.M)


def is_sweep(folder: Path) -> bool:
    """Is this the folder of a sweep, so that its tables may be written anew?"""
    return (folder / MARK).is_dir() or any((run / RESULT).is_file() for run in runs_in(folder))


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs in a sweep's folder."""
    return sorted(run for run in folder.glob("*-*") if re.search(r"-[0-9a-f]{10}$", run.name) and run.is_dir())


def folder_of(job: dict) -> Path:
    """Where the run is, or is to be: one that began under another name goes on there."""
    root = Path(job["root"])
    return next((run for run in root.glob(f"*-{job['key']}") if run.is_dir()), root / f"{job['name']}-{job['key']}")


def file_name(text: str) -> str:
    """A text as a name of a file that every system and locale can write, at most 100 bytes long."""
    return re.sub(r"[^\w.=+-]+", "_", text, flags=re.A)[:100].strip("_-.") or "unnamed"


def read(folder: Path) -> dict | None:
    """The result in a run's folder, with None for what an older version did not write; None while there is no result.

    Raises ValueError for a file that is no result.
    """
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        if result["status"] in ("done", "failed") and isinstance(result["parameters"], dict):
            return {**dict.fromkeys((*COLUMNS, "ended")), **result}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{RESULT} cannot be read ({error!r})") from None
    raise ValueError(f"{RESULT} says neither done nor failed, or has no parameters")


def finished(job: dict) -> dict | None:
    """The result of a run that has been done; None while it has not, or not anew. Raises ValueError as `read` does."""
    result = read(folder_of(job))
    return result if result and result["ended"] != job["redo"] else None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to, put in the place of `path` at the end: a reader sees a whole file, or the one before."""
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


def lock(root: Path, job: dict, seconds: float) -> AcquireReturnProxy:
    """Hold the run's lock within a `with`; raises filelock.Timeout if another process keeps holding it.

    The system frees it when a process dies.
    """
    (root / MARK).mkdir(exist_ok=True)
    return FileLock(root / MARK / f"{job['key']}.lock").acquire(timeout=seconds)


def fingerprint(code: str, folder: Path) -> str:
    """Hash of code and of all modules that it imports from `folder`, beside it, or from forgetkit: 16 hex digits.

    What is installed counts for one module only, not for what this one imports.
    """
    found, seen, todo = {"": code.encode(errors="replace")}, set(), [code]
    installed = str(folder) in sysconfig.get_paths().values()
    while todo:
        for one, several in IMPORTS.findall(todo.pop()):
            for name in [one] if one else re.findall(r"(?:^|,)\s*(\w+)", several):
                home = PACKAGE.parent if name == PACKAGE.name else folder
                inside = (home / name).rglob("*.py") if any((home / name).glob("*.py")) else ()
                for file in (home / f"{name}.py", *inside) if name not in seen else ():
                    with suppress(OSError):
                        found[f"{name}/{file.relative_to(home)}"] = text = file.read_bytes()
                        todo += [] if installed or name == PACKAGE.name else [text.decode(errors="replace")]
                seen.add(name)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]


def code_of_task(notebook: str | Path | None, function: str | None) -> tuple[str, Path]:
    """The code of a notebook, or one that imports a function's package, and the folder it stands in.

    Raises ValueError where there is none.
    """
    if notebook:
        return code_of(notebook), Path(notebook).parent
    top = re.split("[.:]", function)[0]
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise ValueError(f"There is no module {top} with a file of its own.")
    file = Path(spec.origin)
    return f"import {top}", file.parent.parent if spec.submodule_search_locations else file.parent


def commit_of(folder: Path) -> str | None:
    """The commit of the repository that holds `folder`, with "-dirty" where files differ from it; None without one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def death(code: int) -> str:
    """What an exit status says, as a sentence."""
    name = next((s.name for s in signal.Signals if s == -code), -code)
    why = f"signal {name}" if code < 0 else f"exit status {code}"
    return f"The process ended with {why}{' (was there enough memory?)' if code == -9 else ''}."
