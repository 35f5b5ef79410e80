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

from collections.abc import Callable

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d
from tqdm.auto import tqdm

from forgetkit.models.clip import Clip, ModelError, class_head, stage
from forgetkit.evaluation import accuracies, predict, score
from forgetkit.forgetting import index_batches
from forgetkit.restoring import soup
from forgetkit.subgroups import Splits

BASELINES: dict[str, Callable[..., Clip]] = {}


def baseline(function: Callable[..., Clip]) -> Callable[..., Clip]:
    """Register a baseline: (clip, sets, head=None, **settings) -> a new model."""
    BASELINES[function.__name__] = stage(function)
    return BASELINES[function.__name__]


class Images:
    """Endless shuffled batches of a set, preprocessed once: (B, 3, S, S) and (B,) labels."""

    def __init__(self, clip: Clip, part, batch: int, generator: torch.Generator):
        self.x = clip.preprocess(part.images)
        self.labels = torch.as_tensor(part.labels, device=clip.device)
        self.batches = index_batches(len(self.x), batch, generator, clip.device)

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        index = next(self.batches)
        return self.x[index], self.labels[index]


def train(
    clip: Clip, name: str, loss: Callable[[Clip], torch.Tensor], steps: int, lr: float,
    forgotten: Callable[[Clip], bool] | None = None, check: int = 2,
    masks: dict[str, torch.Tensor] | None = None, layers: list[str] | None = None,
) -> Clip:  # fmt: skip
    """A copy of the model after at most `steps` AdamW steps on `loss`; ends at the first check that says `forgotten`.

    masks: which entries of a weight may move; layers: which weights may (all, unless given).
    """
    student = clip.copy(name)
    params = {n: p for n, p in student.model.visual.named_parameters() if layers is None or n in layers}
    optimizer = torch.optim.AdamW(params.values(), lr=lr, weight_decay=0.0)
    start = {n: params[n].detach().clone() for n in masks or ()}
    for step in tqdm(range(steps), desc=name, leave=False):
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


def _forgotten(sets: Splits, head: torch.Tensor, stop: float = 1.0, batch: int = 50) -> Callable[[Clip], bool]:
    """The stopping rule: is at most `stop` percent of D_f still recognised? Counts no further than it must."""
    labels = torch.as_tensor(sets.forget.labels)

    def enough(clip: Clip) -> bool:
        left = 0
        for i in range(0, len(labels), batch):
            left += int((predict(clip, sets.forget.images[i : i + batch], head) == labels[i : i + batch]).sum())
            if left > stop / 100 * len(labels):
                return False
        return True

    return enough


