"""The audit: every attack on the original, the unlearned model and, where there is one, the oracle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from forgetkit.auditing import attacks, retraining
from forgetkit.auditing.attacks import View
from forgetkit.auditing.estimates import Estimate, share
from forgetkit.auditing.limits import LINES
from forgetkit.auditing.views import preprocessing, sample, views_of
from forgetkit.data.images import ImageSet
from forgetkit.data.tutorial import own_styles
from forgetkit.evaluation import TARGET, predict, recognised
from forgetkit.models import ModelError, mini, prefix
from forgetkit.models.clip import Clip, Inputs
from forgetkit.models.loading import load_clip, oracle_of
from forgetkit.models.saving import CARD, add_to_card, hashes
from forgetkit.subgroups import ModelSets, Splits, tutorial_sets

# An attacker's ways to say a name, none of them a prompt of the tutorial's CIFAR-10.
TEMPLATES = (
    "{}", "a {}.", "the {}.", "a blurry photo of a {}.", "a close-up photo of the {}.", "a picture of one {}.",
    "a drawing of a {}.", "my {} at home.",
)  # fmt: skip
SHOWN, HELD = 200, 400  # test images of the target that relearning is watched on; the attacker's other images
SHOTS = 5  # images of the target that relearning sees


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    table: a row a measure: each model's figure, the unlearned model's 95 % interval (`low`, `high`), `chosen` (the word
           or template), `limit`, `alarm`, `limited_by` (what the limit rests on), `means`, `reason`
    rows:  a row a model and measure, each with its interval
    images: whose they are, and what was not asked, in words
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    seconds: float
    images: str = ""

    @property
    def alarms(self) -> list[str]:
        """A sentence for each line beyond its limit; none if all is well."""
        return [
            f"{row.measure}{f' ({row.chosen!r})' if row.chosen else ''}: {row.unlearned:.3g} {row.unit}".rstrip()
            + f", limit {row.limit} ({row.limited_by}): {row.reason}."
            for row in self.table[self.table["alarm"]].itertuples()
        ]


def audit(
    original: Clip, unlearned: Clip, sets: Splits | ModelSets, words: Sequence[str] | None = None,
    oracle: Clip | None = None, *, checks: Sequence[int] = retraining.CHECKS, styles: Mapping[str, ImageSet] = {},
) -> Audit:  # fmt: skip
    """Attack the unlearned model, and the original and an oracle in the same way: is the target gone?

    sets:   those it was unlearned with; a head made by `.on(clip)` serves every model with the original's text tower
    words:  other names of the target; None: its synonyms in mini-CLIP's vocabulary. Of mini-CLIP, all words that are
            not true of the target are tried, too
    oracle: a model that never saw the target, with its own texts
    checks: steps of relearning after which the target's accuracy is measured
    styles: images of the target in other styles, by style (`data.tutorial.own_styles`)

    Raises ValueError where target images have several labels, or the columns needed are missing; ModelError for models
    that preprocess images differently.
    """
    return audits(original, {"it": unlearned}, sets, words, oracle, checks=checks, styles=styles)["it"]


def audits(
    original: Clip, unlearned: Mapping[str, Clip], sets: Splits | ModelSets, words: Sequence[str] | None = None,
    oracle: Clip | None = None, *, checks: Sequence[int] = retraining.CHECKS, styles: Mapping[str, ImageSet] = {},
) -> dict[str, Audit]:  # fmt: skip
    """`audit` of several unlearned models, by name: original and oracle are attacked once for all."""
    start = time.perf_counter()
    beside = {"original": original, **({"oracle": oracle} if oracle else {})}
    models = {id(clip.model): clip for clip in (*beside.values(), *unlearned.values())}  # some may be both
    if any(preprocessing(clip) != preprocessing(original) for clip in models.values()):
        raise ModelError("The models preprocess images differently: audit models of one architecture.")
    sets = replace(sets, **{part: sample(getattr(sets, part)) for part in ("validation", "test")})
    labels = np.unique(sets.test[TARGET].labels)
    if len(labels) > 1:
        raise ValueError("The target's test images have several labels: an audit asks for one name.")
    views = views_of(models, sets, int(labels[0]))
    figures = on_weights(original, models, views, sets, checks)
    worded = (sets.classes, sets.prompts) not in original.heads
    for key, clip in models.items():
        figures[key] |= on_embeddings(views[key]) | on_styles(clip, styles)
        figures[key] |= on_prompt(clip, views[key], sets.prompts[-1]) if worded else {}
    images = f"{sets.test[TARGET].name}, {', '.join(f'{len(part)} {name}' for name, part in sets.test.items())}"
    images += "" if worded else "; the head is made of images: there are no other words to ask with"
    seconds, found = (time.perf_counter() - start) / len(unlearned), {}
    for name, clip in unlearned.items():
        compared = {"original": original, "unlearned": clip} | beside
        seen = {role: views[id(one.model)] for role, one in compared.items()}
        own, chosen = on_texts(compared, seen, sets, words) if worded else ({}, {})
        every = {role: figures[id(one.model)] | own.get(role, {}) for role, one in compared.items()}
        found[name] = tabulated(every, chosen, images, seconds)
    return found


def audit_saved(
    folder: Path, target: str | None, kind: str | None, seed: int | None, words: Sequence[str] | None, original: str,
    oracle: str | None, device: str, own: Callable[[Clip, Clip, str, int], tuple[Clip, Splits]] | None = None,
) -> Audit:  # fmt: skip
    """`audit` of what `clip.save` wrote to a folder; target, kind and seed: its card's unless given.

    own: makes original and sets of one's own pictures (`lessons.own.again`); without, they are the tutorial's.
    original, oracle: a name that `load_clip` knows, or a folder; oracle: None is mini-CLIP's, "" is none. The folder's
    card gains the audit. Raises ValueError where it says other weights or images, or not what was forgotten.
    """
    load = lambda name: load_clip(f"local-dir:{name}" if Path(name).is_dir() else str(name), device=device)
    before, after = load(original), load(folder)
    source = [clip.record.get("source", {}).get("sha256") for clip in (before, after)]
    if None not in source and source[0] != source[1]:
        raise ValueError(f"{folder} was made from weights of another SHA-256 than {original!r}: use --original.")
    said = (after.record.get("subgroup") or {}).get("target")
    if (target := target or said) is None:
        raise ValueError(f"The card of {folder} does not say what was forgotten: name it with --target.")
    seed = (after.record.get("seed") or 0) if seed is None else seed
    if own:
        before, sets = own(after, before, target, seed)
    else:
        gone = [name for name in after.record.get("previous_targets") or () if name != target]
        kind, drawn = kind or after.record.get("kind") or "class", after.record.get("sets") or {}
        sizes = {f"n_{name}": drawn[name]["images"] for name in ("forget", "retain") if name in drawn}
        sets = tutorial_sets(target, seed, kind, before, gone, **sizes)
    styles = own_styles(target) if not own and kind == "class" else {}
    sets = sets.on(before)
    check_images(folder, after.record, sets)
    oracle = oracle_of(target) if oracle is None and original == "mini" and not own else oracle
    found = audit(before, after, sets, words, load(oracle) if oracle else None, styles=styles)
    if (Path(folder) / CARD).exists() and said in (None, target):  # what it says is of its last target
        add_to_card(folder, audit=found)
    return found


def check_images(folder: Path, record: Mapping, sets: ModelSets) -> None:
    """Raise ValueError where a card names other classes, or images of another hash, than the sets have."""
    where = f"{folder} was made with other images than those of {sets.test[TARGET].name}"
    advice = "name your own pictures with --data-dir, as in the run, or its --kind and --seed."
    classes, said = record.get("classes"), record.get("sets") or {}
    if classes is not None and [*classes] != [*sets.classes]:
        raise ValueError(f"{where}: its classes are {', '.join(classes)}; {advice}")
    now = hashes(sets) if said else {}
    few = lambda name: name.startswith("test") and said[name]["images"] < now.get(name, said[name])["images"]  # n_test
    if other := [name for name, one in said.items() if now.get(name) != one and not few(name)]:
        raise ValueError(f"{where}: its card has another SHA-256 of {', '.join(other)}; {advice}")


def on_embeddings(view: View) -> dict[str, Estimate]:
    """The figures that need no further text and change no weight; the offset gives the name to 1 / C of the images."""
    b = attacks.offset(view, 1 / len(view.head))
    return {
        "target accuracy": attacks.target_accuracy(view),
        "offset": Estimate(b, np.nan, np.nan, len(view.validation.z)),
        "offset recall": attacks.offset_recall(view, b),
        "offset, other images": attacks.rest_accuracy(view, b),
        "AUROC, target against all": attacks.text_auroc(view),
        "AUROC, target against siblings": attacks.text_auroc(view, siblings=True),
        "prototype recall": attacks.prototype_recall(view),
        **{f"{k} recall": v for k, v in attacks.by_probes(view).items()},
        **({f"{k} beneath": v for k, v in attacks.by_probes(view.beneath).items()} if view.beneath else {}),
        **{f"text to image, {k}": v for k, v in attacks.text_to_image(view).items()},
        "membership AUROC": attacks.membership(view),
    }


def on_styles(clip: Clip, styles: Mapping[str, ImageSet]) -> dict[str, Estimate]:
    """Percent of the target's images of each other style that are called by one of their names there."""
    found = {}
    for style, part in styles.items():
        guess = predict(clip, part.images, clip.head(part.classes, part.prompts))
        found[f"{style} named"] = share(torch.isin(guess, torch.from_numpy(np.unique(part.labels))))
    return found


