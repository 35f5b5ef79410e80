"""The audit: every attack on the original, the unlearned model and, where there is one, the oracle."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from forgetkit.auditing import attacks, retraining
from forgetkit.auditing.attacks import Embedded, View
from forgetkit.auditing.estimates import Estimate, share
from forgetkit.auditing.limits import lines
from forgetkit.data.images import ImageSet, some
from forgetkit.evaluation import TARGET, predict, recognised
from forgetkit.models import ModelError, mini
from forgetkit.models.clip import Clip, Inputs, embed_each
from forgetkit.models.loading import load_clip, oracle_of
from forgetkit.models.saving import CARD, add_to_card
from forgetkit.subgroups import ModelSets, Splits, tutorial_sets

COLUMNS = (TARGET, "retain", "other")  # the set's own images; sets of other styles are not audited
# An attacker's ways to say a name, none of them a prompt of the tutorial's CIFAR-10.
TEMPLATES = (
    "{}", "a {}.", "the {}.", "a blurry photo of a {}.", "a close-up photo of the {}.", "a picture of one {}.",
    "a drawing of a {}.", "my {} at home.",
)  # fmt: skip
SHOWN, HELD = 200, 400  # test images of the target that relearning is watched on; the attacker's other images


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    table: a row a measure: `original`, `unlearned`, `oracle` (where given), the `low` and `high` end of the unlearned
           model's 95 % interval, `n`, `unit`, `chosen` (the word or template), `limit`, `alarm`, `limited_by` (what
           the limit rests on), `means`, `reason`
    rows:  a row a model and measure: `model`, `measure`, `value`, `low`, `high`, `n`, `unit`, `chosen`
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    seconds: float

    @property
    def alarms(self) -> list[str]:
        """A sentence for each line beyond its limit; none if all is well."""
        return [
            f"{row.measure}{f' ({row.chosen!r})' if row.chosen else ''}: {row.unlearned:.3g} {row.unit}".rstrip()
            + f", limit {row.limit} ({row.limited_by}): {row.reason}."
            for row in self.table.itertuples()
            if row.alarm
        ]


def audit(
    original: Clip, unlearned: Clip, sets: Splits | ModelSets, words: Sequence[str] | None = None,
    oracle: Clip | None = None, *, templates: Sequence[str] = TEMPLATES, budgets: Sequence[int] = (1, 5, 20),
    checks: Sequence[int] = retraining.CHECKS, most: int = 5000, seed: int = 0,
) -> Audit:  # fmt: skip
    """Attack the unlearned model, and the original and an oracle in the same way: is the target gone?

    sets:      those it was unlearned with, from `split` or `.on(clip)`; a head made there serves every model with the
               original's text tower
    words:     other names of the target; None: its synonyms in mini-CLIP's vocabulary. Where the original is mini-CLIP,
               all words that are not true of the target are tried, too
    oracle:    a model that never saw the target, with its own texts: what ignorance looks like
    templates: other prompts to say the name in
    budgets:   images of the target that relearning sees (those that validation has enough images for)
    checks:    steps of relearning after which the target's accuracy is measured
    most:      images a column, a random sample where there are more

    Raises ValueError where target images bear several labels, or the columns needed are missing; ModelError for models
    that preprocess images differently.
    """
    start = time.perf_counter()
    models = {"original": original, "unlearned": unlearned, **({"oracle": oracle} if oracle else {})}
    if any(preprocessing(model) != preprocessing(original) for model in models.values()):
        raise ModelError("The models preprocess images differently: audit models of one architecture.")
    sets = replace(sets, **{part: sample(getattr(sets, part), most, seed) for part in ("validation", "test")})
    labels = np.unique(sets.test[TARGET].labels)
    if len(labels) > 1:
        raise ValueError("The target's test images bear several labels: an audit asks for one name.")
    views = views_of(models, sets, int(labels[0]))
    by_text, chosen = on_texts(models, views, sets, words, templates)
    by_weight = on_weights(models, views, sets, budgets, checks, seed)
    figures = {name: on_embeddings(view) | by_text[name] | by_weight[name] for name, view in views.items()}
    return tabulated(figures, views["unlearned"], chosen, budgets, time.perf_counter() - start)


def audit_saved(
    folder: Path, target: str | None, kind: str, seed: int | None, words: Sequence[str] | None, original: str,
    oracle: str | None, device: str,
) -> Audit:  # fmt: skip
    """`audit` of what `clip.save` wrote to a folder, on the tutorial's sets; target and seed: its card's unless given.

    original, oracle: a name that `load_clip` knows, or a folder; oracle: None is mini-CLIP's, where there is one, ""
    is none. The folder's card gains the audit, where it has a card. Raises ValueError where the folder was made from
    other weights, or its card does not say what was forgotten.
    """

    def load(name: str | Path) -> Clip:
        return load_clip(f"local-dir:{name}" if Path(name).is_dir() else str(name), device=device)

    before, after = load(original), load(folder)
    source = [clip.record.get("source", {}).get("sha256") for clip in (before, after)]
    if None not in source and source[0] != source[1]:
        raise ValueError(
            f"{folder} was not made from {original!r}, whose weights have another SHA-256: use --original."
        )
    said = (after.record.get("subgroup") or {}).get("target")
    target = target or said
    if target is None:
        raise ValueError(f"The card of {folder} does not say what was forgotten: name it with --target.")
    before_that = after.record.get("previous_targets") or ()
    seed = (after.record.get("seed") or 0) if seed is None else seed
    sets = tutorial_sets(target, seed, kind, before, [name for name in before_that if name != target])
    oracle = oracle_of(target) if oracle is None and original == "mini" else oracle
    found = audit(before, after, sets, words, load(oracle) if oracle else None)
    if (Path(folder) / CARD).exists() and said in (None, target):  # what it says is of its last target
        add_to_card(folder, audit=found)
    return found


def preprocessing(clip: Clip) -> tuple:
    """What images become before the model sees them, to be compared: a saved folder has lists for tuples."""
    cfg = clip.model.visual.preprocess_cfg
    how = cfg.get("interpolation"), cfg.get("resize_mode", "shortest")
    return clip.image_shape, how, tuple(cfg["mean"]), tuple(cfg["std"])


def sample(columns: Mapping[str, ImageSet], most: int, seed: int) -> dict[str, ImageSet]:
    """The audit's columns with at most so many images each, shuffled: the first n are n random ones."""
    if missing := [name for name in COLUMNS[:2] if name not in columns]:
        raise ValueError(f"An audit needs the columns {' and '.join(missing)}, among: {', '.join(columns)}.")
    return some({name: columns[name] for name in COLUMNS if name in columns}, most, seed)


