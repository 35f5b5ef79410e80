"""Relative Fisher information: which layers matter to the forget set and little to the retain set.

    I_l = E_{x in D_f} || d sim(x, t) / d theta_l ||^2  /  E_{x in D_r} || d sim(x, t) / d theta_l ||^2

(Zhang et al., CVPR 2025, arXiv 2506.03117.) `sim` is the cosine of an image's embedding and its class
embedding. The square is taken per sample and then averaged, so a batch's summed gradient is not the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from forgetkit.lora import adaptable
from forgetkit.models.clip import Clip, Inputs
from forgetkit.models.prefix import run
from forgetkit.recipe import Forget
from forgetkit.subgroups import Splits


def squared_gradients(
    tower: torch.nn.Module, x: torch.Tensor, text: torch.Tensor, names: Sequence[str]
) -> torch.Tensor:
    """|| d sim(x_i, t_i) / d theta_l ||^2 per sample and layer, (N, L).

    x (N, 3, S, S) preprocessed images, or their prefix features; text (N, D) class embeddings; names: L
    weights of `tower`, in eval mode.
    """
    weights = [tower.get_parameter(name) for name in names]
    rows = []
    for i in tqdm(range(len(x)), desc="Fisher", leave=False, delay=1):
        similarity = F.cosine_similarity(run(tower, x[i : i + 1]), text[i : i + 1]).sum()
        gradients = torch.autograd.grad(similarity, weights)
        rows.append(torch.stack([g.square().sum() for g in gradients]))
    return torch.stack(rows)


def relative_fisher(
    clip: Clip, forget: Inputs, retain: Inputs, head: torch.Tensor, names: Sequence[str] | None = None,
    squares=squared_gradients,
) -> pd.DataFrame:  # fmt: skip
    """One row a layer, most specific to the forget set first: layer, forget, retain, ratio.

    head (C, D): class embeddings in the order of the sets' classes. names: the layers, all that an adapter fits unless
    given. squares: what computes the squared gradients.
    """
    tower = clip.model.visual
    names = adaptable(tower) if names is None else names
    mean = [squares(tower, part.images, head[part.labels], names).mean(0).cpu() for part in (forget, retain)]
    table = pd.DataFrame({"layer": names, "forget": mean[0], "retain": mean[1]})
    table["ratio"] = table["forget"] / table["retain"].clip(lower=torch.finfo(torch.float32).tiny)
    return table.sort_values("ratio", ascending=False, ignore_index=True)


def top_k(table: pd.DataFrame, k: int) -> list[str]:
    """The k layers with the largest relative Fisher information; raises ValueError if there are fewer."""
    if not 1 <= k <= len(table):
        raise ValueError(f"k must lie in 1..{len(table)} (the layers of this image tower), got {k}.")
    return table.sort_values("ratio", ascending=False)["layer"].head(k).tolist()


def choose_layers(clip: Clip, sets: Splits, recipe: Forget) -> tuple[list[str], pd.DataFrame]:
    """The recipe's k of the layers that may change, and the table of these.

    Raises ValueError, before any work, if the tower has fewer.
    """
    allowed = adaptable(clip.model.visual, recipe.trainable_fraction)
    if recipe.k > len(allowed):
        raise ValueError(
            f"k={recipe.k} layers, but this image tower has {len(allowed)} that may change"
            f" (trainable_fraction={recipe.trainable_fraction:g}): choose a lower k, or a larger fraction."
        )
    few = slice(recipe.fisher_samples)
    forget, retain = (clip.prefix_features(part.take(few), allowed, mixed=False) for part in (sets.forget, sets.retain))
    table = relative_fisher(clip, forget, retain, sets.head, allowed)
    return top_k(table, recipe.k), table
