"""The three stages on synthetic colours, with a head made of images: fast, and no data needed."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forgetkit import Recipe, accuracies, forget, pipeline, remind, restore
from forgetkit.alignment import norm_layers
from forgetkit.lora import adaptable
from forgetkit.models.clip import ModelError, batch_norms
from forgetkit.pipeline import unlearn
from forgetkit.reminding import pools as remind_pools

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


@pytest.mark.parametrize("tower", ["vit", "resnet"])
@pytest.mark.parametrize("align_steps", [0, 3])
def test_both_recipes_run_on_both_kinds_of_tower(tower, align_steps, colours, request):
    clip = request.getfixturevalue(tower)
    few = {**SMALL, "align_steps": align_steps, "align_layernorm": True, "k": 3}
    few |= {"forget_stop": None, "forget_steps": 3, "alphas": (0.0, 1.0)}
    for recipe in (Recipe.paper(**few), Recipe.default(**few, n_noise=8, n_abstract=8)):
        models = unlearn(clip, colours, recipe)
        assert [m.name for m in models][1:] == ["forget", "remind", "restore"]
        rows = models[2].record.get("align", [])
        assert len(rows) == (len(norm_layers(clip.model.visual)) if align_steps else 0)
        assert all(torch.isfinite(p).all() for m in models for p in m.model.parameters())


@pytest.mark.parametrize("make", [Recipe.paper, Recipe.default])
def test_without_batchnorm_nothing_is_aligned_unless_asked_for(make, vit, mini, colours, caplog):
    recipe = make(**SMALL, n_noise=4, n_abstract=4)
    found = [remind_pools(clip, colours, recipe, torch.Generator().manual_seed(0)) for clip in (mini, vit)]
    assert [("aligned" in pools, "align" in record) for pools, record in found] == [(True, True), (False, False)]
    assert "retain" in found[1][0], "the images as they are take their place"
    assert caplog.text.count("no BatchNorm") == 1


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


def test_model_without_norm_layers_is_told_before_anything_is_computed(vit, colours, monkeypatch):
    monkeypatch.setattr("forgetkit.pipeline.forget", lambda *_: pytest.fail("stage 1 had started"))
    clip = vit.copy()
    clip.model.visual.apply(lambda m: [setattr(m, n, torch.nn.Identity()) for n in ("ln_1", "ln_2") if hasattr(m, n)])
    clip.model.visual.ln_pre = clip.model.visual.ln_post = torch.nn.Identity()
    with pytest.raises(ModelError, match="neither BatchNorm nor LayerNorm.*align_layernorm"):
        unlearn(clip, colours, dataclasses.replace(GUARDED, align_layernorm=True))


def counted(monkeypatch) -> list[str]:
    """The names of the stages that `unlearn` computes from now on."""
    computed = []
    for stage in (pipeline.forget, pipeline.remind, pipeline.restore):

        def counting(*args, stage=stage):
            computed.append(stage.__name__)
            return stage(*args)

        counting.__name__ = stage.__name__
        monkeypatch.setattr(pipeline, stage.__name__, counting)
    return computed


RESUMED = {**SMALL, "forget_stop": None, "forget_steps": 2, "remind_steps": 2, "n_noise": 4, "n_abstract": 4,
           "alphas": (0.0, 1.0)}  # fmt: skip


def test_a_run_that_died_goes_on_after_its_last_finished_stage(resnet, colours, tmp_path, monkeypatch):
    recipe, computed = Recipe.default(**RESUMED), counted(monkeypatch)

    def dies(*_):
        raise KeyboardInterrupt

    dies.__name__ = "remind"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "remind", dies)
        unlearn(resnet, colours, recipe, folder=tmp_path)
    unlearn(resnet, colours, recipe, folder=tmp_path)
    assert computed == ["forget", "remind", "restore"], "the first stage once only"
    unlearn(resnet, colours, recipe, folder=str(tmp_path))
    assert computed == ["forget", "remind", "restore"], "all three are kept now"


DYING = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from conftest import coloured_set, random_clip
from forgetkit import Recipe, Subgroup, pipeline, split
from forgetkit.data import PARTS

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

killed.__name__ = "remind"
pipeline.remind = killed
clip = random_clip(dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None))
parts = {{part: coloured_set(40, seed) for seed, part in enumerate(PARTS)}}
sets = split(parts, Subgroup("red", ("green", "blue")), n_forget=30, n_retain=30, n_calibration=10)
pipeline.unlearn(clip, sets, Recipe.default(**{recipe!r}), folder={folder!r})
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_process_leaves_what_it_finished(resnet, colours, tmp_path, monkeypatch):
    code = DYING.format(tests=str(Path(__file__).parent), recipe=RESUMED, folder=str(tmp_path))
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert [entry.name.split("-")[0] for entry in tmp_path.iterdir()] == ["forget"]
    computed = counted(monkeypatch)
    unlearn(resnet, colours, Recipe.default(**RESUMED), folder=tmp_path)
    assert computed == ["remind", "restore"]