def on_prompt(clip: Clip, view: View, prompt: str) -> dict[str, Estimate]:
    """The figures of words that are learnt from a few images; {} for a text tower that is not known."""
    if (learnt := retraining.soft_prompt(clip, view.few(attacks.FEW), prompt)) is None:
        return {}
    told = replace(view, head=view.head.index_copy(0, torch.tensor([view.label]), learnt[None]))
    return {"soft prompt": attacks.target_accuracy(told), "soft prompt, other images": attacks.rest_accuracy(told)}


def on_texts(
    models: Mapping[str, Clip], views: Mapping[str, View], sets: Splits | ModelSets, words: Sequence[str] | None
) -> tuple[dict[str, dict[str, Estimate]], dict[str, str]]:
    """The figures of every model under other names and templates; and those chosen, on the unlearned's validation."""
    unlearned, view = models["unlearned"], views["unlearned"]
    name = sets.classes[view.label]
    names = [*(mini.synonyms(name) if words is None else words)]
    true = {*names, *sets.classes, *mini.truths(name)}
    others = [w for w in mini.words() if w not in true] if models["original"].is_mini else []
    asked = {"synonyms": names} if names else {}
    if others:
        asked["other word"] = [others[attacks.best_text(view, unlearned.head(others, sets.prompts).cpu())]]
    heads = torch.stack([unlearned.head(sets.classes, [template]).cpu() for template in TEMPLATES])
    template = TEMPLATES[attacks.best_template(view, heads)]
    found: dict[str, dict[str, Estimate]] = {}
    for model, clip in models.items():
        texts = {measure: clip.head(said, sets.prompts).cpu() for measure, said in asked.items()}
        found[model] = {measure: attacks.named_by(views[model], text) for measure, text in texts.items()}
        other = replace(views[model], head=clip.head(sets.classes, [template]).cpu())
        found[model]["other template"] = attacks.target_accuracy(other)
    return found, {measure: ", ".join(said) for measure, said in asked.items()} | {"other template": template}


