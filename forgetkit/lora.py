"""Low-rank adapters (Hu et al., 2021, arXiv 2106.09685) as parametrizations of any weight.

    W' = W + (lambda / r) B A,       A: (r, fan_in) random,  B: (out, r) zero,  lambda: `lora_alpha`

A convolution's kernel (out, in, kh, kw) counts as a matrix (out, in * kh * kw). The adapter sits on the weight
itself (`torch.nn.utils.parametrize`), not around the module: CLIP's attention pool and `nn.MultiheadAttention`
hand their projections to `F.multi_head_attention_forward` as tensors, where a wrapped module is bypassed.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

LORA_ALPHA = 16.0  # no value of the recipe: the stages' rate follows from how far a step moves, whatever the scale


class LoRA(nn.Module):
    """Adds a low-rank term to a weight of any shape (out, ...); zero at first, so nothing changes."""

    def __init__(
        self, weight: torch.Tensor, rank: int, lora_alpha: float = LORA_ALPHA, generator: torch.Generator | None = None
    ):
        super().__init__()
        out, fan_in = weight.shape[0], weight[0].numel()
        rank = min(rank, out, fan_in)
        a = torch.randn(rank, fan_in, generator=generator) / fan_in**0.5
        self.a = nn.Parameter(a.to(weight.device))
        self.b = nn.Parameter(torch.zeros(out, rank, device=weight.device))
        self.scale = lora_alpha / rank

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        with torch.autocast(weight.device.type, enabled=False):  # in float32, as `merge` folds it in
            return weight + self.scale * (self.b @ self.a).view_as(weight)


def adaptable(tower: nn.Module, trainable_fraction: float = 1.0) -> list[str]:
    """Names of the weights an adapter fits: kernels and matrices of convolution, linear, attention, projection.

    trainable_fraction: the share of them to name, counted from the output; at least one.
    """
    matrices = [name for name, p in tower.named_parameters() if p.ndim >= 2]
    names = [name for name in matrices if name.rsplit(".")[-1] in ("weight", "in_proj_weight", "proj")]
    names.sort(key=lambda name: name == "proj")  # a ViT names its output projection first
    return names[-max(1, int(trainable_fraction * len(names))) :]


def adapt(
    tower: nn.Module, names: list[str], rank: int, lora_alpha: float = LORA_ALPHA,
    generator: torch.Generator | None = None,
) -> list[nn.Parameter]:  # fmt: skip
    """Freeze `tower`, put an adapter on each named weight, and return the adapters' parameters.

    Raises ValueError for a name that is not an adaptable weight.
    """
    unknown = sorted(set(names) - set(adaptable(tower)))
    if unknown:
        raise ValueError(f"Not a weight an adapter fits: {', '.join(unknown)}. See forgetkit.lora.adaptable(tower).")
    tower.requires_grad_(False)
    trained = []
    for name in names:
        path, _, attribute = name.rpartition(".")
        module = tower.get_submodule(path)
        adapter = LoRA(getattr(module, attribute), rank, lora_alpha, generator)
        # unsafe: torch's check would call the forward twice; LoRA keeps shape and dtype by construction.
        parametrize.register_parametrization(module, attribute, adapter, unsafe=True)
        trained += list(adapter.parameters())
    tower.train(tower.training)  # new modules begin in training mode
    return trained


def merge(tower: nn.Module) -> nn.Module:
    """Fold every adapter into its weight, in place; the tower is a plain module again, with the same output."""
    for module in list(tower.modules()):
        for attribute in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)
    return tower.requires_grad_(True)
