"""Accuracy on every column, and the Score that sums them up.

Score: the mean over the columns, where the target counts 1 - acc / acc0, every other column min(1, acc / acc0),
and acc0 is the original model's accuracy. The formula reproduces the scores reported in arXiv 2506.03117.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
import torch.nn.functional as F

from forgetkit.data.images import ImageSet
from forgetkit.models.clip import Clip, Inputs, embed_each

TARGET = "target"
Head = torch.Tensor | Mapping[str, torch.Tensor] | None  # (C, D) for all columns, or by column; None: from the prompts


def predict(clip: Clip, images, head: torch.Tensor, progress: str = "predict") -> torch.Tensor:
    """Predicted class per image, (N,) long on the CPU; images as `Clip.embed` takes them, head (C, D)."""
    return (clip.embed(images, progress=progress) @ F.normalize(head, dim=-1).T).argmax(1).cpu()


def percent(hits: torch.Tensor) -> float:
    """The share of True in a tensor of booleans, in percent; 0 to 100."""
    return 100 * hits.double().mean().item()


def recognised(clip: Clip, part: ImageSet | Inputs, head: torch.Tensor) -> float:
    """Percent of the images that are called by their own class; head (C, D)."""
    return percent(predict(clip, part.images, head) == torch.as_tensor(part.labels).cpu())


def column_accuracies(
    models: Sequence[Clip], columns: Mapping[str, ImageSet | Inputs], head: Head = None
) -> list[dict[str, float]]:
    """Top-1 accuracy in percent per column, one dict a model; every image is preprocessed once for all models.

    The class embeddings are those of the first model's text tower, unless `head` has them.
    """
    found: list[dict[str, float]] = [{} for _ in models]
    heads = {}
    for name, part in columns.items():
        if head is None and (key := (part.classes, part.prompts)) not in heads:
            heads[key] = models[0].head(*key)
        own = heads[key] if head is None else head[name] if isinstance(head, Mapping) else head
        own, labels = F.normalize(own, dim=-1), torch.as_tensor(part.labels).cpu()
        for row, z in zip(found, embed_each(models, part.images, progress=f"evaluate: {name}")):
            row[name] = percent((z @ own.T).argmax(1).cpu() == labels)
    return found


def accuracies(clip: Clip, columns: Mapping[str, ImageSet | Inputs], head: Head = None) -> dict[str, float]:
    """Top-1 accuracy in percent per column; `head` (C, D), or one by column, replaces those of the sets' prompts."""
    return column_accuracies([clip], columns, head)[0]


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
    models: Sequence[Clip], columns: Mapping[str, ImageSet | Inputs], original: Mapping[str, float] | None = None,
    head: Head = None,
) -> pd.DataFrame:  # fmt: skip
    """The table: one row a model, the first of them the original; accuracies and Score in percent, stages' seconds.

    original: the first model's accuracies, where they are known already
    head:     as in `accuracies`: class embeddings, or those of each column, where they are made already
    """
    asked = models if original is None else models[1:]
    found = column_accuracies(asked, columns, head) if asked else []
    found = found if original is None else [dict(original), *found]
    rows = []
    for clip, row in zip(models, found):
        rated = score(row, found[0]) if rows else math.nan
        rows.append({"model": clip.name, **row, "score": rated, "seconds": clip.record.get("seconds", 0.0)})
    return pd.DataFrame(rows)


def own_rank(clip: Clip, part: ImageSet | Inputs, head: torch.Tensor) -> float:
    """Mean rank of an image's own class text among all C by similarity: 1 is the most similar, C the least."""
    similarity = clip.embed(part.images) @ F.normalize(head, dim=-1).T
    own = similarity.gather(1, torch.as_tensor(part.labels, device=similarity.device)[:, None])
    return 1 + (similarity > own).sum(1).double().mean().item()


def alarms(table: pd.DataFrame, rank: float | None = None, classes: int = 0) -> list[str]:
    """What went wrong, and what to change: a sentence each, none if all is well.

    table: as `evaluate` makes it, the original first and the stages in order
    rank:  `own_rank` of the last model on target images, among `classes` texts

    Nothing to forget: the original does not know the target. Not forgotten: more than 5 % of it is left.
    Over-forgetting: the last model keeps less than 90 % of a column, or has pushed the target's text to the end of the
    list, which gives away what was removed. Resurrection: a stage brings back more than 2 points of the target.
    """
    found = []
    original, last = table.iloc[0], table.iloc[-1]
    if original[TARGET] < 5:
        found.append(
            f"Nothing to forget: the original recognises {original[TARGET]:.1f} % of the target. Check class names and"
            " prompts, or use a head made of images."
        )
    elif last[TARGET] > 0.05 * original[TARGET]:
        found.append(
            f"Not forgotten: {last[TARGET]:.1f} % of the target are left, of {original[TARGET]:.1f} %. Show more forget"
            " images (n_forget), or raise remind.guard and remind.steps."
        )
    for name in table.columns.drop(["model", "score", "seconds", TARGET], errors="ignore"):
        if last[name] < 0.9 * original[name]:
            found.append(
                f"Over-forgetting: {name} fell from {original[name]:.1f} to {last[name]:.1f} %. Let stage 1 stop"
                " earlier (forget.stop, forget.lr) or spread over more late layers (forget.k), or hold more in stage 2"
                " (remind.feature, remind.steps)."
            )
    if rank is not None and rank > 0.75 * classes:
        found.append(
            f"Over-forgetting: the target's text ranks {rank:.1f} of {classes} on its own images, where ignorance would"
            " put it in the middle: its absence gives it away. Lower remind.guard_margin and remind.guard, or stop"
            " stage 1 earlier."
        )
    for before, after in zip(table.iloc[1:].itertuples(), table.iloc[2:].itertuples()):
        if after.target > before.target + 2:
            lower, higher = "Lower restore.target_limit", "Raise remind.guard or remind.guard_margin"
            found.append(
                f"Resurrection: the target rose from {before.target:.1f} to {after.target:.1f} % in stage"
                f" {after.model!r}. {lower if after.model == 'restore' else higher}, and see that enough images of the"
                " target calibrate."
            )
    return found
