"""Relative Fisher information: which layers matter to the forget set and little to the retain set.

    I_l = E_{x in D_f} || d sim(x, t) / d theta_l ||^2  /  E_{x in D_r} || d sim(x, t) / d theta_l ||^2

(Zhang et al., CVPR 2025, arXiv 2506.03117.) `sim` is the cosine of an image's embedding and its class
embedding. The square is taken per sample and then averaged, so a batch's summed gradient is not the same thing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from unittest import mock

import pandas as pd
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from tqdm.auto import tqdm

from forgetkit.lora import adaptable
from forgetkit.models.clip import Clip, Inputs
from forgetkit.models.memory import halving, out_of_memory
from forgetkit.models.prefix import Features, run
from forgetkit.recipe import Forget
from forgetkit.subgroups import Splits

log = logging.getLogger(__name__)
BATCH = 32  # images at once
MULTIPLY = {F.linear, F.conv2d, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}
LAYOUTS = (  # where n images lie in what a layer is given, (..., fan-in): brought to the front
    lambda x, n: x.unflatten(0, (-1, n)).movedim(1, 0),  # in front; or in turn, as in the output of attention
    lambda x, n: x.movedim(1, 0),  # (positions, n, fan-in), as attention takes them
    lambda x, n: x.unflatten(0, (n, -1)),  # one after the other, each with all its positions: windows
)


def squared_gradients(
    tower: torch.nn.Module, x: torch.Tensor | Features, text: torch.Tensor, names: Sequence[str]
) -> torch.Tensor:
    """|| d sim(x_i, t_i) / d theta_l ||^2 per sample and layer, (N, L): one image after the other.

    x (N, 3, S, S) preprocessed images, or their features; text (N, D) class embeddings; names: L weights of `tower`.
    """
    weights = [tower.get_parameter(name) for name in names]
    rows = []
    for i in tqdm(range(len(x)), desc="Fisher", leave=False, delay=1):
        similarity = F.cosine_similarity(run(tower, x[i : i + 1]), text[i : i + 1]).sum()
        gradients = torch.autograd.grad(similarity, weights)
        rows.append(torch.stack([g.square().sum() for g in gradients]))
    return torch.stack(rows)


Product = tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple]  # weight, x, y or its gradient, settings of a conv2d


class Products(TorchFunctionMode):
    """Notes, while it is on, every product of the named weights of a tower: `seen`."""

    def __init__(self, tower: torch.nn.Module, names: Sequence[str]):
        super().__init__()
        self.names, self.seen = {id(tower.get_parameter(name)): name for name in names}, {name: [] for name in names}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        y = function(*args, **(kwargs or {}))
        if function in MULTIPLY and len(args) > 1 and (name := self.names.get(id(args[1]))):
            self.seen[name].append((args[1], args[0], y, args[3:]))
        return y


def products(
    tower: torch.nn.Module, x: torch.Tensor | Features, text: torch.Tensor, names: Sequence[str]
) -> dict[str, Product]:
    """The products of those weights that have one in a forward, y: the gradient of the images' `sim` by it."""
    # Attention hands itself to a mode as one function; told that there is no mode, it shows its products.
    with Products(tower, names) as noted, mock.patch.object(F, "has_torch_function", lambda _: False):
        z = run(tower, x)
    found = {name: seen[0] for name, seen in noted.seen.items() if len(seen) == 1}
    gradients = torch.autograd.grad(F.cosine_similarity(z, text).sum(), [y for _, _, y, _ in found.values()])
    return {name: (w, x.detach(), g, settings) for (name, (w, x, _, settings)), g in zip(found.items(), gradients)}


