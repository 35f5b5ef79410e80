"""A run's folder: where it is, what its result says, and what the run really loaded.

That is each file from outside the environment that it read, imported or had other programs run. Python's own audit
events tell, in the process that runs the user's code and its forks; a notebook's kernel takes this module as an
extension of IPython. Not seen is what a library opens beside Python (memory maps), or another program.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import shlex
import signal
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import source_from_cache
from pathlib import Path

RESULT, TABLE, LOG = "result.json", "table.csv", "log.txt"
LOADED, NOTES = "loaded.json", ".opened"  # {file: hash of its content}, and, while the run goes on, what it opens
OPENED = "FORGETKIT_OPENED"  # environment variable: the path of these notes, for a kernel
VERSIONS = ("forgetkit", "open_clip_torch", "torch", "numpy")  # of what a result depends on
MARK = ".sweep"  # in a sweep's folder: the locks of its runs
# What the table says of each run, beside its parameters.
COLUMNS = ("run", "task", "status", "error", "seconds", "peak_mb", "commit", "source", "versions")
SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr/lib", "/usr/share", "/usr/bin", "/usr/sbin", "/lib", "/bin", "/sbin")
KEPT = (".cache", ".config", ".ipython", ".jupyter", ".local", ".matplotlib", ".nv")  # below the home folder
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")


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
    there = (run for run in root.glob(f"*-{job['key']}") if run.is_dir() and not run.is_symlink())
    return next(there, root / job["name"])


def file_name(text: str) -> str:
    """A text as a name of a file that every system and locale can write, at most 100 bytes long."""
    return re.sub(r"[^\w.=+-]+", "_", text, flags=re.A)[:100].strip("_-.") or "unnamed"


def read(folder: Path) -> dict | None:
    """The result in a run's folder; None while there is none. A file that is no result is one, which is "damaged"."""
    empty = dict.fromkeys((*COLUMNS, "ended"))
    try:
        text = json.dumps(json.loads((folder / RESULT).read_text(encoding="utf-8")), ensure_ascii=False)
        result = json.loads(text.encode(errors="replace"))  # which UTF-8 can write
        said = (result["parameters"], result.get("versions") or {})
        if result["status"] in ("done", "failed") and all(isinstance(part, dict) for part in said):
            return empty | result
        error = f"{RESULT} says neither done nor failed, or has no parameters"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as failure:
        error = f"{RESULT} cannot be read ({failure!r})"
    return empty | {"status": "damaged", "error": error, "parameters": {}}


def finished(job: dict, folder: Path) -> dict | None:
    """The result of a run that has been done; None while it has not, or not anew."""
    result = read(folder)
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


@functools.cache
def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}


def commit_of(folder: Path) -> str | None:
    """The commit of the repository that holds `folder`, with "-dirty" where files differ from it; None without one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def death(code: int) -> str:
    """What an exit status says, as a sentence."""
    why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return f"The process ended with {why}{' (was there enough memory?)' if code == -9 else ''}."


def watch(notes: str) -> None:
    """From here on, this process notes each file once, as it opens it: a line [written to?, path, when changed]."""
    noted = set()

    def note(written: bool, path: str | bytes, folder: str | None = None) -> None:
        path = os.path.abspath(os.path.join(folder or "", os.fsdecode(path)))
        path = source_from_cache(path) if path.endswith(".pyc") else path
        if (written, path) not in noted and path != notes:
            noted.add((written, path))
            when = os.stat(path).st_mtime_ns if os.path.isfile(path) else None
            with open(notes, "a", encoding="utf-8") as file:
                file.write(json.dumps((written, path, when)) + "\n")

    def hook(event: str, args: tuple) -> None:
        with suppress(Exception):  # nothing here may end a run
            if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
                note(bool((args[2] or 0) & (os.O_WRONLY | os.O_RDWR)), args[0])
            elif event == "import" and args[1]:
                note(False, args[1])
            elif event in PROGRAMS:
                folder = args[2] if event == "subprocess.Popen" else None
                parts = [part for one in args[:2] for part in (one if isinstance(one, list | tuple) else [one]) if part]
                for word in (word for part in map(os.fsdecode, parts) for word in (part, *shlex.split(part))):
                    note(False, word, folder)  # whether it is a file, or not

    sys.addaudithook(hook)


def load_ipython_extension(shell) -> None:
    """What IPython calls in a kernel."""
    watch(os.environ[OPENED])


def keep(run: Path, home: Path) -> None:
    """Leave the hash of each file that was read, but for the environment's, the sweep's, and what the run wrote.

    The environment is the machine, what is installed, which versions stand for, and what programs keep.
    """
    written, read = set(), {}
    with suppress(OSError):
        for line in (run / NOTES).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # half a line, of a process that was killed
                writes, path, when = json.loads(line)
                written.add(path) if writes else read.setdefault(path, when)
    installed = [path for name, path in sysconfig.get_paths().items() if name != "data"] + site.getsitepackages()
    installed += [site.getusersitepackages(), os.environ.get("FORGETKIT_CACHE"), Path(__file__).parent]
    installed += [sys.prefix] if sys.prefix != sys.base_prefix else []
    kept = [os.path.join(os.path.expanduser("~"), name) for name in KEPT]
    places = tuple(f"{place}{os.sep}" for place in (*installed, *SYSTEM, *kept, run.parent) if place)
    found = {}
    for path in sorted(read.keys() - written):
        if not path.startswith(places) and (digest := file_hash(path)):
            name = os.path.relpath(path, home) if Path(path).is_relative_to(home.parent) else path  # both may move
            found[name] = digest if os.stat(path).st_mtime_ns == read[path] else None  # changed while the run went on
    (run / LOADED).write_text(json.dumps(found, indent=1), encoding="utf-8")
    (run / NOTES).unlink(missing_ok=True)


def changed(run: Path, home: Path, hashed: Callable[[str], str | None]) -> list[str]:
    """The files that a run loaded and whose hash is another now; none for a run of an older version."""
    with suppress(OSError, ValueError):
        found = json.loads((run / LOADED).read_text(encoding="utf-8"))
        return [name for name, digest in found.items() if hashed(os.path.join(home, name)) != digest]
    return []


def file_hash(path: str) -> str | None:
    """The SHA-256 of a file's content, 16 hex digits; None where there is none."""
    with suppress(OSError):
        if os.path.isfile(path):  # a pipe would wait for its other end
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
