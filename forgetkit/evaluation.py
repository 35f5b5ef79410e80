"""Accuracy on every column, and the Score that sums them up.

Score: the mean over the columns, where the target counts 1 - acc / acc0, every other column min(1, acc / acc0),
and acc0 is the original model's accuracy. The formula reproduces the scores reported in arXiv 2506.03117. A column
`previous_targets`, of targets of earlier requests, counts 1 - acc: the model before this one has nothing left of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
import torch.nn.functional as F

from forgetkit.data.images import ImageSet
from forgetkit.models.calls import check_evaluated
from forgetkit.models.clip import Clip, Inputs, check_head, embed_each

TARGET, PREVIOUS = "target", "previous_targets"
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

    The class embeddings are those of the first model's text tower, unless `head` has them. NaN where a model's
    embeddings are not finite. Raises ValueError or ModelError for models in the wrong order, no columns, a wrong head.
    """
    check_evaluated(models, columns, head)
    found: list[dict[str, float]] = [{} for _ in models]
    texts = functools.cache(models[0].head)
    for name, part in columns.items():
        own = head[name] if isinstance(head, Mapping) else texts(part.classes, part.prompts) if head is None else head
        own, labels = check_head(own, len(part.classes), models[0]), torch.as_tensor(part.labels).cpu()
        for row, z in zip(found, embed_each(models, part.images, progress=f"evaluate: {name}")):
            hits = (z @ own.T).argmax(1).cpu() == labels
            row[name] = percent(hits) if torch.isfinite(z).all() else math.nan
    return found


def accuracies(clip: Clip, columns: Mapping[str, ImageSet | Inputs], head: Head = None) -> dict[str, float]:
    """Top-1 accuracy in percent per column; `head` (C, D), or one by column, replaces those of the sets' prompts."""
    return column_accuracies([clip], columns, head)[0]


def score(found: Mapping[str, float], original: Mapping[str, float]) -> float:
    """Score in percent of one model's accuracies, given the original's; both need a `target` column.

    A column on which the original is at zero is left out; where that is the target, the Score is NaN.
    Raises ValueError without a `target` column.
    """
    if TARGET not in found or TARGET not in original:
        raise ValueError(f"The Score needs a column named {TARGET!r}, among: {', '.join(original)}.")
    if original[TARGET] == 0:
        return math.nan
    parts = []
    for name, before in original.items():
        if name == PREVIOUS:
            parts.append(1 - found[name] / 100)
        elif before > 0:
            ratio = found[name] / before
            parts.append(1 - ratio if name == TARGET else min(1.0, ratio))
    return 100 * sum(parts) / len(parts)


def evaluate(
    models: Sequence[Clip], columns: Mapping[str, ImageSet | Inputs], original: Mapping[str, float] | None = None,
    head: Head = None,
) -> pd.DataFrame:  # fmt: skip
    """The table: one row a model, the first of them the original; accuracies and Score in percent, stages' seconds.

    original: the first model's accuracies, where they are known already; head: as in `accuracies`
    """
    check_evaluated(models, columns, head)
    asked = models if original is None else models[1:]
    found = column_accuracies(asked, columns, head) if asked else []
    found = found if original is None else [dict(original), *found]
    rows = []
    for clip, row in zip(models, found):
        rated = score(row, found[0]) if rows else math.nan
        rows.append({"model": clip.name, **row, "score": rated, "seconds": clip.record.get("seconds", 0.0)})
    return pd.DataFrame(rows)


def interval(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval, in percent, of a share of which n images show `hits` (Wilson, 1927); 0 to 100.

    middle = (p + z^2 / 2n) / (1 + z^2 / n),  half width = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n)
    """
    share, weight = hits / n, 1 + z**2 / n
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, 100 * (middle - half) / weight), min(100.0, 100 * (middle + half) / weight)


def by_chance(hits: int, n: int, classes: int) -> bool:
    """May chance among so many classes have found `hits` of n? Few images that are nearly all found are no chance."""
    return interval(hits, n)[0] <= 100 / classes and 2 * hits < n * (1 + 1 / classes)


def with_intervals(table: pd.DataFrame, columns: Mapping[str, ImageSet | Inputs]) -> pd.DataFrame:
    """`evaluate`'s table in words: "12.5 (3/24; 4 to 31)" is 12.5 %, 3 of 24 images, and the 95 % interval."""

    def told(share: float, n: int) -> str:
        if math.isnan(share):
            return "not finite"
        hits = round(share * n / 100)
        return "{:.1f} ({}/{}; {:.0f} to {:.0f})".format(share, hits, n, *interval(hits, n))

    return table.assign(**{name: [told(share, len(part)) for share in table[name]] for name, part in columns.items()})


def most_called(clip: Clip, columns: Mapping[str, ImageSet | Inputs], head: torch.Tensor) -> tuple[str, float, float]:
    """The name that the model says most often, percent of the images that it calls so, and percent that are so."""
    said = torch.cat([predict(clip, part.images, head) for part in columns.values()])
    label = int(said.mode().values)
    true = torch.cat([torch.as_tensor(part.labels).cpu() for part in columns.values()])
    return next(iter(columns.values())).classes[label], percent(said == label), percent(true == label)


def own_rank(clip: Clip, part: ImageSet | Inputs, head: torch.Tensor) -> float:
    """Mean rank of an image's own class text among all C by similarity: 1 is the most similar, C the least."""
    similarity = clip.embed(part.images) @ F.normalize(head, dim=-1).T
    own = similarity.gather(1, torch.as_tensor(part.labels, device=similarity.device)[:, None])
    return 1 + (similarity > own).sum(1).double().mean().item()
