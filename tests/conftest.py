"""Shared fixtures: a small random CLIP, synthetic images that need no download, and the embedded mini-CLIP."""

import pytest
import torch
import torch.nn.functional as F
from synthetic_data import coloured_set, random_clip

from forgetkit import Subgroup, load_clip, split
from forgetkit.data.images import PARTS
from forgetkit.models.clip import Clip


@pytest.fixture
def resnet() -> Clip:
    return random_clip(dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None))


@pytest.fixture
def vit() -> Clip:
    return random_clip(dict(image_size=32, layers=2, width=64, head_width=32, patch_size=16))


@pytest.fixture(scope="session")
def mini() -> Clip:
    return load_clip("mini", device="cpu")


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
