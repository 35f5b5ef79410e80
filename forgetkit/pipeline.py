"""The three stages in a row."""

from __future__ import annotations

from collections.abc import Callable

from forgetkit.alignment import align
from forgetkit.fisher import choose_layers
from forgetkit.forgetting import forget
from forgetkit.lora import adapt
from forgetkit.models.clip import Clip
from forgetkit.recipe import Recipe
from forgetkit.reminding import remind, reminding_terms
from forgetkit.restoring import restore
from forgetkit.subgroups import ModelSets, Splits


def unlearn(
    clip: Clip, sets: Splits | ModelSets, recipe: Recipe, cache=None, *, choose: Callable = choose_layers,
    adapt: Callable = adapt, align: Callable = align, terms: Callable = reminding_terms,
) -> list[Clip]:  # fmt: skip
    """Forget, remind, restore: the models [original, forget, remind, restore], in this order.

    sets: as they are, or `sets.on(clip)`. cache: a `store.Cache`, from which stages that were computed before are read,
    and in which each is kept as soon as it is done, so that a run that died goes on after its last finished stage.
    choose, adapt, align, terms: pieces of the method, as the stages take them.
    """
    sets = sets.on(clip) if isinstance(sets, Splits) else sets
    stage1 = forget(clip, sets, recipe.forget, choose=choose, adapt=adapt, cache=cache)
    reminded = remind(stage1, clip, sets, recipe.remind, adapt=adapt, align=align, terms=terms, cache=cache)
    restored = restore(reminded, clip, sets, recipe.restore, cache=cache)
    return [clip, stage1, reminded, restored]
