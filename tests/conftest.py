"""Shared fixtures: a small random CLIP, synthetic images that need no download, and the embedded mini-CLIP."""

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from forgetkit import Subgroup, load_clip, split
from forgetkit.data.sets import PARTS, ImageSet
from forgetkit.models.clip import Clip

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220), "yellow": (230, 220, 50)}


def random_clip(visual: dict, seed: int = 0) -> Clip:
    """An open_clip model of random weights, its BatchNorm statistics moved off their start."""
    torch.manual_seed(seed)
    text = dict(context_length=8, vocab_size=49408, width=16, heads=2, layers=1)
    model = open_clip.model.CLIP(embed_dim=16, vision_cfg=visual, text_cfg=text)
    model.visual.preprocess_cfg = open_clip.transform.PreprocessCfg(size=visual["image_size"]).__dict__
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)  # open_clip starts bn3 at zero, which hides a block
    return Clip(model.eval(), open_clip.SimpleTokenizer(context_length=8), "random")


@pytest.fixture
def resnet() -> Clip:
    return random_clip(dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None))


@pytest.fixture
def vit() -> Clip:
    return random_clip(dict(image_size=32, layers=2, width=64, head_width=32, patch_size=16))


@pytest.fixture(scope="session")
def mini() -> Clip:
    return load_clip("mini", device="cpu")


def coloured_set(n: int, seed: int) -> ImageSet:
    """n images a class: noise around a colour, on which prototypes tell the classes apart."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for label, colour in enumerate(COLOURS.values()):
        noise = rng.normal(0, 25, (n, 32, 32, 3)) + rng.normal(0, 20, (n, 1, 1, 3))
        images.append(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))
        labels.append(np.full(n, label))
    return ImageSet("colours", np.concatenate(images), np.concatenate(labels), tuple(COLOURS))


@pytest.fixture(scope="session")
def colours():
    """Splits with `red` to forget, `green` and `blue` its siblings, `yellow` as the other class."""
    parts = {part: coloured_set(40, seed) for seed, part in enumerate(PARTS)}
    return split(parts, Subgroup("red", ("green", "blue")), n_forget=30, n_retain=30, n_calibration=10)


@pytest.fixture(scope="session")
def ready(mini, colours, prototypes):
    """`colours` as mini-CLIP takes them, with `prototypes` as the head."""
    return colours.on(mini, prototypes)


@pytest.fixture(scope="session")
def prototypes(mini) -> torch.Tensor:
    """A head made of images instead of text: the mean embedding of each colour, (4, D) unit rows."""
    part = coloured_set(40, seed=9)
    z = mini.embed(part.images)
    return F.normalize(torch.stack([z[torch.as_tensor(part.labels) == c].mean(0) for c in range(4)]), dim=-1)
