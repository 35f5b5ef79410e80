"""Distillation losses of stage 2: hold the student to the original model, except where it must forget.

The paper reports "knowledge distillation to handle the distribution disparity between forgetting, retaining
samples and unseen pre-trained data"; its exact form is not known. The forms below are ours, chosen by validation.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F


@functools.lru_cache(maxsize=64)
def on_device(index: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """The indices as a tensor on the device, copied there once: a list as an index is copied, and waited for, anew."""
    return torch.tensor(index, dtype=torch.long, device=device)  # also of none


def class_distillation(
    student: torch.Tensor, teacher: torch.Tensor, head: torch.Tensor, scale: torch.Tensor, without: list[int] = ()
) -> torch.Tensor:
    """KL(teacher || student) over class probabilities (Hinton et al., 2015), the classes in `without` removed.

    student, teacher (N, D) unit embeddings; head (C, D) unit class embeddings; scale: inverse temperature.
    With the target's text removed, the teacher says what an image is *other than* the target.
    """
    keep = on_device(tuple(c for c in range(len(head)) if c not in set(without)), head.device)
    s = F.log_softmax(scale * student @ head[keep].T, dim=-1)
    t = F.log_softmax(scale * teacher @ head[keep].T, dim=-1)
    return F.kl_div(s, t, reduction="batchmean", log_target=True)


def feature_distillation(student: torch.Tensor, teacher: torch.Tensor, directions: torch.Tensor | None = None):
    """Mean of 1 - cos between embeddings (N, D), outside the span of `directions` (T, D) where given.

    Classes nobody shows to stage 2 live in the embedding too: holding all of it holds them.
    """
    if directions is not None:
        basis = torch.linalg.qr(directions.T).Q  # (D, T), orthonormal
        student = student - student @ basis @ basis.T
        teacher = teacher - teacher @ basis @ basis.T
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def hinge(z: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, scale: torch.Tensor, margin: float):
    """How far the own class text stands above the best other, less `margin` (in logits), where positive; mean.

    Zero as soon as every forget image prefers another class by `margin`: unlike a similarity that is only
    minimised, it has a floor.
    """
    logits = scale * z @ head.T
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], float("-inf")).max(1).values
    return F.relu(own - other + margin).mean()
