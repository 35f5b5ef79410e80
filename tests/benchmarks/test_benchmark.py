"""The benchmark's runner on synthetic images: rows are whole, resumable, and every method and ablation runs."""

import json
from collections import Counter

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from benchmarks import benchmark, results
from benchmarks.ablations import ABLATIONS, OURS, PIECES, by_stage, whole_weights
from benchmarks.baselines import BASELINES
from benchmarks.benchmark import (
    ABLATED_ON,
    BEST_OTHER,
    BEYOND,
    FURTHER,
    GRIDS,
    OTHERS,
    SUBGROUPS,
    TUNED_ON,
    all_methods,
    main,
    parts_of,
    tune,
    unlearned,
)
from forgetkit import Recipe, load_clip
from forgetkit.data.tutorial import KINDS, targets
from forgetkit.lessons.committed import committed

QUICK = {
    "forget.k": 2, "forget.fisher_samples": 4, "forget.steps": 2, "forget.batch": 8, "remind.steps": 2,
    "remind.align_steps": 1, "remind.n_abstract": 4, "remind.batch": 8,
    "restore.alphas": (0.0, 1.0),
}  # fmt: skip


def test_subgroups_exist_and_ablations_name_real_parts():
    every = SUBGROUPS + FURTHER + BEYOND
    tutorials = [of for of in every if of[0] != "whole style"]
    assert all(target in targets(kind) for kind, target in (*tutorials, *TUNED_ON, *ABLATED_ON))
    assert set(ABLATED_ON) <= set(SUBGROUPS) and {kind for kind, _ in TUNED_ON} == {*KINDS}
    assert Counter(kind for kind, _ in every) == dict(zip(KINDS, (10, 5, 3, 3))) | {"whole style": 1}
    assert Counter(kind for kind, _ in SUBGROUPS) == dict.fromkeys(KINDS, 2), "two of each kind"
    for part, changes in ABLATIONS.items():
        recipe = "default" if part in OURS else "paper"
        assert f"{recipe} without {part}" in parts_of(recipe), "it has that part"
        assert Recipe.named(recipe, **by_stage(changes)) != Recipe.named(recipe) or part in PIECES
    assert set(GRIDS) == {*BASELINES, "paper", "default"} and set(OURS) <= set(ABLATIONS)


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


def test_a_row_has_accuracies_a_score_and_what_an_attacker_finds(nudging, mini):
    (original,) = benchmark.measure(mini, "test", "original", "class", "red", 0)
    (row,) = benchmark.measure(mini, "test", "ga", "class", "red", 0)
    assert nudging == ["ga"] and original["score"] is None and original["seconds"] == 0 and row["seconds"] == 1.5
    assert {"target", "retain", "other", "offset recall", "AUROC against siblings", "20-NN recall"} <= set(row)
    assert row["target"] == original["target"], "nothing was done"


def test_settings_are_scored_on_validation_images_and_the_best_third_goes_on(nudging, mini, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "TUNED_ON", (("class", "red"), ("class", "blue")))
    monkeypatch.setitem(benchmark.GRIDS, "paper", benchmark.GRIDS["paper"][:6])
    table = tune(mini, ["projection", "paper"], tmp_path / "settings.csv")
    first, second = (table[table["subgroup"] == name] for name in ("red", "blue"))
    assert first["method"].value_counts().to_dict() == {"original": 1, "projection": 2, "paper": 6}
    assert second["method"].value_counts().to_dict() == {"original": 1, "projection": 1, "paper": 2}
    assert {json.loads(s)["forget.k"] for s in first.query("method == 'paper'")["setting"]} == {4, 8, 12}
    called = len(nudging)
    table.drop(table.index[-1]).to_csv(tmp_path / "settings.csv", index=False)  # as if interrupted
    again = tune(mini, ["projection", "paper"], tmp_path / "settings.csv")
    assert again["setting"].tolist() == table["setting"].tolist()
    assert len(nudging) == called + 1 == 12, "what is there is not computed again"


@pytest.mark.slow
def test_a_run_gives_the_committed_rows(tmp_path):
    where = ["--method", "original", "--method", "projection", "--method", "text_lora", "--subgroup", "truck sketches"]
    where += ["--only", "benchmark", "--folder", str(tmp_path), "--workers", "0"]
    done = CliRunner().invoke(results.main, where)
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "benchmark.csv").query("seed == 0").set_index("method")
    rows = committed("benchmark").query("subgroup == 'truck sketches' and seed == 0").set_index("method")
    for method in ("original", "projection", "text_lora"):
        for column in ("target", "retain", "other", "fashion", "quickdraw", "unseen", "emoji", "20-NN recall"):
            assert found.loc[method, column] == pytest.approx(rows.loc[method, column], abs=1), (method, column)


def test_methods_are_named_and_wrong_ones_refused():
    methods = all_methods()
    assert len(methods) == len(set(methods)) and {*BASELINES, "paper", "default"} <= set(methods)
    assert "paper without guard" not in methods, "it has none"
    assert {*OTHERS, BEST_OTHER} <= set(methods)
    refused = CliRunner().invoke(main, ["--method", "magic"])
    assert refused.exit_code == 2 and "magic" in refused.output


@pytest.mark.slow
def test_a_whole_style_has_images_of_every_class_and_no_label_of_its_own():
    benchmark.drawn.cache_clear()
    sets = benchmark.drawn(load_clip("mini"), "whole style", "sketches", 0)
    assert set(sets.subgroup.siblings) == {"photos", "icons"} and "other" not in sets.test
    assert len(sets.forget) == 140 and len(sets.labels) == 7 and sets.own_labels == []
    assert not {*sets.classes} & {*sets.test["quickdraw"].names}, "the target is no column of its own success"
