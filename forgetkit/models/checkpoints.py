"""Checkpoint files: their tensors under open_clip's names in float32, and what a file tells about its model.

Read are state dicts (`.pt`, `.bin`, `.pth`), training checkpoints that hold one, `.safetensors`, transformers' layout
(`hugging_face`), and the TorchScript archives of OpenAI's original release. Names and shapes do not tell QuickGELU,
x * sigmoid(1.702 x), from GELU, and the wrong one embeds texts wrongly without a warning: all that tells is read here.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from forgetkit.models import ModelError, hugging_face, reason_of

log = logging.getLogger(__name__)
# Where training programs put a state dict; averages over steps stand last: they are taken where nothing else is there.
NESTS = ("state_dict", "model_state_dict", "model", "ema", "module", "state_dict_ema", "model_ema", "ema_state_dict",
         "averaged_model", "swa_state_dict", "shadow_params")  # fmt: skip
# In names: DistributedDataParallel's and torch.compile's wrappers anywhere, modules that hold a CLIP in front.
PREFIXES = re.compile(r"^((module|_orig_mod|model|clip|clip_model|net)\.)+|(?<=\.)(module|_orig_mod)\.")
OPENAI_KEYS = {"input_resolution", "context_length", "vocab_size"}  # numbers that OpenAI keeps among the weights
NO_WEIGHTS = OPENAI_KEYS | {"attn_mask", "n_averaged"}
CONFIG = "open_clip_config.json"
TOKENIZING = {"clean", "strip_sep_token", "language", "lower", "additional_special_tokens", "reduction_mask"}
REMEDY = "Load it as the model it is, one of open_clip.list_models(), or add that one with open_clip.add_model_config."


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    state: dict[str, torch.Tensor]  # by open_clip's names, floating ones in float32
    changed: bool  # open_clip cannot load the file itself: names or types differ from `state`
    sha256: str  # of the file
    quick_gelu: bool | None  # trained with QuickGELU? None where nothing tells
    preprocess: dict  # of mean, std, interpolation, resize_mode, what is known
    model_cfg: dict | None = None  # open_clip's configuration, of a file in transformers' layout


def read_checkpoint(file: Path) -> Checkpoint:
    """Read a file; raises ModelError where it is truncated, no CLIP's checkpoint, or needs code to be executed."""
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        found = archived = _torchscript(file) if zipfile.is_zipfile(file) else None
        if archived is None:
            found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # safetensors, zip, pickle and torch each raise their own
        if what := re.search(r"GLOBAL (\S+)", str(error)):
            remedy = "where it was made, save its weights alone, torch.save(model.state_dict(), file)"
            raise ModelError(f"{file} holds more than tensors ({what[1]}), not executed here: {remedy}.") from error
        raise ModelError(f"{file} is truncated or no checkpoint ({reason_of(error, 120)}): fetch it again.") from error
    tensors = [(PREFIXES.sub("", name), t) for name, t in _tensors(file, found).items()]
    state = {name: t.float() if t.is_floating_point() else t for name, t in tensors if name not in NO_WEIGHTS}
    if any(name.startswith("vision_model.") for name in state):
        state, cfg, preprocess = hugging_face.from_transformers(file, state)
        return Checkpoint(state, True, sha256, cfg["quick_gelu"], preprocess, cfg)
    names = [name for name, _ in tensors]
    if not any(name.startswith("visual.") for name in names):
        raise ModelError(f"{file} holds no image tower `visual` (but {names[:3]}): give a whole CLIP's weights.")
    if len({*names}) < len(names):
        raise ModelError(f"{file} holds the weights of several models: save those of one of them alone.")
    changed = archived is not None or [*state] != [*found] or any(t.dtype != state[name].dtype for name, t in tensors)
    known = (True, {}) if OPENAI_KEYS <= {*names} else _beside(file)
    return Checkpoint(state, changed, sha256, *known)


def _torchscript(file: Path) -> dict[str, torch.Tensor] | None:
    """The state dict of a TorchScript archive, of which nothing is run; None for the zip files of `torch.save`."""
    with zipfile.ZipFile(file) as archive:
        root = archive.namelist()[0].partition("/")[0]
        if f"{root}/constants.pkl" not in archive.namelist():
            return None
        found = _Unpickler(archive, root).load()
    log.warning(f"{file} is a TorchScript archive, as OpenAI's: its weights are used, its code is not.")
    return found


