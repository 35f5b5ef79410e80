"""Pre-train mini-CLIP from random weights: `python -m benchmarks.pretraining.train --out runs/pretrain`.

A small `open_clip` CLIP learns from the `pretrain` parts of CIFAR-10 (photos), Fashion-MNIST (product photos),
QuickDraw (sketches) and Noto emoji (icons), captioned on the fly (`captions`). `--without cat` leaves out all
photos, sketches, icons, captions and synonyms of a class: the oracle, a model that never saw what another is to forget.

The loss is CLIP's, with several positives a caption (Yang et al., *Unified Contrastive Learning in Image-Text-Label
Space*, 2022, eq. 2). Three things make it cheap on a CPU: the first images are small; convolutions learn by Muon, in
steps of a fixed relative size; only the tokens that a caption can hold are trained, and each distinct caption goes
through the text tower once a step.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import click
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from benchmarks.pretraining.accuracy import zero_shot
from benchmarks.pretraining.captions import (
    ANY_STYLE,
    TEMPLATES,
    Pretraining,
    Source,
    Vocabulary,
    compose,
    contrastive_loss,
)
from benchmarks.pretraining.muon import Muon
from forgetkit.data.images import ImageSet
from forgetkit.models.clip import Clip, autocast, describe, pick_device

# --------------------------------------------------------------------------------------------------
# The model while it is trained


class Known(torch.nn.Module):
    """The token embedding, of the tokens alone that captions can hold: 49,408 rows would cost as much as a tower."""

    def __init__(self, full: torch.nn.Embedding, tokens: torch.Tensor):
        super().__init__()
        self.register_buffer("tokens", tokens)
        place = torch.full((full.num_embeddings,), -1)
        place[tokens] = torch.arange(len(tokens))
        self.register_buffer("place", place)
        self.weight = torch.nn.Parameter(full.weight.detach()[tokens].clone())

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return F.embedding(self.place[text], self.weight)


def encode_texts(model, tokens: torch.Tensor) -> torch.Tensor:
    """`model.encode_text` without the padding that all captions share; tokens (K, L) long to (K, D)."""
    length = int(tokens.argmax(1).max()) + 1  # the last token has the highest number
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), tokens.argmax(1)] @ model.text_projection


def encode_images(visual, x: torch.Tensor) -> torch.Tensor:
    """`model.encode_image`, (B, 3, S, S) to (B, D), for any S: the pool's positions are resampled."""
    for part in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = part(x)
    pool, (h, w) = visual.attnpool, x.shape[2:]
    position = pool.positional_embedding
    side = round((len(position) - 1) ** 0.5)
    if (h, w) == (side, side):
        return pool(x)
    grid = position[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (h, w), mode="bilinear", antialias=True) if h * w > 1 else grid.mean((2, 3), True)
    return torch.func.functional_call(
        pool, {"positional_embedding": torch.cat([position[:1], grid.flatten(2)[0].T])}, (x,)
    )


