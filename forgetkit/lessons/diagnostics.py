"""What changed between the original and an unlearned model, beyond what accuracy tells.

Accuracy counts hits and the Score averages columns; here is what they hide: what each column adds, images that
were lost and won, the names images go by now, and whether a model still *sees* the class it no longer names.
`alarms` says what went wrong, and what to change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import PREVIOUS, TARGET, percent
from forgetkit.models.clip import Clip, Inputs, embed_each


def contributions(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What each column counts in the Score, in percent, one row a model of `evaluate`'s table; their mean is the Score.

    100 (1 - a / a0) for the target, 100 - a for `previous_targets`, 100 min(1, a / a0) for the others; the first row is
    the original's. Columns on which the original is at zero are left out, as in `score`.
    """
    accuracy = table.set_index("model")[list(columns)]
    counted = (accuracy.iloc[0] > 0) | (accuracy.columns == PREVIOUS)
    found = 100 * (accuracy / accuracy.iloc[0]).clip(upper=1)
    found[TARGET] = 100 * (1 - accuracy[TARGET] / accuracy[TARGET].iloc[0])
    if PREVIOUS in found:
        found[PREVIOUS] = 100 - accuracy[PREVIOUS]
    return found.loc[:, counted]


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


def rivals(z: torch.Tensor, head: torch.Tensor, label: int | torch.Tensor) -> np.ndarray:
    """Each image's similarity to the text of class `label`, and to the best other text: (N, 2).

    z (N, D) and head (C, D) of unit rows; label: one for all images, or one each, (N,) long
    """
    similarity = z @ head.T
    own = torch.as_tensor(label, device=z.device).expand(len(z))[:, None]
    pair = similarity.gather(1, own), similarity.scatter(1, own, -torch.inf).max(1, keepdim=True).values
    return torch.cat(pair, 1).cpu().numpy()


def duel(
    models: Mapping[str, Clip], columns: Mapping[str, ImageSet | Inputs], head: torch.Tensor, label: int, n: int = 200
) -> dict[str, dict[str, np.ndarray]]:
    """`rivals` by model and column, of at most n images (a fixed draw) of the columns that share the target's texts."""
    points = {name: {} for name in models}
    for column, part in some({c: columns[c] for c in (TARGET, "retain", "other") if c in columns}, n).items():
        for name, z in zip(models, embed_each(list(models.values()), part.images, progress=column)):
            points[name][column] = rivals(z, head, label)
    return points


def alarms(
    table: pd.DataFrame, rank: float | None = None, classes: int = 0, called: tuple[str, float, float] | None = None
) -> list[str]:  # fmt: skip
    """What went wrong, and what to change: a sentence each, none if all is well.

    table:  as `evaluate` makes it, the original first and the stages in order
    rank:   `own_rank` of the last model on target images, among `classes` texts
    called: `most_called` of the last model on test images

    Not finite: a model's numbers are not. Nothing to forget: the original does not know the target. Not forgotten: more
    than 5 % of it is left. Over-forgetting: the last model keeps less than 90 % of a column, or has pushed the target's
    text to the end of the list, which gives away what was removed. Trivial: it calls most images by one name. Learnt:
    a column rose by more than 10 points. Resurrection: a stage brings back more than 2 points of the target, or all
    three of earlier targets. Harm:
    stage 2 loses more than 2 points of Score.
    """
    if not {"model", TARGET} <= set(table.columns) or not len(table):
        raise ValueError("alarms take the table that evaluate makes, with a column 'model' and one 'target'.")
    found = []
    original, last = table.iloc[0], table.iloc[-1]
    columns = table.columns.drop(["model", "score", "seconds", TARGET, PREVIOUS], errors="ignore")
    for row in table.itertuples():
        if not all(math.isfinite(getattr(row, name)) for name in (TARGET, *columns)):
            found.append(
                f"Not finite: model {row.model!r} gives numbers that are not. Lower embedding_step in both stages; see"
                " that weights and images are finite."
            )
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
    for name in columns:
        if last[name] < 0.9 * original[name]:
            found.append(
                f"Over-forgetting: {name} fell from {original[name]:.1f} to {last[name]:.1f} %. Let stage 1 stop"
                " earlier (forget.stop, forget.embedding_step) or spread over more layers (forget.k), or hold more"
                " in stage 2 (remind.feature, remind.steps)."
            )
        if last[name] > original[name] + 10:
            found.append(
                f"Learnt: {name} rose from {original[name]:.1f} to {last[name]:.1f} %: taught, not kept. Lower"
                " remind.steps, or use a model (or a head of images) that knows these classes."
            )
    if called and called[1] > (100 + called[2]) / 2:
        found.append(
            f"Trivial: {called[1]:.0f} % of the test images are called {called[0]!r}, and {called[2]:.0f} % are: the"
            " target is gone as all else is. Lower forget.embedding_step, and show siblings of more kinds (n_retain)."
        )
    if rank is not None and rank > 0.75 * classes:
        found.append(
            f"Over-forgetting: the target's text ranks {rank:.1f} of {classes} on its own images, where ignorance would"
            " put it in the middle: its absence gives it away. Lower remind.margin and remind.guard, or stop"
            " stage 1 earlier."
        )
    if PREVIOUS in table and last[PREVIOUS] > original[PREVIOUS] + 2:
        found.append(
            f"Resurrection: earlier targets rose from {original[PREVIOUS]:.1f} to {last[PREVIOUS]:.1f} %. Raise"
            " remind.guard, or show more images (n_forget)."
        )
    for before, after in zip(table.iloc[1:].itertuples(), table.iloc[2:].itertuples()):
        if after.target > before.target + 2:
            lower, higher = "Lower restore.target_limit", "Raise remind.guard or remind.margin"
            found.append(
                f"Resurrection: the target rose from {before.target:.1f} to {after.target:.1f} % in stage"
                f" {after.model!r}. {lower if after.model == 'restore' else higher}, and see that enough images of the"
                " target calibrate."
            )
        if after.model == "remind" and after.score < before.score - 2:
            found.append(
                f"Harm: stage 2 lost what stage 1 had kept, from Score {before.score:.1f} to {after.score:.1f}. Lower"
                " remind.embedding_step, or raise remind.feature and the number of retain images (n_retain)."
            )
    return found
