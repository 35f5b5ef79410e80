"""What all checks share: their register, `check`, and `expect`, which knows the usual wrong answers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

CHECKS: dict[str, Callable] = {}
EMPTY = "there is no answer yet: replace the dots (a function must `return` something)."
SHARE = "that is a share; wanted is percent."


def exercise(name: str):
    """Register a check under the exercise's name: a function of the answer that raises AssertionError with a hint."""

    def register(function):
        CHECKS[name] = function
        return function

    return register


def _answering(function: Callable) -> Callable:
    """The reader's function, told apart from a stub that returns nothing."""

    def call(*args):
        result = function(*args)
        assert result is not None and result is not ..., EMPTY
        return result

    return call


def check(name: str, answer) -> None:
    """Print whether the answer to exercise `name` (such as "02.1") holds; if it does not, what to look at.

    Raises ValueError where there is no such exercise.
    """
    if name not in CHECKS:
        raise ValueError(f"There is no exercise {name!r}. Choose one of: {', '.join(sorted(CHECKS))}.")
    try:
        assert answer is not None and answer is not ..., EMPTY
        CHECKS[name](_answering(answer) if callable(answer) else answer)
    except AssertionError as hint:
        print(f"Exercise {name}, not yet: {hint}")
    except Exception as error:
        print(f"Exercise {name}, not yet: your code raised {type(error).__name__}: {error}")
    else:
        print(f"Exercise {name}: correct.")


def expect(found, right: float, hint: str, wrong: Mapping[float, str] = {}, within: float = 1e-4) -> None:
    """Assert that a number is right, or else raise AssertionError with a hint.

    wrong: what one gets by a usual mistake, and the hint that names the mistake; `hint` is for all other values
    """
    for value, why in wrong.items():
        assert not abs(float(found) - float(value)) <= within, why
    assert abs(float(found) - float(right)) <= within, hint


def expect_choice(choice, found: pd.Series, right: str, hint: str) -> None:
    """Assert that a choice among the index of `found` is the right one; hint: with {} for the choice and its value."""
    assert isinstance(choice, str) and choice in found, f"give one name out of {', '.join(found.index)}."
    assert choice == right, hint.format(choice, found[choice])