def create(config: Pretraining, vocabulary: Vocabulary, device: torch.device):
    """A model with random weights, a function from captions to tokens, and the model's full token embedding."""
    torch.manual_seed(config.seed)
    model = open_clip.create_model(config.model).to(device, memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = config.bn_momentum
    tokenizer = open_clip.get_tokenizer(config.model)
    remembered = cache(lambda text: tokenizer([text])[0])
    texts = [t for pool in (*TEMPLATES.values(), ANY_STYLE) for t in pool] + list(vocabulary.words)
    texts += [t.format(w) for t in (ANY_STYLE[0], TEMPLATES["fashion"][1]) for w in vocabulary.words]
    full = model.token_embedding
    model.token_embedding = Known(full, tokenizer(texts).unique()).to(device)
    return model, (lambda many: torch.stack([remembered(t) for t in many]).to(device)), full


# --------------------------------------------------------------------------------------------------
# Training


class Run:
    """A model in training: its sources of images, optimisers, averaged weights, and what happened so far."""

    def __init__(self, config: Pretraining, device: torch.device):
        self.config, self.device = config, device
        vocabulary = Vocabulary(config)
        self.model, self.tokens, self.full = create(config, vocabulary, device)
        self.sources = [Source(name, vocabulary, device) for name, _ in config.share]
        self.counts = [round(share * config.batch) for _, share in config.share]
        self.generator = torch.Generator().manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        self.steps = config.images_seen // sum(self.counts)
        convolutions = [p for p in self.model.visual.parameters() if p.ndim == 4] if config.muon else []
        chosen = {id(p) for p in convolutions}
        rest = [(n, p) for n, p in self.model.named_parameters() if id(p) not in chosen]
        decay = [p for n, p in rest if p.ndim >= 2 and "embedding" not in n]
        plain = [p for n, p in rest if p.ndim < 2 or "embedding" in n]
        groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizers = [torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)]
        if convolutions:
            self.optimizers.append(Muon(convolutions, config.muon, config.muon_momentum))
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        self.step, self.seconds, self.history = 0, 0.0, []

    def learn(self, encode) -> float:
        """One step; returns its loss."""
        config, model, done = self.config, self.model, self.step / self.steps
        rate = min(1, (self.step + 1) / config.warmup) * (0.5 + 0.5 * math.cos(math.pi * done))
        for optimizer, rates in zip(self.optimizers, self.rates):
            for group, lr in zip(optimizer.param_groups, rates):
                group["lr"] = lr * rate
        size = next(size for until, size in config.sizes if done < until)
        strength = 1.0 if done < config.mild else 0.5
        batch = compose(self.sources, config, self.counts, size, strength, self.generator, self.rng).to(self.device)
        # Over so few tokens, a CPU's fused attention is slower backwards than plain products.
        with sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else nullcontext():
            with autocast(self.device):
                image, text = encode(model.visual, batch.images), encode_texts(model, self.tokens(batch.texts))
            image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
            loss = contrastive_loss(image, text, model.logit_scale.exp(), batch, config)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.optimizers[0].param_groups[0]["params"], 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
            if self.step % 8 == 7:
                decay = min(config.ema, (1 + self.step // 8) / (10 + self.step // 8))
                for name, p in model.named_parameters():
                    self.average[name].lerp_(p, 1 - decay)
        self.step += 1
        return loss.item()

    def train(self, encode=encode_images) -> None:
        """All steps. `seconds` are the processor's, over all threads."""
        start, losses = time.process_time(), []
        bar = tqdm(range(self.steps), unit="step", mininterval=10)
        for _ in bar:
            losses.append(self.learn(encode))
            if self.step % 50 == 0 or self.step == self.steps:
                self.seconds = time.process_time() - start
                self.history.append([self.step, round(sum(losses) / len(losses), 4), round(self.seconds, 1)])
                bar.set_postfix(loss=f"{self.history[-1][1]:.3f}")
                losses = []

    @torch.no_grad()
    def finish(self, batches: int = 40) -> Clip:
        """Take the averaged weights, gather BatchNorm's statistics anew, and put all tokens back."""
        model = self.model
        for name, p in model.named_parameters():
            p.copy_(self.average[name])
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # the plain mean over batches
        for source in self.sources:  # the same images, whatever was drawn before
            source.rng, source.order, source.at = np.random.default_rng(1), np.arange(0), 0
        generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
        plain = replace(self.config, mix=0.0)
        for _ in range(batches):
            x = compose(self.sources, plain, self.counts, self.config.sizes[-1][1], 0.5, generator, rng).images
            with autocast(self.device):
                encode_images(model.visual, x.to(self.device))
        for m in norms:
            m.momentum = 0.1  # as PyTorch has it
        known = model.token_embedding
        self.full.weight[known.tokens] = known.weight
        model.token_embedding = self.full.to(self.device)
        model.eval()
        model.visual.preprocess_cfg = {**model.visual.preprocess_cfg, "interpolation": "bilinear"}
        return Clip(model, open_clip.get_tokenizer(self.config.model), self.config.model)


def export(model: torch.nn.Module, path: Path) -> None:
    """Weights in half precision (running statistics in full: stage 2 reads them), written in one move."""
    state = {k: v.half() if v.is_floating_point() and "running" not in k else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def hashes(weights: Path, sets: Mapping[str, ImageSet]) -> dict[str, str]:
    """SHA-256 of the file of weights, and of the images and labels of each set that it learnt from."""
    found = {"weights": hashlib.sha256(weights.read_bytes()).hexdigest()}
    for name, part in sets.items():
        content = np.ascontiguousarray(part.images).tobytes() + np.asarray(part.labels, np.int64).tobytes()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def pretrain(run: Run, out: Path, compiled: bool = False) -> Path:
    """Train; write the weights, and the settings, loss and validation accuracies (percent) beside them.

    Returns the file of the weights.
    """
    config = run.config
    out.mkdir(parents=True, exist_ok=True)
    run.train(torch.compile(encode_images, dynamic=False) if compiled else encode_images)
    clip = run.finish()
    name = config.model + (f"-without-{config.without}" if config.without else "")
    export(clip.model, out / f"{name}.safetensors")
    versions = {"python": platform.python_version(), "torch": torch.__version__, "open_clip": open_clip.__version__}
    validation = zero_shot(clip, "validation").set_index("set")["top1"].to_dict()
    record = {
        "config": asdict(config),
        "sha256": hashes(out / f"{name}.safetensors", Vocabulary(config).sets),
        "steps": run.steps,
        "device": describe(run.device),
        "compiled": compiled,
        "cpu_seconds": round(run.seconds),
        "versions": versions,
        "validation": validation,
        "loss": run.history,
    }
    (out / f"{name}.training.json").write_text(json.dumps(record))
    return out / f"{name}.safetensors"


@click.command(help=__doc__.splitlines()[0])
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/pretrain"), show_default=True)
@click.option("--without", default="", help="leave out all that this word is true of: the oracle")
@click.option("--images", default=Pretraining.images_seen, show_default=True, help="images seen in all")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile: 1.4 times as fast; needs a C++ compiler")
def main(out: Path, without: str, images: int, seed: int, device: str, compiled: bool) -> None:
    config = Pretraining(without=without, images_seen=images, seed=seed)
    path = pretrain(Run(config, pick_device(device)), out, compiled)
    print(f"weights in {path}; copy it and what lies beside it to forgetkit/models/mini/ to embed them")


if __name__ == "__main__":
    main()
