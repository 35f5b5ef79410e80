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
    """images (N, 3, S, S) preprocessed, x + delta; losses: one row a BN layer, its loss before and after."""

    images: torch.Tensor
    losses: pd.DataFrame
    curve: list[float]


@contextmanager
def statistics(tower: torch.nn.Module, layers: dict[str, torch.nn.BatchNorm2d]):
    """Collect {layer: (mean, std)} of the inputs of the BN layers during a forward, each (channels,)."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def hook(name):
        def collect(_, inputs):
            x = inputs[0].float()
            variance, mean = torch.var_mean(x, dim=(0, 2, 3))
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
    clip: Clip, x: torch.Tensor, steps: int = 30, lr: float = 0.05, bound: float = 0.5, batch: int = 200
) -> Aligned:
    """Learn a perturbation per image that brings the BN statistics of its batch to the running ones.

    x (N, 3, S, S) preprocessed. `bound` limits |delta| (in units of the normalised pixels, about 0.27 of the
    full range each); the result stays a valid image. Batches are fixed, in order, of at least two images.
    Raises ModelError: no BatchNorm, wrong image shape.
    """
    check_images(clip, x)
    layers = batch_norms(clip.model)
    tower = clip.model.visual
    was = [p.requires_grad for p in tower.parameters()]
    tower.requires_grad_(False)
    low, high = clip.pixel_range()
    aligned, curve = [], torch.zeros(steps)
    first, last = {n: 0.0 for n in layers}, {n: 0.0 for n in layers}
    groups = torch.tensor_split(x, max(1, round(len(x) / batch)))
    bar = tqdm(total=len(groups) * steps, desc="align", leave=False, delay=1)
    try:
        for group in groups:
            delta = torch.zeros_like(group, requires_grad=True)
            optimizer = torch.optim.Adam([delta], lr=lr)
            for step in range(steps + 1):
                shifted = torch.minimum(torch.maximum(group + delta, low), high)
                with statistics(tower, layers) as seen, autocast(clip.device):
                    tower(shifted)
                losses = alignment_losses(seen, layers)
                total = sum(losses.values())
                share = len(group) / len(x)
                if step == 0:
                    first = {n: first[n] + share * losses[n].item() for n in layers}
                if step == steps:
                    last = {n: last[n] + share * losses[n].item() for n in layers}
                    break
                curve[step] += share * total.item()
                (delta.grad,) = torch.autograd.grad(total, delta)
                optimizer.step()
                with torch.no_grad():
                    delta.clamp_(-bound, bound)
                bar.update()
            aligned.append(shifted.detach())
    finally:
        bar.close()
        for p, flag in zip(tower.parameters(), was):
            p.requires_grad_(flag)
    table = pd.DataFrame({"layer": list(layers), "before": list(first.values()), "after": list(last.values())})
    return Aligned(torch.cat(aligned).contiguous(memory_format=torch.channels_last), table, curve.tolist())
