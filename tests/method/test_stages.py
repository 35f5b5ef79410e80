"""The three stages on synthetic colours, with a head made of images: fast, and no data needed."""

import dataclasses
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from forgetkit import Recipe, accuracies, evaluate, forget, pipeline, remind, training, tutorial_sets, unlearn
from forgetkit.data.images import some
from forgetkit.evaluation import recognised
from forgetkit.lora import adaptable
from forgetkit.models.clip import ModelError, batch_norms
from forgetkit.reminding import make_pools
from forgetkit.store import Cache

SMALL = dict(
    forget={"steps": 200, "k": 6, "fisher_samples": 12, "batch": 16},
    remind={"steps": 40, "batch": 16, "n_abstract": 16},
    restore={"alphas": (0.0, 0.5, 1.0)},
)
GUARDED = Recipe.default(**SMALL)


@pytest.fixture(scope="module")
def models(mini, ready):
    return unlearn(mini, ready, GUARDED)


def test_target_goes_and_siblings_stay(models, colours, prototypes):
    before, after = (accuracies(m, colours.test, prototypes) for m in (models[0], models[-1]))
    assert before["target"] > 80 and before["retain"] > 80, "or the rest says nothing"
    assert after["target"] <= 10
    assert after["retain"] >= 0.8 * before["retain"]


def test_the_default_recipe_has_no_stage_one(mini, ready):
    stage1, before = forget(mini, ready, Recipe.default().forget), mini.model.state_dict()
    assert all(torch.equal(v, before[name]) for name, v in stage1.model.state_dict().items())
    assert (stage1.name, stage1.record["layers"], stage1.record["fisher"]) == ("forget", [], [])


@pytest.mark.slow
def test_another_class_is_forgotten_with_half_the_images(mini):
    """On real images, with the recipe as it is: what the quickstart shows of cats."""
    sets = tutorial_sets("truck", seed=3, n_forget=200, n_retain=200)
    table = evaluate(unlearn(mini, sets, Recipe.default(seed=3)), some(sets.test, 500))
    assert table["target"][0] > 80, "the original knows trucks"
    assert table["target"].iloc[-1] <= 5 and table["score"].iloc[-1] >= 90


def test_stopping_rule_ends_stage_one(models):
    looks = [row for row in models[1].record["forget"] if "target" in row]
    assert looks[0]["target"] > GUARDED.forget.stop, "the target was known at first"
    assert looks[-1]["target"] <= GUARDED.forget.stop
    assert looks[-1]["step"] < GUARDED.forget.steps


def test_stage_one_goes_back_where_it_costs_the_siblings(mini, ready, caplog):
    """Forget and retain set the same: what is done to one is done to the other, and the second rule steps in."""
    same = dataclasses.replace(ready, retain=ready.forget)
    left = {}
    for min_retain in (None, 60.0):
        recipe = GUARDED.changed(forget={"stop": 0.0, "min_retain": min_retain}).forget
        result = forget(mini, same, recipe)
        left[min_retain] = recognised(result, ready.forget, ready.head)
    looks = [row["retain"] for row in result.record["forget"] if "retain" in row]
    assert left[None] == 0 and left[60.0] >= 60, "in percent of the siblings known at first, which was all"
    assert looks[0] == 100 and sum(look < 60 for look in looks) == training.ROLLBACKS + 1
    assert caplog.text.count("Back to step") == training.ROLLBACKS + 1


def test_only_the_last_layers_change(models, mini):
    """Early layers stay the original's to the bit, in every stage of the default recipe."""
    allowed = {f"visual.{name}" for name in adaptable(mini.model.visual, GUARDED.forget.trainable_fraction)}
    assert all(name.startswith(("visual.layer3.3", "visual.layer4", "visual.attnpool")) for name in allowed)
    for model in models[1:]:
        state, before = model.model.state_dict(), mini.model.state_dict()
        assert {k for k in before if not torch.equal(before[k], state[k])} <= allowed, model.name


def test_batchnorm_statistics_are_byte_identical_through_all_stages(models):
    for model in models[1:]:
        for name, bn in batch_norms(model.model).items():
            original = models[0].model.visual.get_submodule(name)
            for key in ("running_mean", "running_var", "num_batches_tracked"):
                assert torch.equal(getattr(bn, key), getattr(original, key)), f"{model.name}: {name}.{key}"


