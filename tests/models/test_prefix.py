"""A tower in two parts gives what the whole gives, and what is frozen is computed once."""

import copy

import open_clip
import pytest
import torch

from forgetkit import forget, load_clip, remind, restore
from forgetkit.lora import adaptable
from forgetkit.models import prefix
from forgetkit.models.prefix import Features, blocks, cuts, n_frozen, run, shared
from forgetkit.recipe import Recipe

TEXT = {"context_length": 8, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}
TOWERS = {
    "resnet": {"image_size": 32, "layers": [1, 2, 1, 2], "width": 8, "patch_size": None},
    "vit": VIT,
    "vit, all tokens": VIT | {"pool_type": "avg"},
    "vit, layer scale": VIT | {"ls_init_value": 0.1, "final_ln_after_pool": True},
    "coca": VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "convnext": {"timm_model_name": "test_convnext", "image_size": 160, "timm_proj": "linear", "timm_pool": ""},
    "timm vit": {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "token"},
    "timm vit, map": {"timm_model_name": "test_vit3", "image_size": 160, "timm_pool": "map", "timm_proj": "none"},
    "efficientnet": {"timm_model_name": "test_efficientnet", "image_size": 160},
}


def tower_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    tower = open_clip.CLIP(16, TOWERS[name], TEXT).visual.eval()
    for weight in tower.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return tower


@pytest.mark.parametrize("name", TOWERS)
def test_prefix_then_rest_is_the_tower_at_every_cut(name):
    tower, x = tower_of(name), torch.randn(3, 3, TOWERS[name]["image_size"], TOWERS[name]["image_size"])
    found = [*cuts(tower)]
    at = {blocks(tower)[i].name: blocks(tower)[i] for i in found}
    with torch.no_grad():
        whole = run(tower, x)
        assert whole.shape[0] == 3 and whole.ndim == 2
        for cut in found:
            features = Features(run(tower, x, cut), cut)
            torch.testing.assert_close(run(tower, features), whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))
            assert run(tower, features, found[0]).isfinite().all(), "also from one cut to the next"
    expected = {
        "resnet": {"layer1.0", "layer2.1", "layer3.0", "layer4.1", "attnpool"},
        "vit": {f"transformer.resblocks.{i}{inner}" for i in range(3) for inner in ("", ".ln_2")},
        "coca": {"transformer.resblocks.2", "transformer.resblocks.2.ln_2"},
        "convnext": {"trunk.stages.3.blocks.0"}, "timm vit": {"trunk.blocks.0", "trunk.blocks.1.norm2"},
        "timm vit, map": {"trunk.attn_pool", "trunk.attn_pool.norm"}, "efficientnet": {"trunk.blocks.1"},
    }.get(name, {"transformer.resblocks.2"})  # fmt: skip
    assert expected <= {*at}, sorted(at)
    if name in ("vit", "vit, layer scale"):
        assert at["transformer.resblocks.2.ln_2"].tokens == 1, "the rest reads the class token alone"
    elif name == "vit, all tokens":
        assert at["transformer.resblocks.2.ln_2"].tokens is None


@pytest.mark.parametrize("name", TOWERS)
def test_a_change_of_the_last_weights_does_not_reach_what_is_before_the_cut(name):
    tower, x = tower_of(name), torch.randn(3, 3, TOWERS[name]["image_size"], TOWERS[name]["image_size"])
    for share in (0.05, 0.4):
        names = adaptable(tower, share)
        cut, changed = n_frozen(tower, names), copy.deepcopy(tower)
        assert cut or share > 0.05
        for weight in map(changed.get_parameter, names):
            weight.data += 0.1
        with torch.no_grad():
            before, after = run(tower, x, cut), run(changed, x, cut)
            assert torch.equal(before, after) and not torch.allclose(run(tower, x), run(changed, x))
            assert shared([tower, changed]) == cut


def test_the_cut_lies_before_the_first_weight_that_changes():
    tower = tower_of("resnet")
    at = lambda *names: blocks(tower)[n_frozen(tower, names)].name
    assert at("layer4.1.conv1.weight", "attnpool.c_proj.weight") == "layer4.1"
    assert at("attnpool.c_proj.weight") == "attnpool" and at("conv1.weight") == ""
    assert n_frozen(torch.nn.Linear(2, 2), ["weight"]) == 0, "no image tower: it is run whole"
    with pytest.raises(KeyError):
        n_frozen(tower, ["layer4"])


def test_models_share_the_blocks_whose_weights_and_statistics_are_equal():
    one, other = tower_of("resnet"), tower_of("resnet")
    at = lambda *towers: blocks(one)[shared(towers)].name
    assert at(one, other) == "attnpool", "the last block is left to run"
    other.layer3[0].bn2.running_mean += 1
    assert at(one, other) == "layer3.0" == at(one, one, other)
    other.conv1.weight.data += 1
    assert shared([one, other]) == 0 == shared([one, tower_of("vit")])


def test_a_cut_past_which_something_else_is_read_is_none():
    """A skip connection over all blocks but the last: what enters those is not all that is read."""

    class Tower(torch.nn.Module):
        image_size = 8

        def __init__(self):
            super().__init__()
            block = lambda: torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
            self.first, self.second, self.third = block(), block(), block()

        def forward(self, x):
            x = self.first(x.mean((1, 2)))
            return self.third(self.second(x) * x)

    tower = Tower()
    assert [blocks(tower)[i].name for i in cuts(tower)] == ["third", "first"]


def test_a_layer_scale_of_next_to_nothing_hides_no_branch():
    """A ConvNeXt begins with one of 1e-6: all but its shortcuts is below rounding."""
    torch.manual_seed(0)
    tower = open_clip.CLIP(16, TOWERS["convnext"], TEXT).visual.eval()
    names = [name for name in adaptable(tower) if "stages.3.blocks.1" in name]
    assert len(names) == 3 and blocks(tower)[n_frozen(tower, names)].name == "trunk.stages.3.blocks.1"


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
    conv1 = type(mini.model.visual.conv1)
    whole_forward = conv1.forward
    counted = lambda conv, x: (passed.append(len(x)) if conv.in_channels == 3 else None) or whole_forward(conv, x)
    monkeypatch.setattr(conv1, "forward", counted)
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
    assert blocks(tower)[n_frozen(tower, adaptable(tower, 0.35))].name == "layer3.4"
