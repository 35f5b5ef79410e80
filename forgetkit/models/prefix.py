"""The image tower in two: a frozen prefix that no stage changes, and the rest, which they do.

The prefix is computed once an image (`Clip.prefix_features`), and the stages run the rest. Any tower is cut, by what a
forward of it shows: before a module, if all that the rest of the tower reads comes in there; or within a residual
block, x + f(x), behind its first sum. To run the rest, the tower's own forward is called, in which modules that need
not run hand on NaN: so a cut past which something else is read is seen. A tower that cannot be cut is run whole.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


@dataclass(frozen=True)
class Features:
    """What enters the `n_frozen`th of a tower's `blocks`, of N images: values (N, ...). Stands wherever images do."""

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


@dataclass
class Block:
    """Where a tower may be cut: before the module `name`, "" for the images."""

    name: str
    skipped: dict[str, torch.Size | list]  # modules that need not run: the shape of what they hand on, or shapes
    within: str = ""  # of a cut within a residual block, the block, which is given zeros
    behind: str = ""  # the module in it that hands on what is kept instead of its own output
    shape: torch.Size | None = None  # of the zeros
    tokens: int | None = None  # how many of the tokens the rest reads, the first ones; None: all
    holds: bool | None = None  # does the rest, alone, give what the whole tower does? None: not asked yet

    def __deepcopy__(self, memo) -> Block:
        return self  # what is found out of one tower is known of its copies


def image_shape(tower: torch.nn.Module) -> tuple[int, int]:
    """(H, W) of the images that a tower takes."""
    size = tower.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def first(output):
    """The embeddings (N, D), of a tower that has them alone or, as CoCa's, before its tokens."""
    return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
def recorded(tower: torch.nn.Module, weights: Mapping[str, torch.Tensor] = {}) -> tuple[torch.Tensor, dict[str, dict]]:
    """The output (2, D) for noise, with `weights` in place of the tower's, and what each module took and handed on."""
    calls, clock, names = {}, itertools.count(), {module: name for name, module in tower.named_modules() if name}

    def before(module, given):
        if name := names.get(module):
            calls[name] = {"given": given[0], "start": next(clock)} if given and name not in calls else {}

    def after(module, given, made):
        if name := names.get(module):
            shapes = [getattr(part, "shape", None) for part in (made if isinstance(made, tuple) else [made])] or [None]
            made = shapes if isinstance(made, tuple) else shapes[0]
            calls[name] |= {"end": next(clock), "made": made, "shape": shapes[0] or ()}

    x = torch.randn(2, 3, *image_shape(tower), generator=torch.Generator().manual_seed(0)).to(next(tower.parameters()))
    with register_module_forward_pre_hook(before), register_module_forward_hook(after):
        z = first(torch.func.functional_call(tower, dict(weights), (x,)))
    return z, {name: call for name, call in calls.items() if getattr(call.get("given"), "shape", ())[:1] == (2,)}


def blocks(tower: torch.nn.Module) -> list[Block]:
    """Where the tower may perhaps be cut, in order of execution (`cuts` asks whether it may); the first: the images."""
    if not hasattr(tower, "image_size"):
        return [Block("", {})]
    if "_blocks" not in vars(tower):
        found, calls = [Block("", {})], recorded(tower)[1]
        matrices = {n: sum(weight.ndim > 1 for weight in tower.get_submodule(n).parameters()) for n in calls}
        end = max((call["start"] for n, call in calls.items() if matrices[n]), default=-1)
        for name, call in calls.items():
            gone = {n: c for n, c in calls.items() if c["end"] < call["start"] and c["shape"][:1] == (2,)}
            outer = lambda n: any(n[:i] in gone for i, letter in enumerate(n) if letter == ".")
            skipped = {n: c["made"] for n, c in gone.items() if not outer(n)}
            parent, last = name.rpartition(".")[0], max(gone, key=lambda n: gone[n]["end"], default="")
            inside = parent in calls and last.startswith(f"{parent}.") and call["start"] < end
            if matrices[name] > 1:
                found.append(Block(name, skipped))
            elif not matrices[name] and inside and gone[last]["shape"] == call["given"].shape:
                found.append(Block(name, skipped, parent, last, calls[parent]["given"].shape))
        vars(tower)["_blocks"] = {block.name: block for block in found}  # `keys` looks at no dict of a module's
    return [*vars(tower)["_blocks"].values()]


