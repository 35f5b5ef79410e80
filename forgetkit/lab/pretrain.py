"""Pre-train mini-CLIP from scratch: `python -m forgetkit.lab.pretrain --out runs/pretrain`.

`--model mini-vit --lr 1e-3 --images 1200000 --out runs/pretrain-vit` trains a small ViT in the same way, to study what
has no BatchNorm.

A small `open_clip` CLIP learns from the *training* parts of CIFAR-10 (photos), Fashion-MNIST (product
photos), QuickDraw (sketches) and Noto emoji (icons); the Twemoji style is never shown. Every image is
captioned on the fly from its class name and a template. The loss is CLIP's, with one change: several images
of a class in a batch are all positives of their caption (Yang et al., *Unified Contrastive Learning in
Image-Text-Label Space*, 2022, eq. 2), and a caption that is true of an image but was not drawn for it is
left out rather than pushed away.

Interrupt it at will: the same command resumes at the last checkpoint (weights, optimiser, random state).
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from forgetkit.data import sets as data
from forgetkit.models.clip import Clip, autocast, describe, pick_device
from forgetkit.models.loading import register_mini

# What a caption may say: templates of a style, and templates true of every style.
TEMPLATES = {
    "cifar10": ("a photo of a {}.", "a photo of a {}.", "a small photo of a {}.", "a blurry photo of a {}."),
    "fashion": ("a product photo of a {}.", "a photo of a {}, a type of clothing."),
    "quickdraw": ("a sketch of a {}.", "a drawing of a {}.", "a doodle of a {}."),
    "emoji": ("an emoji of a {}.", "an icon of a {}.", "a cartoon of a {}."),
}
ANY_STYLE = ("a picture of a {}.", "an image of a {}.", "{}")
# Coarse words, so that subgroups can be taught and tested at two label levels.
COARSE = {
    **dict.fromkeys(("airplane", "automobile", "ship", "truck"), "vehicle"),
    **dict.fromkeys(("bird", "cat", "deer", "dog", "frog", "horse"), "animal"),
}


@dataclass(frozen=True)
class Pretraining:
    model: str = "mini-clip"  # or "mini-vit"
    images_seen: int = 3_600_000  # about an hour on two cores; each CIFAR-10 image is then seen 36 times
    batch: int = 384
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 300  # steps
    seed: int = 0
    # Share of a batch. Photos and sketches have the most to learn; 833 icons need few, but often.
    share: tuple[tuple[str, float], ...] = (("cifar10", 0.45), ("fashion", 0.08), ("quickdraw", 0.32), ("emoji", 0.15))
    any_style: float = 0.25  # share of captions that do not name the style
    coarse: float = 0.08  # share of CIFAR-10 captions that say "animal" or "vehicle"
    bn_momentum: float = 0.02  # slow running statistics: stage 2 reads them as a memory of this data


class Source:
    """Augmented images and captions of one set, drawn at random."""

    def __init__(self, name: str, config: Pretraining, generator: torch.Generator, device: torch.device):
        train = data.load(name, "train")
        self.name, self.classes, self.config, self.generator = name, train.classes, config, generator
        self.images = torch.from_numpy(train.images).permute(0, 3, 1, 2).contiguous().to(device)
        self.labels = train.labels
        self.rng = np.random.default_rng(config.seed + hash_name(name))

    def draw(self, n: int, size: int) -> tuple[torch.Tensor, list[tuple[str, str | None, str]]]:
        """n images (n, 3, size, size) in 0..1 and, per image, (name, style or None, caption)."""
        index = self.rng.integers(len(self.images), size=n)
        images = augment(self.images[torch.from_numpy(index).to(self.images.device)], size, self.generator)
        # One template a class a batch keeps the number of distinct captions, hence the text tower's work, small.
        template = {}
        captions = []
        for label in self.labels[index]:
            name = self.classes[label]
            if self.name == "cifar10" and self.rng.random() < self.config.coarse:
                name = COARSE[name]
            if name not in template:
                general = self.rng.random() < self.config.any_style
                pool = ANY_STYLE if general else TEMPLATES[self.name]
                template[name] = (None if general else self.name, pool[self.rng.integers(len(pool))])
            style, text = template[name]
            captions.append((name, style, text.format(name)))
        return images, captions

    def truths(self, label_name: str) -> tuple[str, ...]:
        """Names that are true of an image whose caption says `label_name`."""
        return (label_name, COARSE[label_name]) if label_name in COARSE else (label_name,)


def hash_name(name: str) -> int:
    return sum(ord(c) for c in name)


def augment(images: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random zoom, shift, turn, flip, colour and cut-out; (N, 3, h, w) uint8 to (N, 3, size, size) in 0..1."""
    n, device = len(images), images.device

    def uniform(*shape, low=0.0, high=1.0):
        return (low + (high - low) * torch.rand(*shape, generator=generator)).to(device)

    zoom = uniform(n, low=0.7, high=1.12)
    stretch = uniform(n, low=0.9, high=1.1)
    angle = uniform(n, low=-0.2, high=0.2)
    flip = torch.where(uniform(n) < 0.5, -1.0, 1.0)
    shift = uniform(n, 2, low=-0.15, high=0.15)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack([cos * flip * stretch, -sin, shift[:, 0], sin * flip * stretch, cos, shift[:, 1]], 1)
    grid = F.affine_grid(theta.view(n, 2, 3), (n, 3, size, size), align_corners=False)
    x = F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False)
    # Brightness, contrast and colour strength.
    gray = x.mean(1, keepdim=True)
    x = gray + (x - gray) * uniform(n, 1, 1, 1, low=0.5, high=1.4)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * uniform(n, 1, 1, 1, low=0.7, high=1.3) + uniform(n, 1, 1, 1, low=-0.15, high=0.15)
    x = x * uniform(n, 3, 1, 1, low=0.9, high=1.1)
    # Cut-out: a quarter of the side, in a third of the images.
    at = uniform(n, 2, 1, low=-0.25, high=1.0)
    axis = torch.arange(size, device=device) / size
    inside = (axis >= at) & (axis < at + 0.3)  # (n, 2, size)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :] & (uniform(n, 1, 1) < 0.35)
    return x.masked_fill(hole[:, None], 0.5).clamp(0, 1)


