"""Ideas that were to make forgetting deep, each in stage 2's loss: `python -m benchmarks.depth`.

What of the target can still be found is asked of *validation* images alone: one half is the attacker's, the figures are
of the other half, then the other way round, and their means are the rows in `docs/results/depth.csv`. With z the
student's embeddings of a batch of D_f, s the original's of the siblings and g the gap of the target's logit to the
best other, in logits:

| idea                | the loss gains                                                                              |
|---------------------|---------------------------------------------------------------------------------------------|
| `discrepancy`       | squared maximum mean discrepancy of z and s: what `default` has (`losses.mmd`)      |
| `nearest siblings`  | mean of 1 - cos(z, the mean of the ten s nearest to the original's embedding)                |
| `probe`             | log(1 + e^p(z)): a linear probe p, target against siblings, refitted at every step, errs     |
| `gap`               | mean abs difference of the sorted g of D_f and of D_r: a Wasserstein distance of the gaps    |
| `means`             | squared distance of mean z and mean s, whitened by s: no plane tells them apart, if zero     |

`D_f shifted` changes no loss: every image of D_f is also shown moved by a sixteenth of its side, to each corner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import click
import pandas as pd
import torch
import torch.nn.functional as F

from benchmarks.ablations import by_stage
from benchmarks.attacked import attacked
from benchmarks.benchmark import drawn
from benchmarks.rows import Rows, measured, options
from forgetkit.auditing.attacks import Embedded, View
from forgetkit.auditing.report import embedded
from forgetkit.data.images import some
from forgetkit.evaluation import accuracies
from forgetkit.models import mini
from forgetkit.models.clip import Clip, Inputs
from forgetkit.models.loading import load_clip, oracle_of
from forgetkit.pipeline import unlearn
from forgetkit.recipe import Recipe
from forgetkit.reminding import reminding_terms
from forgetkit.store import Cache
from forgetkit.subgroups import Splits
from forgetkit.training import Pool

Term = Callable[..., torch.Tensor]  # (z of D_f, what was drawn, the student's z of D_r, head, scale, target, siblings)


def nearest_siblings(z: torch.Tensor, pools: dict[str, Pool], *_, siblings: torch.Tensor, **__) -> torch.Tensor:
    near = (pools["forget"].teacher @ siblings.T).topk(10, 1).indices
    return (1 - F.cosine_similarity(z, siblings[near].mean(1))).mean()


class Probe:
    """A logistic probe, refitted five steps of Adam a step on the last eight batches of both sets."""

    def __init__(self):
        self.batches, self.weights = [], None

    def __call__(self, z: torch.Tensor, pools: dict[str, Pool], kept: torch.Tensor, *_, **__) -> torch.Tensor:
        if self.weights is None:
            self.weights = torch.zeros(z.shape[1] + 1, device=z.device, requires_grad=True)
            self.optimizer = torch.optim.Adam([self.weights], lr=0.3)
        self.batches = [*self.batches[-7:], (z.detach(), kept.detach())]
        ours, others = (torch.cat(part) for part in zip(*self.batches))
        side = lambda x, w: x @ w[:-1] + w[-1]
        for _ in range(5):
            self.optimizer.zero_grad()
            (F.softplus(-side(ours, self.weights)).mean() + F.softplus(side(others, self.weights)).mean()).backward()
            self.optimizer.step()
        return F.softplus(side(z, self.weights.detach())).mean()


def gap(z: torch.Tensor, pools: dict[str, Pool], kept: torch.Tensor, head, scale, target, **_) -> torch.Tensor:
    def gaps(x: torch.Tensor) -> torch.Tensor:
        own, others = x @ head[target].T, x @ head[[c for c in range(len(head)) if c not in target]].T
        return (scale * (own.max(1).values - others.max(1).values)).sort().values

    n = min(len(z), len(kept))
    return (gaps(z[:n]) - gaps(kept[:n].detach())).abs().mean()


def means(z: torch.Tensor, pools: dict[str, Pool], *_, siblings: torch.Tensor, **__) -> torch.Tensor:
    middle = siblings.mean(0)
    covariance = (siblings - middle).T @ (siblings - middle) / len(siblings)
    covariance += 0.01 * covariance.trace() / len(covariance) * torch.eye(len(covariance), device=z.device)
    apart = z.mean(0) - middle
    return apart @ torch.linalg.solve(covariance, apart)


def shifted(part: Inputs) -> Inputs:
    """The images (N, 3, S, S), and each moved towards the four corners, its border repeated: 5 N."""
    x, side = part.images, part.images.shape[-1]
    by = side // 16
    wide = F.pad(x, (by,) * 4, mode="replicate")
    moved = [wide[..., i : i + side, j : j + side] for i in (0, 2 * by) for j in (0, 2 * by)]
    images = torch.cat([x, *moved]).contiguous(memory_format=torch.channels_last)
    return replace(part, images=images, labels=part.labels.repeat(5))


# By name: changes of the recipe, and terms with their weights.
NONE = {"remind.mmd": 0.0}
IDEAS: dict[str, tuple[dict, dict[Callable[[], Term], float]]] = {
    "none": (NONE, {}),
    "mmd": ({}, {}),
    "mmd, weight 10": ({"remind.mmd": 10.0}, {}),
    "mmd, weight 100": ({"remind.mmd": 100.0}, {}),
    **{f"mmd, margin {m:g}": ({"margin": m}, {}) for m in (0.0, 2.0, 6.0, 8.0)},
    "mmd, soup from 0.8": ({"restore.min_alpha": 0.8}, {}),
    "mmd, no soup": ({"restore.alphas": (1.0,)}, {}),
    "mmd, D_f shifted": ({}, {}),
    "mmd, half of the layers": ({"trainable_fraction": 0.5}, {}),
    "mmd, every layer": ({"trainable_fraction": 1.0}, {}),
    "nearest siblings": (NONE, {lambda: nearest_siblings: 100.0}),
    "probe": (NONE, {Probe: 3.0}),
    "nearest siblings and probe": (NONE, {lambda: nearest_siblings: 100.0, Probe: 3.0}),
    "gap": (NONE, {lambda: gap: 1.0}),
    "means": (NONE, {lambda: means: 1.0}),
}
STUDIED = (("class", "cat"), ("class", "truck"))


def adding(terms: dict[Callable[[], Term], float]) -> Callable:
    """For `remind(terms=...)`: stage 2's own terms, and these."""
    more = {make(): weight for make, weight in terms.items()}

    def all_terms(z, pools, sets, scale, recipe, siblings):
        found = reminding_terms(z, pools, sets, scale, recipe, siblings)
        known = sets.head, scale, sets.labels
        for i, (term, weight) in enumerate(more.items()):
            found[f"idea {i}"] = weight * term(z["forget"], pools, z["retain"], *known, siblings=siblings)
        return found

    return all_terms


