"""Your own pictures: a look before the work, their sets, the saved model with its card. Notebook 00 does the work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from forgetkit.data.folders import Folder, scan
from forgetkit.data.images import PARTS, PROMPTS, ImageSet
from forgetkit.data.reading import plain
from forgetkit.evaluation import interval, predict, with_intervals
from forgetkit.models import ModelError
from forgetkit.models.clip import Clip
from forgetkit.models.loading import FOLDER, load_clip
from forgetkit.models.saving import hashes, read_card
from forgetkit.recipe import Recipe
from forgetkit.subgroups import ModelSets, Splits, split

HEADS = ("text", "images")
HEAD = "head.safetensors"  # beside a saved model
A_LOOK = 100  # images of a subgroup that the model is asked about before the work


@dataclass(frozen=True)
class Report:
    """What is known before the work.

    counts:   a row a subgroup, its images by part; `recognised`: of some of them, as "12/26 (29 to 65 %)"
    findings: what to know and what to do, a sentence each: files, copies, and what the model does not know
    unknown:  subgroups whose images the model recognises no better than chance
    good:     may a run start? all files can be read, and no subgroup is unknown
    """

    counts: pd.DataFrame
    findings: list[str]
    unknown: tuple[str, ...]
    good: bool = True

    def __str__(self) -> str:
        return "\n".join([self.counts.to_string(), "", *(self.findings or ["Nothing speaks against it."])])


def check(
    data: str | Path | Folder, clip: Clip, target: str | None = None, siblings: Sequence[str] | None = None,
    labels: str | None = None, head: str = "text", previous_targets: Sequence[str] | None = None, **settings,
) -> Report:  # fmt: skip
    """Look at a folder or CSV, and ask the model what it sees there, before anything starts.

    target, siblings, labels, settings: as in `Folder.group`; without a target, and where files cannot be read,
        each subgroup by its own label
    head: "text": class names; "images": prototypes, the mean embedding of each class's training images
    previous_targets: subgroups that the model was made to forget before: these it need not know
    """
    if head not in HEADS:
        raise ValueError(f"head={head!r}: choose 'text' (class names) or 'images' (prototypes).")
    found = data if isinstance(data, Folder) else scan(data, clip)
    if target is None or found.broken:
        rows = found.rows[~found.rows["dropped"]]
        groups = {part: rows["subgroup"][rows["part"] == part].to_numpy(str) for part in PARTS}
        parts = {part: found.part(part) for part in PARTS}
    else:
        grouped = found.group(target, siblings, labels, previous_targets=previous_targets, **settings)
        parts, groups = grouped.parts, grouped.groups
    if head == "images":  # which were made of the training images, and know these
        groups = {part: of for part, of in groups.items() if part != "train"}
    try:
        known = recognition(clip, parts, groups, class_head(clip, parts["train"], head))
    except ModelError as error:  # no training image of a class: the rest is still to be told
        return Report(found.counts().assign(recognised=""), [*found.findings(), str(error)], (), False)
    classes = len(parts["train"].classes)
    told = {name: "{}/{} ({:.0f} to {:.0f} %)".format(*row, *interval(*row)) for name, row in known.items()}
    before = [plain(name) for name in previous_targets or ()]
    unknown = tuple(name for name, row in known.items() if name not in before and by_chance(*row, classes))
    findings = found.findings()
    if classes < 2:
        unknown = ()
        findings.append("There is one name only, and it always wins: name a target, and labels.")
    elif unknown:
        seen = ", ".join(f"{known[name][0]} of {known[name][1]} {name}" for name in unknown)
        findings.append(
            f"The model recognises {seen}, no better than chance among {classes} names: of these there is nothing to"
            " forget or to keep. "
            + ("Use image prototypes (head images), names that it knows (labels), or a larger model."
               if head == "text" else "Images do not tell them apart either: use a larger model.")
        )  # fmt: skip
    counts = found.counts().assign(recognised=pd.Series(told))
    return Report(counts.fillna({"recognised": ""}), findings, unknown, not (unknown or found.broken))


def by_chance(hits: int, n: int, classes: int) -> bool:
    """May chance among so many classes have found `hits` of n? Few images that are nearly all found are no chance."""
    return interval(hits, n)[0] <= 100 / classes and 2 * hits < n * (1 + 1 / classes)


def class_head(clip: Clip, train: ImageSet, head: str) -> torch.Tensor:
    """Class embeddings (C, D) of text or of training images; those of an earlier request, where the model has them."""
    if head == "images" and (train.classes, train.prompts) not in clip.heads:
        return clip.prototypes(train)
    return clip.head(train.classes, train.prompts)


def recognition(
    clip: Clip, parts: Mapping[str, ImageSet], groups: Mapping[str, np.ndarray], head: torch.Tensor
) -> dict[str, tuple[int, int]]:
    """By subgroup, how many of how many images the model calls by their label; of at most `A_LOOK` images each."""
    rows = pd.concat(pd.DataFrame({"subgroup": names, "part": part}) for part, names in groups.items())
    asked = rows.sample(frac=1, random_state=0).groupby("subgroup").head(A_LOOK)
    looked = []
    for part, chosen in asked.groupby("part"):
        own = parts[part].take(chosen.index.to_numpy())
        looked.append(chosen.assign(hit=(predict(clip, own.images, head) == torch.as_tensor(own.labels)).numpy()))
    hits = pd.concat(looked).groupby("subgroup")["hit"].agg(["sum", "size"])
    return {name: (int(right), int(n)) for name, right, n in hits.itertuples()}


def prepare(
    data_dir: str | Path, target: str, clip: Clip, siblings: Sequence[str] | None = None, labels: str | None = None,
    head: str = "text", seed: int = 0, sizes: Mapping[str, int | None] = {}, **settings,
) -> tuple[Clip, Splits, Report]:  # fmt: skip
    """The model with the head asked for (see `Clip.with_head`), the sets of your subgroup, and what the look found.

    sizes: n_forget and so on, as in `split`; settings: as in `data.folders.Folder.group`
    Raises ModelError where the model does not know target or siblings by name; DataError as `Folder.group`.
    """
    found = scan(data_dir, clip, seed)
    grouped = found.group(target, siblings, labels, **settings)
    kept = grouped.subgroup.without(grouped.previous_targets)
    checked = check(found, clip, target, siblings, labels, head, **settings)
    if head == "text" and (lost := [name for name in (kept.target, *kept.siblings) if name in checked.unknown]):
        raise ModelError(f"Stopped before the work ({', '.join(lost)}). {checked.findings[-1]}")
    train = grouped.parts["train"]
    clip = clip.with_head(train.classes, class_head(clip, train, head), train.prompts)
    return clip, split(grouped, seed=seed, **sizes), checked


def again(data_dir: str | Path, folder: Path, clip: Clip, target: str, seed: int) -> tuple[Clip, Splits]:
    """The model and the sets of a run on your own pictures, as the card of the model that it saved has them.

    Raises ModelError for a folder without such a card, and as `prepare` does.
    """
    record = read_card(folder).get("record", {})
    if "sets" not in record:
        raise ModelError(f"{folder} does not come of a run on your own pictures: its card names no sets of images.")
    said, sizes = record["subgroup"], {f"n_{of}": record["sets"][of]["images"] for of in ("forget", "retain")}
    for (classes, prompts), head in loaded(f"{FOLDER}{folder}", None, str(clip.device)).heads.items():
        clip = clip.with_head(classes, head, prompts)
    labels, before = said.get("family") or None, record.get("previous_targets")
    more = {"sizes": sizes, "previous_targets": before}
    return prepare(data_dir, target, clip, said["siblings"], labels, record["head"], seed, **more)[:2]


def save(
    out: str | Path, restored: Clip, sets: ModelSets, table: pd.DataFrame, alarms: Sequence[str], recipe: Recipe,
    head: str = "text", seed: int = 0,
) -> None:  # fmt: skip
    """Write what came of your own pictures to a folder: `model` with its forgetting card, and report.txt.

    table: of `evaluate`; report.txt has it with counts and intervals, and the alarms. `loaded("local-dir:out/model")`
    reads the model, with the head of images that is saved beside it for head="images".
    """
    model, told = Path(out).expanduser() / "model", with_intervals(table, sets.test)
    said = {"subgroup": sets.subgroup, "recipe": recipe, "seed": seed, "table": told, "alarms": list(alarms)}
    restored.save(model, **said, head=head, classes=sets.classes, sets=hashes(sets))
    if head == "images":
        save_file(
            {"head": sets.head.cpu().contiguous()},
            model / HEAD,
            {"classes": json.dumps(sets.classes), "prompts": json.dumps(sets.prompts)},
        )
    text = "\n".join([told.to_string(index=False), "", *(alarms or ["No alarm."])])
    (model.parent / "report.txt").write_text(text + "\n", encoding="utf-8")


def loaded(model: str, pretrained: str | None, device: str) -> Clip:
    """`load_clip`, with the head made of images that `save` left beside a model, where there is one."""
    clip, file = load_clip(model, pretrained, device), Path(model.removeprefix(FOLDER)).expanduser() / HEAD
    if model.startswith(FOLDER) and file.exists():
        with safe_open(file, "pt") as kept:
            said = {name: json.loads(text) for name, text in kept.metadata().items()}
            clip = clip.with_head(said["classes"], kept.get_tensor("head"), said.get("prompts", PROMPTS))
    return clip
