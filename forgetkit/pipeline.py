"""The three stages in a row."""

from __future__ import annotations

from .cache import cached
from .clips import Clip, batch_norms
from .forget import forget
from .recipe import Recipe
from .remind import remind
from .soup import restore
from .subgroups import Splits


def unlearn(clip: Clip, sets: Splits, recipe: Recipe, keep: bool = False) -> list[Clip]:
    """Forget, remind, restore: the models [original, forget, remind, restore], in this order.

    keep: read the stages that were computed before from the cache, and keep the others there.
    """
    if recipe.align_steps:
        batch_norms(clip.model)  # told now, not after stage 1
    head = clip.head(sets.classes, sets.prompts)
    first, second, third = [cached(stage) if keep else stage for stage in (forget, remind, restore)]
    forgotten = first(clip, sets, recipe, head)
    reminded = second(forgotten, clip, sets, recipe, head)
    restored = third(reminded, clip, sets, recipe, head)
    return [clip, forgotten, reminded, restored]
