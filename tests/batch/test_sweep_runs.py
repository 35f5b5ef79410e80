"""Sweeps are run and resumed, and what ran is what is recorded."""

import concurrent.futures
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from sweep_tools import WORK, finished, spec, start, sweep, until, write_notebook

from forgetkit.batch import record
from forgetkit.batch import run as batch
from forgetkit.batch import table as results
from forgetkit.batch.spec import SweepError

TABLE = "open(out + '/table.csv', 'w').write(f'score\\n{a * 7}\\n');"


def calls() -> Counter:
    return Counter(Path("calls.txt").read_text().split("\n")[:-1]) if Path("calls.txt").exists() else Counter()


def result_of(name: str, folder="out") -> dict:
    return record.read(next(Path(folder).glob(f"{name}-*")))


def test_runs_leave_what_was_promised(work):
    code, said = sweep(
        spec(grid={"a": [1, 13, 99, 2], "wait": 0.5}), "--out", "out", "--workers", "2", "--threads", "3"
    )
    assert code == 1 and "4 to do" in said and "2 done, 2 failed" in said and "an unlucky number" in said
    folder = next(Path("out").glob("rows_a=2-*"))
    found = record.read(folder)
    assert found["parameters"] == {"a": 2, "wait": 0.5} and found["status"] == "done" and len(found["source"]) == 16
    assert found["seconds"] >= 0 and found["peak_mb"] > 5 and {"python", "forgetkit", "torch"} <= set(found["versions"])
    assert {f.name for f in folder.iterdir()} == {"table.csv", "log.txt", "result.json", "note.txt", "loaded.json"}
    assert (folder / "note.txt").read_text() == "3", "threads reach the run"
    table = pd.read_csv("out/results.csv")
    assert len(table) == 6 and table.loc[table["a"] == 2, "score"].tolist() == [20, 40]
    assert not table["torch"].any() and "table_seconds" in table, "a run imports no torch that does not ask for it"
    unlucky, killed = result_of("rows_a=13"), result_of("rows_a=99")
    assert unlucky["error"] == "ValueError: an unlucky number" and "in rows" in unlucky["traceback"]
    assert "SIGKILL (was there enough memory?)" in killed["error"] and calls() == {"1": 1, "2": 1}

    before = finished()
    assert batch.run("s.yaml", "out") == {"done": 2, "failed": 2} and finished() == before, "nothing ran again"
    assert batch.run("s.yaml", "out", retry_failed=True) == {"done": 2, "failed": 2}
    again = {name for name, ended in finished().items() if before[name] != ended}
    assert again == {name for name in before if "a=13-" in name or "a=99-" in name} and calls() == {"1": 1, "2": 1}


def test_other_code_is_not_mixed_in_silence(work, capsys):
    (work / "helper.py").write_text("FACTOR = 1\n")
    Path("work.py").write_text(f"import helper\n{WORK}")
    assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out") == {"done": 2}
    before, more = finished(), {"function": "work:rows", "grid": {"a": [1, 2, 3]}}
    edited = f"import helper\n{WORK.replace('0 * a', '00 * a')}"
    for file, source in (("helper.py", "FACTOR = 2"), ("work.py", edited)):
        was = Path("helper.py").read_text()
        Path(file).write_text(source)
        with pytest.raises(SweepError, match=rf"has changed since .*\b{file} \(2 runs\).*--changed keep"):
            batch.run(more, "out")
        Path("helper.py").write_text(was)
    assert batch.run(more, "out", changed="keep")["done"] == 3 and before.items() <= finished().items()
    assert sorted(results.gather("out")["score"]) == [10, 20, 20, 40, 300, 600]
    assert "The table also has" not in capsys.readouterr().out
    batch.run({**more, "grid": {"a": [1]}}, "out", changed="keep")
    assert "1 runs: 1 done" in (said := capsys.readouterr().out) and "The table also has 2 other runs" in said
    batch.run(more, "out", changed="rerun")
    assert sorted(results.gather("out")["score"]) == [100, 200, 200, 300, 400, 600]


LOADS = """
import importlib, subprocess, sys
sys.path.insert(0, "src")

def rows(a=0):
    exec(open("told.py").read())
    importlib.import_module("deep.module"), open("settings.json").read(), subprocess.run("cat tool", shell=True)
    open("written", "w").write("x")
    return [{"v": a, "w": open("written").read()}]
"""
LOADED = ("told.py", "settings.json", "tool", "src/deep/module.py", "src/deep/__init__.py")


