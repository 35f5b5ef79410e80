"""Loading a CLIP: the embedded one, open_clip's by name and tag, the hub's, a folder's, or a checkpoint file.

Everything that belongs to weights is set here once, and a contradiction is an error that names the remedy: the
activation (see `checkpoints`), tokenizer, image size and preprocessing, float32.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg, is_pretrained_cfg
from safetensors.torch import save_file

from forgetkit.models.checkpoints import BY_NAME, PREPROCESS_KEYS, check_shape, read_checkpoint
from forgetkit.models.clip import Clip, ModelError, pick_device, reason_of

MINI_DIR = Path(__file__).parent / "mini"
MINI_WEIGHTS = MINI_DIR / "mini-clip.safetensors"
SCHEMES = ("hf-hub:", "local-dir:")


def register_mini() -> None:
    """Make `mini-clip` and `mini-vit` known to open_clip."""
    for name in ("mini-clip", "mini-vit"):
        if name not in open_clip.list_models():
            open_clip.add_model_config(MINI_DIR / f"{name}.json")


def load_clip(
    name: str = "mini", pretrained: str | Path | None = None, device: str | torch.device = "auto",
    quick_gelu: bool | None = None, image_size: int | None = None,
) -> Clip:  # fmt: skip
    """Load the embedded mini-CLIP (`mini`) or any model of open_clip's.

    name:       `mini`, a name in `open_clip.list_models()`, `hf-hub:owner/model`, or `local-dir:folder`
    pretrained: an open_clip tag such as "openai", or a checkpoint file; None, with a plain name: random weights
    quick_gelu: the activation of a checkpoint file that does not say it
    image_size: another than the weights' own (a ViT's position embeddings are then resampled)

    Raises ModelError: unknown name or tag, weights that cannot be fetched or read, or that do not fit the model.
    """
    register_mini()
    settings: dict = {"precision": "fp32", "force_image_size": image_size}
    if name in ("mini", "mini-clip", "mini-vit"):
        settings["force_preprocess_cfg"] = {"interpolation": "bilinear"}  # as they were trained
    if name == "mini":
        name, pretrained = "mini-clip", pretrained or MINI_WEIGHTS
    device = pick_device(device)
    if name.startswith(SCHEMES):
        if pretrained or quick_gelu is not None:
            raise ModelError(f"{name!r} brings its own weights and activation: leave out pretrained and quick_gelu.")
        return _create(name, None, device, settings, f"The model {name!r}")
    name = name.replace("/", "-")
    if name not in open_clip.list_models():
        raise ModelError(f"open_clip has no model {name!r}. Use 'mini', or one of open_clip.list_models().")
    if pretrained is None:
        settings["force_quick_gelu"] = bool(quick_gelu)
        return _create(name, None, device, settings, f"The model {name!r}")
    if Path(pretrained).is_file():
        return _from_file(name, Path(pretrained), device, settings, quick_gelu)
    if Path(pretrained).is_dir():
        raise ModelError(f"{pretrained} is a folder: load_clip('local-dir:{pretrained}'), or name a file in it.")
    if not is_pretrained_cfg(name, str(pretrained)):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ModelError(
            f"No weights {str(pretrained)!r} for {name!r}: give an existing file or an open_clip tag ({tags})."
        )
    cfg = get_pretrained_cfg(name, pretrained)
    # open_clip itself only warns that the activations differ, and goes on with the name's.
    known = cfg.get("quick_gelu") or (False if _twin(name) else None)
    settings["force_quick_gelu"] = _activation(name, quick_gelu, known, repr(pretrained), "open_clip's table says so")
    fetched = Path("~/.cache/clip").expanduser() / cfg.get("url", "").rpartition("/")[2]  # by OpenAI's own package
    if pretrained == "openai" and fetched.is_file():
        return _from_file(name, fetched, device, settings, True)
    return _create(name, pretrained, device, settings, f"The weights {pretrained!r} of {name!r}")


def _from_file(name: str, file: Path, device: torch.device, settings: dict, quick_gelu: bool | None) -> Clip:
    found = read_checkpoint(file)
    ignore = ("image size",) if settings["force_image_size"] and "visual.proj" in found.state else ()
    check_shape(file, found.state, name, ignore)
    settings["force_quick_gelu"] = _activation(name, quick_gelu, found.quick_gelu, str(file), found.evidence)
    settings["force_preprocess_cfg"] = {
        **_preprocessing(name), **found.preprocess, **settings.get("force_preprocess_cfg", {}),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if found.changed:
            plain = Path(folder) / "weights.safetensors"
            save_file({k: t.clone(memory_format=torch.contiguous_format) for k, t in found.state.items()}, plain)
        return _create(name, str(plain if found.changed else file), device, settings, f"{file}, as {name!r},")


def _activation(name: str, said: bool | None, known: bool | None, weights: str, evidence: str) -> bool:
    """Is it QuickGELU? From what the user says, by `quick_gelu=` or the model's name, and what the weights say."""
    if said is None and (open_clip.get_model_config(name).get("quick_gelu") or not _twin(name)):
        said = bool(open_clip.get_model_config(name).get("quick_gelu"))  # a name that leaves no choice
    if said is None and known is None:
        raise ModelError(
            f"{weights} does not say whether its model was trained with QuickGELU, as OpenAI's were, and the wrong "
            f"choice embeds texts wrongly in silence: load it as '{name}-quickgelu', or with quick_gelu=False."
        )
    if None not in (said, known) and said != known and evidence != BY_NAME:
        words = {True: "QuickGELU", False: "GELU"}
        other = f"{name.removesuffix('-quickgelu')}{'-quickgelu' if known else ''}"
        remedy = (
            f"load it as {other!r}" if other in open_clip.list_models() else "choose a model whose activation it is"
        )
        raise ModelError(
            f"{weights} was trained with {words[known]} ({evidence}), but {words[said]} is asked for: {remedy}, "
            "without quick_gelu."
        )
    return known if said is None else said


