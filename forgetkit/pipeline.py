"""The tutorial's sets, and the three stages in a row."""

from __future__ import annotations

from functools import lru_cache

from .clips import Clip, batch_norms
from .data import load_parts
from .forget import forget
from .recipe import Recipe
from .remind import remind
from .soup import restore
from .subgroups import Splits, Subgroup, split

# Sets that are only ever evaluated, by prompt: no stage sees one of their images.
ZERO_SHOT = ("fashion", "quickdraw", "emoji")
_parts = lru_cache(maxsize=None)(load_parts)


def tutorial_sets(target: str = "cat", seed: int = 0, **sizes: int) -> Splits:
    """CIFAR-10 with `target` to forget and its family (animals or vehicles) to keep; the other sets as columns.

    sizes: `n_forget`, `n_retain`, `n_calibration` as in `split`. Raises DataError: unknown target, data not to be had.
    """
    subgroup = Subgroup.within(target)
    zero_shot = {name: _parts(name) for name in ZERO_SHOT}
    return split(_parts("cifar10"), subgroup, zero_shot=zero_shot, seed=seed, **sizes)


def unlearn(clip: Clip, sets: Splits, recipe: Recipe) -> list[Clip]:
    """Forget, remind, restore: the models [original, forget, remind, restore], in this order."""
    if recipe.align_steps:
        batch_norms(clip.model)  # told now, not after stage 1
    head = clip.head(sets.classes, sets.prompts)
    forgotten = forget(clip, sets, recipe, head)
    reminded = remind(forgotten, clip, sets, recipe, head)
    restored = restore(reminded, clip, sets, recipe, head)
    return [clip, forgotten, reminded, restored]