def halves(clip: Clip, sets: Splits) -> list[View]:
    """The validation images, as an attacker's half and the other: both ways round."""
    (whole,), forget = embedded([clip], sets.validation), clip.embed(sets.forget.images).cpu()
    order = torch.randperm(len(whole.z), generator=torch.Generator().manual_seed(0)).tensor_split(2)
    one, other = (Embedded(*(getattr(whole, f.name)[i] for f in fields(Embedded))) for i in order)
    known = sets.head.cpu().float(), int(sets.forget.labels[0]), clip.scale.item()
    return [View(*known, *parts, forget) for parts in ((one, other), (other, one))]


def compute(clip: Clip, idea: str, kind: str, subgroup: str, seed: int) -> list[dict]:
    """The row of one idea: Score and accuracies on at most 1,000 validation images a column, and depth."""
    sets = drawn(clip, kind, subgroup, seed)
    columns = some(sets.validation, 1000)
    before = accuracies(clip, columns)
    synonyms = clip.head(mini.synonyms(sets.classes[int(sets.forget.labels[0])]), sets.prompts).cpu()
    if idea == "original":
        return [{**measured(before, None), **attacked(halves(clip, sets), synonyms)}]
    if idea == "oracle":
        oracle = load_clip(oracle_of(subgroup), device=clip.device)
        own = replace(sets, head=oracle.head(sets.classes, sets.prompts))
        synonyms = oracle.head(mini.synonyms(subgroup), sets.prompts).cpu()
        return [{**measured(accuracies(oracle, columns), before), **attacked(halves(oracle, own), synonyms)}]
    changes, terms = IDEAS[idea]
    pieces = {"terms": adding(terms)} if terms else {}
    seen = replace(sets, forget=shifted(sets.forget)) if idea.endswith("shifted") else sets
    result = unlearn(clip, seen, Recipe.default(seed, **by_stage(changes)), None if terms else Cache(), **pieces)[-1]
    row = {"alpha": result.record["alpha"], "setting": str(changes)}
    return [{**row, **measured(accuracies(result, columns), before), **attacked(halves(result, sets), synonyms)}]


@click.command(help=__doc__.splitlines()[0])
@options("depth.csv")
@click.option("--idea", "ideas", multiple=True, type=click.Choice(["original", "oracle", *IDEAS]), help="repeat")
def main(device: str, out: Path, ideas: tuple[str, ...]) -> None:
    clip, named = load_clip("mini", device=device), ideas or ("original", "oracle", *IDEAS)
    where = [{"kind": kind, "subgroup": name, "seed": 0} for kind, name in STUDIED]
    runs = [{"idea": idea, **of} for of in where for idea in named if idea != "oracle" or oracle_of(of["subgroup"])]
    rows = Rows(out, ["idea", "kind", "subgroup", "seed"], clip.device)
    table: pd.DataFrame = rows.fill(runs, partial(compute, clip))
    print(table.groupby(["subgroup", "idea"], sort=False)[["target", "score", "offset recall"]].mean().to_string())


if __name__ == "__main__":
    main()
