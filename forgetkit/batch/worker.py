"""One run of a sweep, in a process of its own and a folder of its own.

`perform(job)` starts `python -m forgetkit.batch.worker`, hands it the job as a line of JSON, and waits. The process holds a
lock while it works, so that no other sweep does the same run, and it ends, its kernel with it, when its standard input
closes: that is when whoever started it stops, or dies in any way. A run has been finished, or has failed, once
`result.json` is in its folder, which takes one rename; whatever else lies there before that is of no account.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from filelock import AcquireReturnProxy, FileLock, Timeout

RESULT, TABLE, LOG = "result.json", "table.csv", "log.txt"
BUSY = 75  # exit status: another process has this run in hand
VERSIONS = ("forgetkit", "papermill", "numpy", "torch", "open_clip_torch")
_alive: set[subprocess.Popen] = set()
_stopping = threading.Event()
_last_word = threading.Lock()  # of the side that works: either its result is written, or it is being ended


def folder_of(root: Path, job: dict) -> Path:
    """Where the run is, or is to be: one that began under another name goes on there."""
    return next(root.glob(f"*-{job['key']}"), root / f"{job['name']}-{job['key']}")


def read(folder: Path) -> dict | None:
    """The result in a run's folder; None while there is none."""
    try:
        return json.loads((folder / RESULT).read_text())
    except (OSError, ValueError):
        return None


def write(folder: Path, result: dict) -> None:
    """Put the result in its place, whole, after everything else in the folder."""
    half = folder / f"{RESULT}.part"
    with half.open("w") as file:
        json.dump(result, file, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, folder / RESULT)


def lock(root: Path, job: dict, seconds: float) -> AcquireReturnProxy:
    """Hold the run's lock within a `with`; raises filelock.Timeout if another process keeps holding it.

    The system frees it when a process dies.
    """
    (root / ".locks").mkdir(exist_ok=True)
    return FileLock(root / ".locks" / f"{job['key']}.lock").acquire(timeout=seconds)


# --------------------------------------------------------------------------------------------------
# The side that waits


def perform(job: dict) -> tuple[str, str]:
    """Do one run, wherever this is called: (status, error), the status being done, failed, busy or stopped.

    job: `root`, `name`, `key`, `notebook` or `function`, `given`, `out`, `parameters`, `source`, `commit`; `env`, what
         is set in the environment; `cwd`; `redo`, the `ended` of a result that is to be replaced, or None
    """
    root = Path(job["root"])
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not there: a sweep on several machines needs a folder that all of them see."
        )
    if _stopping.is_set():
        return "stopped", ""
    started = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "forgetkit.batch.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, cwd=job["cwd"], env={**os.environ, **job["env"]}, start_new_session=True,
    )  # fmt: skip
    _alive.add(process)
    if _stopping.is_set():
        process.stdin.close()
    try:
        process.stdin.write(json.dumps(job, default=str).encode() + b"\n")
        process.stdin.flush()
    except (OSError, ValueError):  # it has ended, or is to end
        pass
    said = process.stdout.read().decode(errors="replace")  # only what comes before it has a log
    code = process.wait()
    _alive.discard(process)
    if _stopping.is_set() and code:
        return "stopped", ""
    if code == BUSY:
        return "busy", ""
    if code:
        _record_death(root, job, code, said, started)
    result = read(folder_of(root, job))
    return (result["status"], result.get("error", "")) if result else ("busy", "")


def stop(stopping: bool = True) -> None:
    """End all runs of this process, or, with False, allow runs again."""
    _stopping.set() if stopping else _stopping.clear()
    for process in list(_alive) if stopping else ():
        process.stdin.close()


def _record_death(root: Path, job: dict, code: int, said: str, started: float) -> None:
    """A run whose process ended without a word, as when memory runs out, has failed."""
    why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    hint = " (was there enough memory?)" if code == -9 else ""
    try:
        held = lock(root, job, 0)
    except Timeout:  # another sweep has it already
        return
    with held:
        folder = folder_of(root, job)
        folder.mkdir(exist_ok=True)
        if read(folder) is None:
            failure = {"status": "failed", "error": f"The process ended with {why}{hint}.", "traceback": said}
            write(folder, _note(job, started) | failure)


