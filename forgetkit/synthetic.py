"""Images of no class, for distillation: they hold what neither forget nor retain images show, without other data."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torchvision.transforms.v2 import functional as transforms

from forgetkit.models.clip import Clip


def abstract_images(clip: Clip, x: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
    """n images made of x (N, 3, S, S), preprocessed; a seventh of each kind.

    Inverted, edges only (like a sketch), grey, two blended, halves exchanged both ways, turned; and strokes.
    """
    low, high = clip.pixel_range()
    each = -(-n // 7)

    def some() -> torch.Tensor:
        """`each` images in 0..1, drawn from x."""
        return clip.to_pixels(x[torch.randint(len(x), (each,), generator=generator).to(x.device)])

    kinds = [
        1 - some(),
        edges(some()),
        some().mean(1, keepdim=True).expand(-1, 3, -1, -1),
        (some() + some()) / 2,
        some().roll([side // 2 for side in clip.image_shape], (2, 3)),
        turned(some(), generator),
        strokes(each, clip.image_shape, generator).to(x.device),
    ]
    order = torch.randperm(7 * each, generator=generator)[:n].to(x.device)
    return (low + (high - low) * torch.cat(kinds)[order]).contiguous(memory_format=torch.channels_last)


def edges(pixels: torch.Tensor) -> torch.Tensor:
    """Dark on white where an image (N, 3, S, S) in 0..1 differs from itself blurred."""
    grey = pixels.mean(1, keepdim=True)
    return 1 - (6 * (grey - transforms.gaussian_blur(grey, [5, 5])).abs()).clamp(0, 1).expand_as(pixels)


def turned(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image (N, 3, S, S) turned by any angle, and made larger or smaller by up to 30 %."""
    turn, scale = torch.rand(2, len(pixels), generator=generator).to(pixels)
    cos, sin = (of(2 * math.pi * turn) * (0.7 + 0.6 * scale) for of in (torch.cos, torch.sin))
    return resampled(pixels, [cos, -sin, 0 * cos, sin, cos, 0 * cos])


def crops(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random crop of each image (N, 3, S, S), 60 to 100 % of its area, mirrored or not, at the image's size."""
    area, right, down, mirrored = torch.rand(4, len(x), generator=generator).to(x)
    side, sign = (0.6 + 0.4 * area).sqrt(), 1 - 2 * (mirrored < 0.5).to(x)
    right, down = ((2 * place - 1) * (1 - side) for place in (right, down))
    return resampled(x, [sign * side, 0 * side, right, 0 * side, side, down])


def resampled(x: torch.Tensor, maps: list[torch.Tensor]) -> torch.Tensor:
    """Each image (N, 3, S, S) through its own affine map: six numbers, each (N,), as rows of (2, 3)."""
    grid = F.affine_grid(torch.stack(maps, 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def strokes(n: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Drawings of two to eight dark arcs on white: (n, 3, S, S) in 0..1."""
    height, width, drawings = 4 * size[0], 4 * size[1], []
    for count in torch.randint(2, 9, (n,), generator=generator):
        drawing = Image.new("L", (width, height), 255)
        for x, y, w, h, start, angle, thick in torch.rand(count, 7, generator=generator).tolist():
            box = (width * (x - w / 2), height * (y - h / 2), width * (x + w / 2), height * (y + h / 2))
            line = int(width * (0.02 + 0.04 * thick))
            ImageDraw.Draw(drawing).arc(box, 360 * start, 360 * (start + angle), 0, line)
        drawings.append(transforms.pil_to_tensor(drawing.resize(size[::-1], Image.Resampling.BOX)))
    return torch.stack(drawings).expand(-1, 3, -1, -1) / 255
