"""Stage 1, forgetting: low-rank adapters on the layers that relative Fisher information picks.

    L_f = mean over D_f of sim(x, t)

is minimised (Zhang et al., CVPR 2025, arXiv 2506.03117). It has no floor: minimised without end it tears the
whole model down, so the loop stops as soon as almost nothing of D_f is recognised any more. `default` also goes back
where the siblings go: where they bear the target's label they go first, and stage 2, which sees both, does the rest.
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
from forgetkit.models.body import frozen
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip
from forgetkit.models.memory import Backward, compiled, to_device
from forgetkit.pacing import RETURNS, Descent, Watch
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
    check target and retain: percent of D_f and D_r still recognised) and `pace` (by stage: `rate`, and `returns`).
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    layers, fisher = choose(clip, sets, recipe)

    student = clip.copy("forget", fisher=fisher.to_dict("records"), layers=layers)
    weights = adapt(student.model.visual, layers, recipe.rank, recipe.lora_alpha, generator)
    watch = Watch.of(clip, sets, frozen(clip.model.visual, layers))
    # What lies before the layers does not change, and is computed once.
    sets = replace(sets, **{name: clip.past_body(getattr(sets, name), layers) for name in ("forget", "retain")})
    x, labels, head = sets.forget.images, sets.forget.labels, sets.head
    batches = index_batches(len(x), recipe.batch, generator, clip.device)
    embed = compiled(student.embed_tensor, recipe.compile)
    descent = Descent("Stage 1", student, weights, watch, recipe.embedding_step, recipe.drift)
    backward = Backward("forget", descent.optimizer, embed, recipe.micro_batch or recipe.batch)

    def loss_of(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if recipe.loss == "similarity":
            return (z * head[labels]).sum(1).mean()
        return hinge(z, labels, head, clip.scale, recipe.margin)

    history: list[dict] = []
    for step in tqdm(range(recipe.steps + 1), desc="forget", leave=False):
        if step % recipe.eval_every == 0 or step == recipe.steps:
            history.append({"step": step, **(known := still_known(student, sets, recipe))})
            well = descent.well(step, too_few_left(known, history[0], recipe))
            if well and known.get("target", 100) <= (recipe.stop or 0):
                if step == 0:
                    log.warning("The model recognises almost none of the forget images: check classes and prompts.")
                break
            if descent.returns > RETURNS:
                break
        if step < recipe.steps:
            index = next(batches)
            loss = backward(x[index], lambda z: loss_of(z, labels[index]))
            descent.step()
            history.append({"step": step + 1, "loss": loss})
    merge(student.model.visual)
    student.record["forget"] = [{k: float(v) for k, v in row.items()} for row in history]
    student.record["pace"] = {"forget": descent.told()}
    return student


def still_known(student: Clip, sets: Splits, recipe: Forget) -> dict[str, float]:
    """Percent of D_f and D_r still called by their own class, as far as a stopping rule asks for it."""
    found = {"target": (recipe.stop, sets.forget), "retain": (recipe.min_retain, sets.retain)}
    return {name: recognised(student, part, sets.head) for name, (limit, part) in found.items() if limit is not None}


def too_few_left(known: dict[str, float], first: dict[str, float], recipe: Forget) -> str | None:
    """Says so where fewer siblings than `recipe.min_retain` allows are still recognised."""
    if "retain" in known and known["retain"] < recipe.min_retain / 100 * first["retain"]:
        return f"{known['retain']:.0f} % of the siblings are still recognised, of {first['retain']:.0f} at first"
    return None
