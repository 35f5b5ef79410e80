"""What every notebook does besides its subject: check its parameters, set up, show source, tell the time."""

import inspect
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import open_clip
import pandas as pd
import torch
from IPython.display import Markdown

from forgetkit.data.images import CIFAR10_FAMILIES
from forgetkit.data.images import some as few
from forgetkit.data.sets import SETS
from forgetkit.data.tutorial import KINDS, targets
from forgetkit.lessons.figures import use_style
from forgetkit.lessons.own import HEADS, prepare
from forgetkit.models.clip import Clip, describe, pick_device
from forgetkit.models.loading import EMBEDDED, FOLDER, HUB, load_clip
from forgetkit.recipe import Forget, Recipe
from forgetkit.subgroups import ModelSets, Splits, tutorial_sets

# Of own pictures; as if not given.
OWN = {"siblings": (), "labels": "", "head": "text", "previous_targets": (), "near_copies": True}
_started = time.perf_counter()
say = Markdown  # a sentence with what was measured in it: so it says what happened in this run


def check_parameters(**values) -> None:
    """Raise ValueError, a line for each wrong parameter, naming what there is to choose from; call it first."""
    if wrong := [said for name in values if (said := mistake(name, values))]:
        raise ValueError("\n".join(dict.fromkeys(wrong)))


def mistake(name: str, values: Mapping) -> str | None:
    """What is wrong with the value of that name, beside the others; None where nothing is, or nothing is known of it.

    Sizes are called n_..., and None is as many as usual.
    """
    value, kind, model = values[name], values.get("kind", "class"), values.get("model", "mini")
    if name == "kind" and kind not in (*KINDS, "folder"):
        return f"kind={kind!r}: choose one of {', '.join(KINDS)}, folder."
    if name in ("kind", "data_dir") and "data_dir" in values and (kind == "folder") != bool(values["data_dir"]):
        return "kind='folder' and data_dir, the folder of your own pictures, go together: give both."
    if name in OWN and values.get("data_dir", True) in ("", None) and value not in (OWN[name], [], "", None):
        return f"{name}={value!r} is for pictures of your own: give data_dir (--data-dir), too, or leave it out."
    if name in ("siblings", "previous_targets") and isinstance(value, str) and value:
        return f"{name}={value!r}: a list of names, as [{value!r}]."
    if name == "target" and kind in KINDS and value not in targets(kind):
        return f"target={value!r} is no {kind} here: choose one of {', '.join(targets(kind))}."
    if name in ("recipe", "changes"):
        changes = values.get("changes", {})
        try:
            Recipe.named(values.get("recipe", "default"), **changes)
        except TypeError:
            return f'changes={changes!r}: values of the recipe by stage, such as {{"remind": {{"batch": 32}}}}.'
        except ValueError as error:
            return str(error)
    with_weights = lambda model: model in EMBEDDED or str(model).startswith((HUB, FOLDER))
    if name == "model" or (name == "oracle" and value not in ("", "auto", None)):
        if not with_weights(value) and value not in open_clip.list_models():
            embedded = ", ".join(map(repr, EMBEDDED))
            return f"{name}={value!r}: choose {embedded}, one of open_clip.list_models(), as 'RN50', or {FOLDER}FOLDER."
    if name == "pretrained" and value and not weights_there(model, str(value)):
        return f"pretrained={value!r} is no tag of open_clip's for model={model!r}, and no file."
    if name == "pretrained" and not value and not with_weights(model):
        return f"model={model!r} without weights is a random one: give `pretrained`, a tag such as 'openai', or a file."
    if name == "head" and value not in HEADS:
        return f"head={value!r}: choose 'text' (class names) or 'images' (prototypes)."
    if name == "device":
        try:
            torch.empty(1, device=pick_device(value))
        except (RuntimeError, AssertionError):
            return f"device={value!r} cannot be used here: choose 'auto' or 'cpu'."
    if name == "out":
        try:
            folder = Path(value).absolute()
            tempfile.TemporaryFile(dir=next(path for path in (folder, *folder.parents) if path.exists())).close()
        except (OSError, TypeError) as error:
            return f"out={value!r}: nothing can be written there ({error}): name another folder."
    if name == "seed" or (name.startswith("n_") and value is not None):
        least, most = room(values).get(name, (0 if name == "seed" else 1, None))
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= (most or value):
            return f"{name}={value!r}: a whole number, at least {least}{f', at most {most:,}' if most else ''}."
    return None


