"""The side that starts runs: which are still to do, where they are done, and what is told of them.

What is finished in the sweep's folder is not run again: the same command goes on where it was stopped, by whatever.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
from tqdm.auto import tqdm

from forgetkit.batch import record
from forgetkit.batch.spec import OUT, Check, Run, SweepError, load

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GB_A_RUN = 4  # free memory that each worker should find
ENVIRONMENT = {  # of a run
    "TQDM_DISABLE": "1", "TQDM_MININTERVAL": "60",  # some bars say themselves whether they show
    "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8",  # the last words of what is killed, in any locale
}  # fmt: skip
_guards: set[subprocess.Popen] = set()
_stopping = threading.Event()
_mine = threading.local()  # of a thread of ours: what its runs have in their environment, and the guard of them all


def run(
    spec: str | Path | Mapping, out: str | Path, executor: Executor | str | None = None, workers: int | None = None,
    threads: int | None = None, retry_failed: bool = False, changed: str = "stop", check: Check | None = None,
) -> Counter:  # fmt: skip
    """Do the runs of a sweep that are not finished in the folder `out`: how many are then of which status.

    A status is "done", "failed", "damaged" (done, but its table cannot be read) or "lost" (given up, still to do).

    spec, check: see `spec.load`
    executor:    where to run, or the address of a Dask scheduler; otherwise `workers` processes of `threads` threads
    changed:     what becomes of finished runs that executed other code: "stop" before anything starts, "keep", "rerun"

    Raises SweepError, before anything starts, for what is wrong with `spec` or `out`. Ctrl-C ends what runs.
    """
    from forgetkit.batch.table import describe, gather, write

    runs, out = load(spec, check=check), Path(out).resolve()
    todo, before = _todo(runs, out, retry_failed, changed)
    try:
        if out.is_dir() and any(out.iterdir()) and not record.is_sweep(out):
            raise SweepError([f"{out} holds files, and no sweep: name a new or an empty folder with --out."])
        (out / record.MARK).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # can it be written?
    except OSError as error:
        raise SweepError([f"{out} cannot be the sweep's folder: {error.strerror}."]) from None
    told = [f"{n} {status} before" for status, n in sorted(before.items())]
    tqdm.write(f"{len(runs)} runs: {', '.join([*told, f'{len(todo)} to do'])}.")
    lost = 0
    bar = tqdm(total=len(runs), initial=len(runs) - len(todo), unit="run") if todo else nullcontext()
    try:
        with bar, engine(executor, workers, threads, len(todo)) as submit:
            for job, found in _outcomes(todo, submit):
                lost += found["status"] == "lost"
                if found["status"] != "done":
                    tqdm.write(f"{found['status']}: {job['name']}: {found['error']}")
                bar.update()
    finally:
        if out.is_dir():
            write(table := gather(out), out)
    if not out.is_dir():
        raise FileNotFoundError(f"{out} was moved or removed while the sweep ran: name it with --out where it is now.")
    every = table.drop_duplicates("run")
    mine = every[every["run"].map(lambda name: name[-10:]).isin({run.key for run in runs})]
    others = len(every) - len(mine)
    tqdm.write(describe(mine) + (f"\nThe table also has {others} other runs of this folder." if others else ""))
    return +Counter(mine["status"], lost=lost)


def _todo(runs: list[Run], out: Path, retry_failed: bool, changed: str) -> tuple[list[dict], Counter]:
    """The jobs still to do, as JSON, and how many of the other runs have which status."""
    there = {folder.name[-10:]: folder for folder in record.runs_in(out)}
    now, hashed = record.versions(), functools.cache(record.file_hash)
    todo, before, other, older = [], Counter(), Counter(), Counter()
    for run in runs:
        task, folder, files = run.task, there.get(run.key), []
        found = record.read(folder) if folder else None
        if found and found["status"] == "done":
            files = [task.name] if found["source"] != task.source else []
            files += record.changed(folder, task.file.parent, hashed)
            other.update(files)
        again = {"done": files and changed == "rerun", "failed": retry_failed, "damaged": True}
        if found and not again[found["status"]]:
            before[found["status"]] += 1
            then = now | (found["versions"] or {})
            older.update(f"{name} {then[name]}, now {now[name]}" for name in now if then[name] != now[name])
            continue
        name = record.file_name(f"{task.name.rpartition(':')[2]} {run.label}")
        todo.append({
            "root": str(out), "name": f"{name}-{run.key}", "key": run.key,
            "task": task.name, "file": str(task.file), "notebook": task.is_notebook,
            "given": run.given, "parameters": run.parameters, "out": OUT in task.parameters, "timeout": run.timeout,
            "redo": found and found["ended"], "cwd": os.getcwd(),
        })  # fmt: skip
    if other and changed == "stop":
        which = ", ".join(f"{name} ({n} runs)" for name, n in other.most_common(5)) + (", …" if len(other) > 5 else "")
        raise SweepError([
            f"The code, or what it loaded, has changed since runs in {os.path.relpath(out)} were finished: {which}. "
            f"Choose another --out, or --changed rerun, or --changed keep to have both in one table."
        ])  # fmt: skip
    for what, n in older.items():
        tqdm.write(f"{n} of the finished runs had another version: {what}.")
    return todo, before


def _outcomes(todo: list[dict], submit: Callable[[dict], Future]) -> Iterator[tuple[dict, dict]]:
    """(job, result) of each job, as they end; what other sweeps have in hand comes again later."""
    while todo:
        futures, todo = {submit(job): job for job in todo}, []
        for future in as_completed(futures):
            job = futures[future]
            try:
                result = future.result()
            except Exception as failure:  # the engine gave it up; the next sweep tries again
                error = f"{type(failure).__name__}: {failure}".rstrip(": ")
                result = record.finished(job, record.folder_of(job)) or {"status": "lost", "error": error}
            if result is None:
                todo.append(job)
            else:
                yield job, result


@contextmanager
def engine(executor: Executor | str | None, workers: int | None, threads: int | None, runs: int):
    """A function that submits a job; as this block is left, what runs on this machine is ended.

    Without an executor, threads of this process wait for a process each: one a GPU, or one a core where memory allows,
    and no more than there are runs.
    """
    _stopping.clear()
    cards, turn = gpus(), itertools.count()
    if executor is None:
        room = int(psutil.virtual_memory().available / 1e9 / GB_A_RUN)
        workers = workers or max(1, min(len(cards) or cores(), room, runs))
        threads = threads or max(1, cores() // workers)
        if runs:
            tqdm.write(f"{workers} at a time, each with {threads} thread{'s' if threads > 1 else ''}.")
    elif isinstance(executor, str) and not threads and runs:
        tqdm.write("Dask has its workers compute on one thread: with --threads each run has more of a machine's cores.")
    env = ENVIRONMENT | (dict.fromkeys(THREADS, str(threads)) if threads else {})
    card = lambda: {"CUDA_VISIBLE_DEVICES": cards[next(turn) % len(cards)]} if len(cards) > 1 else {}
    ours = lambda: ThreadPoolExecutor(workers, initializer=lambda: setattr(_mine, "env", card()))

    def submit(job: dict) -> Future:
        try:
            return pool.submit(perform, {**job, "env": env})
        except Exception as failure:  # the engine takes none
            (lost := Future()).set_exception(failure)
            return lost

    with _dask(executor) if isinstance(executor, str) else nullcontext(executor or ours()) as pool:
        try:
            yield submit
        finally:
            _stopping.set()
            for guard in list(_guards):
                guard.stdin.close()
            if executor is None:
                pool.shutdown(cancel_futures=True)
            while _guards:
                _guards.pop().wait()


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    """The executor of the Dask cluster whose scheduler has this address; raises SweepError where there is none."""
    try:
        from distributed import Client

        # Once it is imported, which sets its own levels: what it says of a lost scheduler, we say.
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        client = Client(address, timeout="10s", set_as_default=False)
    except ImportError:
        raise SweepError(['--dask needs the package distributed: pip install "forgetkit[cluster]".']) from None
    except (OSError, ValueError) as error:
        raise SweepError([f"There is no Dask scheduler at {address} ({error})."]) from None
    with client:
        yield client.get_executor(pure=False)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    with suppress(OSError, subprocess.CalledProcessError):
        asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return []


def perform(job: dict) -> dict | None:
    """Do one run, wherever this is called, and wait for its result; None where another sweep does it.

    `job` is what `_todo` makes. Raises OSError for a run that is not finished.
    """
    if not Path(job["root"]).is_dir():
        raise FileNotFoundError(f"{job['root']} is not there: all machines of a sweep must see its folder.")
    if not (guard := vars(_mine).pop("guard", None)):
        command = [sys.executable, "-m", "forgetkit.batch.worker"]
        env = {**os.environ, **job["env"], **getattr(_mine, "env", {})}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        guard = subprocess.Popen(command, cwd=job["cwd"], env=env, start_new_session=True, **pipes)
        _guards.add(guard)
    with suppress(OSError, ValueError):  # it has ended, or is to end
        guard.stdin.write(json.dumps(job, default=str).encode() + b"\n")
    if _stopping.is_set():
        guard.stdin.close()
    if (answer := guard.stdout.readline()) and hasattr(_mine, "env"):
        _mine.guard = guard
    else:
        guard.stdin.close()
        guard.wait()
        _guards.discard(guard)
    if not answer:
        with suppress(OSError):
            os.killpg(guard.pid, signal.SIGKILL)
        raise ChildProcessError(record.death(guard.returncode))
    return json.loads(answer)
