"""Stage 2, reminding: bring back what stage 1 took from the siblings, without the pre-training data.

Retain images are aligned to the BatchNorm statistics of the original model (`align`; a ViT has none, and does without,
unless the recipe takes a substitute: the statistics of its LayerNorm inputs on the calibration images, target left
out). Then adapters are trained on them with the contrastive loss, held to the original model by distillation, and
averaged over steps:

    theta_ema = a theta_ema + (1 - a) theta

(Zhang et al., CVPR 2025, arXiv 2506.03117.) Reminding alone resurrects the target: siblings carry it back. The
`default` recipe therefore guards it, with a hinge on D_f and a teacher whose target text is removed, and
distils on images of no class (`classless`), so that what nobody shows to this stage is held too.

With a guard there is a short cut: if forget images come as they are and retain images only aligned, "aligned or not"
tells them apart, and siblings as they are stay forgotten. `default` therefore trains on the raw retain images, and
distils on raw and aligned ones.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from forgetkit.alignment import Statistics, align, gathered
from forgetkit.synthetic import abstract_images, noise_images
from forgetkit.models.clip import Clip, class_head, stage
from forgetkit.losses import class_distillation, feature_distillation, hinge, on_device
from forgetkit.evaluation import TARGET
from forgetkit.fisher import choose_layers
from forgetkit.forgetting import index_batches
from forgetkit.lora import adapt, adaptable, merge
from forgetkit.models.memory import Backward, Fitting, compiled
from forgetkit.recipe import Recipe
from forgetkit.subgroups import Splits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pool:
    """Images a step draws from, (N, 3, S, S) preprocessed, and what the original model makes of them, (N, D)."""

    images: torch.Tensor
    teacher: torch.Tensor
    labels: torch.Tensor | None = None  # (N,) long, where the images have a class

    @classmethod
    def of(cls, original: Clip, images: torch.Tensor, labels=None, batch: int = 250) -> Pool:
        def run(size: int) -> torch.Tensor:
            return torch.cat([original.embed_tensor(x) for x in images.split(size)])

        with torch.no_grad():
            teacher = Fitting("teacher", min(batch, len(images)))(run)
        return cls(images, teacher, None if labels is None else torch.as_tensor(labels, device=images.device))

    def draw(self, index: torch.Tensor) -> Pool:
        return Pool(self.images[index], self.teacher[index], None if self.labels is None else self.labels[index])


def has_batch_norm(clip: Clip) -> bool:
    return any(isinstance(m, torch.nn.BatchNorm2d) for m in clip.model.visual.modules())


def alignment_goal(original: Clip, sets: Splits) -> Statistics | None:
    """None, BatchNorm's own statistics, or those gathered on what is to be kept of D_m, where there is no BatchNorm."""
    if has_batch_norm(original):
        return None
    kept = [part.images for name, part in sets.calibration.items() if name != TARGET]
    return gathered(original, (x for images in kept for x in original.batches(images, 100, "statistics")))


def pools(original: Clip, sets: Splits, recipe: Recipe, generator: torch.Generator) -> tuple[dict[str, Pool], dict]:
    """The pools of a step by name, and what to record.

    `retain`: D_r as it is; `aligned`: with its perturbation (either may be left out); `forget`: D_f, for the guard;
    `classless`: images of no class. D_r and D_f are joined by their mirror images where the recipe says so.
    """
    retain = original.preprocess(sets.retain.images)
    found, record = {}, {}
    aligns = recipe.align_steps > 0
    if aligns and not (has_batch_norm(original) or recipe.align_layernorm):
        log.warning("This image tower has no BatchNorm to align to: stage 2 takes the retain images as they are.")
        aligns = False

    def seen(images: torch.Tensor, labels) -> Pool:
        """The images as they are, and mirrored where the recipe says so."""
        if recipe.remind_mirrored:
            images, labels = torch.cat([images, images.flip(-1)]), [*labels, *labels]
        return Pool.of(original, images, labels)

    if recipe.contrastive_on == "raw" or not aligns:
        found["retain"] = seen(retain, sets.retain.labels)
    if aligns:
        goal = alignment_goal(original, sets)
        aligned = align(original, retain, recipe.align_steps, recipe.align_lr, recipe.align_bound, goal=goal)
        record["align"] = aligned.losses.to_dict("records")
        found["aligned"] = Pool.of(original, aligned.images, sets.retain.labels)
    if recipe.guard_weight:
        found["forget"] = seen(original.preprocess(sets.forget.images), sets.forget.labels)
    classless = []
    if recipe.n_noise:
        noise = noise_images(original, recipe.n_noise, generator)
        if aligns:
            noise = align(original, noise, recipe.align_steps, recipe.align_lr, float("inf"), goal=goal).images
        classless.append(noise)
    if recipe.n_abstract:
        classless.append(abstract_images(original, retain, recipe.n_abstract, generator))
    if classless:
        found["classless"] = Pool.of(original, torch.cat(classless))
    return found, record


