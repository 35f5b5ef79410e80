"""CLIP models: prepare images for one, embed images and class names (`loading` loads them).

The stages take a `Clip` and return a new one; nothing changes a model in place.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as transforms
from tqdm.auto import tqdm

from forgetkit.data.images import PROMPTS, ImageSet
from forgetkit.data.reading import ImageFiles
from forgetkit.models import ModelError, prefix, saving
from forgetkit.models.memory import halving, to_device
from forgetkit.models.prefix import Features, run, shared


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` is the GPU where there is one, else the CPU. Raises ModelError for a device that torch does not know."""
    if str(device) == "auto":
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    try:
        return torch.device(device)
    except RuntimeError:
        raise ModelError(f"There is no device {device!r}: choose auto, cpu, cuda, cuda:1 or mps.") from None


def describe(device: torch.device) -> str:
    """The device in words, for result rows: a GPU's name, or the CPU with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    precision = "bf16" if device.type == "cpu" and autocast(device)._enabled else "fp32"
    return f"{device.type.upper()} ({platform.machine()}, {precision}), {torch.get_num_threads()} threads"


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware computes in it (CUDA; a CPU with AVX512-BF16 or AMX), else float32, as weights."""
    native = device.type == "cuda" or (device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


@dataclass(frozen=True, eq=False)
class Inputs:
    """An image set as a model takes it.

    images: (N, 3, S, S) float32, preprocessed, on the model's device; or their prefix features
    labels: (N,) long, on the same device: indices into `classes`
    """

    images: torch.Tensor | Features
    labels: torch.Tensor
    classes: tuple[str, ...]
    prompts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index) -> Inputs:
        return replace(self, images=self.images[index], labels=self.labels[index])


@dataclass(frozen=True)
class Clip:
    """A CLIP model with what belongs to it.

    model:     an `open_clip` model in eval mode (`encode_image`, `encode_text`, `logit_scale`, `visual`)
    tokenizer: texts -> (N, context_length) long
    name:      what tables and figures call it
    record:    what the stages noted on the way here (curves, chosen layers, coefficients)
    heads:     by classes and prompts, embeddings (C, D) that stand for their texts, if there are any: see `with_head`
    """

    model: torch.nn.Module
    tokenizer: Callable
    name: str
    record: dict = field(default_factory=dict, compare=False)
    heads: dict[tuple[tuple[str, ...], tuple[str, ...]], torch.Tensor] = field(default_factory=dict, compare=False)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def image_shape(self) -> tuple[int, int]:
        """(H, W) of the images that the tower takes."""
        return prefix.image_shape(self.model.visual)

    @property
    def scale(self) -> torch.Tensor:
        """The learnt inverse temperature, exp(logit_scale): a scalar."""
        return self.model.logit_scale.detach().exp()

    @property
    def bias(self) -> torch.Tensor | None:
        """What a SigLIP adds to its logits, whose sigmoids are probabilities: a scalar; None: they are a softmax."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else bias.detach()

    @property
    def is_mini(self) -> bool:
        """Is this mini-CLIP, or made of it?"""
        return self.record.get("source", {}).get("model") == "mini-clip"

    def copy(self, name: str | None = None, **record) -> Clip:
        """A deep copy of the model under a new name, with `record` added to what was noted so far."""
        prefix.blocks(self.model.visual)  # found once for all copies
        return replace(self, model=copy.deepcopy(self.model), name=name or self.name, record={**self.record, **record})

    def preprocess(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 to (N, 3, S, S) float on the model's device: resize, crop, normalise, as open_clip does.

        The `shortest` side is brought to S, the centre cut out; or the `longest`, the rest black; or both (`squash`).
        """
        cfg, (height, width) = self.model.visual.preprocess_cfg, self.image_shape
        x = to_device(torch.as_tensor(np.ascontiguousarray(images)), self.device).permute(0, 3, 1, 2).float() / 255
        way, (h, w), size = cfg.get("resize_mode", "shortest"), x.shape[2:], [height, width]
        if way == "shortest" and height == width:
            size = [height]
        elif way != "squash":
            zoom = (min if way == "longest" else max)(height / h, width / w)
            size = [round(h * zoom), round(w * zoom)]
        x = transforms.resize(x, size, transforms.InterpolationMode(cfg["interpolation"]), antialias=True).clamp(0, 1)
        x = transforms.center_crop(x, [height, width])
        x = transforms.normalize(x, list(cfg["mean"]), list(cfg["std"]))
        return x.contiguous(memory_format=torch.channels_last)

    def inputs(self, part: ImageSet) -> Inputs:
        """All images of a set preprocessed, with its labels: for sets that are gone through many times."""
        labels = torch.as_tensor(part.labels, device=self.device)
        return Inputs(torch.cat([*self.batches(part.images, 250, "preprocess")]), labels, part.classes, part.prompts)

    def to_pixels(self, x: torch.Tensor) -> torch.Tensor:
        """Inverse of the normalisation: (N, 3, S, S) preprocessed to 0..1, for showing."""
        low, high = self.pixel_range()
        return ((x - low) / (high - low)).clamp(0, 1)

    def pixel_range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The preprocessed values of black and white, (3, 1, 1) each: what a valid image lies between."""
        cfg = self.model.visual.preprocess_cfg
        mean, std = (torch.tensor(cfg[k], device=self.device).view(3, 1, 1) for k in ("mean", "std"))
        return (0 - mean) / std, (1 - mean) / std

    def clamp(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, 3, S, S) preprocessed, brought to what lies between black and white: valid images."""
        low, high = self.pixel_range()
        return torch.minimum(torch.maximum(x, low), high)

    def head(self, classes: Sequence[str], prompts: Sequence[str]) -> torch.Tensor:
        """Class embeddings (C, D), unit rows: means over the prompts, by open_clip, or what `with_head` was given.

        Raises ModelError for a prompt without one `{}`.
        """
        if (own := self.heads.get((tuple(classes), tuple(prompts)))) is not None:
            return own
        for prompt in prompts:
            if prompt.count("{}") != 1 or {*"{}"} & {*prompt.replace("{}", "")}:
                raise ModelError(f"The prompt {prompt!r} needs {{}} once, for the class name, and no other braces.")
        weights = open_clip.build_zero_shot_classifier(
            self.model, self.tokenizer, list(classes), list(prompts), num_classes_per_batch=64, device=self.device
        )
        return weights.T.float().contiguous()

    def with_head(self, classes: Sequence[str], head: torch.Tensor, prompts: Sequence[str] = PROMPTS) -> Clip:
        """The same model, for which these embeddings (C, D) stand for the names in these prompts; see `check_head`."""
        own = {(tuple(classes), tuple(prompts)): check_head(head, len(classes), self)}
        return replace(self, heads={**self.heads, **own})

    def prototypes(self, part: ImageSet) -> torch.Tensor:
        """Class embeddings (C, D), unit rows: the mean of each class's images; raises ModelError where one has none."""
        if empty := [name for c, name in enumerate(part.classes) if not (part.labels == c).any()]:
            raise ModelError(f"A head of images needs images of every class; there is none of {', '.join(empty[:5])}.")
        z, labels = self.embed(part.images), torch.as_tensor(part.labels, device=self.device)
        return F.normalize(torch.stack([z[labels == c].mean(0) for c in range(len(part.classes))]), dim=-1)

    def embed_tensor(self, x: torch.Tensor | Features) -> torch.Tensor:
        """Unit image embeddings (N, D) float32 of preprocessed images (N, 3, S, S) or features; keeps the graph."""
        with autocast(self.device):
            z = run(self.model.visual, x)
        return F.normalize(z.float(), dim=-1)

    def prefix_features(self, part: Inputs, weights: Sequence[str], mixed: bool = True) -> Inputs:
        """The same set with, instead of images, what the blocks before the first of these `weights` make of them."""
        return replace(part, images=self.features(part.images, prefix.n_frozen(self.model.visual, weights), mixed))

    @torch.no_grad()
    def features(self, x: torch.Tensor | Features, n_frozen: int, mixed: bool = True) -> torch.Tensor | Features:
        """What enters block `n_frozen`, of images x (N, 3, S, S), by `autocast` or in float32; features as they are."""
        if n_frozen == 0 or isinstance(x, Features):
            return x

        def through(size: int) -> torch.Tensor:
            with autocast(self.device) if mixed else nullcontext():
                return torch.cat([run(self.model.visual, part, n_frozen) for part in x.split(size)])

        return Features(halving(through, min(250, len(x)), "frozen prefix"), n_frozen)

    def batches(self, images: np.ndarray | ImageFiles | torch.Tensor | Features, batch: int, progress: str = "embed"):
        """Batches (B, 3, S, S) of images (N, H, W, 3) uint8, preprocessed; of a tensor, or features, as they are."""
        if isinstance(images, (torch.Tensor, Features)):
            yield from images.split(batch)
            return
        starts, in_files = range(0, len(images), batch), isinstance(images, ImageFiles)
        parts = images.batches(batch) if in_files else (images[start : start + batch] for start in starts)
        if len(starts) > 2:  # in a notebook a bar is a dozen messages even while hidden
            parts = tqdm(parts, desc=progress, total=len(starts), leave=False, delay=1)
        yield from map(self.preprocess, parts)

    def embed(self, images: np.ndarray | ImageFiles | torch.Tensor, batch: int = 250, progress="embed") -> torch.Tensor:
        """Unit image embeddings (N, D) float32, without a graph; images as in `batches`."""
        return embed_each([self], images, batch, progress)[0]

    save = saving.save


