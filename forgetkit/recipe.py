"""Every hyper-parameter once, with its reason: a dataclass a stage, and `Recipe`, which holds the three.

`Recipe.paper()` follows what third-party summaries of the paper report; what they do not give, we searched or guessed.
`Recipe.default()` is ours, chosen on validation images; docs/method.md says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

Whole = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**6)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Rate = Annotated[Finite, Field(gt=0, le=10)]
Weight = Annotated[Finite, Field(ge=0, le=10**6)]
Share = Annotated[Finite, Field(gt=0, le=1)]
Percent = Annotated[Finite, Field(ge=0, le=100)]
Alpha = Annotated[Finite, Field(ge=0, le=1)]
# By name, what a value of a dataclass must be, as its annotation says.
rules = cache(lambda part: {n: TypeAdapter(hint) for n, hint in get_type_hints(part, include_extras=True).items()})


class Checked:
    """A dataclass whose values are what they are said to be; raises ValueError, naming all that are not."""

    def __post_init__(self):
        wrong, part = [], type(self).__name__.lower()
        where = "" if part == "recipe" else f"{part}."
        for name, rule in rules(type(self)).items():
            try:
                object.__setattr__(self, name, rule.validate_python(getattr(self, name)))
            except ValidationError as error:
                why = error.errors()[0]["msg"].replace("Input should", "must").replace("Tuple should", "must")
                wrong.append(f"{where}{name} {why}, got {getattr(self, name)!r}")
        if wrong:
            raise ValueError(f"Recipe: {'; '.join(wrong)}.")


@dataclass(frozen=True)
class Forget(Checked):
    """Stage 1."""

    seed: Whole = 0  # of the adapters' start and the order of batches; the sets have a seed of their own
    trainable_fraction: Share = 0.35  # of the layers, from the output, that may change: early ones serve every image
    k: Count = 4  # of those, how many are adapted, by relative Fisher information
    fisher_samples: Count = 200  # images of each set over which the Fisher information is averaged
    rank: Count = 8  # of the adapters
    loss: Literal["hinge", "similarity"] = "hinge"  # ends where its work is done; the paper's similarity has no floor
    margin: Weight = 4.0  # of the hinge, in logits: images not seen scatter around the decision boundary
    steps: Whole = 0  # at most, as the stopping rule ends it before; 0: no stage 1, whose damage stage 2 has to repair
    embedding_step: Share = 0.0007  # how far a random step moves embeddings of kept images; the rate follows from it
    batch: Count = 64
    stop: Percent | None = 1.0  # stop when at most so many percent of D_f are still recognised; None: never
    min_retain: Percent | None = 50.0  # roll back where fewer percent of the siblings known at first are; None: never
    drift: Weight | None = 0.2  # roll back past this mean 1 - cos of kept images; None: never


@dataclass(frozen=True)
class Remind(Checked):
    """Stage 2."""

    seed: Whole = 0
    trainable_fraction: Share | None = 0.02  # of the layers: the last one alone; None: the k layers of stage 1
    rank: Count = 32  # 8 holds less where siblings share the target's label
    align_steps: Whole = 0  # of retain images to BatchNorm's statistics; 0: they come as they are, mirrored and cropped
    crops: Whole = 2  # random ones of each image that is not aligned: few images are to stand for many
    steps: Count = 150  # losses are flat by then
    embedding_step: Share = 0.003  # as in stage 1: how far a random step moves embeddings of kept images
    drift: Weight | None = 0.05  # roll back past this, and past twice what stage 1 left; None: never
    batch: Count = 48  # of each pool of images; 64 is no better
    distill: Weight = 1.0  # class distillation on retain and forget images; the contrastive loss weighs 1
    feature: Weight = 400.0  # feature distillation on retain and classless images; 1 - cos is small
    n_abstract: Whole = 800  # images made of retain images (`synthetic`): they hold what nobody shows
    guard: Weight = 3.0  # hinge on D_f that keeps the target's text below the best other; with it, no teacher names it
    margin: Weight = 3.0  # of that hinge, in logits: less leaves more of the target, more costs siblings
    mmd: Weight = 30.0  # squared MMD of D_f and siblings: without it, the target is renamed only
    ema_decay: Annotated[Finite, Field(ge=0, lt=1)] = 0.0  # of the average over steps; 0: the last weights


@dataclass(frozen=True)
class Restore(Checked):
    """Stage 3."""

    alphas: Annotated[tuple[Alpha, ...], Field(min_length=1)] = tuple(i / 10 for i in range(11))
    strengths: tuple[Weight, ...] = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)  # of the plane edit, in logits; (): none


@dataclass(frozen=True)
class Recipe(Checked):
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
        """As reported: relative Fisher, LoRA, similarity loss, alignment, contrastive loss, distillation, EMA, soup.

        Values that no summary gives are the best of sixty settings (docs/results/settings.csv), or marked (guess).
        """
        forget = Forget(
            trainable_fraction=1.0,
            k=8,
            loss="similarity",
            steps=200,  # (guess)
            embedding_step=0.0004,
            stop=1.0,  # the loss has no floor, and without a stop nothing is left to remind
            min_retain=None,
            drift=None,
        )
        remind = Remind(
            trainable_fraction=0.35,
            rank=8,
            steps=50,
            embedding_step=0.0004,
            drift=None,
            batch=64,  # (guess)
            align_steps=5,
            crops=0,
            ema_decay=0.95,
            distill=0.3,
            feature=50.0,  # distillation on retain images only
            n_abstract=0,
            guard=0.0,  # so that the teacher keeps the target's text (guess)
            mmd=0.0,
        )
        restore = Restore(strengths=())
        return cls("paper", forget, remind, restore).changed(seed, **changes)

    @classmethod
    def named(cls, name: str, seed: int = 0, **changes: Mapping) -> Recipe:
        """`default` or `paper`, with values changed by stage; raises ValueError for another name."""
        if name not in ("default", "paper"):
            raise ValueError(f"There is no recipe {name!r}: choose 'default' or 'paper'.")
        return getattr(cls, name)(seed, **changes)

    def changed(self, seed: int | None = None, **changes: Mapping) -> Recipe:
        """The recipe with values changed by stage, and both trained stages on `seed` where it is given.

        Raises ValueError, with all of them at once, for stages and values that there are not, or that are wrong.
        """
        stages = ("forget", "remind", "restore")
        if wrong := [stage for stage, values in changes.items() if not isinstance(values, Mapping)]:
            raise ValueError(f'Recipe: {wrong[0]} takes values by name, as {wrong[0]}={{"steps": 60}}.')
        unknown = [stage for stage in changes if stage not in stages]
        unknown += [f"{s}.{name}" for s in stages for name in changes.get(s, {}) if not hasattr(getattr(self, s), name)]
        if unknown:
            raise ValueError(f"Recipe: there is no {', '.join(unknown)}; see forgetkit/recipe.py for what there is.")
        seeds = {} if seed is None else {"forget": {"seed": seed}, "remind": {"seed": seed}}
        parts, wrong = {}, []
        for stage in stages:
            try:
                parts[stage] = replace(getattr(self, stage), **{**seeds.get(stage, {}), **changes.get(stage, {})})
            except ValueError as error:
                wrong.append(str(error).removeprefix("Recipe: ").removesuffix("."))
        if wrong:
            raise ValueError(f"Recipe: {'; '.join(wrong)}.")
        return replace(self, **parts)
