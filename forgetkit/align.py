"""Aligning images to the BatchNorm statistics: the running statistics remember the pre-training data.

    L_a = sum_l || mu_l(x + delta) - BN_l.mean ||  +  || sigma_l(x + delta) - BN_l.std ||

(Zhang et al., CVPR 2025, arXiv 2506.03117; the idea of reading BatchNorm as a memory is DeepInversion's, Yin et
al., CVPR 2020.) mu_l and sigma_l are taken over batch and positions at the *input* of BN layer l, which is
what the running statistics describe; the norms run over channels. One perturbation delta is learnt per image.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import torch
from tqdm.auto import tqdm

from .clips import Clip, autocast, batch_norms, check_images


@dataclass(frozen=True)
class Aligned:
    """Images x + delta, and how far L_a fell.

    images: (N, 3, S, S) preprocessed
    losses: one row a BN layer, from input to output: layer, before, after
    curve:  L_a before each step and at the end, steps + 1 values
    """

    images: torch.Tensor
    losses: pd.DataFrame
    curve: list[float]


@contextmanager
def statistics(tower: torch.nn.Module, layers: dict[str, torch.nn.BatchNorm2d]):
    """Collect {layer: (mean, std)} of the inputs of the BN layers during a forward, each (channels,)."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def hook(name):
        def collect(_, inputs):
            x = inputs[0].permute(0, 2, 3, 1).flatten(0, 2).float()  # (values, channels): sums of a row are fast
            mean = x.mean(0)
            variance = (x.square().mean(0) - mean.square()).clamp(min=0) * len(x) / (len(x) - 1)
            seen[name] = (mean, (variance + layers[name].eps).sqrt())

        return collect

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def alignment_losses(seen: dict, layers: dict[str, torch.nn.BatchNorm2d]) -> dict[str, torch.Tensor]:
    """The terms of L_a by layer: scalars."""
    losses = {}
    for name, bn in layers.items():
        mean, std = seen[name]
        losses[name] = (mean - bn.running_mean).norm() + (std - (bn.running_var + bn.eps).sqrt()).norm()
    return losses


def align(
    clip: Clip, x: torch.Tensor, steps: int = 15, lr: float = 0.05, bound: float = 0.5, batch: int = 200
) -> Aligned:
    """Learn a perturbation per image that brings the BN statistics of its batch to the running ones.

    x (N, 3, S, S) preprocessed. `bound` limits |delta|, in normalised pixels (one is about a quarter of the way
    from black to white); the result stays a valid image. Statistics are those of fixed batches, in order, of about
    `batch` images. Raises ModelError: no BatchNorm, wrong image shape.
    """
    check_images(clip, x)
    layers = batch_norms(clip.model)
    groups = torch.tensor_split(x, max(1, round(len(x) / batch)))
    with tqdm(total=len(groups) * steps, desc="align", leave=False, delay=1) as bar:
        done = [_align_batch(clip, group, layers, steps, lr, bound, bar) for group in groups]
    losses = sum(len(group) / len(x) * history for group, (_, history) in zip(groups, done)).cpu()  # (steps + 1, L)
    table = pd.DataFrame({"layer": list(layers), "before": losses[0].tolist(), "after": losses[-1].tolist()})
    images = torch.cat([aligned for aligned, _ in done]).contiguous(memory_format=torch.channels_last)
    return Aligned(images, table, losses.sum(1).tolist())


def _align_batch(clip: Clip, x: torch.Tensor, layers: dict, steps: int, lr: float, bound: float, bar: tqdm):
    """One batch: the aligned images, like x, and the terms of L_a at every step, (steps + 1, L)."""
    delta = torch.zeros_like(x, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=lr)
    history = []
    for step in range(steps + 1):
        shifted = clip.clamp(x + delta)
        with statistics(clip.model.visual, layers) as seen, autocast(clip.device):
            clip.model.visual(shifted)
        losses = torch.stack(list(alignment_losses(seen, layers).values()))
        history.append(losses.detach())
        if step < steps:
            (delta.grad,) = torch.autograd.grad(losses.sum(), delta)
            optimizer.step()
            with torch.no_grad():
                delta.clamp_(-bound, bound)
            bar.update()
    return shifted.detach(), torch.stack(history)
