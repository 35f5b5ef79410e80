"""Sweeps are run, resumed, stopped, killed and shared, and nothing is lost, doubled or half-written."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
import yaml

from forgetkit.batch import run as batch, engines, worker as job, table as results
from forgetkit.lab import overhead
from forgetkit.batch.spec import SweepError

WORK = """\
import os, subprocess, sys, time
from pathlib import Path

def rows(a, seed: int = 0, wait: float = 0.0, out=None):
    time.sleep(wait)
    if a == 13:
        raise ValueError("an unlucky number")
    if a == 99:
        os.kill(os.getpid(), 9)
    with open("calls.txt", "a") as calls:
        calls.write(f"{a} {seed}\\n")
    (out / "note.txt").write_text(os.environ.get("OMP_NUM_THREADS", ""))
    return [{"model": m, "score": 10 * a * (i + 1) + seed, "seconds": i} for i, m in enumerate(("before", "after"))]

def tree(a):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    Path(f"child-{a}").write_text(str(os.getpid()))
    time.sleep(1000)

def modules(a=0):
    return [{"torch": "torch" in sys.modules}]
"""
COMMAND = [sys.executable, "-m", "forgetkit.batch.run"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a module of functions to sweep over, which is also where the test runs."""
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "work", raising=False)
    return tmp_path


def spec(file="s.yaml", function="work:rows", **content) -> str:
    Path(file).write_text(yaml.safe_dump({"function": function, **content}))
    return file


def start(*args) -> subprocess.Popen:
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background ignore Ctrl-C
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*COMMAND, *args], **pipes, preexec_fn=heard)


def run(*args) -> tuple[int, str]:
    process = start(*args)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def calls() -> Counter:
    return Counter(Path("calls.txt").read_text().split("\n")[:-1]) if Path("calls.txt").exists() else Counter()


def finished(folder="out") -> dict[str, float]:
    """When each finished run ended."""
    return {f.name: r["ended"] for f in Path(folder).glob("*-*") if (r := job.read(f))}


