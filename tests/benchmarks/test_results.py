"""One command for all rows: what lacks or is stale is made, whatever is killed goes on, and the files are whole."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import results, studies
from benchmarks.benchmark import makers
from benchmarks.made_by import made_by, visit
from benchmarks.results import by_sets, main, seconds
from forgetkit.evaluation import score
from forgetkit.recipe import Recipe

RUNS = [{"method": m, "kind": "class", "subgroup": s, "seed": 0} for m in ("original", "ga") for s in ("red", "blue")]


@pytest.fixture
def one(monkeypatch):
    """A single study of four runs of two rows each; the runs that were computed, and what the version is."""
    said = {"made": [], "version": "v1", "fail": None}

    def compute(clip, **run):
        if run == said["fail"]:
            raise ValueError("no luck")
        said["made"].append(run)
        return [{"measure": m, "value": i + 0.5} for i, m in enumerate(("a", "b"))]

    only = studies.Study(("method", "kind", "subgroup", "seed"), lambda: RUNS, compute, lambda **_: said["version"])
    monkeypatch.setattr(studies, "STUDIES", {"one": only})
    monkeypatch.setattr(results, "STUDIES", {"one": only})
    monkeypatch.setattr(results, "model", lambda device: None)
    return said


def run(folder, *options):
    return CliRunner().invoke(main, ["--folder", str(folder), "--workers", "0", "--device", "cpu", *options])


def test_what_lacks_or_is_stale_is_made_and_nothing_else(one, tmp_path):
    assert run(tmp_path).exit_code == 0 and len(one["made"]) == 4
    first = (tmp_path / "one.csv").read_bytes()
    table = pd.read_csv(tmp_path / "one.csv")
    assert table["subgroup"].tolist() == ["red", "red", "blue", "blue"] * 2, "in the order of the runs, not of the sets"
    assert table.columns[-4:].tolist() == ["made_by", "torch", "open_clip", "device"]
    run(tmp_path)
    assert len(one["made"]) == 4, "nothing lacks"
    table.loc[table["subgroup"] == "blue", "made_by"] = "old"
    gone = table.iloc[:2].assign(method="magic")
    pd.concat([table, gone]).to_csv(tmp_path / "one.csv", index=False)
    said = run(tmp_path, "--stale").output
    assert "2 runs are there, 2 lack or are stale" in said and len(one["made"]) == 4
    said = run(tmp_path).output
    assert "6 rows that are stale or that no page needs are dropped" in said
    assert [made["subgroup"] for made in one["made"][4:]] == ["blue", "blue"]
    assert (tmp_path / "one.csv").read_bytes() == first


def test_a_run_that_fails_is_named_and_the_others_are_made(one, tmp_path):
    one["fail"] = RUNS[0]
    failed = run(tmp_path)
    assert failed.exit_code == 1 and "no luck" in failed.output and "red" in failed.output
    assert len(one["made"]) == 3 and len(pd.read_csv(tmp_path / "one.csv")) == 6
    one["fail"] = None
    assert run(tmp_path, "--subgroup", "blue").exit_code == 0 and len(one["made"]) == 3, "it was not asked for"
    assert run(tmp_path).exit_code == 0 and len(one["made"]) == 4
    assert pd.read_csv(tmp_path / "one.csv")["method"].tolist() == ["original"] * 4 + ["ga"] * 4


def test_runs_of_the_same_images_follow_each_other_the_longest_first():
    runs = [(name, names) for name, study in studies.STUDIES.items() if study.core for names in study.runs()]
    groups = by_sets(runs)
    assert sorted(map(repr, runs)) == sorted(repr(run) for group in groups for run in group)
    lasts = [sum(map(seconds, group)) for group in groups]
    assert lasts == sorted(lasts, reverse=True)
    assert lasts[0] < sum(lasts) / 2, "two processes can share them"
    cats = next(group for group in groups if ("quickstart", {"kind": "class", "forget": "cat"}) in group)
    assert {name for name, _ in cats} == {"benchmark", "quickstart", "sensitivity", "unshown", "audit"}


def test_every_core_run_stands_once_and_none_of_it_beyond():
    for name, study in studies.STUDIES.items():
        runs = [tuple(run[column] for column in study.key) for run in study.runs()]
        assert len(set(runs)) == len(runs), name
    core, beyond = (set(map(repr, studies.STUDIES[name].runs())) for name in ("benchmark", "beyond"))
    assert core and beyond and not core & beyond


def test_code_counts_and_what_it_says_does_not(tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    source = (
        '"""Doc."""\nfrom benchmarks import b\nSTEP = 2\ndef f(x: b.Kind):\n    """Says."""\n    return b.g(x) * STEP\n'
    )
    other = "class Kind:\n    size = 1\ndef g(x):\n    return x\ndef unused():\n    return 0\n"

    def code(a, b):
        for name, text in {"a": a, "b": b}.items():
            (tmp_path / f"benchmarks/{name}.py").write_text(text)
        monkeypatch.setattr("benchmarks.made_by.ROOT", tmp_path)
        from benchmarks.made_by import definitions

        definitions.cache_clear()
        seen = {}
        visit("benchmarks.a", "f", seen)
        definitions.cache_clear()
        return seen

    first = code(source, other)
    assert set(first) == {f"benchmarks.{name}" for name in ("a.f", "a.STEP", "b.Kind", "b.g")}
    same = code(source.replace("Says.", "Tells.") + "# more\n", other.replace("return 0", "return 1"))
    assert same == first
    for old, new in (("STEP = 2", "STEP = 3"), ("b.g(x) *", "b.g(x) +")):
        assert code(source.replace(old, new), other) != first
    for old, new in (("size = 1", "size = 2"), ("return x", "return -x")):
        assert code(source, other.replace(old, new)) != first


def test_a_method_is_made_by_its_own_code_and_values_alone():
    seen = {}
    visit("benchmarks.baselines.trained", "ga", seen)
    assert "forgetkit.training.Trainer" in seen, "the loop that it runs through"
    assert not {"forgetkit.pipeline.unlearn", "benchmarks.baselines.trained.salun"} & set(seen)
    visit("forgetkit.pipeline", "unlearn", found := {})
    for part in ("forgetting.forget", "losses.hinge", "training.Trainer", "subgroups.ModelSets", "models.clip.Clip"):
        assert f"forgetkit.{part}" in found, part
    versions = {name: made_by(*makers(name)) for name in ("default", "paper", "default without lora", "ga", "original")}
    assert len(set(versions.values())) == len(versions)
    assert makers("default")[1] != makers("default without guard")[1], "its values"
    assert made_by(score, 1) == made_by(score, 1) != made_by(score, 2)
    assert Recipe.default(3).forget.seed == 3 and makers("default") == makers("default"), "whatever the seed"


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_no_process_and_goes_on(tmp_path, request):
    asked = ["--folder", str(tmp_path), "--only", "benchmark", "--subgroup", "truck sketches", "--device", "cpu"]
    asked += ["--method", "projection", "--method", "original", "--method", "null_space", "--workers", "1"]
    command = [sys.executable, "-m", "benchmarks.results", *asked]
    first = subprocess.Popen(command, cwd=request.config.rootpath)
    until = time.monotonic() + 200
    while not (tmp_path / "benchmark.csv").exists() and time.monotonic() < until:
        time.sleep(0.1)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first.pid)], capture_output=True, text=True)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len(pd.read_csv(tmp_path / "benchmark.csv"))
    for child in map(int, children.stdout.split()):
        while os.path.exists(f"/proc/{child}") and time.monotonic() < until:
            time.sleep(0.1)
        assert not os.path.exists(f"/proc/{child}")
    assert 0 < done < 3
    subprocess.run(command, cwd=request.config.rootpath, check=True)
    table = pd.read_csv(tmp_path / "benchmark.csv")
    assert sorted(table["method"]) == ["null_space", "original", "projection"] and table["made_by"].notna().all()