def contrastive_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, own: torch.Tensor, true: torch.Tensor
):
    """CLIP's symmetric loss over B images and K distinct captions.

    image (B, D), text (K, D): unit rows. own (B,) long: the caption drawn for each image.
    true (B, K) bool: captions that are true of the image; those not its own are left out of the softmax.
    """
    logits = scale * image @ text.T
    mine = F.one_hot(own, len(text)).bool()
    logits = logits.masked_fill(true & ~mine, float("-inf"))
    to_text = F.cross_entropy(logits, own)
    log_p = F.log_softmax(logits, dim=0).masked_fill(~mine, 0.0)
    to_image = -(log_p.sum(0) / mine.sum(0)).mean()
    return (to_text + to_image) / 2


def batch_captions(sources, drawn):
    """Distinct captions of a batch, each image's own one, and the truth matrix."""
    entries = [(source, caption) for source, (_, captions) in zip(sources, drawn) for caption in captions]
    distinct = sorted({caption for _, caption in entries}, key=str)
    position = {c: k for k, c in enumerate(distinct)}
    own = torch.tensor([position[c] for _, c in entries])
    names = {}
    for k, (name, style, _) in enumerate(distinct):
        names.setdefault(name, []).append((k, style))
    true = torch.zeros(len(entries), len(distinct), dtype=torch.bool)
    for row, (source, (name, _, _)) in enumerate(entries):
        for truth in source.truths(name):
            for k, style in names.get(truth, ()):
                if style is None or style == source.name:
                    true[row, k] = True
    return [text for _, _, text in distinct], own, true


