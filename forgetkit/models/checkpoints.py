"""Checkpoint files: their tensors under open_clip's names, and what a file gives away about its model.

Read are state dicts (`.pt`, `.bin`, `.pth`), open_clip's training checkpoints, `.safetensors`, and the TorchScript
archives of OpenAI's original release. Shapes tell the architecture. They do not tell the activation: OpenAI's models,
and some of open_clip's, were trained with QuickGELU, x * sigmoid(1.702 x), the others with GELU, and the wrong one
loads without a word and embeds texts wrongly. So whatever else a file says about it is read, too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import load_file

from forgetkit.models.clip import ModelError, reason_of

log = logging.getLogger(__name__)
OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI keeps among the weights
BY_NAME = "its name says so"  # where nothing else does; too weak to contradict anything
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    state:      {open_clip's name: tensor}
    quick_gelu: trained with QuickGELU? None where the file does not say
    evidence:   how that is known
    preprocess: of mean, std, interpolation, resize_mode, what is known
    changed:    the file itself is not what open_clip could load
    """

    state: dict[str, torch.Tensor]
    quick_gelu: bool | None = None
    evidence: str = ""
    preprocess: dict = field(default_factory=dict)
    changed: bool = False


def read_checkpoint(file: Path) -> Checkpoint:
    """Read a file; raises ModelError where it is truncated, no checkpoint, or more than one should execute."""
    if zipfile.is_zipfile(file) and (code := _torchscript_code(file)) is not None:
        return _from_torchscript(file, code)
    try:
        found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # safetensors, zip, pickle and torch each raise their own
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise ModelError(
                f"{file} holds more than tensors (a pickled object), and is not executed here: where it was made, save "
                "its weights alone, torch.save(model.state_dict(), file)."
            ) from error
        raise ModelError(f"{file} is truncated or no checkpoint ({reason_of(error, 120)}): fetch it again.") from error
    inner = found.get("state_dict", found) if isinstance(found, dict) else {}
    state = {_plain(name): t for name, t in inner.items() if isinstance(t, torch.Tensor)}
    own = [name for name in OPENAI_KEYS if state.pop(name, None) is not None]
    if not any(name.startswith("visual.") for name in state):
        names = ", ".join(list(state)[:3]) or "no tensors"
        raise ModelError(
            f"{file} holds no CLIP with an image tower `visual` (but {names}): give a whole CLIP's weights."
        )
    changed = list(state) != list(inner)
    if len(own) == len(OPENAI_KEYS):
        return Checkpoint(state, True, "it holds the keys of OpenAI's release", changed=changed)
    return Checkpoint(state, *_known(file), changed=changed)


