"""Stage 1, forgetting: low-rank adapters on the layers that relative Fisher information picks.

    L_f = mean over D_f of sim(x, t)

is minimised (Zhang et al., CVPR 2025, arXiv 2506.03117). It has no floor: minimised without end it tears the
whole model down, so training stops as soon as almost nothing of D_f is recognised any more. A hinge can take its place,
and training is rolled back where siblings are lost. `default` has no stage 1: stage 2, which sees both, does it all.
"""

from __future__ import annotations

import logging

import torch

from forgetkit.evaluation import recognised
from forgetkit.fisher import choose_layers
from forgetkit.lora import adapt, merge
from forgetkit.losses import hinge
from forgetkit.models.calls import stage
from forgetkit.models.clip import Clip, Inputs
from forgetkit.models.prefix import n_frozen
from forgetkit.recipe import Forget
from forgetkit.subgroups import ModelSets
from forgetkit.training import Monitor, Pool, Trainer, Verdict

log = logging.getLogger(__name__)
EVAL_EVERY = 2  # steps between two checks of the stopping rules: each step past them is damage


@stage(Forget)
def forget(clip: Clip, sets: ModelSets, recipe: Forget, *, choose=choose_layers, adapt=adapt) -> Clip:
    """Stage 1: a new model that no longer recognises the target (and little else has changed, if all goes well).

    sets: `sets.on(clip)`. choose, adapt: what picks the layers, and what makes them trainable.
    The record holds `fisher` (one row a layer that may change), `layers` (the k chosen), `forget` (step, loss; at each
    check target and retain: percent of D_f and D_r still recognised) and `pace` (by stage: `rate`, `rollbacks`).
    """
    if not recipe.steps:
        return clip.copy("forget", fisher=[], layers=[])
    generator = torch.Generator().manual_seed(recipe.seed)
    layers, fisher = choose(clip, sets, recipe)
    student = clip.copy("forget", fisher=fisher.to_dict("records"), layers=layers)
    weights = adapt(student.model.visual, layers, recipe.rank, generator=generator)
    monitor = Monitor.of(clip, sets, n_frozen(clip.model.visual, layers))
    d_f, d_r = (clip.prefix_features(part, layers) for part in (sets.forget, sets.retain))  # computed once an image

    def terms(z: dict[str, torch.Tensor], drawn: dict[str, Pool]) -> dict[str, torch.Tensor]:
        z, labels = z["forget"], drawn["forget"].labels
        if recipe.loss == "similarity":
            return {"loss": (z * sets.head[labels]).sum(1).mean()}
        return {"loss": hinge(z, labels, sets.head, clip.scale, recipe.margin)}

    trainer = Trainer("forget", student, weights, monitor, recipe.embedding_step, recipe.drift)
    trainer.run(
        {"forget": Pool(d_f.images, d_f.labels)}, terms, generator,
        steps=recipe.steps, batch=recipe.batch, eval_every=EVAL_EVERY,
        rule=StoppingRule(student, d_f, d_r, sets.head, recipe),
    )  # fmt: skip
    merge(student.model.visual)
    return student


class StoppingRule:
    """Called between steps: percent of D_f and D_r still called by their own class; done, or too much harm?

    Done where at most `recipe.stop` percent of D_f are; harm where fewer of D_r are than `recipe.min_retain` percent of
    those at the first call.
    """

    def __init__(self, student: Clip, d_f: Inputs, d_r: Inputs, head: torch.Tensor, recipe: Forget):
        self.student, self.head, self.recipe, self.first = student, head, recipe, None
        limits = {"target": (recipe.stop, d_f), "retain": (recipe.min_retain, d_r)}
        self.watched = {name: part for name, (limit, part) in limits.items() if limit is not None}

    def __call__(self) -> Verdict:
        known = {name: recognised(self.student, part, self.head) for name, part in self.watched.items()}
        done = "target" in known and known["target"] <= self.recipe.stop
        if self.first is None:
            self.first = known
            if done:
                log.warning("The model recognises almost none of the forget images: check classes and prompts.")
        if "retain" in known and known["retain"] < self.recipe.min_retain / 100 * self.first["retain"]:
            left, first = known["retain"], self.first["retain"]
            return Verdict(known, f"{left:.0f} % of the siblings are still recognised, of {first:.0f} at first", done)
        return Verdict(known, None, done)
