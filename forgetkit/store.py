"""Kept on disk: finished stages, and embeddings of the frozen original model.

`forget(clip, sets, recipe, cache=Cache())` reads what it computed before. A result is found again by a key, a SHA-256
over everything that it depends on: weights and preprocessing of the models, images, labels and class embeddings, the
recipe's part, the code of the method, the versions of torch and open_clip, and the device. A file begins with the
SHA-256 of the rest: one that is damaged is told, and made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import partial, wraps
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load, save

from forgetkit.data.images import DataError, ImageSet
from forgetkit.data.reading import ImageFiles
from forgetkit.data.sets import cache_folder, in_one_step
from forgetkit.evaluation import percent
from forgetkit.keys import code_of
from forgetkit.models.clip import Clip, Inputs, describe
from forgetkit.subgroups import ModelSets

__all__ = ["Cache", "accuracies", "code_of", "embed", "head", "heads", "key", "once"]
SHARD = 4096  # images in a file of embeddings, so that a run that ends early loses no more
MOST = {"stages": 60, "embeddings": 256}  # files; the ones not used for longest go first
HERE = Path(__file__).parent
log = logging.getLogger(__name__)


class Cache:
    """Finished stages in a folder, for `unlearn(..., cache=)` and for each stage: computed once, read afterwards.

    folder: `stages` in `data.cache_folder()` unless named. A full disk costs a warning, not the result.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder or cache_folder() / "stages")

    def result(
        self, stage: Callable[..., Clip], args: Sequence, pieces: Mapping[str, Callable], compute: Callable[[], Clip]
    ) -> Clip:
        """What the stage made of these arguments before; computed and kept where it is not there.

        Pieces of the method (`align=`) are known by their own names: ValueError for a function that has none.
        """
        named = [(name, f"{piece.__module__}.{piece.__qualname__}") for name, piece in sorted(pieces.items())]
        if nameless := [name for name, said in named if "<" in said]:
            raise ValueError(f"cache=: {', '.join(nameless)} is a function made inside another, which has no name.")
        file = self.folder / f"{stage.__name__}-{key(stage.__name__, *args, *named)}"
        if (found := read(file)) is None:
            result = compute()
            write(file, result.model.visual.state_dict(), {"name": result.name, "record": result.record})
            return result
        weights, note = found
        result = args[0].copy(note["name"], **note["record"])
        result.model.visual.load_state_dict(weights)
        return result


def once(align: Callable) -> Callable:
    """`align`, for `remind(..., align=once(align))`: in memory, it makes what it made before a single time.

    What is aligned does not hang on what stage 2 trains: its terms can be tried one after the other.
    """
    made = {}

    @wraps(align)
    def run(clip: Clip, x: torch.Tensor, *settings: float):
        which = key(clip, _tensors({"x": x}), *settings)
        if which not in made:
            made[which] = align(clip, x, *settings)
        return made[which]

    return run


def embed(clip: Clip, images, progress: str = "embed", folder: Path | None = None) -> torch.Tensor:
    """Unit image embeddings (N, D) float32 on the CPU; those of `ImageFiles` are read from `folder`, or kept there.

    A file counts as the same by path, size and time of change. folder: `embeddings` in `data.cache_folder()` unless
    named. Raises DataError for a file that is missing, empty or broken.
    """
    if not isinstance(images, ImageFiles):
        return clip.embed(images, progress=progress).cpu()
    found, model = [], key(clip)  # the weights are hashed once, not for every file
    for start in range(0, len(images), SHARD):
        part = images.select(slice(start, start + SHARD))
        name = f"images-{key(model, stamps(part), part.how)}"
        found.append(_tensor(folder, name, partial(clip.embed, part, progress=f"{progress}, from image {start:,}")))
    return torch.cat(found) if found else torch.empty(0, clip.model.visual.output_dim)


def head(clip: Clip, classes: Sequence[str], prompts: Sequence[str], folder: Path | None = None) -> torch.Tensor:
    """`clip.head`, (C, D) on the model's device, kept on disk: 1,000 classes of 80 prompts take minutes."""
    if (tuple(classes), tuple(prompts)) in clip.heads:
        return clip.head(classes, prompts)
    name = f"head-{key(clip, tuple(classes), tuple(prompts))}"
    return _tensor(folder, name, lambda: clip.head(classes, prompts)).to(clip.device)


