"""Kept on disk: finished stages, and embeddings of the frozen original model.

`forget(clip, sets, recipe, cache=Cache())` reads what it computed before. A result is found again by a hash of all that
it depends on (`keys`): models, sets, the recipe's part, the code of the method and of exchanged pieces, versions, and
the device. A file begins with the SHA-256 of the rest: one that is damaged is told, and made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import torch
from safetensors.torch import load

from forgetkit.data.images import ImageSet
from forgetkit.data.reading import ImageFiles
from forgetkit.data.sets import cache_folder, in_one_step
from forgetkit.evaluation import percent
from forgetkit.keys import NoKey, key, packed
from forgetkit.models.clip import Clip, Inputs

SHARD = 4096  # images in a file of embeddings, so that a run that ends early loses no more
MOST = {"stages": 60, "embeddings": 256}  # files; the ones not used for longest go first
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

        pieces: of the method, exchanged for others (`align=`): their code counts, and all images that they may read.
        What holds something that has no hash is computed, and not kept; a warning says so.
        """
        read_by_pieces = (args[-2].validation, args[-2].test) if pieces else ()
        try:
            named = key(stage.__name__, *args, dict(sorted(pieces.items())), *read_by_pieces)
        except (NoKey, RecursionError) as error:
            log.warning("%s is computed and not kept: it depends on %s, which has no hash.", stage.__name__, error)
            return compute()
        file, before = self.folder / f"{stage.__name__}-{named}", args[0].record
        if (found := read(file)) is None:
            result = compute()
            carried = [name for name, value in result.record.items() if before.get(name, result) is value]
            added = {name: value for name, value in result.record.items() if name not in carried}
            write(file, result.model.visual.state_dict(), {"name": result.name, "record": added, "carried": carried})
            return result
        weights, note = found
        carried = {name: before[name] for name in note["carried"] if name in before}  # what this call is of
        result = replace(args[0].copy(note["name"]), record=carried | note["record"])
        result.model.visual.load_state_dict(weights)
        return result


def once(align: Callable) -> Callable:
    """`align` for stage 2 with one setting after the other: what it was asked before, it has in memory."""
    made = {}

    @wraps(align)
    def run(clip: Clip, x: torch.Tensor, *settings: float):
        which = key(clip, x, *settings)
        if which not in made:
            made[which] = align(clip, x, *settings)
        return made[which]

    run.same_as = align
    return run


def embed(clip: Clip, images, progress: str = "embed", folder: Path | None = None) -> torch.Tensor:
    """Unit image embeddings (N, D) float32 on the CPU; those of `ImageFiles` are read from `folder`, or kept there.

    A file counts as the same by its content. folder: `embeddings` in `data.cache_folder()` unless named. Raises
    DataError for a file that is missing, empty or broken.
    """
    if not isinstance(images, ImageFiles):
        return clip.embed(images, progress=progress).cpu()
    found, model = [], key(clip)  # the weights are hashed once, not for every file
    for start in range(0, len(images), SHARD):
        part = images.select(slice(start, start + SHARD))
        name = f"images-{key(model, part)}"
        found.append(_tensor(folder, name, partial(clip.embed, part, progress=f"{progress}, from image {start:,}")))
    return torch.cat(found) if found else torch.empty(0, clip.model.visual.output_dim)


def head(clip: Clip, classes: Sequence[str], prompts: Sequence[str], folder: Path | None = None) -> torch.Tensor:
    """`clip.head`, (C, D) on the model's device, kept on disk: 1,000 classes of 80 prompts take minutes."""
    if (tuple(classes), tuple(prompts)) in clip.heads:
        return clip.head(classes, prompts)
    texts = [*(prompts[0].replace("{}", name) for name in classes), *prompts]
    name = f"head-{key(clip, list(classes), list(prompts), clip.tokenizer(texts))}"
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


def _tensor(folder: Path | None, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The tensor of that name from the folder, or computed and put there; on the CPU."""
    file = Path(folder or cache_folder() / "embeddings") / name
    if (found := read(file)) is not None:
        return found[0]["z"]
    z = compute().detach().float().cpu()
    write(file, {"z": z})
    return z


def read(file: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """(tensors, note) as `write` left them; None where there is no such file, or a damaged one, which is told."""
    try:
        content = file.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise ValueError("its content does not fit its hash")
        note, _, tensors = content[32:].partition(b"\n")
        os.utime(file)
        return load(tensors), json.loads(note)
    except FileNotFoundError:
        return None
    except Exception as error:  # a disk, safetensors and JSON each raise their own
        log.warning("%s cannot be read (%s) and is made anew.", file, error)
        return None


def write(file: Path, tensors: Mapping[str, torch.Tensor], note: Mapping = {}) -> None:
    """Put a note and tensors into a file, in one step, and leave the last used files of its folder (`MOST`) there."""
    payload = json.dumps(note).encode() + b"\n" + packed(tensors)
    try:
        with in_one_step(file) as half:
            half.write_bytes(hashlib.sha256(payload).digest() + payload)
        most = MOST.get(file.parent.name, 256)
        for old in sorted(file.parent.glob("[a-z]*"), key=os.path.getmtime)[:-most]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s is computed, but could not be kept in %s (%s).", file.name, file.parent, error)
