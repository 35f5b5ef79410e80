"""Front, sensitivity and cost on synthetic images; and the benchmark's figures and tables from made-up rows."""

import itertools
import time
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from forgetkit import Recipe, store as cache
from forgetkit.tutorial import figures
from forgetkit.lab import tables as report, studies
from forgetkit.lab.benchmark import relative, shared

KEPT = ["retain", "other"]


@pytest.fixture
def quick(monkeypatch):
    """Studies of one subgroup, with methods that only nudge a weight."""
    monkeypatch.setattr(studies, "STUDIED", (("class", "red"), ("class", "red too")))
    monkeypatch.setattr(studies, "BASELINES", {"ga": None})
    calls = []

    def nudged(method, clip, *_):
        calls.append(method)
        result = clip.copy(method)
        with torch.no_grad():
            result.model.visual.attnpool.c_proj.weight.mul_(-1)
        return result, 1.0

    monkeypatch.setattr(studies, "unlearned", nudged)
    return calls


def test_front_runs_from_the_original_to_the_result_and_is_resumed(quick, mini, colours, tmp_path):
    load = lambda target, seed, kind, clip: colours
    table = studies.front(mini, tmp_path / "front.csv", load)
    assert len(table) == 2 * 3 * len(studies.FRONT) and len(quick) == 6
    first, last = (table[table["alpha"] == a] for a in (0.0, 1.0))
    assert first["retain"].nunique() == 1, "alpha 0 is the original, whatever the method"
    assert (last["retain"] != first["retain"].iloc[0]).all(), "alpha 1 is the method's result"
    assert len(studies.front(mini, tmp_path / "front.csv", load)) == len(table) and len(quick) == 6


def test_a_probe_tells_colours_apart_and_not_a_set_from_itself(mini, colours, tmp_path, monkeypatch):
    apart = studies.separation(mini, colours)
    assert max(apart.values()) < 10, "red squares are told from others by their embedding"
    same = {**colours.validation, "retain": colours.validation["target"]}
    same = studies.separation(mini, replace(colours, retain=colours.forget, validation=same))
    assert same["target_wrong"] + same["siblings_wrong"] == pytest.approx(100), "what is on one side for one is for all"
    assert same["siblings_lost"] >= 98, "and what moves the plane for one moves it for the other"
    monkeypatch.setattr(studies, "PROBED", ("red",))
    table = studies.probe(mini, tmp_path / "probe.csv", lambda *_: colours)
    assert table["target_wrong"].tolist() == [pytest.approx(apart["target_wrong"], abs=0.001)] and len(table) == 1


@pytest.mark.slow
def test_each_method_is_timed_in_a_process_of_its_own(mini, tmp_path, monkeypatch):
    pace = {"forget": 90.0, "plain, batch 64": 100.0}
    monkeypatch.setattr(studies, "step_speeds", lambda *_: pace)
    monkeypatch.setattr(studies, "COSTED", ("projection", "task_vector"))
    out = tmp_path / "cost.csv"
    table = studies.cost(mini, out, lambda *_: None)
    found = table.pivot(index="what", columns="unit", values="value")
    assert found.loc[list(pace), "images/s"].tolist() == list(pace.values())
    methods = found.loc[["projection", "task_vector"]]
    assert (methods["s"] > 0).all() and (methods["MB"] > 200).all()  # torch, the model and the images
    assert "projection" in report.cost(tmp_path) and "0.90" in report.speed(tmp_path)
    monkeypatch.setattr(studies.batch, "run", lambda *_, **__: pytest.fail("measured again"))
    assert len(studies.cost(mini, out, lambda *_: pytest.fail("loaded again"))) == len(table) == 6


def test_soups_are_measured_on_validation_images_and_chosen_on_calibration(monkeypatch, mini, colours, tmp_path):
    monkeypatch.setattr(studies, "SOUPED", (("class", "red"),))
    stages = lambda clip, sets, recipe, keep: [clip, clip, clip.copy("remind"), clip.copy("restore", alpha=0.85)]
    monkeypatch.setattr(studies, "unlearn", stages)
    measured = []

    def look(unlearned, original, columns, alphas, head):
        measured.append((unlearned.name, columns))
        return pd.DataFrame({"alpha": alphas, "target": 1.0, "score": 90.0})

    monkeypatch.setattr(studies, "path", look)
    table = studies.soups(mini, tmp_path / "soup.csv", lambda *_: colours)
    assert measured == [("remind", colours.validation)] and table["alpha"].tolist()[0] == 0
    assert set(table["chosen"]) == {0.85} and set(table["calibration_target"]) == {len(colours.calibration["target"])}
    text = report.soup(tmp_path)
    assert "| red | 1.0 / 90.0 |" in text and "0.85" in text
    studies.soups(mini, tmp_path / "soup.csv", lambda *_: colours)
    assert len(measured) == 1, "what is there is not computed again"


