"""What each model makes of an audit's images: embeddings, what enters the last block, what each block tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from forgetkit.auditing import attacks
from forgetkit.auditing.attacks import Embedded, View
from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import TARGET
from forgetkit.models import prefix
from forgetkit.models.clip import Clip, autocast, embed_each
from forgetkit.models.prefix import Features
from forgetkit.subgroups import ModelSets, Splits

KEPT = ("retain", "other")
COLUMNS = (TARGET, *KEPT)  # the set's own images; sets of other styles are not audited


def preprocessing(clip: Clip) -> tuple:
    """What images become before the model sees them, to be compared: a saved folder has lists for tuples."""
    cfg = clip.model.visual.preprocess_cfg
    how = cfg.get("interpolation"), cfg.get("resize_mode", "shortest")
    return clip.image_shape, how, tuple(cfg["mean"]), tuple(cfg["std"])


def sample(columns: Mapping[str, ImageSet], most: int, seed: int) -> dict[str, ImageSet]:
    """The audit's columns with at most so many images each, shuffled: the first n are n random ones."""
    if missing := [name for name in COLUMNS[:2] if name not in columns]:
        raise ValueError(f"An audit needs the columns {' and '.join(missing)}, among: {', '.join(columns)}.")
    return some({name: columns[name] for name in COLUMNS if name in columns}, most, seed)


@contextmanager
def last_inputs(towers: Sequence[torch.nn.Module]) -> Iterator[list[list[torch.Tensor]]]:
    """Collects, batch by batch, what enters each tower's last block, meaned over positions; [] where it is not known.

    That block is a ResNet's attention pool, or what follows a ViT's last layer norm, which may read one token alone.
    """
    found: list[list[torch.Tensor]] = [[] for _ in towers]
    named = [getattr(tower, "attnpool", None) or getattr(tower, "ln_post", None) for tower in towers]
    tokens = [slice(0, 1) if getattr(tower, "pool_type", None) == "tok" else slice(None) for tower in towers]
    hooks = [
        module.register_forward_pre_hook(
            lambda _, given, rows=rows, read=read: rows.append(over_positions(given[0][:, read]).cpu())
        )
        for module, rows, read in zip(named, found, tokens)
        if module is not None
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def over_positions(x: torch.Tensor) -> torch.Tensor:
    """The mean over positions of a block's output, (N, E, H, W) or tokens (N, P, E), as (N, E) float32."""
    return (x.flatten(2).mean(2) if x.ndim == 4 else x.flatten(1, -2).mean(1) if x.ndim > 2 else x).float()


def embedded(clips: Sequence[Clip], columns: Mapping[str, ImageSet]) -> list[Embedded]:
    """The images of the set itself as each model sees them: read and preprocessed once for all."""
    columns = {name: columns[name] for name in COLUMNS if name in columns}
    labels = torch.cat([torch.as_tensor(part.labels).cpu() for part in columns.values()])
    of = np.repeat([*columns], [len(part) for part in columns.values()])
    target, sibling = (torch.from_numpy(of == name) for name in COLUMNS[:2])
    with last_inputs([clip.model.visual for clip in clips]) as inputs:
        seen = [embed_each(clips, part.images, progress=f"audit: {name}") for name, part in columns.items()]
    return [
        Embedded(torch.cat(z).cpu(), labels, target, sibling, torch.cat(rows) if rows else None)
        for z, rows in zip(zip(*seen), inputs)
    ]


def views_of(models: Mapping[str, Clip], sets: Splits | ModelSets, label: int) -> dict[str, View]:
    """Every model's view of the sets, every image embedded once; with its own texts where it has others."""
    once, found = {id(clip.model): clip for clip in models.values()}, {}
    clips = [*once.values()]
    validation, test = (embedded(clips, part) for part in (sets.validation, sets.test))
    forget = embed_each(clips, sets.forget.images, progress="audit: forget")
    for name, clip in models.items():
        i = [*once].index(id(clip.model))
        given = isinstance(sets, ModelSets) and same_texts(clip, models["original"])
        head = sets.head if given else clip.head(sets.classes, sets.prompts)
        own = validation[i], test[i], forget[i].cpu()
        found[name] = View(head.cpu().float(), label, clip.scale.item(), *own)
    return found


def same_texts(a: Clip, b: Clip) -> bool:
    """Do two models embed texts in the same way? All weights outside their image towers are equal."""
    one, other = ({n: t for n, t in c.model.state_dict().items() if not n.startswith("visual.")} for c in (a, b))
    return one.keys() == other.keys() and all(torch.equal(t, other[n].to(t.device)) for n, t in one.items())


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
