"""Attacks that learn words, take statistics anew, or change weights.

Statistics anew: BatchNorm's running statistics taken from other images, as whoever trains a model on, averages it or
leaves it in `train()` does: no label, no gradient and no image of the target. What rests on the old ones is undone.
Relearning: fine-tuning on a few images of the target until it is known again. How fast says what was left in the
weights, but only beside a model that never saw it. Benign relearning (Hu et al., arXiv 2406.13356): on siblings alone.
Rounding (Zhang et al., arXiv 2410.16454): undoes what moved weights by less than a step of the grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import update_bn

from forgetkit.auditing.attacks import View
from forgetkit.auditing.estimates import Estimate, share
from forgetkit.evaluation import predict
from forgetkit.losses import contrastive
from forgetkit.models import prefix
from forgetkit.models.clip import Clip, Inputs, autocast, batch_norms
from forgetkit.training import Pool, Trainer, Verdict

CHECKS = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60)  # steps after which the target's accuracy is measured
LR = 3e-4  # of AdamW, on every weight of the image tower: slower at 1e-4, and at 1e-3 other images are lost
BATCH = 20  # images a step: of the target at most, and of others


def named(clip: Clip, part: Inputs, head: torch.Tensor) -> Estimate:
    """Percent of the images that the model calls by their class; head (C, D)."""
    return share(predict(clip, part.images, head) == part.labels.cpu())


def fine_tuned(
    clip: Clip, head: torch.Tensor, pools: Sequence[Inputs], steps: int, seed: int,
    done: Callable[[int, Clip], bool] = lambda step, student: False,
) -> Clip:  # fmt: skip
    """The model after so many steps on the mean cross-entropy of a batch of each pool; the model given is not changed.

    head (C, D) on the model's device; pools: images, or features behind a frozen prefix, which is then left as it is.
    BatchNorm stays in evaluation mode. done(step, student): asked before the first step and after each, and ends it.
    """
    student, count = clip.copy(), itertools.count()
    trainer = Trainer("fine-tune", student, [*student.model.visual.parameters()], rate=LR)

    def terms(z: dict[str, torch.Tensor], drawn: dict[str, Pool]) -> dict[str, torch.Tensor]:
        return {name: contrastive(z[name], drawn[name].labels, head, clip.scale, clip.bias) / len(z) for name in z}

    trainer.run(
        {f"pool {i}": Pool(pool.images, pool.labels) for i, pool in enumerate(pools)}, terms,
        torch.Generator().manual_seed(seed), steps=steps, batch=BATCH, eval_every=1,
        rule=lambda: Verdict({}, done=done(next(count), student)),
    )  # fmt: skip
    return student


def relearning(
    clip: Clip, head: torch.Tensor, target: Inputs, others: Inputs, shown: Inputs, siblings: Inputs,
    levels: Sequence[float], checks: Sequence[int] = CHECKS,
) -> list[Estimate]:  # fmt: skip
    """Steps of fine-tuning on `target` and `others` until so many percent of `shown` are recognised, a figure a level.

    target, others: the attacker's images; shown, siblings: test images, looked at first and after `checks`. Infinite
    where the last does not suffice. The ends are the steps at which the ends of the accuracy's interval reach the
    level. Last: the accuracy (%) on siblings at the highest level, or after the last step: what the attack costs.
    """
    curve: dict[float, tuple[Estimate, Estimate]] = {}  # what is known of target and siblings after so many steps

    def done(step: int, student: Clip) -> bool:
        if step in (0, *checks):
            curve[float(step)] = named(student, shown, head), named(student, siblings, head)
        return curve[max(curve)][0].low >= max(levels)

    def first(end: str, level: float) -> float:
        return next((step for step, (found, _) in curve.items() if getattr(found, end) >= level), math.inf)

    fine_tuned(clip, head, (target, others), checks[-1], 0, done)
    steps = [Estimate(*(first(end, level) for end in ("value", "high", "low")), len(shown)) for level in levels]
    return [*steps, curve[min(first("value", max(levels)), max(curve))][1]]


def benign_relearning(clip: Clip, head: torch.Tensor, siblings: Inputs, shown: Inputs, steps: int) -> Estimate:
    """Percent of `shown`, images of the target, recognised after fine-tuning on siblings and their texts."""
    present, labels = siblings.labels.unique(return_inverse=True)
    return named(fine_tuned(clip, head[present], (replace(siblings, labels=labels),), steps, 0), shown, head)


def soft_prompt(clip: Clip, view: View, prompt: str, tokens: int = 3, steps: int = 300) -> torch.Tensor | None:
    """A text (D,) unit for the target, learnt from the view's validation images: no weight is changed, only words.

    The name is so many free vectors in the place of token embeddings (Lester et al., 2021), random at first; Adam, a
    tenth of their spread a step, on the cross-entropy among the class texts: its mean over the target's images plus
    that over all others. None for a text tower whose token embeddings are not known.
    """
    words = prompt.format(" ".join(["x"] * tokens))
    text, one = (clip.tokenizer([said]).to(clip.device) for said in (words, "x"))
    places = (text[0] == one[0, 1]).nonzero()[:, 0]
    layer = getattr(clip.model, "token_embedding", None)
    if layer is None or len(places) != tokens:
        return None
    known, head = view.validation, view.head.to(clip.device)
    z, labels, target = (part.to(clip.device) for part in (known.z, known.labels, known.target))
    spread = layer.weight.detach().std()
    start = torch.randn(tokens, layer.weight.shape[1], generator=torch.Generator().manual_seed(0))
    free = (spread * start.to(clip.device)).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.1 * spread.item())
    with layer.register_forward_hook(lambda _, given, out: out.index_copy(1, places, free[None].to(out))):
        for step in range(steps + 1):
            own = F.normalize(clip.model.encode_text(text).float(), dim=-1)
            if step == steps:
                return own[0].detach().cpu()
            logits = clip.scale * z @ torch.cat([head[: view.label], own, head[view.label + 1 :]]).T
            loss = sum(F.cross_entropy(logits[part], labels[part]) for part in (target, ~target))
            (free.grad,) = torch.autograd.grad(loss, free)
            optimizer.step()


def statistics_anew(clip: Clip, images: torch.Tensor, batch: int = 200, seed: int = 0) -> Clip:
    """A copy whose BatchNorm layers have the statistics of `images` (N, 3, S, S), preprocessed, in random order.

    The plain mean over batches of each batch's mean and variance (`update_bn`); the weights are left as they are.
    """
    copy = clip.copy(f"{clip.name}, statistics anew")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.device)
    with autocast(clip.device):
        update_bn(images[order].split(batch), copy.model.visual)
    return copy


def by_statistics(
    clip: Clip, images: torch.Tensor, head: torch.Tensor, target: Inputs, kept: Inputs
) -> dict[str, Estimate]:
    """Accuracy on target and kept test images once the statistics are those of `images`; {} without BatchNorm."""
    if not batch_norms(clip.model):
        return {}
    anew = statistics_anew(clip, images)
    return {"statistics anew": named(anew, target, head), "statistics anew, other images": named(anew, kept, head)}


def before_last(clip: Clip, part: Inputs) -> Inputs:
    """The images as what enters the tower's last block, so that `fine_tuned` trains that block alone."""
    return replace(part, images=clip.features(part.images, prefix.n_frozen(clip.model.visual, ())))


def rounded(clip: Clip) -> Clip:
    """A copy whose image tower's weights are rounded to 8 bits: w = s round(w / s), s = max |w| / 127 of a channel."""
    copy = clip.copy(f"{clip.name}, int8")
    with torch.no_grad():
        for weight in (w for w in copy.model.visual.parameters() if w.ndim > 1):
            step = weight.abs().flatten(1).amax(1).clamp(min=1e-12) / 127
            zero = torch.zeros_like(step, dtype=torch.int32)
            weight.copy_(torch.fake_quantize_per_channel_affine(weight, step, zero, 0, -127, 127))
    return copy
