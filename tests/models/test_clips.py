"""Preparing images, embedding them and class names, for mini-CLIP and for models of random weights."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from forgetkit import load_clip
from forgetkit.data.images import ImageSet
from forgetkit.models.clip import (
    Clip,
    ModelError,
    batch_norms,
    check_head,
    embed_each,
    pick_device,
)

ROUNDING = dict(atol=1e-3, rtol=0)  # where a CPU computes in bfloat16, sums depend on how a batch is cut


def test_mini_is_a_true_open_clip_model(mini):
    assert isinstance(mini.model, open_clip.CLIP) and "mini-clip" in open_clip.list_models()
    assert not mini.model.training and mini.image_shape == (64, 64)


@pytest.mark.parametrize(
    "size, settings",
    [
        (224, dict()),  # RN50's: the shortest side, bicubic
        (64, dict(resize_mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3)),  # SigLIP's
        (64, dict(resize_mode="longest", interpolation="bilinear")),
        ((48, 80), dict()),
        ((80, 48), dict(resize_mode="squash", interpolation="bilinear")),
        ((80, 48), dict(resize_mode="longest")),
    ],
)
def test_every_way_of_preprocessing_is_open_clips(size, settings):
    cfg = open_clip.transform.PreprocessCfg(size=size, **settings)
    model = torch.nn.Module()
    model.visual = torch.nn.Linear(1, 1)
    model.visual.image_size, model.visual.preprocess_cfg = size, cfg.__dict__
    clip = Clip(model, None, "settings only")
    rng = np.random.default_rng(0)
    for h, w in ((96, 130), (300, 210)):
        image = rng.integers(60, 190, (-(-h // 8), -(-w // 8), 3), np.uint8).repeat(8, 0).repeat(8, 1)[:h, :w]
        expected = open_clip.transform.image_transform_v2(cfg, is_train=False)(Image.fromarray(image))
        found = clip.preprocess(image[None])[0]
        assert found.shape == expected.shape == (3, *clip.image_shape)
        off = (found - expected).abs() * torch.tensor(cfg.std).view(3, 1, 1) * 255
        assert off.max() < 2.5 and off.mean() < 0.5, "in grey levels: PIL rounds (and clips) between its two passes"


def test_to_pixels_inverts_the_normalisation(mini):
    image = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    pixels = mini.to_pixels(mini.preprocess(image))
    assert np.abs(255 * pixels.permute(0, 2, 3, 1).numpy() - image).max() < 0.01
    low, high = mini.pixel_range()
    assert mini.to_pixels(low[None]).abs().max() < 1e-6 and (mini.to_pixels(high[None]) - 1).abs().max() < 1e-6


def test_head_rows_are_unit_and_follow_the_prompts(mini):
    one = mini.head(["cat", "truck"], ["a photo of a {}."])
    assert one.shape == (2, 128)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(2))
    assert not torch.allclose(one, mini.head(["cat", "truck"], ["a sketch of a {}."]), atol=1e-3)
    with pytest.raises(ModelError, match="{}"):
        mini.head(["cat"], ["a photo of a cat"])


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)


def test_inputs_are_preprocessed_once_and_embed_the_same(mini, images, monkeypatch):
    part = ImageSet("noise", images, np.arange(9) % 2, ("cat", "dog"), ("a {}.",))
    inputs = mini.inputs(part)
    assert torch.equal(inputs.images, mini.preprocess(images)) and inputs.labels.tolist() == [*part.labels]
    assert (inputs.classes, inputs.prompts) == (part.classes, part.prompts)
    few = inputs.take(slice(3))
    assert len(few) == 3 and torch.equal(few.images, inputs.images[:3]) and few.labels.tolist() == [0, 1, 0]
    expected = mini.embed(images)
    monkeypatch.setattr(Clip, "preprocess", lambda *_: pytest.fail("these are preprocessed already"))
    torch.testing.assert_close(mini.embed(inputs.images, batch=4), expected, **ROUNDING)


def test_several_models_share_what_is_preprocessed(mini, images, monkeypatch):
    other = mini.copy("other")
    with torch.no_grad():
        other.model.visual.attnpool.c_proj.weight.mul_(1.01).add_(0.01)
    expected, real, asked = [mini.embed(images), other.embed(images)], Clip.preprocess, []
    monkeypatch.setattr(Clip, "preprocess", lambda clip, part: asked.append(len(part)) or real(clip, part))
    found = embed_each([mini, other], images, batch=6)
    assert asked == [6, 3], "each image once"
    for z, same in zip(found, expected):
        torch.testing.assert_close(z, same, **ROUNDING)
    assert not torch.allclose(*expected, atol=1e-3)


def test_a_head_is_made_fit_or_refused(mini):
    head = 3 * torch.randn(4, 128)
    torch.testing.assert_close(check_head(head, 4, mini).norm(dim=1), torch.ones(4))
    for wrong in (head[:3], head[:, :64], head[0]):
        with pytest.raises(ModelError, match=r"must be \(4, 128\), a row a class"):
            check_head(wrong, 4, mini)
    for value in (float("nan"), float("inf"), 0.0):
        wrong = head.clone()
        wrong[1] = value
        with pytest.raises(ModelError, match="rows that are zero, or numbers that are not finite"):
            check_head(wrong, 4, mini)


def test_a_resnet_has_batch_norms_and_a_vit_has_none(resnet, vit):
    assert len(batch_norms(resnet.model)) > 10 and not batch_norms(vit.model)


def test_bad_models_have_their_sentence(tmp_path):
    with pytest.raises(ModelError, match="no model 'RN51'"):
        load_clip("RN51")
    with pytest.raises(ModelError, match="existing file"):
        load_clip("mini", pretrained=str(tmp_path / "missing.safetensors"))
    with pytest.raises(ModelError, match="There is no device 'cudaa': choose auto"):
        pick_device("cudaa")


def test_a_head_stands_for_the_prompts_it_was_made_for(mini):
    names, own = ("dog", "horse"), torch.eye(2, mini.head(("dog",), ("{}",)).shape[1])
    clip = mini.with_head(names, own)
    assert torch.equal(clip.head(names, ("a photo of a {}.",)), own)
    other = ("a drawing of a {}.",)
    torch.testing.assert_close(clip.head(names, other), mini.head(names, other))
    torch.testing.assert_close(clip.with_head(names, own, other).head(names, other), own)
