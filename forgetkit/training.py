"""The one training loop: what a step draws, how far it goes, when one looks, and the way back where steps did harm.

A learning rate means something else in every model; a distance between embeddings does not, as they are unit vectors in
all of them. AdamW moves every weight by about the rate a step; the stages' rate is such that a random step gives

    mean over kept images of || z' - z || = embedding_step     z, z': unit embeddings before and after that step

Both stages monitor images that they do not train on, those of D_m but the target's. Where these drift too far from the
original's embeddings, the weights are rolled back, at a quarter of the rate. Handed on is the weights' average,

    theta_ema = decay theta_ema + (1 - decay) theta            decay 0: the last weights
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from tqdm.auto import tqdm

from forgetkit.evaluation import TARGET, percent
from forgetkit.models.clip import Clip, ModelError
from forgetkit.models.memory import accumulate, halving, to_device
from forgetkit.models.prefix import Features, joined
from forgetkit.subgroups import ModelSets

log = logging.getLogger(__name__)
MONITORED = 128  # images
CLEAR = 0.05  # a mean distance of unit embeddings: well above rounding, well below a radius
DIRECTIONS = 4  # in which it is measured
SLOWER = 4.0  # what the rate is divided by at each rollback
ROLLBACKS = 3  # and after one more, training ends


@dataclass(frozen=True)
class Pool:
    """What a step draws from: N images behind the frozen prefix, labels (N,), the original's embeddings (N, D)."""

    images: torch.Tensor | Features
    labels: torch.Tensor | None = None  # where the images have a class
    teacher: torch.Tensor | None = None  # where the student is held to the original

    def draw(self, index: torch.Tensor) -> Pool:
        return Pool(*(part if part is None else part[index] for part in (self.images, self.labels, self.teacher)))


Terms = Callable[[dict[str, torch.Tensor], dict[str, Pool]], dict[str, torch.Tensor]]  # (z, drawn) -> scalars by name


class Drift(NamedTuple):
    """drift: mean of 1 - cos to the original's embeddings, 0 to 2, or NaN; known: percent called by their own class."""

    drift: float
    known: float


@dataclass(frozen=True)
class Monitor:
    """Kept images behind the frozen prefix, N; what the original makes of each, (N, D); labels (N,); head (C, D)."""

    images: torch.Tensor | Features
    teacher: torch.Tensor
    labels: torch.Tensor
    head: torch.Tensor

    @classmethod
    def of(cls, original: Clip, sets: ModelSets, n_frozen: int = 0) -> Monitor:
        """Images of D_m that are not the target's, at most `MONITORED`; n_frozen: the blocks that do not change."""
        kept = [part for name, part in sets.calibration.items() if name != TARGET]
        images, labels = joined([part.images for part in kept]), torch.cat([part.labels for part in kept])
        some = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:MONITORED].to(labels.device)
        features = original.features(images[some], n_frozen)
        return cls(features, original.embed(features), labels[some], sets.head)

    def measure(self, clip: Clip) -> Drift:
        z = clip.embed(self.images)
        drift = (1 - (z * self.teacher).sum(1)).mean().item()
        return Drift(drift, percent((z @ self.head.T).argmax(1) == self.labels))


class Verdict(NamedTuple):
    """What a rule says at a check: what to note, what speaks for a rollback (None: nothing), and if all is done."""

    noted: dict[str, float]
    harm: str | None = None
    done: bool = False


