"""Adapters: nothing changes at first, every one learns, and merging keeps the output."""

import copy

import pytest
import torch

from forgetkit.lora import adapt, adaptable, merge


def towers(request, name):
    clip = request.getfixturevalue(name)
    size = clip.image_shape[0]
    return clip.model.visual, torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_adapter_at_init_changes_no_output_bit(request, name):
    tower, x = towers(request, name)
    with torch.no_grad():
        before = tower(x)
        adapt(tower, adaptable(tower), rank=2, lora_alpha=4)
        assert torch.equal(tower(x), before)


def test_the_last_layers_are_those_next_to_the_output(request):
    """Of a ViT too, which names its output projection first."""
    resnet, vit = (towers(request, name)[0] for name in ("resnet", "vit"))
    assert adaptable(resnet, 0.01) == ["attnpool.c_proj.weight"]
    assert adaptable(vit, 0.01) == ["proj"]
    for tower in (resnet, vit):
        everything = adaptable(tower)
        assert adaptable(tower, 0.5) == everything[-(len(everything) // 2) :] and adaptable(tower, 1.0) == everything


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_every_adapter_gets_a_gradient(request, name):
    """The attention pool's projections and a ViT's in_proj_weight too, which a wrapped module would bypass."""
    tower, x = towers(request, name)
    names = adaptable(tower)
    params = adapt(tower, names, rank=2, lora_alpha=4)
    tower(x).square().sum().backward()
    without = [n for n, b in zip(names, params[1::2]) if b.grad is None or not b.grad.abs().max() > 0]
    assert without == []
    assert len(params) == 2 * len(names)
    assert all(p.grad is None for n, p in tower.named_parameters() if ".original" in n), "frozen weights have none"


@pytest.mark.slow
def test_full_width_rn50_and_vit_attention_weights_learn():
    """The real shapes: RN50's attention pool and ViT-B-32's in_proj_weight, on random weights."""
    import open_clip

    for model, expected in (
        ("RN50", "attnpool.q_proj.weight"),
        ("ViT-B-32", "transformer.resblocks.0.attn.in_proj_weight"),
    ):
        torch.manual_seed(0)
        tower = open_clip.create_model(model).visual.eval()
        names = [n for n in adaptable(tower) if "attn" in n]
        assert expected in names
        params = adapt(tower, names, rank=4, lora_alpha=8)
        tower(torch.randn(1, 3, 224, 224)).square().sum().backward()
        assert all(b.grad.abs().max() > 0 for b in params[1::2])


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_merged_equals_unmerged(request, name):
    tower, x = towers(request, name)
    keys = set(tower.state_dict())
    for p in adapt(tower, adaptable(tower), rank=2, lora_alpha=4):
        torch.nn.init.normal_(p, std=0.05)
    unmerged = copy.deepcopy(tower)(x)
    merged = merge(tower)
    assert torch.isfinite(unmerged).all()
    assert torch.equal(merged(x), unmerged)
    assert set(merged.state_dict()) == keys, "a merged tower is a plain one again"


def test_rank_is_cut_to_what_the_weight_allows(resnet):
    tower = resnet.model.visual
    a, b = adapt(tower, ["conv1.weight"], rank=64, lora_alpha=1)
    assert a.shape == (4, 27) and b.shape == (4, 4)


def test_unknown_weight_is_named(resnet):
    with pytest.raises(ValueError, match="layer9.weight"):
        adapt(resnet.model.visual, ["layer9.weight"], rank=2, lora_alpha=4)


def test_an_adapter_is_computed_in_float32_under_autocast(resnet):
    """Else what is trained, in bfloat16, is not what `merge` folds in."""
    tower = resnet.model.visual
    params = adapt(tower, ["conv2.weight"], rank=2, lora_alpha=4)
    torch.nn.init.normal_(params[1])
    with torch.autocast("cpu", torch.bfloat16):
        during = tower.conv2.weight
    assert during.dtype == torch.float32 and torch.equal(during, tower.conv2.weight)