def _plain(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _torchscript_code(file: Path) -> str | None:
    """The code in a TorchScript archive; None for another zip file, such as `torch.save` writes."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if not any(name.endswith("/constants.pkl") for name in names):
            return None
        return "\n".join(archive.read(n).decode(errors="replace") for n in names if "/code/" in n and n.endswith(".py"))


def _from_torchscript(file: Path, code: str) -> Checkpoint:
    """The weights of an archive; its code, which is not executed, shows the activation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # deprecated, and the only reader of such archives
            module = torch.jit.load(file, map_location="cpu")
        graph = code + str(getattr(module, "inlined_graph", ""))  # traced constants stand in the graph only
    except Exception as error:
        raise ModelError(f"{file} is a TorchScript archive that cannot be read ({reason_of(error, 120)}).") from error
    left = (*OPENAI_KEYS, "attn_mask")  # a constant that archives made by open_clip hold
    state = {_plain(name): t.detach().clone() for name, t in module.state_dict().items() if name not in left}
    quick = True if "1.702" in graph else False if "gelu" in graph.lower() else None
    log.warning("%s is a TorchScript archive, as OpenAI's: its weights are taken, its code is left.", file)
    return Checkpoint(state, quick, "its code says so", changed=True)


def _known(file: Path) -> tuple[bool | None, str, dict]:
    """(quick_gelu, evidence, preprocess) from what stands beside the weights: a configuration, a hash, a name."""
    config = file.with_name("open_clip_config.json")
    if config.exists():
        found = json.loads(config.read_text())
        preprocess = {k: v for k, v in found.get("preprocess_cfg", {}).items() if k in PREPROCESS_KEYS}
        return bool(found.get("model_cfg", {}).get("quick_gelu", False)), f"{config.name} beside it says so", preprocess
    if file.suffix != ".safetensors":  # nobody publishes the hash of one
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
        for known, (model, tag) in published().items():
            if digest.hexdigest().startswith(known):
                cfg = get_pretrained_cfg(model, tag)
                preprocess = {k: cfg[k] for k in PREPROCESS_KEYS if k in cfg}
                return bool(cfg.get("quick_gelu", False)), f"it is {model!r}, {tag!r}, by its hash", preprocess
    if any(word in file.name.lower().replace("_", "") for word in ("quickgelu", "openai")):
        return True, BY_NAME, {}
    return None, "", {}


def published() -> dict[str, tuple[str, str]]:
    """{beginning of the SHA-256 of a published file: (model, tag)}, as open_clip's own addresses give them."""
    found = {}
    for model, tag in open_clip.list_pretrained():
        parts = get_pretrained_cfg(model, tag).get("url", "").split("/")
        for candidate in (parts[-2] if len(parts) > 1 else "", parts[-1].rpartition(".")[0].rpartition("-")[2]):
            if len(candidate) in (8, 64) and not set(candidate) - set("0123456789abcdef"):
                found[candidate] = (model, tag)
    return found


# --------------------------------------------------------------------------------------------------
# Architecture


def shape_of(state: dict[str, torch.Tensor]) -> dict | None:
    """What the shapes tell of a CLIP of open_clip's own towers, by name; None for other towers (timm, Hugging Face)."""
    s = {name.removeprefix("text."): t for name, t in state.items()}

    def blocks(prefix: str) -> int:
        return len({name.removeprefix(prefix).split(".")[0] for name in s if name.startswith(prefix)})

    try:
        shape = {
            "embed_dim": s["text_projection"].shape[1],
            "text width": s["ln_final.weight"].shape[0],
            "text layers": blocks("transformer.resblocks."),
            "context length": s["positional_embedding"].shape[0],
            "vocabulary": s["token_embedding.weight"].shape[0],
        }
        if "visual.proj" in s:
            patch, tokens = s["visual.conv1.weight"].shape[-1], s["visual.positional_embedding"].shape[0]
            image = {
                "image width": s["visual.conv1.weight"].shape[0],
                "image layers": blocks("visual.transformer.resblocks."),
                "patch size": patch,
                "image size": patch * round((tokens - 1) ** 0.5),
            }
        else:
            tokens = s["visual.attnpool.positional_embedding"].shape[0]
            image = {
                "image width": s["visual.conv3.weight"].shape[0],
                "image layers": tuple(blocks(f"visual.layer{i}.") for i in (1, 2, 3, 4)),
                "patch size": None,
                "image size": 32 * round((tokens - 1) ** 0.5),
            }
    except (KeyError, IndexError):
        return None
    return {**image, **shape}


def shape_in(config: dict) -> dict | None:
    """The same of a model's configuration; None for towers that are not open_clip's own."""
    foreign = "timm_model_name" in config["vision_cfg"] or "hf_model_name" in config["text_cfg"]
    if foreign or "multimodal_cfg" in config:
        return None
    vision, text = CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"])
    return {
        "image width": vision.width,
        "image layers": tuple(vision.layers) if isinstance(vision.layers, list | tuple) else vision.layers,
        "patch size": vision.patch_size if isinstance(vision.layers, int) else None,
        "image size": vision.image_size,
        "embed_dim": config["embed_dim"],
        "text width": text.width,
        "text layers": text.layers,
        "context length": text.context_length,
        "vocabulary": text.vocab_size,
    }


def check_shape(file: Path, state: dict[str, torch.Tensor], name: str, ignore: tuple[str, ...] = ()) -> None:
    """Raise ModelError, naming the models that they fit, unless the weights have the shape of model `name`."""
    found, wanted = shape_of(state), shape_in(open_clip.get_model_config(name))
    if found is None or wanted is None:
        return  # open_clip's strict loading will tell
    wrong = [k for k in wanted if k not in ignore and wanted[k] != found[k]]
    if not wrong:
        return
    fitting = [m for m in open_clip.list_models() if shape_in(open_clip.get_model_config(m)) == found]
    remedy = (
        f"They have the shape of {' or '.join(map(repr, fitting))}: load that."
        if fitting
        else "No model that open_clip knows has their shape: add its configuration with open_clip.add_model_config."
    )
    raise ModelError(
        f"The weights in {file} are not {name!r}'s: {wrong[0]} {found[wrong[0]]}, not {wanted[wrong[0]]}. {remedy}"
    )