def test_sensitivity_changes_one_knob_or_one_size(monkeypatch, mini, colours, tmp_path):
    seen = []
    monkeypatch.setattr(studies, "STUDIED", (("class", "red"),))
    monkeypatch.setattr(studies, "KNOBS", {"k": (4, 8), "n_forget": (10,), "alphas": (0.5,)})

    def stages(clip, sets, recipe, keep):
        seen.append(recipe)
        return [clip] + [clip.copy(name, alpha=0.5) for name in ("forget", "remind", "restore")]

    monkeypatch.setattr(studies, "unlearn", stages)
    sizes = []
    load = lambda target, seed, kind, clip, **given: sizes.append(given) or colours
    table = studies.sensitivity(mini, tmp_path / "rows.csv", load)
    assert [r.k for r in seen] == [4, 8, 4, 4] and seen[2] == Recipe.default()
    assert seen[3] == Recipe.default(alphas=(0.5,))
    assert [s["n_forget"] for s in sizes] == [400, 400, 10, 400] and {s["n_retain"] for s in sizes} == {400}
    assert table["model"].tolist() == 4 * ["forget", "remind", "restore"]
    studies.sensitivity(mini, tmp_path / "rows.csv", load)
    assert len(seen) == 4, "what is there is not computed again"


def test_a_vit_is_studied_with_and_without_alignment(vit, colours, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "STUDIED", (("class", "red"),))
    monkeypatch.setattr(studies, "SEEDS", (0,))
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    few = dict(k=2, forget_steps=2, forget_stop=None, remind_steps=2, n_noise=4, n_abstract=4, alphas=(1.0,))
    real = Recipe.default
    monkeypatch.setattr(studies.Recipe, "default", lambda **changes: real(**{**few, **changes}))
    table = studies.vit(vit, tmp_path / "vit.csv", lambda *_: colours)
    assert table["alignment"].tolist() == 4 * ["layernorm"] + 4 * ["none"]
    assert table["model"].tolist() == 2 * ["random", "forget", "remind", "restore"]
    assert table[table["model"] == "forget"]["seconds"].nunique() == 1, "the first stage is the same for both"
    assert table[table["model"] == "remind"]["seconds"].nunique() == 2
    monkeypatch.setattr(studies, "unlearn", lambda *_, **__: pytest.fail("computed again"))
    assert len(studies.vit(vit, tmp_path / "vit.csv", lambda *_: colours)) == 8


def test_a_vit_without_weights_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit):
        studies.main(["vit", "--weights", str(tmp_path / "none.safetensors")])
    assert "train it with the command" in capsys.readouterr().err


def test_speed_is_that_of_the_steps_alone():
    def run(steps):
        time.sleep(0.05 + 0.004 * steps)

    assert studies.images_per_second(run, images=8) == pytest.approx(8 / 0.004, rel=0.2)


def test_plain_steps_train_both_towers_and_leave_the_model_alone(mini, colours):
    before = {k: v.clone() for k, v in mini.model.state_dict().items()}
    moved = []
    hook = register_optimizer_step_post_hook(
        lambda optimizer, *_: moved.append([p for group in optimizer.param_groups for p in group["params"]])
    )
    try:
        studies.plain_steps(mini, colours, 8)(1)
    finally:
        hook.remove()
    start = dict(mini.model.named_parameters())
    assert len(moved[0]) == len(start)
    changed = [n for (n, p), q in zip(start.items(), moved[0]) if not torch.equal(p, q)]
    assert any(n.startswith("visual.") for n in changed) and any(not n.startswith("visual.") for n in changed)
    assert all(torch.equal(v, before[k]) for k, v in mini.model.state_dict().items())


@pytest.fixture
def bench():
    rows = [{"method": "original", "kind": "class", "target": "red", "seed": 0, "target_acc": 80.0, "retain": 50.0}]
    scores = {"default": 99.0, "ga": 90.0, "default without soup": 98.0, "default without guard": 60.0}
    for method, value in scores.items():
        rows.append({**rows[0], "method": method, "target_acc": 100 - value, "retain": value / 2, "score": value})
    return pd.DataFrame(rows).assign(other=40.0)[[*rows[0], *["other"], "score"]]


