"""Pieces of the method exchanged from outside, by `choose=`, `adapt=` and `align=`: what is each of them worth?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd
import torch

from forgetkit.alignment import align, statistics
from forgetkit.evaluation import TARGET
from forgetkit.lora import adaptable
from forgetkit.models.clip import Clip, autocast
from forgetkit.recipe import Forget, Recipe
from forgetkit.subgroups import Splits

# What a recipe becomes without one of its parts; a name without a dot means every stage that has it.
ABLATIONS: dict[str, dict] = {
    "fisher": {},
    "alignment": {"remind.align_steps": 0},
    "distillation": {"remind.distill": 0.0, "remind.feature": 0.0, "remind.distill_forget": 0.0},
    "ema": {"remind.ema_decay": 0.0},
    "soup": {"restore.alphas": (1.0,), "restore.shares": ()},
    "share": {"restore.shares": ()},  # of stage 1's model in the soup
    "late layers": {"trainable_fraction": 1.0},
    "raw images": {"remind.contrastive_on": "aligned"},
    "guard": {
        "remind.guard": 0.0,
        "remind.distill_forget": 0.0,
        "remind.distill_without_target": False,
        "remind.mmd": 0.0,
    },
    "mmd": {"remind.mmd": 0.0},
    "wide margin": {"margin": 2.0, "restore.min_alpha": 0.0},  # and the soup's end, which came with it
    "lora": {},
}
# Parts that the published method does not have.
UNPUBLISHED = ("share", "late layers", "raw images", "guard", "mmd", "wide margin")


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


def random_layers(clip: Clip, sets: Splits, recipe: Forget) -> tuple[list[str], pd.DataFrame]:
    """For `choose=`: the recipe's k of the layers that may change, drawn at random, and an empty table."""
    allowed = adaptable(clip.model.visual, recipe.trainable_fraction)
    order = torch.randperm(len(allowed), generator=torch.Generator().manual_seed(recipe.seed))
    return [allowed[i] for i in order[: recipe.k]], pd.DataFrame()


def whole_weights(tower: torch.nn.Module, names, rank: int, generator=None) -> list[torch.nn.Parameter]:
    """For `adapt=`: the named weights themselves are trained, without adapters."""
    tower.requires_grad_(False)
    return [tower.get_parameter(name).requires_grad_() for name in names]


PIECES: dict[str, dict[str, Callable]] = {"fisher": {"choose": random_layers}, "lora": {"adapt": whole_weights}}


@torch.no_grad()
def layernorm_alignment(clip: Clip, sets: Splits, batch: int = 100) -> Callable:
    """For `align=`: alignment for a ViT, to the LayerNorm inputs of the calibration images, the target's left out.

    Their statistics are taken over images and tokens. Ours, as a substitute: the paper reports no ViT, and LayerNorm
    remembers no pre-training data, only these images.
    """
    tower = clip.model.visual
    layers = [name for name, module in tower.named_modules() if isinstance(module, torch.nn.LayerNorm)]
    batches = torch.cat([part.images for name, part in sets.calibration.items() if name != TARGET]).split(batch)
    found = []
    for x in batches:
        with statistics(tower, layers) as seen, autocast(clip.device):
            tower(x)
        found.append(seen)
    share = torch.tensor([len(x) for x in batches], device=clip.device) / sum(map(len, batches))
    goal = {}
    for name in layers:
        means, stds = (torch.stack([seen[name][i] for seen in found], 1) for i in (0, 1))  # (channels, batches) each
        mean = means @ share
        goal[name] = mean, ((stds.square() + (means - mean[:, None]).square()) @ share).sqrt()
    return partial(align, goal=goal)
