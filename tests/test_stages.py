"""The three stages on synthetic colours, with a head made of images: fast, and no data needed."""

import dataclasses

import pytest
import torch

from forgetkit import Recipe, accuracies, forget, remind, restore
from forgetkit.clips import ModelError, batch_norms
from forgetkit.lora import adaptable
from forgetkit.pipeline import unlearn

SMALL = dict(k=6, fisher_samples=12, forget_batch=16, align_steps=4, remind_steps=12, remind_batch=16)
GUARDED = Recipe.default(**SMALL, n_noise=16, n_abstract=16, alphas=(0.0, 0.5, 1.0))


@pytest.fixture(scope="module")
def models(mini, colours, prototypes):
    forgotten = forget(mini, colours, GUARDED, prototypes)
    reminded = remind(forgotten, mini, colours, GUARDED, prototypes)
    return [mini, forgotten, reminded, restore(reminded, mini, colours, GUARDED, prototypes)]


def test_target_goes_and_siblings_stay(models, colours, prototypes):
    before, after = (accuracies(m, colours.test, prototypes) for m in (models[0], models[-1]))
    assert before["target"] > 80 and before["retain"] > 80, "or the rest says nothing"
    assert after["target"] <= 10
    assert after["retain"] >= 0.8 * before["retain"]


def test_stopping_rule_ends_stage_one(models):
    looks = [row for row in models[1].record["forget"] if "target" in row]
    assert looks[0]["target"] > GUARDED.forget_stop, "the target was known at first"
    assert looks[-1]["target"] <= GUARDED.forget_stop
    assert looks[-1]["step"] < GUARDED.forget_steps


def test_stage_one_ends_where_it_costs_the_siblings(mini, colours, prototypes):
    """Forget and retain set the same: what is done to one is done to the other, and the second rule ends it first."""
    same = dataclasses.replace(colours, retain=colours.forget)
    looks = {}
    for spare in (None, 60.0):
        recipe = dataclasses.replace(GUARDED, forget_stop=0.0, forget_spare=spare)
        found = [row for row in forget(mini, same, recipe, prototypes).record["forget"] if "target" in row]
        looks[spare] = found[-1]
    assert looks[None]["target"] == 0 and "retain" not in looks[None]
    assert 0 < looks[60.0]["target"] == looks[60.0]["retain"] < 60 and looks[60.0]["step"] < looks[None]["step"]


def test_only_the_last_layers_change(models, mini):
    """Early layers stay the original's to the bit, in every stage of the default recipe."""
    allowed = {f"visual.{name}" for name in adaptable(mini.model.visual, GUARDED.last)}
    assert all(name.startswith(("visual.layer4", "visual.attnpool")) for name in allowed)
    for model in models[1:]:
        state, before = model.model.state_dict(), mini.model.state_dict()
        assert {k for k in before if not torch.equal(before[k], state[k])} <= allowed, model.name


def test_batchnorm_statistics_are_byte_identical_through_all_stages(models):
    for model in models[1:]:
        for name, bn in batch_norms(model.model).items():
            original = models[0].model.visual.get_submodule(name)
            for key in ("running_mean", "running_var", "num_batches_tracked"):
                assert torch.equal(getattr(bn, key), getattr(original, key)), f"{model.name}: {name}.{key}"


def test_every_stage_returns_a_plain_model_and_leaves_its_input_alone(mini, colours, prototypes):
    before = {k: v.clone() for k, v in mini.model.state_dict().items()}
    forgotten = forget(mini, colours, GUARDED, prototypes)
    assert all(torch.equal(v, before[k]) for k, v in mini.model.state_dict().items())
    assert forgotten.model.state_dict().keys() == before.keys()
    changed = {k for k in before if not torch.equal(before[k], forgotten.model.state_dict()[k])}
    assert changed == {f"visual.{name}" for name in forgotten.record["layers"]}, "only the chosen layers move"
    assert not forgotten.model.training


def test_same_seed_same_result(mini, colours, prototypes, models):
    again = forget(mini, colours, GUARDED, prototypes)
    again = remind(again, mini, colours, GUARDED, prototypes)
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in models[2].model.state_dict().items())
    other = forget(mini, colours, dataclasses.replace(GUARDED, seed=1), prototypes)
    assert any(not torch.equal(v, other.model.state_dict()[k]) for k, v in models[1].model.state_dict().items())


def test_record_tells_the_whole_way(models):
    record = models[-1].record
    assert {"fisher", "layers", "forget", "align", "remind", "soup", "alpha", "seconds"} <= record.keys()
    assert record["alpha"] in GUARDED.alphas
    assert [m.name for m in models] == ["original", "forget", "remind", "restore"]


def test_text_is_the_default_head(mini, colours):
    text = mini.head(colours.classes, colours.prompts)
    recipe = dataclasses.replace(GUARDED, forget_steps=2, forget_stop=None)
    a, b = forget(mini, colours, recipe), forget(mini, colours, recipe, text)
    assert all(torch.equal(v, b.model.state_dict()[k]) for k, v in a.model.state_dict().items())


def test_paper_recipe_runs_and_a_vit_needs_no_alignment(vit, colours):
    recipe = Recipe.paper(**{**SMALL, "align_steps": 0, "k": 3}, forget_stop=None, forget_steps=3, alphas=(0.0, 1.0))
    assert [m.name for m in unlearn(vit, colours, recipe)][1:] == ["forget", "remind", "restore"]


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (dict(k=99), ValueError, r"this image tower has 8 that may change \(last=0.35\)"),
        (dict(k=99, last=1.0), ValueError, "this image tower has 23 that may change"),
        (dict(last=0.0), ValueError, "last must be a share"),
        (dict(k=0), ValueError, "k must be at least 1"),
        (dict(ema_decay=1.0), ValueError, "ema_decay"),
        (dict(alphas=(0.0, 1.5)), ValueError, "alphas"),
        (dict(forget_loss="cosine"), ValueError, "'similarity', 'hinge'"),
        (dict(remind_layers="some"), ValueError, "'same', 'all'"),
    ],
)
def test_bad_recipe_has_its_sentence(mini, colours, prototypes, changes, error, message):
    with pytest.raises(error, match=message):
        forget(mini, colours, dataclasses.replace(GUARDED, **changes), prototypes)


def test_unknown_recipe_and_wrong_head_are_told(mini, colours):
    with pytest.raises(ValueError, match="'default' or 'paper'"):
        Recipe.named("papre")
    with pytest.raises(ModelError, match=r"\(4, D\)"):
        forget(mini, colours, GUARDED, torch.zeros(3, 128))


def test_model_without_batchnorm_is_told_before_anything_is_computed(vit, colours, monkeypatch):
    monkeypatch.setattr("forgetkit.pipeline.forget", lambda *_: pytest.fail("stage 1 had started"))
    with pytest.raises(ModelError, match="no BatchNorm"):
        unlearn(vit, colours, GUARDED)
