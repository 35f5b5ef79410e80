"""Every hyper-parameter once, with its reason.

`Recipe.paper()` follows the published description as far as it is known; each value that the paper does not
give is our guess, marked (guess). `Recipe.default()` is ours, chosen on validation images; docs/method.md says how.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Recipe:
    name: str = "default"
    seed: int = 0  # adapters' init and the order of batches; the sets have a seed of their own

    # Adapters
    last: float = 0.35  # share of the layers, from the output, that may change: early ones serve every image
    k: int = 4  # of those, how many stage 1 adapts, by relative Fisher information
    choose: str = "fisher"  # the k layers: by relative Fisher information, or drawn at "random", for comparison
    rank: int = 8  # 0: no adapters, the weights themselves are trained, for comparison
    alpha: float = 16.0  # LoRA's scale is alpha / rank
    fisher_samples: int = 200  # images of each set the Fisher information is averaged over

    # Stage 1: forget
    forget_loss: str = "hinge"  # "similarity" is the paper's, without a floor; "hinge" ends where its work is done
    forget_steps: int = 200  # at most; the stopping rule ends it long before
    forget_lr: float = 3e-4
    forget_batch: int = 64
    forget_stop: float | None = 1.0  # stop when at most so many percent of D_f are still recognised; None: never
    forget_spare: float | None = 50.0  # ... or less than so many percent of the siblings known at first; None: never
    forget_check: int = 2  # steps between two looks at the stopping rules: each step past them is damage

    # Stage 2: remind
    align_steps: int = 15  # most of the fall, in seconds; by 40 every layer's term has fallen. 0: no alignment
    align_layernorm: bool = False  # where there is no BatchNorm, to LayerNorm inputs: twice the time, nothing gained
    align_lr: float = 0.05
    align_bound: float = 0.5  # |delta| in normalised pixels (one is about a quarter of the grey scale)
    remind_layers: str = "all"  # "all" adaptable weights can undo side effects; "same": only the k of stage 1
    remind_mirrored: bool = True  # retain and forget images mirrored, too: twice as many to learn from
    remind_steps: int = 150  # losses are flat by then
    remind_lr: float = 5e-3  # the best of docs/results/settings.csv
    remind_lr_end: float = 0.1  # falls linearly to this share of it: at a constant rate, a late step may still slip
    remind_batch: int = 48  # of each kind of image; 64 is no better
    contrastive_weight: float = 1.0
    contrastive_on: str = "raw"  # retain images as they are, or "aligned" as published: beside a guard, a short cut
    distill_weight: float = 1.0  # class distillation on the retain images, raw and aligned
    distill_without_target: bool = True  # remove the target's text from student and teacher
    feature_weight: float = 200.0  # feature distillation on retain and classless images; 1 - cos is small
    n_noise: int = 200  # noise images aligned to the BN statistics
    n_abstract: int = 400  # abstractions of retain images: inverted, edges, grey, blended
    guard_weight: float = 3.0  # hinge on D_f that keeps the target text below the best other
    guard_margin: float = 2.0  # logits
    rename_weight: float = 1.0  # class distillation on D_f with the target's text removed: what else is it?
    ema_decay: float = 0.95  # averages over some 20 steps

    # The machine: no influence on the result but rounding
    micro_batch: int | None = None  # images whose activations are kept at once; None: a whole batch where it fits
    compile: bool = False  # torch.compile the trained tower: a minute to compile, worth it for thousands of steps

    # Stage 3: restore
    alphas: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(21))
    soup_target_limit: float | None = 2.0  # percent of targets that may be recognised; None: whatever scores best

    def __post_init__(self):
        counts = ("k", "fisher_samples", "forget_steps", "forget_batch", "forget_check", "remind_batch", "micro_batch")
        for name in counts:
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"Recipe: {name} must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.last <= 1:
            raise ValueError(f"Recipe: last must be a share of the layers in (0, 1], got {self.last}.")
        if self.rank < 0:
            raise ValueError(f"Recipe: rank must be at least 0, got {self.rank}.")
        choices_of = {
            "choose": ("fisher", "random"), "forget_loss": ("similarity", "hinge"), "remind_layers": ("same", "all"),
            "contrastive_on": ("raw", "aligned"),
        }  # fmt: skip
        for name, choices in choices_of.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"Recipe: {name} must be one of {choices}, got {getattr(self, name)!r}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"Recipe: ema_decay must lie in [0, 1), got {self.ema_decay}.")
        if not self.alphas or not all(0 <= a <= 1 for a in self.alphas):
            raise ValueError(f"Recipe: alphas must be coefficients in [0, 1], at least one, got {self.alphas}.")

    @classmethod
    def paper(cls, **changes) -> Recipe:
        """Published: relative Fisher, LoRA, similarity loss, alignment, contrastive loss, distillation, EMA, soup."""
        published = cls(
            name="paper",
            last=1.0,
            k=8,  # (guess)
            forget_loss="similarity",
            forget_spare=None,
            forget_stop=1.0,  # (guess) the loss has no floor, and without a stop nothing is left to remind
            remind_layers="same",  # (guess)
            remind_mirrored=False,
            remind_steps=100,  # (guess)
            contrastive_on="aligned",
            remind_batch=64,  # (guess)
            remind_lr=3e-4,  # (guess) the best of docs/results/settings.csv, as is k
            feature_weight=0.0,  # (guess) distillation on class probabilities of the retain images only
            distill_without_target=False,  # (guess)
            n_noise=0,
            n_abstract=0,
            guard_weight=0.0,
            soup_target_limit=None,  # (guess) the best calibration Score
        )
        return replace(published, **changes)

    @classmethod
    def default(cls, **changes) -> Recipe:
        return replace(cls(), **changes)

    def read_by(self, stage: str) -> dict:
        """The values that a stage ("forget", "remind", "restore") reads, by name: what its result depends on."""
        later = ("alphas", "soup_")
        second = ("align_", "remind_", "contrastive_", "distill_", "feature_", "n_", "guard_weight", "rename_", "ema_")
        values = {name: value for name, value in asdict(self).items() if name != "name"}
        if stage == "restore":
            return {name: value for name, value in values.items() if name.startswith(later)}
        unread = (*later, *(second if stage == "forget" else ("forget_",)))
        return {name: value for name, value in values.items() if not name.startswith(unread)}

    @classmethod
    def named(cls, name: str, **changes) -> Recipe:
        """`default` or `paper`; raises ValueError for another name."""
        if name not in ("default", "paper"):
            raise ValueError(f"There is no recipe {name!r}: choose 'default' or 'paper'.")
        return getattr(cls, name)(**changes)
