"""Aligning images to the BatchNorm statistics of the original model, which remember the pre-training data.

    L_a = sum_l || mu_l(x + delta) - BN_l.mean ||  +  || sigma_l(x + delta) - BN_l.std ||

(Zhang et al., CVPR 2025, arXiv 2506.03117; the idea of reading BatchNorm as a memory is DeepInversion's, Yin et
al., CVPR 2020.) mu_l and sigma_l are taken over batch and positions at the *input* of BN layer l, which is
what the running statistics describe; the norms run over channels. One perturbation delta is learnt per image.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from tqdm.auto import tqdm

from forgetkit.models.clip import Clip, ModelError, autocast, batch_norms
from forgetkit.models.memory import halving, lean_moments

STEP = 0.05  # Adam's rate, in normalised pixels: a pixel can reach the bound in ten of the recipe's fifteen steps
BOUND = 0.5  # of |delta|, in normalised pixels: one is about a quarter of the way from black to white
Statistics = dict[str, tuple[torch.Tensor, torch.Tensor]]  # {layer: (mean, std) of its inputs, (channels,) each}


@dataclass(frozen=True)
class Aligned:
    """Images x + delta, and how far L_a fell."""

    images: torch.Tensor  # (N, 3, S, S) preprocessed
    losses: pd.DataFrame  # one row a layer, from input to output: layer, before, after
    curve: list[float]  # L_a before each step and at the end, steps + 1 values


def remembered(clip: Clip) -> Statistics:
    """The running statistics of the BatchNorm layers; raises ModelError if there are none."""
    if not (norms := batch_norms(clip.model)):
        raise ModelError("This image tower has no BatchNorm layers (a ViT has none), so there is nothing to align to.")
    return {name: (bn.running_mean, (bn.running_var + bn.eps).sqrt()) for name, bn in norms.items()}


def moments(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and std, (C,) float32 each, of every channel of x (N, C, H, W); `lean_moments` does it in less memory."""
    variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3))
    return mean, (variance + eps).sqrt()


@contextmanager
def statistics(tower: torch.nn.Module, layers: list[str], moments: Callable = lean_moments):
    """Collect {layer: (mean, std)} of the layers' inputs during a forward: `Statistics`."""
    seen: Statistics = {}

    def collect(name: str, layer: torch.nn.Module, inputs: tuple) -> None:
        seen[name] = moments(inputs[0], layer.eps)

    handles = [tower.get_submodule(name).register_forward_pre_hook(partial(collect, name)) for name in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def alignment_losses(seen: Statistics, goal: Statistics) -> dict[str, torch.Tensor]:
    """The terms of L_a by layer: scalars."""
    return {name: (seen[name][0] - mean).norm() + (seen[name][1] - std).norm() for name, (mean, std) in goal.items()}


def align_batch(
    clip: Clip, x: torch.Tensor, goal: Statistics, steps: int, lr: float, bound: float, bar: tqdm, moments: Callable
) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch: the aligned images, like x (B, 3, S, S), and the terms of L_a at every step, (steps + 1, L)."""
    delta = torch.zeros_like(x, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=lr)
    history = []
    for step in range(steps + 1):
        shifted = clip.clamp(x + delta)
        with statistics(clip.model.visual, [*goal], moments) as seen, autocast(clip.device):
            clip.model.visual(shifted)
        losses = torch.stack([*alignment_losses(seen, goal).values()])
        history.append(losses.detach())
        if step < steps:
            (delta.grad,) = torch.autograd.grad(losses.sum(), delta)
            optimizer.step()
            with torch.no_grad():
                delta.clamp_(-bound, bound)
            bar.update()
    return shifted.detach(), torch.stack(history)


def align(
    clip: Clip, x: torch.Tensor, steps: int = 15, bound: float = BOUND, lr: float = STEP, batch: int = 200,
    moments: Callable = lean_moments,
) -> Aligned:  # fmt: skip
    """Learn a perturbation per image that brings the statistics of its batch to BatchNorm's running ones.

    x (N, 3, S, S) preprocessed. `bound` limits |delta|, in normalised pixels; the result stays a valid image.
    Statistics are those of fixed batches, in order, of about `batch` images; moments: how a layer's input is summed up.
    Raises ModelError: no BatchNorm, or images of another size.
    """
    goal = remembered(clip)
    if x.shape[1:] != (right := (3, *clip.image_shape)):
        raise ModelError(f"Images to align are preprocessed, (N, {str(right)[1:]}, and these are {tuple(x.shape)}.")

    def run(size: int) -> tuple[tuple, list]:
        groups = torch.tensor_split(x, max(1, round(len(x) / size)))
        with tqdm(total=len(groups) * steps, desc="align", leave=False, delay=1) as bar:
            return groups, [align_batch(clip, group, goal, steps, lr, bound, bar, moments) for group in groups]

    groups, done = halving(run, min(batch, len(x)), "align", "statistics are then those of fewer images")
    losses = sum(len(group) / len(x) * history for group, (_, history) in zip(groups, done)).cpu()  # (steps + 1, L)
    table = pd.DataFrame({"layer": [*goal], "before": losses[0].tolist(), "after": losses[-1].tolist()})
    images = torch.cat([aligned for aligned, _ in done]).contiguous(memory_format=torch.channels_last)
    return Aligned(images, table, losses.sum(1).tolist())
