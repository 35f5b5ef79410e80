"""Every hyper-parameter once, with its reason: a dataclass a stage, and `Recipe`, which holds the three.

`Recipe.paper()` follows the published description as far as it is known; each value that the paper does not
give is our guess, marked (guess). `Recipe.default()` is ours, chosen on validation images; docs/method.md says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Forget:
    """Stage 1. Raises ValueError for a value that makes no sense."""

    seed: int = 0  # of the adapters' start and the order of batches; the sets have a seed of their own
    last: float = 0.35  # share of the layers, from the output, that may change: early ones serve every image
    k: int = 4  # of those, how many are adapted, by relative Fisher information
    fisher_samples: int = 200  # images of each set over which the Fisher information is averaged
    rank: int = 8  # of the adapters
    alpha: float = 16.0  # the adapters' scale is alpha / rank
    loss: str = "hinge"  # "similarity" is the paper's and has no floor; "hinge" ends where its work is done
    margin: float = 2.0  # of the hinge, in logits
    steps: int = 200  # at most; the stopping rule ends it long before
    lr: float = 3e-4
    batch: int = 64
    stop: float | None = 1.0  # stop when at most so many percent of D_f are still recognised; None: never
    spare: float | None = 50.0  # ... or less than so many percent of the siblings known at first; None: never
    check: int = 2  # steps between two looks at the stopping rules: each step past them is damage
    micro_batch: int | None = None  # images whose activations are kept at once; None: a whole batch where it fits
    compile: bool = False  # torch.compile the tower: a minute to compile, worth it for thousands of steps

    def __post_init__(self):
        at_least_one(self, "k", "fisher_samples", "rank", "batch", "check", "micro_batch")
        share(self, "last")
        one_of(self, "loss", "hinge", "similarity")


@dataclass(frozen=True)
class Remind:
    """Stage 2. Raises ValueError for a value that makes no sense."""

    seed: int = 0
    layers: str = "all"  # "all" that may change can undo side effects; "same": only the k of stage 1
    last: float = 0.35
    rank: int = 8
    alpha: float = 16.0
    align_steps: int = 15  # most of the fall, in seconds; by 40 every layer's term has fallen. 0: no alignment
    align_lr: float = 0.05
    align_bound: float = 0.5  # |delta| in normalised pixels (one is about a quarter of the grey scale)
    mirrored: bool = True  # retain and forget images mirrored, too: twice as many to learn from
    steps: int = 150  # losses are flat by then
    lr: float = 5e-3  # the best of docs/results/settings.csv
    lr_end: float = 0.1  # the rate falls linearly to this share of it: at a constant rate, a late step may still slip
    batch: int = 48  # of each pool of images; 64 is no better
    contrastive: float = 1.0  # weight of the contrastive loss
    contrastive_on: str = "raw"  # retain images as they are, or "aligned" as published: beside a guard, a short cut
    distill: float = 1.0  # weight of class distillation on the retain images, raw and aligned
    distill_without_target: bool = True  # remove the target's text from student and teacher
    feature: float = 200.0  # weight of feature distillation on retain and classless images; 1 - cos is small
    n_noise: int = 200  # noise images aligned to the BatchNorm statistics
    n_abstract: int = 400  # abstractions of retain images: inverted, edges, grey, blended
    guard: float = 3.0  # weight of the hinge on D_f that keeps the target's text below the best other
    guard_margin: float = 2.0  # of that hinge, in logits
    rename: float = 1.0  # weight of class distillation on D_f with the target's text removed: what else is it?
    ema_decay: float = 0.95  # averages over some 20 steps
    micro_batch: int | None = None
    compile: bool = False

    def __post_init__(self):
        at_least_one(self, "rank", "batch", "micro_batch")
        share(self, "last", "lr_end")
        one_of(self, "layers", "all", "same")
        one_of(self, "contrastive_on", "raw", "aligned")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"Recipe: ema_decay must lie in [0, 1), got {self.ema_decay}.")


@dataclass(frozen=True)
class Restore:
    """Stage 3. Raises ValueError for a value that makes no sense."""

    alphas: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(21))
    target_limit: float | None = 2.0  # percent of targets that may be recognised; None: whatever scores best

    def __post_init__(self):
        object.__setattr__(self, "alphas", tuple(self.alphas))  # papermill and YAML hand over lists
        if not self.alphas or not all(0 <= a <= 1 for a in self.alphas):
            raise ValueError(f"Recipe: alphas must be coefficients in [0, 1], at least one, got {self.alphas}.")


@dataclass(frozen=True)
class Recipe:
    """A part a stage: `forget(clip, sets, recipe.forget)`. `asdict(recipe.forget)` is all that stage 1 depends on."""

    name: str = "default"
    forget: Forget = field(default_factory=Forget)
    remind: Remind = field(default_factory=Remind)
    restore: Restore = field(default_factory=Restore)

    @classmethod
    def default(cls, seed: int = 0, **changes: Mapping) -> Recipe:
        """Ours, with values changed by stage: `Recipe.default(seed=1, remind={"steps": 60})`; see `changed`."""
        return cls().changed(seed, **changes)

    @classmethod
    def paper(cls, seed: int = 0, **changes: Mapping) -> Recipe:
        """Published: relative Fisher, LoRA, similarity loss, alignment, contrastive loss, distillation, EMA, soup."""
        forget = Forget(
            last=1.0,
            k=8,  # (guess)
            loss="similarity",
            stop=1.0,  # (guess) the loss has no floor, and without a stop nothing is left to remind
            spare=None,
        )
        remind = Remind(
            layers="same",  # (guess)
            last=1.0,
            mirrored=False,
            steps=100,  # (guess)
            lr=3e-4,  # (guess) the best of docs/results/settings.csv, as is k
            batch=64,  # (guess)
            contrastive_on="aligned",
            distill_without_target=False,  # (guess)
            feature=0.0,  # (guess) distillation on class probabilities of the retain images only
            n_noise=0,
            n_abstract=0,
            guard=0.0,
        )
        restore = Restore(target_limit=None)  # (guess) the best calibration Score
        return cls("paper", forget, remind, restore).changed(seed, **changes)

    @classmethod
    def named(cls, name: str, seed: int = 0, **changes: Mapping) -> Recipe:
        """`default` or `paper`, with values changed by stage; raises ValueError for another name."""
        if name not in ("default", "paper"):
            raise ValueError(f"There is no recipe {name!r}: choose 'default' or 'paper'.")
        return getattr(cls, name)(seed, **changes)

    def changed(self, seed: int | None = None, **changes: Mapping) -> Recipe:
        """The recipe with values changed by stage, and both trained stages on `seed` where it is given.

        Raises ValueError, with all of them at once, for stages and values that there are not.
        """
        stages = ("forget", "remind", "restore")
        unknown = [stage for stage in changes if stage not in stages]
        unknown += [f"{s}.{name}" for s in stages for name in changes.get(s, {}) if not hasattr(getattr(self, s), name)]
        if unknown:
            raise ValueError(f"Recipe: there is no {', '.join(unknown)}; see forgetkit/recipe.py for what there is.")
        seeds = {} if seed is None else {"forget": {"seed": seed}, "remind": {"seed": seed}}
        return replace(self, **{s: replace(getattr(self, s), **seeds.get(s, {}), **changes.get(s, {})) for s in stages})


def at_least_one(part: Forget | Remind, *names: str) -> None:
    for name in names:
        if getattr(part, name) is not None and getattr(part, name) < 1:
            raise ValueError(f"Recipe: {name} must be at least 1, got {getattr(part, name)}.")


def share(part: Forget | Remind, *names: str) -> None:
    for name in names:
        if not 0 < getattr(part, name) <= 1:
            raise ValueError(f"Recipe: {name} must be a share in (0, 1], got {getattr(part, name)}.")


def one_of(part: Forget | Remind, name: str, *choices: str) -> None:
    if getattr(part, name) not in choices:
        raise ValueError(f"Recipe: {name} must be one of {choices}, got {getattr(part, name)!r}.")
