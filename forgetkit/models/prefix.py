"""The image tower in two: a frozen prefix that no stage changes, and the rest, which they do.

The prefix gives the same output at every step, every alpha and in every model: it is computed once an image
(`Clip.prefix_features`), and the stages run the rest. A tower whose blocks are not known here is run whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer


@dataclass(frozen=True)
class Features:
    """What the first `n_frozen` blocks of a tower make of N images: values (N, ...). Stands wherever images do."""

    values: torch.Tensor
    n_frozen: int

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index) -> Features:
        return Features(self.values[index], self.n_frozen)

    def split(self, size: int) -> list[Features]:
        return [Features(part, self.n_frozen) for part in self.values.split(size)]


def joined(parts: Sequence[torch.Tensor | Features]) -> torch.Tensor | Features:
    """One after the other: images (N, 3, S, S), or features behind one prefix."""
    if isinstance(parts[0], Features):
        return Features(torch.cat([part.values for part in parts]), parts[0].n_frozen)
    return torch.cat(list(parts))


def blocks(tower: torch.nn.Module) -> list[tuple[tuple[str, ...], Callable]]:
    """The tower as a chain, (what its weights' names begin with, what it computes) of each block; [] if not known."""
    if isinstance(tower, ModifiedResNet):  # also with an adapter on it
        layers = {f"layer{n}": getattr(tower, f"layer{n}") for n in (1, 2, 3, 4)}
        middle = [((f"{name}.{i}.",), block) for name, layer in layers.items() for i, block in enumerate(layer)]
        return [(("conv", "bn"), tower.stem), *middle, (("attnpool.",), tower.attnpool)]
    if isinstance(tower, VisionTransformer) and tower.transformer.batch_first and not tower.output_tokens:
        middle = [((f"transformer.resblocks.{i}.",), block) for i, block in enumerate(tower.transformer.resblocks)]
        if (
            type(last := middle[-1][1]) is ResidualAttentionBlock
            and tower.pool_type == "tok"
            and tower.attn_pool is None
        ):
            middle[-1:] = halves(middle[-1][0][0], last)
        first = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "patch_dropout")
        end = lambda x: tower._pool(x)[0] @ tower.proj if tower.proj is not None else tower._pool(x)[0]
        return [(first, tower._embeds), *middle, (("ln_post", "attn_pool", "proj"), end)]
    return []


def halves(name: str, block: ResidualAttentionBlock) -> list[tuple[tuple[str, ...], Callable]]:
    """A ViT's last block as two: attention, of which only the class token is read on, and what it passes through."""
    attention = lambda x: (x + block.ls_1(block.attention(block.ln_1(x))))[:, :1]
    mlp = lambda x: x + block.ls_2(block.mlp(block.ln_2(x)))
    names = lambda *parts: tuple(f"{name}{part}." for part in parts)
    return [(names("attn", "ln_1", "ls_1"), attention), (names("mlp", "ln_2", "ls_2"), mlp)]


def run(tower: torch.nn.Module, x: torch.Tensor | Features, end: int | None = None) -> torch.Tensor:
    """The tower's output (N, D) of images or features, or that of its first `end` blocks."""
    if end is None and not isinstance(x, Features):
        return tower(x)
    x, start = (x.values, x.n_frozen) if isinstance(x, Features) else (x, 0)
    for _, block in blocks(tower)[start:end]:
        x = block(x)
    return x


def n_frozen(tower: torch.nn.Module, names: Iterable[str]) -> int:
    """How many of the tower's first blocks hold none of the weights in `names`."""
    names, count = tuple(names), 0
    for prefixes, _ in blocks(tower):
        if any(name.startswith(prefixes) for name in names):
            return count
        count += 1
    return 0


def shared(towers: Sequence[torch.nn.Module]) -> int:
    """How many of their first blocks are the same in all towers, weight for weight (and statistic for statistic)."""
    first, *others = (tower.state_dict() for tower in towers)
    if any(other.keys() != first.keys() for other in others):
        return 0
    count = 0
    for prefixes, _ in blocks(towers[0])[:-1]:  # the last is left to run, and what comes after a difference unread
        names = [name for name in first if name.startswith(prefixes)]
        if not all(torch.equal(first[name], other[name]) for other in others for name in names):
            break
        count += 1
    return count
