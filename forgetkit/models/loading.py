"""Loading a CLIP: the embedded one, open_clip's by name and tag, the hub's, a folder's, or a checkpoint file.

What belongs to the weights is set here once: activation, tokenizer, image size, preprocessing, float32.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import open_clip
import torch
from open_clip.factory import _find_checkpoint_in_dir
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import save_file

from forgetkit.models import ModelError, checkpoints, hugging_face, mini, reason_of
from forgetkit.models.checkpoints import CONFIG, Checkpoint
from forgetkit.models.clip import Clip, pick_device
from forgetkit.models.memory import tokens_first
from forgetkit.models.saving import read_card, read_heads

ORACLE = "mini-clip-without-{}"  # pre-trained in the same way, without ever seeing or hearing of one class
EMBEDDED = {"mini": mini.HERE / "mini-clip.safetensors"}
EMBEDDED |= {file.stem: file for file in sorted(mini.HERE.glob(f"{ORACLE.format('*')}.safetensors"))}
HUB, FOLDER = "hf-hub:", "local-dir:"


def oracle_of(subgroup: str) -> str | None:
    """The name of the embedded model that never saw or heard of a class; None where there is none."""
    return name if (name := ORACLE.format(subgroup)) in EMBEDDED else None


def load_clip(
    name: str = "mini", pretrained: str | Path | None = None, device: str | torch.device = "auto",
    quick_gelu: bool | None = None, image_size: int | None = None,
) -> Clip:  # fmt: skip
    """Load an embedded mini-CLIP (`mini`, or an oracle such as `mini-clip-without-cat`) or any model of open_clip's.

    name:       one in `EMBEDDED` or `open_clip.list_models()`, `hf-hub:owner/model`, or `local-dir:folder`
                in open_clip's or transformers' layout (what `clip.save` wrote comes back with name, record and head)
    pretrained: an open_clip tag such as "openai", or a checkpoint file; None, with a plain name: random weights
    quick_gelu: the activation of a checkpoint file that does not tell it
    image_size: another than the weights' own (a ViT's position embeddings are then resampled)

    Raises ModelError: unknown name or tag; weights that cannot be fetched or read, are not finite, or do not fit.
    """
    settings: dict = {"precision": "fp32", "force_image_size": image_size}
    if name in EMBEDDED:
        name, pretrained = "mini-clip", pretrained or EMBEDDED[name]
    if name in ("mini-clip", "mini-vit"):
        settings["force_preprocess_cfg"] = {"interpolation": "bilinear"}  # as they were trained
    device = pick_device(device)
    if name.startswith((HUB, FOLDER)):
        if pretrained or quick_gelu is not None:
            raise ModelError(f"{name!r} brings its own weights and activation: leave out pretrained and quick_gelu.")
        if folder := _fetched(name) if name.startswith(HUB) else Path(name.removeprefix(FOLDER)).expanduser():
            return _from_folder(folder, device, settings, name)
    elif (name := name.replace("/", "-")) not in open_clip.list_models():
        raise ModelError(f"open_clip has no model {name!r}: use one of its list_models(), or {', '.join(EMBEDDED)}.")
    if pretrained is None or name.startswith(HUB):
        settings["force_quick_gelu"] = bool(quick_gelu)
        return _create(name, None, device, settings, f"The model {name!r}")
    file = Path(pretrained).expanduser()
    if file.is_file():
        found = checkpoints.read_checkpoint(file)
        settings["force_quick_gelu"] = _activation(name, quick_gelu, found.quick_gelu, str(file))
        fixed = settings.get("force_preprocess_cfg", {})
        settings["force_preprocess_cfg"] = _preprocessing(name) | found.preprocess | fixed
        return _create(name, str(file), device, settings, f"{file}, as {name!r},", found)
    if file.is_dir():
        raise ModelError(f"{file} is a folder: load_clip('{FOLDER}{file}'), or name a file in it.")
    if not (cfg := get_pretrained_cfg(name, str(pretrained))):
        tags = f"an open_clip tag ({', '.join(open_clip.list_pretrained_tags_by_model(name)) or 'none'})"
        raise ModelError(f"No weights {str(pretrained)!r} for {name!r}: give an existing file or {tags}.")
    # Where the activations differ, open_clip only warns, and uses the name's.
    known = cfg.get("quick_gelu") or (False if f"{name}-quickgelu" in open_clip.list_models() else None)
    settings["force_quick_gelu"] = _activation(name, quick_gelu, known, repr(pretrained))
    return _create(name, pretrained, device, settings, f"The weights {pretrained!r} of {name!r}")


def _fetched(name: str) -> Path | None:
    """The folder of a hub's model in transformers' layout; None where it has open_clip's, or cannot be had."""
    repo = name.removeprefix(HUB)

    def there(file: str) -> bool:
        with suppress(Exception):  # the hub's client has many
            return bool(huggingface_hub.hf_hub_download(repo, file))
        return False

    with _hub(name, None):
        theirs = not there(CONFIG) and there(hugging_face.CONFIG)
        if theirs and (there(hugging_face.WEIGHTS) or there("pytorch_model.bin")):
            return Path(huggingface_hub.snapshot_download(repo, allow_patterns=["*.json", "*.txt", "*.model"]))
    return None  # open_clip fetches it, or says what it misses


