"""What the baselines share: how they are registered, trained, stopped, and calibrated."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from forgetkit.evaluation import accuracies, predict, score
from forgetkit.models.calls import check_sets
from forgetkit.models.clip import Clip, Inputs
from forgetkit.subgroups import ModelSets
from forgetkit.training import Trainer, Verdict, index_batches

BASELINES: dict[str, Callable[..., Clip]] = {}
Weights = dict[str, torch.Tensor]  # a state dict of the image tower
Loss = Callable[[Clip], torch.Tensor]


def baseline(function: Callable[..., Clip]) -> Callable[..., Clip]:
    """Register a baseline: (clip, sets, **settings) -> a new model of its name; sets: `sets.on(clip)`."""

    @functools.wraps(function)
    def timed(clip: Clip, sets: ModelSets, **settings) -> Clip:
        check_sets(sets, clip)
        start = time.perf_counter()
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
            result = function(clip, sets, **settings)
        record = {**result.record, "seconds": time.perf_counter() - start}
        return replace(result, name=function.__name__, record=record)

    BASELINES[function.__name__] = timed
    return timed


def draws(part: Inputs, batch: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless shuffled batches: images (B, 3, S, S) and labels (B,)."""
    for index in index_batches(len(part), batch, generator, part.images.device):
        yield part.images[index], part.labels[index]


def logits(clip: Clip, x: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """(B, C) of images x (B, 3, S, S) for class embeddings head (C, D); keeps the graph."""
    return clip.scale * clip.embed_tensor(x) @ head.T


def cross_entropy(clip: Clip, x: torch.Tensor, labels: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits(clip, x, head), labels)


def classifying(sets: ModelSets, batch: int, seed: int | torch.Generator, **weights: float) -> Loss:
    """The loss of classifying batches of these parts of the sets, weighted: `forget=-1.0, retain=1.0`."""
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    batches = {name: draws(getattr(sets, name), batch, generator) for name in weights}
    return lambda student: sum(w * cross_entropy(student, *next(batches[n]), sets.head) for n, w in weights.items())


def relabelled(sets: ModelSets, generator: torch.Generator) -> ModelSets:
    """The sets with one fixed wrong label a forget image."""
    labels = sets.forget.labels
    shift = torch.randint(1, len(sets.head), labels.shape, generator=generator).to(labels.device)
    return replace(sets, forget=replace(sets.forget, labels=(labels + shift) % len(sets.head)))


def descend(
    student: Clip, params: Iterable[torch.nn.Parameter], loss: Loss, steps: int, lr: float,
    forgotten: Callable[[Clip], bool] | None = None, every: int = 2, after: Callable[[], None] = lambda: None,
) -> Clip:  # fmt: skip
    """Change these weights of the student by at most `steps` AdamW steps on `loss`; `after` is called after each.

    Ends at the first check, every so many steps, that says `forgotten`.
    """
    trainer = Trainer("baseline", student, list(params), rate=lr)
    rule = (lambda: Verdict({}, done=forgotten(student))) if forgotten else None
    once = dict(steps=steps, batch=1, eval_every=every)
    trainer.run({}, lambda *_: {"loss": loss(student)}, torch.Generator(), rule=rule, after=after, **once)
    student.model.zero_grad(set_to_none=True)
    return student


def train(
    clip: Clip, loss: Loss, steps: int, lr: float, forgotten: Callable[[Clip], bool] | None = None, every: int = 2,
    masks: Mapping[str, torch.Tensor] = {}, layers: Sequence[str] | None = None,
) -> Clip:  # fmt: skip
    """A copy of the model after at most `steps` AdamW steps on `loss`; ends at the first check that says `forgotten`.

    masks: which entries of a weight may move; layers: which weights of the image tower may (all, unless given).
    """
    student = clip.copy()
    params = {n: p for n, p in student.model.visual.named_parameters() if layers is None or n in layers}
    start = {n: params[n].detach().clone() for n in masks}

    @torch.no_grad()
    def undo() -> None:
        for n, before in start.items():
            params[n].copy_(torch.where(masks[n], params[n], before))

    return descend(student, params.values(), loss, steps, lr, forgotten, every, undo)


def stopping_rule(sets: ModelSets, stop: float = 1.0, batch: int = 50) -> Callable[[Clip], bool]:
    """Is at most `stop` percent of D_f still recognised? Counts no further than it must."""

    def forgotten(clip: Clip) -> bool:
        left = 0
        for x, labels in zip(sets.forget.images.split(batch), sets.forget.labels.cpu().split(batch)):
            left += int((predict(clip, x, sets.head) == labels).sum())
            if left > stop / 100 * len(sets.forget):
                return False
        return True

    return forgotten


def best_calibrated(clip: Clip, sets: ModelSets, candidates: Iterable[Weights]) -> Clip:
    """The model with the candidate weights of the best Score on D_m; the original where none has a Score."""
    mixed, best, weights = clip.copy(), -float("inf"), clip.model.visual.state_dict()
    original = accuracies(clip, sets.calibration, sets.head)
    for candidate in candidates:
        mixed.model.visual.load_state_dict(candidate)
        found = score(accuracies(mixed, sets.calibration, sets.head), original)
        if found > best:
            best, weights = found, candidate
    mixed.model.visual.load_state_dict(weights)
    return mixed