class Trainer:
    """AdamW on the `weights` of a student, with rollbacks; see the module.

    monitor: kept images; embedding_step: how far a random step moves them, unless `rate` is given; drift: past which
    (or past twice what there is at the `start`) weights are rolled back, None: never; history: a row a step and check
    """

    def __init__(
        self, name: str, student: Clip, weights: Sequence[torch.nn.Parameter], monitor: Monitor | None = None,
        embedding_step: float | None = None, drift: float | None = None, rate: float | None = None,
    ):  # fmt: skip
        self.name, self.student, self.weights, self.monitor = name, student, list(weights), monitor
        self.rate = self.first_rate = rate or rate_for(embedding_step, student, self.weights, monitor.images)
        self.optimizer = torch.optim.AdamW(self.weights, weight_decay=0.0)  # `run` sets its rate at every step
        self.start = monitor.measure(student) if monitor and drift is not None else None
        self.limit = max(drift, 2 * self.start.drift) if self.start else None
        self.average, self.history, self.rollbacks = [], [], 0

    def run(
        self, pools: Mapping[str, Pool], terms: Terms, generator: torch.Generator, *, steps: int, batch: int,
        eval_every: int, rule: Callable[[], Verdict] | None = None, decay: float = 0.0, last_rate: float = 1.0,
        after: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """At most so many steps down the sum of terms(z, drawn); then the student's weights are their average.

        Its record gains the history, under the name of the training, and the pace.
        pools: each step draws `batch` images of each; z (B, D) by pool is what the student makes of them
        rule: asked every `eval_every` steps, before the first and after the last; decay: of the average
        last_rate: the share of the rate to which it falls linearly; after: called after each step
        Raises ModelError where the loss is NaN or infinite and no drift is set that would take such steps back.
        """
        device = self.student.device
        batches = {name: index_batches(len(pool.images), batch, generator, device) for name, pool in pools.items()}
        self.average = [w.detach().clone() for w in self.weights] if decay else []
        self.keep(0)
        self.at_once, losses = max(1, len(pools)) * batch, {}
        for step in tqdm(range(steps + 1), desc=self.name, leave=False):
            if step % eval_every == 0 or step == steps:
                if self.limit is None and (none := [name for name, term in losses.items() if not term.isfinite()]):
                    raise ModelError(
                        f"{self.name}, step {step}: the loss is no finite number ({', '.join(none)}). Lower"
                        " embedding_step or the weight of that term, or set `drift`, past which steps are taken back."
                    )
                found = rule() if rule else Verdict({})
                self.history += [{"step": step, **found.noted}] if found.noted else []
                if (self.check(step, found.harm) and found.done) or self.rollbacks > ROLLBACKS:
                    break
            if step == steps:
                break
            drawn = {name: pool.draw(next(batches[name])) for name, pool in pools.items()}
            self.optimizer.param_groups[0]["lr"] = self.rate * (1 - (1 - last_rate) * step / steps)
            losses = self.backward(drawn, terms)
            self.optimizer.step()
            after()
            for average, weight in zip(self.average, self.weights):
                average.lerp_(weight.detach(), 1 - decay)
            self.history.append({"step": step + 1, **losses})
        with torch.no_grad():
            for average, weight in zip(self.average, self.weights):
                weight.copy_(average)
        history = [{name: float(value) for name, value in row.items()} for row in self.history]
        its = {self.name: {"rate": self.first_rate, "rollbacks": self.rollbacks}}
        self.student.record.update({self.name: history, "pace": {**self.student.record.get("pace", {}), **its}})

    def backward(self, drawn: Mapping[str, Pool], terms: Terms) -> dict[str, torch.Tensor]:
        """The gradients of a step's loss; its terms, detached. Without pools, terms({}, {}) makes it by itself."""
        found = {}

        def loss_of(z: torch.Tensor) -> torch.Tensor:
            parts = z.split([len(pool.images) for pool in drawn.values()])
            found.update(terms(dict(zip(drawn, parts)), dict(drawn)))
            return sum(found.values())

        def run(size: int) -> None:
            self.at_once = size  # once halved, it stays so
            self.optimizer.zero_grad(set_to_none=True)  # here: an attempt that failed may have left some
            if drawn:
                accumulate(self.student.embed_tensor, joined([pool.images for pool in drawn.values()]), loss_of, size)
            else:
                found.update(terms({}, {}))
                sum(found.values()).backward()

        halving(run, self.at_once, self.name)
        return {name: term.detach() for name, term in found.items()}

    def keep(self, step: int) -> None:
        """The weights after so many steps are where the next rollback leads."""
        self.good, self.good_step = [w.detach().clone() for w in (*self.weights, *self.average)], step

    @torch.no_grad()
    def check(self, step: int, harm: str | None = None) -> bool:
        """Is what must be kept still there after so many steps? If not, roll back; harm: what else speaks for it."""
        if self.limit is None and harm is None:
            return True
        if self.limit is not None:
            drift = self.monitor.measure(self.student).drift
            if not drift <= self.limit:  # NaN, too
                harm = f"kept images have drifted by {drift:.2g} (1 - cos), more than {self.limit:.2g}"
        if harm is None:
            self.keep(step)
            return True
        self.rate, self.rollbacks = self.rate / SLOWER, self.rollbacks + 1
        log.warning(
            f"{self.name}, step {step}: {harm}. Back to step {self.good_step}, and on at a rate of {self.rate:.1e}."
        )
        for now, good in zip((*self.weights, *self.average), self.good):
            now.copy_(good)
        self.optimizer.state.clear()
        return False


def index_batches(n: int, batch: int, generator: torch.Generator, device: torch.device) -> Iterator[torch.Tensor]:
    """Endless shuffled batches of indices 0..n-1, each (min(batch, n),) long; on the device, an order at a time."""
    batch = min(batch, n)
    while True:
        order = to_device(torch.randperm(n, generator=generator), device)
        yield from order[: n - n % batch].split(batch)


@torch.no_grad()
def rate_for(
    embedding_step: float, student: Clip, weights: Sequence[torch.nn.Parameter], images: torch.Tensor | Features
) -> float:
    """The learning rate at which weights that all go that far, to either side, move embeddings so far on average.

    The distance is proportional to the rate: it is measured at `CLEAR`, the mean over some directions. The weights are
    left as they were. Raises ModelError where none moves at all.
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
    return embedding_step * DIRECTIONS / sum(slopes)
