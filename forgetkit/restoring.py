"""Stage 3, restoring: a model soup between the original and the unlearned weights.

    theta = alpha theta_f + (1 - alpha) theta_0

(Zhang et al., CVPR 2025, after Wortsman et al., *Robust fine-tuning of zero-shot models*, CVPR 2022.) alpha is
chosen on the calibration set D_m. Only floating-point *parameters and buffers* are blended; integer buffers such
as BatchNorm's step counter are left alone, and what is equal on both sides stays equal to the bit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch
from tqdm.auto import tqdm

from forgetkit.data.images import ImageSet
from forgetkit.evaluation import TARGET, Head, accuracies, interval, score
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip, Inputs
from forgetkit.models.prefix import shared
from forgetkit.recipe import Restore
from forgetkit.subgroups import ModelSets

log = logging.getLogger(__name__)


def soup(unlearned: torch.nn.Module, original: torch.nn.Module, alpha: float) -> dict[str, torch.Tensor]:
    """The state dict alpha * unlearned + (1 - alpha) * original; alpha = 0 and 1 return the ends exactly."""
    f, o = unlearned.state_dict(), original.state_dict()
    if f.keys() != o.keys() or any(f[k].shape != o[k].shape for k in f):
        raise ValueError("The two models differ in architecture, so their weights cannot be blended.")
    blended = {}
    for key in f:
        if not f[key].is_floating_point() or alpha == 1 or torch.equal(f[key], o[key]):
            blended[key] = f[key].clone()
        elif alpha == 0:
            blended[key] = o[key].clone()
        else:
            blended[key] = alpha * f[key] + (1 - alpha) * o[key]
    return blended


def path(
    unlearned: Clip, original: Clip, columns: Mapping[str, ImageSet | Inputs], alphas: Sequence[float], head: Head,
) -> pd.DataFrame:  # fmt: skip
    """Accuracies and Score along the path from the original (alpha 0), one row an alpha.

    columns: `Inputs` are preprocessed once, and go once through the blocks that both models share; an image set is, and
    does, anew at every alpha. head: as in `accuracies`.
    """
    mixed, prefix = unlearned.copy(), shared([unlearned.model.visual, original.model.visual])
    columns = {
        name: replace(part, images=original.features(part.images, prefix)) if isinstance(part, Inputs) else part
        for name, part in columns.items()
    }
    reference = accuracies(original, columns, head)
    rows = []
    for alpha in tqdm(alphas, desc="soup", leave=False):
        mixed.model.load_state_dict(soup(unlearned.model, original.model, alpha))
        found = accuracies(mixed, columns, head)
        rows.append({"alpha": alpha, **found, "score": score(found, reference)})
    return pd.DataFrame(rows)


def choose_alpha(table: pd.DataFrame, target_limit: float | None, n_target: int, min_alpha: float = 0.0) -> float:
    """The alpha that restores most while the target surely stays within the limit (percent).

    That is the smallest, from `min_alpha` on, at which and above which the target is within the limit. D_m has no image
    of the sets that nobody shows, so its Score cannot tell what a smaller alpha brings back of them, and it asks for
    names, so it cannot see that neighbours or a probe find more of the target: hence `min_alpha`. Of n_target
    calibration images of the target, hits recognised mean an accuracy of at most about (hits + 3) / n_target (the rule
    of three, 95 %): that is what must be within the limit, so that few images prove nothing. Where no alpha meets it,
    the lowest target accuracy decides. Without a limit it is the best calibration Score. Ties go to the larger alpha.
    """
    table = table.sort_values("alpha", ascending=False)
    if target_limit is None:
        rated = table["score"].fillna(0)  # NaN where the original knew nothing of the target
        return float(table["alpha"][rated.idxmax()])
    within = (table["target"] + 300 / n_target <= target_limit).cummin() & (table["alpha"] >= min_alpha)
    if not within.any():
        return float(table["alpha"][table["target"].idxmin()])
    return float(table.loc[within, "alpha"].min())


@stage(Restore)
def restore(unlearned: Clip, original: Clip, sets: ModelSets, recipe: Restore) -> Clip:
    """Stage 3: blend the unlearned model with the original, alpha chosen on the calibration set D_m.

    sets: `sets.on(original)`. The record gains `soup` (one row an alpha) and `alpha`. A warning says what too few
    images prove.
    """
    table = path(unlearned, original, sets.calibration, recipe.alphas, sets.head)
    alpha = choose_alpha(table, recipe.target_limit, n := len(sets.calibration[TARGET]), recipe.min_alpha)
    if recipe.target_limit and n < (needed := 300 / recipe.target_limit) and len(recipe.alphas) > 1:
        log.warning(
            f"Stage 3 restores little (alpha = {alpha:g}): {n} images of the target calibrate. If none is recognised,"
            f" up to {interval(0, n)[1]:.0f} % of others may be. Give {needed:.0f} or more, or raise target_limit."
        )
    restored = unlearned.copy("restore", alpha=alpha, soup=table.to_dict("records"))
    restored.model.load_state_dict(soup(unlearned.model, original.model, alpha))
    return restored
