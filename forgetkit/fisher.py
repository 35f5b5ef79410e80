"""Relative Fisher information: which layers matter to the forget set and little to the retain set.

    I_l = E_{x in D_f} || d sim(x, t) / d theta_l ||^2  /  E_{x in D_r} || d sim(x, t) / d theta_l ||^2

(Zhang et al., CVPR 2025, arXiv 2506.03117.) `sim` is the cosine of an image's embedding and its class
embedding. The square is taken per sample and then averaged, so a batch's summed gradient is not the same thing.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from forgetkit.models.clip import Clip
from forgetkit.data.sets import ImageSet
from forgetkit.lora import adaptable
from forgetkit.models.memory import Fitting
from forgetkit.recipe import Recipe
from forgetkit.subgroups import Splits


def squared_gradients(
    tower: torch.nn.Module, x: torch.Tensor, text: torch.Tensor, names: list[str], chunk: int = 32
) -> torch.Tensor:
    """|| d sim(x_i, t_i) / d theta_l ||^2 per sample and layer, (N, L).

    x (N, 3, S, S) preprocessed images, text (N, D) unit class embeddings, names: L weights of `tower` (in eval
    mode, so that samples do not mix). `chunk` samples are differentiated at once.
    """
    modules = dict(tower.named_modules())
    layers = {n: modules.get(n.rpartition(".")[0]) for n in names}
    pooled = {f"{n}.{p}_proj.weight" for n, m in modules.items() if isinstance(m, AttentionPool2d) for p in "qkvc"}
    inside = {f"{n}.{weight}" for n, m in modules.items() if _plain_block(m) for weight in BLOCK}
    last = {"proj"} if isinstance(tower, VisionTransformer) else set()
    factored = [n for n in names if n in pooled | inside | last or _plain_conv(layers[n])]
    others = [n for n in names if n not in factored]

    def run(size: int) -> torch.Tensor:
        rows = []
        for i in tqdm(range(0, len(x), size), desc="Fisher", leave=False, delay=1):
            part = x[i : i + size], text[i : i + size]
            found = {**_from_factors(tower, *part, factored), **_of_others(tower, *part, others)}
            rows.append(torch.stack([found[n] for n in names], 1))
        return torch.cat(rows)

    return Fitting("Fisher", min(chunk, len(x)))(run)


def _plain_conv(module: torch.nn.Module | None) -> bool:
    return isinstance(module, torch.nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"


BLOCK = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # of a transformer


def _plain_block(module: torch.nn.Module) -> bool:
    """open_clip's ordinary block of self-attention on tokens (N, P, C)."""
    return isinstance(module, ResidualAttentionBlock) and module.attn.batch_first and not hasattr(module, "ln_1_kv")


def _from_factors(tower, x: torch.Tensor, text: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
    """{name: (N,)}: sample i's weight gradient is (gradient at the output)_i times (input)_i, summed over positions.

    One ordinary backward for the batch gives both factors of every convolution, attention pool and transformer block,
    and of a ViT's last projection.
    `vmap` would make one group a sample of a convolution, which a CPU computes no faster than a loop.
    """
    if not names:
        return {}
    inputs, outputs = {}, {}  # of each weight: (N, fan_in, P), and a tensor whose gradient unfolds to (N, out, P)

    def convolved(name, conv):
        def hook(_, args, output):
            x = args[0].detach()
            one = conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0)  # nothing to unfold
            inputs[name] = (
                x.flatten(2) if one else F.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
            )
            outputs[name] = output

        return hook

    def pooled(path):
        def hook(pool, args, _):
            result, seen = _attention_pool(pool, args[0])
            for letter, (a, b) in seen.items():
                inputs[f"{path}.{letter}_proj.weight"], outputs[f"{path}.{letter}_proj.weight"] = a.detach().mT, b
            return result  # in place of the module's own output, which is equal

        return hook

    def attended(path):
        def hook(attn, args, _):
            result, seen = _self_attention(attn, args[0])
            for weight, (a, b) in seen.items():
                inputs[f"{path}.{weight}"], outputs[f"{path}.{weight}"] = a.detach().mT, b
            return result, None

        return hook

    def applied(name):
        def hook(_, args, output):
            inputs[name], outputs[name] = args[0].detach().mT, output

        return hook

    handles = []
    for path, module in tower.named_modules():
        if _plain_block(module):
            handles.append(module.attn.register_forward_hook(attended(f"{path}.attn")))
            for part in ("c_fc", "c_proj"):
                handles.append(getattr(module.mlp, part).register_forward_hook(applied(f"{path}.mlp.{part}.weight")))
        if f"{path}.weight" in names and _plain_conv(module):
            handles.append(module.register_forward_hook(convolved(f"{path}.weight", module)))
        elif isinstance(module, AttentionPool2d):
            handles.append(module.register_forward_hook(pooled(path)))
    x = x.detach().requires_grad_()
    try:
        if "proj" in names:
            features = functional_call(tower, {"proj": torch.eye(len(tower.proj), device=x.device)}, (x,))
            z = features[:, None] @ tower.proj
            inputs["proj"], outputs["proj"] = features.detach()[..., None], z
            z = z[:, 0]
        else:
            z = tower(x)
    finally:
        for handle in handles:
            handle.remove()
    similarity = F.cosine_similarity(z, text).sum()
    gradients = torch.autograd.grad(similarity, [outputs[n] for n in names])
    found = {}
    for n, g in zip(names, gradients):
        a, b = inputs[n], g.flatten(2) if g.ndim == 4 else g.mT
        if a.shape[2] ** 2 < a.shape[1] * b.shape[1]:  # few positions: || b a^T ||^2 = sum (a^T a) * (b^T b)
            found[n] = (torch.bmm(a.mT, a) * torch.bmm(b.mT, b)).sum((1, 2))
        else:
            found[n] = torch.bmm(b, a.mT).square().sum((1, 2))
    return found


