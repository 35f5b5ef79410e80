"""What each model makes of an audit's images: embeddings, what enters the last block, what each block tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from forgetkit.models.memory import halving
from forgetkit.models.prefix import Features
from forgetkit.subgroups import ModelSets, Splits

COLUMNS = (TARGET, "retain", "other")  # the set's own images; sets of other styles are not audited


def preprocessing(clip: Clip) -> tuple:
    """What images become before the model sees them, to be compared: a saved folder has lists for tuples."""
    cfg = clip.model.visual.preprocess_cfg
    how = cfg.get("interpolation"), cfg.get("resize_mode", "shortest")
    return clip.image_shape, how, tuple(cfg["mean"]), tuple(cfg["std"])


def sample(columns: Mapping[str, ImageSet], most: int = 5000) -> dict[str, ImageSet]:
    """The audit's columns with at most so many images each, shuffled: the first n are n random ones."""
    return some({name: columns[name] for name in COLUMNS if name in columns}, most)


def over_positions(x: torch.Tensor) -> torch.Tensor:
    """The mean over positions of a block's output, (N, E, H, W) or tokens (N, P, E), as (N, E) float32."""
    return (x.flatten(2).mean(2) if x.ndim == 4 else x.flatten(1, -2).mean(1) if x.ndim > 2 else x).float()


def embedded(clips: Sequence[Clip], columns: Mapping[str, ImageSet]) -> list[Embedded]:
    """The images of the set itself as each model sees them: read and preprocessed once for all."""
    columns = {name: columns[name] for name in COLUMNS if name in columns}
    labels = torch.cat([torch.as_tensor(part.labels).cpu() for part in columns.values()])
    of = np.repeat([*columns], [len(part) for part in columns.values()])
    target, sibling = (torch.from_numpy(of == name) for name in COLUMNS[:2])
    towers = [clip.model.visual for clip in clips]
    same, last = prefix.shared(towers) if len(towers) > 1 else 0, [prefix.n_frozen(tower, ()) for tower in towers]

    @torch.no_grad()
    def seen(size: int) -> list[list[tuple[torch.Tensor, ...]]]:
        rows = [[] for _ in clips]
        for name, part in columns.items():
            for x in clips[0].batches(part.images, size, f"audit: {name}"):
                x = clips[0].features(x, same)
                for clip, cut, found in zip(clips, last, rows):
                    beneath, inner = at_cuts(clip, x, [cut] if cut else [])
                    found.append((clip.embed_tensor(inner).cpu(), *beneath))
        return rows

    found = [map(torch.cat, zip(*rows)) for rows in halving(seen, 250, "audit")]
    return [Embedded(z, labels, target, sibling, *beneath) for z, *beneath in found]


def views_of(models: Mapping[str, Clip], sets: Splits | ModelSets, label: int) -> dict[str, View]:
    """Every model's view of the sets, every image embedded once; with its own texts where the first's are others."""
    clips, found = [*models.values()], {}
    validation, test = (embedded(clips, part) for part in (sets.validation, sets.test))
    forget = embed_each(clips, sets.forget.images, progress="audit: forget")
    for name, clip, known, asked, d_f in zip(models, clips, validation, test, forget):
        given = isinstance(sets, ModelSets) and same_texts(clip, clips[0])
        head = (sets.head if given else clip.head(sets.classes, sets.prompts)).cpu().float()
        bias = clip.bias and clip.bias.item()
        found[name] = View(head, label, clip.scale.item(), known, asked, d_f.cpu(), bias)
    return found


def same_texts(a: Clip, b: Clip) -> bool:
    """Do two models embed texts in the same way? All weights outside their image towers are equal."""
    one, other = ({n: t for n, t in c.model.state_dict().items() if not n.startswith("visual.")} for c in (a, b))
    return one.keys() == other.keys() and all(torch.equal(t, other[n].to(t.device)) for n, t in one.items())


def depth(models: Mapping[str, Clip], sets: Splits | ModelSets, most: int = 5000) -> pd.DataFrame:
    """What probes and neighbours find of the target's test images after each block of each model's tower.

    A row a block, model and attack (`attacks.by_probes`): `block` (its name among the weights, the last: "embedding"),
    `model`, `measure`, and the estimate, in percent. most: images a column. The first model is the original: blocks
    that another shares with it are not asked again.
    """
    tower = next(iter(models.values())).model.visual
    cuts = {i: prefix.blocks(tower)[i] for i in sorted(prefix.cuts(tower))}
    cuts = {i: block.name for i, block in cuts.items() if not block.behind}  # and of nested modules the innermost
    cuts = {i: name for i, name in cuts.items() if not any(n.startswith(f"{name}.") for n in cuts.values())}
    names = ["stem", *cuts.values()][: len(cuts)]
    known, asked = sample(sets.validation, most), {TARGET: sets.test[TARGET]}
    rows, original = [], {}
    sets = replace(sets, validation=known, test=asked)
    for model, view in views_of(models, sets, int(sets.test[TARGET].labels[0])).items():
        end = prefix.shared([tower, models[model].model.visual]) if original else 0
        same = sum(i <= end for i in cuts)
        parts = *known.values(), *asked.values()
        means = [pooled(models[model], part.images, [*cuts][same:]) for part in parts]
        found = {name: original[name] for name in names[:same]}
        for name, *validation, test in zip(names[same:], *means):
            found[name] = attacks.by_probes(view.of(torch.cat(validation), test))
        found["embedding"] = attacks.by_probes(view)
        original = original or found
        rows += [{"block": block, "model": model, "measure": measure, **estimate._asdict()}
                 for block, of in found.items() for measure, estimate in of.items()]  # fmt: skip
    return pd.DataFrame(rows)


@torch.no_grad()
def pooled(clip: Clip, images, cuts: Sequence[int]) -> list[torch.Tensor]:
    """What comes to each of these cuts of the tower, in order, meaned over positions, on the CPU: (N, E) each."""
    batches = [at_cuts(clip, x, cuts)[0] for x in clip.batches(images, 250, "audit: blocks")]
    return [torch.cat(means) for means in zip(*batches)]


def at_cuts(clip: Clip, x: torch.Tensor | Features, cuts: Sequence[int]) -> tuple[list[torch.Tensor], Features]:
    """What `pooled` gives of one batch, and what comes to the last cut; x itself without cuts."""
    means = []
    for cut in cuts:
        with autocast(clip.device):
            x = Features(prefix.run(clip.model.visual, x, cut), cut)
        means.append(over_positions(x.values).cpu())
    return means, x