@torch.no_grad()
def embed_each(
    clips: Sequence[Clip], images: np.ndarray | ImageFiles | torch.Tensor, batch: int = 250, progress: str = "embed"
) -> list[torch.Tensor]:
    """(N, D) for each of several models, as `Clip.embed`; images go once through the blocks that all models share."""
    several = len(clips) > 1 and not isinstance(images, Features)
    n_frozen = shared([clip.model.visual for clip in clips]) if several else 0

    def embedded(size: int) -> list[torch.Tensor]:
        rows = []
        for x in clips[0].batches(images, size, progress):
            x = clips[0].features(x, n_frozen)
            rows.append([clip.embed_tensor(x) for clip in clips])
        return [torch.cat(z) for z in zip(*rows)]

    return halving(embedded, min(batch, len(images)), progress)


def batch_norms(model: torch.nn.Module) -> dict[str, torch.nn.BatchNorm2d]:
    """The BatchNorm layers of the image tower by name; none in a ViT."""
    return {n: m for n, m in model.visual.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}


def check_head(head: torch.Tensor, classes: int, clip: Clip) -> torch.Tensor:
    """Class embeddings (C, D) as unit rows in float32 on the model's device; raises ModelError for what is none."""
    if not isinstance(head, torch.Tensor) or not head.is_floating_point():
        raise ModelError(f"The head is a tensor of floats, a row a class, got {type(head).__name__}.")
    width = clip.model.text_projection.shape[1] if hasattr(clip.model, "text_projection") else head.shape[-1]
    if tuple(head.shape) != (classes, width):
        raise ModelError(f"The head must be ({classes}, {width}), a row a class, got {tuple(head.shape)}.")
    if not torch.isfinite(head).all() or (head == 0).all(1).any():
        raise ModelError("The head has rows that are zero, or numbers that are not finite: make it anew.")
    return F.normalize(head.float().to(clip.device), dim=-1)
