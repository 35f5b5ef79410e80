"""The benchmark's runner on synthetic images: rows are whole, resumable, and every method and ablation runs."""

import dataclasses
import json

import pandas as pd
import pytest
import torch

from forgetkit import Recipe
from forgetkit.baselines import BASELINES
from forgetkit.benchmark import (
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
    unlearned,
)  # fmt: skip
from forgetkit.kinds import targets
from forgetkit.rows import Rows

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
    monkeypatch.setattr("forgetkit.benchmark.unlearned", lambda *a, **k: calls.append(a[0]) or (mini.copy("x"), 1.5))
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
