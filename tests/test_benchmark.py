"""The benchmark's runner on synthetic images: rows are whole, resumable, and every method and ablation runs."""

import dataclasses
import json

import pandas as pd
import pytest
import torch

from forgetkit import Recipe
from forgetkit.batch import worker as job
from forgetkit.lab.baselines import BASELINES
from forgetkit.lab.benchmark import (
    ABLATED_ON,
    ABLATIONS,
    GRIDS,
    SUBGROUPS,
    TUNED_ON,
    all_methods,
    best_setting,
    main,
    measure,
    peak_memory,
    run,
    unlearned,
)
from forgetkit.data.tutorial import targets
from forgetkit.lab.rows import Rows

QUICK = dict(k=2, fisher_samples=4, forget_steps=2, remind_steps=2, align_steps=1, n_noise=4, n_abstract=4,
             remind_batch=8, forget_batch=8, alphas=(0.0, 1.0))  # fmt: skip


def test_subgroups_exist_and_ablations_name_real_parts():
    assert all(target in targets(kind) for kind, target in (*SUBGROUPS, *TUNED_ON, *ABLATED_ON))
    assert set(ABLATED_ON) <= set(SUBGROUPS) and len(set(TUNED_ON) & set(SUBGROUPS)) <= 3
    assert len([k for k, _ in SUBGROUPS if k == "class"]) == 10 and len(SUBGROUPS) == 16
    for changes in ABLATIONS.values():
        assert Recipe.default(**changes) != Recipe.default()
    assert set(GRIDS) == {*BASELINES, "paper", "default"}


@pytest.mark.parametrize("part", ABLATIONS)
def test_every_ablation_runs(part, mini, colours):
    quick = {k: v for k, v in QUICK.items() if k not in ABLATIONS[part]}
    result, seconds = unlearned(f"default without {part}", mini, colours, None, 0, **quick)
    assert result.name == "restore" and seconds > 0
    assert all(torch.isfinite(p).all() for p in result.model.parameters())


def test_rows_are_whole_and_not_computed_twice(mini, colours, prototypes, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("forgetkit.lab.benchmark.unlearned", lambda *a, **k: calls.append(a[0]) or (mini.copy("x"), 1.5))
    load = lambda target, seed, kind, clip: colours
    runs = [(m, {}, "class", "red", s) for s in (0, 1) for m in ("ga", "default")]
    key = ["method", "kind", "target", "seed"]
    table = measure(mini, runs[:3], "test", Rows(tmp_path / "rows.csv", key), load)
    assert len(calls) == 3 and len(table) == 4, "three runs and the original"
    table = measure(mini, runs, "test", Rows(tmp_path / "rows.csv", key), load)
    assert len(calls) == 4, "what is there is not computed again"
    stored = pd.read_csv(tmp_path / "rows.csv")
    assert stored["method"].tolist() == ["original", "ga", "default", "ga", "default"]
    assert {"target_acc", "retain", "other", "score", "seconds", "peak_mb", "torch", "device"} <= set(stored)
    assert not list(tmp_path.glob("*.part"))


def finished(folder, rows):
    """A run's folder as a sweep leaves it."""
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / job.TABLE, index=False)
    job.write(folder, {"status": "done"})


def test_run_asks_for_what_is_missing_and_puts_it_into_the_table(tmp_path, monkeypatch):
    row = {"method": "ga", "kind": "class", "target": "cat", "seed": 0, "score": 12.345}
    original = {**row, "method": "original", "score": None}
    pd.DataFrame([original, row]).to_csv(tmp_path / "rows.csv", index=False)
    asked, folder = [], tmp_path / "sweep"

    def fake(spec, folder, **_):
        asked.extend(spec["list"])
        finished(folder / "one-1", [{**original, "score": 99.0}, {**row, "method": "lip", "score": 1.0}])
        finished(folder / "two-2", [{**row, "seed": 1, "score": 2.0}])
        finished(folder / "bad-3", [])
        job.write(folder / "bad-3", {"status": "failed"})
        return {"done": 2, "failed": 1}

    monkeypatch.setattr("forgetkit.lab.benchmark.batch.run", fake)
    with pytest.raises(RuntimeError, match="1 of 2 runs failed"):
        run("cpu", ["ga", "lip", "default without guard"], [0, 1], ["cat"], tmp_path / "rows.csv", folder=folder)
    assert [(s["seed"], s["methods"]) for s in asked] == [
        (0, ["lip", "default without guard"]), (1, ["ga", "lip", "default without guard"]),
    ]  # fmt: skip
    table = pd.read_csv(tmp_path / "rows.csv")
    assert table["score"].tolist()[1:] == [12.345, 1.0, 2.0] and len(table) == 4, "what was there is left alone"
    assert [f.name for f in folder.iterdir()] == ["bad-3"], "what is in the table is remembered there alone"


@pytest.mark.slow
def test_a_run_through_the_sweep_gives_the_committed_row(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    main(["run", "--methods", "projection", "--seeds", "0", "--subgroups", "truck", "--out", "rows.csv"])
    found = pd.read_csv("rows.csv").set_index("method")
    rows = pd.read_csv(request.config.rootpath / "docs/results/benchmark.csv").query("target == 'truck' and seed == 0")
    for method, row in rows[rows["method"].isin(["original", "projection"])].set_index("method").iterrows():
        assert (
            abs(found.loc[method, ["target_acc", "retain", "other"]] - row[["target_acc", "retain", "other"]]).max() < 1
        )


def test_best_setting_is_the_best_mean_over_subgroups():
    rows = [("ga", {"lr": 1}, 90.0), ("ga", {"lr": 1}, 10.0), ("ga", {"lr": 2}, 60.0), ("ga", {"lr": 2}, 60.0)]
    table = pd.DataFrame([{"method": m, "setting": json.dumps(s), "score": v} for m, s, v in rows])
    assert best_setting(table, "ga") == {"lr": 2}


def test_peak_memory_sees_what_was_held():
    with peak_memory(torch.device("cpu"), every=0.005) as before:
        torch.ones(10).sum().item()
        __import__("time").sleep(0.05)
    with peak_memory(torch.device("cpu"), every=0.005) as found:
        block = torch.ones(60_000_000)
        __import__("time").sleep(0.05)
        del block
    assert found["MB"] > before["MB"] + 200


def test_methods_are_named_and_wrong_ones_refused():
    methods = all_methods()
    assert len(methods) == len(set(methods)) and {*BASELINES, "paper", "default"} <= set(methods)
    assert "paper without guard" not in methods, "it has none"
    with pytest.raises(SystemExit):
        main(["run", "--methods", "magic"])


def test_settings_are_those_a_method_takes(mini, colours):
    names = {f.name for f in dataclasses.fields(Recipe)}
    assert all(set(setting) <= names for m in ("paper", "default") for setting in GRIDS[m])