def _from_folder(folder: Path, device: torch.device, settings: dict, name: str) -> Clip:
    file = _find_checkpoint_in_dir(folder)  # the one that open_clip takes
    found = checkpoints.read_checkpoint(Path(file)) if file else None
    if not found or not (found.model_cfg or (folder / CONFIG).is_file()):
        wanted = f"{folder} is no folder with {CONFIG} and weights, or with transformers' config.json and weights"
        raise ModelError(f"{wanted}: for weights alone, name their model, load_clip('RN50', pretrained='the/file').")
    if found.model_cfg:
        settings["force_preprocess_cfg"] = found.preprocess
    clip = _create(f"{FOLDER}{folder}", None, device, settings, f"The model in {folder}", found)
    for (classes, prompts), head in read_heads(folder).items():
        clip = clip.with_head(classes, head, prompts)
    if name.startswith(HUB):
        clip.record["source"]["model"] = name
    card = read_card(folder)
    return replace(clip, name=card["name"], record=card["record"]) if card else clip


def _activation(name: str, said: bool | None, known: bool | None, weights: str) -> bool:
    """Is it QuickGELU? From what the user says, by `quick_gelu=` or the model's name, and what the weights say."""
    named = bool(open_clip.get_model_config(name).get("quick_gelu"))
    if said is None and (named or f"{name}-quickgelu" not in open_clip.list_models()):
        said = named  # a name that leaves no choice
    if said is None and known is None:
        remedy = f"load it as '{name}-quickgelu', or with quick_gelu=False"
        raise ModelError(f"{weights} does not say whether it was trained with QuickGELU, as OpenAI's were: {remedy}.")
    if None not in (said, known) and said != known:
        other = f"{name.removesuffix('-quickgelu')}{'-quickgelu' if known else ''}"
        remedy = f"load it as {other!r}" if other in open_clip.list_models() else "choose a model that has it"
        its, asked = ("QuickGELU" if quick else "GELU" for quick in (known, said))
        raise ModelError(f"{weights} was trained with {its}, and {asked} is asked for: {remedy}, without quick_gelu.")
    return known if said is None else said


