"""Edits of the layer that makes the embedding, in closed form: weights with which it makes z - A z + b in place of z.

The edited model is an ordinary one. Stage 3 uses a plane edit where siblings share the target's label: it lowers the
label's logit so far as an image is on D_f's side of a plane, and changes no other.

    z' = z - u (s (a.z - c) + h)         a.z - c: 1 at D_f's mean embedding m_f, 0 at D_r's m_r
                                         u: raises the label's logit by 1, and no other's; s: strength, h: shift

The label's logit falls by s + h at m_f and by h at m_r. a is LEACE's direction (Belrose et al., NeurIPS 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from open_clip.modified_resnet import AttentionPool2d

from forgetkit.models.clip import Clip, ModelError, autocast
from forgetkit.models.memory import halving
from forgetkit.models.prefix import Features, run


@torch.no_grad()
def raw_embeddings(clip: Clip, x: torch.Tensor | Features, batch: int = 100) -> torch.Tensor:
    """(N, D) float32 of preprocessed images or features, before they are brought to unit length."""
    embedded = lambda size: torch.cat([run(clip.model.visual, part).float() for part in x.split(size)])
    with autocast(clip.device):
        return halving(embedded, min(batch, len(x)), "embed")


def separating(
    forget: torch.Tensor, retain: torch.Tensor, ridge: float, further: torch.Tensor | None = None
) -> torch.Tensor:
    """LEACE's direction a (D,) of embeddings (N, D) and (M, D): a.z differs by 1 between their means m_f and m_r.

        a = S^-1 (m_f - m_r) / ((m_f - m_r).S^-1 (m_f - m_r))

    Of all such a it is the one whose a.z varies least within the sets: S is their covariance, with ridge * mean
    variance on its diagonal. `further` (K, D) are of neither set, and held near m_r, too.
    """
    m_f, m_r = forget.mean(0), retain.mean(0)
    rest = torch.cat([forget - m_f, retain - m_r, *([] if further is None else [further - m_r])])
    covariance = rest.T @ rest / len(rest)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(covariance), device=rest.device)
    solved = torch.linalg.solve(covariance, m_f - m_r)
    return solved / ((m_f - m_r) @ solved)


def push(head: torch.Tensor, labels: Sequence[int], size: torch.Tensor) -> torch.Tensor:
    """The shortest u (D,) with t.u = size for the class texts t of `labels`, and 0 for all others; head (C, D).

    Raises ModelError where the other texts span all that these say.
    """
    asked = torch.zeros(len(head), device=head.device)
    asked[list(labels)] = 1.0
    u = torch.linalg.pinv(head, rtol=1e-3) @ asked
    if not torch.allclose(head @ u, asked, atol=0.01):
        raise ModelError("The other class texts span all that the target's say: no direction is its own.")
    return size * u


def last_layer(visual: torch.nn.Module) -> str:
    """The name of the weight that makes the embedding: an attention pool's, or the `proj` of a ViT."""
    if isinstance(getattr(visual, "attnpool", None), AttentionPool2d):
        return "attnpool.c_proj.weight"
    if isinstance(getattr(visual, "proj", None), torch.nn.Parameter) and hasattr(visual, "ln_post"):
        return "proj"
    raise ModelError("This image tower ends neither in an attention pool nor in a projection: its end is not edited.")


def edited_weights(visual: torch.nn.Module, a: torch.Tensor, b: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """The tower's weights with which it makes z - a z + b of every image: a (D, D), b (D,) or none.

    An attention pool has a bias for b. A ViT's projection has none, but what it is given, h, is a LayerNorm's output:
    sum_i (h_i - bias_i) / gain_i = 0, so that h.q = 1 with q_i = 1 / (gain_i sum_j bias_j / gain_j).
    """
    state, name = visual.state_dict(), last_layer(visual)
    if name == "proj":
        norm, w = visual.ln_post, state[name]
        state[name] = w - w @ a.T
        if b is not None and b.any():
            q = 1 / norm.weight.detach()
            if (total := q @ norm.bias.detach()).abs() < 0.01 * q.abs().sum():
                raise ModelError("This tower's last LayerNorm has no bias to speak of: its end takes no constant.")
            state[name] += torch.outer(q / total, b)
    else:
        bias = name.replace("weight", "bias")
        state[name] = state[name] - a @ state[name]
        state[bias] = state[bias] - a @ state[bias] + (0 if b is None else b)
    return state


@dataclass(frozen=True)
class Plane:
    """Where a plane edit acts, and which way: a (D,), c a scalar, u (D,), as in the module's equation."""

    a: torch.Tensor
    c: torch.Tensor
    u: torch.Tensor

    def moved(self, z: torch.Tensor, strength: float, shift: float) -> torch.Tensor:
        """Embeddings z (N, D), not of unit length, after the edit."""
        return z - torch.outer(strength * (z @ self.a - self.c) + shift, self.u)

    def edit(self, visual: torch.nn.Module, strength: float, shift: float) -> dict[str, torch.Tensor]:
        return edited_weights(visual, strength * torch.outer(self.u, self.a), (strength * self.c - shift) * self.u)