def reminding_terms(
    z: dict[str, torch.Tensor], drawn: dict[str, Pool], head: torch.Tensor, scale: torch.Tensor,
    target: list[int], own: list[int], recipe: Recipe,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """The weighted terms of stage 2's loss, scalars; z: the student's unit embeddings (B, D) of each drawn pool.

    target: the labels of D_f; own: those of them that no sibling bears, so that their text can be given up.
    """
    without = own if recipe.distill_without_target else []
    named = "retain" if "retain" in drawn else "aligned"
    terms = {
        "contrastive": recipe.contrastive_weight * F.cross_entropy(scale * z[named] @ head.T, drawn[named].labels),
        "distill": recipe.distill_weight
        * sum(
            class_distillation(z[name], drawn[name].teacher, head, scale, without)
            for name in ("retain", "aligned")
            if name in drawn
        ),
    }
    if "forget" in drawn:
        forget = drawn["forget"]
        terms["guard"] = recipe.guard_weight * hinge(z["forget"], forget.labels, head, scale, recipe.guard_margin)
        terms["rename"] = recipe.rename_weight * class_distillation(z["forget"], forget.teacher, head, scale, target)
    if recipe.feature_weight:
        held = [name for name in ("retain", "aligned", "classless") if name in drawn]
        student, teacher = (torch.cat(rows) for rows in zip(*[(z[n], drawn[n].teacher) for n in held]))
        free = head[on_device(tuple(without), head.device)] if without else None
        terms["feature"] = recipe.feature_weight * feature_distillation(student, teacher, free)
    return terms


def trained(tower: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for p in tower.parameters() if p.requires_grad]


@stage
def remind(forgotten: Clip, original: Clip, sets: Splits, recipe: Recipe, head: torch.Tensor | None = None) -> Clip:
    """Stage 2: a new model in which the siblings are back and the target is not.

    head (C, D): class embeddings; from the sets' prompts by default.
    The record gains `align` (loss per layer before and after) and `remind` (loss terms by step).
    Raises ModelError where the recipe aligns and the model has neither BatchNorm nor LayerNorm.
    """
    head = class_head(original, sets, head)
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    target = sorted({int(c) for c in sets.forget.labels})
    own = sorted(set(target) - {int(c) for c in sets.retain.labels})
    found, record = pools(original, sets, recipe, generator)

    student = forgotten.copy("remind", **record)
    tower = student.model.visual
    if recipe.remind_layers == "all":
        layers = adaptable(tower, recipe.last)
    else:
        layers = forgotten.record.get("layers") or choose_layers(original, sets, recipe, head)[0]
    params = adapt(tower, layers, recipe.rank, recipe.alpha, generator)
    optimizer = torch.optim.AdamW(params, lr=recipe.remind_lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, recipe.remind_lr_end, recipe.remind_steps)
    average, averaged = get_ema_multi_avg_fn(recipe.ema_decay), tower
    batches = {
        name: index_batches(len(pool.images), recipe.remind_batch, generator, original.device)
        for name, pool in found.items()
    }
    embed = compiled(student.embed_tensor, recipe.compile)
    backward = Backward("remind", optimizer, embed, recipe.micro_batch or len(found) * recipe.remind_batch)

    history = []
    for step in tqdm(range(recipe.remind_steps), desc="remind", leave=False):
        drawn = {name: pool.draw(next(batches[name])) for name, pool in found.items()}
        terms = {}

        def loss_of(z: torch.Tensor) -> torch.Tensor:
            z = dict(zip(drawn, z.split([len(pool.images) for pool in drawn.values()])))
            terms.update(reminding_terms(z, drawn, head, original.scale, target, own, recipe))
            return sum(terms.values())

        backward(torch.cat([pool.images for pool in drawn.values()]), loss_of)
        optimizer.step()
        schedule.step()
        if step == 0:
            averaged = copy.deepcopy(tower)
        else:
            average(trained(averaged), trained(tower), step)
        history.append({"step": step + 1, **{name: term.detach() for name, term in terms.items()}})
    student.model.visual = merge(averaged)
    student.record["remind"] = [{name: float(value) for name, value in row.items()} for row in history]
    return student