def embedded(clips: Sequence[Clip], columns: Mapping[str, ImageSet]) -> list[Embedded]:
    """The images of the set itself as each model sees them: read and preprocessed once for all."""
    columns = {name: columns[name] for name in COLUMNS if name in columns}
    seen = [embed_each(clips, part.images, progress=f"audit: {name}") for name, part in columns.items()]
    labels = torch.cat([torch.as_tensor(part.labels).cpu() for part in columns.values()])
    of = np.repeat([*columns], [len(part) for part in columns.values()])
    target, sibling = (torch.from_numpy(of == name) for name in COLUMNS[:2])
    return [Embedded(torch.cat(z).cpu(), labels, target, sibling) for z in zip(*seen)]


def views_of(models: Mapping[str, Clip], sets: Splits | ModelSets, label: int) -> dict[str, View]:
    """Every model's view of the sets, every image embedded once; with its own texts where it has others."""
    clips, found = [*models.values()], {}
    validation, test = (embedded(clips, part) for part in (sets.validation, sets.test))
    forget = embed_each(clips, sets.forget.images, progress="audit: forget")
    for i, (name, clip) in enumerate(models.items()):
        given = isinstance(sets, ModelSets) and same_texts(clip, models["original"])
        head = sets.head if given else clip.head(sets.classes, sets.prompts)
        own = validation[i], test[i], forget[i].cpu()
        found[name] = View(head.cpu().float(), label, clip.scale.item(), *own)
    return found


def same_texts(a: Clip, b: Clip) -> bool:
    """Do two models embed texts in the same way? All weights outside their image towers are equal."""
    one, other = ({n: t for n, t in c.model.state_dict().items() if not n.startswith("visual.")} for c in (a, b))
    return one.keys() == other.keys() and all(torch.equal(t, other[n].to(t.device)) for n, t in one.items())


def on_embeddings(view: View) -> dict[str, Estimate]:
    """The figures that need no further text and change no weight; the offset gives the name to 1 / C of the images."""
    b = attacks.offset(view, 1 / len(view.head))
    return {
        "target accuracy": attacks.target_accuracy(view),
        "offset": Estimate(b, np.nan, np.nan, len(view.validation.z)),
        "offset recall": attacks.offset_recall(view, b),
        "offset, other images": attacks.offset_rest(view, b),
        "AUROC, target against all": attacks.text_auroc(view),
        "AUROC, target against siblings": attacks.text_auroc(view, siblings=True),
        "20-NN recall": attacks.nearest_recall(view),
        "prototype recall": attacks.prototype_recall(view),
        "probe recall": attacks.probe_recall(view),
        **{f"text to image, {k}": v for k, v in attacks.text_to_image(view).items()},
        "least similar first, AP": attacks.text_to_image(view, least=True)["AP"],
        **{f"image to image, {k}": v for k, v in attacks.image_to_image(view).items()},
        "membership AUROC": attacks.membership(view),
        "entropy": attacks.entropy(view),
        "rank of the target's text": attacks.text_rank(view),
    }