def test_all_that_a_run_loaded_is_looked_at_again(work):
    (work / "src/deep").mkdir(parents=True)
    for name in (*LOADED, "not.py"):
        Path(name).write_text("x = 1\n")
    Path("loads.py").write_text(LOADS)
    sweep = {"function": "loads:rows", "grid": {"a": [1]}}
    assert batch.run(sweep, "out") == {"done": 1}
    Path("not.py").write_text("x = 2\n")
    Path("written").write_text("y")
    assert batch.run(sweep, "out") == {"done": 1}
    for name in LOADED:
        Path(name).write_text("x = 2\n")
        with pytest.raises(SweepError, match=rf"finished: {name} \(1 runs\)"):
            batch.run(sweep, "out")
        assert batch.run(sweep, "out", changed="keep") == {"done": 1}
        Path(name).write_text("x = 1\n")
    os.remove("tool")
    with pytest.raises(SweepError, match="finished: tool"):
        batch.run(sweep, "out")


@pytest.mark.slow
def test_what_a_notebook_runs_is_looked_at_again(work):
    Path("told.py").write_text("x = 1\n")
    write_notebook(work / "nb.ipynb", "%run told.py", TABLE)
    assert batch.run({"notebook": "nb.ipynb"}, "out") == {"done": 1}
    Path("told.py").write_text("x = 2\n")
    with pytest.raises(SweepError, match=r"finished: told.py \(1 runs\)"):
        batch.run({"notebook": "nb.ipynb"}, "out")


def test_another_version_is_told(work, capsys):
    assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out") == {"done": 2}
    file = next(Path("out").glob("rows_a=1-*")) / "result.json"
    file.write_text(json.dumps({**(found := json.loads(file.read_text())), "versions": {"torch": "1.0.0"}}))
    assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out") == {"done": 2}
    now, said = found["versions"]["torch"], "".join(capsys.readouterr())
    assert f"1 of the finished runs had another version: torch 1.0.0, now {now}." in said
    assert "They ran with 2 sets of versions: " in said and "torch 1.0.0" in set(results.gather("out")["versions"])


def test_a_link_in_a_sweeps_folder_is_not_followed(work):
    (work / "victim").mkdir()
    (work / "victim/precious").write_text("mine")
    sweep = {"function": "work:rows", "grid": {"a": [1]}}
    batch.run(sweep, "out")
    run = next(Path("out").glob("rows*"))
    for link in (run, Path("out/.sweep")):
        link.rename("aside")
        link.symlink_to(work / "victim")
        with pytest.raises(ValueError, match=f"{link.name} is a link"):
            batch.run(sweep, "out")
        link.unlink()
        Path("aside").rename(link)
    (work / "victim.csv").write_text("mine")
    Path("out/results.csv").unlink()
    Path("out/results.csv").symlink_to(work / "victim.csv")
    batch.run(sweep, "out")
    assert (work / "victim.csv").read_text() == "mine" and [f.name for f in (work / "victim").iterdir()] == ["precious"]


def test_what_is_half_written_is_not_taken_for_whole(work):
    batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out")
    one, two = sorted(Path("out").glob("rows*"))
    whole = (one / "result.json").read_text()
    (one / "result.json").rename(one / "result.json.part")
    (two / "result.json").write_text(whole[:100])
    (one / "table.csv").write_text("left,over\n")
    assert results.gather("out")["status"].tolist() == ["damaged"]
    assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out") == {"done": 2}
    assert calls() == {"1": 2, "2": 2} and "left" not in results.gather("out")


def test_a_folder_that_is_no_sweeps_is_left_alone(work, capsys):
    Path("mine").mkdir()
    Path("mine/results.csv").write_text("my,own\n1,2\n")
    for folder in ("mine", "work.py", "/proc/none"):
        with pytest.raises(SweepError, match="no sweep|cannot be the sweep's folder"):
            batch.run({"function": "work:rows", "grid": {"a": 1}}, folder)
        with pytest.raises(ValueError, match="no sweep's folder"):
            results.write(results.gather(folder), folder)
    assert [f.read_text() for f in Path("mine").iterdir()] == ["my,own\n1,2\n"]


