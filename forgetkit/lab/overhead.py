"""What sweeps cost: `python -m forgetkit.lab.overhead papermill | workers | many | kill`; rows: docs/results/batch.csv.

papermill: seconds a run of the quickstart in a sweep, its start included, and by plain papermill
workers:   seconds for the same sweep of a lesson with one worker on all cores, and with a worker a core
many:      memory of the sweep's process and seconds a run at the beginning and the end of 1,000 trivial notebooks
kill:      kill -9 at ten random moments of a sweep of trivial notebooks: what is lost, done twice, or missing

Times are of the whole machine: measure when it has nothing else to do.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
import psutil
import torch
import yaml
from tqdm import tqdm

from forgetkit.batch import worker as job
from forgetkit.__main__ import NOTEBOOKS
from forgetkit.lab.benchmark import RESULTS
from forgetkit.batch.engines import cores
from forgetkit.batch.table import gather
from forgetkit.lab.rows import Rows, versions

EDGE = 100  # runs that count as the beginning, and as the end, of many
Figures = dict[str, tuple[float, str]]  # what was measured: its value and unit


def start(command: list[str], folder: Path) -> subprocess.Popen:
    """Start a command in `folder`; what it says goes to `said.txt` there."""
    with (folder / "said.txt").open("a") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)


def sweep(folder: Path, content: dict, *options: str) -> subprocess.Popen:
    """Start a sweep in `folder`."""
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    return start([sys.executable, "-m", "forgetkit.batch.run", "sweep.yaml", "--out", "out", *options], folder)


def seconds(started: Callable[[], subprocess.Popen]) -> float:
    """How long a process takes; raises RuntimeError if it fails."""
    begun = time.perf_counter()
    if started().wait():
        raise RuntimeError("A run failed, so its time says nothing: run the notebook by hand to see why.")
    return time.perf_counter() - begun


def all_done(process: subprocess.Popen, folder: Path) -> None:
    """Wait for the sweep in `folder`; raises RuntimeError, with what it said of the failed runs, if there are any."""
    if process.wait():
        said = (folder / "said.txt").read_text().splitlines()
        raise RuntimeError("\n".join(["A trivial run failed.", *(line for line in said if "failed" in line)]))


def trivial(folder: Path, runs: int) -> dict:
    """A sweep of a notebook that does next to nothing."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [
        nbformat.v4.new_code_cell("seed = 0\nout = '.'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from pathlib import Path\n\nPath(out).mkdir(exist_ok=True)\n"
            "(Path(out) / 'table.csv').write_text(f'square\\n{seed * seed}\\n');"
        ),
    ]
    nbformat.write(notebook, folder / "trivial.ipynb")
    return {"notebook": "trivial.ipynb", "grid": {"seed": list(range(runs))}}


def finished(folder: Path) -> dict[str, float]:
    """When each finished run ended."""
    return {run.name: found["ended"] for run in (folder / "out").glob("*-*") if (found := job.read(run))}


def papermill(folder: Path, runs: int, notebook: Path = NOTEBOOKS / "00_quickstart.ipynb") -> Figures:
    """One run after the other, by plain papermill, then as a sweep with one worker."""
    command = [sys.executable, "-m", "papermill", str(notebook), "plain.ipynb", "-k", "python3", "--no-progress-bar"]
    command += ["--cwd", str(notebook.parent), "-p", "out", str(folder / "plain")]
    plain = 0.0
    for seed in tqdm(range(runs), desc="papermill", unit="run"):
        plain += seconds(lambda: start([*command, "-p", "seed", str(seed)], folder)) / runs
    content = {"notebook": str(notebook), "grid": {"seed": list(range(runs))}}
    swept = seconds(lambda: sweep(folder, content, "--workers", "1")) / runs
    return {
        f"{notebook.stem} by papermill": (plain, "s a run"),
        f"{notebook.stem} in a sweep of {runs} runs, its start included": (swept, "s a run"),
        "overhead of the sweep": (100 * (swept / plain - 1), "%"),
    }


