"""The embedded model keeps its floors on real test data, and pre-training learns, stops and resumes."""

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from safetensors.torch import load_file

from forgetkit import load_clip
from forgetkit.data.sets import ImageSet
from forgetkit.lab import pretrain
from forgetkit.lab.accuracy import FLOORS, zero_shot


@pytest.mark.slow
def test_floors_on_test_data_and_the_committed_rows(mini, request):
    table = zero_shot(mini).set_index("set")
    for name, floor in FLOORS.items():
        assert table.loc[name, "top1"] >= floor
    committed = pd.read_csv(request.config.rootpath / "docs/results/mini-clip.csv").set_index("set")
    assert (committed["top1"] - table["top1"]).abs().max() < 0.3, "the model card's rows are not this model's"


def test_loss_takes_several_positives_and_leaves_truths_out():
    text, scale = torch.eye(2, 4), torch.tensor(50.0)
    own = torch.tensor([0, 0, 1])
    only = F.one_hot(own, 2).bool()
    # Two images share caption 0, so each can have half of its column: log 2, in one of two columns and directions.
    loss = pretrain.contrastive_loss(text[own], text, scale, own, only)
    assert loss.item() == pytest.approx(np.log(2) / 4, abs=1e-4)
    # Caption 1 is true of the first image too: standing nearer to it than to its own must cost nothing.
    near = F.normalize(text[own] + torch.tensor([[0.0, 1.2, 0, 0], [0] * 4, [0] * 4]), dim=-1)
    both = only.clone()
    both[0, 1] = True
    pushed = pretrain.contrastive_loss(near, text, scale, own, only)
    assert pretrain.contrastive_loss(near, text, scale, own, both) < pushed - 0.05


def test_truth_matrix_knows_styles_and_coarse_names():
    class Fake:
        truths = pretrain.Source.truths

        def __init__(self, name):
            self.name = name

    photo, sketch = Fake("cifar10"), Fake("quickdraw")
    drawn = [
        (None, [("cat", "cifar10", "a photo of a cat."), ("animal", None, "an image of a animal.")]),
        (None, [("cat", "quickdraw", "a sketch of a cat."), ("cat", None, "a picture of a cat.")]),
    ]
    texts, own, true = pretrain.batch_captions([photo, sketch], drawn)
    says = {t: k for k, t in enumerate(texts)}
    photo_of_cat = true[0]
    assert photo_of_cat[says["a photo of a cat."]] and photo_of_cat[says["a picture of a cat."]]
    assert photo_of_cat[says["an image of a animal."]]
    assert not photo_of_cat[says["a sketch of a cat."]]
    assert not true[2][says["a photo of a cat."]]
    assert [texts[k] for k in own] == [c[2] for _, captions in drawn for c in captions]


def test_augmentation_keeps_shape_and_range_and_follows_its_generator():
    images = torch.randint(0, 255, (5, 3, 28, 28), dtype=torch.uint8)
    a = pretrain.augment(images, 64, torch.Generator().manual_seed(1))
    assert a.shape == (5, 3, 64, 64) and 0 <= a.min() and a.max() <= 1
    assert torch.equal(a, pretrain.augment(images, 64, torch.Generator().manual_seed(1)))
    assert not torch.equal(a, pretrain.augment(images, 64, torch.Generator().manual_seed(2)))


@pytest.fixture
def tiny_sets(monkeypatch):
    def load(name, part):
        rng = np.random.default_rng(len(name))
        classes = tuple(pretrain.COARSE) if name == "cifar10" else ("cat", "cup")
        labels = np.arange(2 * len(classes)) % len(classes)
        return ImageSet(name, rng.integers(0, 255, (len(labels), 8, 8, 3), np.uint8), labels, classes)

    monkeypatch.setattr(pretrain.data, "load", load)


def test_interrupted_pretraining_resumes_to_the_same_weights(tiny_sets, tmp_path):
    config, cpu = pretrain.Pretraining(images_seen=64, batch=16, warmup=1), torch.device("cpu")
    whole = load_file(pretrain.pretrain(config, tmp_path / "whole", cpu))
    for _ in range(10):  # zero minutes: stop after every step
        try:
            parts = load_file(pretrain.pretrain(config, tmp_path / "parts", cpu, minutes=0))
            break
        except SystemExit as stop:
            assert "run again to go on" in str(stop)
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    assert (tmp_path / "parts/pretraining.json").exists()


def test_a_small_vit_is_trained_in_the_same_way(tiny_sets, tmp_path):
    config = pretrain.Pretraining(model="mini-vit", images_seen=48, batch=16, warmup=1, lr=1e-3)
    file = pretrain.pretrain(config, tmp_path, torch.device("cpu"))
    assert file.name == "mini-vit.safetensors"
    clip = load_clip("mini-vit", pretrained=file, device="cpu")
    assert isinstance(clip.model.visual, open_clip.transformer.VisionTransformer) and clip.image_size == 64
    assert clip.model.visual.preprocess_cfg["interpolation"] == "bilinear"
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in clip.model.modules())
    random = load_clip("mini-vit", device="cpu")
    assert not torch.equal(clip.model.visual.proj, random.model.visual.proj)


def test_checkpoint_of_other_settings_or_damaged_is_told(tiny_sets, tmp_path):
    config, cpu = pretrain.Pretraining(images_seen=32, batch=16, warmup=1), torch.device("cpu")
    pretrain.pretrain(config, tmp_path, cpu)
    with pytest.raises(SystemExit, match="other settings"):
        pretrain.pretrain(pretrain.Pretraining(images_seen=48, batch=16, warmup=1), tmp_path, cpu)
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(SystemExit, match="delete it to start anew"):
        pretrain.pretrain(config, tmp_path, cpu)


def test_command_line_shows_its_options():
    assert "--minutes" in CliRunner().invoke(pretrain.main, ["--help"]).output
