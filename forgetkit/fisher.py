"""Relative Fisher information: which layers matter to the forget set and little to the retain set.

    I_l = E_{x in D_f} || d sim(x, t) / d theta_l ||^2  /  E_{x in D_r} || d sim(x, t) / d theta_l ||^2

(Zhang et al., CVPR 2025, arXiv 2506.03117.) `sim` is the cosine of an image's embedding and its class
embedding. The square is taken per sample and then averaged, so a batch's summed gradient is not the same thing.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from .clips import Clip
from .data import ImageSet
from .lora import adaptable
from .recipe import Recipe
from .subgroups import Splits


def squared_gradients(
    tower: torch.nn.Module, x: torch.Tensor, text: torch.Tensor, names: list[str], chunk: int | None = None
) -> torch.Tensor:
    """|| d sim(x_i, t_i) / d theta_l ||^2 per sample and layer, (N, L).

    x (N, 3, S, S) preprocessed images, text (N, D) unit class embeddings, names: L weights of `tower`.
    `chunk` samples are differentiated at once (default: as many as keep the gradients near 400 MB).
    """
    params = {n: p.detach() for n, p in tower.named_parameters()}
    chosen = {n: params[n] for n in names}
    rest = {**{n: p for n, p in params.items() if n not in chosen}, **dict(tower.named_buffers())}

    def similarity(weights, image, t):
        z = functional_call(tower, {**weights, **rest}, (image[None],))
        return F.cosine_similarity(z, t[None]).squeeze()

    per_sample = vmap(grad(similarity), in_dims=(None, 0, 0))
    chunk = chunk or max(1, min(64, int(1e8 / sum(p.numel() for p in chosen.values()))))
    rows = []
    for i in tqdm(range(0, len(x), chunk), desc="Fisher", leave=False, delay=1):
        with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels have no per-sample rule
            grads = per_sample(chosen, x[i : i + chunk], text[i : i + chunk])
        rows.append(torch.stack([grads[n].flatten(1).square().sum(1) for n in names], 1))
    return torch.cat(rows)


def relative_fisher(clip: Clip, forget: ImageSet, retain: ImageSet, head: torch.Tensor) -> pd.DataFrame:
    """One row a layer, most specific to the forget set first: layer, forget, retain, ratio.

    head (C, D): class embeddings in the order of the sets' classes.
    """
    names = adaptable(clip.model.visual)
    mean = {}
    for key, part in (("forget", forget), ("retain", retain)):
        text = head[torch.as_tensor(part.labels, device=head.device)]
        mean[key] = squared_gradients(clip.model.visual, clip.preprocess(part.images), text, names).mean(0).cpu()
    table = pd.DataFrame({"layer": names, "forget": mean["forget"], "retain": mean["retain"]})
    table["ratio"] = table["forget"] / table["retain"].clip(lower=torch.finfo(torch.float32).tiny)
    return table.sort_values("ratio", ascending=False, ignore_index=True)


def top_k(table: pd.DataFrame, k: int) -> list[str]:
    """The k layers with the largest relative Fisher information; raises ValueError if there are fewer."""
    if not 1 <= k <= len(table):
        raise ValueError(f"k must lie in 1..{len(table)} (the layers of this image tower), got {k}.")
    return table.sort_values("ratio", ascending=False)["layer"].head(k).tolist()


def choose_layers(clip: Clip, sets: Splits, recipe: Recipe, head: torch.Tensor) -> tuple[list[str], pd.DataFrame]:
    """The recipe's k layers and the whole table; raises ValueError, before any work, if the tower has fewer."""
    available = len(adaptable(clip.model.visual))
    if recipe.k > available:
        raise ValueError(f"k={recipe.k} layers, but this image tower has {available}: choose a lower k.")

    def few(part: ImageSet) -> ImageSet:
        return part.take(range(min(recipe.fisher_samples, len(part))))

    table = relative_fisher(clip, few(sets.forget), few(sets.retain), head)
    return top_k(table, recipe.k), table
