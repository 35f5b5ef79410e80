"""Embeddings of the frozen original model, kept on disk: it sees each file once, whatever is run afterwards.

The key of an entry is what it depends on: weights and preprocessing of the model, code, versions and device, and each
file's path, size and time of change. Entries are written every few thousand images, so that a run that ends early
loses no more than that. Text embeddings of many classes and prompts (1,000 x 80 for ImageNet) are kept likewise.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file, save_file

from forgetkit.store import add_tensor, keep
from forgetkit.models.clip import Clip, describe
from forgetkit.data.sets import DataError, ImageSet, cache_folder
from forgetkit.data.files import ImageFiles

SHARD = 4096  # images an entry
KEPT = 256  # entries (4 GB of RN50's embeddings); the ones not used for longest go first
CODE = ("models/clip", "data/files")
log = logging.getLogger(__name__)


def embed(clip: Clip, images, progress: str = "embed", folder: Path | None = None) -> torch.Tensor:
    """Unit image embeddings (N, D) float32 on the CPU; those of `ImageFiles` are read from `folder`, or kept there.

    folder: `embeddings` in `data.cache_folder()` unless named
    Raises DataError for a file that is missing, empty or broken.
    """
    if not isinstance(images, ImageFiles):
        return clip.embed(images, progress=progress).cpu()
    weights = _digest(clip, "visual.", clip.model.visual.preprocess_cfg)
    found = []
    for start in range(0, len(images), SHARD):
        part = images.select(slice(start, start + SHARD))
        stamps = repr((stamps_of(part), part.how))
        key = hashlib.sha256((weights + stamps).encode()).hexdigest()
        label = f"{progress} ({start // SHARD + 1}/{-(-len(images) // SHARD)})" if len(images) > SHARD else progress
        found.append(_kept(folder, f"images-{key[:24]}", lambda: clip.embed(part, progress=label)))
    return torch.cat(found) if found else torch.empty(0, clip.model.visual.output_dim)


def head(clip: Clip, classes: Sequence[str], prompts: Sequence[str], folder: Path | None = None) -> torch.Tensor:
    """`clip.head`, (C, D) on the model's device, kept on disk."""
    key = _digest(clip, "", (tuple(classes), tuple(prompts)))
    return _kept(folder, f"head-{key[:24]}", lambda: clip.head(classes, prompts)).to(clip.device)


def heads(clip: Clip, columns: Mapping[str, ImageSet]) -> dict[str, torch.Tensor]:
    """The head of every column, (C, D) each, made once for columns that share classes and prompts."""
    made = {(part.classes, part.prompts): None for part in columns.values()}
    made = {key: head(clip, *key) for key in made}
    return {name: made[part.classes, part.prompts] for name, part in columns.items()}


def accuracies(clip: Clip, columns: Mapping[str, ImageSet], heads: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Top-1 accuracy in percent per column, from kept embeddings: of the original model, which does not change."""
    found = {}
    for name, part in columns.items():
        guess = (embed(clip, part.images, f"{clip.name}: {name}") @ heads[name].cpu().T).argmax(1)
        found[name] = 100 * (guess == torch.as_tensor(part.labels)).double().mean().item()
    return found


def stamps_of(images: ImageFiles) -> list[tuple[str, int, int]]:
    """Path, size and time of change of every file; raises DataError for one that is missing or empty."""
    found = []
    for file in images.files:
        try:
            status = os.stat(file)
        except OSError as error:
            raise DataError(
                f"{file} cannot be found any more ({error.strerror}): put it back, or run again."
            ) from error
        if not status.st_size:
            raise DataError(f"{file} is empty: fetch it again, or remove it and run again.")
        found.append((os.path.abspath(file), status.st_size, status.st_mtime_ns))
    return found


def _digest(clip: Clip, prefix: str, also) -> str:
    """Hash of the model's weights whose names begin with `prefix`, of code, versions, device, and of `also`."""
    versions = (torch.__version__, open_clip.__version__, describe(clip.device))
    digest = hashlib.sha256(repr((versions, also)).encode())
    for module in CODE:
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    for name, tensor in clip.model.state_dict().items():
        if name.startswith(prefix):
            add_tensor(digest, name, tensor)
    return digest.hexdigest()


def _kept(folder: Path | None, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The tensor of that name from the folder, or computed and put there; on the CPU."""
    folder = folder or cache_folder() / "embeddings"
    file = folder / f"{name}.safetensors"
    try:
        found = load_file(file)["z"]
        os.utime(file)
        return found
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged file, a folder that cannot be read
        log.warning("%s cannot be read (%s) and is made anew.", file, error)
    z = compute().detach().float().cpu().contiguous()
    keep(file, lambda half: save_file({"z": z}, half), KEPT, f"{name} (embeddings)")
    return z
