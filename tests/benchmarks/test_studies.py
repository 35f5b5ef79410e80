"""Each study on synthetic images: the rows it makes, and that what is there is not computed again."""

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from synthetic_data import coloured_set

from benchmarks import benchmark, deeper, studies, tables
from benchmarks.rows import measured
from forgetkit import Recipe, Subgroup
from forgetkit.data.images import PARTS, Grouped

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
    shown = deeper.requests_table(pd.read_csv(tmp_path / "requests.csv"))
    assert shown["worst target so far"].isna().tolist() == [True, False, False, False, False]
    assert shown["worst target so far"].iloc[2] == table[["red", "green"]].iloc[2].max()
    assert shown["least kept (% of the original's)"].tolist() == pytest.approx([100.0] * 5)
    studies.requests(mini, tmp_path / "requests.csv")
    assert len(staged) == 6, "what is there is not computed again"


@pytest.mark.slow
def test_each_method_is_timed_in_a_process_of_its_own(mini, tmp_path, monkeypatch):
    pace = {"forget": 90.0, "plain, batch 64": 100.0}
    monkeypatch.setattr(studies, "step_speeds", lambda *_: pace)
    monkeypatch.setattr(studies, "METHODS", ("projection", "text_lora"))
    table = studies.cost(mini, tmp_path / "cost.csv")
    found = table.pivot(index="what", columns="unit", values="value")
    assert found.loc[list(pace), "images/s"].tolist() == list(pace.values())
    methods = found.loc[["projection", "text_lora"]]
    assert (methods["s"] > 0).all() and (methods["MB"] > 200).all()  # torch, the model and the images
    assert "projection" in tables.made("cost", tmp_path) and "0.90" in tables.made("speed", tmp_path)
    monkeypatch.setattr(studies.batch, "run", lambda *_, **__: pytest.fail("measured again"))
    assert len(studies.cost(mini, tmp_path / "cost.csv")) == len(table) == 6


def test_steps_are_timed_beside_plain_training_of_as_many_images(mini, ready, monkeypatch):
    monkeypatch.setattr(studies.speed, "images_per_second", lambda run, images, *_: run(1) and None or images)
    recipe = Recipe.default()
    found = studies.step_speeds(mini, ready)
    batches = {"forget": recipe.forget.batch, "align": len(ready.retain), "remind": 4 * recipe.remind.batch}
    assert found == {k: v for name, n in batches.items() for k, v in ((name, n), (f"plain, batch {n}", n))}


def test_soups_are_measured_on_validation_images_and_chosen_on_calibration(
    monkeypatch, staged, mini, colours, tmp_path
):
    monkeypatch.setattr(studies, "SOUPED", (("class", "red"),))
    measured = []

    def look(unlearned, original, columns, alphas, head):
        measured.append((unlearned.name, columns))
        return pd.DataFrame({"alpha": alphas, "target": 1.0, "score": 90.0})

    monkeypatch.setattr(studies, "path", look)
    table = studies.soup(mini, tmp_path / "soup.csv")
    assert measured == [("remind", colours.validation)] and table["alpha"].tolist()[0] == 0
    assert set(table["chosen"]) == {0.85} and set(table["calibration_target"]) == {len(colours.calibration["target"])}
    text = tables.made("soup", tmp_path)
    assert "| red | 1.0 / 90.0 |" in text and "0.85" in text
    studies.soup(mini, tmp_path / "soup.csv")
    assert len(measured) == 1, "what is there is not computed again"


def test_the_margin_is_changed_in_both_stages(monkeypatch, staged, mini, tmp_path):
    monkeypatch.setattr(studies, "SHARED", (("class", "red"),))
    table = studies.margin(mini, tmp_path / "margin.csv")
    assert [(r.forget.margin, r.remind.margin) for r in staged] == [(m, m) for m in table["margin"]]
    assert set(table["alpha"]) == {0.85} and table["target"].notna().all()
    assert not any(recipe.restore.shares for recipe in staged)
    lines = tables.made("margin", tmp_path).splitlines()
    assert len(lines) == 3 and all(f"margin {m:g}" in lines[0] for m in table["margin"])