class _Module(dict):
    """What stands for a module of a TorchScript archive, whatever its class: the tensors of it and all within it."""

    def __setstate__(self, state):
        for name, value in state.items() if isinstance(state, dict) else ():
            if isinstance(value, _Module):
                self.update({f"{name}.{inner}": t for inner, t in value.items()})
            elif isinstance(value, torch.Tensor):
                self[name] = value


class _Unpickler(pickle.Unpickler):
    """Reads `data.pkl` of a TorchScript archive; raises UnpicklingError for all but tensors and modules."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.folder = archive, f"{root}/data/"

    def find_class(self, module: str, name: str):
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and re.fullmatch(r"[A-Z][A-Za-z0-9]+Storage", name):
            return getattr(torch, name).dtype
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):  # RuntimeError beyond the storage
            return lambda storage, offset, size, stride, *_: storage.as_strided(size, stride, offset)
        if (module, name) == ("collections", "OrderedDict"):  # of hooks, always empty
            return dict
        if module == "torch.jit._pickle":  # build_intlist and the like
            return lambda items, *_: items
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not read")

    def persistent_load(self, said) -> torch.Tensor:
        """The numbers of a storage, ("storage", type, name, device, length), in one row."""
        _, dtype, name, *_ = said
        content = bytearray(self.archive.read(f"{self.folder}{name}"))
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _tensors(file: Path, found: object) -> dict[str, torch.Tensor]:
    """The state dict inside a training checkpoint, however deep."""
    while isinstance(found, dict) and (inner := [name for name in NESTS if isinstance(found.get(name), dict | list)]):
        if len(inner) > 1:
            log.warning(f"{file} holds {' and '.join(map(repr, inner))}: {inner[0]!r} is loaded.")
        found = found[inner[0]]
    items = found.items() if isinstance(found, dict) else ()
    return {name: t.detach() for name, t in items if isinstance(name, str) and isinstance(t, torch.Tensor)}


def _beside(file: Path) -> tuple[bool | None, dict]:
    """(quick_gelu, preprocess) by a configuration beside the file."""
    if not (config := file.with_name(CONFIG)).exists():
        return None, {}
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
        return bool(found["model_cfg"].get("quick_gelu")), preprocessing(found.get("preprocess_cfg", {}))
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{config} is no configuration of open_clip's ({reason_of(error, 120)}).") from error


def preprocessing(cfg: dict) -> dict:
    """Of a configuration, what tells how images are prepared; their size is the model's."""
    return {k: cfg[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in cfg}


def check_tokenizer(what: str, config: Mapping) -> None:
    """Raise ModelError where a stranger's configuration gives its tokenizer, of transformers', what may run code."""
    if wrong := set((config.get("text_cfg") or {}).get("tokenizer_kwargs") or {}) - TOKENIZING:
        told = f"gives the tokenizer {', '.join(sorted(wrong))}, which may run code of whoever made it"
        raise ModelError(f"{what} is not loaded: {CONFIG} {told}. Take that out if you trust what is left.")


def check_finite(what: str, state: dict[str, torch.Tensor]) -> None:
    """Raise ModelError where weights are NaN or infinite."""
    if wrong := [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]:
        told = f"NaN or infinite, in {len(wrong)} of {len(state)} tensors, the first {wrong[0]!r}"
        raise ModelError(f"{what} holds weights that are {told}. Take an earlier checkpoint, or fetch the file again.")


def check_fit(what: str, state: dict[str, torch.Tensor], model: torch.nn.Module, image_size: int | None) -> None:
    """Raise ModelError where open_clip resampled position embeddings to another size than `image_size`, if any."""
    for name, t in model.state_dict().items():
        asked = name.startswith("visual.") and image_size
        if name.endswith("positional_embedding") and not asked and name in state and state[name].shape != t.shape:
            shapes = f"{tuple(state[name].shape)}, not {tuple(t.shape)}"
            raise ModelError(f"{what} does not fit: images or texts have another size ({name!r} is {shapes}). {REMEDY}")
