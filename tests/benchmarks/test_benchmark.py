"""The benchmark's runner on synthetic images: rows are whole, resumable, and every method and ablation runs."""

import json
import time
from collections import Counter

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from benchmarks import benchmark
from benchmarks.ablations import ABLATIONS, PIECES, UNPUBLISHED, by_stage, whole_weights
from benchmarks.baselines import BASELINES
from benchmarks.benchmark import (
    ABLATED_ON,
    GRIDS,
    SUBGROUPS,
    TUNED_ON,
    all_methods,
    main,
    peak_memory,
    run_all,
    run_subgroup,
    tune,
    unlearned,
)
from forgetkit import Recipe, load_clip
from forgetkit.batch import record
from forgetkit.data.tutorial import KINDS, targets

QUICK = {
    "forget.k": 2, "forget.fisher_samples": 4, "forget.steps": 2, "forget.batch": 8, "remind.steps": 2,
    "remind.align_steps": 1, "remind.n_noise": 4, "remind.n_abstract": 4, "remind.batch": 8,
    "restore.alphas": (0.0, 1.0),
}  # fmt: skip


def test_subgroups_exist_and_ablations_name_real_parts():
    tutorials = [of for of in SUBGROUPS if of[0] != "whole style"]
    assert all(target in targets(kind) for kind, target in (*tutorials, *TUNED_ON, *ABLATED_ON))
    assert set(ABLATED_ON) <= set(SUBGROUPS) and set(TUNED_ON) & set(SUBGROUPS) == {("class", "cat")}
    assert Counter(kind for kind, _ in SUBGROUPS) == dict(zip(KINDS, (10, 4, 3, 3))) | {"whole style": 1}
    assert {kind for kind, _ in SUBGROUPS[:5]} == {kind for kind, _ in SUBGROUPS}, "a part of a run has every kind"
    for part, changes in ABLATIONS.items():
        assert Recipe.default(**by_stage(changes)) != Recipe.default() or part in PIECES
    assert set(GRIDS) == {*BASELINES, "paper", "default"} and set(UNPUBLISHED) <= set(ABLATIONS)


def test_a_name_without_a_stage_means_every_stage_that_has_it():
    changes = by_stage({"trainable_fraction": 0.5, "remind.embedding_step": 1e-3, "restore.alphas": (1.0,)})
    half = {"trainable_fraction": 0.5}
    assert changes == {
        "forget": half, "remind": {**half, "embedding_step": 1e-3}, "restore": {"alphas": (1.0,)},
    }  # fmt: skip
    for wrong in ("lasd", "remember.lr", "remind.lasd"):
        with pytest.raises(ValueError, match=wrong.partition(".")[0]):
            Recipe.default(**by_stage({wrong: 1}))


@pytest.mark.parametrize("part", ABLATIONS)
def test_every_ablation_runs(part, mini, ready, tmp_path, monkeypatch):
    monkeypatch.setattr("forgetkit.store.cache_folder", lambda: tmp_path)
    quick = {name: value for name, value in QUICK.items() if name not in ABLATIONS[part]}
    result, seconds = unlearned(f"default without {part}", mini, ready, 0, **quick)
    assert result.name == "restore" and seconds > 0
    assert all(torch.isfinite(p).all() for p in result.model.parameters())
    if part == "fisher":
        assert result.record["fisher"] == [] and len(result.record["layers"]) == 2


def test_whole_weights_are_trained_where_no_adapter_is(mini):
    tower = mini.copy().model.visual
    names = ["conv1.weight", "attnpool.c_proj.weight"]
    params = whole_weights(tower, names, 8, 16.0)
    assert [id(p) for p in params] == [id(tower.get_parameter(name)) for name in names]
    assert [n for n, p in tower.named_parameters() if p.requires_grad] == names


@pytest.fixture
def nudging(mini, colours, monkeypatch):
    """Every subgroup is `colours`, and every method nothing but a copy; the methods that were called."""
    calls = []
    copy = lambda method, clip, *_, **__: (clip, 0.0) if method == "original" else calls.append(method) or (
        mini.copy(method), 1.5)  # fmt: skip
    monkeypatch.setattr(benchmark, "unlearned", copy)
    monkeypatch.setattr(benchmark, "tutorial_sets", lambda *_, **__: colours)
    monkeypatch.setattr(benchmark, "load_clip", lambda *_, **__: mini)
    benchmark.drawn.cache_clear()
    yield calls
    benchmark.drawn.cache_clear()


def test_rows_are_whole_and_not_computed_twice(nudging, tmp_path):
    (tmp_path / "one").mkdir()
    table = run_subgroup("class", "red", 0, ["original", "ga", "default"], "cpu", tmp_path / "one")
    assert nudging == ["ga", "default"] and len(table) == 3, "two methods and the original"
    table = run_subgroup("class", "red", 0, ["original", "ga", "default", "lip"], "cpu", tmp_path / "one")
    assert nudging == ["ga", "default", "lip"], "what is there is not computed again"
    stored = pd.read_csv(tmp_path / "one/rows.csv")
    assert stored["method"].tolist() == ["original", "ga", "default", "lip"]
    assert {"target", "retain", "other", "score", "seconds", "peak_mb", "torch", "device"} <= set(stored)
    assert {"offset recall", "AUROC against siblings", "20-NN recall", "probe recall"} <= set(stored)
    assert stored["seconds"].tolist() == [0.0, 1.5, 1.5, 1.5]
    assert not list(tmp_path.glob("*/*.part"))