@contextmanager
def entered(tower: torch.nn.Module, block: Block, values: torch.Tensor) -> Iterator[torch.Tensor]:
    """While it lasts, the tower's forward computes what comes after a cut alone, of values; yields what it is given."""
    nothing = values.new_full((1,), math.nan)

    def stand_in(shape):
        if isinstance(shape, list):
            return tuple(map(stand_in, shape))
        return shape if shape is None else nothing.view([1] * len(shape)).expand(len(values), *shape[1:])

    given = {name: stand_in(shape) for name, shape in block.skipped.items()} | {block.behind: values}
    changed = {tower.get_submodule(name): made for name, made in given.items() if name}
    for module, made in changed.items():
        module.forward = lambda *_, made=made, **__: made
    enters = values
    if block.within:
        enters = torch.zeros_like(values) if block.tokens else values.new_zeros(len(values), *block.shape[1:])
    start = tower.get_submodule(block.within or block.name)
    handle = start.register_forward_pre_hook(lambda _, given: (enters, *given[1:]), prepend=True)
    try:
        yield stand_in((1, 3, *image_shape(tower)))
    finally:
        handle.remove()
        for module in changed:
            del module.forward


class Reached(Exception):
    """The forward has come to where it was to end."""


def run(tower: torch.nn.Module, x: torch.Tensor | Features, end: int | None = None) -> torch.Tensor:
    """The tower's output (N, D) of images or features, or what enters its `end`th block."""
    values, start = (x.values, blocks(tower)[x.n_frozen]) if isinstance(x, Features) else (x, None)
    block = None if end is None else blocks(tower)[end]

    def reached(_, given):
        raise Reached(given[0])

    hook = tower.get_submodule(block.name).register_forward_pre_hook(reached, prepend=True) if block else nullcontext()
    with hook, entered(tower, start, values) if start else nullcontext(values) as images:
        try:
            return first(tower(images))
        except Reached as found:
            return found.args[0][:, : block.tokens]


def cuts(tower: torch.nn.Module, names: Sequence[str] = ()) -> Iterator[int]:
    """Which of the `blocks` are cuts before which none of these weights acts, from the last on."""
    found = blocks(tower)
    if len(found) < 2:
        return
    state, trial = tower.state_dict(), None
    lost = {name: torch.full_like(state[name], math.nan) for name in names if state[name].is_floating_point()}
    _, stale = recorded(tower, lost)
    for i, block in reversed([*enumerate(found)][1:]):
        if block.holds is not False and stale[block.name]["given"].isfinite().all():
            if block.holds is None:
                trial = trial or loud(tower)
                block.holds = agrees(*trial, i)
                if block.holds and block.within:
                    block.tokens = 1
                    block.tokens = 1 if agrees(*trial, i) else None
            if block.holds:
                yield i


@torch.no_grad()
def loud(tower: torch.nn.Module) -> tuple[torch.nn.Module, torch.Tensor, dict[str, dict]]:
    """A copy with other vectors, its output and calls: a layer scale of next to nothing hides what a cut leaves out."""
    tower, generator = copy.deepcopy(tower), torch.Generator().manual_seed(0)
    for weight in tower.parameters():
        if weight.numel() == max(weight.shape, default=1):
            weight.copy_(0.5 + torch.rand(weight.shape, generator=generator))
    return tower, *recorded(tower)


@torch.no_grad()
def agrees(tower: torch.nn.Module, whole: torch.Tensor, calls: dict[str, dict], n_frozen: int) -> bool:
    """Is what the rest makes of what enters a cut the whole tower's output, to rounding?"""
    block = blocks(tower)[n_frozen]
    try:
        found = run(tower, Features(calls[block.name]["given"][:, : block.tokens], n_frozen))
    except Exception:  # whatever a forward finds wrong with its stand-ins
        return False
    return found.shape == whole.shape and bool((found - whole).norm() <= 1e-4 * whole.norm())


def n_frozen(tower: torch.nn.Module, names: Sequence[str]) -> int:
    """The last cut before which none of the weights in `names` acts; 0: the tower is run whole."""
    return next(cuts(tower, names), 0)


def shared(towers: Sequence[torch.nn.Module]) -> int:
    """The last cut before which all towers are the same, weight for weight (and statistic for statistic)."""
    one, *others = (tower.state_dict() for tower in towers)
    if any(other.keys() != one.keys() for other in others):
        return 0
    changed = [name for name in one if not all(torch.equal(one[name], other[name]) for other in others)]
    return n_frozen(towers[0], changed)