def on_texts(
    models: Mapping[str, Clip], views: Mapping[str, View], sets: Splits | ModelSets,
    words: Sequence[str] | None, templates: Sequence[str],
) -> tuple[dict[str, dict[str, Estimate]], dict[str, str]]:  # fmt: skip
    """The figures of every model under other names and templates, and which word and template the attacker chose.

    The choice is made on validation images of the unlearned model; the others answer to the same text.
    """
    unlearned, view = models["unlearned"], views["unlearned"]
    name = sets.classes[view.label]
    names = [*(mini.synonyms(name) if words is None else words)]
    true = {*names, *sets.classes, *mini.truths(name)}
    others = [w for w in mini.words() if w not in true] if models["original"].is_mini else []
    chosen = {"synonyms": ", ".join(names)} if names else {}
    if others:
        best = attacks.best_text(view, unlearned.head(others, sets.prompts).cpu())
        chosen["other word"] = others[best]
    if templates:
        heads = torch.stack([unlearned.head(sets.classes, [template]).cpu() for template in templates])
        chosen["other template"] = templates[attacks.best_template(view, heads)]
    asked = {"synonyms": names, "other word": [chosen.get("other word")]}
    found: dict[str, dict[str, Estimate]] = {}
    for model, clip in models.items():
        texts = {measure: clip.head(asked[measure], sets.prompts).cpu() for measure in asked if measure in chosen}
        found[model] = {measure: attacks.named_by(views[model], text) for measure, text in texts.items()}
        if templates:
            head = clip.head(sets.classes, [chosen["other template"]]).cpu()
            found[model]["other template"] = attacks.target_accuracy(views[model], head)
    return found, chosen


def on_weights(
    models: Mapping[str, Clip], views: Mapping[str, View], sets: Splits | ModelSets,
    budgets: Sequence[int], checks: Sequence[int], seed: int,
) -> dict[str, dict[str, Estimate]]:  # fmt: skip
    """The figures of attacks that change weights: relearning, benign relearning, rounding."""
    original, target = models["original"], sets.test[TARGET]
    own = original.inputs(first(sets.validation[TARGET], max(budgets, default=1)))
    held = [original.inputs(first(part, HELD)) for name, part in sets.validation.items() if name != TARGET]
    siblings, others = held[0], joined(held)
    shown, kept = (original.inputs(first(sets.test[name], SHOWN)) for name in (TARGET, "retain"))
    known = recognised(original, shown, views["original"].head.to(original.device))
    found: dict[str, dict[str, Estimate]] = {name: {} for name in models}
    for name, clip in models.items():
        head = views[name].head.to(clip.device)
        for n in (n for n in budgets if n <= len(own)):
            levels, own_n = [0.5 * known, 0.8 * known], own.take(slice(n))
            steps = retraining.relearning(clip, head, own_n, others, shown, kept, levels, checks, seed)
            found[name] |= {f"relearning from {n}, {of}": e for of, e in zip(("to half", "to 80 %", "siblings"), steps)}
        benign = retraining.benign_relearning(clip, head, siblings, shown, checks[-1], seed)
        found[name]["benign relearning"] = benign
        for bits in ("bf16", "int8"):
            guess = predict(retraining.rounded(clip, bits), target.images, head, progress=f"audit: {bits}")
            found[name][f"rounded to {bits}"] = share(guess == torch.as_tensor(target.labels))
    return found


def first(part: ImageSet, n: int) -> ImageSet:
    """The first n images of a set, or all it has."""
    return part.take(range(min(n, len(part))))


def joined(parts: Sequence[Inputs]) -> Inputs:
    """The images of several sets of the same classes as one."""
    images, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    return replace(parts[0], images=images, labels=labels)


def tabulated(
    figures: Mapping[str, Mapping[str, Estimate]], view: View, chosen: Mapping[str, str], budgets: Sequence[int],
    seconds: float,
) -> Audit:  # fmt: skip
    """The figures by model and measure as an `Audit`, in the order of `limits.lines`."""
    prevalence = 100 * view.test.target.double().mean().item()
    table, rows = [], []
    for measure, line in lines(len(view.head), prevalence, tuple(budgets)).items():
        if measure not in figures["unlearned"]:
            continue
        found = {model: of[measure] for model, of in figures.items()}
        compared = [found[model].value if model in found else None for model in ("original", "unlearned", "oracle")]
        limit, alarm = line.rule(*compared)
        _, low, high, n = found["unlearned"]
        said = {"unit": line.unit, "chosen": chosen.get(measure, "")}
        table.append({
            "measure": measure, **{model: e.value for model, e in found.items()}, "low": low, "high": high, "n": n,
            **said, "limit": limit, "alarm": alarm, "limited_by": line.limited_by(*compared), "means": line.means,
            "reason": line.reason,
        })  # fmt: skip
        rows += [{"model": model, "measure": measure, **e._asdict(), **said} for model, e in found.items()]
    return Audit(pd.DataFrame(table), pd.DataFrame(rows), seconds)
