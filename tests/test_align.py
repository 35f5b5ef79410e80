"""Alignment to the BatchNorm statistics, and, where there are none, to those of LayerNorm inputs."""

import pytest
import torch

from forgetkit.alignment import _Moments, align, alignment_losses, gathered, norm_layers, remembered, statistics
from forgetkit.models.clip import ModelError, batch_norms
from forgetkit.data.tutorial import tutorial_sets


def falls_everywhere(clip, images, **options):
    aligned = align(clip, clip.preprocess(images), **options)
    assert len(aligned.losses) == len(batch_norms(clip.model))
    rose = aligned.losses[aligned.losses["after"] >= aligned.losses["before"]]
    assert rose.empty, rose.to_string()
    assert aligned.curve[-1] < 0.8 * aligned.curve[0]


def test_lowers_its_loss_at_every_bn_layer(mini, colours):
    falls_everywhere(mini, colours.retain.images, steps=60, bound=3.0)


@pytest.mark.slow
def test_lowers_its_loss_at_every_bn_layer_on_real_retain_images(mini):
    falls_everywhere(mini, tutorial_sets("cat").retain.images, steps=40)


def test_statistics_are_those_of_the_layer_inputs(resnet):
    """A layer in train mode with momentum 1 takes the statistics of the batch: they must be the collected ones."""
    tower, x = resnet.model.visual, torch.randn(8, 3, 64, 64)
    layers = batch_norms(resnet.model)
    with statistics(tower, layers) as seen, torch.no_grad():
        tower(x)
    bn = layers["bn1"]
    bn.momentum, bn.training = 1.0, True
    with torch.no_grad():
        tower(x)
    torch.testing.assert_close(seen["bn1"][0], bn.running_mean)
    torch.testing.assert_close(seen["bn1"][1], (bn.running_var + bn.eps).sqrt())
    assert all(not m._forward_pre_hooks for m in layers.values()), "the hooks are removed again"


def test_loss_is_zero_at_the_running_statistics(resnet):
    layers = batch_norms(resnet.model)
    seen = {n: (bn.running_mean, (bn.running_var + bn.eps).sqrt()) for n, bn in layers.items()}
    assert all(loss.item() == 0 for loss in alignment_losses(seen, remembered(resnet)).values())


def test_statistics_of_layernorm_inputs_are_those_of_all_tokens(vit):
    tower, x = vit.model.visual, torch.randn(8, 3, 32, 32)
    inputs = {}
    layers = norm_layers(tower)
    assert "ln_pre" in layers and len(layers) == 6, "two a block, one before, one after"
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0].detach()}))
    with statistics(tower, layers) as seen, torch.no_grad():
        tower(x)
    assert inputs["ln_pre"].shape == (8, 5, 64)
    for name, value in inputs.items():
        tokens = value.reshape(-1, 64)
        torch.testing.assert_close(seen[name][0], tokens.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(seen[name][1], (tokens.var(0) + layers[name].eps).sqrt(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_what_is_gathered_in_batches_is_what_one_batch_has(tower, request):
    """To the n - 1 of each batch's variance."""
    clip = request.getfixturevalue(tower)
    x = torch.randn(30, 3, clip.image_size, clip.image_size)
    whole, parts = gathered(clip, [x]), gathered(clip, x.split(16))
    for name in whole:
        for a, b in zip(whole[name], parts[name]):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=0.02)


def test_a_vit_is_aligned_to_what_other_images_have(vit, colours):
    goal = gathered(vit, vit.batches(colours.calibration["other"].images, 16))
    x = vit.preprocess(colours.retain.images)
    aligned = align(vit, x, steps=20, bound=2.0, goal=goal)
    assert len(aligned.losses) == 6 and aligned.curve[-1] < 0.8 * aligned.curve[0]
    assert sum(alignment_losses(goal, goal).values()) == 0


def test_stays_within_bound_and_a_valid_image(mini, colours):
    x = mini.preprocess(colours.retain.images)
    aligned = align(mini, x, steps=4, lr=0.5, bound=0.1).images
    assert (aligned - x).abs().max() <= 0.1 + 1e-5
    low, high = mini.pixel_range()
    assert (aligned >= low - 1e-5).all() and (aligned <= high + 1e-5).all()
    assert not torch.equal(aligned, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_have_the_gradient_that_torch_would_find(dtype):
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    mine, plain = x.clone().requires_grad_(), x.float().requires_grad_()
    found, wanted = _Moments.apply(mine), (plain.mean(0), plain.square().mean(0))
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)
    weights = torch.arange(6.0)
    for mean, square in (found, wanted):
        (weights * mean + (square - mean.square()).sqrt()).sum().backward()
    torch.testing.assert_close(mine.grad, plain.grad.to(dtype))


def test_changes_nothing_in_the_model(mini, colours):
    before = {k: v.clone() for k, v in mini.model.state_dict().items()}
    flags = [p.requires_grad for p in mini.model.parameters()]
    align(mini, mini.preprocess(colours.retain.images[:8]), steps=2)
    assert all(torch.equal(v, before[k]) for k, v in mini.model.state_dict().items())
    assert flags == [p.requires_grad for p in mini.model.parameters()]


def test_model_without_batchnorm_and_wrong_size_are_told(vit, mini):
    with pytest.raises(ModelError, match="no BatchNorm.*`forgetkit.alignment.gathered`"):
        align(vit, torch.zeros(2, 3, 32, 32))
    with pytest.raises(ModelError, match=r"\(N, 3, 64, 64\)"):
        align(mini, torch.zeros(2, 3, 32, 32))
