"""Accuracy on every column, and the Score that sums them up.

Score: the mean over the columns, where the target counts 1 - acc / acc0, every other column min(1, acc / acc0),
and acc0 is the original model's accuracy. The formula reproduces the scores reported in arXiv 2506.03117.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from forgetkit.models.clip import Clip
from forgetkit.data.sets import ImageSet

TARGET = "target"


@torch.no_grad()
def predict(clip: Clip, images, head: torch.Tensor, progress: str = "predict") -> torch.Tensor:
    """Predicted class per image, (N,) long on the CPU; head (C, D) unit class embeddings."""
    return (clip.embed(images, progress=progress) @ head.T).argmax(1).cpu()


def accuracies(
    clip: Clip, columns: Mapping[str, ImageSet], head: torch.Tensor | Mapping[str, torch.Tensor] | None = None
) -> dict[str, float]:
    """Top-1 accuracy in percent per column; `head` (C, D), or one by column, replaces those of the sets' prompts."""
    found, heads = {}, {}
    for name, part in columns.items():
        if head is None and (key := (part.classes, part.prompts)) not in heads:
            heads[key] = clip.head(*key)
        own = heads[key] if head is None else head[name] if isinstance(head, Mapping) else head
        guess = predict(clip, part.images, own, progress=f"{clip.name}: {name}")
        found[name] = 100 * (guess == torch.as_tensor(part.labels)).double().mean().item()
    return found


def score(found: Mapping[str, float], original: Mapping[str, float]) -> float:
    """Score in percent of one model's accuracies, given the original's; both need a `target` column.

    A column on which the original is at zero has nothing to lose and is left out; where that is the target, there
    was nothing to forget, and the Score is NaN. Raises ValueError without a `target` column.
    """
    if TARGET not in found or TARGET not in original:
        raise ValueError(f"The Score needs a column named {TARGET!r}, among: {', '.join(original)}.")
    if original[TARGET] == 0:
        return math.nan
    parts = []
    for name, before in original.items():
        if before > 0:
            ratio = found[name] / before
            parts.append(1 - ratio if name == TARGET else min(1.0, ratio))
    return 100 * sum(parts) / len(parts)


def evaluate(
    models: Sequence[Clip],
    columns: Mapping[str, ImageSet],
    original: Mapping[str, float] | None = None,
    head: torch.Tensor | Mapping[str, torch.Tensor] | None = None,
) -> pd.DataFrame:
    """The table: one row a model, the first of them the original; accuracies and Score in percent, stages' seconds.

    original: the first model's accuracies, where they are known already
    head:     as in `accuracies`: class embeddings, or those of each column, where they are made already
    """
    rows = [{"model": models[0].name, **(original or accuracies(models[0], columns, head))}]
    rows += [{"model": clip.name, **accuracies(clip, columns, head)} for clip in models[1:]]
    original = {name: rows[0][name] for name in columns}
    for i, row in enumerate(rows):
        row["score"] = score({n: row[n] for n in columns}, original) if i else math.nan
        row["seconds"] = models[i].record.get("seconds", 0.0)
    return pd.DataFrame(rows)


@torch.no_grad()
def own_rank(clip: Clip, part: ImageSet, head: torch.Tensor) -> float:
    """Mean rank of an image's own class text among all C by similarity: 1 is the most similar, C the least."""
    similarity = clip.embed(part.images) @ head.T
    own = similarity.gather(1, torch.as_tensor(part.labels, device=similarity.device)[:, None])
    return 1 + (similarity > own).sum(1).double().mean().item()


def alarms(table: pd.DataFrame, rank: float | None = None, classes: int = 0) -> list[str]:
    """What went wrong, and what to change: a sentence each, none if all is well.

    table: as `evaluate` makes it, the original first and the stages in order
    rank:  `own_rank` of the last model on target images, among `classes` texts

    Over-forgetting: the last model keeps less than 90 % of a column, or has pushed the target's text to the end of the
    list, which gives away what was removed. Resurrection: a stage brings back more than 2 points of the target.
    """
    found = []
    original, last = table.iloc[0], table.iloc[-1]
    for name in table.columns.drop(["model", "score", "seconds", TARGET], errors="ignore"):
        if last[name] < 0.9 * original[name]:
            found.append(
                f"Over-forgetting: {name} fell from {original[name]:.1f} to {last[name]:.1f} %. Let stage 1 stop"
                " earlier (forget_stop, forget_lr) or spread over more late layers (k), or hold more in stage 2"
                " (feature_weight, remind_steps)."
            )
    if rank is not None and rank > 0.75 * classes:
        found.append(
            f"Over-forgetting: the target's text ranks {rank:.1f} of {classes} on its own images, where ignorance would"
            " put it in the middle: its absence gives it away. Lower guard_margin and guard_weight, or stop stage 1"
            " earlier."
        )
    for before, after in zip(table.iloc[1:].itertuples(), table.iloc[2:].itertuples()):
        if after.target > before.target + 2:
            change = "Lower soup_target_limit" if after.model == "restore" else "Raise guard_weight or guard_margin"
            found.append(
                f"Resurrection: the target rose from {before.target:.1f} to {after.target:.1f} % in stage"
                f" {after.model!r}. {change}, and see that enough images of the target calibrate."
            )
    return found