def squared_norms(product: Product, n: int, layout: Callable) -> torch.Tensor:
    """|| sum over positions p of y_p x_p^T ||^2 of n images, (n,): the gradient of W in W x, from that of its output.

    Where an image has few positions, it is had without the gradient, from sums of (x_p . x_q)(y_p . y_q).
    """
    weight, x, y, settings = product
    if weight.ndim == 4:
        stride, padding, dilation, groups = settings
        x = F.unfold(x, weight.shape[2:], dilation, padding, stride).unflatten(1, (groups, -1))
        y = y.flatten(2).unflatten(1, (groups, -1))
    else:
        x, y = (layout(part, n).flatten(1, -2).mT[:, None] for part in (x, y))
    fan_in, out, positions = x.shape[2], y.shape[2], x.shape[3]  # x (n, groups, fan-in, positions)
    if positions * (fan_in + out) < fan_in * out:
        return ((x.mT @ x) * (y.mT @ y)).sum((1, 2, 3))
    return (y @ x.mT).square().sum((1, 2, 3))


def layout_of(product: Product, n: int, first: torch.Tensor) -> Callable | None:
    """The layout with which `squared_norms` gives the first image's true value, if there is one."""
    for layout in LAYOUTS:
        try:
            norms = squared_norms(product, n, layout)
            if len(norms) == n and torch.isclose(norms[0], first, rtol=0.02, atol=0.0):
                return layout
        except (RuntimeError, IndexError, TypeError, ValueError) as error:  # the shapes are of another layout, or layer
            if out_of_memory(error):
                raise
    return None


def squared_gradients_in_batches(
    tower: torch.nn.Module, x: torch.Tensor | Features, text: torch.Tensor, names: Sequence[str]
) -> torch.Tensor:
    """What `squared_gradients` gives, to rounding, for `BATCH` images at once and without a gradient per image.

    The first image tells which layers are plain products; the others are left to `squared_gradients`.
    """

    def through(size: int) -> torch.Tensor:
        first, layouts, norms = squared_gradients(tower, x[:1], text[:1], names)[0], {}, []
        for part, t in zip(x.split(size), text.split(size)):
            found = products(tower, part, t, names)
            if not norms:
                layouts = {n: layout_of(found[n], len(t), value) for n, value in zip(names, first) if n in found}
            norms.append({n: squared_norms(found[n], len(t), layout) for n, layout in layouts.items() if layout})
        known = {name: torch.cat([part[name] for part in norms]) for name in norms[0]}
        if left := [name for name in names if name not in known]:
            log.warning(f"Fisher information: {', '.join(left)}: no plain product, so one image after the other.")
            known |= zip(left, squared_gradients(tower, x, text, left).T)
        return torch.stack([known[name] for name in names], 1)

    return halving(through, min(BATCH, len(x)), "Fisher")


def relative_fisher(
    clip: Clip, forget: Inputs, retain: Inputs, head: torch.Tensor, names: Sequence[str] | None = None,
    squares=squared_gradients_in_batches,
) -> pd.DataFrame:  # fmt: skip
    """One row a layer, most specific to the forget set first: layer, forget, retain, ratio.

    head (C, D); names: the layers, all that an adapter fits unless given; squares: computes the squared gradients.
    """
    tower = clip.model.visual
    names = adaptable(tower) if names is None else names
    mean = [squares(tower, part.images, head[part.labels], names).mean(0).cpu() for part in (forget, retain)]
    table = pd.DataFrame({"layer": names, "forget": mean[0], "retain": mean[1]})
    table["ratio"] = table["forget"] / table["retain"].clip(lower=torch.finfo(torch.float32).tiny)
    return table.sort_values("ratio", ascending=False, ignore_index=True)


def top_k(table: pd.DataFrame, k: int) -> list[str]:
    """The k layers with the largest relative Fisher information."""
    return table.sort_values("ratio", ascending=False)["layer"].head(k).tolist()


def choose_layers(clip: Clip, sets: Splits, recipe: Forget) -> tuple[list[str], pd.DataFrame]:
    """The recipe's k of the layers that may change, and the table of these; raises ValueError if there are fewer."""
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
