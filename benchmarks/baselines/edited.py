"""Baselines that edit weights in closed form: task vectors, and what is taken out of the embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from benchmarks.baselines.common import baseline, best_calibrated, classifying, train
from benchmarks.pretraining.captions import ANY_STYLE
from forgetkit.editing import edited_weights, last_layer, raw_embeddings, separating
from forgetkit.models import mini
from forgetkit.models.clip import Clip, ModelError
from forgetkit.models.prefix import n_frozen
from forgetkit.restoring import soup
from forgetkit.subgroups import ModelSets
from forgetkit.synthetic import abstract_images

STRENGTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


@baseline
def task_vector(
    clip: Clip, sets: ModelSets, *, lr=1e-5, steps=60, strengths=(0.25, 0.5, 1.0, 1.5, 2.0, 3.0), batch=64, seed=0
) -> Clip:
    """theta_0 - strength (theta_f - theta_0), with theta_f fine-tuned on D_f; the strength is chosen on D_m."""
    tuned = train(clip, classifying(sets, batch, seed, forget=1.0), steps, lr)
    return best_calibrated(clip, sets, (soup(tuned.model.visual, clip.model.visual, -s) for s in strengths))


def span(texts: torch.Tensor, sets: ModelSets, orthogonal: bool, rank: int | None = None) -> torch.Tensor:
    """An orthonormal basis (D, R) of texts (T, D), the directions most of them share first, at most `rank` of them.

    orthogonal: only of the part of the texts that no other class text spans, so that the other classes' logits stay.
    """
    directions = texts.T
    if orthogonal:
        basis = torch.linalg.qr(sets.head[[c for c in range(len(sets.head)) if c not in sets.labels]].T).Q
        directions = directions - basis @ (basis.T @ directions)
    found = torch.linalg.svd(directions, full_matrices=False)
    if found.S[0] < 1e-3:
        raise ModelError("The other class texts span all that the target's say: set orthogonal=False.")
    return found.U[:, found.S > 1e-3 * found.S[0]][:, :rank]


def best_edit(clip: Clip, sets: ModelSets, edits: Iterable[tuple[torch.Tensor, ...]]) -> Clip:
    """The model with the edit of its last layer, `edited_weights`' arguments, whose Score on D_m is the best."""
    count = n_frozen(clip.model.visual, [last_layer(clip.model.visual)])  # the last layer is all that an edit changes
    behind = {n: replace(part, images=clip.features(part.images, count)) for n, part in sets.calibration.items()}
    weights = (edited_weights(clip.model.visual, *edit) for edit in edits)
    return best_calibrated(clip, replace(sets, calibration=behind), weights)


@baseline
def projection(clip: Clip, sets: ModelSets, *, strengths=STRENGTHS, orthogonal=True, seed=0) -> Clip:
    """Remove the target's text direction v from every image embedding: z - strength v v^T z, in closed form.

    orthogonal: v is the part of the target's text that no other class text spans, so that their logits stay. The
    strength is chosen on D_m; nothing is drawn, so the seed does not matter. Raises ModelError where the image tower
    does not end in a projection known here.
    """
    v = span(sets.head[sets.forget.labels.unique()], sets, orthogonal)
    return best_edit(clip, sets, ((s * v @ v.T,) for s in strengths))


@baseline
def null_space(
    clip: Clip, sets: ModelSets, *, words: Sequence[str] | None = None, templates: Sequence[str] = ANY_STYLE, rank=1,
    strengths=STRENGTHS, orthogonal=False, seed=0,
) -> Clip:  # fmt: skip
    """`projection` for all words of the target at once: z - strength V V^T z, V (D, R) a basis of its texts.

    The texts are the target's own and those of its name and `words` under `templates`. words: its synonyms in
    mini-CLIP's vocabulary, unless given; rank: at most so many directions, those that most texts share.
    """
    target = sets.forget.labels.unique()
    names = [sets.classes[c] for c in target]
    names += [word for name in names for word in mini.synonyms(name)] if words is None else words
    texts = torch.cat([sets.head[target], *(clip.head(names, [template]) for template in templates)])
    v = span(texts, sets, orthogonal, rank)
    return best_edit(clip, sets, ((s * v @ v.T,) for s in strengths))


@baseline
def erasure(clip: Clip, sets: ModelSets, *, ridge=0.1, held=600, strengths=STRENGTHS, seed=0) -> Clip:
    """`projection` only so far as an image is of D_f's domain: z - strength v v^T m_f a^T (z - m_r), a by `separating`.

    v is the target's text direction as in `projection`, and D_r's mean m_r stays. (LEACE takes m_f - m_r itself away,
    which says nothing of a label.) held: so many abstractions of D_r stay, too. The strength is chosen on D_m.
    """
    forget, retain = (raw_embeddings(clip, part.images) for part in (sets.forget, sets.retain))
    drawn = torch.Generator().manual_seed(seed)
    further = raw_embeddings(clip, abstract_images(clip, sets.retain.images, held, drawn)) if held else None
    a, v = separating(forget, retain, ridge, further), span(sets.head[sets.labels], sets, orthogonal=True)
    removed = torch.outer(v @ (v.T @ forget.mean(0)), a)
    return best_edit(clip, sets, ((s * removed, s * removed @ retain.mean(0)) for s in strengths))
