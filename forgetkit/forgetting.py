"""Stage 1, forgetting: low-rank adapters on the layers that relative Fisher information picks.

    L_f = mean over D_f of sim(x, t)

is minimised (Zhang et al., CVPR 2025, arXiv 2506.03117). It has no floor: minimised without end it tears the
whole model down, so the loop stops as soon as almost nothing of D_f is recognised any more. `default` also stops
when the siblings go: where they bear the target's label they go first, and stage 2, which sees both, goes on.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from tqdm.auto import tqdm

from forgetkit.evaluation import recognised
from forgetkit.fisher import choose_layers
from forgetkit.lora import adapt, merge
from forgetkit.losses import hinge
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip
from forgetkit.models.memory import Backward, compiled, to_device
from forgetkit.recipe import Forget
from forgetkit.subgroups import Splits

log = logging.getLogger(__name__)


def index_batches(n: int, batch: int, generator: torch.Generator, device: torch.device = torch.device("cpu")):
    """Endless shuffled batches of indices 0..n-1, each (min(batch, n),) long; on the device, an order at a time."""
    batch = min(batch, n)
    while True:
        order = to_device(torch.randperm(n, generator=generator), device)
        yield from order[: n - n % batch].split(batch)


@stage
def forget(clip: Clip, sets: Splits, recipe: Forget, *, choose=choose_layers, adapt=adapt) -> Clip:
    """Stage 1: a new model that no longer recognises the target (and little else has changed, if all goes well).

    sets: `sets.on(clip)`. choose, adapt: what picks the layers, and what makes them trainable.
    The record holds `fisher` (one row a layer that may change), `layers` (the k chosen), `forget` (step, loss; at each
    check target and retain: percent of D_f and D_r still recognised).
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    layers, fisher = choose(clip, sets, recipe)

    student = clip.copy("forget", fisher=fisher.to_dict("records"), layers=layers)
    weights = adapt(student.model.visual, layers, recipe.rank, recipe.alpha, generator)
    optimizer = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=0.0)
    # What lies before the layers does not change, and is computed once.
    sets = replace(sets, **{name: clip.past_body(getattr(sets, name), layers) for name in ("forget", "retain")})
    x, labels, head = sets.forget.images, sets.forget.labels, sets.head
    batches = index_batches(len(x), recipe.batch, generator, clip.device)
    embed = compiled(student.embed_tensor, recipe.compile)
    backward = Backward("forget", optimizer, embed, recipe.micro_batch or recipe.batch)

    def loss_of(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if recipe.loss == "similarity":
            return (z * head[labels]).sum(1).mean()
        return hinge(z, labels, head, clip.scale, recipe.margin)

    history = []
    for step in tqdm(range(recipe.steps), desc="forget", leave=False):
        if step % recipe.check == 0 and (known := still_known(student, sets, recipe)):
            history.append({"step": step, **known})
            if known.get("target", 100) <= (recipe.stop or 0):
                if step == 0:
                    log.warning("The model recognises almost none of the forget images: check classes and prompts.")
                break
            if "retain" in known and known["retain"] < recipe.spare / 100 * history[0]["retain"]:
                break
        index = next(batches)
        loss = backward(x[index], lambda z: loss_of(z, labels[index]))
        optimizer.step()
        history.append({"step": step + 1, "loss": loss})
    merge(student.model.visual)
    student.record["forget"] = [{k: float(v) for k, v in row.items()} for row in history]
    return student


def still_known(student: Clip, sets: Splits, recipe: Forget) -> dict[str, float]:
    """Percent of D_f and D_r still called by their own class, as far as a stopping rule asks for it."""
    found = {"target": (recipe.stop, sets.forget), "retain": (recipe.spare, sets.retain)}
    return {name: recognised(student, part, sets.head) for name, (limit, part) in found.items() if limit is not None}