def test_shares_are_compared_with_none(monkeypatch, staged, mini, tmp_path):
    monkeypatch.setattr(studies, "SHARED", (("class", "red"),))
    table = studies.share(mini, tmp_path / "share.csv")
    assert [bool(recipe.restore.shares) for recipe in staged] == [*table["share"]] == [False, True] * 2
    lines = tables.made("share", tmp_path).splitlines()
    assert len(lines) == 4 and lines[2].startswith("| class | red | 0 |")


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
    usual = tables.usual_values(pd.DataFrame({"model": ["restore"], "knob": ["last"], "alpha": [0.9]}))
    assert usual[knob] in studies.KNOBS[knob] or knob.startswith("n_")
    if not knob.startswith("n_"):
        value = (0.5,) if knob == "restore.alphas" else studies.KNOBS[knob][0]
        assert Recipe.default(**studies.by_stage({knob: value})) != Recipe.default()


def test_a_sibling_is_hidden_from_every_stage_and_measured_apart(mini, tmp_path, monkeypatch):
    whole = Grouped(
        {part: coloured_set(40, seed) for seed, part in enumerate(PARTS)}, Subgroup("red", ("green", "blue"))
    )
    monkeypatch.setattr(studies, "group", lambda *_: whole)
    monkeypatch.setattr(studies, "UNSHOWN", (("class", "red", "blue"),))
    monkeypatch.setattr(studies, "METHODS", ("projection",))
    seen, scored = [], []
    monkeypatch.setattr(studies, "measured", lambda found, original: scored.append(original) or measured(found, None))
    done = lambda method, clip, sets, _: seen.append(sets) or (clip if method == "original" else clip.copy(method), 1.0)
    monkeypatch.setattr(studies, "unlearned", done)
    table = studies.unshown(mini, tmp_path / "unshown.csv").set_index("method")
    blue, sets = list(whole.parts["train"].classes).index("blue"), seen[-1]
    for part in (sets.forget, sets.retain, *sets.calibration.values(), *sets.validation.values(), *sets.test.values()):
        assert blue not in part.labels
    assert table.loc["projection", "sibling"] == table.loc["original", "sibling"] and "sibling" not in sets.validation
    assert scored[0] is None and set(scored[1]) == set(COLUMNS), "it is no part of the Score"


def test_a_vit_is_studied_with_and_without_alignment(vit, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "STUDIED", (("class", "red"),))
    monkeypatch.setattr(studies, "SEEDS", (0,))
    forget, remind = dict(k=2, steps=2, stop=None), dict(steps=2, n_noise=4, n_abstract=4, align_steps=2)
    quick = Recipe.default(forget=forget, remind=remind, restore=dict(alphas=(1.0,)))
    monkeypatch.setattr(studies.Recipe, "default", lambda *_: quick)
    table = studies.vit(vit, tmp_path / "vit.csv")
    assert table["alignment"].tolist() == 4 * ["layernorm"] + 4 * ["none"]
    assert table["model"].tolist() == 2 * ["random", "forget", "remind", "restore"]
    assert table[table["model"] == "forget"]["seconds"].nunique() == 1, "the first stage is the same for both"
    assert table[table["model"] == "remind"]["seconds"].nunique() == 2
    monkeypatch.setattr(studies, "unlearn", lambda *_, **__: pytest.fail("computed again"))
    assert len(studies.vit(vit, tmp_path / "vit.csv")) == 8


def test_commands_are_the_studies_and_a_vit_without_weights_is_told(tmp_path):
    wanted = {"quickstart", "pretraining", "front", "sensitivity", "soup", "cost", "vit", "gpu", "memory"}
    assert set(studies.main.commands) == {*wanted, "requests", "margin", "share", "unshown"}
    told = CliRunner().invoke(studies.main, ["vit", "--weights", str(tmp_path / "none.safetensors")])
    assert told.exit_code == 2 and "train it with the command" in told.output


def test_some_images_are_the_same_in_every_call(colours):
    few, again = (studies.some(colours.validation, 5) for _ in range(2))
    assert all(len(part) == 5 and np.array_equal(part.images, again[name].images) for name, part in few.items())
