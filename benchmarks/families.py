"""Every family of open_clip's through all stages, with random weights and six images: docs/results/families.csv.

    python -m benchmarks.families --minutes 5     # goes on where it was

A family is run at its smallest size; where that is large, with fewer layers, as `model` says. Text towers do not take
part in the stages: every family has the same small one here, so that none needs a hub's files. A row a family: what
happened, where the tower is cut, BatchNorm layers that stage 2 aligns to, seconds of the stages, of a training step of
the default recipe's layers behind the cut, and of one of the whole tower.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import click
import numpy as np
import open_clip
import timm
import torch

from benchmarks.rows import Rows, options
from forgetkit import Grouped, Recipe, Subgroup, evaluate, load_clip, split, unlearn
from forgetkit.auditing import retraining, views
from forgetkit.data.images import PARTS, ImageSet
from forgetkit.lora import adapt, adaptable
from forgetkit.models import prefix
from forgetkit.models.clip import Clip, ModelError, batch_norms, pick_device

MODELS = {  # by family: the model; with how many layers, where not all
    "ViT": "ViT-B-32", "ViT, alt": "ViT-S-32-alt", "ViT, CLIPA": "ViT-L-14-CLIPA 2 layers",
    "ViT, worldwide": "ViT-H-14-worldwide 2 layers", "ResNet": "RN50", "ConvNeXt": "convnext_tiny",
    "EVA01": "EVA01-g-14 2 layers", "EVA02": "EVA02-B-16",
    "SigLIP": "ViT-B-16-SigLIP", "SigLIP 2": "ViT-B-32-SigLIP2-256", "CoCa": "coca_ViT-B-32",
    "CoCa, RoBERTa": "coca_roberta-ViT-B-32", "RoBERTa": "roberta-ViT-B-32", "XLM-RoBERTa": "xlm-roberta-base-ViT-B-32",
    "mT5": "mt5-base-ViT-B-32", "NLLB": "nllb-clip-base", "NLLB, SigLIP": "nllb-clip-base-siglip",
    "MobileCLIP": "MobileCLIP-S1", "MobileCLIP, ViT": "MobileCLIP-B", "MobileCLIP 2": "MobileCLIP2-S0",
    "ViTamin": "ViTamin-S", "PE-Core": "PE-Core-T-16-384", "Swin": "swin_base_patch4_window7_224",
    "ViT of timm, all tokens": "vit_medium_patch16_gap_256",
    "ViT of timm, relative positions": "vit_relpos_medium_patch16_cls_224",
}  # fmt: skip
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
CLASSES = ("red", "green", "blue")
FEW = {"steps": 2, "batch": 2}
RECIPE = Recipe.default(forget=FEW | {"fisher_samples": 2, "k": 1},
                        remind=FEW | {"n_abstract": 2, "align_steps": 1})  # fmt: skip


def layers_of(model: str) -> int | None:
    """With how many layers a model of `MODELS` is made, where not with all."""
    layers = model.partition(" ")[2]
    return int(layers.split()[0]) if layers else None


def clip_of(model: str, device: torch.device) -> Clip:
    """The model with random weights and a small text tower, as `load_clip` would load it."""
    name, layers = model.partition(" ")[0], layers_of(model)
    config = open_clip.get_model_config(name)
    config["text_cfg"] = {**TEXT}
    if "multimodal_cfg" in config:  # of the decoder, which no stage asks
        config["text_cfg"] |= {"embed_cls": True, "output_tokens": True}
        config["multimodal_cfg"]["layers"] = 1
    if layers:
        config["vision_cfg"]["layers"] = layers
    open_clip.factory._MODEL_CONFIGS["small text"] = config
    return load_clip("small text", device=device)


def shorter(model: str):
    """While it is on, timm makes its ViTs with as many layers as `model` says, where it does."""
    layers = layers_of(model)
    return mock.patch("timm.create_model", partial(timm.create_model, depth=layers)) if layers else nullcontext()


def noise(clip: Clip) -> Grouped:
    """Two images a class and part, at the model's size."""

    def part(seed: int) -> ImageSet:
        images = np.random.default_rng(seed).integers(0, 256, (6, *clip.image_shape, 3), np.uint8)
        return ImageSet("noise", images, np.arange(6) % 3, CLASSES)

    return Grouped({name: part(seed) for seed, name in enumerate(PARTS)}, Subgroup("red", ("green",)))


def seconds_of_step(clip: Clip, x, names: list[str]) -> float:
    """Of a forward and backward of these images or features, with adapters on those weights; the second of two."""
    student = clip.copy()
    weights = adapt(student.model.visual, names, rank=8)
    for _ in range(2):
        start = time.perf_counter()
        torch.autograd.grad(student.embed_tensor(x).square().sum(), weights, allow_unused=True)
    return time.perf_counter() - start


def measure(model: str, device: torch.device) -> dict:
    """A family's row: through the stages, evaluation, attacks, saved and loaded; or what was said instead."""
    try:
        clip = clip_of(model, device)
        sets = split(noise(clip), n_forget=2, n_retain=2, n_calibration=2, n_calibration_target=2).on(clip)
        start = time.perf_counter()
        models = unlearn(clip, sets, RECIPE)
        seconds = time.perf_counter() - start
        evaluate([clip, *models], sets.test)
        views.embedded([clip, models[-1]], sets.test)
        retraining.fine_tuned(models[-1], sets.head, [retraining.before_last(clip, sets.forget)], 1, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            models[-1].save(folder)
            again = load_clip(f"local-dir:{folder}", device=device)
        torch.testing.assert_close(again.embed(sets.forget.images), models[-1].embed(sets.forget.images))
    except ModelError as error:
        return {"through": str(error)}
    tower, names = clip.model.visual, adaptable(clip.model.visual, RECIPE.remind.trainable_fraction)
    cut, x = prefix.n_frozen(tower, names), clip.inputs(noise(clip).parts["train"]).images
    block = prefix.blocks(tower)[cut]
    behind = clip.features(x, cut)
    cut_at = f"{block.name}{', one token' if block.tokens else ''}" if cut else "none"
    whole, rest = (seconds_of_step(clip, images, names) for images in (x, behind))
    return {"through": "yes", "cut": cut_at, "batch norms": len(batch_norms(clip.model)),
            "seconds": round(seconds, 2), "whole step": round(whole, 4), "step": round(rest, 4)}  # fmt: skip


@click.command(help=__doc__)
@click.option("--minutes", default=20.0, show_default=True, help="in which families begin; the rest another time")
@options("families.csv")
def main(minutes: float, device: str, out: Path) -> None:
    where, end = pick_device(device), time.monotonic() + 60 * minutes
    rows = Rows(
        out, ["family", "model"], where, [{"family": family, "model": model} for family, model in MODELS.items()]
    )
    for family, model in MODELS.items():
        if time.monotonic() < end and {"family": family, "model": model} not in rows:
            with shorter(model):
                rows.add({"family": family, "model": model, **measure(model, where)})
    click.echo(rows.table.to_string(index=False))


if __name__ == "__main__":
    main()