def test_settings_are_scored_on_validation_images_and_the_better_half_goes_on(nudging, mini, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "TUNED_ON", (("class", "red"), ("class", "blue")))
    table = tune(mini, ["projection", "paper"], tmp_path / "settings.csv")
    first, second = (table[table["subgroup"] == name] for name in ("red", "blue"))
    assert first["method"].value_counts().to_dict() == {"original": 1, "projection": 2, "paper": 6}
    assert second["method"].value_counts().to_dict() == {"original": 1, "projection": 1, "paper": 3}
    assert {json.loads(s)["forget.k"] for s in first.query("method == 'paper'")["setting"]} == {8, 16}
    called = len(nudging)
    table.drop(table.index[-1]).to_csv(tmp_path / "settings.csv", index=False)  # as if interrupted
    again = tune(mini, ["projection", "paper"], tmp_path / "settings.csv")
    assert again["setting"].tolist() == table["setting"].tolist()
    assert len(nudging) == called + 1 == 13, "what is there is not computed again"


def finished(folder, rows):
    """A run's folder as a sweep leaves it."""
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / record.TABLE, index=False)
    record.write(folder, {"status": "done", "parameters": {}})


def test_run_asks_for_what_is_missing_and_puts_it_into_the_table(tmp_path, monkeypatch):
    row = {"method": "ga", "kind": "class", "subgroup": "cat", "seed": 0, "score": 12.345}
    original = {**row, "method": "original", "score": None}
    pd.DataFrame([original, row]).to_csv(tmp_path / "rows.csv", index=False)
    asked, folder = [], tmp_path / "sweep"

    def fake(spec, folder, **_):
        asked.extend(spec["list"])
        finished(folder / "one-1", [{**original, "seed": 1, "score": 99.0}, {**row, "method": "lip", "score": 1.0}])
        finished(folder / "two-2", [{**row, "seed": 1, "score": 2.0}])
        finished(folder / "bad-3", [])
        record.write(folder / "bad-3", {"status": "failed", "parameters": {}})
        return {"done": 2, "failed": 1}

    monkeypatch.setattr("benchmarks.benchmark.batch.run", fake)
    with pytest.raises(RuntimeError, match="1 of 2 runs failed"):
        run_all("cpu", ["ga", "lip", "default without guard"], [0, 1], ["cat"], tmp_path / "rows.csv", folder=folder)
    assert [(s["seed"], s["methods"]) for s in asked] == [
        (0, ["lip", "default without guard"]), (1, ["ga", "lip", "default without guard"]),
    ]  # fmt: skip
    table = pd.read_csv(tmp_path / "rows.csv")
    assert table["score"].tolist()[1:] == [12.345, 1.0, 2.0] and len(table) == 4, "what was there is left alone"
    assert [f.name for f in folder.iterdir()] == ["bad-3"], "what is in the table is remembered there alone"


def test_the_original_is_asked_for_once_a_subgroup(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "benchmarks.benchmark.batch.run", lambda spec, *_, **__: asked.extend(spec["list"]) or {"failed": 0}
    )
    run_all("cpu", ["ga"], [1, 2], ["sketches"], tmp_path / "rows.csv", folder=tmp_path / "sweep")
    assert [(s["seed"], s["methods"]) for s in asked] == [(1, ["original", "ga"]), (2, ["ga"])]


@pytest.mark.slow
def test_a_run_through_the_sweep_gives_the_committed_rows(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    where = ["--method", "projection", "--method", "text_lora", "--seed", "0", "--subgroup", "cat"]
    done = CliRunner().invoke(main, ["run", *where, "--out", "rows.csv"])
    assert done.exit_code == 0, done.output
    found = pd.read_csv("rows.csv").set_index("method")
    rows = pd.read_csv(request.config.rootpath / "docs/results/benchmark.csv")
    rows = rows.query("kind == 'class' and subgroup == 'cat' and seed == 0").set_index("method")
    for method in ("original", "projection", "text_lora"):
        for column in ("target", "retain", "other", "fashion", "quickdraw", "unseen", "emoji", "20-NN recall"):
            assert found.loc[method, column] == pytest.approx(rows.loc[method, column], abs=1), (method, column)


def test_peak_memory_sees_what_was_held():
    with peak_memory(torch.device("cpu"), every=0.005) as before:
        torch.ones(10).sum().item()
        time.sleep(0.05)
    with peak_memory(torch.device("cpu"), every=0.005) as found:
        block = torch.ones(60_000_000)
        time.sleep(0.05)
        del block
    assert found["MB"] > before["MB"] + 200


def test_methods_are_named_and_wrong_ones_refused():
    methods = all_methods()
    assert len(methods) == len(set(methods)) and {*BASELINES, "paper", "default"} <= set(methods)
    assert "paper without guard" not in methods, "it has none"
    refused = CliRunner().invoke(main, ["run", "--method", "magic"])
    assert refused.exit_code == 2 and "magic" in refused.output


@pytest.mark.slow
def test_a_whole_style_has_images_of_every_class_and_no_label_of_its_own():
    benchmark.drawn.cache_clear()
    sets = benchmark.drawn(load_clip("mini"), "whole style", "sketches", 0)
    assert set(sets.subgroup.siblings) == {"photos", "icons"} and "other" not in sets.test
    assert len(sets.forget) == 140 and len(sets.labels) == 7 and sets.own_labels == []
    assert not {*sets.classes} & {*sets.test["quickdraw"].names}, "the target is no column of its own success"