def test_relative_rows_are_percent_of_the_original_on_the_same_subgroup(bench):
    found = relative(bench).set_index("method")
    assert "original" not in found.index
    assert found.loc["ga", "target"] == pytest.approx(100 * 10 / 80)
    assert found.loc["ga", "retain"] == pytest.approx(90) and found.loc["ga", "other"] == pytest.approx(100)


def test_only_subgroups_that_every_method_has_are_compared(bench):
    rows = relative(bench)
    more = rows[rows["method"] == "ga"].assign(subgroup="blue")
    assert len(shared(rows)) == len(rows)
    assert set(shared(pd.concat([rows, more]))["subgroup"]) == {"red"}


def test_ablation_table_tells_what_each_part_is_worth(bench, tmp_path):
    bench.to_csv(tmp_path / "benchmark.csv", index=False)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.ablation(tmp_path).splitlines()]
    table = {line[0]: dict(zip(lines[0], line)) for line in lines[2:]}
    assert table["soup"]["default: change"] == "-1.0" and table["guard"]["default: change"] == "-39.0"
    assert table["lora"]["default: change"] == "", "not run"
    assert table["fisher"]["reported Score (RN50, marmoset)"] == "72.3"


def test_a_vit_is_shown_before_and_after_over_seeds(tmp_path):
    accuracies = dict.fromkeys(["target_acc", *report.ACCURACIES[1:]], 80.0)
    names = {"alignment": "none", "kind": "class", "target": "cat"}
    rows = []
    for seed in (0, 1):
        rows += [{**names, "seed": seed, "model": "original", **accuracies, "score": 80.0, "seconds": 0.0}]
        rows += [{**names, "seed": seed, "model": "remind", **accuracies, "score": 80.0, "seconds": 20.0 + 10 * seed}]
        last = {**accuracies, "target_acc": 1.0 + seed}
        rows += [{**names, "seed": seed, "model": "restore", **last, "score": 97.0 + 2 * seed, "seconds": 1.0}]
    pd.DataFrame(rows).to_csv(tmp_path / "vit.csv", index=False)
    line = report.vit(tmp_path).splitlines()[-1]
    assert line.startswith("| cat | none | 2 | 80.0 → 1.5 | 80.0 → 80.0 |") and line.endswith("| 98.0 ± 1.4 | 25 |")


def test_strips_show_every_run_and_the_mean():
    rows = pd.DataFrame(
        [("default", "class", f"c{i}", 98.0 + i) for i in range(2)] + [("ga", "class", "c0", 70.0)],
        columns=["method", "kind", "subgroup", "score"],
    )
    figure = figures.score_strips(rows)
    assert len(figure.axes) == 1
    points = np.concatenate([c.get_offsets()[:, 0] for c in figure.axes[0].collections])
    assert {98.0, 99.0, 70.0, 98.5} <= {round(float(p), 3) for p in points}
    assert [t.get_text() for t in figure.axes[0].texts] == ["98.5", "70.0"], "best first"
    plt.close(figure)


def test_the_same_rows_give_the_same_picture():
    one = {"kind": "class", "subgroup": "red"}
    rows = [{**one, "method": method, "score": 90.0 + i} for method in ("ga", "lip") for i in range(5)]
    pictures = []
    for _ in range(2):
        figure = figures.score_strips(pd.DataFrame(rows))
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba()))
        plt.close(figure)
    assert np.array_equal(*pictures)


def test_fronts_start_at_everything_kept():
    rows = [
        {"method": m, "kind": "class", "target": "red", "alpha": a, "target_acc": 80 * (1 - a), "retain": 50 - 5 * a}
        for m, a in itertools.product(("default", "ga"), (0.0, 0.5, 1.0))
    ]
    figure = figures.fronts(pd.DataFrame(rows))
    for line in figure.axes[0].lines:
        assert line.get_xydata()[0].tolist() == [100.0, 100.0]
        assert line.get_xydata()[-1].tolist() == pytest.approx([0.0, 90.0])
    plt.close(figure)


def test_sensitivity_marks_the_default():
    rows = [
        {"knob": knob, "value": v, "target": "red", "model": "restore", "score": 90.0 + v, "target_acc": 1.0}
        for knob, v in (("k", 4), ("k", 8), ("rank", 1), ("rank", 2))
    ]
    figure = figures.sensitivity(pd.DataFrame(rows), {"k": 8, "rank": 2})
    marks = [line.get_xdata()[0] for axis in figure.axes[:2] for line in axis.lines if line.get_linestyle() == "--"]
    assert marks == [8, 2]
    plt.close(figure)
