"""What a run really loaded: the files from outside the environment that it read, imported or had other programs run.

Python's own audit events tell, in the process that runs the user's code and its forks; a notebook's kernel takes this
module as an extension of IPython. Not seen is what a library opens beside Python (memory maps), or another program.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shlex
import site
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import source_from_cache
from pathlib import Path

LOADED = "loaded.json"  # in a run's folder: {file: hash of its content}
NOTES = ".opened"  # in a run's folder, while it runs: what it opens
OPENED = "FORGETKIT_OPENED"  # environment variable: the path of these notes, for a kernel
SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr/lib", "/usr/share", "/usr/bin", "/usr/sbin", "/lib", "/bin", "/sbin")
KEPT = (".cache", ".config", ".ipython", ".jupyter", ".local", ".matplotlib", ".nv")  # below the home folder
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")


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
                mode, flags = args[1] or "", args[2] or 0
                note(bool({*mode} & {*"wax+"}) or bool(flags & (os.O_WRONLY | os.O_RDWR)), args[0])
            elif event == "import" and args[1]:
                note(False, args[1])
            elif event in PROGRAMS:
                folder = args[2] if event == "subprocess.Popen" else None
                for word in _words(args[:2]):
                    if os.path.isfile(os.path.join(folder or "", word)):
                        note(False, word, folder)

    sys.addaudithook(hook)


def _words(args: Iterable) -> list[str]:
    """All words of a command, however deep in it."""
    found = []
    for one in args:
        if isinstance(one, str | bytes | os.PathLike):
            text = os.fsdecode(one)
            found += [text, *shlex.split(text)]
        elif isinstance(one, list | tuple):
            found += _words(one)
    return found


def load_ipython_extension(shell) -> None:
    """What IPython calls in a kernel."""
    watch(os.environ[OPENED])


def _environment() -> tuple[str, ...]:
    """Folders of the machine and of what is installed, which versions stand for, and of what programs keep."""
    installed = {path for name, path in sysconfig.get_paths().items() if name != "data"}
    installed |= {*site.getsitepackages(), site.getusersitepackages(), os.environ.get("FORGETKIT_CACHE", "")}
    installed |= {sys.prefix} if sys.prefix != sys.base_prefix else set()
    kept = [os.path.join(os.path.expanduser("~"), name) for name in KEPT]
    return tuple(f"{place}{os.sep}" for place in (*installed, *SYSTEM, *kept, Path(__file__).parent) if place)


def keep(run: Path, home: Path) -> None:
    """Leave the hash of each file that was read, but for the environment's, the sweep's, and what the run wrote."""
    written, read = set(), {}
    with suppress(OSError):
        for line in (run / NOTES).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # half a line, of a process that was killed
                writes, path, when = json.loads(line)
                written.add(path) if writes else read.setdefault(path, when)
    places, found = (*_environment(), f"{run.parent}{os.sep}"), {}
    for path in sorted(read.keys() - written):
        if not path.startswith(places) and (digest := file_hash(path)):
            name = os.path.relpath(path, home) if Path(path).is_relative_to(home.parent) else path  # both may move
            found[name] = digest if os.stat(path).st_mtime_ns == read[path] else None  # changed while the run went on
    (run / LOADED).write_text(json.dumps(found, indent=1), encoding="utf-8")
    (run / NOTES).unlink(missing_ok=True)


def changed(run: Path, home: Path) -> list[str]:
    """The files that a run loaded and that are others now, or gone; none for a run of an older version."""
    with suppress(OSError, ValueError):
        found = json.loads((run / LOADED).read_text(encoding="utf-8"))
        return [name for name, digest in found.items() if file_hash(os.path.join(home, name)) != digest]
    return []


@functools.lru_cache(maxsize=None)
def file_hash(path: str) -> str | None:
    """The SHA-256 of a file's content, 16 hex digits, looked at once in a process; None where there is none."""
    with suppress(OSError):
        if os.path.isfile(path):  # a pipe would wait for its other end
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