def _preprocessing(name: str) -> dict:
    """What all published weights of this model agree on (mean, std, interpolation, resize_mode); {} if they do not."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    found = [checkpoints.preprocessing(get_pretrained_cfg(name, tag)) for tag in tags]
    return found[0] if found and found.count(found[0]) == len(found) else {}


def _create(
    name: str, weights: str | None, device: torch.device, settings: dict, what: str, found: Checkpoint | None = None
) -> Clip:
    """What open_clip makes of a name and weights (a tag, or a file that holds `found`); `what` names it in an error."""
    with tempfile.TemporaryDirectory() as temporary, _hub(name, weights) as reachable:
        try:
            source = _rewritten(name, weights, found, Path(temporary)) if found and found.changed else (name, weights)
            config, away = open_clip.get_model_config(source[0]), name.startswith((HUB, FOLDER))
            if away:
                checkpoints.check_tokenizer(what, config)
            model = open_clip.create_model(*source, require_pretrained=away or weights is not None, **settings)
            config = (found and found.model_cfg) or config
            hugging_face.set_activations(model, config)
            model = model.float().eval().to(device).to(memory_format=torch.channels_last)
            model.register_state_dict_post_hook(_contiguous)
            tokenizer = open_clip.get_tokenizer(source[0])
        except ModelError:
            raise
        except Exception as error:
            if "loading state_dict" in str(error):
                raise ModelError(f"{what} does not fit: {reason_of(error)}... {checkpoints.REMEDY}") from error
            if reachable:
                raise ModelError(f"{what} cannot be loaded ({reason_of(error)}).") from error
            raise ModelError(
                f"{what} cannot be fetched without the hub: connect (HTTPS_PROXY, HF_ENDPOINT), copy the cache of a "
                f"connected machine to {huggingface_hub.constants.HF_HUB_CACHE}, or bring the files and "
                f"load_clip({name!r}, pretrained='path/to/file'), or load_clip('{FOLDER}path/to/folder')."
            ) from error
    if found:
        checkpoints.check_fit(what, found.state, model, settings["force_image_size"])
    checkpoints.check_finite(what, model.state_dict())
    tokens_first(model.visual)
    named = {"model": Path(name).name if name.startswith(FOLDER) else name, "weights": weights and Path(weights).name}
    origin = {**named, "sha256": found and found.sha256, "model_cfg": config}
    origin |= {"layout": "transformers"} if found and found.model_cfg else {}
    return Clip(model, tokenizer, "original", {"source": origin})


def _contiguous(model: torch.nn.Module, state: dict[str, torch.Tensor], *_) -> None:
    """A state dict as safetensors, and open_clip's own writers, take it: they refuse the layout that is fast."""
    state.update({name: tensor.contiguous() for name, tensor in state.items()})


def _rewritten(name: str, weights: str | None, found: Checkpoint, folder: Path) -> tuple[str, str | None]:
    """(model, weights) for open_clip, with the weights written to `folder` under its own names and in float32."""
    file = folder / "open_clip_model.safetensors"
    save_file({k: t.clone(memory_format=torch.contiguous_format) for k, t in found.state.items()}, file)
    if weights is not None:
        return name, str(file)
    for beside in Path(name.removeprefix(FOLDER)).iterdir():  # configuration and tokenizer
        if beside.suffix in (".json", ".txt", ".model"):
            shutil.copy(beside, folder)
    if found.model_cfg:
        (folder / CONFIG).write_text(json.dumps({"model_cfg": found.model_cfg}), encoding="utf-8")
    return f"{FOLDER}{folder}", None


@contextmanager
def _hub(name: str, weights: str | None, timeout: float = 5.0):
    """Whether the hub can be reached, if needed; if not, its client, which tries for a minute, only reads its cache."""
    constants, reachable = huggingface_hub.constants, True
    text = {} if name.startswith((HUB, FOLDER)) else open_clip.get_model_config(name)["text_cfg"]
    fetched = "hf_model_name" in text or "hf_tokenizer_name" in text or (text and "siglip" in name.lower())
    if name.startswith(HUB) or fetched or (weights is not None and not Path(weights).is_file()):
        try:
            huggingface_hub.get_session().head(constants.ENDPOINT, timeout=timeout)
        except Exception:  # of whichever client the hub's package uses
            reachable = False
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE or not reachable
    try:
        yield reachable
    finally:
        constants.HF_HUB_OFFLINE = before
