"""How far a step goes on any model, and the way back where steps did harm.

A learning rate means something else in every model; a distance between embeddings does not, as they are unit vectors in
all of them. The rate of a stage is therefore found at its first step: AdamW's is `lr sign(gradient)`, and lr is such that

    mean over kept images of || z' - z || = move          z, z': unit embeddings before and after that step

Both stages then watch kept images that they do not train on: those of D_m without the target's. Where they drift too
far from the original's embeddings, the weights go back to the last look that was good, and on at a quarter of the rate.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from forgetkit.evaluation import TARGET, percent
from forgetkit.models.body import Features, joined
from forgetkit.models.clip import Clip
from forgetkit.subgroups import Splits

log = logging.getLogger(__name__)
WATCHED = 128  # images of each look
BACK = 4.0  # what the rate is divided by at each way back
RETURNS = 3  # ways back after which stage 1 ends: its rate is 64 times lower by then


@dataclass(frozen=True)
class Watch:
    """What must stay: N images as the tower's body leaves them, what the original makes of each (N, D), their labels."""

    images: torch.Tensor | Features
    teacher: torch.Tensor
    labels: torch.Tensor
    head: torch.Tensor

    @classmethod
    def of(cls, original: Clip, sets: Splits, cut: int = 0) -> Watch:
        """The images of D_m that are not the target's, at most `WATCHED`; cut: the blocks that do not change."""
        kept = [part for name, part in sets.calibration.items() if name != TARGET]
        images, labels = joined([part.images for part in kept]), torch.cat([part.labels for part in kept])
        some = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:WATCHED].to(labels.device)
        images = original.features(images[some], cut)
        return cls(images, original.embed(images), labels[some], sets.head)

    def drift(self, z: torch.Tensor) -> float:
        """Mean of 1 - cos between embeddings (N, D) of these images and the original's: 0 to 2, or NaN."""
        return (1 - (z * self.teacher).sum(1)).mean().item()

    def known(self, z: torch.Tensor) -> float:
        """Percent of these images that are called by their own class, given their embeddings (N, D)."""
        return percent((z @ self.head.T).argmax(1) == self.labels)


class Descent:
    """AdamW whose rate is found from how far its first step moves embeddings, and which can go back.

    weights: what is trained; embed: images or features to unit embeddings (N, D), with those weights; along: further
    tensors that go back with the weights, as their average does; move: see the module; limit: the drift that is too far
    """

    def __init__(
        self, stage: str, weights: Sequence[torch.nn.Parameter], embed: Callable, watch: Watch, move: float,
        limit: float = math.inf, along: Sequence[torch.Tensor] = (),
    ):  # fmt: skip
        self.stage, self.weights, self.embed, self.watch, self.move = stage, list(weights), embed, watch, move
        self.optimizer = torch.optim.AdamW(self.weights, lr=1.0, weight_decay=0.0)
        self.rate, self.limit, self.along, self.returns = 0.0, limit, list(along), []
        self.keep(0)

    def step(self, share: float = 1.0) -> None:
        """One step at this share of the rate; the gradients are in the weights."""
        self.rate = self.rate or rate_for(self.move, self.weights, self.embed, self.watch.images)
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.rate
        self.optimizer.step()

    def keep(self, step: int) -> None:
        """Remember the weights as they are after so many steps: they are good."""
        self.good, self.good_step = [w.detach().clone() for w in (*self.weights, *self.along)], step

    @torch.no_grad()
    def look(self, step: int, harm: str | None = None) -> bool:
        """Are kept images still where they were? If not, or where `harm` says what else is wrong, go back.

        Returns whether all was well. Then the weights are what the next way back leads to.
        """
        drift = self.watch.drift(self.embed(self.watch.images))
        if not drift <= self.limit:
            harm = f"kept images drifted by {drift:.2g}, more than {self.limit:.2g} (1 - cos)"
        if not harm:
            self.keep(step)
            return True
        log.warning(
            f"{self.stage}, step {step}: {harm}. Back to step {self.good_step}, and on at a rate of {self.rate / BACK:.1e}."
        )
        for now, good in zip((*self.weights, *self.along), self.good):
            now.copy_(good)
        self.optimizer.state.clear()
        self.rate /= BACK
        self.returns.append(step)
        return False


@torch.no_grad()
def rate_for(move: float, weights: Sequence[torch.nn.Parameter], embed: Callable, images, trial: float = 1e-3) -> float:
    """The learning rate at which AdamW's first step, on the gradients in the weights, moves embeddings by `move`.

    images: kept ones, as `embed` takes them. The distance is nearly proportional to the rate while it is small; three
    trials, each corrected by the one before, suffice. The weights are left as they were.
    """
    before, start = embed(images), [w.detach().clone() for w in weights]
    for _ in range(3):
        torch.optim.AdamW(weights, lr=trial, weight_decay=0.0).step()
        moved = (embed(images) - before).norm(dim=1).mean().item()
        for now, old in zip(weights, start):
            now.copy_(old)
        trial *= min(move / moved, 10.0) if moved > 0 else 1.0
    return trial
