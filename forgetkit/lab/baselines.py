"""Baselines, each after its own paper, on equal terms with ours: the same images, image tower and class texts.

| name            | after                                                        | reads              |
|-----------------|--------------------------------------------------------------|--------------------|
| `ga`            | gradient ascent on the forget set (Thudi et al., 2022)       | D_f                |
| `finetune`      | fine-tuning on the retain set alone                          | D_r                |
| `random_labels` | wrong labels on D_f, right ones on D_r (Graves et al., 2021) | D_f, D_r           |
| `ga_retain`     | gradient ascent on D_f, descent on D_r                       | D_f, D_r           |
| `emmn`          | error-maximising/-minimising noise (Chundawat et al., 2023)  | class names only   |
| `lip`           | Lipschitz regularisation (Foster et al., arXiv 2407.07485)   | D_f                |
| `salun`         | random labels on salient weights (Fan et al., ICLR 2024)     | D_f, D_r           |
| `task_vector`   | negated task vector (Ilharco et al., ICLR 2023)              | D_f, D_m           |
| `projection`    | the target's text direction removed from the projection      | class names, D_m   |

All but the last change every weight of the image tower; BatchNorm stays in eval mode, so its statistics stay. Those
that would go on for ever stop by the rule of our stage 1: at most 1 percent of what they read of D_f is still
recognised. None but ours was made for subgroups: where target and siblings bear one label, `emmn` and `projection`
cannot tell them apart, and forget both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d
from tqdm.auto import tqdm

from forgetkit.evaluation import accuracies, predict, score
from forgetkit.forgetting import index_batches
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip, Inputs, ModelError
from forgetkit.restoring import soup
from forgetkit.subgroups import Splits

BASELINES: dict[str, Callable[..., Clip]] = {}
Weights = dict[str, torch.Tensor]  # a state dict of the image tower
Loss = Callable[[Clip], torch.Tensor]


def baseline(function: Callable[..., Clip]) -> Callable[..., Clip]:
    """Register a baseline: (clip, sets, **settings) -> a new model of its name; sets: `sets.on(clip)`."""

    @functools.wraps(function)
    def named(clip: Clip, sets: Splits, **settings) -> Clip:
        return replace(function(clip, sets, **settings), name=function.__name__)

    BASELINES[function.__name__] = stage(named)
    return BASELINES[function.__name__]


def draws(part: Inputs, batch: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless shuffled batches: images (B, 3, S, S) and labels (B,)."""
    for index in index_batches(len(part), batch, generator, part.images.device):
        yield part.images[index], part.labels[index]


