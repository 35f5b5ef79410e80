"""Where runs are done: processes of this machine, or anything with the interface of `concurrent.futures.Executor`."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import psutil
from tqdm.auto import tqdm

from forgetkit.batch import worker as jobs

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GB_A_RUN = 4  # free memory that each worker should find
_mine = threading.local()


@contextmanager
def engine(executor: Executor | None, workers: int | None, threads: int | None, runs: int):
    """A function that submits a job; if this block is left early, what runs on this machine is ended."""
    jobs.stop(False)
    if executor is None:
        workers = workers or default_workers(runs)
        threads = threads or max(1, cores() // workers)
        if runs:
            tqdm.write(f"{workers} at a time, each with {threads} thread{'s' if threads > 1 else ''}.")
    env = dict.fromkeys(THREADS, str(threads)) if threads else {}
    # What another machine is to call is named where it can import it: this module may be __main__.
    pool, call = (executor, jobs.perform) if executor is not None else (_local(workers), _perform)
    try:
        yield lambda job: pool.submit(call, {**job, "env": {**job["env"], **env}})
    except BaseException:
        jobs.stop()
        raise
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)


def _perform(job: dict) -> tuple[str, str]:
    """`job.perform` with what is this thread's own."""
    return jobs.perform({**job, "env": {**job["env"], **getattr(_mine, "env", {})}})


def _local(workers: int) -> ThreadPoolExecutor:
    """Threads that wait for a process each; where there are several GPUs, each has its own."""
    cards, slots = gpus(), queue.SimpleQueue()
    for i in range(workers):
        slots.put({"CUDA_VISIBLE_DEVICES": cards[i % len(cards)]} if len(cards) > 1 else {})
    return ThreadPoolExecutor(workers, initializer=lambda: setattr(_mine, "env", slots.get()))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    return [str(i) for i, _ in enumerate(re.findall(r"^GPU \d+:", listed, re.M))]


def default_workers(runs: int) -> int:
    """One a GPU, or one a core where memory allows, and no more than there are runs."""
    room = int(psutil.virtual_memory().available / 1e9 / GB_A_RUN)
    return max(1, min(len(gpus()) or cores(), room, runs))
