"""Attacks that change weights: relearning from a few images, benign relearning, and rounding.

Relearning: fine-tuning the whole image tower on n images of the target, held by others, until it knows the target
again. How fast says what was left in the weights, but only beside a model that never saw the target.

Benign relearning (Hu et al., arXiv 2406.13356): fine-tuning on siblings alone, without one image of the target.

Rounding (Zhang et al., arXiv 2410.16454): weights in few bits lie on the original's again where unlearning moved
them by less than a step of the grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from forgetkit.auditing.estimates import Estimate, share
from forgetkit.evaluation import predict
from forgetkit.models.clip import Clip, Inputs
from forgetkit.training import index_batches

CHECKS = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60)  # steps after which the target's accuracy is looked at
LR = 3e-4  # of AdamW, on every weight of the image tower: slower at 1e-4, and at 1e-3 other images are lost
BATCH = 20  # images a step: of the target at most, and of others


def fine_tuned(clip: Clip, head: torch.Tensor, pools: Sequence[Inputs], seed: int, lr: float = LR) -> Iterator[Clip]:
    """The model after 1, 2, 3, ... AdamW steps on the mean cross-entropy of a batch of each pool; always one object.

    head (C, D) on the model's device. BatchNorm stays in evaluation mode. The model given is not changed.
    """
    student, generator = clip.copy(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(student.model.visual.parameters(), lr=lr, weight_decay=0.0)
    batches = [index_batches(len(pool), BATCH, generator, clip.device) for pool in pools]
    while True:
        optimizer.zero_grad(set_to_none=True)
        for pool, index in zip(pools, batches):
            some = pool.take(next(index))
            loss = F.cross_entropy(clip.scale * student.embed_tensor(some.images) @ head.T, some.labels)
            (loss / len(pools)).backward()
        optimizer.step()
        yield student


def relearning(
    clip: Clip, head: torch.Tensor, target: Inputs, others: Inputs, shown: Inputs, siblings: Inputs,
    levels: Sequence[float], checks: Sequence[int] = CHECKS, seed: int = 0,
) -> list[Estimate]:  # fmt: skip
    """Steps of fine-tuning on `target` and `others` until so many percent of `shown` are recognised, a figure a level.

    target, others: the attacker's images; shown, siblings: test images of the target and its siblings. Steps are looked
    at in `checks` only; infinite where the last does not suffice. The ends are the steps at which the upper and the
    lower end of Wilson's interval of the accuracy reach the level. The last figure is the accuracy (%) on the siblings
    when the highest level is reached, or after the last step: what the attack costs.
    """

    def known(model: Clip, part: Inputs) -> Estimate:
        return share(predict(model, part.images, head) == part.labels.cpu())

    curve, kept, highest = {0: known(clip, shown)}, known(clip, siblings), max(levels)
    for step, student in zip(range(1, checks[-1] + 1), fine_tuned(clip, head, (target, others), seed)):
        if step in checks:
            if max(found.value for found in curve.values()) < highest:
                kept = known(student, siblings)
            curve[step] = known(student, shown)
            if curve[step].low >= highest:
                break

    def first(end: str, level: float) -> float:
        return next((float(step) for step, found in curve.items() if getattr(found, end) >= level), math.inf)

    steps = [Estimate(*(first(end, level) for end in ("value", "high", "low")), len(shown)) for level in levels]
    return [*steps, kept]


def benign_relearning(
    clip: Clip, head: torch.Tensor, siblings: Inputs, shown: Inputs, steps: int = CHECKS[-1], seed: int = 0
) -> Estimate:
    """Percent of `shown`, test images of the target, that are recognised after fine-tuning on siblings alone.

    Only texts that name a sibling compete: with the target's among them, every step would push it away.
    """
    present, labels = siblings.labels.unique(return_inverse=True)
    pool = replace(siblings, labels=labels)
    student = next(itertools.islice(fine_tuned(clip, head[present], (pool,), seed), steps - 1, None))
    return share(predict(student, shown.images, head) == shown.labels.cpu())


def rounded(clip: Clip, bits: str) -> Clip:
    """A copy whose image tower's weights are rounded, and kept as float32. bits: "bf16", or "int8".

    bf16: to the nearest bfloat16. int8: matrices and kernels only, symmetric, a scale an output channel, nearest:
    w = s round(w / s), s = max |w| / 127.
    """
    copy = clip.copy(f"{clip.name}, {bits}")
    with torch.no_grad():
        for weight in copy.model.visual.parameters():
            if bits == "bf16":
                weight.copy_(weight.bfloat16())
            elif weight.ndim > 1:
                step = weight.abs().flatten(1).amax(1).clamp(min=1e-12) / 127
                zero = torch.zeros_like(step, dtype=torch.int32)
                weight.copy_(torch.fake_quantize_per_channel_affine(weight, step, zero, 0, -127, 127))
    return copy
