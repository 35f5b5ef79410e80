"""Every number in README and docs comes from committed rows, and the rows hold what is promised."""

import inspect

import pandas as pd
import pytest

from forgetkit import Recipe
from forgetkit.lab.ablations import by_stage
from forgetkit.lab.baselines import BASELINES
from forgetkit.lab.benchmark import (
    ABLATED_ON,
    GRIDS,
    SEEDS,
    SUBGROUPS,
    TUNED_ON,
    all_methods,
    best_setting,
    whole,
)
from forgetkit.lab.rows import RESULTS, on_common_subgroups, percent_of_original
from forgetkit.lab.studies import STUDIED
from forgetkit.lab.tables import BLOCK, FILES, accuracies_in, render

# Their search and rows come with the next run of the whole benchmark; until then no row is of them.
WAITING = (
    "null_space", "erasure", "negmerge", "ssd", "scrub", "munba", "text_lora", "default without discrepancy",
)  # fmt: skip
MEASURED = [name for name in BASELINES if name not in WAITING]


@pytest.fixture(scope="module")
def rows(request):
    return pd.read_csv(request.config.rootpath / "docs/results/benchmark.csv")


@pytest.fixture(scope="module")
def settings(request):
    return pd.read_csv(request.config.rootpath / "docs/results/settings.csv")


def test_the_second_models_quickstart_forgets_and_keeps(request):
    rows = pd.read_csv(request.config.rootpath / "docs/results/quickstart.csv")
    assert "unseen" in rows and set(rows["kind"]) == {"class", "coarse", "style", "cluster"}
    final = rows.query("model == 'restore' and kind == 'class'")
    assert len(final) == len(ABLATED_ON) and (final["target"] <= 2).all() and (final["score"] >= 97).all()


def test_the_original_is_there_for_every_subgroup_and_no_run_twice(rows):
    found = list(rows[["method", "kind", "subgroup", "seed"]].itertuples(index=False, name=None))
    assert len(found) == len(set(found))
    assert {("original", *subgroup, 0) for subgroup in SUBGROUPS} <= set(found)


def test_every_method_ran_on_every_subgroup_and_every_ablation_on_six(rows):
    found = set(rows[["method", "kind", "subgroup", "seed"]].itertuples(index=False, name=None))
    assert not {method for method, *_ in found} & {*WAITING}, "they wait no more: take them off the list"
    for method in (name for name in all_methods() if name not in WAITING):
        seeds = SEEDS if method in ("default", "paper") else (0, 1) if whole(method) else (0,)
        wanted = SUBGROUPS if whole(method) else ABLATED_ON
        assert {(method, *subgroup, seed) for subgroup in wanted for seed in seeds} <= found, method


def test_default_forgets_classes_and_sketches_and_keeps_the_rest(rows):
    final = rows[(rows["method"] == "default") & (rows["kind"] != "cluster")]
    limit = final["kind"].map({"class": 2, "style": 100 / 15})  # of sketches there are 15 test images: one at most
    over = final["target"] > limit + 0.01
    assert not over.any(), final.loc[over, ["subgroup", "seed", "target"]].to_string()
    assert (final["score"] >= 97).all(), final.loc[final["score"] < 97, ["subgroup", "seed", "score"]].to_string()


def test_default_is_close_to_the_limit_and_ahead(rows):
    found = on_common_subgroups(percent_of_original(rows[rows["method"].map(whole)]))
    score = found.groupby("method")["score"].mean()
    assert score["default"] >= 98 and rows.loc[rows["method"] == "default", "score"].mean() >= 98
    assert (score["default"] - score[["paper", *MEASURED]] >= 5).all()


@pytest.mark.xfail(strict=True, reason="one of 48 runs, on a cluster, ends at 93.8: docs/benchmark.md")
def test_no_run_below_94(rows):
    assert (rows.loc[rows["method"] == "default", "score"] >= 94).all()


@pytest.mark.xfail(strict=True, reason="clusters keep 3 to 8 % of their target: docs/benchmark.md says why")
def test_no_target_above_two_percent(rows):
    assert (rows.loc[rows["method"] == "default", "target"] <= 2).all()


def test_every_kept_column_is_at_least_97_percent(rows):
    found = percent_of_original(rows)
    kept = [name for name in accuracies_in(found) if name != "target"]
    assert len(kept) >= 5 and (found.loc[found["method"] == "default", kept].mean() >= 97).all()