def pretrain(config: Pretraining, out: Path, device: torch.device, minutes: float = math.inf) -> Path:
    """Train, checkpoint into `out`, and write MODEL.safetensors (half precision) when done."""
    out.mkdir(parents=True, exist_ok=True)
    register_mini()
    torch.manual_seed(config.seed)
    model = open_clip.create_model(config.model).to(device, memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = config.bn_momentum
    tokenizer = open_clip.get_tokenizer(config.model)
    size = Clip(model, tokenizer, config.model).image_size

    decay = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embedding" not in n]
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or "embedding" in n]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    steps = config.images_seen // config.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min(1, (s + 1) / config.warmup) * (0.5 + 0.5 * math.cos(math.pi * min(1, s / steps))),
    )
    generator = torch.Generator().manual_seed(config.seed)
    sources = [Source(name, config, generator, device) for name, _ in config.share]
    counts = [round(share * config.batch) for _, share in config.share]
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD, device=device).view(3, 1, 1)

    checkpoint, start, history = out / "checkpoint.pt", 0, []
    if checkpoint.exists():
        try:
            state = torch.load(checkpoint, map_location=device, weights_only=True)
        except Exception as error:
            raise SystemExit(f"{checkpoint} cannot be read ({error}): delete it to start anew.") from error
        if state["config"] != json.dumps(asdict(config)):
            raise SystemExit(f"{checkpoint} belongs to other settings: delete it, or choose another --out.")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"].cpu())
        for source, rng in zip(sources, json.loads(state["rngs"])):
            source.rng.bit_generator.state = rng
        start, history = state["step"], json.loads(state["history"])

    def save(step):
        state = {
            "config": json.dumps(asdict(config)),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "generator": generator.get_state(),
            "rngs": json.dumps([s.rng.bit_generator.state for s in sources]),
            "step": step,
            "history": json.dumps(history),
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)

    # Over so few tokens, a CPU's fused attention is slower backwards than plain products.
    attention = partial(sdpa_kernel, SDPBackend.MATH) if device.type == "cpu" else nullcontext
    began, running = time.time(), 0.0
    bar = tqdm(range(start, steps), initial=start, total=steps, unit="step", mininterval=10)
    for step in bar:
        drawn = [source.draw(n, size) for source, n in zip(sources, counts)]
        images = ((torch.cat([x for x, _ in drawn]) - mean) / std).to(memory_format=torch.channels_last)
        texts, own, true = batch_captions(sources, drawn)
        with attention():
            with autocast(device):
                image = model.encode_image(images)
            text = model.encode_text(tokenizer(texts).to(device))
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        loss = contrastive_loss(image, text, model.logit_scale.exp(), own.to(device), true.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        running += loss.detach()
        if (step + 1) % 100 == 0:
            history.append([step + 1, float(running) / 100])
            bar.set_postfix(loss=f"{history[-1][1]:.3f}")
            running = 0.0
        if (step + 1) % 500 == 0 or step + 1 == steps:
            save(step + 1)
            export(model, out / f"{config.model}.safetensors")
        if time.time() - began > 60 * minutes:
            save(step + 1)
            raise SystemExit(f"stopped after {minutes:g} minutes at step {step + 1} of {steps}; run again to go on.")
    record = {
        "config": asdict(config),
        "steps": steps,
        "device": describe(device),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
        },
        "loss": history,
    }
    (out / "pretraining.json").write_text(json.dumps(record))
    return out / f"{config.model}.safetensors"


def export(model: torch.nn.Module, path: Path) -> None:
    """Weights in half precision (running statistics in full: stage 2 reads them), written in one move."""
    state = {k: v.half() if v.is_floating_point() and "running" not in k else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


@click.command(help=__doc__.splitlines()[0])
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/pretrain"), show_default=True)
@click.option("--model", type=click.Choice(["mini-clip", "mini-vit"]), default=Pretraining.model, show_default=True)
@click.option("--lr", default=Pretraining.lr, show_default=True)
@click.option("--images", default=Pretraining.images_seen, show_default=True, help="images seen in all")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--minutes", type=float, default=math.inf, help="stop after so long, to be resumed later")
def main(out: Path, model: str, lr: float, images: int, seed: int, device: str, minutes: float) -> None:
    path = pretrain(Pretraining(model=model, images_seen=images, lr=lr, seed=seed), out, pick_device(device), minutes)
    print(f"weights in {path}; copy them to forgetkit/models/mini/ to make them the embedded model")


if __name__ == "__main__":
    main()
