"""Aligning images to statistics of the original model; BatchNorm's running ones remember the pre-training data.

    L_a = sum_l || mu_l(x + delta) - BN_l.mean ||  +  || sigma_l(x + delta) - BN_l.std ||

(Zhang et al., CVPR 2025, arXiv 2506.03117; the idea of reading BatchNorm as a memory is DeepInversion's, Yin et
al., CVPR 2020.) mu_l and sigma_l are taken over batch and positions at the *input* of BN layer l, which is
what the running statistics describe; the norms run over channels. One perturbation delta is learnt per image.

A ViT has no BatchNorm, and the paper reports none. Ours, as a substitute: the statistics of the inputs of its LayerNorm
layers, gathered once on calibration images (`gathered`). They remember no pre-training data, only those images.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import torch
from tqdm.auto import tqdm

from forgetkit.models.clip import Clip, ModelError, autocast, batch_norms, check_images
from forgetkit.models.memory import Fitting

Statistics = dict[str, tuple[torch.Tensor, torch.Tensor]]  # {layer: (mean, std) of its inputs, (channels,) each}


@dataclass(frozen=True)
class Aligned:
    """Images x + delta, and how far L_a fell.

    images: (N, 3, S, S) preprocessed
    losses: one row a layer, from input to output: layer, before, after
    curve:  L_a before each step and at the end, steps + 1 values
    """

    images: torch.Tensor
    losses: pd.DataFrame
    curve: list[float]


def norm_layers(tower: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The layers whose inputs are aligned: BatchNorm where the tower has it, else LayerNorm.

    Raises ModelError where it has neither.
    """
    for kind in (torch.nn.BatchNorm2d, torch.nn.LayerNorm):
        if found := {name: module for name, module in tower.named_modules() if isinstance(module, kind)}:
            return found
    raise ModelError(
        "This image tower has neither BatchNorm nor LayerNorm layers, so there is nothing to align to: leave "
        "align_layernorm out of the recipe."
    )


class _Moments(torch.autograd.Function):
    """x (values, C) -> mean and mean square of each channel, (C,) float32; x is kept for backward as it is.

    Written by hand, since torch would keep a float32 copy of every layer's input, two fifths of what a step holds.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(x)
        x = x.float()  # (values, channels): sums of a row are fast
        return x.mean(0), x.square().mean(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, to_mean: torch.Tensor, to_square: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return torch.addcmul(to_mean / len(x), x.float(), 2 / len(x) * to_square).to(x.dtype)


@contextmanager
def statistics(tower: torch.nn.Module, layers: dict[str, torch.nn.Module]):
    """Collect {layer: (mean, std)} of the layers' inputs during a forward, over images and positions: `Statistics`."""
    seen: Statistics = {}

    def hook(name):
        def collect(layer, inputs):
            x, channels = inputs[0], len(layer.weight)
            if x.ndim == 4 and x.shape[1] == channels:
                x = x.permute(0, 2, 3, 1)
            x = x.flatten(0, -2)
            mean, square = _Moments.apply(x)
            variance = (square - mean.square()).clamp(min=0) * len(x) / (len(x) - 1)
            seen[name] = (mean, (variance + layer.eps).sqrt())

        return collect

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def remembered(clip: Clip) -> Statistics:
    """The running statistics of the BatchNorm layers; raises ModelError if there are none."""
    norms = batch_norms(clip.model)
    return {name: (bn.running_mean, (bn.running_var + bn.eps).sqrt()) for name, bn in norms.items()}


@torch.no_grad()
def gathered(clip: Clip, batches: Iterable[torch.Tensor]) -> Statistics:
    """The statistics that preprocessed images have in this model: `align`'s goal for a ViT. batches: (B, 3, S, S)."""
    layers = norm_layers(clip.model.visual)
    found, images = [], []
    for x in batches:
        with statistics(clip.model.visual, layers) as seen, autocast(clip.device):
            clip.model.visual(x)
        found.append(seen)
        images.append(len(x))
    share = torch.tensor(images, device=clip.device) / sum(images)
    goal = {}
    for name in layers:
        means, stds = (torch.stack([seen[name][i] for seen in found], 1) for i in (0, 1))  # (channels, batches) each
        mean = means @ share
        goal[name] = mean, ((stds.square() + (means - mean[:, None]).square()) @ share).sqrt()
    return goal


def alignment_losses(seen: Statistics, goal: Statistics) -> dict[str, torch.Tensor]:
    """The terms of L_a by layer: scalars."""
    return {name: (seen[name][0] - mean).norm() + (seen[name][1] - std).norm() for name, (mean, std) in goal.items()}


def align(
    clip: Clip, x: torch.Tensor, steps: int = 15, lr: float = 0.05, bound: float = 0.5, batch: int = 200,
    goal: Statistics | None = None,
) -> Aligned:  # fmt: skip
    """Learn a perturbation per image that brings the statistics of its batch to `goal`.

    x (N, 3, S, S) preprocessed. `bound` limits |delta|, in normalised pixels (one is about a quarter of the way
    from black to white); the result stays a valid image. Statistics are those of fixed batches, in order, of about
    `batch` images. goal: BatchNorm's running statistics by default, else what `gathered` returns.
    Raises ModelError: no goal and no BatchNorm, wrong image shape.
    """
    check_images(clip, x)
    goal = goal or remembered(clip)

    def run(size: int) -> tuple[tuple, list]:
        groups = torch.tensor_split(x, max(1, round(len(x) / size)))
        with tqdm(total=len(groups) * steps, desc="align", leave=False, delay=1) as bar:
            return groups, [_align_batch(clip, group, goal, steps, lr, bound, bar) for group in groups]

    groups, done = Fitting("align", min(batch, len(x)), "statistics are then those of fewer images")(run)
    losses = sum(len(group) / len(x) * history for group, (_, history) in zip(groups, done)).cpu()  # (steps + 1, L)
    table = pd.DataFrame({"layer": list(goal), "before": losses[0].tolist(), "after": losses[-1].tolist()})
    images = torch.cat([aligned for aligned, _ in done]).contiguous(memory_format=torch.channels_last)
    return Aligned(images, table, losses.sum(1).tolist())


def _align_batch(clip: Clip, x: torch.Tensor, goal: Statistics, steps: int, lr: float, bound: float, bar: tqdm):
    """One batch: the aligned images, like x, and the terms of L_a at every step, (steps + 1, L)."""
    layers = {name: clip.model.visual.get_submodule(name) for name in goal}
    delta = torch.zeros_like(x, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=lr)
    history = []
    for step in range(steps + 1):
        shifted = clip.clamp(x + delta)
        with statistics(clip.model.visual, layers) as seen, autocast(clip.device):
            clip.model.visual(shifted)
        losses = torch.stack(list(alignment_losses(seen, goal).values()))
        history.append(losses.detach())
        if step < steps:
            (delta.grad,) = torch.autograd.grad(losses.sum(), delta)
            optimizer.step()
            with torch.no_grad():
                delta.clamp_(-bound, bound)
            bar.update()
    return shifted.detach(), torch.stack(history)
