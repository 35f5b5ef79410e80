"""Stage 2, reminding: bring back what stage 1 took from the siblings, without the pre-training data.

Retain images are aligned to the BatchNorm statistics of the original model (`align`), then adapters are trained
on them with the contrastive loss, held to the original model by distillation, and averaged over steps:

    theta_ema = a theta_ema + (1 - a) theta

(Zhang et al., CVPR 2025, arXiv 2506.03117.) Reminding alone resurrects the target: siblings carry it back. The
`default` recipe therefore guards it, with a hinge on D_f and a teacher whose target text is removed, and
distils on images that belong to no class, so that what nobody shows to this stage is held too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms.v2 import functional as transforms
from tqdm.auto import tqdm

from .align import align
from .clips import Clip, class_head, stage
from .distill import class_distillation, feature_distillation, hinge
from .forget import index_batches
from .fisher import relative_fisher, top_k
from .lora import adapt, adaptable, merge
from .recipe import Recipe
from .subgroups import Splits


def noise_images(clip: Clip, n: int, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """Smooth random images aligned to the BN statistics, (n, 3, S, S) preprocessed: no data at all."""
    size = clip.image_size
    x = torch.zeros(n, 3, size, size)
    for cells in (4, 8, 16, 32):
        coarse = torch.randn(n, 3, cells, cells, generator=generator)
        x += F.interpolate(coarse, size, mode="bilinear") / 2
    low, high = clip.pixel_range()
    x = torch.minimum(torch.maximum(x.to(clip.device), low), high)
    return align(clip, x, recipe.align_steps, recipe.align_lr, bound=10.0).images


def abstract_images(clip: Clip, x: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
    """n images of no class made from x (N, 3, S, S): inverted, edges only, gray, or two blended; preprocessed."""
    pick = lambda: x[torch.randint(len(x), (-(-n // 4),), generator=generator).to(x.device)]  # noqa: E731
    mean = clip.pixel_range()
    white = mean[0] + mean[1]
    inverted = white - pick()
    gray = clip.to_pixels(pick()).mean(1, keepdim=True)
    lines = (gray - transforms.gaussian_blur(gray, [5, 5])).abs().expand(-1, 3, -1, -1)
    low, high = clip.pixel_range()
    edges = high - (high - low) * (6 * lines).clamp(0, 1)
    grays = low + (high - low) * gray.expand(-1, 3, -1, -1)
    blended = (pick() + pick()) / 2
    return torch.cat([inverted, edges, grays, blended])[:n].contiguous(memory_format=torch.channels_last)


@stage
def remind(
    forgotten: Clip, original: Clip, sets: Splits, recipe: Recipe, head: torch.Tensor | None = None
) -> Clip:
    """Stage 2: a new model in which the siblings are back and the target is not.

    head (C, D): class embeddings; from the sets' prompts by default.
    The record gains `align` (loss per BN layer before and after) and `remind` (loss terms by step).
    """
    head = class_head(original, sets, head)
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    scale, device = original.scale, original.device
    target = sorted({int(c) for c in sets.forget.labels})
    without = target if recipe.distill_without_target else []

    retain = original.preprocess(sets.retain.images)
    record = {}
    if recipe.align_steps:
        aligned = align(original, retain, recipe.align_steps, recipe.align_lr, recipe.align_bound)
        record["align"] = aligned.losses.to_dict("records")
    x_r = aligned.images if recipe.align_steps else retain
    y_r = torch.as_tensor(sets.retain.labels, device=device)
    x_f = original.preprocess(sets.forget.images)
    y_f = torch.as_tensor(sets.forget.labels, device=device)
    pools = [x_r]
    if recipe.n_noise:
        pools.append(noise_images(original, recipe.n_noise, recipe, generator))
    if recipe.n_abstract:
        pools.append(abstract_images(original, retain, recipe.n_abstract, generator))
    x_d = torch.cat(pools[1:]) if len(pools) > 1 else None
    with torch.no_grad():
        embed = lambda x: torch.cat([original.embed_tensor(b) for b in x.split(250)])  # noqa: E731
        t_r = embed(x_r)
        t_f = embed(x_f)
        t_d = embed(x_d) if x_d is not None else None

    student = forgotten.copy("remind", **record)
    tower = student.model.visual
    layers = forgotten.record.get("layers") if recipe.remind_layers == "same" else adaptable(tower)
    if layers is None:
        layers = top_k(relative_fisher(original, sets.forget, sets.retain, head), recipe.k)
    params = adapt(tower, layers, recipe.rank, recipe.alpha, generator)
    optimizer = torch.optim.AdamW(params, lr=recipe.remind_lr, weight_decay=0.0)
    averaged = AveragedModel(tower, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))
    b = recipe.remind_batch
    batches_r, batches_f = index_batches(len(x_r), b, generator), index_batches(len(x_f), b, generator)
    batches_d = index_batches(len(x_d), 2 * b, generator) if x_d is not None else None

    history = []
    for step in tqdm(range(recipe.remind_steps), desc="remind", leave=False):
        i = next(batches_r).to(device)
        images, teacher = [x_r[i]], [t_r[i]]
        if recipe.guard_weight:
            f = next(batches_f).to(device)
            images.append(x_f[f])
            teacher.append(t_f[f])
        if x_d is not None:
            d = next(batches_d).to(device)
            images.append(x_d[d])
            teacher.append(t_d[d])
        z = student.embed_tensor(torch.cat(images)).split([len(t) for t in teacher])
        terms = {"contrastive": recipe.contrastive_weight * F.cross_entropy(scale * z[0] @ head.T, y_r[i])}
        terms["distill"] = recipe.distill_weight * class_distillation(z[0], teacher[0], head, scale, without)
        if recipe.guard_weight:
            terms["guard"] = recipe.guard_weight * (
                hinge(z[1], y_f[f], head, scale, recipe.guard_margin)
                + recipe.distill_weight * class_distillation(z[1], teacher[1], head, scale, without)
            )
        if recipe.feature_weight:
            held = [0] + ([len(z) - 1] if x_d is not None else [])
            terms["feature"] = recipe.feature_weight * feature_distillation(
                torch.cat([z[j] for j in held]),
                torch.cat([teacher[j] for j in held]),
                head[target] if recipe.distill_without_target else None,
            )
        loss = sum(terms.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        averaged.update_parameters(tower)
        history.append({"step": step + 1, **{k: v.detach() for k, v in terms.items()}})
    student.model.visual = merge(averaged.module)
    student.record["remind"] = [{k: float(v) for k, v in row.items()} for row in history]
    return student