def _cross_entropy(clip: Clip, x: torch.Tensor, labels: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(clip.scale * clip.embed_tensor(x) @ head.T, labels)


@baseline
def ga(clip: Clip, sets: Splits, head=None, *, lr=1e-6, steps=200, batch=64, seed=0) -> Clip:
    """Gradient ascent: raise the classification loss on D_f until it is no longer recognised."""
    head = class_head(clip, sets, head)
    forget = Images(clip, sets.forget, batch, torch.Generator().manual_seed(seed))
    loss = lambda student: -_cross_entropy(student, *next(forget), head)
    return train(clip, "ga", loss, steps, lr, _forgotten(sets, head))


@baseline
def finetune(clip: Clip, sets: Splits, head=None, *, lr=1e-5, steps=50, batch=64, seed=0) -> Clip:
    """Fine-tune on D_r and hope that the target is forgotten by itself."""
    head = class_head(clip, sets, head)
    retain = Images(clip, sets.retain, batch, torch.Generator().manual_seed(seed))
    loss = lambda student: _cross_entropy(student, *next(retain), head)
    return train(clip, "finetune", loss, steps, lr)


def _wrong(labels: torch.Tensor, classes: int, generator: torch.Generator) -> torch.Tensor:
    """For each label another one, drawn evenly."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes


def _relabelling(clip: Clip, sets: Splits, head: torch.Tensor, batch: int, seed: int) -> Callable[[Clip], torch.Tensor]:
    """The loss of `random_labels` and `salun`: one fixed wrong label a forget image, the right ones on D_r."""
    generator = torch.Generator().manual_seed(seed)
    forget, retain = (Images(clip, part, batch, generator) for part in (sets.forget, sets.retain))
    forget.labels = _wrong(forget.labels, len(head), generator)
    return lambda student: _cross_entropy(student, *next(forget), head) + _cross_entropy(student, *next(retain), head)


@baseline
def random_labels(clip: Clip, sets: Splits, head=None, *, lr=3e-6, steps=200, batch=64, seed=0) -> Clip:
    """Fine-tune on D_f with wrong labels and on D_r with right ones, until D_f is no longer recognised."""
    head = class_head(clip, sets, head)
    loss = _relabelling(clip, sets, head, batch, seed)
    return train(clip, "random_labels", loss, steps, lr, _forgotten(sets, head))


@baseline
def ga_retain(clip: Clip, sets: Splits, head=None, *, lr=1e-5, retain_weight=3.0, steps=200, batch=64, seed=0) -> Clip:
    """Gradient ascent on D_f with descent on D_r beside it, until D_f is no longer recognised."""
    head = class_head(clip, sets, head)
    generator = torch.Generator().manual_seed(seed)
    forget, retain = (Images(clip, part, batch, generator) for part in (sets.forget, sets.retain))

    def loss(student):
        return retain_weight * _cross_entropy(student, *next(retain), head) - _cross_entropy(
            student, *next(forget), head
        )

    return train(clip, "ga_retain", loss, steps, lr, _forgotten(sets, head))


@baseline
def emmn(
    clip: Clip, sets: Splits, head=None, *, lr=3e-6, steps=10, noise_steps=20, noise_lr=0.1, batch=64, seed=0
) -> Clip:
    """Error-maximising noise for the target's class, error-minimising for the others, learnt from the model alone.

    Training on the first, labelled as the target, breaks what the class was recognised by; the second repairs.
    """
    head = class_head(clip, sets, head)
    generator = torch.Generator().manual_seed(seed)
    target = sorted({int(c) for c in sets.forget.labels})

    def noise(labels: torch.Tensor, sign: int) -> torch.Tensor:
        """Images (N, 3, S, S) that raise (sign -1) or lower (+1) the loss of their labels."""
        x = torch.randn(len(labels), 3, clip.image_size, clip.image_size, generator=generator).to(clip.device)
        x.requires_grad_()
        optimizer = torch.optim.Adam([x], lr=noise_lr)
        for _ in range(noise_steps):
            pixels = clip.clamp(x)
            (x.grad,) = torch.autograd.grad(sign * _cross_entropy(clip, pixels, labels, head), x)
            optimizer.step()
        return clip.clamp(x).detach()

    n = 4 * batch
    others = torch.tensor([c for c in range(len(head)) if c not in target], device=clip.device)
    own = torch.tensor(target, device=clip.device)
    bad_labels, good_labels = own.repeat(n)[:n], others.repeat(-(-n // len(others)))[:n]
    bad, good = noise(bad_labels, -1), noise(good_labels, 1)
    batches = index_batches(n, batch, generator, clip.device)

    def loss(student):
        index = next(batches)
        return _cross_entropy(student, bad[index], bad_labels[index], head) + _cross_entropy(
            student, good[index], good_labels[index], head
        )

    return train(clip, "emmn", loss, steps, lr)


@baseline
def lip(clip: Clip, sets: Splits, head=None, *, lr=1e-5, sigma=2.0, k=8, steps=100, copies=4, batch=16, seed=0) -> Clip:
    """Flatten the embedding around the forget images: || z(x + noise) - z(x) || / || noise ||, with growing noise.

    Only the k layers with the largest gradient of this loss on D_f move; it ends when D_f is no longer recognised.
    """
    head = class_head(clip, sets, head)
    generator = torch.Generator().manual_seed(seed)
    forget = Images(clip, sets.forget, batch, generator)
    taken = 0

    def loss(student):
        nonlocal taken
        x, _ = next(forget)
        taken += 1
        level = sigma * min(1.0, taken / steps + 0.1)
        eps = level * torch.randn(copies * len(x), *x.shape[1:], generator=generator).to(x.device)
        z, moved = student.embed_tensor(x), student.embed_tensor(x.repeat(copies, 1, 1, 1) + eps)
        return ((moved - z.repeat(copies, 1)).norm(dim=1) / eps.flatten(1).norm(dim=1)).mean()

    probe = clip.copy()
    loss(probe).backward()
    size = {n: p.grad.square().mean().item() for n, p in probe.model.visual.named_parameters() if p.grad is not None}
    layers = sorted(size, key=size.get, reverse=True)[:k]
    return train(clip, "lip", loss, steps, lr, _forgotten(sets, head), layers=layers)


@baseline
def salun(clip: Clip, sets: Splits, head=None, *, lr=1e-5, share=0.3, steps=200, batch=64, seed=0) -> Clip:
    """Random labels, moving only the `share` of weights with the largest gradient of the loss on D_f."""
    head = class_head(clip, sets, head)
    probe = clip.copy()
    x, labels = clip.preprocess(sets.forget.images), torch.as_tensor(sets.forget.labels, device=clip.device)
    for part, own in zip(x.split(100), labels.split(100)):
        (-_cross_entropy(probe, part, own, head)).backward()
    gradients = {n: p.grad.abs() for n, p in probe.model.visual.named_parameters() if p.grad is not None}
    # torch.quantile takes no more than 16 million entries; every one counts, so sort
    values = torch.cat([g.flatten() for g in gradients.values()]).sort().values
    threshold = values[int((1 - share) * (len(values) - 1))]
    masks = {n: g >= threshold for n, g in gradients.items()}
    loss = _relabelling(clip, sets, head, batch, seed)
    return train(clip, "salun", loss, steps, lr, _forgotten(sets, head), masks=masks)


def _strongest_kept(clip: Clip, sets: Splits, head: torch.Tensor, candidates) -> dict:
    """Of state dicts of the image tower, the one with the best calibration Score."""
    mixed, best = clip.copy(), (-float("inf"), None)
    original = accuracies(clip, sets.calibration, head)
    for state in candidates:
        mixed.model.visual.load_state_dict(state)
        found = score(accuracies(mixed, sets.calibration, head), original)
        if found > best[0]:
            best = (found, state)
    return best[1] if best[1] is not None else clip.model.visual.state_dict()


@baseline
def task_vector(
    clip: Clip,
    sets: Splits,
    head=None,
    *,
    lr=1e-5,
    steps=20,
    strengths=(0.25, 0.5, 1.0, 1.5, 2.0, 3.0),
    batch=64,
    seed=0,
) -> Clip:
    """theta_0 - strength (theta_f - theta_0), with theta_f fine-tuned on D_f; the strength is chosen on D_m."""
    head = class_head(clip, sets, head)
    forget = Images(clip, sets.forget, batch, torch.Generator().manual_seed(seed))
    tuned = train(clip, "tuned", lambda student: _cross_entropy(student, *next(forget), head), steps, lr)
    candidates = (soup(tuned.model.visual, clip.model.visual, -s) for s in strengths)
    result = clip.copy("task_vector")
    result.model.visual.load_state_dict(_strongest_kept(clip, sets, head, candidates))
    return result


@baseline
def projection(
    clip: Clip, sets: Splits, head=None, *, strengths=(0.5, 0.75, 1.0, 1.5, 2.0, 3.0), orthogonal=True
) -> Clip:
    """Remove the target's text direction v from every image embedding: z - strength v v^T z, in closed form.

    orthogonal: v is the part of the target's text that no other class text spans, so that their logits stay. The
    strength is chosen on D_m. Raises ModelError where the image tower does not end in a projection known here.
    """
    head = class_head(clip, sets, head)
    target = sorted({int(c) for c in sets.forget.labels})
    directions, others = head[target].T, head[[c for c in range(len(head)) if c not in target]].T  # (D, T), (D, C - T)
    if orthogonal:
        basis = torch.linalg.qr(others).Q
        directions = directions - basis @ (basis.T @ directions)
    v = torch.linalg.qr(directions).Q
    visual = clip.model.visual
    if isinstance(getattr(visual, "attnpool", None), AttentionPool2d):
        names = ["attnpool.c_proj.weight", "attnpool.c_proj.bias"]
    elif isinstance(getattr(visual, "proj", None), torch.nn.Parameter):
        names = ["proj"]
    else:
        raise ModelError(
            "This image tower ends neither in an attention pool nor in a projection: use another baseline."
        )

    def removed(strength: float) -> dict:
        state = {n: t.clone() for n, t in visual.state_dict().items()}
        for n in names:
            w = state[n].T if n == "proj" else state[n]  # the embedding is the first dimension
            w -= strength * v @ (v.T @ w)
        return state

    result = clip.copy("projection")
    result.model.visual.load_state_dict(_strongest_kept(clip, sets, head, (removed(s) for s in strengths)))
    return result
