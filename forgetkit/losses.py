"""Losses of the stages: a hinge that makes forget, distillation that holds the student to the original model, and an
MMD that leaves the target no place of its own.

The paper reports "knowledge distillation to handle the distribution disparity between forgetting, retaining
samples and unseen pre-trained data"; its exact form is not known. The forms below are ours, chosen by validation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F


def hinge(z: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, scale: torch.Tensor, margin: float):
    """How far the own class text stands above the best other, plus `margin` (in logits), where positive; mean."""
    logits = scale * z @ head.T
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], float("-inf")).max(1).values
    return F.relu(own - other + margin).mean()


def contrastive(
    z: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of the classes; of a SigLIP, with a bias, that of each class's own yes or no, summed over them.

    (Zhai et al., *Sigmoid loss for language image pre-training*, ICCV 2023.) z (N, D), head (C, D): unit rows.
    """
    logits = scale * z @ head.T
    if bias is None:
        return F.cross_entropy(logits, labels)
    own = F.one_hot(labels, len(head)).to(logits)
    return F.binary_cross_entropy_with_logits(logits + bias, own, reduction="none").sum(1).mean()


def class_distillation(
    student: torch.Tensor, teacher: torch.Tensor, head: torch.Tensor, scale: torch.Tensor, without: Sequence[int] = (),
    never: Sequence[int] = (), bias: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """KL(teacher || student) over class probabilities (Hinton et al., 2015), the classes in `without` removed.

    student, teacher (N, D) unit embeddings; head (C, D) unit class embeddings; scale: inverse temperature.
    To the classes in `never` the teacher gives no share, and any that the student gives them costs it. bias: a
    SigLIP's, whose classes are a yes or no each: the KL is summed over them.
    """
    head, never = without_rows(head, without), [c - sum(w < c for w in without) for c in never]
    if bias is not None:
        s, t = (scale * z @ head.T + bias for z in (student, teacher))
        shown = torch.tensor([c not in never for c in range(len(head))], device=t.device)
        p = t.sigmoid() * shown
        cross, entropy = (F.binary_cross_entropy_with_logits(x, p, reduction="none") for x in (s, t))
        return (cross - entropy * shown).sum(1).mean()
    s = without_rows(F.log_softmax(scale * student @ head.T, dim=-1), never, dim=1)
    t = F.log_softmax(scale * teacher @ without_rows(head, never).T, dim=-1)
    return F.kl_div(s, t, reduction="batchmean", log_target=True)


def feature_distillation(student: torch.Tensor, teacher: torch.Tensor, directions: torch.Tensor | None = None):
    """Mean of 1 - cos between embeddings (N, D), outside the span of `directions` (T, D) where given."""
    if directions is not None:
        basis = torch.linalg.qr(directions.T).Q  # (D, T), orthonormal
        student = student - student @ basis @ basis.T
        teacher = teacher - teacher @ basis @ basis.T
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def mmd(student: torch.Tensor, siblings: torch.Tensor) -> torch.Tensor:
    """Squared maximum mean discrepancy between two sets of unit embeddings, (N, D) and (M, D): a scalar.

        MMD^2 = E k(z, z') + E k(s, s') - 2 E k(z, s),   k(x, y) = sum over r in 1/4, 1/2, 1, 2 of exp(-(1 - x.y) / r d)

    (Gretton et al., JMLR 2012, eq. 3; it may come out slightly below 0). d: mean of 1 - s.s'. At zero, nothing that
    looks at embeddings alone can tell the sets apart: no number added to a logit, no word, no plane, no neighbour.
    """

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return sum(torch.exp((x @ y.T - 1) / (r * width)) for r in (0.25, 0.5, 1.0, 2.0))

    def among(x: torch.Tensor, of: Callable = kernel) -> torch.Tensor:  # the mean over pairs of different rows
        pairs = of(x, x)
        return (pairs.sum() - pairs.diagonal().sum()) / max(1, len(x) * (len(x) - 1))

    width = (1 - among(siblings, lambda x, y: x @ y.T)).clamp(min=1e-6)
    return among(student) + among(siblings) - 2 * kernel(student, siblings).mean()


def without_rows(head: torch.Tensor, rows: Sequence[int], dim: int = 0) -> torch.Tensor:
    """head (C, D) without those rows, or (N, C) without those columns (dim=1); an index of a list stops a GPU."""
    edges = [-1, *sorted(rows), head.shape[dim]]
    return torch.cat([head.narrow(dim, a + 1, b - a - 1) for a, b in zip(edges, edges[1:])], dim)
