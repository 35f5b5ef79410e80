"""transformers' layout, in and out: a `CLIPModel` (with a ViT) or `SiglipModel` in open_clip's names, and back.

Their names are in `transformers.csv`, where a name that ends in a point or line stands for a weight and a bias, and
several names for tensors that the other side has joined. Heads, activation and eps are in `config.json`.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path

import open_clip
import torch
from open_clip.transformer import QuickGELU

from forgetkit.models import ModelError

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
NAMES = [*csv.reader(Path(__file__).with_name("transformers.csv").read_text(encoding="utf-8").splitlines()[1:])]
KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel"}
TOWERS = {768: "base", 1024: "large", 1152: "so400m", 1536: "giantopt"}  # timm's names of SigLIP's, by width
TANH = "gelu_pytorch_tanh"
RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
BPE = 49408  # words of the tokenizer that open_clip brings
# Of open_clip's configuration, what weights and modules tell, or what changes no embedding.
ASIDE = {"mlp_ratio", "act_kwargs", "norm_kwargs", "patch_dropout", "hf_tokenizer_name", "tokenizer_kwargs"}


def converted(kind: str, state: dict[str, torch.Tensor], given: int) -> dict[str, torch.Tensor]:
    """A state dict in open_clip's names (given: 1) of one in transformers', or the other way round (0).

    Raises KeyError for a weight that is lacking, or that has no name on the other side.
    """
    found, left = {}, {name for name in state if not name.endswith("position_ids")}
    for pair in (row[1:] for row in NAMES if row[0] == kind):
        ends = ("weight", "bias") if pair[0].endswith((".", "_")) else ("",)
        for layer, end in itertools.product(range(1000 if "{}" in pair[0] else 1), ends):
            ours, theirs = ([name.format(layer) + end for name in names.split()] for names in pair)
            old, new = (theirs, ours) if given else (ours, theirs)
            if layer and old[0] not in state:
                break
            t = torch.cat([state[name] for name in old]) if len(old) > 1 else state[old[0]]
            if theirs[0].endswith("_projection.weight"):
                t = t.T
            elif ours[0].endswith("pos_embed"):  # (positions, D) there, (1, positions, D) here
                t = t[None] if given else t[0]
            elif ours[0].startswith("logit_"):
                t = t.reshape(() if given or kind == "clip" else (1,))
            shares = {1: (), 2: (1, 2), 3: (1, 1, 1)}[len(new)]
            parts = t.split([len(t) * share // 3 for share in shares]) if shares else [t]
            found |= {name: part.clone(memory_format=torch.contiguous_format) for name, part in zip(new, parts)}
            left -= {*old}
    if left:
        raise KeyError(min(left))
    return found


def shapes(kind: str, state: dict[str, torch.Tensor]) -> dict[str, dict]:
    """By tower, what a configuration of transformers' says and shapes tell as well; state: in transformers' names."""
    found = {}
    for side in ("vision", "text"):
        layers, places = f"{side}_model.encoder.layers.", f"{side}_model.embeddings.position_embedding.weight"
        inner, width = state[f"{layers}0.mlp.fc1.weight"].shape
        depth = sum(name.startswith(layers) and name.endswith("fc1.bias") for name in state)
        found[side] = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": depth}
        if side == "text":
            words = len(state["text_model.embeddings.token_embedding.weight"])
            found[side] |= {"max_position_embeddings": len(state[places]), "vocab_size": words}
        else:
            patch = state["vision_model.embeddings.patch_embedding.weight"].shape[-1]
            size = patch * math.isqrt(len(state[places]) - (kind == "clip"))
            found[side] |= {"patch_size": patch, "image_size": size}
        last = "text_projection.weight" if kind == "clip" else "text_model.head.bias"
        found[side]["projection_dim"] = len(state[last])
    return found


def from_transformers(file: Path, state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict, dict]:
    """(state, model_cfg, preprocess_cfg) as open_clip has them, of weights in transformers' layout.

    Raises ModelError: no configuration beside the file, or one of another kind of model.
    """
    try:
        config = json.loads(file.with_name(CONFIG).read_text(encoding="utf-8"))
        if (kind := config.get("model_type")) not in KINDS:
            raise ModelError(f"{file} is a {kind!r} of transformers': read are {' and '.join(KINDS)}.")
        said = next((f for f in map(file.with_name, (PREPROCESSOR, "processor_config.json")) if f.exists()), None)
        said = json.loads(said.read_text(encoding="utf-8")) if said else {}
        return converted(kind, state, 1), model_cfg(kind, config, state), preprocess_cfg(kind, said)
    except OSError:
        raise ModelError(f"{file} is in transformers' layout: its {CONFIG} has to stand beside it.") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{file} and its {CONFIG} are no whole CLIP of transformers' ({error}).") from error


def model_cfg(kind: str, config: dict, state: dict[str, torch.Tensor]) -> dict:
    """open_clip's configuration; state: in transformers' names. Raises ValueError for what open_clip cannot be."""
    siglip, sides, found = kind == "siglip", {}, shapes(kind, state)
    for side, heads in (("vision", 12), ("text", 12 if siglip else 8)):  # what is usual, transformers leaves out
        usual = {"hidden_act": TANH if siglip else "quick_gelu", "layer_norm_eps": 1e-6 if siglip else 1e-5}
        its = found[side] = usual | {"num_attention_heads": heads} | config[f"{side}_config"] | found[side]
        width, inner, layers = (its[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
        sides[side] = {"width": width, "layers": layers, "mlp_ratio": math.ceil(1e4 * inner / width) / 1e4}
        if its["layer_norm_eps"] != 1e-5:
            sides[side]["norm_kwargs"] = {"eps": its["layer_norm_eps"]}
        sides[side]["act_kwargs"] = {"approximate": "tanh"} if its["hidden_act"] == TANH else None
    vision, text, (its, said) = *sides.values(), found.values()
    acts = {its["hidden_act"], said["hidden_act"]}
    if not (acts == {"quick_gelu"} or acts <= {"gelu", TANH}):
        raise ValueError(f"open_clip has no model with the activations {' and '.join(sorted(acts))}")
    text |= {"context_length": said["max_position_embeddings"], "vocab_size": said["vocab_size"],
             "heads": said["num_attention_heads"]}  # fmt: skip
    if said["vocab_size"] != BPE:
        text["hf_tokenizer_name"] = "."  # its files are in the folder
    outer = {"embed_dim": its["projection_dim"], "quick_gelu": acts == {"quick_gelu"}}
    if siglip:
        trunk = f"vit_{TOWERS[vision['width']]}_patch{its['patch_size']}_siglip_{its['image_size']}"
        vision = {"timm_model_name": trunk, "timm_pool": "map", "timm_proj": "none", "act_kwargs": vision["act_kwargs"]}
        text |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
        text["tokenizer_kwargs"] = {"clean": "canonicalize"}
        outer |= {"init_logit_bias": -10.0, "custom_text": True}
    else:
        vision |= {"patch_size": its["patch_size"], "head_width": vision["width"] // its["num_attention_heads"]}
        end = said.get("eos_token_id", 2)  # 2 stood for the highest of a text
        text |= {"pool_type": "eos", "eos_id": end} if end not in (2, said["vocab_size"] - 1) else {}
    return {**outer, "vision_cfg": {**vision, "image_size": its["image_size"]}, "text_cfg": text}


def preprocess_cfg(kind: str, said: dict) -> dict:
    """How images are prepared: as the configuration of transformers' processor says, else as is usual for the kind."""
    said, siglip = said.get("image_processor", said), kind == "siglip"
    size = said.get("size", {} if siglip else {"shortest_edge": 0})
    return {
        "mean": said.get("image_mean", [0.5] * 3 if siglip else [*open_clip.OPENAI_DATASET_MEAN]),
        "std": said.get("image_std", [0.5] * 3 if siglip else [*open_clip.OPENAI_DATASET_STD]),
        "interpolation": RESAMPLING[said.get("resample", 3)],
        "resize_mode": "shortest" if isinstance(size, int) or "shortest_edge" in size else "squash",
    }


