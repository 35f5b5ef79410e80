"""Device memory and time: copies that nobody waits for; what does not fit is done in halves, with a note in the log.

The gradient of a step is the same (to rounding) in one piece or in many.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

log = logging.getLogger(__name__)
Result = TypeVar("Result")


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """x on the device; to a GPU through pinned memory, so that the host goes on while it is copied."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def tokens_first(tower: torch.nn.Module) -> None:
    """Lay out what self-attentions take, (N, P, C), as torch turns it, or autocast copies a frozen weight P times."""

    def hook(_, args: tuple) -> tuple | None:
        query, key, value, *rest = args
        if query is not key or key is not value or query.ndim != 3:
            return None
        laid = query.transpose(0, 1).contiguous().transpose(0, 1)
        return laid, laid, laid, *rest

    for module in tower.modules():
        if isinstance(module, torch.nn.MultiheadAttention) and module.batch_first:
            module.register_forward_pre_hook(hook)


def out_of_memory(error: Exception) -> bool:
    """Is this the device's memory being full? Only CUDA has an error of its own for it."""
    words = ("out of memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def halving(run: Callable[[int], Result], size: int, what: str, follows: str = "the result is the same") -> Result:
    """run(size), where `size` images are worked on at once; again with half of them while the memory is too small.

    what, follows: for the log. Raises torch's own error where not even one image fits.
    """
    while True:
        try:
            return run(size)
        except RuntimeError as error:
            if size <= 1 or not out_of_memory(error):
                raise
        # Out of the `except`, nothing refers to the failed attempt's tensors any more.
        log.warning(f"{what}: {size} images at once do not fit into memory; going on with {size // 2} ({follows}).")
        size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def accumulate(
    embed: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, loss_of: Callable[[torch.Tensor], torch.Tensor],
    size: int,
) -> torch.Tensor:  # fmt: skip
    """Add the gradients of loss_of(embed(x)) to the weights', with the activations of at most `size` images at a time.

    x (N, 3, S, S), embed(x) (N, D). In parts, all embeddings z are computed without a graph first; then dL/dz goes back
    through one part after the other (gradient cache: Gao et al., 2021, arXiv 2101.06983). Returns the loss, detached.
    """
    if len(x) <= size:
        loss = loss_of(embed(x))
        loss.backward()
        return loss.detach()
    with torch.no_grad():
        z = torch.cat([embed(part) for part in x.split(size)])
    loss = loss_of(z.requires_grad_())
    (gradient,) = torch.autograd.grad(loss, z)
    for part, g in zip(x.split(size), gradient.split(size)):
        embed(part).backward(g)
    return loss.detach()


class _Moments(torch.autograd.Function):
    """x (values, C) -> mean and mean square of each channel, (C,) float32; x is kept for backward as it is.

    Written by hand, since torch would keep a float32 copy of every layer's input, two fifths of what a step holds.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(x)
        x = x.float()  # (values, channels): sums of a row are fast
        return x.mean(0), x.square().mean(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, to_mean: torch.Tensor, to_square: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return torch.addcmul(to_mean / len(x), x.float(), 2 / len(x) * to_square).to(x.dtype)


def lean_moments(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and std, (C,) float32 each, of every channel of x (N, C, H, W), or of x (N, P, C) as tokens have it."""
    x = (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).flatten(0, -2)
    mean, square = _Moments.apply(x)
    variance = (square - mean.square()).clamp(min=0) * len(x) / (len(x) - 1)
    return mean, (variance + eps).sqrt()
