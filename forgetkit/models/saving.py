"""Take a model away: a folder that `load_clip`, open_clip and a model hub read, with a card of what was forgotten.

open_clip_model.safetensors   the weights, float32, under open_clip's names (or the files of transformers' layout)
open_clip_config.json         architecture, activation and preprocessing, as open_clip reads them
head.safetensors              class embeddings that are not the text's (`Clip.with_head`), where the model has some
forgetting.json               the forgetting card: name and record, versions
README.md                     the same for people, as a hub's model card
"""

from __future__ import annotations

import hashlib
import html
import json
import platform
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from huggingface_hub import ModelCard, ModelCardData
from open_clip.transformer import QuickGELU
from pydantic_core import to_jsonable_python
from safetensors import safe_open
from safetensors.torch import save_file

from forgetkit.data.sets import in_one_step
from forgetkit.models import ModelError, hugging_face, reason_of
from forgetkit.models.checkpoints import CONFIG

CARD, WEIGHTS, HEAD = "forgetting.json", "open_clip_model.safetensors", "head.safetensors"
LAYOUTS = {"open_clip": WEIGHTS, "transformers": hugging_face.WEIGHTS}
TEMPLATE = Path(__file__).with_name("card.md")


def save(clip, folder: str | Path, layout: str | None = None, **said) -> Path:
    """Write the model and its forgetting card to a folder, which is made where there is none; returns the folder.

    layout: "open_clip" or "transformers" (a ViT or SigLIP); None: as it was loaded.
    said: what joins the record: `subgroup`, `recipe`, `seed` of the sets, `table` (of `evaluate`), `alarms` (a list,
    empty if all is well), `audit` (what `forgetkit.audit` found), and whatever else `jsonable` takes.

    Raises ModelError for a model that `load_clip` did not load, for a folder that holds something else, and for a model
    that transformers has no layout for.
    """
    folder = Path(folder).expanduser()
    if "source" not in clip.record:
        raise ModelError("Only a model that load_clip has loaded can be saved, and what the stages made of it.")
    if (layout := layout or clip.record["source"].get("layout", "open_clip")) not in LAYOUTS:
        raise ModelError(f"There is no layout {layout!r}: choose {' or '.join(LAYOUTS)}.")
    other = any((folder / file).exists() for name, file in LAYOUTS.items() if name != layout)
    if other or folder.is_file() or ((folder / "README.md").exists() and not (folder / CARD).exists()):
        raise ModelError(f"{folder} holds something else, or a model in another layout: give a new folder.")
    record = jsonable({**clip.record, **{name: value for name, value in said.items() if value is not None}})
    config = jsonable(clip.record["source"]["model_cfg"])
    config["quick_gelu"] = any(isinstance(module, QuickGELU) for module in clip.model.modules())
    height, width = clip.image_shape
    config["vision_cfg"]["image_size"] = height if height == width else [height, width]
    state = {name: t.cpu().clone() for name, t in clip.model.state_dict().items()}  # apart, where tensors are tied
    if layout == "transformers":
        state, files = hugging_face.to_transformers(clip, config, state)
    else:
        preprocess = jsonable({k: v for k, v in clip.model.visual.preprocess_cfg.items() if k != "size"})
        files = {CONFIG: json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2)}
    versions = {name: metadata.version(name) for name in ("torch", "open_clip_torch", "forgetkit")}
    card = {"name": clip.name, "record": record, "versions": {"python": platform.python_version(), **versions},
            "layout": layout, "activation": "QuickGELU" if config["quick_gelu"] else "GELU",
            "BatchNorm": any(name.endswith("running_mean") for name in state)}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with in_one_step(folder / LAYOUTS[layout]) as half:
        save_file(state, half, {"format": "pt"})
    (folder / HEAD).unlink(missing_ok=True)
    if clip.heads:
        heads = {str(i): head.cpu().contiguous() for i, head in enumerate(clip.heads.values())}
        save_file(heads, folder / HEAD, {"of": json.dumps([*clip.heads])})
    if hasattr(clip.tokenizer, "save_pretrained"):  # a tokenizer of the hub's is looked for in the same folder
        clip.tokenizer.save_pretrained(folder)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for file in folder.glob("*.safetensors"):  # which safetensors leaves for its owner alone
        shutil.copymode(folder / next(iter(files)), file)
    write_card(folder, card)
    return folder


