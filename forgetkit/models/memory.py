"""Device memory and time: copies that nobody waits for, steps in parts where the memory is small, `torch.compile`.

A stage does not depend on how much the device holds. What does not fit is done in halves, with a note in the log, and
the gradient of a step is the same (to rounding) in one piece or in many.
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


def out_of_memory(error: Exception) -> bool:
    """Is this the device's memory being full? Only CUDA has an error of its own for it."""
    words = ("out of memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


class Fitting:
    """How many images are worked on at once: as many as asked for, and half as often as the memory does not hold them.

    what: the name in the log; consequence: what it says follows from the smaller number.
    """

    def __init__(self, what: str, size: int, consequence: str = "the result is the same, a little later"):
        self.what, self.size, self.consequence = what, size, consequence

    def __call__(self, run: Callable[[int], Result]) -> Result:
        """run(size), and again with half of it while the memory is too small; torch's error where one image is."""
        while True:
            try:
                return run(self.size)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if self.size <= 1:
                    error.add_note("Not even one image fits: use a smaller model, or device='cpu'.")
                    raise
            # Out of the `except`, nothing refers to the failed attempt's tensors any more.
            log.warning(
                "%s: %d images at once are too many for the memory; going on with %d (%s).",
                self.what, self.size, self.size // 2, self.consequence,
            )  # fmt: skip
            self.size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def accumulate(
    embed: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, loss_of: Callable[[torch.Tensor], torch.Tensor],
    size: int,
) -> torch.Tensor:  # fmt: skip
    """Add the gradients of loss_of(embed(x)) to the weights', with the activations of at most `size` images at a time.

    x (N, 3, S, S), embed(x) (N, D). In parts, all embeddings z are computed without a graph first; then dL/dz goes back
    through one part after the other. That gives the whole batch's gradient for *any* loss, also one that compares
    images with each other, and costs one more forward pass (gradient cache: Gao et al., 2021, arXiv 2101.06983).
    Returns the loss, detached.
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


class Backward:
    """The gradients of a step, `backward(x, loss_of)`: zeroed, then accumulated, in parts where the memory is small.

    embed: (N, 3, S, S) to (N, D), the model that is trained; size: images whose activations are kept at once.
    """

    def __init__(self, what: str, optimizer: torch.optim.Optimizer, embed: Callable, size: int):
        self.optimizer, self.embed, self.fitting = optimizer, embed, Fitting(what, size)

    def __call__(self, x: torch.Tensor, loss_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The loss of this batch, detached; its gradients are in the weights, ready for the optimiser's step."""

        def run(size: int) -> torch.Tensor:
            self.optimizer.zero_grad(set_to_none=True)  # here: an attempt that failed may have left some
            return accumulate(self.embed, x, loss_of, size)

        return self.fitting(run)


def compiled(embed: Callable[[torch.Tensor], torch.Tensor], wanted: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """`embed` through `torch.compile` where `wanted`; as it is, with a note, where this machine cannot compile it."""
    if not wanted:
        return embed
    found = {"embed": torch.compile(embed)}

    def run(x: torch.Tensor) -> torch.Tensor:
        try:
            return found["embed"](x)
        except Exception as error:  # compilers, and what they call, raise their own
            if found["embed"] is embed or out_of_memory(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning("torch.compile does not work here (%s): going on without it.", reason[:200])
            found["embed"] = embed
            return embed(x)

    return run
