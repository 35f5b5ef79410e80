"""The recipes without one of their parts, which is left out by a value or exchanged for another piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import torch

from forgetkit.lora import adaptable
from forgetkit.models.clip import Clip
from forgetkit.recipe import Forget, Recipe
from forgetkit.subgroups import ModelSets

# What a recipe becomes without one of its parts; a name without a dot means every stage that has it.
ABLATIONS: dict[str, dict] = {
    "fisher": {},
    "alignment": {"remind.align_steps": 0},
    "distillation": {"remind.distill": 0.0, "remind.feature": 0.0},
    "ema": {"remind.ema_decay": 0.0},
    "soup": {"restore.alphas": (1.0,)},
    "last layer": {"remind.trainable_fraction": 0.35},  # the last third instead
    "raw images": {"remind.align_steps": 15},  # aligned ones instead
    "crops": {"remind.crops": 0},
    "abstractions": {"remind.n_abstract": 0},
    "guard": {"remind.guard": 0.0, "remind.mmd": 0.0},  # and the teacher names it again
    "mmd": {"remind.mmd": 0.0},
    "direct start": {"forget.steps": 200},  # with stage 1, that is
    "plane edit": {"restore.strengths": ()},
    "lora": {},
}
# Parts that the published method does not have.
OURS = (
    "last layer", "raw images", "crops", "abstractions", "guard", "mmd", "direct start", "plane edit",
)  # fmt: skip


def by_stage(changes: Mapping[str, object]) -> dict[str, dict]:
    """{"remind.steps": 1, "rank": 2} as {"forget": {"rank": 2}, "remind": {"steps": 1, "rank": 2}, "restore": {}}.

    Raises ValueError for a name without a dot that no stage has; `Recipe` does for the others.
    """
    found: dict[str, dict] = {"forget": {}, "remind": {}, "restore": {}}
    for name, value in changes.items():
        stage, _, own = name.rpartition(".")
        stages = [stage] if stage else [s for s in found if hasattr(getattr(Recipe(), s), own)]
        if not stages or stages[0] not in found:
            raise ValueError(f"No stage of a recipe has {name!r}.")
        for stage in stages:
            found[stage][own] = value
    return found


def random_layers(clip: Clip, sets: ModelSets, recipe: Forget) -> tuple[list[str], pd.DataFrame]:
    """For `choose=`: the recipe's k of the layers that may change, drawn at random, and an empty table."""
    allowed = adaptable(clip.model.visual, recipe.trainable_fraction)
    order = torch.randperm(len(allowed), generator=torch.Generator().manual_seed(recipe.seed))
    return [allowed[i] for i in order[: recipe.k]], pd.DataFrame()


def whole_weights(tower: torch.nn.Module, names, rank: int, lora_alpha: float = 0.0, generator=None):
    """For `adapt=`: the named weights themselves are trained, without adapters; a list of them."""
    tower.requires_grad_(False)
    return [tower.get_parameter(name).requires_grad_() for name in names]


# What `unlearn` takes in the place of a part.
PIECES: dict[str, dict[str, Callable]] = {"fisher": {"choose": random_layers}, "lora": {"adapt": whole_weights}}
