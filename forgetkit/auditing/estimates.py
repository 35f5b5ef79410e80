"""A figure with its 95 % interval and the number of images behind it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

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


def mean(values: torch.Tensor) -> Estimate:
    """Mean of (N,) values, one an image, with the normal interval: 1.96 standard errors either way."""
    n, m = len(values), values.double().mean().item()
    half = Z * values.double().std(correction=0).item() / math.sqrt(n)
    return Estimate(m, m - half, m + half, n)


def auroc(positive: torch.Tensor, negative: torch.Tensor) -> Estimate:
    """P(a positive scores above a negative), ties half: 0..1, .5 if the scores tell nothing, below if they point back.

    positive (P,), negative (N,): scores. Interval after Hanley and McNeil (1982), with Q1 = A / (2 - A) and
    Q2 = 2 A^2 / (1 + A): var A = (A (1 - A) + (P - 1)(Q1 - A^2) + (N - 1)(Q2 - A^2)) / P N. n counts both.
    """
    ordered, p, n = negative.sort().values, len(positive), len(negative)
    below, up_to = (torch.searchsorted(ordered, positive.contiguous(), right=right) for right in (False, True))
    a = (below + up_to).double().mean().item() / (2 * n)
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    variance = (a * (1 - a) + (p - 1) * (q1 - a**2) + (n - 1) * (q2 - a**2)) / (p * n)
    half = Z * math.sqrt(max(variance, 0.0))
    return Estimate(a, max(0.0, a - half), min(1.0, a + half), p + n)


def average_precision(scores: torch.Tensor, relevant: torch.Tensor, seed: int = 0) -> Estimate:
    """Mean precision, in percent, at the rank of every relevant image, most similar first.

    scores (N,), relevant (N,) booleans. Interval: a Poisson bootstrap over the images (every image counts a Poisson(1)
    number of times in each of `DRAWS` draws), 2.5th to 97.5th percentile.
    """
    hits = relevant[scores.argsort(descending=True, stable=True)].double()
    times = torch.poisson(torch.ones(DRAWS, len(hits)), generator=torch.Generator().manual_seed(seed)).double()
    times = torch.cat([torch.ones_like(times[:1]), times])  # the first is the data themselves
    precision = (times * hits).cumsum(1) / times.cumsum(1).clamp(min=1)
    found = 100 * (times * hits * precision).sum(1) / (times * hits).sum(1).clamp(min=1)
    low, high = found[1:].quantile(torch.tensor([0.025, 0.975], dtype=found.dtype)).tolist()
    value = found[0].item()
    return Estimate(value, min(low, value), max(high, value), len(hits))
