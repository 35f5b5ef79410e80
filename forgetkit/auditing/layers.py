"""Beneath the embedding: BatchNorm statistics computed anew, and what each block of the image tower still tells.

A model may hide a target in its last layers alone. Statistics computed anew on other images undo such a change where
it rests on the old ones, as a model does that is trained on, averaged or left in `train()`: no label, no gradient and
no image of the target is needed. A probe on what a block puts out (Alain and Bengio, 2017) says where it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import torch
from torch.optim.swa_utils import update_bn

from forgetkit.auditing import attacks
from forgetkit.auditing.estimates import Estimate, share
from forgetkit.auditing.views import COLUMNS, over_positions, sample, views_of
from forgetkit.evaluation import TARGET, predict
from forgetkit.models import prefix
from forgetkit.models.clip import Clip, Inputs, autocast, batch_norms
from forgetkit.models.prefix import Features
from forgetkit.subgroups import ModelSets, Splits


def statistics_anew(clip: Clip, images: torch.Tensor, batch: int = 200, seed: int = 0) -> Clip:
    """A copy whose BatchNorm layers have the statistics of `images` (N, 3, S, S), preprocessed, in random order.

    The plain mean over batches of each batch's mean and variance (`update_bn`); the weights are left as they are.
    """
    copy = clip.copy(f"{clip.name}, statistics anew")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.device)
    with autocast(clip.device):
        update_bn(images[order].split(batch), copy.model.visual)
    return copy


def by_statistics(
    clip: Clip, images: torch.Tensor, head: torch.Tensor, target: Inputs, kept: Inputs
) -> dict[str, Estimate]:
    """Accuracy on target and kept test images once the statistics are those of `images`; {} without BatchNorm."""
    if not batch_norms(clip.model):
        return {}
    anew = statistics_anew(clip, images)
    found = (share(predict(anew, part.images, head) == part.labels.cpu()) for part in (target, kept))
    return dict(zip(("statistics anew", "statistics anew, other images"), found))


def depth(models: Mapping[str, Clip], sets: Splits | ModelSets, most: int = 5000, seed: int = 0) -> pd.DataFrame:
    """What probes and neighbours find of the target's test images after each block of each model's tower.

    A row a block, model and attack (`attacks.by_probes`): `block` (its name among the weights, the last: "embedding"),
    `model`, `measure`, and the estimate, in percent. most: images a column. The first model is the original: blocks
    that another shares with it are not asked again. Of a tower whose blocks are not known there is the embedding alone.
    """
    clips = [*models.values()]
    blocks = prefix.blocks(clips[0].model.visual)
    names = ["stem", *(prefixes[0].rstrip(".") for prefixes, _ in blocks[1:-1])] if blocks else []
    known, asked = sample(sets.validation, most, seed), {TARGET: sets.test[TARGET]}
    rows, shared = [], {}
    sets = replace(sets, validation=known, test=asked)
    for model, view in views_of(models, sets, int(sets.test[TARGET].labels[0])).items():
        same = prefix.shared([clips[0].model.visual, models[model].model.visual]) if model != [*models][0] else 0
        validation, test = (
            [torch.cat(z) for z in zip(*(pooled(models[model], part.images, same, len(names)) for part in columns))]
            for columns in ([known[name] for name in COLUMNS if name in known], [*asked.values()])
        )
        found = {name: shared[name] for name in names[:same]}
        found |= {name: attacks.by_probes(view.of(*z)) for name, *z in zip(names[same:], validation, test)}
        found["embedding"] = attacks.by_probes(view)
        shared = shared or found
        rows += [{"block": block, "model": model, "measure": measure, **estimate._asdict()}
                 for block, of in found.items() for measure, estimate in of.items()]  # fmt: skip
    return pd.DataFrame(rows)


@torch.no_grad()
def pooled(clip: Clip, images, start: int, end: int) -> list[torch.Tensor]:
    """What the blocks start to end - 1 of the tower put out, meaned over positions, on the CPU: (N, channels) each.

    images: as `Clip.embed` takes them
    """
    batches = []
    for x in clip.batches(images, 250, "audit: blocks"):
        x, means = clip.features(x, start), []
        for i in range(start, end):
            with autocast(clip.device):
                x = Features(prefix.run(clip.model.visual, x, i + 1), i + 1)
            means.append(over_positions(x.values).cpu())
        batches.append(means)
    return [torch.cat(means) for means in zip(*batches)]
