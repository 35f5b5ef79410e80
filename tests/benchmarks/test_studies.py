"""Each study on synthetic images: the rows it makes, and that what is there is not computed again."""

import pandas as pd
import pytest
import torch

from benchmarks import benchmark, studies, tables
from benchmarks.tables.__main__ import usual_values
from benchmarks.tables.studies import requests_table
from forgetkit import Recipe

COLUMNS = ["target", "retain", "other"]


@pytest.fixture(autouse=True)
def sizes(colours, monkeypatch, tmp_path):
    """Every subgroup is `colours`; the sizes that were asked for."""
    asked = []
    load = lambda subgroup, seed, kind, clip, **given: asked.append(given) or colours
    monkeypatch.setattr(benchmark, "tutorial_sets", load)
    monkeypatch.setattr(studies, "STUDIED", (("class", "red"), ("class", "red too")))
    monkeypatch.setattr("forgetkit.store.cache_folder", lambda: tmp_path / "cache")
    benchmark.drawn.cache_clear()
    yield asked
    benchmark.drawn.cache_clear()


@pytest.fixture
def staged(monkeypatch):
    """`unlearn` does nothing but name the stages; the recipes that were asked for."""
    seen = []

    def unlearn(clip, sets, recipe, *_):
        seen.append(recipe)
        return [clip, *(clip.copy(name, seconds=2.0, alpha=0.85) for name in ("forget", "remind", "restore"))]

    monkeypatch.setattr(studies, "unlearn", unlearn)
    return seen


def test_front_runs_from_the_original_to_the_result_and_is_resumed(monkeypatch, mini, tmp_path):
    monkeypatch.setattr(studies, "METHODS", ("default", "ga"))
    monkeypatch.setattr(studies, "BLENDS", (studies.BLENDS[0], 0.5, studies.BLENDS[-1]))
    called = []

    def nudged(method, clip, *_):
        called.append(method)
        result = clip.copy(method)
        with torch.no_grad():
            result.model.visual.attnpool.c_proj.weight.mul_(-1)
        return result, 1.0

    monkeypatch.setattr(studies, "unlearned", nudged)
    table = studies.front(mini, tmp_path / "front.csv")
    assert len(table) == 3 * 2 * len(studies.BLENDS) and len(called) == 6
    first, last = (table[table["alpha"] == a] for a in (0.0, 1.0))
    assert first["retain"].nunique() == 1, "alpha 0 is the original, whatever the method"
    assert (last["retain"] != first["retain"].iloc[0]).all(), "alpha 1 is the method's result"
    assert len(studies.front(mini, tmp_path / "front.csv")) == len(table) and len(called) == 6


def test_the_quickstart_has_a_row_a_stage(staged, mini, tmp_path):
    table = studies.quickstart(mini, tmp_path / "quickstart.csv")
    assert table["forget"].tolist() == [s for _, s in studies.QUICKSTART for _ in range(4)]
    assert table["model"].tolist()[:4] == ["original", "forget", "remind", "restore"]
    wanted = ["kind", "forget", "model", *COLUMNS, "score", "seconds", "alpha", "torch", "open_clip", "device"]
    assert list(table) == wanted and set(staged) == {Recipe.default()}
    assert table["seconds"].tolist()[:4] == [0.0, 2.0, 2.0, 2.0] and table["alpha"].tolist()[3] == 0.85


def test_requests_follow_each_other_and_are_told_of_those_before(staged, sizes, mini, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "REQUESTS", ("red", "green"))
    table = studies.requests(mini, tmp_path / "requests.csv")
    assert table["method"].tolist() == ["original", *["default"] * 2, *["not told"] * 2]
    assert pd.read_csv(tmp_path / "requests.csv")["subgroup"].tolist()[1:] == ["red", "green"] * 2
    assert {"red", "green", "others"} <= set(table) and (table["red"] == table["red"].iloc[0]).all(), "nothing is done"
    assert {"previous_targets": ("red",)} in sizes and len(staged) == 2 * (1 + 2)
    shown = requests_table(pd.read_csv(tmp_path / "requests.csv"))
    assert shown["worst target so far"].isna().tolist() == [True, False, False, False, False]
    assert shown["worst target so far"].iloc[2] == table[["red", "green"]].iloc[2].max()
    assert shown["least kept (% of the original's)"].tolist() == pytest.approx([100.0] * 5)
    studies.requests(mini, tmp_path / "requests.csv")
    assert len(staged) == 6, "what is there is not computed again"


@pytest.mark.slow
def test_each_method_is_timed_in_a_process_of_its_own(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "METHODS", ("projection", "text_lora"))
    table = studies.cost(mini, tmp_path / "cost.csv")
    found = table.pivot(index="what", columns="unit", values="value")
    methods = found.loc[["projection", "text_lora"]]
    assert (methods["s"] > 0).all() and (methods["MB"] > 200).all()  # torch, the model and the images
    assert "projection" in tables.made("cost", tmp_path)
    monkeypatch.setattr(studies.batch, "run", lambda *_, **__: pytest.fail("measured again"))
    assert len(studies.cost(mini, tmp_path / "cost.csv")) == len(table) == 4


def test_sensitivity_changes_one_knob_or_one_size(monkeypatch, staged, sizes, mini, tmp_path):
    monkeypatch.setattr(studies, "STUDIED", (("class", "red"),))
    monkeypatch.setattr(studies, "KNOBS", {"forget.k": (4, 8), "n_forget": (10,), "restore.alphas": (0.5,)})
    table = studies.sensitivity(mini, tmp_path / "rows.csv")
    assert [r.forget.k for r in staged] == [4, 8, 4, 4] and staged[2] == Recipe.default()
    assert staged[3] == Recipe.default(restore={"alphas": (0.5,)})
    assert sizes == [{}, {"n_forget": 10}, {}]
    assert table["model"].tolist() == 4 * ["forget", "remind", "restore"]
    studies.sensitivity(mini, tmp_path / "rows.csv")
    assert len(staged) == 4, "what is there is not computed again"


@pytest.mark.parametrize("knob", studies.KNOBS)
def test_every_knob_has_the_default_among_its_values(knob):
    usual = usual_values(pd.DataFrame({"model": ["restore"], "knob": ["last"], "alpha": [0.9]}))
    assert usual[knob] in studies.KNOBS[knob] or knob.startswith("n_")
    if not knob.startswith("n_"):
        value = (0.5,) if knob == "restore.alphas" else studies.KNOBS[knob][0]
        assert Recipe.default(**studies.by_stage({knob: value})) != Recipe.default()
