"""Stage 2, reminding: bring back what stage 1 took from the siblings, without the pre-training data.

Retain images are aligned to the BatchNorm statistics of the original model (a ViT has none, and does without). Then
adapters are trained on them with the contrastive loss, held to the original model by distillation, and averaged over
steps:

    theta_ema = beta theta_ema + (1 - beta) theta

(Zhang et al., CVPR 2025, arXiv 2506.03117.) Reminding alone resurrects the target: siblings carry it back. The
`default` recipe therefore guards it, with a hinge on D_f and a teacher whose target text is removed, and
distils on images of no class (`synthetic`), so that what nobody shows to this stage is held too.

With a guard there is a short cut: if forget images come as they are and retain images only aligned, "aligned or not"
tells them apart, and siblings as they are stay forgotten. `default` therefore trains on the raw retain images, and
distils on raw and aligned ones.

A guarded image lies where it lay, across a line that can be moved. `default` loses it among its siblings (`mmd`).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from forgetkit.alignment import align as to_batch_norms
from forgetkit.evaluation import recognised
from forgetkit.forgetting import index_batches
from forgetkit.lora import adapt, adaptable, merge
from forgetkit.losses import class_distillation, feature_distillation, hinge, mmd
from forgetkit.models.body import Features, frozen, joined
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip, ModelError, batch_norms
from forgetkit.models.memory import Backward, compiled
from forgetkit.pacing import HARM, WORTH, Descent, Look, Watch
from forgetkit.recipe import Remind
from forgetkit.subgroups import Splits
from forgetkit.synthetic import abstract_images, noise_images

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pool:
    """What a step draws from: N images as the tower's body leaves them, and what the original makes of each, (N, D)."""

    images: torch.Tensor | Features
    teacher: torch.Tensor
    labels: torch.Tensor | None = None  # (N,) long, where the images have a class

    def draw(self, index: torch.Tensor) -> Pool:
        return Pool(self.images[index], self.teacher[index], None if self.labels is None else self.labels[index])


def make_pools(
    original: Clip, sets: Splits, recipe: Remind, generator: torch.Generator, align: Callable | None, cut: int = 0
) -> tuple[dict[str, Pool], dict]:
    """The pools of a step by name, and what to record.

    `retain`: D_r as it is; `aligned`: with its perturbation (either may be left out); `forget`: D_f, for the guard;
    `classless`: images of no class; `earlier`: of targets of earlier requests, for their guard. D_r, D_f and these are
    joined by their mirror images where the recipe says so.
    align: None where nothing is aligned. cut: the tower's first blocks, which do not change.
    """

    def pool(images: torch.Tensor, labels: torch.Tensor | None = None, mirrored: bool = False) -> Pool:
        if mirrored:
            images, labels = torch.cat([images, images.flip(-1)]), labels.repeat(2)
        features = original.features(images, cut)
        return Pool(features, original.embed(features, progress="teacher"), labels)

    forget, retain = sets.forget, sets.retain
    pools, record, classless = {}, {}, []
    if recipe.contrastive_on == "raw" or align is None:
        pools["retain"] = pool(retain.images, retain.labels, recipe.mirrored)
    if align is not None:
        aligned = align(original, retain.images, recipe.align_steps, recipe.align_lr, recipe.align_bound)
        pools["aligned"] = pool(aligned.images, retain.labels)
        record["align"] = aligned.losses.to_dict("records")
    if recipe.guard or recipe.mmd:
        pools["forget"] = pool(forget.images, forget.labels, recipe.mirrored)
    if recipe.guard and sets.earlier is not None:
        pools["earlier"] = pool(sets.earlier.images, sets.earlier.labels, recipe.mirrored)
    if recipe.n_noise:
        noise = noise_images(original, recipe.n_noise, generator)
        if align is not None:
            noise = align(original, noise, recipe.align_steps, recipe.align_lr, float("inf")).images
        classless.append(noise)
    if recipe.n_abstract:
        classless.append(abstract_images(original, retain.images, recipe.n_abstract, generator))
    if classless:
        pools["classless"] = pool(torch.cat(classless))
    return pools, record


def reminding_terms(
    z: dict[str, torch.Tensor], drawn: dict[str, Pool], head: torch.Tensor, scale: torch.Tensor,
    target: list[int], own: list[int], recipe: Remind, siblings: torch.Tensor, never: Sequence[int] = (),
) -> dict[str, torch.Tensor]:  # fmt: skip
    """The weighted terms of stage 2's loss, scalars; z: the student's unit embeddings (B, D) of each drawn pool.

    siblings (N, D): the original's of all retain images, among which D_f is to be lost;
    target: the labels of D_f; own: those of them that no sibling bears, so that their text can be given up;
    never: labels of earlier targets, which no image may be given.
    """
    without = own if recipe.distill_without_target else []
    kept = [name for name in ("retain", "aligned") if name in drawn]
    named = drawn[kept[0]]
    terms = {
        "contrastive": recipe.contrastive * F.cross_entropy(scale * z[kept[0]] @ head.T, named.labels),
        "distill": recipe.distill
        * sum(class_distillation(z[name], drawn[name].teacher, head, scale, without, never) for name in kept),
    }
    if "forget" in drawn:
        forget = drawn["forget"]
        terms["guard"] = recipe.guard * hinge(z["forget"], forget.labels, head, scale, recipe.margin)
        terms["distill_forget"] = recipe.distill_forget * class_distillation(
            z["forget"], forget.teacher, head, scale, target, never
        )
        if recipe.mmd and own == target:  # siblings of the same label would bring it back
            terms["mmd"] = recipe.mmd * mmd(z["forget"], siblings)
    if "earlier" in drawn:  # they stay forgotten, and keep the names that they have
        z_earlier, earlier = z["earlier"], drawn["earlier"]
        guard = recipe.guard * hinge(z_earlier, earlier.labels, head, scale, recipe.margin)
        gone = {*own, *never}
        terms["stay"] = guard + recipe.distill_forget * class_distillation(
            z_earlier, earlier.teacher, head, scale, (), gone
        )
    if recipe.feature:
        held = [*kept, *(["classless"] if "classless" in drawn else [])]
        student, teacher = (torch.cat(rows) for rows in zip(*[(z[name], drawn[name].teacher) for name in held]))
        free = torch.stack([head[c] for c in without]) if without else None
        terms["feature"] = recipe.feature * feature_distillation(student, teacher, free)
    return terms