def on_weights(
    original: Clip, models: Mapping[int, Clip], views: Mapping[int, View], sets: Splits | ModelSets,
    checks: Sequence[int],
) -> dict[int, dict[str, Estimate]]:  # fmt: skip
    """The figures of attacks that change weights or statistics: statistics anew, relearning, rounding."""
    own = original.inputs(first(sets.validation[TARGET], SHOTS))
    held = [original.inputs(first(part, HELD)) for name, part in sets.validation.items() if name != TARGET]
    siblings, others = held[0], joined(held)
    shown, kept = (original.inputs(first(sets.test[name], SHOWN)) for name in (TARGET, "retain"))
    named, *rest = (original.inputs(part if name == TARGET else first(part, HELD)) for name, part in sets.test.items())
    known = recognised(original, shown, views[id(original.model)].head.to(original.device))
    found = {}
    for key, clip in models.items():
        head = views[key].head.to(clip.device)
        found[key] = retraining.by_statistics(clip, others.images, head, named, joined(rest))
        parts = (own, others, shown, kept)
        runs = {f"relearning from {SHOTS}": parts} if len(own) == SHOTS else {}
        if prefix.n_frozen(clip.model.visual, ()):
            runs["relearning of the last block"] = tuple(retraining.before_last(clip, part) for part in parts)
        for run, parts in runs.items():
            steps = retraining.relearning(clip, head, *parts, (0.5 * known, 0.8 * known), checks)
            found[key] |= {f"{run}, {of}": e for of, e in zip(("to half", "to 80 %", "siblings"), steps)}
        found[key]["benign relearning"] = retraining.benign_relearning(clip, head, siblings, shown, checks[-1])
        found[key]["rounded to int8"] = retraining.named(retraining.rounded(clip), named, head)
    return found


def first(part: ImageSet, n: int) -> ImageSet:
    """The first n images of a set, or all it has."""
    return part.take(range(min(n, len(part))))


def joined(parts: Sequence[Inputs]) -> Inputs:
    """The images of several sets of the same classes as one."""
    images, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    return replace(parts[0], images=images, labels=labels)


def tabulated(
    figures: Mapping[str, Mapping[str, Estimate]], chosen: Mapping[str, str], images: str, seconds: float
) -> Audit:
    """The figures by model (original, unlearned, oracle) and measure as an `Audit`, in the order of `limits.LINES`."""
    table, rows = [], []
    for measure in (measure for measure in LINES if measure in figures["unlearned"]):
        line, found = LINES[measure], {model: of[measure] for model, of in figures.items()}
        values, (_, low, high, n) = {model: e.value for model, e in found.items()}, found["unlearned"]
        limit, alarm = line.limit(*values.values())
        said = {"unit": line.unit, "chosen": chosen.get(measure, "")}
        table.append({
            "measure": measure, **values, "low": low, "high": high, "n": n, **said, "limit": limit, "alarm": alarm,
            "limited_by": line.limited_by(*values.values()), "means": line.means, "reason": line.reason,
        })  # fmt: skip
        rows += [{"model": model, "measure": measure, **e._asdict(), **said} for model, e in found.items()]
    return Audit(pd.DataFrame(table), pd.DataFrame(rows), seconds, images)
