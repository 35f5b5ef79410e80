"""Images of no class, for distillation: they hold what neither forget nor retain images show.

Neither kind needs data beyond D_r. The idea of distilling on synthetic images matched to BatchNorm statistics is
DeepInversion's (Yin et al., CVPR 2020), here for keeping, not for making, a model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as transforms

from forgetkit.models.clip import Clip


def noise_images(clip: Clip, n: int, generator: torch.Generator) -> torch.Tensor:
    """Random images of many scales, from blobs to grain: (n, 3, S, S) preprocessed, to be aligned before use."""
    size = clip.image_shape
    x = torch.zeros(n, 3, *size)
    for cells in (4, 8, 16, 32):
        coarse = torch.randn(n, 3, cells, cells, generator=generator)
        x += F.interpolate(coarse, size, mode="bilinear") / 2
    return clip.clamp(x.to(clip.device)).contiguous(memory_format=torch.channels_last)


def abstract_images(clip: Clip, x: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
    """n abstractions of x (N, 3, S, S): inverted, edges only (like a sketch), grey, two blended; preprocessed."""
    low, high = clip.pixel_range()

    def some() -> torch.Tensor:
        """A quarter of n images in 0..1, drawn from x."""
        index = torch.randint(len(x), (-(-n // 4),), generator=generator)
        return clip.to_pixels(x[index.to(x.device)])

    def edges(pixels: torch.Tensor) -> torch.Tensor:
        grey = pixels.mean(1, keepdim=True)
        return 1 - (6 * (grey - transforms.gaussian_blur(grey, [5, 5])).abs()).clamp(0, 1).expand_as(pixels)

    kinds = [1 - some(), edges(some()), some().mean(1, keepdim=True).expand(-1, 3, -1, -1), (some() + some()) / 2]
    order = torch.randperm(4 * -(-n // 4), generator=generator)[:n].to(x.device)
    return (low + (high - low) * torch.cat(kinds)[order]).contiguous(memory_format=torch.channels_last)
