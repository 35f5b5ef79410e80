"""The three stages in a row."""

from __future__ import annotations

from pathlib import Path

from forgetkit.alignment import norm_layers
from forgetkit.store import cached
from forgetkit.models.clip import Clip
from forgetkit.forgetting import forget
from forgetkit.recipe import Recipe
from forgetkit.reminding import remind
from forgetkit.restoring import restore
from forgetkit.subgroups import Splits


def unlearn(
    clip: Clip, sets: Splits, recipe: Recipe, keep: bool = False, folder: str | Path | None = None
) -> list[Clip]:
    """Forget, remind, restore: the models [original, forget, remind, restore], in this order.

    keep:   read the stages that were computed before, and keep the others as soon as each is done, so that a run that
            died goes on after its last finished stage
    folder: where they are kept (and that they are); `stages` in the data cache unless named
    """
    if recipe.align_steps and recipe.align_layernorm:
        norm_layers(clip.model.visual)  # told now, not after stage 1
    head = clip.head(sets.classes, sets.prompts)
    keep, folder = keep or folder is not None, Path(folder) if folder else None
    first, second, third = [cached(stage, folder) if keep else stage for stage in (forget, remind, restore)]
    forgotten = first(clip, sets, recipe, head)
    reminded = second(forgotten, clip, sets, recipe, head)
    restored = third(reminded, clip, sets, recipe, head)
    return [clip, forgotten, reminded, restored]
