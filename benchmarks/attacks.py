"""What an attacker finds of a target: the audit's figures that train no weight, as columns of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch

from forgetkit.auditing import attacks, statistics_anew
from forgetkit.auditing.views import same_texts, views_of
from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import TARGET, recognised
from forgetkit.models import mini
from forgetkit.models.clip import Clip, batch_norms
from forgetkit.subgroups import ModelSets

# Of the target's own name, and of the embedding: where siblings bear the name too, the first say nothing.
BY_NAME = {
    "offset recall": lambda v: attacks.offset_recall(v, attacks.offset(v, 1 / len(v.head))),
    "AUROC against all": attacks.text_auroc,
}
BY_EMBEDDING = {
    "AUROC against siblings": partial(attacks.text_auroc, siblings=True),  # of a label that they share, too
    "20-NN recall": attacks.nearest_recall,
    "prototype recall": attacks.prototype_recall,
    "probe recall": attacks.probe_recall,
    "probe beneath": lambda v: attacks.probe_recall(v.beneath),
}
HELD = 200  # validation images of siblings and of others, for new statistics; twice as many of the target to test


def deep(
    clip: Clip, original: Clip, sets: ModelSets, validation: Mapping[str, ImageSet], test: Mapping[str, ImageSet]
) -> dict[str, float]:
    """What an attacker with validation images finds of the target's test images; sets: `sets.on(original)`.

    In percent, AUROC from 0 to 1. Synonyms are asked of mini-CLIP, and where the target has a name of its own.
    """
    by_name = sets.own_labels == sets.labels
    texts = sets.head if same_texts(clip, original) else clip.head(sets.classes, sets.prompts)
    sets = replace(sets, validation=validation, test=test, head=texts)
    (view,) = views_of({"original": clip}, sets, int(sets.forget.labels[0])).values()
    asked = {**(BY_NAME if by_name else {}), **BY_EMBEDDING}
    if by_name and original.is_mini and (words := mini.synonyms(sets.classes[view.label])):
        asked["synonyms"] = partial(attacks.named_by, texts=clip.head(words, sets.prompts).cpu())
    if by_name:
        asked["membership AUROC"] = attacks.membership
    found = {name: round(float(attack(view).value), 3) for name, attack in asked.items()}
    if by_name and batch_norms(clip.model):
        held = some({name: validation[name] for name in ("retain", "other") if name in validation}, HELD)
        anew = statistics_anew(clip, torch.cat([clip.inputs(part).images for part in held.values()]))
        found["statistics anew"] = round(recognised(anew, some({TARGET: test[TARGET]}, 2 * HELD)[TARGET], texts), 3)
    return found
