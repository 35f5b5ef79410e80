"""Calls of the stages: run reproducibly, or refused in a sentence, before any work."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping

import torch

from forgetkit.models import ModelError
from forgetkit.models.clip import Clip

HALFWAY = ("forget", "remind")  # what makes a model that is to be worked on: never the original of a call


def stage(function: Callable[..., Clip]) -> Callable[..., Clip]:
    """Check a stage's arguments, run it reproducibly (cuDNN neither tunes nor races), note what it was."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def timed(*args, **kwargs) -> Clip:
        given = signature.bind(*args, **kwargs).arguments
        original = check_call(function, given)
        start = time.perf_counter()
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
            clip = function(*args, **kwargs)
        of, gone = given["sets"].subgroup, (*forgotten_before(original), *given["sets"].previous_targets)
        clip.record["subgroup"] = {"target": of.target, "siblings": [*of.siblings]}
        clip.record["previous_targets"] = [name for name in dict.fromkeys(gone) if name != of.target]
        clip.record.update(stage=function.__name__, seconds=time.perf_counter() - start)
        return clip

    return timed


def check_call(function: Callable, given: Mapping) -> Clip:
    """Raise ValueError or ModelError for a stage's arguments that are not as its parameters say; returns the original.

    That is: models that are none, or in the wrong order; sets that are not on the model, of another target than the
    model forgot, or with siblings that it forgot before; another part of the recipe than the stage's own.
    """
    name, kinds = function.__name__, function.__annotations__
    order = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    order = f"{name}({', '.join(order)})"
    models = [value for key, value in given.items() if kinds.get(key) == "Clip"]
    further = [value for key, value in given.items() if kinds.get(key) == "Clip | None" and value is not None]
    for value in (*models, *further):
        if not isinstance(value, Clip):
            raise ValueError(f"{order} takes a model as load_clip makes it, got {type(value).__name__}.")
    original, sets, recipe = models[-1], given.get("sets"), given.get("recipe")
    if "sets" in given:
        check_sets(sets, original)
        check_earlier(sets, original)
    if "recipe" in given and type(recipe).__name__ != kinds["recipe"]:
        raise ValueError(f"{name} takes its own part of a recipe, recipe.{name}, got {type(recipe).__name__}.")
    if len(models) > 1:
        check_order(models[0], original, order)
    for unlearned in (*models[:-1], *further):
        forgot = unlearned.record.get("subgroup") or {}
        if forgot.get("target", sets.subgroup.target) != sets.subgroup.target:
            raise ValueError(
                f"{unlearned.name!r} was made to forget {forgot['target']!r}, and these sets are of"
                f" {sets.subgroup.target!r}: hand over the sets of stage 1."
            )
    return original


def check_sets(sets, clip: Clip) -> None:
    """Raise ValueError unless `sets` are what this model takes: `sets.on(clip)`."""
    if not hasattr(sets, "subgroup"):
        raise ValueError(
            f"Stages take the sets that split draws, on the model (sets.on(clip)), got {type(sets).__name__}."
        )
    if sets.head is None or tuple(sets.forget.images.shape[2:]) != clip.image_shape:
        raise ValueError("Stages take the sets as the model takes them: hand over sets.on(clip).")
    width = getattr(clip.model.visual, "output_dim", sets.head.shape[1])
    if sets.head.shape[1] != width or sets.head.device.type != clip.device.type:
        raise ValueError("These sets are on another model (width or device): hand over sets.on(clip) of this one.")


def forgotten_before(clip: Clip) -> list[str]:
    """What the model was made to forget, as far as its record says, the last at the end."""
    last = (clip.record.get("subgroup") or {}).get("target")
    return [*(clip.record.get("previous_targets") or ()), *([last] if last else [])]


def check_earlier(sets, original: Clip) -> None:
    """Raise ValueError where the siblings would teach the model what it was made to forget before."""
    if again := [name for name in forgotten_before(original) if name in sets.subgroup.siblings]:
        names = ", ".join(map(repr, again))
        raise ValueError(
            f"This model was made to forget {names}: draw the sets with previous_targets=({names},), or it returns."
        )


def check_order(unlearned: Clip, original: Clip, order: str) -> None:
    """Raise ModelError where the second model is what a stage made of the first, or both are the same."""
    if unlearned is original or (
        original.record.get("stage") in HALFWAY and unlearned.record.get("stage") not in HALFWAY
    ):
        raise ModelError(f"{order}: the first model is stage 1's result (or a later one's), the second the original.")


def check_evaluated(models, columns, head=None) -> None:
    """Raise ValueError or ModelError for what `evaluate` cannot compare; models come with the original first."""
    if isinstance(models, Clip) or not len(models) or not all(isinstance(clip, Clip) for clip in models):
        raise ValueError(
            "The models to evaluate are a list, as load_clip and the stages make them, the original first."
        )
    if models[0].record.get("stage") and any("stage" not in clip.record for clip in models[1:]):
        raise ModelError("These models are in the wrong order: the original comes first, then the stages' results.")
    if not isinstance(columns, Mapping) or not columns:
        raise ValueError("The columns to evaluate are image sets by name, at least one: such as sets.test.")
    if empty := [name for name, part in columns.items() if not hasattr(part, "labels") or not len(part.labels)]:
        raise ValueError(f"The column {empty[0]!r} is no image set, or has no images: leave it out.")
    if isinstance(head, Mapping) and (lacking := set(columns) - set(head)):
        raise ValueError(f"There is no head for the column {min(lacking)!r}: give one for each, or one for all.")