def test_every_stage_returns_a_plain_model_and_leaves_its_input_alone(mini, ready):
    before = {k: v.clone() for k, v in mini.model.state_dict().items()}
    stage1 = forget(mini, ready, GUARDED.forget)
    assert all(torch.equal(v, before[k]) for k, v in mini.model.state_dict().items())
    assert stage1.model.state_dict().keys() == before.keys()
    changed = {k for k in before if not torch.equal(before[k], stage1.model.state_dict()[k])}
    assert changed == {f"visual.{name}" for name in stage1.record["layers"]}, "only the chosen layers move"
    assert not stage1.model.training


def test_same_seed_same_result(mini, ready, models):
    again = remind(forget(mini, ready, GUARDED.forget), mini, ready, GUARDED.remind)
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in models[2].model.state_dict().items())
    other = forget(mini, ready, GUARDED.changed(seed=1).forget)
    assert any(not torch.equal(v, other.model.state_dict()[k]) for k, v in models[1].model.state_dict().items())


def test_no_image_is_preprocessed_twice_in_a_run(mini, colours, prototypes, monkeypatch):
    """From the sets to the table: three stages, a soup, and an evaluation of four models."""
    seen = Counter()
    preprocess = type(mini).preprocess

    def counting(self, images):
        seen.update(image.tobytes() for image in images)
        return preprocess(self, images)

    monkeypatch.setattr(type(mini), "preprocess", counting)
    models = unlearn(mini, colours.on(mini, prototypes), GUARDED)
    evaluate(models, colours.test, head=prototypes)
    assert set(seen.values()) == {1}
    parts = (colours.forget, colours.retain, *colours.calibration.values(), *colours.test.values())
    assert len(seen) == sum(map(len, parts))


def test_record_tells_the_whole_way(models):
    record = models[-1].record
    assert {"fisher", "layers", "forget", "remind", "soup", "alpha", "seconds"} <= record.keys()
    assert record["alpha"] in GUARDED.restore.alphas
    assert [m.name for m in models] == ["original", "forget", "remind", "restore"]


def test_text_is_the_default_head(mini, colours):
    text = mini.head(colours.classes, colours.prompts)
    recipe = GUARDED.changed(forget={"steps": 2, "stop": None}).forget
    a, b = forget(mini, colours.on(mini), recipe), forget(mini, colours.on(mini, 3 * text), recipe)
    assert all(torch.equal(v, b.model.state_dict()[k]) for k, v in a.model.state_dict().items())


QUICK = dict(
    forget={"k": 3, "fisher_samples": 4, "batch": 8, "stop": None, "steps": 3},
    remind={"steps": 3, "batch": 8, "n_abstract": 8},
    restore={"alphas": (0.0, 1.0)},
)


@pytest.mark.parametrize("make", [Recipe.paper, Recipe.default])
@pytest.mark.parametrize("tower, align_steps", [("vit", 3), ("resnet", 3), ("resnet", 0)])
def test_both_recipes_run_on_both_kinds_of_tower(make, tower, align_steps, colours, request, caplog):
    clip = request.getfixturevalue(tower)
    recipe = make(**QUICK).changed(remind={"align_steps": align_steps})
    models = unlearn(clip, colours, recipe)
    assert [m.name for m in models][1:] == ["forget", "remind", "restore"]
    assert len(models[2].record.get("align", [])) == (len(batch_norms(clip.model)) if align_steps else 0)
    assert caplog.text.count("no BatchNorm") == (tower == "vit"), "without it nothing is aligned, and that is told"
    assert all(torch.isfinite(p).all() for m in models for p in m.model.parameters())


