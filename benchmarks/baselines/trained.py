"""Baselines that are trained: each is a loss, its weights, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from benchmarks.baselines.common import (
    Loss,
    Weights,
    baseline,
    classifying,
    cross_entropy,
    descend,
    relabelled,
    stopping_rule,
    train,
)
from forgetkit.lora import adapt, adaptable, merge
from forgetkit.models.clip import Clip, ModelError
from forgetkit.subgroups import ModelSets


def relabelling(sets: ModelSets, batch: int, seed: int) -> Loss:
    """The loss of `salun`: wrong labels on D_f, the right ones on D_r."""
    generator = torch.Generator().manual_seed(seed)
    return classifying(relabelled(sets, generator), batch, generator, forget=1.0, retain=1.0)


@baseline
def ga(clip: Clip, sets: ModelSets, *, lr=1e-6, steps=200, batch=64, seed=0) -> Clip:
    """Gradient ascent: raise the classification loss on D_f until it is no longer recognised."""
    return train(clip, classifying(sets, batch, seed, forget=-1.0), steps, lr, stopping_rule(sets))


def gradients(clip: Clip, losses: Iterable[Loss]) -> Weights:
    """The gradient of the sum of the losses by weight of the image tower; the model is left as it is."""
    probe = clip.copy()
    for loss in losses:
        loss(probe).backward()
    return {n: p.grad for n, p in probe.model.visual.named_parameters() if p.grad is not None}


@baseline
def salun(clip: Clip, sets: ModelSets, *, lr=1e-4, share=0.3, steps=200, batch=64, seed=0) -> Clip:
    """Random labels, moving only the `share` of weights with the largest gradient of the loss on D_f."""
    parts = zip(sets.forget.images.split(100), sets.forget.labels.split(100))
    found = gradients(clip, (lambda probe, part=part: -cross_entropy(probe, *part, sets.head) for part in parts))
    # torch.quantile takes no more than 16 million entries; every one counts, so sort
    values = torch.cat([g.abs().flatten() for g in found.values()]).sort().values
    threshold = values[int((1 - share) * (len(values) - 1))]
    masks = {n: g.abs() >= threshold for n, g in found.items()}
    return train(clip, relabelling(sets, batch, seed), steps, lr, stopping_rule(sets), masks=masks)


def bargain(forget: torch.Tensor, retain: torch.Tensor) -> torch.Tensor:
    """Weights a = (a_f, a_r) > 0 of two gradients (P,) that solve the bargaining equation G a = 1 / a, G_ij = g_i.g_j.

    a_i = 1 / (|g_i| sqrt(1 + cos(g_f, g_r))): both players gain the same, however large their gradients are.
    """
    lengths = torch.stack([forget.norm(), retain.norm()]).clamp_min(1e-12)
    cosine = (forget / lengths[0]) @ (retain / lengths[1])
    return 1 / (lengths * (1 + cosine).clamp_min(1e-6).sqrt())  # at -1 the two cancel: the step is next to none


@baseline
def munba(clip: Clip, sets: ModelSets, *, lr=3e-6, steps=200, batch=64, seed=0) -> Clip:
    """MUNBa: steps along a_f g_f + a_r g_r, with the weights of a Nash bargain between the two gradients, made anew.

    g_f is the gradient of cross-entropy with wrong labels on D_f, as in the authors' code for CLIP; g_r with right ones
    on D_r. It ends when D_f is no longer recognised.
    """
    generator = torch.Generator().manual_seed(seed)
    wrong = relabelled(sets, generator)
    players = [classifying(wrong, batch, generator, **{name: 1.0}) for name in ("forget", "retain")]

    def loss(student: Clip) -> torch.Tensor:
        weights = [*student.model.visual.parameters()]
        found = (torch.autograd.grad(player(student), weights, materialize_grads=True) for player in players)
        forget, retain = (torch.cat([g.flatten() for g in gradient]) for gradient in found)
        a_f, a_r = bargain(forget, retain)
        return torch.cat([p.flatten() for p in weights]) @ (a_f * forget + a_r * retain)  # its gradient is that sum

    return train(clip, loss, steps, lr, stopping_rule(sets))


@baseline
def text_lora(clip: Clip, sets: ModelSets, *, lr=1e-4, keep=1.0, rank=8, steps=200, seed=0) -> Clip:
    """LoRA on the text tower: the target's text t_T leaves D_f, the other class texts stay; image weights do not move.

        mean over D_f of cos(z, t_T)  +  keep * mean over c other than T of || t_c - t_c of the original ||^2

    It ends when D_f is no longer recognised by its own texts. An evaluation sees it only with the result's own head, as
    `accuracies` makes it. Raises ModelError where the sets' head is not of the text tower.
    """
    said = [prompt.format(name) for name in sets.classes for prompt in sets.prompts]
    tokens, student = clip.tokenizer(said).to(clip.device), clip.copy()

    def head() -> torch.Tensor:
        texts = F.normalize(student.model.encode_text(tokens).float(), dim=-1)
        return F.normalize(texts.view(len(sets.classes), len(sets.prompts), -1).mean(1), dim=-1)

    with torch.no_grad():
        z, before, labels = clip.embed(sets.forget.images), head(), sets.forget.labels
    if not torch.allclose(before, sets.head, atol=1e-2):
        raise ModelError("The head of these sets is not made by the text tower: text_lora would change nothing there.")
    others = [c for c in range(len(before)) if c not in labels.unique().tolist()]
    names = [n for n in adaptable(student.model) if "transformer.resblocks." in n and not n.startswith("visual.")]
    params = adapt(student.model, names, rank, 2.0 * rank, torch.Generator().manual_seed(seed))

    def loss(_: Clip) -> torch.Tensor:
        texts = head()
        return (z * texts[labels]).sum(1).mean() + keep * (texts - before)[others].square().sum(1).mean()

    @torch.no_grad()
    def forgotten(_: Clip) -> bool:
        return bool(((z @ head().T).argmax(1) == labels).float().mean() <= 0.01)

    descend(student, params, loss, steps, lr, forgotten)
    merge(student.model)
    return student
