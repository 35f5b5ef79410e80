"""Runs of a sweep, each in a process of its own: `python -m forgetkit.batch.worker` reads jobs from standard input.

This process guards one run after the other: it holds a lock, forks a process for the run, writes down what became of
it, and ends whatever it has left. It runs no code of the user's, so it can always end the run: when that takes longer
than it may, and when its own standard input closes, which is when whoever started it stops, or dies in any way.
"""

from __future__ import annotations

import csv
import ctypes
import fcntl
import importlib
import json
import logging
import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from forgetkit.batch import record
from forgetkit.batch.notebook import execute
from forgetkit.batch.task import source_of

FORK = multiprocessing.get_context("fork")  # what this process has imported, no run imports again
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda option, value: None


def main() -> None:
    """Guard the jobs that come on standard input, a line each, and answer each with a line: what `guard` returns."""
    PRCTL(36, 1)  # PR_SET_CHILD_SUBREAPER: what leaves the run's tree, as a daemon does, becomes its child
    if cache := os.environ.get("FORGETKIT_CACHE"):  # a notebook runs in its own folder
        os.environ["FORGETKIT_CACHE"] = os.path.abspath(os.path.expanduser(cache))
    for line in sys.stdin.buffer:
        try:
            answer = guard(json.loads(line))
        except OSError as error:  # the disk is full, or the sweep's folder is not there any more
            answer = {"status": "lost", "error": str(error)}
        print(json.dumps(answer), flush=True)


def guard(job: dict) -> dict | None:
    """The result of a job, which is done here unless it has been; None where another guard has it in hand."""
    (locks := Path(job["root"]) / record.MARK).mkdir(exist_ok=True)
    with (locks / f"{job['key']}.lock").open("wb") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system frees it when this process dies
        except BlockingIOError:
            time.sleep(1)
            return None
        if not record.finished(job, folder := record.folder_of(job)):
            if folder.is_symlink():  # made since the sweep began
                folder.unlink()
            (folder / record.RESULT).unlink(missing_ok=True)  # first: a folder that is half empty holds no result
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            record.write(folder, _result(job, folder))
        return record.read(folder)


def _result(job: dict, folder: Path) -> dict:
    """What became of a job that is done in an empty folder."""
    clock, found, peak = time.monotonic(), {}, 0
    file = Path(job["file"])
    home = file.parent
    try:
        if job["notebook"]:  # what is hashed is what is executed, whatever becomes of the file meanwhile
            file = shutil.copyfile(file, folder / file.name)
        found = {"source": source_of(file, job["notebook"]), "commit": record.commit_of(home)}
        failure, peak = _process(job, file, folder)
        _end_children()
        record.keep(folder, home)
    except (OSError, ValueError) as error:
        failure = _failure(error)
    return {
        "task": job["task"], "parameters": job["parameters"], "status": "failed" if failure else "done", **found,
        "seconds": round(time.monotonic() - clock, 2), "peak_mb": round(peak / 1e6), "ended": time.time(),
        "versions": record.versions(), **failure,
    }  # fmt: skip


def _process(job: dict, file: Path, folder: Path) -> tuple[dict, int]:
    """Do the job in a process of its own: what went wrong, or an empty dict, and the most bytes of memory it held."""
    for name in ("papermill", "ipykernel.kernelspec") if job["notebook"] else ():
        importlib.import_module(name)  # once for all runs: it takes longer than a short one
    limit = job["timeout"]["run"] or math.inf
    end = time.monotonic() + limit
    outcome, tell = FORK.Pipe(duplex=False)
    process = FORK.Process(target=work, args=(job, file, folder, tell, os.getpid()))
    process.start()
    tell.close()
    peak = sum(_below().values())
    while process.is_alive() and not outcome.poll():
        peak = max(peak, sum(_below().values()))
        if time.monotonic() > end:
            return {"error": f"The run took longer than {limit:g} s (`timeout`)."}, peak
        if 0 in wait([0, outcome], 0.2):  # no job comes during a run: it is the end of whoever started this
            _end_children()
            os._exit(1)
    process.join(10)  # threads that the run has left do not keep it
    with suppress(EOFError):
        if outcome.poll():
            return outcome.recv(), peak
    return {"error": record.death(process.exitcode)}, peak


def _end_children() -> None:
    """Kill what runs below this process, again as long as it starts new processes, for at most five seconds."""
    until = time.monotonic() + 5
    while (left := _below()) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=0.1)
    with suppress(ChildProcessError):  # what has ended by itself
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _below() -> dict:
    """The living processes below this one, as psutil has them, and the bytes of memory that each holds."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process] = process.memory_info().rss
    return found


def _failure(error: BaseException) -> dict:
    text, name, message, where = "".join(traceback.format_exception(error)), type(error).__name__, str(error), {}
    if hasattr(error, "ename"):  # papermill's: raised by the notebook's own code
        name, message, where = error.ename, error.evalue, {"cell": error.exec_count, "code": error.source}
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    return {**where, "error": f"{name}: {' '.join(message.split())}"[:500], "traceback": text[-20_000:]}


def work(job: dict, file: Path, folder: Path, tell: Connection, guard: int) -> None:
    """Execute the notebook, or call the function and keep what it returns as a table; tell what went wrong."""
    PRCTL(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with its guard, whatever it is doing
    if os.getppid() != guard:
        return
    try:
        log = (folder / record.LOG).open("wb")
    except OSError as error:  # the folder has been moved or removed
        return tell.send(_failure(error))
    with log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("papermill").setLevel(logging.INFO)
    notes, failure = str(folder / record.NOTES), {}
    given = job["given"] | ({"out": str(folder) if job["notebook"] else folder} if job["out"] else {})
    try:
        if job["notebook"]:
            os.environ[record.OPENED] = notes
            execute(file, file, given, Path(job["file"]).parent, job["timeout"]["cell"], log=sys.stderr)
        else:
            module, _, name = job["task"].partition(":")
            record.watch(notes)
            _keep(getattr(importlib.import_module(module), name)(**given), folder / record.TABLE)
    except BaseException as error:  # a function may raise SystemExit
        failure = _failure(error)
        print(failure["traceback"], file=sys.stderr)
    tell.send(failure)


def _keep(rows: Any, path: Path) -> None:
    """Write what a function returned, a data frame, dicts or nothing, as a table."""
    if hasattr(rows, "to_csv"):
        rows.to_csv(path, index=False)
    elif rows is not None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, dict.fromkeys(column for row in rows for column in row))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
