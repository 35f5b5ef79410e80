"""The optimiser of pre-training's convolutions."""

from __future__ import annotations

import torch


class Muon(torch.optim.Optimizer):
    """Steps along the nearest orthogonal matrix of the momentum (Jordan et al., 2024), for what BatchNorm follows.

    The weights of such a convolution have a direction, not a length: each is kept at a fixed norm, so that `lr` is the
    relative size of a step. (torch's own takes matrices only.)
    """

    def __init__(self, params, lr: float, momentum: float):
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"])  # Nesterov
                p.mul_(len(p) ** 0.5 / p.norm())
                p.add_(orthogonal(update.flatten(1)).view_as(p) * -group["lr"] * max(1, len(p) / p[0].numel()) ** 0.5)


def orthogonal(g: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """The matrix with g's singular vectors and all singular values near 1, by a Newton-Schulz iteration in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() / (g.norm() + 1e-7)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return (x.T if turned else x).to(g.dtype)
