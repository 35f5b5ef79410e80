"""Stage 3, restoring: a model soup between the original and the unlearned weights.

    theta = alpha theta_f + (1 - alpha) theta_0

(Zhang et al., CVPR 2025, after Wortsman et al., *Robust fine-tuning of zero-shot models*, CVPR 2022.) alpha is
chosen on the calibration set D_m. Only floating-point *parameters and buffers* are blended; integer buffers such
as BatchNorm's step counter are left alone, and what is equal on both sides stays equal to the bit.

Where target and siblings bear one label, stage 2 may bring a part of the target back along with the siblings, and alpha
leads only towards the original. `default` then looks to the other side, at a share s of stage 1's weights (ours):

    theta = (1 - s) theta_f + s theta_1
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
from forgetkit.models.body import shared
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip, Inputs, ModelError
from forgetkit.recipe import Restore
from forgetkit.subgroups import Splits

log = logging.getLogger(__name__)
WORTH = 1.0  # points of the calibration Score: a share that gains less is left to chance, and a smaller one is taken


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
    reference: Mapping[str, float] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Accuracies and Score along the path from the original (alpha 0), one row an alpha.

    columns: `Inputs` are preprocessed once, and go once through the blocks that both models share; an image set is, and
    does, anew at every alpha. head: as in `accuracies`. reference: what the Score compares to, if not `original`.
    """
    mixed, cut = unlearned.copy(), shared([unlearned.model.visual, original.model.visual])
    columns = {
        name: replace(part, images=original.features(part.images, cut)) if isinstance(part, Inputs) else part
        for name, part in columns.items()
    }
    reference = reference or accuracies(original, columns, head)
    rows = []
    for alpha in tqdm(alphas, desc="soup", leave=False):
        mixed.model.load_state_dict(soup(unlearned.model, original.model, alpha))
        found = accuracies(mixed, columns, head)
        rows.append({"alpha": alpha, **found, "score": score(found, reference)})
    return pd.DataFrame(rows)


def choose_alpha(table: pd.DataFrame, target_limit: float | None, n_target: int, least: float = 0.0) -> float:
    """The alpha that restores most while the target surely stays within the limit (percent).

    That is the smallest, from `least` on, at which and above which the target is within the limit. D_m has no image of
    the sets that nobody shows, so its Score cannot tell what a smaller alpha brings back of them, and it asks for
    names, so it cannot see that neighbours or a probe find more of the target: hence `least`. Of n_target calibration
    images of the target, hits recognised mean an accuracy of at most about (hits + 3) / n_target (the rule of three,
    95 %): that is what must be within the limit, so that few images prove nothing. Where no alpha meets it, the lowest
    target accuracy decides. Without a limit it is the best calibration Score. Ties go to the larger alpha.
    """
    table = table.sort_values("alpha", ascending=False)
    if target_limit is None:
        rated = table["score"].fillna(0)  # NaN where the original knew nothing of the target
        return float(table["alpha"][rated.idxmax()])
    within = (table["target"] + 300 / n_target <= target_limit).cummin() & (table["alpha"] >= least)
    if not within.any():
        return float(table["alpha"][table["target"].idxmin()])
    return float(table.loc[within, "alpha"].min())


def choose_share(table: pd.DataFrame, siblings: float, spare: float) -> float:
    """The smallest share of stage 1's model whose calibration Score is within `WORTH` of the best.

    table: a row a share, the share as `alpha`, 0 among them. Only those count, beside 0, that leave at least `spare`
    percent of `siblings`, the accuracy of the original.
    """
    allowed = table[(table["alpha"] == 0) | (table["retain"] >= siblings * spare / 100)]
    rated = allowed["score"].fillna(0)  # NaN where the original knew nothing of the target
    return float(allowed.loc[rated >= rated.max() - WORTH, "alpha"].min())


@stage
def restore(unlearned: Clip, original: Clip, sets: Splits, recipe: Restore, forgotten: Clip | None = None) -> Clip:
    """Stage 3: blend the unlearned model with the original, alpha chosen on the calibration set D_m.

    sets: `sets.on(original)`; forgotten: stage 1's model. Where of the target's images in D_m more than
    `recipe.target_limit` percent are recognised in the unlearned model, and `forgotten` is given, that is blended in
    instead of the original, by the share that D_m asks for, if any.
    The record gains `soup` (one row an alpha), `alpha`; and, where shares were tried, `shares` (one row each), `share`.
    A warning says what too few images prove. Raises ModelError where `forgotten` is not stage 1's.
    """
    if forgotten is not None and forgotten.record.get("stage") != "forget":
        raise ModelError(f"restore(..., forgotten): {forgotten.name!r} is not stage 1's result: hand that over.")
    table = path(unlearned, original, sets.calibration, recipe.alphas, sets.head)
    alpha = choose_alpha(table, recipe.target_limit, n := len(sets.calibration[TARGET]), recipe.min_alpha)
    if recipe.target_limit and n < (needed := 300 / recipe.target_limit) and len(recipe.alphas) > 1:
        log.warning(
            f"Stage 3 restores little (alpha = {alpha:g}): {n} images of the target calibrate. If none is recognised,"
            f" up to {interval(0, n)[1]:.0f} % of others may be. Give {needed:.0f} or more, or raise target_limit."
        )
    ends, found = (unlearned, original, alpha), {}
    left = table.loc[table["alpha"] == 1, "target"]
    if forgotten is not None and recipe.shares and recipe.target_limit is not None and any(left > recipe.target_limit):
        known = accuracies(original, sets.calibration, sets.head)
        shares = path(forgotten, unlearned, sets.calibration, (0.0, *recipe.shares), sets.head, known)
        share = choose_share(shares, known["retain"], recipe.min_retain)
        found = {"shares": shares.rename(columns={"alpha": "share"}).to_dict("records"), "share": share}
        if share:
            ends, alpha = (forgotten, unlearned, share), 1.0
    restored = unlearned.copy("restore", alpha=alpha, soup=table.to_dict("records"), **found)
    restored.model.load_state_dict(soup(ends[0].model, ends[1].model, ends[2]))
    return restored
