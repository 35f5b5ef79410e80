"""Calls of the stages: run reproducibly, or refused in a sentence before any work."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping

import torch

from forgetkit.models import ModelError
from forgetkit.models.checkpoints import check_finite
from forgetkit.models.clip import Clip

HALFWAY = ("forget", "remind")  # what makes a model that is to be worked on: never the original of a call


def stage(part: type) -> Callable[[Callable[..., Clip]], Callable[..., Clip]]:
    """Decorates a stage, a function (*models, sets, recipe, *, pieces) with its own `part` of a recipe.

    The arguments are checked; it runs reproducibly; what it was is noted in the record. With `cache=`, a `store.Cache`,
    its result is read from there, or kept.
    """

    def decorate(function: Callable[..., Clip]) -> Callable[..., Clip]:
        signature = inspect.signature(function)

        def compute(*args, **pieces) -> Clip:
            start = time.perf_counter()
            with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
                clip = function(*args, **pieces)
            *_, original, sets, _ = args
            gone = (*forgotten_before(original), *sets.previous_targets)
            for name in {*original.record} - {"source"}:  # what was measured of the model before is not of this one
                if name in clip.record and clip.record[name] is original.record[name]:
                    del clip.record[name]
            clip.record["subgroup"] = {"target": sets.subgroup.target, "siblings": [*sets.subgroup.siblings]}
            clip.record["previous_targets"] = [n for n in dict.fromkeys(gone) if n != sets.subgroup.target]
            clip.record.update(stage=function.__name__, seconds=time.perf_counter() - start)
            return clip

        @functools.wraps(function)
        def checked(*args, cache=None, **given) -> Clip:
            bound, usual = signature.bind(*args, **given), signature.parameters
            pieces = {name: piece for name, piece in bound.kwargs.items() if piece is not usual[name].default}
            check_call(function.__name__, part, bound)
            result = functools.partial(compute, *bound.args, **pieces)
            return result() if cache is None else cache.result(function, bound.args, pieces, result)

        return checked

    return decorate


def check_call(name: str, part: type, bound: inspect.BoundArguments) -> None:
    """Raise ValueError or ModelError for arguments of a stage, (*models, sets, recipe), that it cannot work with."""
    *models, sets, recipe = bound.args
    order = f"{name}({', '.join([*bound.arguments][: len(bound.args)])})"
    for value in models:
        if not isinstance(value, Clip):
            raise ValueError(f"{order} takes a model as load_clip makes it, got {type(value).__name__}.")
        check_computes(value)
        check_finite(value.name, value.model.state_dict())
    *unlearned, original = models
    check_sets(sets, original)
    for what, shown in {"D_f": sets.forget, "D_r": sets.retain, **sets.calibration}.items():
        if not all(rows.isfinite().all() for rows in shown.images.split(1000)):
            raise ValueError(f"{what} holds pixels that are NaN or infinite: read its images anew.")
    if again := ", ".join(repr(gone) for gone in forgotten_before(original) if gone in sets.subgroup.siblings):
        remedy = f"draw the sets with previous_targets=({again},), or it returns."
        raise ValueError(f"This model was made to forget {again}: {remedy}")
    if not isinstance(recipe, part):
        raise ValueError(f"{name} takes its own part of a recipe, recipe.{name}, got {type(recipe).__name__}.")
    for model in unlearned:
        stages = [clip.record.get("stage") for clip in (model, original)]
        if model is original or (stages[1] in HALFWAY and stages[0] not in HALFWAY):
            raise ModelError(f"{order}: the first model is stage 1's result or a later one's, the second the original.")
        forgot, now = (model.record.get("subgroup") or {}).get("target"), sets.subgroup.target
        if forgot not in (None, now):
            wrong = f"made to forget {forgot!r}, and these sets are of {now!r}"
            raise ValueError(f"{model.name!r} was {wrong}: hand over the sets of stage 1.")


def check_computes(clip: Clip) -> None:
    """Raise ModelError for a model in training mode, which changes as it looks at images, or not in float32."""
    if any(module.training for module in clip.model.modules()):
        raise ModelError(f"{clip.name!r} is in training mode, where looking at images changes it: clip.model.eval().")
    if wrong := {p.dtype for p in clip.model.parameters() if p.is_floating_point()} - {torch.float32}:
        kinds = ", ".join(str(dtype).removeprefix("torch.") for dtype in wrong)
        raise ModelError(f"{clip.name!r} has weights in {kinds}, too coarse to train: clip.model.float().")


def check_sets(sets, clip: Clip) -> None:
    """Raise ValueError unless `sets` are what this model takes: `sets.on(clip)`."""
    if not hasattr(sets, "subgroup"):
        raise ValueError(f"Stages take the sets that split draws, as sets.on(clip), got {type(sets).__name__}.")
    there = (*clip.image_shape, clip.device.type)
    fit = hasattr(sets, "head") and (*sets.forget.images.shape[2:], sets.head.device.type) == there
    if not fit or sets.head.shape[1] != getattr(clip.model.visual, "output_dim", sets.head.shape[1]):
        raise ValueError("These sets are on no model, or on another model: hand over sets.on(clip) of this one.")


def forgotten_before(clip: Clip) -> list[str]:
    """What the model was made to forget, as far as its record says, the last at the end."""
    last = (clip.record.get("subgroup") or {}).get("target")
    return [*(clip.record.get("previous_targets") or ()), *([last] if last else [])]


def check_evaluated(models, columns, head=None) -> None:
    """Raise ValueError or ModelError for what `evaluate` cannot compare; models come with the original first."""
    if isinstance(models, Clip) or not len(models) or not all(isinstance(clip, Clip) for clip in models):
        raise ValueError("Models to evaluate are a list, as load_clip and the stages make them, the original first.")
    for clip in models:
        check_computes(clip)
    if models[0].record.get("stage") and any("stage" not in clip.record for clip in models[1:]):
        raise ModelError("These models are in the wrong order: the original comes first, then the stages' results.")
    parts = columns.values() if isinstance(columns, Mapping) else ()
    if not parts or not all(hasattr(part, "labels") and len(part.labels) for part in parts):
        raise ValueError("The columns to evaluate are image sets by name, at least one, with images: as sets.test.")
    if isinstance(head, Mapping) and (lacking := set(columns) - set(head)):
        raise ValueError(f"There is no head for the column {min(lacking)!r}: give one for each, or one for all.")
