"""Every row that the pages need, made anew where it lacks or is stale: `python -m benchmarks.results` (see `--help`).

One command for all of `studies.STUDIES`, a process a core with one thread each (on a GPU one process). Rows stand in
their files as soon as their run ends; what is killed goes on where it was. A row is stale where the code, the values
or the weights that it was made by have changed (`made_by`). Settings of the methods are not searched anew: they are
those that `benchmarks.benchmark` found.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path

import click
import torch
from tqdm import tqdm

from benchmarks.baselines import BASELINES
from benchmarks.rows import Rows
from benchmarks.studies import STUDIES
from forgetkit.batch.run import THREADS, cores
from forgetkit.lessons.committed import RESULTS
from forgetkit.models.clip import Clip, pick_device
from forgetkit.models.loading import load_clip

Run = tuple[str, dict]  # a study's name, and the values of its key
# Seconds of a run on one slow core, about: the order of the runs, and how much is left.
SECONDS = {"audit": 200, "requests": 60, "quickstart": 20, "sensitivity": 45}
BASELINE, RECIPE = 20, 45


def seconds(run: Run) -> int:
    study, names = run
    method = names.get("method")
    return SECONDS.get(study, BASELINE if method == "original" or method in BASELINES else RECIPE)


def missing(folder: Path, study: str, device: torch.device) -> tuple[Rows, list[dict]]:
    """The study's rows in the folder, and its runs that have none there or stale ones."""
    found = STUDIES[study]
    order = found.runs()
    rows = Rows(folder / f"{study}.csv", found.key, device, order)
    made = defaultdict(set)
    for key, by in zip(rows.keys(), rows.table.get("made_by", [None] * len(rows.table))):
        made[key].add(by)
    return rows, [run for run in order if made.get(tuple(run.values())) != {found.version(**run)}]


def by_sets(runs: list[Run]) -> list[list[Run]]:
    """The runs that share their images, one after another in one process; those that take longest together first."""
    groups = defaultdict(list)
    for study, names in runs:
        sets = (names.get("kind", study), names.get("subgroup", names.get("forget", names.get("method"))))
        groups[*sets, names.get("seed", 0)].append((study, names))
    return sorted(groups.values(), key=lambda group: -sum(map(seconds, group)))


@lru_cache(maxsize=1)
def model(device: str) -> Clip:
    return load_clip("mini", device=device)


def rows_of(device: str, study: str, names: dict) -> list[dict]:
    return STUDIES[study].compute(model(device), **names)


def worker() -> None:
    """What a process does first: one thread, and an end as soon as the process that started it has one."""
    torch.set_num_threads(1)
    threading.Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def each(
    groups: list[list[Run]], device: str, workers: int, end: float
) -> Iterator[tuple[Run, list[dict] | BaseException]]:
    """What every run gives, its rows or what it raised, as they end; none begins after `end` (`time.monotonic`).

    workers: processes, 0 for this one
    """
    if not workers:
        for run in itertools.takewhile(lambda _: time.monotonic() < end, itertools.chain(*groups)):
            try:
                yield run, rows_of(device, *run)
            except Exception as error:
                yield run, error
        return
    left, running = deque(map(deque, groups)), {}
    with ExitStack() as stack:
        os.environ.update(dict.fromkeys((*THREADS, "TQDM_DISABLE"), "1"))  # what a process reads when it starts

        def start() -> ProcessPoolExecutor:
            pool = ProcessPoolExecutor(1, get_context("spawn"), worker)
            stack.callback(pool.shutdown, cancel_futures=True)
            return pool

        def give(pool: ProcessPoolExecutor, group: deque[Run]) -> None:
            group = group or (left.popleft() if left else deque())
            if group and time.monotonic() < end:
                run = group.popleft()
                running[pool.submit(rows_of, device, *run)] = pool, group, run

        for _ in range(workers):
            give(start(), deque())
        while running:
            done: set[Future] = wait(running, return_when=FIRST_COMPLETED).done
            for future in done:
                pool, group, run = running.pop(future)
                error = future.exception()
                give(start() if isinstance(error, BrokenProcessPool) else pool, group)  # it was killed
                yield run, error or future.result()


def make(runs: list[Run], rows: dict[str, Rows], device: str, workers: int, minutes: float) -> list[str]:
    """Make the rows of these runs, in at most so many minutes; sentences on those that failed."""
    end, failed = time.monotonic() + 60 * minutes, []
    form = "{percentage:3.0f} %|{bar:30}| {elapsed} passed, {remaining} left{postfix}"
    with tqdm(total=sum(map(seconds, runs)), bar_format=form, smoothing=0) as bar:
        for i, (run, found) in enumerate(each(by_sets(runs), device, workers, end), 1):
            study, names = run
            if isinstance(found, Exception):
                failed.append(f"{study} {names}: {type(found).__name__}: {found}")
            else:
                by = STUDIES[study].version(**names)
                rows[study].add(*({**names, **row, "made_by": by} for row in found))
            told = " ".join(map(str, (study, *names.values())))
            bar.set_postfix_str(f"{i} of {len(runs)}: {told}" + f"; {len(failed)} failed" * bool(failed))
            bar.update(seconds(run))
    return failed


def tidy(rows: Rows, stale: list[dict]) -> int:
    """Drop stale rows and those of runs that nobody asks for, so that a file never mixes versions; how many."""
    old = {tuple(run.values()) for run in stale}
    kept = [row for key, row in zip(rows.keys(), rows.records()) if key in rows.order and key not in old]
    gone = len(rows.table) - len(kept)
    if gone:
        rows.keep(kept)
    return gone


@click.command(help=__doc__)
@click.option("--all", "everything", is_flag=True, help="what lies beyond the pages' rows, too: a night on two cores")
@click.option("--stale", is_flag=True, help="only say which rows lack or are stale, a file a line")
@click.option("--only", multiple=True, type=click.Choice([*STUDIES]), help="these files; repeat")
@click.option("--method", "methods", multiple=True, help="runs of these methods; repeat")
@click.option("--subgroup", "subgroups", multiple=True, help="runs of these subgroups; repeat")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps")
@click.option("--workers", type=click.IntRange(0), help="processes; default: a core each, on a GPU one")
@click.option("--minutes", default=float("inf"), help="begin nothing new after so many")
def main(everything, stale, only, methods, subgroups, folder, device, workers, minutes) -> None:
    where = pick_device(device)
    workers = (cores() if where.type == "cpu" else 1) if workers is None else workers
    if workers and where.type == "cpu":
        torch.set_num_threads(1)  # as the processes do: every row says so
    wanted = [name for name in STUDIES if (name in only if only else everything or STUDIES[name].core)]
    rows, runs = {}, []
    for study in wanted:
        rows[study], lacking = missing(folder, study, where)
        mine = [run for run in lacking if chosen(run, methods, subgroups)]
        gone = 0 if stale else tidy(rows[study], mine)
        click.echo(
            f"{study}.csv: {len(rows[study].order) - len(lacking)} runs are there, {len(lacking)} lack or are stale"
            + f"; {gone} rows that are stale or that no page needs are dropped" * bool(gone)
        )
        runs += [(study, run) for run in mine]
    if stale or not runs:
        return
    if failed := make(runs, rows, device, workers, minutes):
        raise click.ClickException(f"{len(failed)} runs failed:\n" + "\n".join(failed))


def chosen(run: dict, methods: tuple[str, ...], subgroups: tuple[str, ...]) -> bool:
    subgroup = run.get("subgroup", run.get("forget"))
    return (not methods or run.get("method", "default") in methods) and (not subgroups or subgroup in subgroups)


if __name__ == "__main__":
    main()
