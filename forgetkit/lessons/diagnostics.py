"""What changed between the original and an unlearned model, beyond accuracy; and alarms: what went wrong."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import PREVIOUS, TARGET, by_chance, interval, percent
from forgetkit.models.clip import Clip, Inputs, embed_each


def contributions(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What each column counts in the Score, in percent, one row a model of `evaluate`'s table; their mean is the Score.

    See `score`: columns on which the original, the first row, is at zero are left out.
    """
    accuracy = table.set_index("model")[list(columns)]
    counted = (accuracy.iloc[0] > 0) | (accuracy.columns == PREVIOUS)
    found = 100 * (accuracy / accuracy.iloc[0]).clip(upper=1)
    found[TARGET] = 100 * (1 - accuracy[TARGET] / accuracy[TARGET].iloc[0])
    if PREVIOUS in found:
        found[PREVIOUS] = 100 - accuracy[PREVIOUS]
    return found.loc[:, counted]


def churn(before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Images whose name changed, in percent of all; before, after, labels: (N,) long.

    The change of accuracy is won - lost; still wrong: wrong both times, under two names.
    """
    was, now = before == labels, after == labels
    changed = {"lost": was & ~now, "won": ~was & now, "still wrong": ~was & ~now & (before != after)}
    return {name: percent(mask) for name, mask in changed.items()}


def predictions(original: Clip, unlearned: Clip, columns: Mapping[str, ImageSet]) -> pd.DataFrame:
    """What two models call each image, a row an image: what a run may leave as `predictions.parquet` (docs/batches.md).

    image: its file, or its place in the column; subgroup: the column; similarity: to the own label, after
    """
    frames = []
    for column, part in columns.items():
        head, names = original.head(part.classes, part.prompts), np.array(part.classes)
        both = embed_each([original, unlearned], part.images, progress=column)
        before, after = ((z @ head.T).cpu().numpy().astype(float) for z in both)
        files = map(str, getattr(part.images, "files", range(len(part))))
        rows = pd.DataFrame({"image": [*files], "label": part.names, "subgroup": column})
        called = {"before": names[before.argmax(1)], "after": names[after.argmax(1)]}
        frames.append(rows.assign(**called, similarity=after[range(len(part)), part.labels]))
    return pd.concat(frames, ignore_index=True)


def second_choice(z: torch.Tensor, head: torch.Tensor, without: int) -> torch.Tensor:
    """The best class, (N,) long, if class `without` did not exist; z (N, D) and head (C, D) of unit rows."""
    similarity = z @ head.T
    similarity[:, without] = -torch.inf
    return similarity.argmax(1)


def neighbours(z: torch.Tensor, queries: torch.Tensor, k: int) -> torch.Tensor:
    """The k rows of z (N, D) most similar to each row in `queries` (Q,), itself left out: (Q, k) long, best first."""
    similarity = z[queries] @ z.T
    similarity[torch.arange(len(queries), device=z.device), queries] = -torch.inf
    return similarity.topk(k, dim=1).indices


def rivals(z: torch.Tensor, head: torch.Tensor, label: int | torch.Tensor) -> np.ndarray:
    """Each image's similarity to the text of class `label`, and to the best other text: (N, 2).

    z (N, D) and head (C, D) of unit rows; label: one for all images, or one each, (N,) long
    """
    similarity = z @ head.T
    own = torch.as_tensor(label, device=z.device).expand(len(z))[:, None]
    pair = similarity.gather(1, own), similarity.scatter(1, own, -torch.inf).max(1, keepdim=True).values
    return torch.cat(pair, 1).cpu().numpy()


def duel(
    models: Mapping[str, Clip], columns: Mapping[str, ImageSet | Inputs], head: torch.Tensor, label: int, n: int = 200
) -> dict[str, dict[str, np.ndarray]]:
    """`rivals` by model and column, of at most n images (a fixed draw) of the columns that share the target's texts."""
    points = {name: {} for name in models}
    for column, part in some({c: columns[c] for c in (TARGET, "retain", "other") if c in columns}, n).items():
        for name, z in zip(models, embed_each(list(models.values()), part.images, progress=column)):
            points[name][column] = rivals(z, head, label)
    return points


def alarms(
    table: pd.DataFrame, rank: float | None = None, classes: int = 0, called: tuple[str, float, float] | None = None,
    shown: Mapping[str, ImageSet] = {}, head: str = "text",
) -> list[str]:  # fmt: skip
    """What went wrong, and what to change: a sentence each (of alarms.toml), none if all is well.

    table:  as `evaluate` makes it, the original first and the stages in order
    rank:   `own_rank` of the last model on target images, among `classes` texts
    called: `most_called` of the last model on test images that are to be kept
    shown:  the sets behind the columns: their numbers of images and classes tell what may be chance
    """
    if not {"model", TARGET} <= set(table.columns) or not len(table):
        raise ValueError("alarms take the table that evaluate makes, with a column 'model' and one 'target'.")
    sentences, found = tomllib.loads((Path(__file__).parent / "alarms.toml").read_text(encoding="utf-8")), []

    def alarm_if(condition: bool, kind: str, **values) -> None:
        if condition:
            found.append(sentences[kind].format(**values))

    original, last = table.iloc[0], table.iloc[-1]
    columns = table.columns.drop(["model", "score", "seconds", TARGET, PREVIOUS], errors="ignore")
    for model, row in zip(table["model"], np.isfinite(table[[TARGET, *columns]].astype(float)).to_numpy()):
        alarm_if(not row.all(), "not_finite", model=model)
    target, part = dict(before=original[TARGET], after=last[TARGET]), shown.get(TARGET)
    hits = lambda row, column: round(row[column] * len(shown[column]) / 100)
    chance = part is not None and by_chance(hits(original, TARGET), len(part), len(part.classes))
    known = original[TARGET] >= 5 and not chance
    why = f", no better than chance on {len(part)} images" if chance else ""
    remedy = "a head made of images (head), names that it knows (labels), " if head == "text" else ""
    alarm_if(not known, "nothing_to_forget", **target, why=why, remedy=remedy)
    alarm_if(known and last[TARGET] > 0.05 * original[TARGET], "not_forgotten", **target)
    changed = [TARGET] if known else []
    for name in columns:
        change = dict(column=name, before=original[name], after=last[name])
        alarm_if(last[name] < 0.9 * original[name], "over_forgetting", **change)
        alarm_if(last[name] > original[name] + 10, "learnt", **change)
        changed += [name] if not 0.9 * original[name] <= last[name] <= original[name] + 10 else []
    for name in (name for name in changed if name in shown):
        (low, high), (least, most) = (interval(hits(row, name), len(shown[name])) for row in (original, last))
        alarm_if(low <= most and least <= high, "few_images", column=name, n=len(shown[name]))
    if called:
        name, said, true = called
        alarm_if(said > (100 + true) / 2, "trivial", name=name, said=said, true=true)
    alarm_if(rank is not None and rank > 0.75 * classes, "absence", rank=rank, classes=classes)
    if PREVIOUS in table:
        change = dict(before=original[PREVIOUS], after=last[PREVIOUS])
        alarm_if(last[PREVIOUS] > original[PREVIOUS] + 2, "previous_returned", **change)
    for before, after in zip(table.iloc[1:].itertuples(), table.iloc[2:].itertuples()):
        change = dict(before=before.target, after=after.target, stage=after.model)
        alarm_if(after.target > before.target + 2, "target_returned", **change)
        if after.model == "remind":
            alarm_if(after.score < before.score - 2, "harm", before=before.score, after=after.score)
    return found
