"""What an attacker has of each model: its embeddings of images that no stage read, and its class texts.

Throughout, z is a unit image embedding, t_c a unit class text, T the target's class, l_c = scale z.t_c a logit, and

    gap(z) = l_T - max over c other than T of l_c        the image is called T where the gap is positive
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import TARGET
from forgetkit.models.clip import Clip, embed_each
from forgetkit.subgroups import ModelSets, Splits

KEPT = ("retain", "other")
COLUMNS = (TARGET, *KEPT)  # the set's own images; sets of other styles are not audited
APART = 10**6  # the group of the target's images; above all labels, so that a tie between neighbours is not theirs


@dataclass(frozen=True)
class Embedded:
    """Images as one model sees them: z (N, D) unit rows; labels (N,); target and sibling (N,), booleans; on the CPU.

    beneath (N, E): what enters the tower's last block (a ResNet's attention pool), meaned over positions, where known
    """

    z: torch.Tensor
    labels: torch.Tensor
    target: torch.Tensor
    sibling: torch.Tensor
    beneath: torch.Tensor | None = None

    @property
    def groups(self) -> torch.Tensor:
        """(N,) the label, and `APART` for images of the target: it may share its label with siblings."""
        return torch.where(self.target, APART, self.labels)

    def take(self, index: torch.Tensor) -> Embedded:
        """The images at `index` (K,), or where it is True."""
        beneath = None if self.beneath is None else self.beneath[index]
        return Embedded(self.z[index], self.labels[index], self.target[index], self.sibling[index], beneath)


@dataclass(frozen=True)
class View:
    """What an attacker has of one model.

    head (C, D): class texts, unit rows; label: the target's row in it; scale: inverse temperature
    validation: images no stage read, the attacker's own; test: the images that figures are of
    forget (N, D): embeddings of D_f, which only the membership attack reads
    """

    head: torch.Tensor
    label: int
    scale: float
    validation: Embedded
    test: Embedded
    forget: torch.Tensor

    def similarity(self, part: Embedded) -> torch.Tensor:
        """z.t_T, (N,) in -1..1."""
        return part.z @ self.head[self.label]

    def gap(self, part: Embedded, texts: torch.Tensor | None = None, head: torch.Tensor | None = None) -> torch.Tensor:
        """The gap in logits, (W, N): with each of W texts (W, D) in the place of the target's own, (1, N) without.

        head: other class texts (C, D) in place of the model's, as of another template
        """
        head = self.head if head is None else head
        own = head[self.label : self.label + 1] if texts is None else texts
        others = torch.cat([head[: self.label], head[self.label + 1 :]])
        return self.scale * (own @ part.z.T - (part.z @ others.T).max(1).values)

    def few(self, n: int) -> View:
        """The same with n validation images of each group alone: what an attacker finds in a minute."""
        groups = self.validation.groups
        chosen = torch.cat([torch.nonzero(groups == g)[:n, 0] for g in groups.unique()])
        return replace(self, validation=self.validation.take(chosen))

    @property
    def beneath(self) -> View | None:
        """The same images as what enters the tower's last block; None where that is not known."""
        known = self.validation.beneath is not None and self.test.beneath is not None
        return self.of(self.validation.beneath, self.test.beneath) if known else None

    def of(self, validation: torch.Tensor, test: torch.Tensor) -> View:
        """The same images as other vectors, such as a block's output: centred on the mean of the validation images."""
        middle = validation.mean(0)
        known, asked = replace(self.validation, z=validation - middle), replace(self.test, z=test - middle)
        return replace(self, validation=known, test=asked)


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

    That block is a ResNet's attention pool, or what follows a ViT's last layer norm.
    """
    found: list[list[torch.Tensor]] = [[] for _ in towers]
    named = [getattr(tower, "attnpool", None) or getattr(tower, "ln_post", None) for tower in towers]
    hooks = [
        module.register_forward_pre_hook(lambda _, given, rows=rows: rows.append(over_positions(given[0]).cpu()))
        for module, rows in zip(named, found)
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
