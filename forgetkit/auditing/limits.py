"""What each line of an audit means, and when it is an alarm: a limit with its reason.

A limit comes from the oracle where there is one, a model that never saw the target: knowledge of other things makes up
for a part of it, and no unlearned model needs to know less than that. Without an oracle the limits are fixed, and every
line says what its limit rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

SLACK = 5.0  # percentage points, or percent of the original's figure, above the oracle
ORACLE, CATS, GUESS = "this oracle", "the oracle of cats", "a guess"  # what a limit rests on
Rule = Callable[[float, float, float | None], tuple[str, bool]]  # (original, unlearned, oracle) -> limit, alarm


def none(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
    """No limit."""
    return "", False


@dataclass(frozen=True)
class Line:
    """unit: of the figures; means: what the line asks; rule and reason: its limit, and why.

    rests_on: what a limit without an oracle was taken from. The oracle of cats is mini-CLIP's: docs/results/audit.csv
    has its figures, and such limits lie a twentieth of the original's figure above them.
    """

    unit: str
    means: str
    rule: Rule = none
    reason: str = ""
    rests_on: str = GUESS

    def limited_by(self, original: float, unlearned: float, oracle: float | None) -> str:
        """What the limit rests on: the oracle where it moves the limit, else what a fixed one was taken from."""
        limit, _ = self.rule(original, unlearned, oracle)
        moved = oracle is not None and limit != self.rule(original, unlearned, None)[0]
        return "" if not limit else ORACLE if moved else self.rests_on


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


def near_half(by: float = 0.05) -> Rule:
    """Within .5 - by and .5 + by, unless the original or the oracle is as far away: then it is the images."""

    def rule(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
        most = max(by, abs(original - 0.5), abs((0.5 if oracle is None else oracle) - 0.5))
        return f"{0.5 - most:.2f} to {0.5 + most:.2f}", abs(unlearned - 0.5) > most

    return rule


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
    flipped = "below, the sign is flipped and the least similar images are the target's; above, the text finds them"
    found = {
        "target accuracy": Line("%", "How many of the target's images get its name?", at_most(), "not forgotten"),
        "offset": Line("logits", "What was added to the target's logit, set without labels."),
        "offset recall": Line(
            "%", "How many get the name once that is added?", share_of_original(0.29),
            "the name was lowered below a threshold, not forgotten", CATS,
        ),
        "offset, other images": Line("%", "Accuracy on all other images under this offset: what the attack costs."),
        "AUROC, target against all": Line(
            "", "Does similarity to the target's text sort its images to one end, up (1) or down (0)?",
            auroc_between(), flipped,
        ),
        "AUROC, target against siblings": Line("", "The same among target and siblings.", auroc_between(), flipped),
        "synonyms": Line(
            "%", "How many are claimed by at least one of the target's other names?", at_most(),
            "the target goes by another of its names",
        ),
        "other word": Line(
            "%", "How many does that word claim which finds them best in the unlearned model, and is not true of them?",
            at_most(above_original=True), "the target was renamed: the word claimed fewer before",
        ),
        "other template": Line(
            "%", "How many get the name under the template that helps most?", at_most(),
            "forgotten under the prompts of the sets alone",
        ),
        "20-NN recall": Line(
            "%", "Are most of their nearest neighbours the target's?", share_of_original(0.67), "they lie together",
            CATS,
        ),
        "prototype recall": Line(
            "%", "Is the target's mean embedding the nearest mean?", share_of_original(0.56),
            "they lie around a point", CATS,
        ),
        "probe recall": Line(
            "%", "Does a linear probe find them?", share_of_original(0.7), "a plane separates them", CATS
        ),
        "text to image, recall at R": Line(
            "%", "Which share of the R images most similar to the target's text is the target's, R being their number?",
            share_of_original(0.12), "the text still retrieves them", CATS,
        ),
        "text to image, AP": Line(
            "%", "The same at every rank: average precision.", share_of_original(0.16), "the text still retrieves them",
            CATS,
        ),
        "least similar first, AP": Line(
            "%", "Does sorting by *least* similar find them?", below(2 * prevalence),
            f"chance is {prevalence:.1f}: the text finds them from the wrong end",
        ),
        "image to image, R@1": Line(
            "%", "Is the image most similar to one of the target also the target's?", share_of_original(0.63),
            "an image still retrieves them", CATS,
        ),
        "image to image, R@10": Line("%", "Is one of the ten most similar? Chance is high where the target is common."),
        "image to image, mAP": Line(
            "%", "Does an image of the target find all others?", share_of_original(0.52),
            "an image still retrieves them", CATS,
        ),
        "membership AUROC": Line(
            "", "Does D_f stand out from unseen images of the target, by a higher loss (below .5) or a lower (above)?",
            near_half(), "one can tell which images were to be forgotten",
        ),
        "entropy": Line(
            "nats", "How undecided is the model about the target's images? At most log C.",
            below(0.9 * math.log(classes), 2), "nothing is recognised in them any more: damage",
        ),
        "rank of the target's text": Line(
            f"of {classes}", "Where does it stand on the target's images? In the middle, if nothing is known.",
            below(0.75 * classes), "its absence gives the target away",
        ),
        "benign relearning": Line(
            "%", "How many get the name after fine-tuning on siblings alone?", at_most(),
            "it comes back without one image of it",
        ),
        "rounded to bf16": Line("%", "How many get the name with bf16 weights?", at_most(), "rounding brings it back"),
        "rounded to int8": Line("%", "How many get the name with int8 weights?", at_most(), "rounding brings it back"),
    }  # fmt: skip
    for n in budgets:
        for level in ("half", "80 %"):
            found[f"relearning from {n}, to {level}"] = Line(
                "steps", f"Steps with {n} images of the target until {level} of the original's accuracy is back.",
                half_the_oracles_steps, "sooner than without ever having seen it: it was still in the weights",
            )  # fmt: skip
        found[f"relearning from {n}, siblings"] = Line("%", "Accuracy on siblings then: what the attack costs.")
    return found
