"""However a sweep is ended, nothing is lost, and nothing stays behind. Seconds each, and all slow."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from sweep_tools import finished, spec, start, sweep, until

from forgetkit.batch import run as batch
from forgetkit.batch import table as results

pytestmark = pytest.mark.slow


def sleepers(folder: Path) -> list[psutil.Process]:
    """Processes that work in this folder, but for this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.pid != os.getpid() and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_its_sweep(work, how):
    spec(function="work:stubborn", grid={"a": [1]})
    process = start("s.yaml", "--out", "out")
    until(lambda: (work / "child-1").exists() and len(sleepers(work)) >= 6, 60, "it holds on to everything")
    process.send_signal(how)
    said, _ = process.communicate(timeout=30)
    until(lambda: not sleepers(work), 15, f"all ended, {sleepers(work)}")
    assert not finished(), "what was interrupted is neither done nor failed"
    if how == signal.SIGINT:
        assert process.returncode == 130 and "goes on from here" in said and "Traceback" not in said, said


def test_nothing_outlives_its_run_not_even_if_the_guard_is_killed(work, monkeypatch):
    assert batch.run({"function": "work:stubborn", "grid": {"a": 0}}, "out") == {"done": 1}
    assert not sleepers(work)
    spec(function="work:rows", grid={"a": 1, "wait": 60})
    monkeypatch.setenv("TMPDIR", tempfile.mkdtemp(prefix="t", dir="/tmp"))
    process = start("s.yaml", "--out", "guards")
    until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 2, 60, "guard and run")
    guard, *_ = psutil.Process(process.pid).children()
    guard.kill()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and "SIGKILL" in said and not sleepers(work)
    os.rmdir(os.environ["TMPDIR"])  # nothing is in it


def test_killed_in_the_middle_it_goes_on(work):
    spec(grid={"a": list(range(4)), "wait": 0.5})
    process = start("s.yaml", "--out", "out", "--workers", "2")
    until(lambda: len(finished()) >= 1, 60, "one is finished")
    process.kill()
    process.communicate()
    kept = finished()
    assert sweep("s.yaml", "--out", "out")[0] == 0
    assert kept.items() <= finished().items() and len(finished()) == 4
    assert sorted(results.gather("out")["a"]) == sorted(2 * list(range(4)))


def test_a_dask_cluster_may_lose_a_worker_and_even_its_scheduler(work):
    """A real scheduler and two workers on loopback; one is killed with its run in the middle, then the scheduler."""
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
        address = json.loads(file.read_text())["address"]
        process = start(spec(grid={"a": list(range(6)), "wait": 0.7}), "--out", "out", "--dask", address)
        until(lambda: len(finished()) >= 1 or process.poll() is not None, 120, "a run is finished")
        victim = psutil.Process(cluster[1].pid)
        until(victim.children, 30, "it has a run in hand")
        run_in_hand = victim.children(recursive=True)
        cluster[1].kill()
        assert not psutil.wait_procs(run_in_hand, timeout=10)[1], "its run ends with it"
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0 and "6 done" in said and "with --threads each run has more" in said, said

        process = start(spec(grid={"a": [1, 2], "wait": 5.0}), "--out", "lost", "--dask", address)
        until(lambda: psutil.Process(cluster[2].pid).children(), 30, "a run is in hand")
        cluster[0].kill()
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1 and "What is finished stays" in said and "Traceback" not in said, said
        assert sweep("s.yaml", "--out", "lost", "--dask", "tcp://127.0.0.1:9")[0] == 2, "no scheduler there"
    finally:
        for process in cluster:
            process.kill()
            process.wait()


def test_a_folder_that_is_moved_away_is_told_and_goes_on_where_it_is(work):
    spec(grid={"a": [0, 1, 2], "wait": 0.7})
    process = start("s.yaml", "--out", "out", "--workers", "1")
    until(lambda: len(finished()) == 1, 60, "one is finished")
    Path("out").rename("moved")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "out was moved or removed while the sweep ran" in said, said
    assert "Traceback" not in said and not Path("out").exists() and len(finished("moved")) == 1
    assert sweep("s.yaml", "--out", "moved")[0] == 0 and len(finished("moved")) == 3
