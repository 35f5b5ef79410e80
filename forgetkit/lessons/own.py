"""Your own pictures: a look before the work, their sets; and the report and model that a run leaves behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from forgetkit.data.folders import scan, shortened
from forgetkit.data.images import PARTS, PROMPTS, Grouped, ImageSet, listed
from forgetkit.data.reading import plain
from forgetkit.evaluation import by_chance, interval, predict, with_intervals
from forgetkit.models import ModelError, mini
from forgetkit.models.clip import Clip
from forgetkit.models.saving import hashes, read_card
from forgetkit.recipe import Recipe
from forgetkit.subgroups import ModelSets, Splits, split

HEADS = ("text", "images")
A_LOOK = 100  # images of a subgroup that the model is asked about before the work


@dataclass(frozen=True)
class Report:
    """What is known before the work."""

    counts: pd.DataFrame  # a row a subgroup, its images by part; `recognised`: of some of them, as "12/26 (29 to 65 %)"
    findings: list[str]  # what to know and what to do, a sentence each: files, copies, names, what is not recognised
    unknown: tuple[str, ...] = ()  # subgroups whose images the model recognises no better than chance
    stops: tuple[str, ...] = ()  # those of the findings at which a run stops
    expect: str = ""  # what the number of test pictures will allow to be said
    grouped: Grouped | None = None  # the parts, with a target and where all files can be read

    def __str__(self) -> str:
        said = [self.counts.to_string(), "", *(self.findings or ["No problem was found."])]
        return "\n".join([*said, f"Not looked for: copies that were cropped, turned, or made brighter. {self.expect}"])


def check(
    data: str | Path, clip: Clip, target: str | None = None, siblings: Sequence[str] | None = None,
    labels: str | None = None, head: str = "text", previous_targets: Sequence[str] | None = None, seed: int = 0,
    near: bool = True,
) -> Report:  # fmt: skip
    """Look at a folder or CSV, and ask the model what it sees there, before anything starts.

    target, siblings, labels: as in `Folder.group`, empty ones as if not given; without a target, and where files
        cannot be read, each subgroup by its own label
    head: "text": class names; "images": prototypes, the mean embedding of each class's training images
    previous_targets: subgroups that the model was made to forget before: these it need not know
    seed, near: as in `scan`
    """
    if head not in HEADS:
        raise ValueError(f"head={head!r}: choose 'text' (class names) or 'images' (prototypes).")
    found = scan(data, clip, seed, near)
    counts = found.counts()
    asked, expect, grouped, findings = found.subgroups, "", None, found.findings()
    if target is None or found.broken:
        parts = {part: found.part(part) for part in PARTS}
        groups = {part: found.used["subgroup"][found.used["part"] == part].to_numpy(str) for part in PARTS}
    else:
        grouped = found.group(target, siblings or None, labels, previous_targets)
        grouped.subgroup.without(grouped.previous_targets)  # raises for a target that was forgotten before
        parts, groups = grouped.parts, grouped.groups
        asked = (grouped.subgroup.target, *grouped.subgroup.siblings)
        family = grouped.subgroup.family
        if family and (joined := {*found.rows["subgroup"][found.rows["label"] == family]} - {*asked}):
            findings.append(f"{listed(sorted(joined), 5)} of label {family!r} joins target and siblings.")
        n = int((groups["test"] == asked[0]).sum())
        expect = f"Where none of {n} test pictures of {asked[0]} is recognised, {interval(0, n)[1]:.0f} % may still be."
    train, stops = parts["train"], found.broken
    classes = len(train.classes)
    if classes < 2:
        stops += ("There is one name only, and it always wins: add a folder to keep, or name target and labels.",)
    elif head == "images":
        if (train.classes, train.prompts) not in clip.heads and (empty := sorted({*train.classes} - {*train.names})):
            stops += (f"A head of images needs training pictures of every name, and {listed(empty, 5)} has none: add"
                      f" some, {'or give no label' if labels else 'or take that folder out'}.",)  # fmt: skip
    else:
        cut, same = cut_names(clip, train)
        findings += [f"The text tower reads only the beginning of {listed(cut, 5)}: shorten the names."] if cut else []
        stops += tuple(f"{names} are one name to the text tower: shorten them." for names in same)
    findings += [stop for stop in stops if stop not in found.broken]
    if target is None and (few := counts.index[(counts[[*PARTS]] == 0).any(axis=1)].tolist()):
        findings.append(f"{listed(few, 5)} cannot be the target: at least one part has no picture of it.")
    if stops:
        return Report(counts.assign(recognised=""), findings, (), stops, expect, grouped)
    if head == "images":  # which were made of the training images, and know these
        groups = {part: of for part, of in groups.items() if part != "train"}
    headed = with_head(clip, train, head)
    known = recognition(headed, parts, groups, headed.head(train.classes, train.prompts))
    told = {name: "{}/{} ({:.0f} to {:.0f} %)".format(*row, *interval(*row)) for name, row in known.items()}
    before = [plain(name) for name in previous_targets or ()]
    if unknown := tuple(name for name, row in known.items() if name not in before and by_chance(*row, classes)):
        seen = listed([f"{known[name][0]} of {known[name][1]} {name}" for name in unknown], 5)
        lost = [name for name in unknown if name in asked]
        findings.append(
            f"The model recognises {seen}, no better than chance among {classes} names: nothing to forget or"
            f" to keep in {len(unknown)} of {len(known)} subgroups. {remedy(clip, parts, groups, lost, head)}"
        )
        stops += (findings[-1],) if head == "text" and lost else ()
    counts = counts.assign(recognised=pd.Series(told)).fillna({"recognised": ""})
    return Report(counts, findings, unknown, stops, expect, grouped)


def remedy(
    clip: Clip, parts: Mapping[str, ImageSet], groups: Mapping[str, np.ndarray], unknown: Sequence[str], head: str
) -> str:
    """What to do where names are not known; suggests the one of `mini.words` that fits their images best."""
    if head == "images":
        return "Images do not tell them apart either: bring more of them, or use a larger model."
    said = "Use image prototypes (--head images) or a larger model"
    if not unknown:
        return f"{said}, or leave them as they are: they are neither target nor siblings."
    of = {part: np.flatnonzero(np.isin(names, unknown))[:A_LOOK] for part, names in groups.items()}
    z = torch.cat([clip.embed(parts[part].take(index).images) for part, index in of.items() if len(index)])
    fit = (clip.scale * z @ clip.head(mini.words(), PROMPTS).T).softmax(1).mean(0)
    word = mini.words()[int(fit.argmax())]
    return f"{said}; or one label for target and siblings: of the words tried, {word!r} fits them best (--label)."


def cut_names(clip: Clip, train: ImageSet) -> tuple[list[str], list[str]]:
    """Class names that have more tokens than the text tower reads, and those that are one to it, in words."""
    texts = [train.prompts[0].replace("{}", name) for name in train.classes]
    read = clip.tokenizer(texts)
    length = read.shape[1]
    *whole, blank = clip.tokenizer([*texts, ""], context_length=4 * length)
    cut = [name for name, row in zip(train.classes, whole) if (row[length:] != blank[-1]).any()]
    alike = pd.Series(train.classes).groupby([str(row) for row in read.tolist()], sort=False)
    return cut, [" and ".join(names) for _, names in alike if len(names) > 1]


def with_head(clip: Clip, train: ImageSet, head: str) -> Clip:
    """The model with the head that was asked for: of the class names, or of training images (see `Clip.prototypes`).

    A model that brings a head of images for these classes keeps it: made anew, it would find what was forgotten again.
    """
    if head == "text":
        return replace(clip, heads={of: kept for of, kept in clip.heads.items() if of[0] != train.classes})
    if (train.classes, train.prompts) in clip.heads:
        return clip
    return clip.with_head(train.classes, clip.prototypes(train), train.prompts)


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
    head: str = "text", seed: int = 0, sizes: Mapping[str, int | None] = {}, near: bool = True,
    previous_targets: Sequence[str] | None = None,
) -> tuple[Clip, Splits, Report]:  # fmt: skip
    """The model with the head asked for (see `with_head`), the sets of your subgroup, and what the look found.

    sizes: n_forget and so on, as in `split`; the others as in `check`
    Raises ModelError where the look finds what stops a run (`Report.stops`); DataError as `Folder.group`.
    """
    checked = check(data_dir, clip, target, siblings, labels, head, previous_targets, seed, near)
    if checked.stops or checked.grouped is None:
        raise ModelError("\n".join(["Stopped before the work.", *shortened([*checked.stops])]))
    clip = replace(with_head(clip, checked.grouped.parts["train"], head), name="original")
    return clip, split(checked.grouped, seed=seed, **sizes), checked


def again(data_dir: str | Path, saved: Clip, clip: Clip, target: str, seed: int) -> tuple[Clip, Splits]:
    """The model `clip` and the sets of the run on your own pictures that made `saved`, as its card has them.

    Raises ModelError for a model of no such run, and as `prepare` does.
    """
    record = saved.record
    if "sets" not in record:
        raise ModelError(f"{saved.name} does not come of a run on your own pictures: its card names no sets of images.")
    said, sizes = record["subgroup"], {f"n_{of}": record["sets"][of]["images"] for of in ("forget", "retain")}
    given = said["siblings"], said.get("family"), record["head"], seed, sizes, record.get("near", True)
    clip = replace(clip, heads=saved.heads)
    return prepare(data_dir, target, clip, *given, record.get("previous_targets"))[:2]


def save(
    out: str | Path, restored: Clip, sets: ModelSets, table: pd.DataFrame, alarms: Sequence[str], recipe: Recipe,
    head: str = "text", seed: int = 0, kind: str = "folder", near: bool = True,
) -> None:  # fmt: skip
    """Write what came of a run to a folder: report.txt, then `model` with its forgetting card and head.

    table: of `evaluate`; report.txt has it with counts and intervals, and the alarms
    """
    out, told, hashed = Path(out).expanduser(), with_intervals(table, sets.test), hashes(sets)
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join([told.to_string(index=False), "", *(alarms or ["No alarm."]), ""])
    (out / "report.txt").write_text(text, encoding="utf-8")
    counts = ", ".join(f"{of['images']} {name}" for name, of in hashed.items())
    restored.save(
        out / "model", subgroup=sets.subgroup, recipe=recipe, seed=seed, table=told, alarms=list(alarms), head=head,
        classes=sets.classes, sets=hashed, pictures=f"{sets.test['target'].name} ({counts})", kind=kind, near=near,
    )  # fmt: skip


def check_out(out: Path, notebook: str, target: str, data_dir: Path | None) -> None:
    """Raise ValueError for a folder in which a run of `notebook` would write over what is not its own."""
    if data_dir and ((own := data_dir.resolve()) in (out, *out.parents) or (own.is_file() and out == own.parent)):
        raise ValueError(f"{out} holds your pictures or their list, or lies among them: name another folder (--out).")
    if out.is_dir() and any(out.iterdir()) and not (out / notebook).exists():
        raise ValueError(f"{out} holds other files, which are not to be lost: name another folder (--out).")
    before = (read_card(out / "model").get("record", {}).get("subgroup") or {}).get("target", target)
    if plain(before) != plain(target):
        raise ValueError(f"{out} holds a model that forgot {before!r}: name another folder (--out).")
