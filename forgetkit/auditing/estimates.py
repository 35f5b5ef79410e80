"""A figure with its 95 % interval and the number of images behind it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from forgetkit.evaluation import interval, percent

Z = 1.959964  # of the normal distribution: 95 % lie within this many standard deviations
DRAWS = 200  # of a bootstrap


class Estimate(NamedTuple):
    """value within [low, high] at 95 %, of n images; NaN for both ends where a figure has no interval."""

    value: float
    low: float
    high: float
    n: int


def share(hits: torch.Tensor) -> Estimate:
    """Percent of True in (N,) booleans, with Wilson's interval, which holds near 0 and 100, too."""
    return Estimate(percent(hits), *interval(int(hits.sum()), len(hits)), len(hits))


def auroc(positive: torch.Tensor, negative: torch.Tensor) -> Estimate:
    """P(a positive scores above a negative), ties half: 0..1, .5 if the scores tell nothing, below if they point back.

    positive (P,), negative (N,): scores. Interval after Hanley and McNeil (1982), with Q1 = A / (2 - A) and
    Q2 = 2 A^2 / (1 + A): var A = (A (1 - A) + (P - 1)(Q1 - A^2) + (N - 1)(Q2 - A^2)) / P N. n counts both.
    """
    p, n = len(positive), len(negative)
    a = float(roc_auc_score(np.repeat([1, 0], [p, n]), torch.cat([positive, negative]).numpy()))
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    variance = (a * (1 - a) + (p - 1) * (q1 - a**2) + (n - 1) * (q2 - a**2)) / (p * n)
    half = Z * math.sqrt(max(variance, 0.0))
    return Estimate(a, max(0.0, a - half), min(1.0, a + half), p + n)


def average_precision(scores: torch.Tensor, relevant: torch.Tensor, seed: int = 0) -> Estimate:
    """Mean precision, in percent, at the rank of every relevant image, most similar first; equal scores share a rank.

    scores (N,), relevant (N,) booleans. Interval: Poisson bootstrap (an image counts Poisson(1) times in a draw).
    """
    scores, relevant = scores.numpy(), relevant.numpy()
    value = 100 * float(average_precision_score(relevant, scores))
    times = np.random.default_rng(seed).poisson(size=(DRAWS, len(scores)))
    found = [100 * average_precision_score(relevant, scores, sample_weight=t) for t in times if t[relevant].any()]
    low, high = np.quantile([*found, value], [0.025, 0.975]).tolist()
    return Estimate(value, min(low, value), max(high, value), len(scores))
