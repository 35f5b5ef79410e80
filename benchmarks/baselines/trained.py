"""Baselines that are trained: each is a loss, its weights, and when it ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F

from benchmarks.baselines.common import (
    Loss,
    Weights,
    baseline,
    classifying,
    cross_entropy,
    descend,
    draws,
    logits,
    relabelled,
    stopping_rule,
    train,
)
from forgetkit.lora import adapt, adaptable, merge
from forgetkit.models.clip import Clip, Inputs, ModelError
from forgetkit.subgroups import ModelSets
from forgetkit.training import index_batches


def relabelling(sets: ModelSets, batch: int, seed: int) -> Loss:
    """The loss of `random_labels` and `salun`: wrong labels on D_f, the right ones on D_r."""
    generator = torch.Generator().manual_seed(seed)
    return classifying(relabelled(sets, generator), batch, generator, forget=1.0, retain=1.0)


@baseline
def ga(clip: Clip, sets: ModelSets, *, lr=1e-6, steps=200, batch=64, seed=0) -> Clip:
    """Gradient ascent: raise the classification loss on D_f until it is no longer recognised."""
    return train(clip, classifying(sets, batch, seed, forget=-1.0), steps, lr, stopping_rule(sets))


@baseline
def finetune(clip: Clip, sets: ModelSets, *, lr=1e-5, steps=50, batch=64, seed=0) -> Clip:
    """Fine-tune on D_r and hope that the target is forgotten by itself."""
    return train(clip, classifying(sets, batch, seed, retain=1.0), steps, lr)


@baseline
def random_labels(clip: Clip, sets: ModelSets, *, lr=3e-6, steps=200, batch=64, seed=0) -> Clip:
    """Fine-tune on D_f with wrong labels and on D_r with right ones, until D_f is no longer recognised."""
    return train(clip, relabelling(sets, batch, seed), steps, lr, stopping_rule(sets))


@baseline
def ga_retain(clip: Clip, sets: ModelSets, *, lr=1e-5, retain_weight=1.0, steps=200, batch=64, seed=0) -> Clip:
    """Gradient ascent on D_f with descent on D_r beside it, until D_f is no longer recognised."""
    return train(
        clip, classifying(sets, batch, seed, retain=retain_weight, forget=-1.0), steps, lr, stopping_rule(sets)
    )


@baseline
def emmn(clip: Clip, sets: ModelSets, *, lr=3e-6, steps=10, noise_steps=20, noise_lr=0.1, batch=64, seed=0) -> Clip:
    """Error-maximising noise for the target's class, error-minimising for the others, learnt from the model alone.

    Training on the first, labelled as the target, breaks what the class was recognised by; the second repairs. Where a
    whole style is the target there are no others, and nothing is repaired.
    """
    generator, n = torch.Generator().manual_seed(seed), 4 * batch

    def noise(classes: list[int], sign: int) -> Inputs:
        """n images (N, 3, S, S) that raise (sign -1) or lower (+1) the loss of these classes as their labels."""
        labels = torch.tensor(classes, device=clip.device).repeat(-(-n // len(classes)))[:n]
        x = torch.randn(n, 3, clip.image_size, clip.image_size, generator=generator).to(clip.device).requires_grad_()
        optimizer = torch.optim.Adam([x], lr=noise_lr)
        for _ in range(noise_steps):
            (x.grad,) = torch.autograd.grad(sign * cross_entropy(clip, clip.clamp(x), labels, sets.head), x)
            optimizer.step()
        return replace(sets.forget, images=clip.clamp(x).detach(), labels=labels)

    target = sets.forget.labels.unique().tolist()
    others = [c for c in range(len(sets.head)) if c not in target]
    parts = [noise(target, -1), *([noise(others, 1)] if others else [])]
    batches = index_batches(n, batch, generator, clip.device)

    def loss(student: Clip) -> torch.Tensor:
        index = next(batches)
        drawn = (part.take(index) for part in parts)
        return sum(cross_entropy(student, part.images, part.labels, sets.head) for part in drawn)

    return train(clip, loss, steps, lr)


@baseline
def lip(clip: Clip, sets: ModelSets, *, lr=1e-5, sigma=2.0, k=8, steps=100, copies=4, batch=16, seed=0) -> Clip:
    """Flatten the embedding around the forget images: || z(x + noise) - z(x) || / || noise ||, with growing noise.

    Only the k layers with the largest gradient of this loss on D_f move; it ends when D_f is no longer recognised.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = enumerate(draws(sets.forget, batch, generator), start=1)

    def loss(student: Clip) -> torch.Tensor:
        taken, (x, _) = next(batches)
        level = sigma * min(1.0, taken / steps + 0.1)
        eps = level * torch.randn(copies * len(x), *x.shape[1:], generator=generator).to(x.device)
        z, moved = student.embed_tensor(x), student.embed_tensor(x.repeat(copies, 1, 1, 1) + eps)
        return ((moved - z.repeat(copies, 1)).norm(dim=1) / eps.flatten(1).norm(dim=1)).mean()

    size = {n: g.square().mean().item() for n, g in gradients(clip, [loss]).items()}
    layers = sorted(size, key=size.get, reverse=True)[:k]
    return train(clip, loss, steps, lr, stopping_rule(sets), layers=layers)


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


@baseline
def scrub(clip: Clip, sets: ModelSets, *, lr=3e-6, retain_weight=10.0, steps=200, batch=64, seed=0) -> Clip:
    """SCRUB: a student leaves its teacher, the original, on D_f and follows it on D_r, in turns.

    odd steps raise   KL(p_teacher || p_student)                                    on D_f
    even steps lower  KL(p_teacher || p_student) + retain_weight * cross-entropy    on D_r

    It ends when D_f is no longer recognised.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = {name: draws(getattr(sets, name), batch, generator) for name in ("forget", "retain")}
    turns = itertools.cycle(batches)

    def loss(student: Clip) -> torch.Tensor:
        x, labels = next(batches[turn := next(turns)])
        with torch.no_grad():
            taught = logits(clip, x, sets.head).log_softmax(1)
        said = logits(student, x, sets.head)
        distance = F.kl_div(said.log_softmax(1), taught, reduction="batchmean", log_target=True)
        return -distance if turn == "forget" else distance + retain_weight * F.cross_entropy(said, labels)

    return train(clip, loss, steps, lr, stopping_rule(sets))


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
