"""Two baselines that edit few weights once: one layer by one gradient, and every layer by a projection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.baselines.common import Weights, baseline, best_calibrated, cross_entropy, stopping_rule
from forgetkit.auditing.views import over_positions
from forgetkit.evaluation import TARGET
from forgetkit.lora import adaptable
from forgetkit.models.clip import Clip, Inputs, autocast
from forgetkit.subgroups import ModelSets

BATCH = 50


def gradients(clip: Clip, part: Inputs, names: list[str], loss: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
    """Of the loss(x, labels)'s sum over a part's batches, by these weights of the image tower."""
    weights = [clip.model.visual.get_parameter(name) for name in names]
    total = [torch.zeros_like(w) for w in weights]
    for x, labels in zip(part.images.split(BATCH), part.labels.split(BATCH)):
        with autocast(clip.device):
            found = torch.autograd.grad(loss(x, labels) * len(x), weights)
        total = [t + g.float() for t, g in zip(total, found)]
    return total


@baseline
def slug(clip: Clip, sets: ModelSets, *, stop=20.0, halvings=8, at_most=8, seed=0) -> Clip:
    """theta_l - lambda dL_f / d theta_l in one layer l, with L_f the similarity of D_f to its text.

    After SLUG (Cai, Tan, Asif, ICML 2025, arXiv 2407.11867): candidates are the layers of the Pareto front of
    importance, the gradient's length by the weight's, and of how little it points along or against that of D_r's
    contrastive loss; lambda is halved or doubled until just `stop` percent of D_f are recognised. D_m chooses among the
    `at_most` most important of the front. Nothing is drawn, so the seed does not matter.
    """
    student = clip.copy()
    tower, names = student.model.visual.requires_grad_(True), adaptable(clip.model.visual)
    forget = gradients(student, sets.forget, names, lambda x, y: (student.embed_tensor(x) * sets.head[y]).sum(1).mean())
    retain = gradients(student, sets.retain, names, lambda x, y: cross_entropy(student, x, y, sets.head))
    sizes = [tower.get_parameter(n).detach().norm() for n in names]
    importance = torch.stack([g.norm() / size for g, size in zip(forget, sizes)])
    aligned = torch.stack([F.cosine_similarity(f.flatten(), r.flatten(), 0).abs() for f, r in zip(forget, retain)])
    front = [i for i in range(len(names)) if not ((importance > importance[i]) & (aligned < aligned[i])).any()]
    front = sorted(front, key=lambda i: -importance[i])[:at_most]
    forgotten = stopping_rule(sets, stop)

    @torch.no_grad()
    def steps() -> Iterator[Weights]:
        """The weights after the shortest step, of those tried, that forgets; a layer each, where one does."""
        for i in front:
            weight = tower.get_parameter(names[i])
            start, unit = weight.detach().clone(), forget[i] * sizes[i] / forget[i].norm()
            low, high = 0.0, None
            for _ in range(halvings):
                step = (low + high) / 2 if high else 2 * low or 0.1
                weight.copy_(start - step * unit)
                low, high = (low, step) if forgotten(student) else (step, high)
            if high:
                yield {**clip.model.visual.state_dict(), names[i]: start - high * unit}
            weight.copy_(start)

    return best_calibrated(clip, sets, steps())


def entering(clip: Clip, part: Inputs, modules: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    """The mean over positions of what enters each module, (N, C), channels where it is a convolution."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in modules}

    def keep(name: str, module: nn.Module) -> Callable:
        hook = lambda _, given: found[name].append(over_positions(given[0].float()))
        return module.register_forward_pre_hook(hook)

    handles = [keep(name, module) for name, module in modules.items()]
    try:
        clip.embed(part.images)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items() if parts}


def told_apart(z: torch.Tensor, target: torch.Tensor) -> float:
    """How well a line between two means tells (N, D) of the target from the rest: 0 as chance, 1 without a mistake."""
    means = torch.stack([z[~target].mean(0), z[target].mean(0)])
    said = torch.cdist(z, means).argmin(1).bool()
    return max(0.0, ((said[target].float().mean() + (~said[~target]).float().mean()) - 1).item())


@baseline
@torch.no_grad()
def damp(clip: Clip, sets: ModelSets, *, share=1.0, strengths=(0.5, 1.0, 1.5, 2.0, 3.0), seed=0) -> Clip:
    """W (I - s_l d d^T) in every layer: d is what the target's mean input has that no other class's mean spans.

    After DAMP (Hatami, Aalishah, Monosov, 2026, arXiv 2604.15166), from its abstract: s_l is how well a line between
    the means of target and siblings tells the two apart there, times a strength that D_m chooses. Inputs are means
    over positions. share: of the layers, from the output. Nothing is drawn, so the seed does not matter.
    """
    names = [n.removesuffix(".weight") for n in adaptable(clip.model.visual, share) if n.endswith(".weight")]
    modules = {n: m for n, m in clip.model.visual.named_modules() if n in names}
    others = {n: part for n, part in sets.calibration.items() if n != TARGET}
    parts = [sets.forget, sets.retain, *others.values()]
    inputs = [entering(clip, part, modules) for part in parts]
    edits = {}
    for name in inputs[0]:
        forget, retain = inputs[0][name], inputs[1][name]
        labelled = [(found[name], part.labels) for found, part in zip(inputs[1:], parts[1:])]
        means = torch.stack([z[y == c].mean(0) for z, y in labelled for c in y.unique()])
        basis = torch.linalg.qr(means.T).Q
        left = forget.mean(0) - basis @ (basis.T @ forget.mean(0))
        if len(means) < len(left) and left.norm() > 1e-4 * forget.mean(0).norm():
            target = torch.arange(len(forget) + len(retain), device=left.device) < len(forget)
            edits[name] = left / left.norm(), told_apart(torch.cat([forget, retain]), target)

    def edited(strength: float) -> Weights:
        weights = dict(clip.model.visual.state_dict())
        for name, (d, apart) in edits.items():
            w = weights[f"{name}.weight"]
            along = torch.einsum("oi...,i->o...", w, d.to(w))
            weights[f"{name}.weight"] = w - min(strength * apart, 1.0) * torch.einsum("o...,i->oi...", along, d.to(w))
        return weights

    return best_calibrated(clip, sets, map(edited, strengths))