def test_pools_of_a_tower_without_batchnorm_hold_the_images_as_they_are(vit, colours):
    sets, recipe = colours.on(vit), Recipe.paper(**QUICK).remind
    pools, record = make_pools(vit, sets, recipe, torch.Generator().manual_seed(0))
    assert torch.equal(pools["retain"].images[: len(sets.retain)], sets.retain.images) and not record


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(forget={"k": 99}), r"this image tower has 14 that may change \(trainable_fraction=0.35\)"),
        (dict(forget={"k": 99, "trainable_fraction": 1.0}), "this image tower has 41 that may change"),
        (dict(forget={"trainable_fraction": 0.0}), "trainable_fraction must be greater than 0, got 0.0"),
        (dict(forget={"k": 0}), "k must be greater than or equal to 1, got 0"),
        (
            dict(forget={"rank": 0, "k": -1}, remind={"batch": 0}),
            "^Recipe: forget.k must be .*, got -1; forget.rank must be greater than or equal to 1, got 0; "
            "remind.batch must be .*, got 0.$",
        ),
        (dict(remind={"ema_decay": 1.0}), "ema_decay"),
        (dict(restore={"alphas": (0.0, 1.5)}), "alphas"),
        (dict(forget={"loss": "cosine"}), "'hinge' or 'similarity'"),
        (dict(forget={"stepz": 1}, remind={"lrr": 1}), "there is no forget.stepz, remind.lrr"),
        (dict(recall={"steps": 1}), "there is no recall"),
    ],
)
def test_bad_recipe_has_its_sentence(mini, ready, changes, message):
    with pytest.raises(ValueError, match=message):
        forget(mini, ready, GUARDED.changed(**changes).forget)


def test_unknown_recipe_and_wrong_heads_are_told(mini, colours):
    with pytest.raises(ValueError, match="'default' or 'paper'"):
        Recipe.named("papre")
    for head, message in (
        (torch.zeros(3, 128), r"\(4, 128\)"),
        (torch.ones(4, 127), r"\(4, 128\)"),
        (torch.zeros(4, 128), "rows that are zero"),
        (torch.full((4, 128), torch.nan), "not finite"),
    ):
        with pytest.raises(ModelError, match=message):
            colours.on(mini, head)


def test_sets_that_are_not_on_the_model_and_models_in_the_wrong_order_are_told(mini, vit, colours, ready):
    with pytest.raises(ValueError, match=r"hand over sets\.on\(clip\)"):
        forget(mini, colours, GUARDED.forget)
    with pytest.raises(ValueError, match=r"hand over sets\.on\(clip\)"):
        forget(mini, colours.on(vit), GUARDED.forget)
    with pytest.raises(ModelError, match="the first model is stage 1's result"):
        remind(mini, mini, ready, Recipe.paper(**QUICK).remind)


class Counting(Cache):
    """A cache that knows what was computed, as it was not there."""

    def __init__(self, folder):
        super().__init__(folder)
        self.computed = []

    def result(self, stage, args, pieces, compute):
        return super().result(stage, args, pieces, lambda: self.computed.append(stage.__name__) or compute())


def test_a_run_that_died_goes_on_after_its_last_finished_stage(resnet, colours, tmp_path, monkeypatch):
    recipe, cache = Recipe.default(**QUICK), Counting(tmp_path)

    def dies(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "remind", dies)
        unlearn(resnet, colours, recipe, cache)
    unlearn(resnet, colours, recipe, cache)
    assert cache.computed == ["forget", "remind", "restore"], "the first stage once only"
    unlearn(resnet, colours, recipe, cache)
    assert cache.computed == ["forget", "remind", "restore"], "all three are cached now"


DYING = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from synthetic_data import coloured_set, random_clip
from forgetkit import Grouped, Recipe, Subgroup, pipeline, split
from forgetkit.data import PARTS
from forgetkit.store import Cache

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

pipeline.remind = killed
clip = random_clip(dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None))
parts = {{part: coloured_set(40, seed) for seed, part in enumerate(PARTS)}}
sets = split(Grouped(parts, Subgroup("red", ("green", "blue"))), n_forget=30, n_retain=30, n_calibration=10)
pipeline.unlearn(clip, sets, Recipe.default(**{recipe!r}), Cache({folder!r}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_process_leaves_what_it_finished(resnet, colours, tmp_path):
    code = DYING.format(tests=str(Path(__file__).parent.parent), recipe=QUICK, folder=str(tmp_path))
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert [entry.name.split("-")[0] for entry in tmp_path.iterdir()] == ["forget"]
    cache = Counting(tmp_path)
    unlearn(resnet, colours, Recipe.default(**QUICK), cache)
    assert cache.computed == ["remind", "restore"]