def workers(folder: Path, runs: int) -> Figures:
    """The same sweep with one worker and with one a core; nothing in it is read from a cache."""
    content = {"notebook": str(NOTEBOOKS / "01_subgroups.ipynb"), "grid": {"seed": list(range(runs))}}
    took = {}
    for n in (1, cores()):
        (folder / str(n)).mkdir()
        took[n] = seconds(lambda: sweep(folder / str(n), content, "--workers", str(n)))
    return {
        **{f"{runs} runs of a lesson, {n} at a time, {cores() // n} threads each": (s, "s") for n, s in took.items()},
        f"{cores()} workers against one": (took[1] / took[cores()], "times as fast"),
    }


def many(folder: Path, runs: int) -> Figures:
    """Trivial runs, and what the sweep's process holds meanwhile."""
    process = sweep(folder, trivial(folder, runs))
    memory, edge = {}, min(EDGE, runs // 2)
    with tqdm(total=runs, unit="run") as bar:
        while process.poll() is None:
            bar.update(len(list((folder / "out").glob(f"*/{job.RESULT}"))) - bar.n)
            try:
                memory[bar.n] = psutil.Process(process.pid).memory_info().rss / 1e6
            except psutil.Error:
                break
            time.sleep(0.5)
    all_done(process, folder)
    ended = sorted(finished(folder).values())
    early = max(held for n, held in memory.items() if n <= edge)
    return {
        f"first {edge} of {runs} trivial runs": ((ended[edge] - ended[0]) / edge, "s a run"),
        f"last {edge} of {runs} trivial runs": ((ended[-1] - ended[-1 - edge]) / edge, "s a run"),
        f"the sweep's process, first {edge} of {runs} trivial runs": (early, "MB"),
        f"the sweep's process, last of {runs} trivial runs": (memory[max(n for n in memory if n < runs)], "MB"),
    }


def kill(folder: Path, runs: int, kills: int = 10) -> Figures:
    """Kill the sweep again and again, then let it finish: what was finished must be there, unchanged, and only once."""
    content = trivial(folder, runs)
    rng, known, again, killed = random.Random(0), {}, 0, 0
    for _ in tqdm(range(kills), unit="kill"):
        process = sweep(folder, content)
        try:
            process.wait(rng.uniform(1, 2 * runs / kills))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        found = finished(folder)
        again += sum(found.get(name) != ended for name, ended in known.items())
        known = found
    all_done(sweep(folder, content), folder)
    found, table = finished(folder), gather(folder / "out")
    again += sum(found.get(name) != ended for name, ended in known.items())
    rows = table["seed"].value_counts()
    wrong = int((table["square"] != table["seed"] ** 2).sum())
    missing = sum(rows.get(i, 0) != 1 for i in range(runs))
    return {
        f"kill -9 of a sweep of {runs} trivial runs": (killed, "times"),
        "finished runs lost or done twice after the kills": (again, "runs"),
        "sets missing, doubled or wrong in the table after the kills": (wrong + missing, "sets"),
    }


MEASURES = {"papermill": (papermill, 3), "workers": (workers, 4), "many": (many, 1000), "kill": (kill, 60)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m forgetkit.lab.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=list(MEASURES), nargs="+")
    parser.add_argument("--runs", type=int, help="how many, unless as many as the docs say")
    parser.add_argument("--out", type=Path, default=RESULTS / "batch.csv")
    args = parser.parse_args(argv)
    rows = Rows(args.out, ["what", "unit"])
    for name in args.measure:
        function, runs = MEASURES[name]
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            found = function(Path(folder), args.runs or runs)
        print(*(f"{what}: {value:.2f} {unit}" for what, (value, unit) in found.items()), sep="\n")
        rows.table = rows.table[~rows.table["what"].isin(found)]  # measured anew
        where = versions(torch.device("cpu"))
        rows.add(
            *({"what": w, "value": round(v, 2), "unit": u, **where, "cores": cores()} for w, (v, u) in found.items())
        )


if __name__ == "__main__":
    main()
