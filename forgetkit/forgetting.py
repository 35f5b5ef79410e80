"""Stage 1, forgetting: low-rank adapters on the layers that relative Fisher information picks.

    L_f = mean over D_f of sim(x, t)

is minimised (Zhang et al., CVPR 2025, arXiv 2506.03117). It has no floor: minimised without end it tears the
whole model down, so the loop stops as soon as almost nothing of D_f is recognised any more. `default` also stops
when the siblings go: where they bear the target's label they go first, and stage 2, which sees both, goes on.
"""

from __future__ import annotations

import logging

import torch
from tqdm.auto import tqdm

from forgetkit.models.clip import Clip, class_head, stage
from forgetkit.losses import hinge
from forgetkit.evaluation import predict
from forgetkit.fisher import choose_layers
from forgetkit.lora import adapt, merge
from forgetkit.models.memory import Backward, compiled, to_device
from forgetkit.recipe import Recipe
from forgetkit.subgroups import Splits

log = logging.getLogger(__name__)


def index_batches(n: int, batch: int, generator: torch.Generator, device: torch.device = torch.device("cpu")):
    """Endless shuffled batches of indices 0..n-1, each (min(batch, n),) long; on the device, an order at a time."""
    batch = min(batch, n)
    while True:
        order = to_device(torch.randperm(n, generator=generator), device)
        yield from order[: n - n % batch].split(batch)


@stage
def forget(clip: Clip, sets: Splits, recipe: Recipe, head: torch.Tensor | None = None) -> Clip:
    """Stage 1: a new model that no longer recognises the target (and little else has changed, if all goes well).

    head (C, D): class embeddings in the order of `sets.classes`; from the sets' prompts by default.
    The record holds `fisher` (one row a layer), `layers` (the k chosen), `forget` (step, loss; at each check target
    and retain: percent of D_f and D_r still recognised).
    """
    head = class_head(clip, sets, head)
    generator = torch.Generator().manual_seed(recipe.seed)
    layers, fisher = choose_layers(clip, sets, recipe, head)

    unlearned = clip.copy("forget", fisher=fisher.to_dict("records"), layers=layers)
    params = adapt(unlearned.model.visual, layers, recipe.rank, recipe.alpha, generator)
    optimizer = torch.optim.AdamW(params, lr=recipe.forget_lr, weight_decay=0.0)
    x = clip.preprocess(sets.forget.images)
    labels = torch.as_tensor(sets.forget.labels, device=clip.device)
    batches = index_batches(len(x), recipe.forget_batch, generator, clip.device)
    embed = compiled(unlearned.embed_tensor, recipe.compile)
    backward = Backward("forget", optimizer, embed, recipe.micro_batch or recipe.forget_batch)

    def loss_of(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if recipe.forget_loss == "similarity":
            return (z * head[labels]).sum(1).mean()
        return hinge(z, labels, head, clip.scale, recipe.guard_margin)

    def recognised() -> dict[str, float]:
        """Percent of D_f and D_r still called by their own class, where a rule asks for it."""
        asked = {"target": (recipe.forget_stop, sets.forget), "retain": (recipe.forget_spare, sets.retain)}
        return {
            name: 100 * (predict(unlearned, part.images, head) == torch.as_tensor(part.labels)).double().mean().item()
            for name, (limit, part) in asked.items()
            if limit is not None
        }

    history = []
    for step in tqdm(range(recipe.forget_steps), desc="forget", leave=False):
        if step % recipe.forget_check == 0 and (found := recognised()):
            history.append({"step": step, **found})
            if "target" in found and found["target"] <= recipe.forget_stop:
                if step == 0:
                    log.warning("The model recognises almost none of the forget images: check classes and prompts.")
                break
            if "retain" in found and found["retain"] < recipe.forget_spare / 100 * history[0]["retain"]:
                break
        index = next(batches)
        loss = backward(x[index], lambda z: loss_of(z, labels[index]))
        optimizer.step()
        history.append({"step": step + 1, "loss": loss})
    merge(unlearned.model.visual)
    unlearned.record["forget"] = [{k: float(v) for k, v in row.items()} for row in history]
    return unlearned
