"""How far a step goes on any model, and the way back where steps did harm.

A learning rate means something else in every model; a distance between embeddings does not, as they are unit vectors in
all of them. AdamW moves every weight by about lr a step; a stage's lr is such that a step in a random direction gives

    mean over kept images of || z' - z || = move          z, z': unit embeddings before and after that step

Both stages then watch images that must stay and that they do not train on: those of D_m but the target's. Where these
drift too far from the original's embeddings, the weights go back to where all was well, and the rate is quartered.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from forgetkit.evaluation import TARGET, percent
from forgetkit.models.body import Features, joined
from forgetkit.models.clip import Clip, ModelError
from forgetkit.subgroups import Splits

log = logging.getLogger(__name__)
WATCHED = 128  # images
CLEAR = 0.05  # a mean distance of unit embeddings: well above rounding, well below a radius
DIRECTIONS = 4  # in which it is measured
SLOWER = 4.0  # what the rate is divided by at each way back
HARM = 3.0  # percent of kept images that stage 2 may know less than stage 1: few can come by chance,
WORTH = 0.1  # and so many more for each percent of D_f that it forgot: the target is one column of several
RETURNS = 3  # ways back after which stage 1 ends: its rate is 64 times lower by then


class Look(NamedTuple):
    """drift: mean of 1 - cos to the original's embeddings, 0 to 2, or NaN; known: percent called by their own class."""

    drift: float
    known: float


@dataclass(frozen=True)
class Watch:
    """Kept images as the tower's body leaves them, N; what the original makes of each, (N, D); labels (N,); head."""

    images: torch.Tensor | Features
    teacher: torch.Tensor
    labels: torch.Tensor
    head: torch.Tensor

    @classmethod
    def of(cls, original: Clip, sets: Splits, cut: int = 0) -> Watch:
        """Images of D_m that are not the target's, at most `WATCHED`; cut: the blocks that do not change."""
        kept = [part for name, part in sets.calibration.items() if name != TARGET]
        images, labels = joined([part.images for part in kept]), torch.cat([part.labels for part in kept])
        some = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:WATCHED].to(labels.device)
        features = original.features(images[some], cut)
        return cls(features, original.embed(features), labels[some], sets.head)

    def look(self, clip: Clip) -> Look:
        """What has become of these images in a model."""
        z = clip.embed(self.images)
        drift = (1 - (z * self.teacher).sum(1)).mean().item()
        return Look(drift, percent((z @ self.head.T).argmax(1) == self.labels))


class Descent:
    """AdamW on the weights of `student` whose rate follows from `move`, and which can go back; see the module.

    limit: the drift that is too far (None: none is); along: tensors that go back with the weights, as their average
    """

    def __init__(
        self, name: str, student: Clip, weights: Sequence[torch.nn.Parameter], watch: Watch, move: float,
        limit: float | None = None, along: Sequence[torch.Tensor] = (),
    ):  # fmt: skip
        self.name, self.student, self.watch, self.limit = name, student, watch, limit
        self.optimizer = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0)
        self.weights, self.along, self.returns = list(weights), list(along), 0
        self.rate = self.found = rate_for(move, student, self.weights, watch.images)
        self.keep(0)

    def told(self) -> dict[str, float]:
        """For the record: the rate that was found, and how often the way led back."""
        return {"rate": self.found, "returns": self.returns}

    def keep(self, step: int) -> None:
        """The weights after so many steps are where the next way back leads."""
        self.good, self.good_step = [w.detach().clone() for w in (*self.weights, *self.along)], step

    def step(self, share: float = 1.0) -> None:
        """One step at this share of the rate; the gradients are in the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.rate
        self.optimizer.step()

    @torch.no_grad()
    def well(self, step: int, harm: str | None = None) -> bool:
        """Is what must be kept still there after so many steps? If not, go back; harm: what else speaks against it."""
        if self.limit is None and harm is None:
            return True
        drift = self.watch.look(self.student).drift
        if self.limit is not None and not drift <= self.limit:
            harm = f"kept images have drifted by {drift:.2g} (1 - cos), more than {self.limit:.2g}"
        if harm is None:
            self.keep(step)
            return True
        self.rate, self.returns = self.rate / SLOWER, self.returns + 1
        back = f"Back to step {self.good_step}, and on at a rate of {self.rate:.1e}."
        log.warning(f"{self.name}, step {step}: {harm}. {back}")
        for now, good in zip((*self.weights, *self.along), self.good):
            now.copy_(good)
        self.optimizer.state.clear()
        return False


@torch.no_grad()
def rate_for(move: float, student: Clip, weights: Sequence[torch.nn.Parameter], images: torch.Tensor | Features):
    """The learning rate at which weights that all go that far, to either side, move embeddings by `move` on average.

    The distance is proportional to the rate, so it is measured where rounding to bfloat16 does not count, at `CLEAR`,
    as the mean over some directions. The weights are left as they were. Raises ModelError where none moves at all.
    """
    generator, rate, slopes = torch.Generator().manual_seed(0), 1e-4, []
    before, start = student.embed(images), [w.detach().clone() for w in weights]
    while len(slopes) < DIRECTIONS:
        for w in weights:
            w.add_(rate * (torch.randint(2, w.shape, generator=generator) * 2 - 1).to(w))
        moved = (student.embed(images) - before).norm(dim=1).mean().item()
        for now, old in zip(weights, start):
            now.copy_(old)
        if moved < CLEAR / 2 and rate < 1:
            rate *= 2
        else:
            slopes.append(moved / rate)
    if not sum(slopes):
        raise ModelError("No step moves the embeddings: the weights that may change do not reach the tower's output.")
    return move * DIRECTIONS / sum(slopes)
