"""The three stages in a row."""

from __future__ import annotations

from collections.abc import Callable

from forgetkit.forgetting import forget
from forgetkit.models.clip import Clip
from forgetkit.recipe import Recipe
from forgetkit.reminding import remind
from forgetkit.restoring import restore
from forgetkit.subgroups import Splits


def unlearn(clip: Clip, sets: Splits, recipe: Recipe, wrap: Callable = lambda stage: stage) -> list[Clip]:
    """Forget, remind, restore: the models [original, forget, remind, restore], in this order.

    sets: as they are, or `sets.on(clip)`. wrap: what is put around each stage; with `store.kept`, stages that were
    computed before are read, and the others kept as soon as each is done, so that a run that died goes on after its
    last finished stage.
    """
    sets = sets.on(clip) if sets.head is None else sets
    forgotten = wrap(forget)(clip, sets, recipe.forget)
    reminded = wrap(remind)(forgotten, clip, sets, recipe.remind)
    restored = wrap(restore)(reminded, clip, sets, recipe.restore, forgotten)
    return [clip, forgotten, reminded, restored]