def heads(clip: Clip, columns: Mapping[str, ImageSet | Inputs]) -> dict[str, torch.Tensor]:
    """The head of every column, (C, D) each, made once for columns that share classes and prompts."""
    made = {of: head(clip, *of) for of in {(part.classes, part.prompts) for part in columns.values()}}
    return {name: made[part.classes, part.prompts] for name, part in columns.items()}


def accuracies(clip: Clip, columns: Mapping[str, ImageSet], heads: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Top-1 accuracy in percent per column, from kept embeddings: of the original model, which does not change."""
    found = {}
    for name, part in columns.items():
        guess = (embed(clip, part.images, f"{clip.name}: {name}") @ heads[name].cpu().T).argmax(1)
        found[name] = percent(guess == torch.as_tensor(part.labels))
    return found


def stamps(images: ImageFiles) -> list[tuple[str, int, int]]:
    """Path, size and time of change of every file; raises DataError for one that is missing or empty."""
    found = []
    for file in images.files:
        try:
            status = os.stat(file)
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}): put it back, or run again.") from error
        if not status.st_size:
            raise DataError(f"{file} is empty: fetch it again, or remove it and run again.")
        found.append((os.path.abspath(file), status.st_size, status.st_mtime_ns))
    return found


def _tensor(folder: Path | None, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The tensor of that name from the folder, or computed and put there; on the CPU."""
    file = Path(folder or cache_folder() / "embeddings") / name
    if (found := read(file)) is not None:
        return found[0]["z"]
    z = compute().detach().float().cpu()
    write(file, {"z": z})
    return z


def key(*parts) -> str:
    """Hash of models, with their device, sets, recipes and plain values; and of the method's code and of versions."""
    digest = hashlib.sha256(repr((torch.__version__, open_clip.__version__)).encode())
    for source in sorted([*HERE.glob("*.py"), *HERE.glob("models/*.py")]):
        digest.update(source.read_bytes())
    for part in parts:
        digest.update(_bytes(part))
    return digest.hexdigest()[:24]


def _bytes(part) -> bytes:
    if isinstance(part, Clip):
        said = (describe(part.device), part.model, part.model.visual.preprocess_cfg, part.record.get("layers"))
        return repr(said).encode() + _tensors(part.model.state_dict())
    if isinstance(part, ModelSets):
        seen = (part.forget, part.retain, *part.calibration.values(), part.previous, part.never)
        return b"".join(map(_bytes, seen)) + _tensors({"head": part.head})
    if isinstance(part, Inputs):
        return repr((part.classes, part.prompts)).encode() + _tensors({"x": part.images, "y": part.labels})
    return repr(asdict(part) if is_dataclass(part) else part).encode()


def _tensors(named: Mapping[str, torch.Tensor]) -> bytes:
    """A SHA-256 of tensors by name, with their shapes and types, whatever their order and memory format."""
    return hashlib.sha256(_packed(named)).digest()


def _packed(named: Mapping[str, torch.Tensor]) -> bytes:
    """The tensors by safetensors, which takes contiguous ones, and none of them under two names."""
    return save({name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in named.items()})


def read(file: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """(tensors, note) as `write` left them; None where there is no such file, or a damaged one, which is told."""
    try:
        content = file.read_bytes()
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() != digest:
            raise ValueError("its content does not fit its hash")
        tensors = load(payload)
        os.utime(file)
        return tensors, json.loads(bytes(tensors.pop("note").tolist()))
    except FileNotFoundError:
        return None
    except Exception as error:  # a disk, safetensors and JSON each raise their own
        log.warning("%s cannot be read (%s) and is made anew.", file, error)
        return None


def write(file: Path, tensors: Mapping[str, torch.Tensor], note: Mapping = {}) -> None:
    """Put tensors and a note into a file, in one step, and leave the last used files of its folder (`MOST`) there."""
    note = torch.tensor(list(json.dumps(note).encode()), dtype=torch.uint8)
    payload = _packed({**tensors, "note": note})
    try:
        with in_one_step(file) as half:
            half.write_bytes(hashlib.sha256(payload).digest() + payload)
        most = MOST.get(file.parent.name, 256)
        for old in sorted(file.parent.glob("[a-z]*"), key=os.path.getmtime)[:-most]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s is computed, but could not be kept in %s (%s).", file.name, file.parent, error)
