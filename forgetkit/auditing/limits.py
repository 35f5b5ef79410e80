"""When a figure of an audit is an alarm: what the rules of `limits.toml` make of three models' figures.

A limit comes from the oracle where there is one, a model that never saw the target: no unlearned model needs to know
less than that. Without an oracle the limits are fixed, and every line says what its limit rests on.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SLACK = 5.0  # percentage points, or percent of the original's figure, above the oracle
ORACLE, CATS, GUESS = "this oracle", "the oracle of cats", "a guess"  # what a limit rests on
TABLE = tomllib.loads(Path(__file__).with_name("limits.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Line:
    """A line of the table; the fields stand in `limits.toml`."""

    unit: str
    means: str
    rule: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    rests_on: str = GUESS

    def limit(self, original: float, unlearned: float, oracle: float | None = None) -> tuple[str, bool]:
        """The limit in words, "" where there is none, and whether the unlearned model's figure is an alarm."""
        alone = oracle is None
        match self.rule:
            case {"share_of_original": share, "plus": points}:
                most = share * original + points if alone else oracle + (points or SLACK / 100 * original)
                return f"<= {most:.1f}", unlearned > most
            case {"low": low, "high": high}:  # of an AUROC; the original itself may lie below
                least, most = (low, high) if alone else (min(low, oracle - 0.05), max(high, oracle + 0.05))
                return f"{least:.2f} to {most:.2f}", unlearned < least <= original or unlearned > most
            case {"around_half": by}:  # where original or oracle are further away, it is the images
                most = max(by, abs(original - 0.5), 0.0 if alone else abs(oracle - 0.5))
                return f"{0.5 - most:.2f} to {0.5 + most:.2f}", abs(unlearned - 0.5) > most
            case {"share_of_oracles_steps": share} if not alone and math.isfinite(oracle):
                return f">= {share * oracle:g}", unlearned < share * oracle
        return "", False

    def limited_by(self, original: float, unlearned: float, oracle: float | None = None) -> str:
        """What the limit rests on: the oracle where it moves the limit, else what a fixed one was taken from."""
        limit, _ = self.limit(original, unlearned, oracle)
        moved = limit != self.limit(original, unlearned)[0]
        return "" if not limit else ORACLE if moved else self.rests_on


LINES = {name: Line(**row) for name, row in TABLE["lines"].items()}
