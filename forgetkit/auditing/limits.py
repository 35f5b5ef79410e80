"""What each line of an audit means, and when it is an alarm: a limit with its reason.

A limit comes from the oracle where there is one, a model that never saw the target: knowledge of other things makes up
for a part of it, and no unlearned model needs to know less than that. Without an oracle the limits are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

SLACK = 5.0  # percentage points, or percent of the original's figure, above the oracle
Rule = Callable[[float, float, float | None], tuple[str, bool]]  # (original, unlearned, oracle) -> limit, alarm


def none(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
    """No limit."""
    return "", False


@dataclass(frozen=True)
class Line:
    """unit: of the figures; means: what the line asks; rule and reason: its limit, and why."""

    unit: str
    means: str
    rule: Rule = none
    reason: str = ""


def share_of_original(most: float) -> Rule:
    """At most this share of the original's figure; with an oracle, the oracle's and a twentieth of the original's."""

    def rule(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
        limit = most * original if oracle is None else oracle + SLACK / 100 * original
        return f"<= {limit:.1f}", unlearned > limit

    return rule


def at_most(points: float = SLACK, above_original: bool = False) -> Rule:
    """At most so many percent; or so many points above the oracle's and, where asked for, the original's figure."""

    def rule(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
        known = [0.0 if oracle is None else oracle, original if above_original and oracle is None else 0.0]
        limit = points + max(known)
        return f"<= {limit:.1f}", unlearned > limit

    return rule


def auroc_between(low: float = 0.4, high: float = 0.85) -> Rule:
    """Not below `low`, unless the original is, nor above `high`; with an oracle, at least .05 beyond its AUROC."""

    def rule(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
        least, most = (low, high) if oracle is None else (min(low, oracle - 0.05), max(high, oracle + 0.05))
        return f"{least:.2f} to {most:.2f}", unlearned < least <= original or unlearned > most

    return rule


def inside(low: float, high: float) -> Rule:
    """Within fixed limits."""
    return lambda original, unlearned, oracle: (f"{low:.2f} to {high:.2f}", not low <= unlearned <= high)


def below(limit: float, digits: int = 1) -> Rule:
    """At most `limit`, or the oracle's figure where that is higher, unless the original is above it, too."""

    def rule(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
        most = limit if oracle is None else max(limit, oracle)
        return f"<= {most:.{digits}f}", unlearned > most >= original

    return rule


def half_the_oracles_steps(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
    """At least half the steps that the oracle needs; nothing without an oracle."""
    if oracle is None or math.isinf(oracle):
        return "", False
    return f">= {oracle / 2:g}", unlearned < oracle / 2


def lines(classes: int, prevalence: float, budgets: tuple[int, ...]) -> dict[str, Line]:
    """Every line of the table by name. classes: C; prevalence: percent of the test images that are the target's."""
    ignorant = "a model that never saw the target has this share of the original's figure; fixed without an oracle"
    named = "a model that forgot gives the name to few images; an oracle that still does is allowed for"
    found = {
        "target accuracy": Line("%", "How many of the target's images get its name?", at_most(), named),
        "offset": Line("logits", "The number that was added to the target's logit, set without labels."),
        "offset recall": Line(
            "%", "How many get it once that number is added?", share_of_original(0.75),
            "more, and the name was lowered by a threshold rather than forgotten: " + ignorant,
        ),
        "offset, other images": Line("%", "Accuracy on all other images under this offset: what the attack costs."),
        "AUROC, target against all": Line(
            "", "Does similarity to the target's text still sort its images, up (near 1) or down (near 0)?",
            auroc_between(), "below .4 the sign is flipped, and the least similar images are the target's",
        ),
        "AUROC, target against siblings": Line(
            "", "The same among the target and its siblings alone.",
            auroc_between(), "below .4 the sign is flipped, and the least similar images are the target's",
        ),
        "synonyms": Line("%", "How many are claimed by one of the target's other names?", at_most(), named),
        "other word": Line(
            "%", "How many are claimed by the word that finds them best in the unlearned model?",
            at_most(above_original=True),
            "more than by the same word before: the target was renamed",
        ),
        "other template": Line("%", "How many get the name under the template that helps most?", at_most(), named),
        "20-NN recall": Line(
            "%", "Are their nearest neighbours the target's?", share_of_original(0.7), "they lie together: " + ignorant
        ),
        "prototype recall": Line(
            "%", "Is the target's mean embedding the nearest?", share_of_original(0.85),
            "they lie around one point: " + ignorant,
        ),
        "probe recall": Line(
            "%", "Does a linear probe find them?", share_of_original(0.9),
            "they can be separated by a plane: " + ignorant,
        ),
        "text to image, recall at R": Line(
            "%", "How many of the R images most similar to the target's text are the target's, R being their number?",
            share_of_original(0.75), "the text still finds them: " + ignorant,
        ),
        "text to image, AP": Line(
            "%", "The same at every rank.", share_of_original(0.75), "the text still finds them: " + ignorant
        ),
        "least similar first, AP": Line(
            "%", "Does sorting by *least* similar find them?", below(2 * prevalence),
            f"chance is {prevalence:.1f}; twice as much, and the text finds them from the wrong end",
        ),
        "image to image, R@1": Line("%", "Is the image most similar to one of the target also the target's?",
            share_of_original(0.85), "an image still finds them: " + ignorant),
        "image to image, R@10": Line("%", "Is one of the ten most similar? Chance is high where the target is common."),
        "image to image, mAP": Line("%", "Does an image of the target find all others?",
            share_of_original(0.75), "an image still finds them: " + ignorant),
        "membership AUROC": Line(
            "", "Does D_f stand out from unseen images of the target, by a higher loss (below .5) or a lower one?",
            inside(0.45, 0.55), "outside, one can tell which images were to be forgotten",
        ),
        "entropy": Line(
            "nats", "How undecided is the model about the target's images? At most log C.",
            below(0.9 * math.log(classes), 2), "near log C nothing is recognised in them any more: damage",
        ),
        "rank of the target's text": Line(
            f"of {classes}", "Where does it stand on its own images? In the middle, if nothing is known.",
            below(0.75 * classes), "at the end of the list its absence gives it away",
        ),
        "benign relearning": Line(
            "%", "How many get the name after fine-tuning on siblings alone?", at_most(),
            "the target comes back without one image of it",
        ),
    }  # fmt: skip
    for n in budgets:
        for level in ("half", "80 %"):
            found[f"relearning from {n}, to {level}"] = Line(
                "steps", f"Steps with {n} images of the target until {level} of the original's accuracy is back.",
                half_the_oracles_steps, "sooner than a model that never saw the target: it was still in the weights",
            )  # fmt: skip
    for bits in ("bf16", "int8"):
        found[f"rounded to {bits}"] = Line(
            "%", f"How many get the name when weights are {bits}?", at_most(), "rounding brings the target back"
        )
    return found
