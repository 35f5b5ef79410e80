"""What changed between the original and an unlearned model, beyond what accuracy tells.

Accuracy counts hits and the Score averages columns; here is what they hide: what each column adds, images that
were lost and won, the names images go by now, and whether a model still *sees* the class it no longer names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from forgetkit.data.images import ImageSet
from forgetkit.evaluation import TARGET, percent
from forgetkit.models.clip import Clip, embed_each


def contributions(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What each column counts in the Score, in percent, one row a model of `evaluate`'s table; their mean is the Score.

    100 (1 - a / a0) for the target, 100 min(1, a / a0) for the others; the first row is the original's. Columns on
    which the original is at zero are left out, as in `score`.
    """
    accuracy = table.set_index("model")[list(columns)]
    ratio = (accuracy / accuracy.iloc[0]).loc[:, accuracy.iloc[0] > 0]
    return 100 * ratio.clip(upper=1).assign(**{TARGET: 1 - ratio[TARGET]})


def churn(before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Images whose name changed, in percent of all; before, after, labels: (N,) long.

    lost: right before, wrong now; won: wrong before, right now; still wrong: wrong both times, under two names. The
    change of accuracy is won - lost, and small where both are large.
    """
    was, now = before == labels, after == labels
    changed = {"lost": was & ~now, "won": ~was & now, "still wrong": ~was & ~now & (before != after)}
    return {name: percent(mask) for name, mask in changed.items()}


def predictions(original: Clip, unlearned: Clip, columns: Mapping[str, ImageSet]) -> pd.DataFrame:
    """What two models call each image, a row an image: what a run may leave as `predictions.parquet` (docs/batches.md).

    image: its file, or its place in the column; label, before, after: names of classes; subgroup: the column;
    similarity: the cosine of image and own label, after
    """
    frames = []
    for column, part in columns.items():
        head = original.head(part.classes, part.prompts)
        before, after = (z @ head.T for z in embed_each([original, unlearned], part.images, progress=column))
        called = lambda similarity: [part.classes[i] for i in similarity.argmax(1).tolist()]
        image = [str(name) for name in getattr(part.images, "files", range(len(part)))]
        own = after.gather(1, torch.as_tensor(part.labels, device=after.device)[:, None]).squeeze(1)
        rows = {"image": image, "label": part.names, "subgroup": column}
        rows |= {"before": called(before), "after": called(after), "similarity": own.tolist()}
        frames.append(pd.DataFrame(rows))
    return pd.concat(frames, ignore_index=True)


def second_choice(z: torch.Tensor, head: torch.Tensor, without: int) -> torch.Tensor:
    """The best class, (N,) long, if class `without` did not exist; z (N, D) and head (C, D) of unit rows."""
    similarity = z @ head.T
    similarity[:, without] = -torch.inf
    return similarity.argmax(1)


def neighbours(z: torch.Tensor, queries: torch.Tensor, k: int) -> torch.Tensor:
    """The k rows of z (N, D) most similar to each row in `queries` (Q,), itself left out: (Q, k) long, best first."""
    similarity = z[queries] @ z.T
    similarity[torch.arange(len(queries), device=z.device), queries] = -torch.inf
    return similarity.topk(k, dim=1).indices


def plane(z: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The plane in which z (N, D) varies most: its mean (D,), two axes (D, 2), their shares of the variance (2,)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # pca_lowrank draws a random start
        mean, centred = z.mean(0), z - z.mean(0)
        _, s, axes = torch.pca_lowrank(centred.cpu(), q=min(8, *z.shape), center=False)
    return mean, axes[:, :2].to(z.device), s[:2] ** 2 / centred.square().sum().cpu()
