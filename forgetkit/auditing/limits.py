"""When a figure of an audit is an alarm: the rules of the limits, which `limits.toml` gives each line with its numbers.

A limit comes from the oracle where there is one, a model that never saw the target: no unlearned model needs to know
less than that. Without an oracle the limits are fixed, and every line says what its limit rests on. A rule turns the
figures of three models, (original, unlearned, oracle or None), into the limit in words and whether it is an alarm.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

SLACK = 5.0  # percentage points, or percent of the original's figure, above the oracle
ORACLE, CATS, GUESS = "this oracle", "the oracle of cats", "a guess"  # what a limit rests on
TABLE = tomllib.loads(Path(__file__).with_name("limits.toml").read_text(encoding="utf-8"))
Rule = Callable[[float, float, float | None], tuple[str, bool]]


def none(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
    """No limit."""
    return "", False


def share_of_original(original: float, unlearned: float, oracle: float | None, most: float) -> tuple[str, bool]:
    """At most this share of the original's figure; with an oracle, the oracle's and a twentieth of the original's."""
    limit = most * original if oracle is None else oracle + SLACK / 100 * original
    return f"<= {limit:.1f}", unlearned > limit


def at_most(
    original: float, unlearned: float, oracle: float | None, points: float, above_original: bool = False
) -> tuple[str, bool]:
    """At most so many percent; or so many points above the oracle's and, where asked for, the original's figure."""
    limit = points + (oracle or 0.0)
    if above_original and oracle is None:
        limit = points + original
    return f"<= {limit:.1f}", unlearned > limit


def auroc_between(original: float, unlearned: float, oracle: float | None, low: float, high: float) -> tuple[str, bool]:
    """Not below `low`, unless the original is, nor above `high`; with an oracle, at least .05 beyond its AUROC."""
    least, most = (low, high) if oracle is None else (min(low, oracle - 0.05), max(high, oracle + 0.05))
    return f"{least:.2f} to {most:.2f}", unlearned < least <= original or unlearned > most


def near_half(original: float, unlearned: float, oracle: float | None, by: float) -> tuple[str, bool]:
    """Within .5 - by and .5 + by, unless the original or the oracle is as far away: then it is the images."""
    most = max(by, abs(original - 0.5), abs((0.5 if oracle is None else oracle) - 0.5))
    return f"{0.5 - most:.2f} to {0.5 + most:.2f}", abs(unlearned - 0.5) > most


def half_the_oracles_steps(original: float, unlearned: float, oracle: float | None) -> tuple[str, bool]:
    """At least half the steps that the oracle needs; nothing without an oracle."""
    if oracle is None or math.isinf(oracle):
        return "", False
    return f">= {oracle / 2:g}", unlearned < oracle / 2


@dataclass(frozen=True)
class Line:
    """A line of the table; the fields stand in `limits.toml`."""

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


def lines() -> dict[str, Line]:
    """Every line of the table by name."""
    found = {}
    for name, row in TABLE["lines"].items():
        numbers = {**row.get("rule", {"name": "none"})}
        rule = globals()[numbers.pop("name")]
        found[name] = Line(**{**row, "rule": partial(rule, **numbers) if numbers else rule})
    return found