def _note(job: dict, started: float) -> dict:
    """What a result says whatever became of the run."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    ended = time.time()
    names = {key: job[key] for key in ("task", "parameters", "source", "commit")}
    return {
        **names, "seconds": round(ended - started, 2), "peak_mb": None, "started": started, "ended": ended,
        "versions": {"python": sys.version.split()[0], **found},
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------
# The side that works


def main() -> int:
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    root = Path(job["root"])
    try:
        held = lock(root, job, 2)
    except Timeout:
        return BUSY
    with held:
        folder = folder_of(root, job)
        before = read(folder)
        if before is None or before["ended"] == job["redo"]:
            _work(job, folder)
    return 0


def _end_with_parent() -> None:
    """Nothing more is written to standard input: it ends when the parent does.

    From here on no result is written: a kernel that is ended here would look like one that failed.
    """
    os.read(0, 1)
    with _last_word:
        _end_children()
        os._exit(1)


def _end_children() -> None:
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.Error:
            continue


def _work(job: dict, folder: Path) -> None:
    """Run the job in its emptied folder, and leave its result there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    with (folder / LOG).open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("papermill").setLevel(logging.INFO)
    started, failure = time.time(), {}
    with tree_memory() as memory:
        try:
            _notebook(job, folder) if job["notebook"] else _function(job, folder)
        except BaseException as error:  # a function may raise SystemExit
            failure = _failure(error, folder / f"{job['task']}.ipynb")
            print(failure["traceback"], file=sys.stderr)
    _end_children()
    status = {"status": "failed" if failure else "done"}
    with _last_word:
        write(folder, {**_note(job, started), "peak_mb": round(memory["MB"]), **status, **failure})


def _notebook(job: dict, folder: Path) -> None:
    # jsonschema checks URLs with it if it is there, notebooks need none checked, and its import takes a second.
    sys.modules.setdefault("rfc3987_syntax", None)
    from forgetkit.batch.notebook import execute

    out = {"out": str(folder)} if job["out"] else {}
    execute(job["notebook"], folder / f"{job['task']}.ipynb", {**job["given"], **out})


def _function(job: dict, folder: Path) -> None:
    module, _, name = job["function"].partition(":")
    out = {"out": folder} if job["out"] else {}
    rows = getattr(importlib.import_module(module), name)(**job["given"], **out)
    if rows is not None:
        import pandas as pd

        pd.DataFrame(rows).to_csv(folder / TABLE, index=False)


def _failure(error: BaseException, notebook: Path) -> dict:
    """What went wrong, and in a notebook, in which cell."""
    text = "".join(traceback.format_exception(error))
    name, message, found = type(error).__name__, str(error), {}
    if notebook.exists():
        for cell in json.loads(notebook.read_text())["cells"]:
            if cell["metadata"].get("papermill", {}).get("status") in ("running", "failed"):
                found = {"cell": cell["execution_count"], "code": "".join(cell["source"])}
    if hasattr(error, "ename"):  # papermill's: raised by the notebook's own code
        name, message = error.ename, error.evalue
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    return {"error": f"{name}: {' '.join(message.split())}"[:500], **found, "traceback": text[-20_000:]}


@contextmanager
def tree_memory(every: float = 0.2):
    """A dict whose "MB" is, after the block, the most that this process and its children held together."""
    found, me = {"MB": 0.0}, psutil.Process()

    def look() -> None:
        held = 0
        for process in (me, *me.children(recursive=True)):
            try:
                held += process.memory_info().rss
            except psutil.Error:
                continue
        found["MB"] = max(found["MB"], held / 1e6)

    with watched(look, every):
        yield found


@contextmanager
def watched(look: Callable[[], None], every: float):
    """Call `look` in a thread at once, then after every so many seconds until the block ends."""
    done = threading.Event()

    def watch() -> None:
        look()
        while not done.wait(every):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