def room(values: Mapping) -> dict[str, tuple[int, int]]:
    """(least, most) images of D_f and of D_r that a subgroup of the tutorial's has, of clusters and styles at most."""
    kind, target, images = values.get("kind"), values.get("target"), SETS["cifar10"].per_class.train
    if kind not in KINDS or target not in targets(kind):
        return {}
    siblings = next((len(f) - 1 for f in CIFAR10_FAMILIES.values() if target in f), 2)  # two of a style, or cluster
    return {"n_forget": (1, 20 if kind == "style" else images), "n_retain": (siblings, siblings * images)}


def weights_there(model: str, pretrained: str) -> bool:
    """May these be weights of that model: a tag, or a file? A path that is not here may be, from where a run works."""
    name, file = str(model), Path(pretrained).expanduser()
    known = model not in EMBEDDED and open_clip.pretrained.is_pretrained_cfg(name.replace("/", "-"), pretrained)
    there = known or file.is_file() or (len(file.parts) > 1 and not file.is_absolute())
    return there and not name.startswith((HUB, FOLDER))


def start(
    kind: str = "class", target: str = "cat", seed: int = 0, n_forget: int | None = None, n_retain: int | None = None,
    recipe: str = "default", changes: Mapping = {}, model: str = "mini", device: str = "auto",
    own: tuple = ("", [], "", "", "text"), as_images: bool = False, n_test: int | None = None,
    out: str = ".", oracle: str = "",
) -> tuple[Clip, Splits | ModelSets, Recipe]:  # fmt: skip
    """The original model, the sets of a subgroup on it, and the recipe.

    own: data_dir, siblings, labels, pretrained, head (and previous_targets, near_copies), as the lessons have
        them; all but `pretrained` are for kind="folder", your own pictures, of which a look is printed (`own.check`)
    as_images: leave the sets as images, to be looked at: stages take them only on the model
    n_test: keep so many test images of each column, drawn by the seed; None: all
    out, oracle: of the lesson, and only checked here
    Raises ValueError for a wrong parameter, before anything is loaded (see `check_parameters`).
    """
    data_dir, siblings, labels, pretrained, head, previous_targets, near = (*own, [], True)[:7]
    check_parameters(
        kind=kind, target=target, seed=seed, n_forget=n_forget, n_retain=n_retain, n_test=n_test, recipe=recipe,
        changes=changes, model=model, device=device, pretrained=pretrained, head=head, data_dir=str(data_dir or ""),
        siblings=siblings, labels=labels, previous_targets=previous_targets, near_copies=near, oracle=oracle, out=out,
    )  # fmt: skip
    use_style()
    clip = replace(load_clip(model, pretrained or None, device), name="original")  # whatever it was called when saved
    sizes = {"n_forget": n_forget, "n_retain": n_retain}
    if kind == "folder":
        given = siblings, labels, head, seed, sizes, near, previous_targets
        clip, sets, report = prepare(data_dir, target, clip, *given)
        print(report, end="\n\n")
    else:
        sets = tutorial_sets(target, seed, kind, clip, **sizes)
    sets = replace(sets, test=few(sets.test, n_test, seed)) if n_test else sets
    print(f"forget {sets.subgroup.target!r}, keep {', '.join(sets.subgroup.siblings)}")
    return clip, sets if as_images else sets.on(clip), Recipe.named(recipe, seed, **changes)


def stage1_of(recipe: Recipe) -> Forget:
    """The recipe's stage 1; the paper's, where the recipe has none."""
    return recipe.forget if recipe.forget.steps else Recipe.paper(recipe.forget.seed).forget


def stages(models: Sequence[Clip]) -> dict[str, Clip]:
    """The original and a model a stage, by name; stage 1's is left out where the recipe has none."""
    return {clip.name: clip for clip in models if clip.name != "forget" or clip.record["layers"]}


def source(*objects) -> Markdown:
    """The source of functions and classes, as it stands in the package."""
    blocks = [f"```python\n# {o.__module__}\n{inspect.getsource(o).rstrip()}\n```" for o in objects]
    return Markdown("\n\n".join(blocks))


def keep(table: pd.DataFrame, out: str | Path) -> pd.DataFrame:
    """Write the lesson's table, rounded to 0.01, to `out/table.csv`, and hand it on."""
    Path(out).mkdir(parents=True, exist_ok=True)
    table.round(2).to_csv(Path(out) / "table.csv", index=False)
    return table


def elapsed(clip: Clip) -> str:
    """How long this notebook took, since it imported this module, and where."""
    return f"{time.perf_counter() - _started:.0f} s on {describe(clip.device)}"
