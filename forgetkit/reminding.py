"""Stage 2, reminding: bring back what stage 1 took from the siblings, without the pre-training data.

Retain images are aligned to the BatchNorm statistics of the original model (a ViT has none, and does without). Then
adapters are trained on them with the contrastive loss, held to the original model by distillation, and averaged over
steps (`training`). (Zhang et al., CVPR 2025, arXiv 2506.03117.)

Reminding alone brings the target back with its siblings. The recipe `default` adds a guard, a hinge on D_f beside a
teacher whose target text is removed. The guard forgets by itself: `default` has no stage 1, and starts from the
original. It distils on images of no class (`synthetic`), too, for what no set shows. Neither retain nor forget images
are aligned: the student could separate the two by that alone. A guard only moves images across a decision boundary;
the MMD mixes them with their siblings. The last layer alone is trained: an image goes once through all before it, and
no BatchNorm layer takes part.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch

from forgetkit.alignment import align as to_batch_norms
from forgetkit.evaluation import recognised
from forgetkit.lora import adapt, adaptable, merge
from forgetkit.losses import class_distillation, contrastive, feature_distillation, hinge, mmd
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip, Inputs, ModelError, batch_norms
from forgetkit.models.prefix import n_frozen
from forgetkit.recipe import Remind
from forgetkit.subgroups import ModelSets
from forgetkit.synthetic import abstract_images, crops
from forgetkit.training import Drift, Monitor, Pool, Trainer

log = logging.getLogger(__name__)
SIBLINGS = 256  # among which D_f is to be lost: the kernel of all pairs of more takes a good part of a step
EVAL_EVERY = 5  # steps between two measurements of kept images
LAST_RATE = 0.1  # the rate falls linearly to this share of it: at a constant rate, a late step may still slip
HARM = 3.0  # percent of kept images that stage 2 may know less than stage 1: few can come by chance,
WORTH = 0.1  # and so many more for each percent of D_f that it forgot: the target is one column of several


def reminding_terms(
    z: dict[str, torch.Tensor], drawn: dict[str, Pool], sets: ModelSets, scale: torch.Tensor, recipe: Remind,
    siblings: torch.Tensor,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """The weighted terms of stage 2's loss, scalars; z: the student's unit embeddings (B, D) of each drawn pool.

    siblings (N, D): the original's of retain images, among which D_f is to be lost. With a guard the teacher never
    names the target by a text that is no sibling's.
    """
    head, target, own, never, bias = sets.head, sets.labels, sets.own_labels, sets.never, sets.bias
    without = own if recipe.guard else []
    terms = {
        "contrastive": contrastive(z["retain"], drawn["retain"].labels, head, scale, bias),
        "distill": recipe.distill
        * class_distillation(z["retain"], drawn["retain"].teacher, head, scale, without, never, bias),
    }
    if "forget" in drawn:
        d_f = drawn["forget"]
        terms["guard"] = recipe.guard * hinge(z["forget"], d_f.labels, head, scale, recipe.margin)
        if recipe.guard:
            named = class_distillation(z["forget"], d_f.teacher, head, scale, target, never, bias)
            terms["distill_forget"] = recipe.distill * named
        if recipe.mmd and own == target:  # siblings of the same label would bring it back
            terms["mmd"] = recipe.mmd * mmd(z["forget"], siblings)
    if "previous" in drawn:  # they stay forgotten, and keep the names that they have
        previous, gone = drawn["previous"], {*own, *never}
        guard = recipe.guard * hinge(z["previous"], previous.labels, head, scale, recipe.margin)
        named = class_distillation(z["previous"], previous.teacher, head, scale, (), gone, bias)
        terms["stay"] = guard + recipe.distill * named
    if recipe.feature:
        held = [name for name in ("retain", "classless") if name in drawn]
        student, teacher = (torch.cat(rows) for rows in zip(*[(z[name], drawn[name].teacher) for name in held]))
        free = torch.stack([head[c] for c in without]) if without else None
        terms["feature"] = recipe.feature * feature_distillation(student, teacher, free)
    return terms


@stage(Remind)
def remind(
    stage1: Clip, original: Clip, sets: ModelSets, recipe: Remind, *, adapt=adapt, align=to_batch_norms,
    terms: Callable = reminding_terms,
) -> Clip:  # fmt: skip
    """Stage 2: a new model in which the siblings are back and the target is not.

    stage1: what stage 1 made of `original`; sets: `sets.on(original)`. adapt makes weights trainable, align aligns
    images, terms is the loss. The record gains `align` (loss per layer before and after), `remind` (loss terms by step)
    and `pace`. Where it would know less of what must be kept than `stage1`, and forgot too little for that, that is
    returned.
    Raises ModelError where the two models are in the wrong order.
    """
    if recipe.ema_decay and (reach := 1 / (1 - recipe.ema_decay)) > recipe.steps:
        log.warning(
            f"remind.ema_decay averages over about {reach:,.0f} steps, and there are {recipe.steps}: the result is near"
            f" where the stage began. Lower it to {max(0, 1 - 2 / recipe.steps):.3g}, or take more steps."
        )
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    student = stage1.copy("remind")
    tower = student.model.visual
    layers = layers_of(stage1, recipe)
    prefix = n_frozen(tower, [*layers, *stage1.record.get("layers", adaptable(tower))])  # neither stage changes these
    pools, record = make_pools(original, sets, recipe, generator, align, prefix)
    student.record.update(record)
    weights = adapt(tower, layers, recipe.rank, generator=generator)
    monitor = Monitor.of(original, sets, prefix)
    siblings, of_them = pools["retain"].teacher, torch.Generator().manual_seed(recipe.seed)
    siblings = siblings[torch.randperm(len(siblings), generator=of_them)[:SIBLINGS]]
    trainer = Trainer("remind", student, weights, monitor, recipe.embedding_step, recipe.drift)
    trainer.run(
        pools, lambda z, drawn: terms(z, drawn, sets, original.scale, recipe, siblings), generator, steps=recipe.steps,
        batch=recipe.batch, eval_every=EVAL_EVERY, decay=recipe.ema_decay, last_rate=LAST_RATE,
    )  # fmt: skip
    merge(tower)
    if trainer.start and harmed(trainer.start, monitor.measure(student), stage1, student, sets):
        student.model.visual = copy.deepcopy(stage1.model.visual)
    return student


def layers_of(stage1: Clip, recipe: Remind) -> list[str]:
    """The weights that stage 2 trains: a fraction of all, from the output, or those that stage 1 chose."""
    if recipe.trainable_fraction is not None:
        return adaptable(stage1.model.visual, recipe.trainable_fraction)
    if not stage1.record.get("layers"):
        raise ModelError("remind(stage1, original, ...): the first model is stage 1's result, which has its layers.")
    return stage1.record["layers"]


def make_pools(
    original: Clip, sets: ModelSets, recipe: Remind, generator: torch.Generator, align: Callable = to_batch_norms,
    prefix: int = 0,
) -> tuple[dict[str, Pool], dict]:  # fmt: skip
    """The pools of a step by name, and what to record: `align`, where something is aligned.

    `retain`: D_r, aligned or as it is; `forget`: D_f, for the guard; `classless`: images of no class; `previous`: of
    targets of earlier requests, for their guard. What is not aligned is joined by its mirror images and random crops.
    align: `alignment.align` (left out where there is no BatchNorm) or another; prefix: how many blocks are frozen.
    """
    aligning = bool(recipe.align_steps)
    if aligning and align is to_batch_norms and not batch_norms(original.model):
        log.warning("This image tower has no BatchNorm to align to: stage 2 takes the retain images as they are.")
        aligning = False

    def pool(images: torch.Tensor, labels: torch.Tensor | None = None) -> Pool:
        features = original.features(images, prefix)
        return Pool(features, labels, original.embed(features, progress="teacher"))

    def views(part: Inputs) -> Pool:
        cropped = [crops(part.images, generator) for _ in range(recipe.crops)]
        return pool(torch.cat([part.images, part.images.flip(-1), *cropped]), part.labels.repeat(2 + recipe.crops))

    pools, record = {}, {}
    if aligning:
        aligned = align(original, sets.retain.images, recipe.align_steps)
        pools["retain"] = pool(aligned.images, sets.retain.labels)
        record["align"] = aligned.losses.to_dict("records")
    else:
        pools["retain"] = views(sets.retain)
    if recipe.guard or recipe.mmd:
        pools["forget"] = views(sets.forget)
    if recipe.guard and sets.previous is not None:
        pools["previous"] = views(sets.previous)
    if recipe.n_abstract:
        pools["classless"] = pool(abstract_images(original, sets.retain.images, recipe.n_abstract, generator))
    return pools, record


def harmed(start: Drift, end: Drift, stage1: Clip, student: Clip, sets: ModelSets) -> bool:
    """Does stage 2 know too little of what must be kept, for what it forgot? A warning says so."""
    if end.drift <= start.drift or (lost := start.known - end.known) <= HARM:
        return False
    before, after = (recognised(clip, sets.forget, sets.head) for clip in (stage1, student))
    if too_much := lost > HARM + WORTH * max(0.0, before - after):
        log.warning(
            f"Stage 2 returns stage 1's model: its own knows {end.known:.0f} % of what must be kept instead of"
            f" {start.known:.0f}, and {after:.0f} % of D_f. Lower remind.embedding_step, or show more."
        )
    return too_much
