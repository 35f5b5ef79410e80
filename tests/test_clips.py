"""Loading models, preparing images, class embeddings."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from forgetkit import load_clip
from forgetkit.models.clip import Clip, ModelError
from forgetkit.models.loading import MINI_WEIGHTS


def test_mini_is_a_true_open_clip_model(mini):
    assert isinstance(mini.model, open_clip.CLIP)
    assert isinstance(mini.model.visual, open_clip.modified_resnet.ModifiedResNet)
    assert "mini-clip" in open_clip.list_models()
    assert not mini.model.training and mini.image_size == 64


def test_preprocessing_is_open_clips(mini):
    """The tensor path against open_clip's own PIL transform of the same settings, to a grey level or two."""
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)[:60, :48]
    cfg = open_clip.transform.PreprocessCfg(**mini.model.visual.preprocess_cfg)
    expected = open_clip.transform.image_transform_v2(cfg, is_train=False)(Image.fromarray(image))
    assert (mini.preprocess(image[None])[0] - expected).abs().max() < 3 / 255 / 0.26


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


def test_embedding_does_not_depend_on_the_batch(mini):
    images = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)
    torch.testing.assert_close(mini.embed(images, batch=4), mini.embed(images, batch=9), atol=1e-5, rtol=1e-4)


def test_bad_models_have_their_sentence(tmp_path):
    with pytest.raises(ModelError, match="no model 'RN51'"):
        load_clip("RN51")
    with pytest.raises(ModelError, match="existing file"):
        load_clip("mini", pretrained=str(tmp_path / "missing.safetensors"))
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(MINI_WEIGHTS.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="truncated or no checkpoint"):
        load_clip("mini", pretrained=str(truncated))
    other = tmp_path / "other.safetensors"
    state = load_file(MINI_WEIGHTS)
    save_file({k: v for k, v in state.items() if "layer4" not in k}, other)
    with pytest.raises(ModelError, match=r"not 'mini-clip'.s: image layers \(1, 1, 1, 0\), not \(1, 1, 1, 1\)"):
        load_clip("mini", pretrained=str(other))
