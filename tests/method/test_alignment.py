"""Alignment to the BatchNorm statistics."""

import pytest
import torch

from forgetkit import tutorial_sets
from forgetkit.alignment import align, alignment_losses, moments, remembered, statistics
from forgetkit.models.clip import ModelError, batch_norms
from forgetkit.models.memory import lean_moments


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
    falls_everywhere(mini, tutorial_sets("cat", n_retain=150).retain.images, steps=40)


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


def test_stays_within_bound_and_a_valid_image(mini, colours):
    x = mini.preprocess(colours.retain.images)
    aligned = align(mini, x, steps=4, lr=0.5, bound=0.1).images
    assert (aligned - x).abs().max() <= 0.1 + 1e-5
    low, high = mini.pixel_range()
    assert (aligned >= low - 1e-5).all() and (aligned <= high + 1e-5).all()
    assert not torch.equal(aligned, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lean_moments_are_those_of_the_equation_and_so_is_their_gradient(dtype):
    x = torch.randn(5, 6, 4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    lean, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, wanted = lean_moments(lean, 1e-5), moments(plain, 1e-5)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)
    for mean, std in (found, wanted):
        (torch.arange(6.0) * mean + std).sum().backward()
    torch.testing.assert_close(lean.grad, plain.grad)


def test_the_equations_own_moments_align_alike(mini, colours):
    x = mini.preprocess(colours.retain.images[:8])
    lean, plain = align(mini, x, steps=2), align(mini, x, steps=2, moments=moments)
    assert lean.curve == pytest.approx(plain.curve, rel=1e-2)


def test_changes_nothing_in_the_model(mini, colours):
    before = {k: v.clone() for k, v in mini.model.state_dict().items()}
    flags = [p.requires_grad for p in mini.model.parameters()]
    align(mini, mini.preprocess(colours.retain.images[:8]), steps=2)
    assert all(torch.equal(v, before[k]) for k, v in mini.model.state_dict().items())
    assert flags == [p.requires_grad for p in mini.model.parameters()]


def test_a_model_without_batchnorm_is_told(vit):
    with pytest.raises(ModelError, match="no BatchNorm layers.*nothing to align to"):
        align(vit, torch.zeros(2, 3, 32, 32))


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_size_are_refused(mini, shape):
    with pytest.raises(ModelError, match=r"preprocessed, \(N, 3, .* and these are \(\d"):
        align(mini, torch.zeros(shape), steps=1)