def cross_entropy(clip: Clip, x: torch.Tensor, labels: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(clip.scale * clip.embed_tensor(x) @ head.T, labels)


def classifying(sets: Splits, batch: int, seed: int | torch.Generator, **weights: float) -> Loss:
    """The loss of classifying batches of these parts of the sets, weighted: `forget=-1.0, retain=1.0`."""
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    batches = {name: draws(getattr(sets, name), batch, generator) for name in weights}
    return lambda student: sum(w * cross_entropy(student, *next(batches[n]), sets.head) for n, w in weights.items())


def relabelling(sets: Splits, batch: int, seed: int) -> Loss:
    """The loss of `random_labels` and `salun`: one fixed wrong label a forget image, the right ones on D_r."""
    generator, labels = torch.Generator().manual_seed(seed), sets.forget.labels
    shift = torch.randint(1, len(sets.head), labels.shape, generator=generator).to(labels.device)
    wrong = replace(sets, forget=replace(sets.forget, labels=(labels + shift) % len(sets.head)))
    return classifying(wrong, batch, generator, forget=1.0, retain=1.0)


def train(
    clip: Clip, loss: Loss, steps: int, lr: float, forgotten: Callable[[Clip], bool] | None = None, check: int = 2,
    masks: Mapping[str, torch.Tensor] = {}, layers: Sequence[str] | None = None,
) -> Clip:  # fmt: skip
    """A copy of the model after at most `steps` AdamW steps on `loss`; ends at the first check that says `forgotten`.

    masks: which entries of a weight may move; layers: which weights may (all, unless given).
    """
    student = clip.copy()
    params = {n: p for n, p in student.model.visual.named_parameters() if layers is None or n in layers}
    optimizer = torch.optim.AdamW(params.values(), lr=lr, weight_decay=0.0)
    start = {n: params[n].detach().clone() for n in masks}
    for step in tqdm(range(steps), desc="baseline", leave=False):
        if forgotten and step % check == 0 and forgotten(student):
            break
        optimizer.zero_grad(set_to_none=True)
        loss(student).backward()
        optimizer.step()
        with torch.no_grad():
            for n, before in start.items():
                params[n].copy_(torch.where(masks[n], params[n], before))
    student.model.visual.zero_grad(set_to_none=True)
    return student


def stopping_rule(sets: Splits, stop: float = 1.0, batch: int = 50) -> Callable[[Clip], bool]:
    """Is at most `stop` percent of D_f still recognised? Counts no further than it must."""

    def forgotten(clip: Clip) -> bool:
        left = 0
        for x, labels in zip(sets.forget.images.split(batch), sets.forget.labels.cpu().split(batch)):
            left += int((predict(clip, x, sets.head) == labels).sum())
            if left > stop / 100 * len(sets.forget):
                return False
        return True

    return forgotten


@baseline
def ga(clip: Clip, sets: Splits, *, lr=1e-6, steps=200, batch=64, seed=0) -> Clip:
    """Gradient ascent: raise the classification loss on D_f until it is no longer recognised."""
    return train(clip, classifying(sets, batch, seed, forget=-1.0), steps, lr, stopping_rule(sets))


@baseline
def finetune(clip: Clip, sets: Splits, *, lr=1e-5, steps=50, batch=64, seed=0) -> Clip:
    """Fine-tune on D_r and hope that the target is forgotten by itself."""
    return train(clip, classifying(sets, batch, seed, retain=1.0), steps, lr)


@baseline
def random_labels(clip: Clip, sets: Splits, *, lr=3e-6, steps=200, batch=64, seed=0) -> Clip:
    """Fine-tune on D_f with wrong labels and on D_r with right ones, until D_f is no longer recognised."""
    return train(clip, relabelling(sets, batch, seed), steps, lr, stopping_rule(sets))


@baseline
def ga_retain(clip: Clip, sets: Splits, *, lr=1e-5, retain_weight=3.0, steps=200, batch=64, seed=0) -> Clip:
    """Gradient ascent on D_f with descent on D_r beside it, until D_f is no longer recognised."""
    return train(
        clip, classifying(sets, batch, seed, retain=retain_weight, forget=-1.0), steps, lr, stopping_rule(sets)
    )


@baseline
def emmn(clip: Clip, sets: Splits, *, lr=3e-6, steps=10, noise_steps=20, noise_lr=0.1, batch=64, seed=0) -> Clip:
    """Error-maximising noise for the target's class, error-minimising for the others, learnt from the model alone.

    Training on the first, labelled as the target, breaks what the class was recognised by; the second repairs.
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
    bad, good = noise(target, -1), noise([c for c in range(len(sets.head)) if c not in target], 1)
    batches = index_batches(n, batch, generator, clip.device)

    def loss(student: Clip) -> torch.Tensor:
        index = next(batches)
        both = (part.take(index) for part in (bad, good))
        return sum(cross_entropy(student, part.images, part.labels, sets.head) for part in both)

    return train(clip, loss, steps, lr)


@baseline
def lip(clip: Clip, sets: Splits, *, lr=1e-5, sigma=2.0, k=8, steps=100, copies=4, batch=16, seed=0) -> Clip:
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
def salun(clip: Clip, sets: Splits, *, lr=1e-5, share=0.3, steps=200, batch=64, seed=0) -> Clip:
    """Random labels, moving only the `share` of weights with the largest gradient of the loss on D_f."""
    parts = zip(sets.forget.images.split(100), sets.forget.labels.split(100))
    found = gradients(clip, (lambda probe, part=part: -cross_entropy(probe, *part, sets.head) for part in parts))
    # torch.quantile takes no more than 16 million entries; every one counts, so sort
    values = torch.cat([g.abs().flatten() for g in found.values()]).sort().values
    threshold = values[int((1 - share) * (len(values) - 1))]
    masks = {n: g.abs() >= threshold for n, g in found.items()}
    return train(clip, relabelling(sets, batch, seed), steps, lr, stopping_rule(sets), masks=masks)


def best_calibrated(clip: Clip, sets: Splits, candidates: Iterable[Weights]) -> Clip:
    """The model with the candidate weights of the best Score on D_m; the original where none has a Score."""
    mixed, best, weights = clip.copy(), -float("inf"), clip.model.visual.state_dict()
    original = accuracies(clip, sets.calibration, sets.head)
    for candidate in candidates:
        mixed.model.visual.load_state_dict(candidate)
        found = score(accuracies(mixed, sets.calibration, sets.head), original)
        if found > best:
            best, weights = found, candidate
    mixed.model.visual.load_state_dict(weights)
    return mixed


@baseline
def task_vector(
    clip: Clip, sets: Splits, *, lr=1e-5, steps=20, strengths=(0.25, 0.5, 1.0, 1.5, 2.0, 3.0), batch=64, seed=0
) -> Clip:
    """theta_0 - strength (theta_f - theta_0), with theta_f fine-tuned on D_f; the strength is chosen on D_m."""
    tuned = train(clip, classifying(sets, batch, seed, forget=1.0), steps, lr)
    return best_calibrated(clip, sets, (soup(tuned.model.visual, clip.model.visual, -s) for s in strengths))


@baseline
def projection(clip: Clip, sets: Splits, *, strengths=(0.5, 0.75, 1.0, 1.5, 2.0, 3.0), orthogonal=True, seed=0) -> Clip:
    """Remove the target's text direction v from every image embedding: z - strength v v^T z, in closed form.

    orthogonal: v is the part of the target's text that no other class text spans, so that their logits stay. The
    strength is chosen on D_m; nothing is drawn, so the seed does not matter. Raises ModelError where the image tower
    does not end in a projection known here.
    """
    target = sets.forget.labels.unique().tolist()
    others = [c for c in range(len(sets.head)) if c not in target]
    directions = sets.head[target].T  # (D, T)
    if orthogonal:
        basis = torch.linalg.qr(sets.head[others].T).Q
        directions = directions - basis @ (basis.T @ directions)
    v = torch.linalg.qr(directions).Q
    visual = clip.model.visual
    if isinstance(getattr(visual, "attnpool", None), AttentionPool2d):
        names = ["attnpool.c_proj.weight", "attnpool.c_proj.bias"]
    elif isinstance(getattr(visual, "proj", None), torch.nn.Parameter):
        names = ["proj"]
    else:
        raise ModelError("This tower ends neither in an attention pool nor in a projection: use another baseline.")

    def without_direction(strength: float) -> Weights:
        weights = {n: t.clone() for n, t in visual.state_dict().items()}
        for n in names:
            w = weights[n].T if n == "proj" else weights[n]  # the embedding is the first dimension
            w -= strength * v @ (v.T @ w)
        return weights

    return best_calibrated(clip, sets, map(without_direction, strengths))