def test_anything_with_the_executor_interface_runs_it(work):
    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        assert batch.run({"function": "work:rows", "grid": {"a": [1, 2]}}, "out", executor) == {"done": 2}
    assert len(results.gather("out")) == 4


def test_an_engine_that_breaks_is_told_and_nothing_is_recorded(work, monkeypatch, capsys):
    monkeypatch.setattr(batch, "perform", lambda _: 1 / 0)  # as when a cluster is gone
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert batch.run({"function": "work:rows", "grid": {"a": [1]}}, "out", executor) == {"lost": 1}
        executor.shutdown()
        assert batch.run({"function": "work:rows", "grid": {"a": [1]}}, "out", executor) == {"lost": 1}
    said = capsys.readouterr().out
    assert "ZeroDivisionError" in said and "cannot schedule new futures" in said and not finished()


def test_a_run_that_was_finished_before_its_worker_was_lost_counts(work):
    class Losing(concurrent.futures.ThreadPoolExecutor):
        def submit(self, function, job):
            return super().submit(lambda: (function(job), 1 / 0))

    with Losing(1) as executor:
        asked = {"function": "work:rows", "grid": {"a": [1, 13]}}
        assert batch.run(asked, "out", executor) == {"done": 1, "failed": 1}
        for _ in range(2):  # the same of a run that is done again
            assert batch.run(asked, "out", executor, retry_failed=True) == {"done": 1, "failed": 1}


def test_each_worker_has_a_gpu_of_its_own(work, monkeypatch):
    code = (
        "import os, time\ndef card(a):\n    time.sleep(1)\n    return [{'card': os.environ['CUDA_VISIBLE_DEVICES']}]\n"
    )
    Path("cards.py").write_text(code)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert batch.gpus() == ["4", "7"]
    batch.run({"function": "cards:card", "grid": {"a": [1, 2]}}, "out", workers=2)
    assert set(results.gather("out")["card"]) == {4, 7}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert batch.gpus() == []


def test_a_run_may_take_only_so_long_and_a_silent_one_is_no_success(work, capsys):
    assert batch.run({"function": "work:rows", "grid": {"a": 1, "wait": 60}, "timeout": 2.5}, "late") == {"failed": 1}
    assert result_of("rows", "late")["error"] == "The run took longer than 2.5 s (`timeout`)."
    assert batch.run({"function": "work:quiet", "grid": {"a": [0, 1]}}, "out") == {"done": 1, "failed": 1}
    assert result_of("quiet_a=1")["error"] == "SystemExit: 0" and "left no rows in a table" in capsys.readouterr().out
    assert results.gather("out")["error"].tolist() == ["no table.csv", "SystemExit: 0"]


