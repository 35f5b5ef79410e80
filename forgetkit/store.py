"""Finished stages on disk: a notebook that needs the stage before it finds it, or computes it once.

`cached(forget)` takes what `forget` takes. The key is everything the result depends on: weights and preprocessing
of the models, images, labels, class names and prompts of the sets, the recipe's values that the stage reads,
the code of the stages, the versions of torch and open_clip, and the device.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file, save_file

from forgetkit.models.clip import Clip, describe
from forgetkit.data.sets import ImageSet, cache_folder
from forgetkit.recipe import Recipe
from forgetkit.subgroups import Splits

# What each stage is made of: a change to one of these modules makes its kept results stale.
CODE = {
    "forget": ("models/clip", "losses", "evaluation", "fisher", "forgetting", "lora", "models/memory"),
    "remind": ("alignment", "synthetic", "models/clip", "losses", "fisher", "forgetting", "lora", "models/memory", "reminding"),
    "restore": ("models/clip", "evaluation", "models/memory", "restoring"),
}
KEPT = 60  # stages; the ones not used for longest go first
log = logging.getLogger(__name__)


def cached(stage: Callable[..., Clip], folder: Path | None = None) -> Callable[..., Clip]:
    """The stage (`forget`, `remind`, `restore`), reading its result from `folder` where it was computed before.

    folder: `stages` in `data.cache_folder()` unless named. A damaged entry is computed anew; a full disk costs a
    warning, not the result.
    """
    folder = folder or cache_folder() / "stages"

    def run(clip: Clip, *args, **kwargs) -> Clip:
        entry = folder / f"{stage.__name__}-{key(stage.__name__, clip, *args, *kwargs.values())}"
        found = _read(entry, clip)
        if found is None:
            found = stage(clip, *args, **kwargs)
            _write(entry, found)
        return found

    return run


def key(stage: str, *inputs) -> str:
    """Hash of everything that a stage's result depends on."""
    code = [(Path(__file__).parent / f"{module}.py").read_bytes() for module in CODE[stage]]
    digest = hashlib.sha256(repr([stage, torch.__version__, open_clip.__version__]).encode())
    for part in code:
        digest.update(hashlib.sha256(part).digest())
    for part in inputs:
        if isinstance(part, Clip):
            digest.update(describe(part.device).encode())
            digest.update(repr((part.model, part.model.visual.preprocess_cfg)).encode())  # also the activation
            digest.update(repr(part.record.get("layers")).encode())
            for name, tensor in sorted(part.model.state_dict().items()):  # a merged adapter changes their order
                add_tensor(digest, name, tensor)
        elif isinstance(part, Splits):
            for images in (part.forget, part.retain, *part.calibration.values()):
                _add_set(digest, images)
        elif isinstance(part, Recipe):
            digest.update(repr(part.read_by(stage)).encode())
        elif isinstance(part, torch.Tensor):
            add_tensor(digest, "tensor", part)
        elif part is not None:
            raise TypeError(f"A stage's result cannot be kept by an input of type {type(part).__name__}.")
    return digest.hexdigest()[:24]


def add_tensor(digest, name: str, tensor: torch.Tensor) -> None:
    """Feed a tensor to a hash, with its name, shape and type."""
    digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _add_set(digest, images: ImageSet) -> None:
    digest.update(repr((images.classes, images.prompts, images.images.shape)).encode())
    digest.update(images.images.tobytes())
    digest.update(images.labels.tobytes())


def _read(entry: Path, like: Clip) -> Clip | None:
    """The model kept in `entry`, a copy of `like` with its weights; None where there is none, or it is damaged."""
    try:
        note = json.loads((entry / "record.json").read_text())
        weights = load_file(entry / "visual.safetensors")
        clip = like.copy(note["name"], **note["record"])
        clip.model.visual.load_state_dict(weights)
        os.utime(entry)
        return clip
    except FileNotFoundError:
        return None
    except Exception as error:  # safetensors, JSON and torch each raise their own
        log.warning("%s is damaged (%s) and is computed anew.", entry, error)
        shutil.rmtree(entry, ignore_errors=True)
        return None


def _write(entry: Path, clip: Clip) -> None:
    def write(half: Path) -> None:
        half.mkdir()
        weights = {name: tensor.contiguous() for name, tensor in clip.model.visual.state_dict().items()}
        save_file(weights, half / "visual.safetensors")
        (half / "record.json").write_text(json.dumps({"name": clip.name, "record": clip.record}))

    keep(entry, write, KEPT, "The stage")


def keep(entry: Path, write: Callable[[Path], None], most: int, what: str) -> None:
    """Let `write` make a file or folder, put it at `entry` in one step, and leave the `most` last used entries there.

    A half-written entry is never taken for whole. A full disk costs a warning that names `what` was computed.
    """
    folder = entry.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", ignore_cleanup_errors=True) as temporary:
            half = Path(temporary) / entry.name
            write(half)
            if not entry.is_dir():  # another process may have been faster
                os.replace(half, entry)
        for old in sorted(folder.glob("[a-z]*"), key=os.path.getmtime)[:-most]:
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s is computed, but could not be kept in %s (%s).", what, folder, error)
