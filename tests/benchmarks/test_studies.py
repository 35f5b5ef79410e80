"""Each study on synthetic images: the rows it makes, and that what is there is not computed again."""

import pandas as pd
import pytest

from benchmarks import benchmark, studies
from benchmarks.rows import Rows
from benchmarks.tables.studies import requests_table
from forgetkit import Recipe

COLUMNS = ["target", "retain", "other"]


@pytest.fixture(autouse=True)
def sizes(colours, monkeypatch, tmp_path):
    """Every subgroup is `colours`; the sizes that were asked for."""
    asked = []
    load = lambda subgroup, seed, kind, clip, **given: asked.append(given) or colours
    monkeypatch.setattr(benchmark, "tutorial_sets", load)
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


def filled(name, clip, folder):
    """All rows of a study."""
    found = studies.STUDIES[name]
    rows = Rows(folder / f"{name}.csv", found.key, clip.device, found.runs())
    return rows.fill(found.runs(), lambda **run: found.compute(clip, **run))


def test_the_quickstart_has_a_row_a_stage(staged, mini, tmp_path):
    table = filled("quickstart", mini, tmp_path)
    assert table["forget"].tolist() == [s for _, s in studies.QUICKSTART for _ in range(4)]
    assert table["model"].tolist()[:4] == ["original", "forget", "remind", "restore"]
    wanted = ["kind", "forget", "model", *COLUMNS, "score", "seconds", "alpha", "torch", "open_clip", "device"]
    assert set(table) == set(wanted) and set(staged) == {Recipe.default()}
    assert table["seconds"].tolist()[:4] == [0.0, 2.0, 2.0, 2.0] and table["alpha"].tolist()[3] == 0.85


def test_requests_follow_each_other_and_are_told_of_those_before(staged, sizes, mini, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "REQUESTS", ("red", "green"))
    table = filled("requests", mini, tmp_path)
    assert table["method"].tolist() == ["original", *["default"] * 2, *["not told"] * 2]
    assert pd.read_csv(tmp_path / "requests.csv")["subgroup"].tolist()[1:] == ["red", "green"] * 2
    assert {"red", "green", "others"} <= set(table) and (table["red"] == table["red"].iloc[0]).all(), "nothing is done"
    assert {"previous_targets": ("red",)} in sizes and len(staged) == 2 * (1 + 2)
    shown = requests_table(pd.read_csv(tmp_path / "requests.csv"))
    assert table["probe recall"].nunique() == 1, "what an attacker finds of the first"
    assert shown["forgotten last"].tolist() == ["red", "green"] * 2
    assert shown["worst target so far"].iloc[1] == table[["red", "green"]].iloc[2].max()
    assert shown["least kept (% of the original's)"].str.startswith("100.0 (").all()
    filled("requests", mini, tmp_path)
    assert len(staged) == 6, "what is there is not computed again"


def test_sensitivity_changes_one_knob_or_one_size(monkeypatch, staged, sizes, mini, tmp_path):
    monkeypatch.setattr(studies, "STUDIED", (("class", "red"),))
    monkeypatch.setattr(studies, "KNOBS", {"forget.k": (4, 8), "n_forget": (10,), "restore.alphas": (0.5,)})
    table = filled("sensitivity", mini, tmp_path)
    assert [r.forget.k for r in staged] == [4, 8, 4, 4] and staged[2] == Recipe.default()
    assert staged[3] == Recipe.default(restore={"alphas": (0.5,)})
    assert sizes == [{}, {"n_forget": 10}, {}]
    assert table["model"].tolist() == 4 * ["forget", "remind", "restore"]
    filled("sensitivity", mini, tmp_path)
    assert len(staged) == 4, "what is there is not computed again"


@pytest.mark.parametrize("knob", [knob for knob in studies.KNOBS if not knob.startswith("n_")])
def test_every_knob_has_the_default_among_its_values(knob):
    stage, _, name = knob.partition(".")
    assert getattr(getattr(Recipe.default(), stage), name) in studies.KNOBS[knob]
    assert Recipe.default(**studies.by_stage({knob: studies.KNOBS[knob][0]})) != Recipe.default()
