"""What sweeps cost: `python -m benchmarks.overhead papermill workers many kill`; rows: docs/results/batch.csv.

papermill: seconds a run of the quickstart in a sweep, its start included, and by plain papermill
workers:   seconds for the same sweep of a lesson with one worker on all cores, and with a worker a core
many:      memory of the sweep's process and seconds a run at the beginning and the end of 1,000 trivial notebooks
kill:      kill -9 at ten random moments of a sweep of trivial notebooks: what is lost, done twice, or missing

Times are of the whole machine: measure when it has nothing else to do.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
import nbformat
import psutil
import yaml

import forgetkit
from benchmarks.rows import Rows, options
from forgetkit.batch import record
from forgetkit.batch.run import cores
from forgetkit.batch.table import gather
from forgetkit.models.clip import pick_device

NOTEBOOKS = forgetkit.HOME / "notebooks"
EDGE = 100  # runs that count as the beginning, and as the end, of many
TRIVIAL = """\
from pathlib import Path

Path(out).mkdir(exist_ok=True)
(Path(out) / "table.csv").write_text(f"square\\n{seed * seed}\\n");"""
Figures = dict[str, tuple[float, str]]  # what was measured: its value and unit


def sweep(folder: Path, notebook: Path, runs: int, *options: str) -> list[str]:
    """The command that sweeps a notebook over seeds in `folder`; its runs are in `folder/out`."""
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"notebook": str(notebook), "grid": {"seed": [*range(runs)]}}))
    return ["forgetkit", "batch", "sweep.yaml", "--out", "out", *options]


def start(folder: Path, module: str, *arguments: str) -> subprocess.Popen:
    """Start `python -m module` in `folder`."""
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=folder)


def seconds(folder: Path, *commands: Sequence[str]) -> float:
    """How long these commands take, one after the other; raises RuntimeError if one fails."""
    begun = time.perf_counter()
    for command in commands:
        if start(folder, *command).wait():
            raise RuntimeError(f"It failed, so its time says nothing; run it by hand: {' '.join(command)}")
    return time.perf_counter() - begun


def trivial(folder: Path) -> Path:
    """A notebook that does next to nothing."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    parameters = nbformat.v4.new_code_cell("seed = 0\nout = '.'", metadata={"tags": ["parameters"]})
    square = nbformat.v4.new_code_cell(TRIVIAL)
    nbformat.write(nbformat.v4.new_notebook(metadata=kernel, cells=[parameters, square]), folder / "trivial.ipynb")
    return folder / "trivial.ipynb"


def finished(folder: Path) -> dict[str, float]:
    """When each finished run ended."""
    return {run.name: found["ended"] for run in (folder / "out").glob("*-*") if (found := record.read(run))}


def papermill(folder: Path, runs: int = 3, notebook: Path = NOTEBOOKS / "00_quickstart.ipynb") -> Figures:
    """One run after the other, by plain papermill, then as a sweep with one worker."""
    fixed = ["plain.ipynb", "-k", "python3", "--no-progress-bar", "--cwd", str(notebook.parent), "-p", "out", "plain"]
    by_hand = [["papermill", str(notebook), *fixed, "-p", "seed", str(seed)] for seed in range(runs)]
    plain = seconds(folder, *by_hand) / runs
    swept = seconds(folder, sweep(folder, notebook, runs, "--workers", "1")) / runs
    return {
        f"{notebook.stem} by papermill": (plain, "s a run"),
        f"{notebook.stem} in a sweep of {runs} runs, its start included": (swept, "s a run"),
        "overhead of the sweep": (100 * (swept / plain - 1), "%"),
    }


def workers(folder: Path, runs: int = 4, notebook: Path = NOTEBOOKS / "01_subgroups.ipynb") -> Figures:
    """The same sweep with one worker and with one a core; nothing in it is read from a cache."""
    took = {}
    for n in (1, cores()):
        (folder / str(n)).mkdir()
        took[n] = seconds(folder / str(n), sweep(folder / str(n), notebook, runs, "--workers", str(n)))
    return {
        **{f"{runs} runs of a lesson, {n} at a time, {cores() // n} threads each": (s, "s") for n, s in took.items()},
        f"{cores()} workers against one": (took[1] / took[cores()], "times as fast"),
    }


def many(folder: Path, runs: int = 1000) -> Figures:
    """Trivial runs, and what the sweep's process holds meanwhile."""
    process = start(folder, *sweep(folder, trivial(folder), runs))
    memory, edge = {}, min(EDGE, runs // 2)  # in MB, by the number of runs that are done
    while process.poll() is None:
        with suppress(psutil.Error):
            done = len([*(folder / "out").glob(f"*/{record.RESULT}")])
            memory[done] = psutil.Process(process.pid).memory_info().rss / 1e6
        time.sleep(0.5)
    if process.wait():
        raise RuntimeError(f"A trivial run failed; see {folder / 'out'}.")
    ended = sorted(finished(folder).values())
    early, late = max(held for n, held in memory.items() if n <= edge), memory[max(n for n in memory if n < runs)]
    return {
        f"first {edge} of {runs} trivial runs": ((ended[edge] - ended[0]) / edge, "s a run"),
        f"last {edge} of {runs} trivial runs": ((ended[-1] - ended[-1 - edge]) / edge, "s a run"),
        f"the sweep's process, first {edge} of {runs} trivial runs": (early, "MB"),
        f"the sweep's process, last of {runs} trivial runs": (late, "MB"),
    }


def kill(folder: Path, runs: int = 100, kills: int = 10) -> Figures:
    """Kill the sweep again and again, then let it finish: what was finished must be there, unchanged, and only once."""
    notebook, rng, known, again, killed = trivial(folder), random.Random(0), {}, 0, 0
    for attempt in range(kills + 1):
        process = start(folder, *sweep(folder, notebook, runs))
        try:
            process.wait(rng.uniform(1, runs / kills) if attempt < kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        found = finished(folder)
        again += sum(found.get(name) != ended for name, ended in known.items())
        known = found
    table = gather(folder / "out")
    wrong, times = int((table["square"] != table["seed"] ** 2).sum()), table["seed"].value_counts()
    missing = sum(times.get(seed, 0) != 1 for seed in range(runs))
    return {
        f"kill -9 of a sweep of {runs} trivial runs": (killed, "times"),
        "finished runs lost or done twice after the kills": (again, "runs"),
        "sets missing, doubled or wrong in the table after the kills": (wrong + missing, "sets"),
    }


MEASURES = {"papermill": papermill, "workers": workers, "many": many, "kill": kill}


@click.command(help=__doc__)
@click.argument("measures", nargs=-1, required=True, type=click.Choice([*MEASURES]), metavar="MEASURE...")
@options("batch.csv")
def main(measures: Sequence[str], device: str, out: Path) -> None:
    rows = Rows(out, ["what", "unit"], pick_device(device))
    for name in measures:
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            found = MEASURES[name](Path(folder))
        print(*(f"{what}: {value:.2f} {unit}" for what, (value, unit) in found.items()), sep="\n")
        rows.table = rows.table[~rows.table["what"].isin(found)]  # measured anew
        rows.add(*({"what": w, "value": round(v, 2), "unit": u, "cores": cores()} for w, (v, u) in found.items()))


if __name__ == "__main__":
    main()
