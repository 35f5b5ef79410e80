"""What changed between the original and an unlearned model, beyond what accuracy tells.

Accuracy counts hits and the Score averages columns; here is what they hide: what each column adds, images that
were lost and won, the names images go by now, and whether a model still *sees* the class it no longer names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from forgetkit.evaluation import TARGET


def contributions(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What each column counts in the Score, in percent, one row a model of `evaluate`'s table; their mean is the Score.

    100 (1 - a / a0) for the target, 100 min(1, a / a0) for the others; the first row is the original's. Columns on
    which the original is at zero are left out, as in `score`.
    """
    accuracy = table.set_index("model")[list(columns)]
    ratio = (accuracy / accuracy.iloc[0]).loc[:, accuracy.iloc[0] > 0]
    parts = ratio.clip(upper=1)
    parts[TARGET] = 1 - ratio[TARGET]
    return 100 * parts


def churn(before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Images whose name changed, in percent of all; before, after, labels: (N,) long.

    lost: right before, wrong now; won: wrong before, right now; still wrong: wrong both times, under two names. The
    change of accuracy is won - lost, and small where both are large.
    """
    changed = {
        "lost": (before == labels) & (after != labels),
        "won": (before != labels) & (after == labels),
        "still wrong": (before != labels) & (after != labels) & (before != after),
    }
    return {name: 100 * mask.double().mean().item() for name, mask in changed.items()}


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


def kept(rows: pd.DataFrame, original: pd.DataFrame) -> pd.DataFrame:
    """Rows of accuracies as percent of the original's; original: its accuracies, one row a subgroup (the index).

    rows have a column `subgroup`; those whose subgroup has no original become NaN.
    """
    accuracy = original.reindex(rows["subgroup"]).set_index(rows.index)
    return rows.assign(**{name: 100 * rows[name] / accuracy[name] for name in original.columns})


def front(path: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A path from the original as `target` (what is left) and `kept` (mean of the rest), in percent of the original's.

    path: accuracies by `alpha`, of the target in `target_acc`; alpha 0 is the original. As in the Score, what a column
    gains over the original does not count.
    """
    path = path.sort_values("alpha")
    ratio = 100 * path[["target_acc", *columns]] / path[["target_acc", *columns]].iloc[0]
    return pd.DataFrame({"target": ratio["target_acc"], "kept": ratio[[*columns]].clip(upper=100).mean(axis=1)})


def kept_at(curve: pd.DataFrame, level: float) -> float:
    """What a `front` keeps where its target first falls to `level`, between two points in proportion; NaN if never."""
    below = np.flatnonzero(curve["target"] <= level)
    if not len(below):
        return np.nan
    i = below[0]
    ends = curve.iloc[max(i - 1, 0) : i + 1].sort_values("target")
    return float(np.interp(level, ends["target"], ends["kept"]))
