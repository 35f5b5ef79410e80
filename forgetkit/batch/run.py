"""Many runs: `python -m forgetkit.batch.run sweep.yaml --out runs/sweep`, then `... summary runs/sweep` (see `--help`).

The YAML file is described in `forgetkit.batch.spec`, a run's folder in `forgetkit.batch.worker`, the table in `forgetkit.batch.table`.
What is finished in the folder is not run again, so the same command goes on where it was stopped, by whatever.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path

from tqdm.auto import tqdm

from forgetkit.batch import worker as jobs
from forgetkit.batch import table as results
from forgetkit.batch.engines import engine
from forgetkit.batch.spec import OUT, Run, SweepError, load


def run(
    spec: str | Path | Mapping, out: str | Path, executor: Executor | None = None, workers: int | None = None,
    threads: int | None = None, retry_failed: bool = False, changed: str = "stop",
) -> Counter:  # fmt: skip
    """Do the runs of a sweep that are not finished in the folder `out`: how many are "done" and "failed" then.

    spec:     a YAML file, or a mapping of the same form
    executor: where to run; unless given, `workers` processes of this machine, of `threads` threads each
    changed:  what becomes of finished runs whose notebook has other code now: "stop" before anything starts,
              "keep" them, or "rerun" them

    Raises SweepError, before anything starts, for whatever is wrong with `spec`. Ctrl-C ends what runs; what is
    finished stays.
    """
    runs, out = load(spec), Path(out).resolve()
    todo, status = _todo(runs, out, retry_failed, changed)
    out.mkdir(parents=True, exist_ok=True)
    before = [f"{n} {what} before" for what, n in sorted(status.items())]
    tqdm.write(f"{len(runs)} runs: {', '.join([*before, f'{len(todo)} to do'])}.")
    for name in sorted({r.task.name for r in runs if r.task.notebook and OUT not in r.task.parameters}):
        tqdm.write(f"{name} has no parameter `{OUT}`: its runs leave no table.")
    bar = tqdm(total=len(runs), initial=len(runs) - len(todo), unit="run", disable=not todo)
    try:
        with bar, engine(executor, workers, threads, len(todo)) as submit:
            for job, what, error in _outcomes(todo, submit):
                status[what] += 1
                if what == "failed":
                    tqdm.write(f"failed: {job['name']}-{job['key']}: {error}")
                    bar.set_postfix(failed=status["failed"], refresh=False)
                bar.update()
    finally:
        results.gather(out, write=True)
    return status


def _todo(runs: list[Run], out: Path, retry_failed: bool, changed: str) -> tuple[list[dict], Counter]:
    """The jobs still to do, and how many runs have which status already."""
    there = {folder.name.rpartition("-")[2]: folder for folder in out.glob("*-*")}
    todo, status, other = [], Counter(), Counter()
    for run in runs:
        found = jobs.read(there[run.key]) if run.key in there else None
        redo = found and found["status"] == "failed" and retry_failed
        if found and found["status"] == "done" and found["source"] != run.task.source:
            other[run.task.name] += 1
            redo = changed == "rerun"
        if found and not redo:
            status[found["status"]] += 1
        else:
            todo.append(_job(run, out, found))
    if other and changed == "stop":
        which = ", ".join(f"{n} of {name}" for name, n in other.items())
        raise SweepError([
            f"The code has changed since runs in {os.path.relpath(out)} were finished ({which}): choose another --out, "
            f"or --changed rerun, or --changed keep to have both in one table."
        ])  # fmt: skip
    return todo, status


def _job(run: Run, out: Path, found: dict | None) -> dict:
    """What `job.perform` is handed, as JSON."""
    task = run.task
    name = re.sub(r"[^\w.=+-]+", "_", f"{task.name.rpartition(':')[2]} {run.label}")[:100].strip("_")
    return {
        "root": str(out), "name": name, "key": run.key, "task": task.name, "notebook": task.notebook,
        "function": task.function, "given": run.given, "parameters": run.parameters, "out": OUT in task.parameters,
        "source": task.source, "commit": task.commit, "redo": found and found["ended"], "cwd": os.getcwd(),
        "env": {"TQDM_DISABLE": "1", "TQDM_MININTERVAL": "60"},  # some bars say themselves whether they show
    }  # fmt: skip


def _outcomes(todo: list[dict], submit: Callable[[dict], Future]) -> Iterator[tuple[dict, str, str]]:
    """(job, status, error) of each job, as they end; one that another sweep has in hand is looked at again later."""
    ended: queue.SimpleQueue[tuple[dict, Future]] = queue.SimpleQueue()

    def give(job: dict) -> None:
        submit(job).add_done_callback(lambda future: ended.put((job, future)))

    for job in todo:
        give(job)
    left = len(todo)
    while left:
        job, future = ended.get()
        try:
            what, error = future.result()
        except Exception as failure:  # the engine's: it stands in no folder, so the next sweep tries again
            what, error = "failed", f"{type(failure).__name__}: {failure}"
        if what == "busy":
            give(job)
        else:
            left -= 1
            yield job, what, error


# --------------------------------------------------------------------------------------------------
# Command line


def sweep(spec: Path, out: Path, dask: str | None, **settings) -> int:
    """Do the runs of a sweep; the exit status is 0 if all are done, 1 if some failed, 2 if nothing was started."""
    if dask is None:
        status = run(spec, out, **settings)
    else:
        try:
            from distributed import Client
        except ImportError:
            raise SweepError(['--dask needs the package distributed: pip install "forgetkit[cluster]".']) from None
        load(spec)  # a mistake is told before a cluster is asked
        try:
            client = Client(dask, timeout="10s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise SweepError([f"There is no Dask scheduler at {dask} ({error})."]) from None
        with client:
            status = run(spec, out, client.get_executor(pure=False), **settings)
    print(f"{status['done']} done, {status['failed']} failed; the table is {os.path.relpath(out / results.CSV)}.")
    if status["failed"]:
        print("Each failed run's folder has the error (result.json) and, of a notebook, the cell that raised it;")
        print("the same command with --retry-failed runs them again.")
    return 1 if status["failed"] else 0


def summary(folder: Path, by: list[str] | None, values: list[str] | None, figures: bool) -> int:
    """Print mean ± spread (standard deviation) of the values in a sweep's table, and draw them."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    table = results.gather(folder, write=True)
    print(results.describe(table))
    by, values = results.columns(table, by, values)
    print(results.summarise(table, by, values).to_string())
    if figures:
        for path in results.draw(table, by, values, folder / "figures"):
            print(os.path.relpath(path))
    return 0


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["summary"]:
        parser = argparse.ArgumentParser(prog="python -m forgetkit.batch.run summary", description=summary.__doc__)
        parser.add_argument("folder", type=Path)
        parser.add_argument("--by", nargs="+", metavar="COLUMN", help="parameters that vary, except seed, unless named")
        parser.add_argument("--values", nargs="+", metavar="COLUMN", help="numbers of the runs' tables, unless named")
        parser.add_argument("--no-figures", dest="figures", action="store_false")
        command, args = summary, vars(parser.parse_args(argv[1:]))
    else:
        parser = argparse.ArgumentParser(
            prog="python -m forgetkit.batch.run", description=sweep.__doc__,
            epilog="`python -m forgetkit.batch.run summary FOLDER` tells what came out.",
        )  # fmt: skip
        parser.add_argument("spec", type=Path, metavar="sweep.yaml")
        parser.add_argument("--out", type=Path, required=True, help="the sweep's folder, one subfolder a run")
        parser.add_argument("--workers", type=int, help="runs at a time: one a GPU, or a core, unless given")
        parser.add_argument("--threads", type=int, help="threads of each run: cores / workers, unless given")
        parser.add_argument("--dask", metavar="tcp://HOST:PORT", help="run on a Dask cluster instead of this machine")
        parser.add_argument("--retry-failed", action="store_true", help="run what failed before again")
        parser.add_argument("--changed", choices=("stop", "keep", "rerun"), default="stop",
                            help="finished runs of a notebook with other code: stop, keep or rerun them")  # fmt: skip
        command, args = sweep, vars(parser.parse_args(argv))
    try:
        sys.exit(command(**args))
    except ValueError as error:
        print(f"forgetkit: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. What is finished stays; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