def until(condition, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def test_neither_side_imports_torch(work):
    code = "import sys, forgetkit.batch, forgetkit.job, forgetkit.notebook; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    batch.run({"function": "work:modules"}, "out")
    assert results.gather("out")["torch"].tolist() == [False]


def test_runs_leave_what_was_promised(work):
    code, said = run(spec(grid={"a": [1, 2], "seed": [0, 1]}), "--out", "out", "--workers", "2", "--threads", "3")
    assert code == 0 and "4 to do" in said and "4 done, 0 failed" in said
    folder = next(Path("out").glob("rows_a=2_seed=1-*"))
    found = job.read(folder)
    assert found["parameters"] == {"a": 2, "seed": 1, "wait": 0.0} and found["status"] == "done"
    assert found["seconds"] >= 0 and found["peak_mb"] > 5 and {"python", "forgetkit", "torch"} <= set(found["versions"])
    assert {f.name for f in folder.iterdir()} == {"table.csv", "log.txt", "result.json", "note.txt"}
    assert (folder / "note.txt").read_text() == "3", "threads reach the run"
    table = pd.read_csv("out/results.csv")
    assert len(table) == 8 and set(table["status"]) == {"done"}
    assert table[(table["a"] == 2) & (table["seed"] == 1)]["score"].tolist() == [21, 41]


@pytest.mark.slow
def test_a_failure_stops_nothing_and_is_retried_only_when_asked(work):
    spec(grid={"a": [1, 13, 99, 2]})
    code, said = run("s.yaml", "--out", "out")
    assert code == 1 and "2 done, 2 failed" in said and "an unlucky number" in said
    unlucky, killed = (job.read(next(Path("out").glob(f"*a={a}-*"))) for a in (13, 99))
    assert unlucky["error"] == "ValueError: an unlucky number" and "in rows" in unlucky["traceback"]
    assert "SIGKILL (was there enough memory?)" in killed["error"]
    before = finished()
    code, said = run("s.yaml", "--out", "out")
    assert code == 1 and "0 to do" in said and finished() == before, "nothing ran again"
    code, said = run("s.yaml", "--out", "out", "--retry-failed")
    assert code == 1 and "2 to do" in said
    again = finished()
    assert {name for name in before if again[name] != before[name]} == {n for n in before if "13" in n or "99" in n}
    assert calls() == {"1 0": 1, "2 0": 1}


def test_a_mistake_starts_nothing(work):
    code, said = run(spec(grid={"a": [1], "sede": [0], "wait": ["long"]}), "--out", "out")
    assert code == 2 and "Is it 'seed'?" in said and "wait='long'" in said and "Traceback" not in said
    assert not Path("out").exists()


def test_other_code_is_not_mixed_in_silence(work):
    assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out")["done"] == 2
    before = finished()
    Path("work.py").write_text(WORK.replace("10 * a", "20 * a"))
    sys.modules.pop("work")
    more = {"function": "work:rows", "grid": {"a": [1, 2, 3]}}
    with pytest.raises(SweepError, match=r"code has changed .* \(2 of work:rows\): .*--changed"):
        batch.run(more, "out")
    assert finished() == before
    assert batch.run(more, "out", changed="keep")["done"] == 3 and before.items() <= finished().items()
    assert sorted(results.gather("out")["score"]) == [10, 20, 20, 40, 60, 120]
    batch.run(more, "out", changed="rerun")
    assert sorted(results.gather("out")["score"]) == [20, 40, 40, 60, 80, 120]


def test_what_is_half_written_is_not_taken_for_whole(work):
    batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out")
    one, two = sorted(Path("out").glob("rows*"))
    whole = (one / "result.json").read_text()
    (one / "result.json").rename(one / "result.json.part")
    (two / "result.json").write_text(whole[:100])
    (one / "table.csv").write_text("left,over\n")
    assert results.gather("out").empty
    assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out")["done"] == 2
    assert calls() == {"1 0": 2, "2 0": 2} and "left" not in results.gather("out")


@pytest.mark.slow
def test_two_sweeps_into_one_folder_share_the_work(work):
    spec(grid={"a": [1, 2], "seed": list(range(6)), "wait": 0.2})
    spec("other.yaml", list=[{"a": a, "seed": s, "wait": 0.2} for a in (2, 1) for s in range(5, -1, -1)])
    both = [start(file, "--out", "out", "--workers", "2") for file in ("s.yaml", "other.yaml")]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert calls() == {f"{a} {s}": 1 for a in (1, 2) for s in range(6)}, "each set exactly once"
    assert len(results.gather("out")) == 24 and all("12 done, 0 failed" in s for s in said)


@pytest.mark.slow
def test_ctrl_c_ends_the_runs_and_keeps_what_is_finished(work):
    spec(grid={"a": list(range(4)), "wait": [0.0, 60.0]}, exclude=[{"a": a, "wait": 60.0} for a in (0, 1)])
    process = start("s.yaml", "--out", "out", "--workers", "2")
    until(lambda: len(finished()) == 4 and len(psutil.Process(process.pid).children()) == 2, 60, "two runs wait")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "goes on from here" in said and "Traceback" not in said, said
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert len(finished()) == 4, "what was interrupted is neither done nor failed"


@pytest.mark.slow
def test_kill_9_takes_the_whole_tree_down(work):
    spec(function="work:tree", grid={"a": [1, 2]})
    process = start("s.yaml", "--out", "out", "--workers", "2")
    until(lambda: len(list(work.glob("child-*"))) == 2, 60, "both run")
    tree = psutil.Process(process.pid).children(recursive=True)
    assert len(tree) == 4
    process.kill()
    process.wait()
    assert not psutil.wait_procs(tree, timeout=10)[1], "no run outlives its sweep, and no process its run"


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(work):
    spec(grid={"a": list(range(8)), "wait": 0.3})
    for _ in range(3):
        process = start("s.yaml", "--out", "out", "--workers", "2")
        before = finished()
        until(lambda: len(finished()) > len(before), 60, "one more is finished")
        time.sleep(0.2)
        process.kill()
        process.communicate()
        kept = finished()
        assert before.items() <= kept.items(), "finished runs are left alone"
    assert run("s.yaml", "--out", "out")[0] == 0
    assert kept.items() <= finished().items() and len(finished()) == 8
    assert sorted(results.gather("out")["a"]) == sorted(2 * list(range(8)))


@pytest.mark.parametrize("pool", [concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor])
def test_anything_with_the_executor_interface_runs_it(work, pool):
    with pool(2) as executor:
        assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out", executor) == {"done": 2}
    assert len(results.gather("out")) == 4


def test_an_engine_that_breaks_is_told_and_nothing_is_recorded(work, monkeypatch, capsys):
    monkeypatch.setattr(job, "perform", lambda _: 1 / 0)  # as when a cluster is gone
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert batch.run({"function": "work:rows", "grid": {"a": [1]}}, "out", executor) == {"failed": 1}
    assert "ZeroDivisionError" in capsys.readouterr().out and not finished()


def test_each_worker_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert engines.gpus() == ["4", "7"]
    monkeypatch.setattr(job, "perform", lambda j: time.sleep(0.2) or (j["env"].get("CUDA_VISIBLE_DEVICES"), ""))
    with engines._local(2) as pool:
        assert {f.result()[0] for f in [pool.submit(engines._perform, {"env": {}}) for _ in range(4)]} == {"4", "7"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engines.gpus() == [] and engines.default_workers(1) == 1
    with engines._local(2) as pool:
        assert pool.submit(engines._perform, {"env": {}}).result()[0] is None


# --------------------------------------------------------------------------------------------------
# Notebooks


@pytest.fixture
def notebook(tmp_path):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb = nbformat.v4.new_notebook(metadata=kernel)
    nb.cells = [
        nbformat.v4.new_code_cell("a = 1\nout = '.'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("assert a < 3, 'too large'"),
        nbformat.v4.new_code_cell("open(out + '/table.csv', 'w').write(f'score\\n{a * 7}\\n');"),
    ]
    nbformat.write(nb, tmp_path / "nb.ipynb")


def test_a_notebook_is_kept_executed_and_a_failing_cell_is_named(work, notebook):
    Path("s.yaml").write_text("notebook: nb.ipynb\ngrid:\n  a: [2, 3]\n")
    code, said = run("s.yaml", "--out", "out", "--workers", "2")
    assert code == 1 and "1 done, 1 failed" in said and "AssertionError: too large" in said
    table = results.gather("out").set_index("a")
    assert table.loc[2, "score"] == 14 and table.loc[3, "status"] == "failed" and table.loc[2, "peak_mb"] > 50
    folder = next(Path("out").glob("nb_a=3-*"))
    failure = job.read(folder)
    assert failure["cell"] == 3 and "a < 3" in failure["code"] and "AssertionError" in failure["traceback"]
    assert "\x1b" not in failure["traceback"] and "too large" in (folder / "nb.ipynb").read_text()
    assert "a = 2" in (next(Path("out").glob("nb_a=2-*")) / "nb.ipynb").read_text()


# --------------------------------------------------------------------------------------------------
# The table, its summary and figures


@pytest.fixture
def swept(work):
    """Six runs' folders, made by hand; one has failed."""
    for a, seed in [(1, 0), (1, 1), (1, 2), ("x", 0), ("x", 1), ("x", 2)]:
        folder = Path(f"out/rows-{a}{seed}")
        folder.mkdir(parents=True)
        bad = (a, seed) == ("x", 2)
        pd.DataFrame({"a": [5], "score": [10.0 * seed + (a == 1)]}).to_csv(folder / "table.csv", index=False)
        status = {"status": "failed", "error": "E: e"} if bad else {"status": "done"}
        note = {"task": "rows", "parameters": {"a": a, "seed": seed, "pair": [1, 2]}, "seconds": 2.0, "peak_mb": 90}
        (folder / "result.json").write_text(
            json.dumps({**note, "commit": f"c{a}", "source": "s", "ended": 1, **status})
        )
    return Path("out")


def test_the_table_is_tidy_and_both_files_hold_it(swept):
    table = results.gather(swept, write=True)
    wanted = ["run", "task", "a", "seed", "pair", "table_a", "score", "status", "error", "seconds", "peak_mb", "commit"]
    assert list(table) == wanted, "a column of the same name as a parameter is told apart"
    assert set(table["a"]) == {"1", "x"} and set(table["pair"]) == {"[1, 2]"}
    failed = table[table["status"] == "failed"]
    assert len(table) == 6 and failed["error"].tolist() == ["E: e"] and failed["score"].isna().all()
    for kept in (pd.read_csv(swept / "results.csv"), pd.read_parquet(swept / "results.parquet")):
        assert list(kept) == list(table) and ((kept == table) | (kept.isna() & table.isna())).all(axis=None)
    assert not list(swept.glob(".*.csv"))


def test_the_summary_is_mean_and_spread(swept, capsys):
    table = results.gather(swept)
    by, values = results.columns(table)
    assert by == ["a"] and values == ["table_a", "score"]
    summary = results.summarise(table, by, ["score"])
    assert summary["score"].to_dict() == {"1": "11.0 ± 10.0", "x": "5.0 ± 7.1"} and summary["n"].to_dict() == {
        "1": 3,
        "x": 2,
    }
    with pytest.raises(SystemExit) as ended:
        batch.main(["summary", str(swept), "--values", "score", "--by", "a", "seed"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "6 runs: 5 done, 1 failed" in said and "2 states of the code: c1, cx" in said
    assert (swept / "figures/score.png").stat().st_size > 5000
    for wrong, message in ((["--by", "b"], "no column 'b'"), (["--values", "a"], "no column of numbers")):
        with pytest.raises(SystemExit) as ended:
            batch.main(["summary", str(swept), *wrong])
        assert ended.value.code == 2 and message in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# What `python -m forgetkit.lab.overhead` measures, in small and with wide bounds: the machine may have other things to do


@pytest.mark.slow
def test_a_run_costs_little_more_than_with_plain_papermill(tmp_path):
    overhead.trivial(tmp_path, 3)
    (plain, _), (swept, _), _ = overhead.papermill(tmp_path, 3, tmp_path / "trivial.ipynb").values()
    assert swept - plain < 3, f"{plain:.1f} s by papermill, {swept:.1f} s in a sweep"


@pytest.mark.slow
def test_memory_and_speed_stay_as_they_are_over_many_runs(tmp_path):
    first, last, early, late = (value for value, _ in overhead.many(tmp_path, 12).values())
    assert late < early + 15 and last < 3 * first


@pytest.mark.slow
def test_a_run_that_is_being_ended_leaves_no_result(work):
    """Its kernel is killed first, and whoever waits for that kernel must not take it for a failure."""
    given = {"task": "t", "parameters": {}, "source": "", "commit": None, "notebook": None, "out": True}
    code = f"""
import os, threading, time
from pathlib import Path
from forgetkit import job
ended = {{**{given!r}, "function": "work:rows"}}
work = lambda a: threading.Thread(target=job._work, args=({{**ended, "given": {{"a": a}}}}, Path(str(a))), daemon=True)
first, second = work(13), work(13)
first.start(); first.join()
assert job.read(Path("13"))["status"] == "failed"
job._last_word.acquire()  # as it does that ends the process
second.start(); second.join(3)
os._exit(3 if second.is_alive() and job.read(Path("13")) is None else 1)
"""
    env = {**os.environ, "PYTHONPATH": str(work)}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=120).returncode == 3


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_and_doubles_nothing(tmp_path):
    _, (again, _), (wrong, _) = overhead.kill(tmp_path, 10, kills=3).values()
    assert again == wrong == 0


@pytest.mark.slow
def test_two_workers_take_half_the_time(work):
    took = {}
    for n in ("1", "2"):
        begun = time.perf_counter()
        assert run(spec(grid={"a": [1, 2, 3, 4], "wait": 3.0}), "--out", n, "--workers", n)[0] == 0
        took[n] = time.perf_counter() - begun
    assert took["2"] < 0.8 * took["1"], f"they wait side by side: {took}"


# --------------------------------------------------------------------------------------------------
# A cluster


@pytest.mark.slow
def test_a_dask_cluster_that_loses_a_worker_completes_the_sweep(work):
    """A real scheduler and two workers on loopback; one is killed with its run in the middle."""
    file, log = work / "scheduler.json", (work / "dask.log").open("w")
    dask = [sys.executable, "-m", "dask"]
    local = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]
    settings = dict(stdout=log, stderr=log, env={**os.environ, "DASK_DISTRIBUTED__COMM__RETRY__COUNT": "0"})
    cluster = [subprocess.Popen([*dask, "scheduler", *local, "--port", "0"], **settings)]
    try:
        until(file.exists, 60, "the scheduler starts")
        for _ in range(2):
            worker = [*dask, "worker", *local, "--nthreads", "1", "--no-nanny", "--local-directory", str(work / "dask")]
            cluster.append(subprocess.Popen(worker, **settings))
        spec(grid={"a": list(range(10)), "wait": 0.7})
        process = start("s.yaml", "--out", "out", "--dask", json.loads(file.read_text())["address"])
        until(lambda: len(finished()) >= 2 or process.poll() is not None, 120, "two runs are finished")
        victim = psutil.Process(cluster[1].pid)
        until(victim.children, 30, "it has a run in hand")
        run_in_hand = victim.children(recursive=True)
        cluster[1].kill()
        assert not psutil.wait_procs(run_in_hand, timeout=10)[1], "its run ends with it"
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0 and "10 done, 0 failed" in said, said
        assert calls() == {f"{a} 0": 1 for a in range(10)}
        assert run("s.yaml", "--out", "out", "--dask", "tcp://127.0.0.1:9")[0] == 2, "no scheduler there"
    finally:
        for process in cluster:
            process.kill()
            process.wait()
