"""What an attacker finds of a target: the audit's figures that need no training, as columns of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from forgetkit.auditing import attacks
from forgetkit.auditing.report import same_texts, views_of
from forgetkit.data.images import ImageSet
from forgetkit.models import mini
from forgetkit.models.clip import Clip
from forgetkit.subgroups import ModelSets

# Of the target's own name, and of the embedding alone: where siblings bear the name too, the first say nothing.
BY_NAME = {
    "offset recall": lambda v: attacks.offset_recall(v, attacks.offset(v, 1 / len(v.head))),
    "AUROC against all": attacks.text_auroc,
    "AUROC against siblings": partial(attacks.text_auroc, siblings=True),
}
BY_EMBEDDING = {
    "20-NN recall": attacks.nearest_recall,
    "prototype recall": attacks.prototype_recall,
    "probe recall": attacks.probe_recall,
}


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
    return {name: round(float(attack(view).value), 3) for name, attack in asked.items()}