def towers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The image and the text tower."""
    return {"vision": model.visual, "text": getattr(model, "text", None) or model.transformer}


def set_activations(model: torch.nn.Module, cfg: dict) -> None:
    """GELU as the configuration has it: timm's towers do not look at `act_kwargs`, nor does a model that is named."""
    for side, tower in towers(model).items():
        for module in tower.modules() if "act_kwargs" in cfg[f"{side}_cfg"] else ():
            if isinstance(module, torch.nn.GELU):
                module.approximate = (cfg[f"{side}_cfg"]["act_kwargs"] or {}).get("approximate", "none")


def to_transformers(clip, cfg: dict, state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(state, files): what `CLIPModel.from_pretrained` or `SiglipModel.from_pretrained` reads, by name; and the BPE.

    cfg, state: as open_clip has them. Raises ModelError for a model that cannot be either.
    """
    model, kind = clip.model, "clip" if getattr(clip.model, "logit_bias", None) is None else "siglip"
    text, preparing = open_clip.CLIPTextCfg(**cfg["text_cfg"]), model.visual.preprocess_cfg
    try:
        state = converted(kind, {n.removeprefix("text.") if kind == "clip" else n: t for n, t in state.items()}, 0)
        found = shapes(kind, state)
        for side, tower in towers(model).items():
            first = lambda having: next(m for m in tower.modules() if having(m))
            act = first(lambda m: "GELU" in type(m).__name__)
            tanh = TANH if getattr(act, "approximate", "tanh") == "tanh" else "gelu"
            found[side] |= {
                "num_attention_heads": first(lambda m: hasattr(m, "num_heads")).num_heads,
                "layer_norm_eps": first(lambda m: isinstance(m, torch.nn.LayerNorm)).eps,
                "hidden_act": "quick_gelu" if isinstance(act, QuickGELU) else tanh,
            }
        end = text.eos_id if text.pool_type == "eos" else text.vocab_size - 1
        found["text"] |= {"eos_token_id": end} if kind == "clip" else {"projection_size": cfg["embed_dim"]}
        config = {"model_type": kind, "architectures": [KINDS[kind]], "projection_dim": cfg["embed_dim"]}
        config |= {f"{side}_config": its for side, its in found.items()}
        again = model_cfg(kind, config, state)
        for side, part in (("vision_cfg", open_clip.CLIPVisionCfg), ("text_cfg", open_clip.CLIPTextCfg)):
            is_, would = (vars(part(**one[side])) for one in (cfg, again))
            if differ := [name for name in is_ if is_[name] != would[name] and name not in ASIDE]:
                raise ValueError(f"{differ[0]} is {is_[differ[0]]!r}, and {would[differ[0]]!r} there")
        if (way := preparing.get("resize_mode", "shortest")) == "longest":
            raise ValueError("resize_mode is 'longest'")
    except (KeyError, ValueError) as error:
        raise ModelError(f"transformers has no layout for this model ({error}): save it in open_clip's.") from error
    side = found["vision"]["image_size"]
    square, crop = {"height": side, "width": side}, way == "shortest"
    files = {CONFIG: config, PREPROCESSOR: {
        "image_processor_type": "CLIPImageProcessor" if crop else "SiglipImageProcessor",
        "size": {"shortest_edge": side} if crop else square, "do_center_crop": crop, "crop_size": square,
        "image_mean": [*preparing["mean"]], "image_std": [*preparing["std"]],
        "resample": next(number for number, name in RESAMPLING.items() if name == preparing["interpolation"]),
    }}  # fmt: skip
    words = {}
    if isinstance(clip.tokenizer, open_clip.SimpleTokenizer):
        named = [*[*clip.tokenizer.encoder][:-2], "<|startoftext|>", "<|endoftext|>"]
        files["vocab.json"] = {word: number for number, word in enumerate(named)}
        files["tokenizer_config.json"] = {"tokenizer_class": "CLIPTokenizer", "model_max_length": text.context_length}
        words["merges.txt"] = "\n".join(["#version: 0.2", *map(" ".join, clip.tokenizer.bpe_ranks)])
    return state, {name: json.dumps(content, indent=2) for name, content in files.items()} | words
