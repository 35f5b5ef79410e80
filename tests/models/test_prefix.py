"""A tower in two parts gives what the whole gives, and what is frozen is computed once."""

import open_clip
import pytest
import torch

from forgetkit import forget, load_clip, remind, restore
from forgetkit.lora import adaptable
from forgetkit.models import prefix
from forgetkit.models.prefix import Features, blocks, n_frozen, run, shared
from forgetkit.recipe import Recipe


def towers():
    vit = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1}
    plain = open_clip.CLIP(16, {"image_size": 32, "layers": [1, 2, 1, 2], "width": 8, "patch_size": None}, text)
    return {"resnet": plain.visual, "vit": open_clip.CLIP(16, vit, text).visual}


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_prefix_then_rest_is_the_tower_at_every_cut(name):
    torch.manual_seed(0)
    tower, x = towers()[name].eval(), torch.randn(3, 3, 32, 32)
    count = len(blocks(tower))
    assert count == {"resnet": 1 + 6 + 1, "vit": 1 + 2 + 2 + 1}[name]
    with torch.no_grad():
        for cut in range(1, count):
            torch.testing.assert_close(run(tower, Features(run(tower, x, cut), cut)), tower(x))
    named = [name for prefixes, _ in blocks(tower) for name in prefixes]
    for weight in tower.state_dict():
        assert sum(weight.startswith(name) for name in named) == 1, f"{weight} is in no block, or in two"


def test_the_cut_lies_before_the_first_weight_that_changes():
    tower = towers()["resnet"]
    assert n_frozen(tower, ["layer4.1.conv1.weight", "attnpool.c_proj.weight"]) == 1 + 5
    assert n_frozen(tower, ["attnpool.c_proj.weight"]) == 1 + 6 and n_frozen(tower, ["conv1.weight"]) == 0
    assert n_frozen(torch.nn.Linear(2, 2), ["weight"]) == 0, "a tower that is not known is run whole"


def test_models_share_the_blocks_whose_weights_and_statistics_are_equal():
    torch.manual_seed(0)
    one, other = towers()["resnet"], towers()["resnet"]
    other.load_state_dict(one.state_dict())
    assert shared([one, other]) == len(blocks(one)) - 1, "the last block is left to run"
    other.layer3[0].bn2.running_mean += 1
    assert shared([one, other]) == 1 + 3 and shared([one, one, other]) == 1 + 3
    other.conv1.weight.data += 1
    assert shared([one, other]) == 0 == shared([one, towers()["vit"]])


def test_stages_give_the_same_models_with_and_without_a_frozen_prefix(mini, colours, monkeypatch):
    """And each image goes through the frozen blocks once a stage."""
    sets = colours.on(mini)
    recipe = Recipe.default(
        forget={"steps": 4, "fisher_samples": 3, "stop": None, "min_retain": None},
        remind={"steps": 3, "batch": 4, "n_abstract": 4, "align_steps": 1},
        restore={"alphas": (0.5, 1.0)},
    )

    def stages():
        stage1 = forget(mini, sets, recipe.forget)
        reminded = remind(stage1, mini, sets, recipe.remind)
        return [stage1, reminded, restore(reminded, mini, sets, recipe.restore)]

    passed = []
    stem = type(mini.model.visual).stem
    monkeypatch.setattr(type(mini.model.visual), "stem", lambda tower, x: passed.append(len(x)) or stem(tower, x))
    cut = stages()
    images = sum(passed)
    passed.clear()
    monkeypatch.setattr(prefix, "blocks", lambda tower: [])
    whole = stages()
    assert sum(passed) > 1.5 * images
    for a, b in zip(cut, whole):
        assert a.record["layers"] == b.record["layers"]
        for key, value in a.model.state_dict().items():
            torch.testing.assert_close(value, b.model.state_dict()[key], rtol=0.02, atol=0.002)


def test_a_full_width_resnet_is_cut_where_the_last_third_begins():
    tower = load_clip("RN50", device="cpu").model.visual
    cut = n_frozen(tower, adaptable(tower, 0.35))
    assert blocks(tower)[cut][0] == ("layer4.0.",) or cut >= 12