def _twin(name: str) -> bool:
    return f"{name}-quickgelu" in open_clip.list_models()


def _preprocessing(name: str) -> dict:
    """What all published weights of this model agree on (mean, std, interpolation, resize_mode); {} if they do not."""
    tags = [get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    found = [{k: cfg[k] for k in PREPROCESS_KEYS if k in cfg} for cfg in tags]
    return found[0] if found and all(one == found[0] for one in found) else {}


def _create(name: str, pretrained: str | None, device: torch.device, settings: dict, what: str) -> Clip:
    """The Clip of open_clip's `create_model` and `get_tokenizer`; `what` names it in an error."""
    needs_weights = pretrained is not None or name.startswith(SCHEMES)
    with _hub(_needs_hub(name, pretrained)) as reachable:
        try:
            model = open_clip.create_model(name, pretrained, require_pretrained=needs_weights, **settings)
            tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:
            message = (
                f"{what} cannot be loaded ({reason_of(error)})." if reachable else _offline(name, pretrained, what)
            )
            raise ModelError(message) from error
    model = model.float().eval().to(device).to(memory_format=torch.channels_last)
    return Clip(model=model, tokenizer=tokenizer, name="original")


def _needs_hub(name: str, pretrained: str | None) -> bool:
    """May weights, configuration or tokenizer have to be fetched?"""
    if name.startswith(SCHEMES):
        return name.startswith("hf-hub:")
    text = open_clip.get_model_config(name)["text_cfg"]
    fetched = "hf_model_name" in text or "hf_tokenizer_name" in text or "siglip" in name.lower()
    return fetched or (pretrained is not None and not Path(pretrained).is_file())


def _offline(name: str, pretrained: str | None, what: str) -> str:
    file = f"load_clip({name!r}, pretrained='path/to/file')" if pretrained else "load_clip('local-dir:path/to/folder')"
    return (
        f"{what} cannot be fetched, as the hub cannot be reached, and something of it is not in the cache: connect "
        "(HTTPS_PROXY, HF_ENDPOINT) and try again; or load it once on a connected machine and copy its cache "
        f"({huggingface_hub.constants.HF_HUB_CACHE}) here; or bring the files here and {file}."
    )


@contextmanager
def _hub(needed: bool, timeout: float = 5.0):
    """Whether the hub can be reached, where it is needed; if not, what is in its cache is found at once.

    Its own client tries every file six times, which takes most of a minute, even if all of them are in the cache.
    """
    constants, reachable = huggingface_hub.constants, True
    if needed:
        try:
            huggingface_hub.get_session().head(constants.ENDPOINT, timeout=timeout)
        except Exception:  # of whichever client the hub's package uses
            reachable = False
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE or not reachable
    try:
        yield reachable
    finally:
        constants.HF_HUB_OFFLINE = before