def test_any_locale_will_do(work):
    write_notebook(work / "größe.ipynb", TABLE, parameters="a = 'ä'\nout = '.'")
    Path("s.yaml").write_text("function: names:rows\ngrid: {name: [größe, 大きさ]}\n", encoding="utf-8")
    Path("names.py").write_text("def rows(name):\n    print(name)\n    return [{'Größe': 1}]\n", encoding="utf-8")
    plain = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": ""}
    code, said = sweep("s.yaml", "--out", "out", env=plain)
    assert code == 0 and "2 done" in said, said
    code, said = sweep("wrong.yaml", "--out", "größe", env=plain)
    assert code == 2 and "cannot be read" in said
    table = pd.read_csv("out/results.csv", encoding="utf-8")
    assert set(table["name"]) == {"größe", "大きさ"} and "Größe" in table
    command = [sys.executable, "-m", "forgetkit", "summary", "out", "--no-figures"]
    done = subprocess.run(command, env=plain, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and "1.0" in done.stdout and "größe" in done.stdout, done.stderr


def test_a_full_disk_ends_in_a_sentence(work, monkeypatch, capsys):
    from click.testing import CliRunner

    from forgetkit.__main__ import forgetkit

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("forgetkit.batch.table.gather", full)
    done = CliRunner().invoke(forgetkit, ["batch", spec(grid={"a": 1}), "--out", "out"])
    assert done.exit_code == 1 and "No space left" in done.output and "goes on from here" in done.output
    assert len(finished()) == 1


@pytest.mark.slow
def test_two_sweeps_into_one_folder_share_the_work(work):
    spec(grid={"a": list(range(6)), "wait": 0.2})
    spec("other.yaml", list=[{"a": a, "wait": 0.2} for a in range(5, -1, -1)])
    both = [start(file, "--out", "out", "--workers", "2") for file in ("s.yaml", "other.yaml")]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert calls() == {f"{a}": 1 for a in range(6)}, "each set exactly once"
    assert len(results.gather("out")) == 12 and all("6 done" in s for s in said)


@pytest.mark.slow
def test_notebooks_that_each_do_something_unusual(tmp_path):
    """From another folder, with a TMPDIR too long for sockets."""
    words = "import sys, warnings\nprint('precision ' + 'lost', file=sys.stderr)\nwarnings.warn('diver' + 'ged')"
    bar = "print('5' + '0%|#####     | 1/2 [00:01<00:01]', file=sys.stderr)\nsys.stdout.write('x' * (a == 0))"
    daemon = "import subprocess\npid = subprocess.Popen(['sleep', '4321'], start_new_session=True).pid"
    write_notebook(tmp_path / "fine.ipynb", words, bar, "import beside", TABLE)
    write_notebook(tmp_path / "fails.ipynb", "assert a > 3, 'too small'")
    write_notebook(tmp_path / "leaves.ipynb", "import sys; sys.exit(0)", TABLE)
    write_notebook(tmp_path / "stays.ipynb", daemon, "open(out + '/pid', 'w').write(str(pid));", TABLE)
    write_notebook(tmp_path / "slow {x}.ipynb", "while True: pass")
    write_notebook(tmp_path / "bare.ipynb", "from pathlib import Path; Path('here').touch()")
    (tmp_path / "beside.py").write_text("x = 1\n")
    names = [path.name for path in sorted(tmp_path.glob("*.ipynb"))]
    (tmp_path / "s.yaml").write_text(json.dumps({"notebook": names, "timeout": {"cell": 3}}))
    for folder in ("x" * 90, "elsewhere"):
        (tmp_path / folder).mkdir()
    settings = {"cwd": tmp_path / "elsewhere", "env": {**os.environ, "TMPDIR": str(tmp_path / ("x" * 90))}}
    code, said = sweep("../s.yaml", "--out", "../out", "--workers", "2", **settings)
    out = tmp_path / "out"
    assert code == 1 and "3 done, 3 failed" in said and "AssertionError: too small" in said, said

    table = results.gather(out).set_index("task")
    assert table.loc["fine", "score"] == 7 and table.loc["fine", "peak_mb"] > 50
    assert table.loc["bare", "error"] == "no table.csv" and (tmp_path / "here").exists(), "it runs beside its notebook"
    assert "SystemExit: the notebook ended itself" in table.loc["leaves", "error"]
    failure, late = result_of("fails", out), result_of("slow_x", out)
    assert failure["cell"] == 3 and "a > 3" in failure["code"] and "AssertionError" in failure["traceback"]
    assert "\x1b" not in failure["traceback"]
    assert "CellTimeoutError" in late["error"] and "while True" in late["error"]
    fine = next(out.glob("fine-*"))
    log, executed = (fine / "log.txt").read_text(), (fine / "fine.ipynb").read_text()
    assert all(word in text for word in ("precision lost", "diverged") for text in (log, executed))
    assert "50%" not in executed
    with pytest.raises(ProcessLookupError):
        os.kill(int(next(out.glob("stays-*/pid")).read_text()), 0)
    assert not [*tmp_path.glob("x*/kernel-*")]


@pytest.mark.slow
def test_edited_in_the_middle_each_run_says_what_it_ran(work):
    write_notebook(work / "nb.ipynb", f"import time; time.sleep(2)\n{TABLE}")
    Path("s.yaml").write_text("notebook: nb.ipynb\ngrid: {a: [1, 2]}\n")
    process = start("s.yaml", "--out", "out", "--workers", "1")
    until(lambda: [*Path("out").glob("*/log.txt")], 60, "the first run")
    write_notebook(work / "nb.ipynb", f"import time; time.sleep(2)\n{TABLE.replace('7', '70')}")
    process.communicate(timeout=60)
    assert process.returncode == 0
    table = results.gather("out").set_index("a")
    assert table["score"].to_dict() == {1: 7, 2: 140} and table["source"].nunique() == 2
    code, said = sweep("s.yaml", "--out", "out")
    assert code == 2 and "has changed" in said and "nb (1 runs)" in said