def read_heads(folder: Path) -> dict[tuple[tuple[str, ...], tuple[str, ...]], torch.Tensor]:
    """The heads of a saved model, as `Clip.heads` has them."""
    if not (folder / HEAD).exists():
        return {}
    with safe_open(folder / HEAD, "pt") as kept:
        of = json.loads(kept.metadata()["of"])
        return {(tuple(classes), tuple(prompts)): kept.get_tensor(str(i)) for i, (classes, prompts) in enumerate(of)}


def write_card(folder: Path, card: dict) -> None:
    """The forgetting card of a saved folder: for programs, and for people, `card.md` with a hub's lines on top."""
    (folder / CARD).write_text(json.dumps(card, indent=2, allow_nan=False), encoding="utf-8")
    record, source = card["record"], card["record"]["source"]
    subgroup, recipe = record.get("subgroup", {}), record.get("recipe", {})
    recipe = recipe if isinstance(recipe, dict) else {"name": recipe}
    heads = {"text": "of the class names", "images": f"means of training images ({HEAD})"}
    facts = {
        "target, forgotten": subgroup.get("target"),
        "previous targets": ", ".join(record.get("previous_targets") or ()),
        "siblings, kept": ", ".join(subgroup.get("siblings", ())),
        "source": f"{source['model']}, weights {source['weights'] or 'of its own'}",
        "SHA-256 of the source weights": source["sha256"],
        "activation": card["activation"],
        "recipe": recipe.get("name"),
        "class embeddings": heads.get(record.get("head")),
        "pictures": record.get("pictures"),
        "seed": record.get("seed", recipe.get("forget", {}).get("seed")),
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
    }
    task, tags = "zero-shot-image-classification", ["clip", "unlearning"]
    data = ModelCardData(library_name=card["layout"], pipeline_tag=task, tags=tags)
    ModelCard.from_template(
        data, template_path=TEMPLATE, name=card["name"], target=subgroup.get("target"), facts=facts,
        table=record.get("table"), alarms=record.get("alarms"), audit=record.get("audit"), cell=cell, escaped=escaped,
        file=CARD, norms=card["BatchNorm"], layout=card["layout"],
    ).save(folder / "README.md")  # fmt: skip


def add_to_card(folder: str | Path, **said) -> None:
    """Add to the card of a folder that `save` wrote, as `save` takes it; ModelError: no card, or a damaged one."""
    folder = Path(folder).expanduser()
    if not (card := read_card(folder)):
        raise ModelError(f"{folder} has no forgetting card ({CARD}): it was not written by clip.save.")
    card["record"] |= jsonable(said)
    write_card(folder, card)


def read_card(folder: Path) -> dict:
    """What `save` wrote of a model; {} for a folder without a card. Raises ModelError for a damaged one."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        card |= {"name": str(card["name"]), "record": dict(card["record"]), "versions": dict(card["versions"])}
        return {"layout": "open_clip", "activation": None, "BatchNorm": True} | card  # older ones do not say
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder / CARD} is damaged ({reason_of(error, 120)}): delete it to load without.") from error


def hashes(sets) -> dict[str, dict]:
    """Of the sets on a model (`ModelSets`), D_f, D_r and each test column: how many images, and their SHA-256."""
    found = {}
    parts = {"forget": sets.forget, "retain": sets.retain} | {f"test {name}": part for name, part in sets.test.items()}
    for name, part in parts.items():
        images = part.images.cpu() if isinstance(part.images, torch.Tensor) else part.images
        digest = hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
        found[name] = {"images": len(part), "sha256": digest}
    return found


def jsonable(value):
    """The same in what JSON knows; NaN and infinity are None. Raises TypeError for what has no such form."""

    def plain(value):
        if isinstance(value, np.generic | np.ndarray | torch.Tensor):
            return value.tolist()
        if isinstance(value, pd.DataFrame):
            return value.to_dict("records")
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError(f"A record cannot hold {value!r}: give numbers, texts, lists or a table.")

    return to_jsonable_python(value, fallback=plain, inf_nan_mode="null")


def cell(value, unit: str = "%") -> str:
    """A figure or word as a table of the card shows it; an audit's count of steps that is None never came to an end."""
    if value is None:
        return "never" if unit == "steps" else ""
    if isinstance(value, float):
        return f"{value:.2f}" if unit in ("", "logits", "nats") else f"{value:.1f}"
    return escaped(value)


def escaped(text) -> str:
    """A name of whoever's, such as a folder's, as Markdown shows it and nothing more: no markup, no HTML, one line."""
    return re.sub(r"([\\`*\[\]|$])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))
