"""Stage 3, restoring: a model soup between the original and the unlearned weights.

    theta = alpha theta_f + (1 - alpha) theta_0

(Zhang et al., CVPR 2025, after Wortsman et al., *Robust fine-tuning of zero-shot models*, CVPR 2022.) alpha is
chosen on the calibration set D_m. Only floating-point *parameters and buffers* are blended, and what is equal on both
sides stays equal to the bit. Where siblings share the target's label, stage 2 cannot give the name up: a plane edit
(`editing`) follows, its strength and shift chosen on D_m, D_f and D_r together.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch
from tqdm.auto import tqdm

from forgetkit.data.images import ImageSet
from forgetkit.editing import Plane, push, raw_embeddings, separating
from forgetkit.evaluation import TARGET, Head, accuracies, percent, score
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip, Inputs, ModelError
from forgetkit.models.prefix import joined, shared
from forgetkit.recipe import Restore
from forgetkit.subgroups import ModelSets

log = logging.getLogger(__name__)
RIDGE = 1.0  # of the plane, in mean variances
SHIFTS = (0.0, -0.5, 0.5, -1.0, 1.0, 1.5)  # in logits, tried at each strength
NEAR = 0.5  # percent of Score on D_m by which what is chosen may fall short of the best


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

    columns: `Inputs` go once through the blocks that both models share, an image set anew at every alpha.
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


def choose_alpha(table: pd.DataFrame) -> float:
    """The largest alpha whose Score on D_m is `NEAR` the best.

    Its Score cannot tell what a smaller alpha brings back of images that no stage sees, and it asks for names, while
    neighbours and a probe find the target again before its name is back.
    """
    return float(table.loc[nearly_best(table), "alpha"].max())


def nearly_best(table: pd.DataFrame) -> pd.Series:
    """Which rows' `score` is within `NEAR` of the best: of many Scores on few images, the best flatters."""
    scores = table["score"].fillna(0)  # NaN where the original knew nothing of the target
    return scores >= scores.max() - NEAR


def plane_edits(
    restored: Clip, original: Clip, sets: ModelSets, columns: Mapping[str, Inputs], strengths: Sequence[float],
    prefix: int,
) -> tuple[pd.DataFrame, Plane]:  # fmt: skip
    """What plane edits make of D_m (`columns`), D_f and D_r together, one row a strength and shift, and the plane.

    The plane is the original's, between D_f and D_r: the restored model's own tells less. D_m alone has few images of
    the target, and the best of many edits on few images flatters. prefix: of the columns, which both models share
    """
    columns, embedded = dict(columns), {}
    for name, known in ((TARGET, sets.forget), ("retain", sets.retain)):
        features = original.features(known.images, prefix)
        embedded[name] = raw_embeddings(original, features)
        both = joined([columns[name].images, features]), torch.cat([columns[name].labels, known.labels])
        columns[name] = replace(known, images=both[0], labels=both[1])
    d_f, d_r = embedded.values()
    a = separating(d_f, d_r, RIDGE)
    one_logit = d_f.norm(dim=1).mean() / original.scale
    plane = Plane(a, a @ d_r.mean(0), push(sets.head, sets.labels, one_logit))
    reference = accuracies(original, columns, sets.head)
    embedded = {name: raw_embeddings(restored, part.images) for name, part in columns.items()}
    rows = []
    for strength, shift in itertools.product(strengths, SHIFTS):
        found = {
            name: percent((plane.moved(z, strength, shift) @ sets.head.T).argmax(1) == columns[name].labels)
            for name, z in embedded.items()
        }
        rows.append({"strength": strength, "shift": shift, **found, "score": score(found, reference)})
    return pd.DataFrame(rows), plane


def choose_edit(table: pd.DataFrame) -> tuple[float, float]:
    """The least strength, and then the least |shift|, of those whose Score is `NEAR` the best."""
    near = table[nearly_best(table)].assign(size=table["shift"].abs(), worst=-table["score"].fillna(0))
    least = near.sort_values(["strength", "size", "worst"]).iloc[0]
    return float(least["strength"]), float(least["shift"])


@stage(Restore)
def restore(unlearned: Clip, original: Clip, sets: ModelSets, recipe: Restore) -> Clip:
    """Stage 3: blend the unlearned model with the original, alpha chosen on the calibration set D_m.

    Where siblings share the target's label, a plane edit follows. sets: `sets.on(original)`. The record gains `soup` (a
    row an alpha) and `alpha`; with an edit, `edits` (a row a strength and shift) and `edit`.
    """
    prefix = shared([unlearned.model.visual, original.model.visual])
    columns = {n: replace(part, images=original.features(part.images, prefix)) for n, part in sets.calibration.items()}
    table = path(unlearned, original, columns, recipe.alphas, sets.head)
    alpha = choose_alpha(table)
    restored = unlearned.copy("restore", alpha=alpha, soup=table.to_dict("records"))
    restored.model.load_state_dict(soup(unlearned.model, original.model, alpha))
    if recipe.strengths and sets.own_labels != sets.labels:
        try:
            table, plane = plane_edits(restored, original, sets, columns, recipe.strengths, prefix)
            strength, shift = choose_edit(table)
            restored.model.visual.load_state_dict(plane.edit(restored.model.visual, strength, shift))
        except ModelError as error:
            log.warning(f"Stage 3 leaves the plane edit out. {error}")
        else:
            restored.record.update(edits=table.to_dict("records"), edit={"strength": strength, "shift": shift})
    return restored
