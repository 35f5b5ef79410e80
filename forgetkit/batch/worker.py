"""One run of a sweep, in processes of its own: `python -m forgetkit.batch.worker` reads the job from standard input.

This process is the run's guard: it holds a lock, has the run done in a process of its own, writes down what became of
it, and ends whatever it has left. It runs no code of the user's, so it can always end the run: when that takes longer
than it may, and when its own standard input closes, which is when whoever started it stops, or dies in any way.
"""

from __future__ import annotations

import csv
import ctypes
import importlib
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

from forgetkit.batch import record
from forgetkit.batch.notebook import execute, source_of

OUTCOME = ".outcome.json"  # in a run's folder: what the process that runs the user's code tells its guard
BUSY = 75  # exit status: another process has this run in hand
_last_word = threading.Lock()  # either the result is written, or the run is being ended


def main() -> int:
    """Guard the job that stands on standard input; the exit status is `BUSY` where another guard has it."""
    from filelock import FileLock, Timeout  # such packages take longer to import than the process of a short run has

    job = json.loads(sys.stdin.buffer.readline())
    if cache := os.environ.get("FORGETKIT_CACHE"):  # the run may work in another folder
        os.environ["FORGETKIT_CACHE"] = os.path.abspath(os.path.expanduser(cache))
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what leaves the run's tree, as a daemon does, becomes its child
    threading.Thread(target=_end_with_parent, daemon=True).start()
    (locks := Path(job["root"]) / record.MARK).mkdir(exist_ok=True)
    try:
        with FileLock(locks / f"{job['key']}.lock", timeout=2):  # which the system frees when this process dies
            if not record.finished(job):  # by another sweep, while this one waited
                _guard(job, record.folder_of(job))
    except Timeout:
        return BUSY
    return 0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _end_with_parent() -> None:
    """Wait for the end of standard input, which is the parent's; then no result is written: it would say "failed"."""
    os.read(0, 1)
    with _last_word:
        _end_children()
        os._exit(1)


def _end_children() -> None:
    """Kill what runs below this process, again as long as it starts new processes, for at most five seconds."""
    import psutil

    until = time.monotonic() + 5
    while (left := _below()) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=0.1)


def _below() -> dict:
    """The living processes below this one, as psutil has them, and the bytes of memory that each holds."""
    import psutil

    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process] = process.memory_info().rss
    return found


def _guard(job: dict, folder: Path) -> None:
    """Have the job done in its emptied folder, and leave its result there."""
    if folder.is_symlink():  # made since the sweep began
        folder.unlink()
    (folder / record.RESULT).unlink(missing_ok=True)  # first: a folder that is half empty holds no result
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    started, clock, found, peak = time.time(), time.monotonic(), {}, 0
    file = Path(job["file"])
    home = file.parent
    try:
        if job["notebook"]:  # what is hashed is what is executed, whatever becomes of the file meanwhile
            file = shutil.copyfile(file, folder / file.name)
        found = {"source": source_of(file, job["notebook"]), "commit": record.commit_of(home)}
        failure, peak = _process({**job, "copy": file, "folder": folder, "guard": os.getpid()})
        _end_children()
        record.keep(folder, home)
    except (OSError, ValueError) as error:
        failure = _failure(error)
    result = {
        "task": job["task"], "parameters": job["parameters"], "status": "failed" if failure else "done", **found,
        "seconds": round(time.monotonic() - clock, 2), "peak_mb": round(peak / 1e6), "started": started,
        "ended": time.time(), "versions": record.versions(), **failure,
    }  # fmt: skip
    with _last_word:
        record.write(folder, result)


def _process(job: dict) -> tuple[dict, int]:
    """Do the job in a process of its own: what went wrong, or an empty dict, and the most bytes of memory it held."""
    limit, outcome, peak = job["timeout"].get("run", math.inf), job["folder"] / OUTCOME, 0
    end = time.monotonic() + limit
    with (job["folder"] / record.LOG).open("wb") as log:
        command = [sys.executable, "-m", "forgetkit.batch.worker", "run"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    with suppress(OSError), process.stdin as stdin:  # it may have ended
        stdin.write(json.dumps(job, default=str).encode())
    while process.poll() is None:
        peak = max(peak, sum(_below().values()))
        if time.monotonic() > end:
            return {"error": f"The run took longer than {limit:g} s (`timeout`)."}, peak
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    try:
        return json.loads(outcome.read_text(encoding="utf-8")), peak
    except (OSError, ValueError):
        return {"error": record.death(process.returncode)}, peak
    finally:
        outcome.unlink(missing_ok=True)


def _failure(error: BaseException) -> dict:
    text, name, message, where = "".join(traceback.format_exception(error)), type(error).__name__, str(error), {}
    if hasattr(error, "ename"):  # papermill's: raised by the notebook's own code
        name, message, where = error.ename, error.evalue, {"cell": error.exec_count, "code": error.source}
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    return {**where, "error": f"{name}: {' '.join(message.split())}"[:500], "traceback": text[-20_000:]}


def work() -> None:
    """Do the job that stands on standard input, and say in `OUTCOME` what went wrong."""
    job = json.loads(sys.stdin.buffer.read())
    _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with its guard, whatever it is doing
    if os.getppid() != job["guard"]:
        return
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("papermill").setLevel(logging.INFO)
    failure = {}
    try:
        _do(job)
    except BaseException as error:  # a function may raise SystemExit
        failure = _failure(error)
        print(failure["traceback"], file=sys.stderr)
    record.write(Path(job["folder"]), failure, OUTCOME)
    last = threading.Timer(10, os._exit, [0])  # threads that the run has left do not keep it
    last.daemon = True
    last.start()


def _do(job: dict) -> None:
    """Execute the notebook, or call the function and keep what it returns as a table."""
    folder, notes = Path(job["folder"]), os.path.join(job["folder"], record.NOTES)
    if job["notebook"]:
        os.environ[record.OPENED] = notes
        given, home = job["given"] | ({"out": job["folder"]} if job["out"] else {}), Path(job["file"]).parent
        execute(job["copy"], job["copy"], given, home, job["timeout"].get("cell"), log=sys.stderr)
        return
    module, _, name = job["task"].partition(":")
    record.watch(notes)
    rows = getattr(importlib.import_module(module), name)(**job["given"], **({"out": folder} if job["out"] else {}))
    if hasattr(rows, "to_csv"):  # a data frame
        rows.to_csv(folder / record.TABLE, index=False)
    elif rows is not None:
        with (folder / record.TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, dict.fromkeys(column for row in rows for column in row))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    work() if sys.argv[1:] == ["run"] else sys.exit(main())