def trained(tower: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for p in tower.parameters() if p.requires_grad]


@stage
def remind(
    forgotten: Clip, original: Clip, sets: Splits, recipe: Remind, *, adapt=adapt, align: Callable | None = None,
    terms: Callable = reminding_terms,
) -> Clip:  # fmt: skip
    """Stage 2: a new model in which the siblings are back and the target is not.

    forgotten: what stage 1 made of `original`; sets: `sets.on(original)`. adapt: what makes weights trainable; align:
    what aligns images, to the BatchNorm statistics unless given; where there are none, nothing is aligned; terms: the
    loss, as `reminding_terms`.
    The record gains `align` (loss per layer before and after), `remind` (loss terms by step) and `pace`.
    Where it would know less of what must be kept than `forgotten`, and forgot too little for that, that is returned.
    Raises ModelError where the two models are in the wrong order.
    """
    if recipe.layers == "same" and "layers" not in forgotten.record:
        raise ModelError("remind(forgotten, original, ...): the first model is stage 1's result, which has its layers.")
    if align is None and batch_norms(original.model):
        align = to_batch_norms
    elif align is None and recipe.align_steps:
        log.warning("This image tower has no BatchNorm to align to: stage 2 takes the retain images as they are.")
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    target, own = sets.labels, sets.own_labels

    student = forgotten.copy("remind")
    tower = student.model.visual
    layers = adaptable(tower, recipe.trainable_fraction) if recipe.layers == "all" else forgotten.record["layers"]
    cut = frozen(tower, [*layers, *forgotten.record.get("layers", adaptable(tower))])  # neither stage changes these
    pools, record = make_pools(original, sets, recipe, generator, align if recipe.align_steps else None, cut)
    student.record.update(record)
    weights = adapt(tower, layers, recipe.rank, recipe.lora_alpha, generator)
    average, averaged = get_ema_multi_avg_fn(recipe.ema_decay), copy.deepcopy(tower)
    watch = Watch.of(original, sets, cut)
    given = None if recipe.drift is None else watch.look(student)
    limit = None if given is None else max(recipe.drift, 2 * given.drift)
    descent = Descent("Stage 2", student, weights, watch, recipe.embedding_step, limit, trained(averaged))
    batches = {
        name: index_batches(len(pool.images), recipe.batch, generator, original.device) for name, pool in pools.items()
    }
    scale, siblings = original.scale, pools["retain" if "retain" in pools else "aligned"].teacher
    embed = compiled(student.embed_tensor, recipe.compile)
    backward = Backward("remind", descent.optimizer, embed, recipe.micro_batch or len(pools) * recipe.batch)

    history = []
    for step in tqdm(range(recipe.steps), desc="remind", leave=False):
        drawn = {name: pool.draw(next(batches[name])) for name, pool in pools.items()}
        found = {}

        def loss_of(z: torch.Tensor) -> torch.Tensor:
            z = dict(zip(drawn, z.split([len(pool.images) for pool in drawn.values()])))
            found.update(terms(z, drawn, sets.head, scale, target, own, recipe, siblings, sets.never))
            return sum(found.values())

        backward(joined([pool.images for pool in drawn.values()]), loss_of)
        descent.step(1 - (1 - recipe.lr_end) * step / recipe.steps)
        average(trained(averaged), trained(tower), step + 1)
        if (step + 1) % recipe.eval_every == 0 or step + 1 == recipe.steps:
            descent.well(step + 1)
        history.append({"step": step + 1, **{name: term.detach() for name, term in found.items()}})
    student.model.visual = merge(averaged)
    if given is not None and harmed(given, watch.look(student), forgotten, student, sets):
        student.model.visual = copy.deepcopy(forgotten.model.visual)
    student.record["pace"] = {**student.record.get("pace", {}), "remind": descent.told()}
    student.record["remind"] = [{name: float(value) for name, value in row.items()} for row in history]
    return student


def harmed(given: Look, left: Look, forgotten: Clip, student: Clip, sets: Splits) -> bool:
    """Does stage 2 know too little of what must be kept, for what it forgot? A warning says so."""
    if left.drift <= given.drift or (lost := given.known - left.known) <= HARM:
        return False
    before, after = (recognised(clip, sets.forget, sets.head) for clip in (forgotten, student))
    if too_much := lost > HARM + WORTH * max(0.0, before - after):
        kept, of = f"{left.known:.0f} % of what must be kept instead of {given.known:.0f}", f"{after:.0f} % of D_f"
        log.warning(
            f"Stage 2 returns stage 1's model: its own knows {kept}, and {of}. Lower remind.embedding_step, or show more."
        )
    return too_much