def test_steps_are_nearly_as_fast_as_plain_training(request):
    rows = pd.read_csv(request.config.rootpath / "docs/results/cost.csv").query("unit == 'images/s'")
    assert rows["what"].tolist()[::2] == ["forget", "align", "remind"]  # each is followed by the plain step beside it
    assert (rows["value"].to_numpy()[::2] >= 0.8 * rows["value"].to_numpy()[1::2]).all()


def test_a_vit_was_studied_both_ways_on_every_subgroup_and_seed(request):
    rows = pd.read_csv(request.config.rootpath / "docs/results/vit.csv").query("model == 'restore'")
    runs = set(rows[["alignment", "kind", "subgroup", "seed"]].itertuples(index=False, name=None))
    assert len(runs) == len(rows) == 2 * len(STUDIED) * len(SEEDS)
    assert runs == {(way, *subgroup, seed) for way in ("layernorm", "none") for subgroup in STUDIED for seed in SEEDS}
    score = rows.pivot(index=["kind", "subgroup", "seed"], columns="alignment", values="score")
    difference = score["layernorm"] - score["none"]
    assert abs(difference.mean()) < 2 * difference.sem(), "alignment to LayerNorm would be worth its time"
    assert (score["none"] > 94).all()


def test_a_step_of_256_images_of_rn50_fits_24_gb(request):
    rows = pd.read_csv(request.config.rootpath / "docs/results/memory.csv").query("model == 'RN50' and batch == 256")
    assert rows["stage"].tolist() == ["plain", "Fisher", "forget", "align", "remind", "restore"]
    assert (rows["held_gb"] + rows["weights_gb"] <= 24).all()


def test_stages_of_large_models_are_measured_beside_plain_training(request):
    rows = pd.read_csv(request.config.rootpath / "docs/results/gpu.csv")
    assert {"RN50", "RN101", "ViT-B-16"} <= set(rows["model"])
    for _, found in rows.groupby(["model", "batch", "device"]):
        assert found["stage"].tolist() == ["plain", "Fisher", "forget", "align", "remind", "restore"]
        assert (found.loc[found["stage"].isin(["forget", "remind"]), "ratio"] >= 0.8).all()


def test_every_setting_was_tried_and_the_best_is_the_one_in_use(settings):
    for method, grid in ((name, grid) for name, grid in GRIDS.items() if name not in WAITING):
        found = settings[settings["method"] == method]
        assert len(found) == len(grid) * len(TUNED_ON), method
        if method in BASELINES:
            chosen = best_setting(settings, method)
            used = {k: p.default for k, p in inspect.signature(BASELINES[method]).parameters.items()}
            assert {k: used[k] for k in chosen} == chosen, f"{method} does not use the setting that validated best"
        else:  # its rows name learning rates, as of the first mini-CLIP: what is used now is in the grid that is to run
            assert Recipe.named(method) in [Recipe.named(method, 0, **by_stage(setting)) for setting in grid], method


def test_what_sweeps_cost_and_kills_leave(request):
    """Bounds on speed and memory, checked on the committed rows: `python -m forgetkit.lab.overhead` measures them."""
    rows = pd.read_csv(request.config.rootpath / RESULTS / "batch.csv")
    found = dict(zip(rows["what"], rows["value"]))
    assert found["overhead of the sweep"] < 10
    assert next(v for what, v in found.items() if "workers against one" in what) > 1.2
    assert found["last 100 of 1000 trivial runs"] < 1.5 * found["first 100 of 1000 trivial runs"]
    first, last = (found[f"the sweep's process, {when} 1000 trivial runs"] for when in ("first 100 of", "last of"))
    assert last < first + 15
    assert found["finished runs lost or done twice after the kills"] == 0
    assert found["sets missing, doubled or wrong in the table after the kills"] == 0


@pytest.mark.parametrize("file", FILES)
def test_tables_in_the_text_are_those_of_the_rows(request, file):
    text = (request.config.rootpath / file).read_text()
    assert render(text, request.config.rootpath / RESULTS) == text, (
        f"{file} is stale: run `python -m forgetkit.lab.tables`"
    )
    assert BLOCK.search(text), "the table is gone"