def _attention_pool(pool: AttentionPool2d, x: torch.Tensor):
    """CLIP's attention pool step by step: its output (N, D), and input and output of each projection by letter.

    The pool hands its weights to `F.multi_head_attention_forward`, which shows neither. x (N, C, H, W).
    """
    tokens = x.flatten(2).mT  # (N, P, C)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + pool.positional_embedding
    mean = tokens[:, :1]  # the only query whose answer is read
    q, k, v = pool.q_proj(mean), pool.k_proj(tokens), pool.v_proj(tokens)
    heads = [t.unflatten(2, (pool.num_heads, -1)).transpose(1, 2) for t in (q, k, v)]  # (N, heads, P, C / heads)
    answer = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)  # (N, 1, C)
    out = pool.c_proj(answer)
    return out[:, 0], {"q": (mean, q), "k": (tokens, k), "v": (tokens, v), "c": (answer, out)}


def _self_attention(attn: torch.nn.MultiheadAttention, x: torch.Tensor):
    """Self-attention step by step: its output (N, P, C), and input and output of each projection. x (N, P, C)."""
    qkv = F.linear(x, attn.in_proj_weight, attn.in_proj_bias)
    heads = [t.unflatten(2, (attn.num_heads, -1)).transpose(1, 2) for t in qkv.chunk(3, dim=-1)]
    answer = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    out = F.linear(answer, attn.out_proj.weight, attn.out_proj.bias)
    return out, {"in_proj_weight": (x, qkv), "out_proj.weight": (answer, out)}


def _of_others(tower, x: torch.Tensor, text: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
    """{name: (N,)} for all other weights, whatever they are applied to: torch.func."""
    if not names:
        return {}
    params = {n: p.detach() for n, p in tower.named_parameters()}
    chosen = {n: params.pop(n) for n in names}
    rest = {**params, **dict(tower.named_buffers())}

    def similarity(weights, image, t):
        z = functional_call(tower, {**weights, **rest}, (image[None],))
        return F.cosine_similarity(z, t[None]).squeeze()

    step = max(1, int(2e7 / sum(p.numel() for p in chosen.values())))  # gradients of 80 MB stay near the cache
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels have no per-sample rule
        grads = vmap(grad(similarity), in_dims=(None, 0, 0), chunk_size=step)(chosen, x, text)
    return {n: grads[n].flatten(1).square().sum(1) for n in names}


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
    """The recipe's k of the layers that may change, and the whole table; with `choose` "random" they are drawn.

    Raises ValueError, before any work, if the tower has fewer.
    """
    allowed = adaptable(clip.model.visual, recipe.last)
    if recipe.k > len(allowed):
        raise ValueError(
            f"k={recipe.k} layers, but this image tower has {len(allowed)} that may change (last={recipe.last:g}):"
            " choose a lower k, or a larger share."
        )

    def few(part: ImageSet) -> ImageSet:
        return part.take(range(min(recipe.fisher_samples, len(part))))

    table = relative_fisher(clip, few(sets.forget), few(sets.retain), head)
    if recipe.choose == "random":
        order = torch.randperm(len(allowed), generator=torch.Generator().manual_seed(recipe.seed))
        return [allowed[i] for i in order[: recipe.k].tolist()], table
    return top_k(table[table["layer"].isin(allowed)], recipe.k), table
