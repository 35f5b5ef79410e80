"""A small random CLIP, and images that need no download."""

import numpy as np
import open_clip
import torch

from forgetkit.data.images import ImageSet
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


def coloured_set(n: int, seed: int) -> ImageSet:
    """n images a class: noise around a colour, on which prototypes tell the classes apart."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for label, colour in enumerate(COLOURS.values()):
        noise = rng.normal(0, 25, (n, 32, 32, 3)) + rng.normal(0, 20, (n, 1, 1, 3))
        images.append(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))
        labels.append(np.full(n, label))
    return ImageSet("colours", np.concatenate(images), np.concatenate(labels), tuple(COLOURS))
