"""What all checks share: their register, `check`, and the assertions that know the usual wrong answers by name."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch

from forgetkit.lessons.committed import committed

CHECKS: dict[str, Callable] = {}
EMPTY = "there is no answer yet: replace the dots (a function must `return` something)."


def exercise(name: str):
    """Register a check under the exercise's name: a function of the answer that raises AssertionError with a hint."""
    return lambda function: CHECKS.setdefault(name, function)


def read(name: str) -> dict:
    """A .toml file of this folder."""
    return tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


def same(found, value, within: float = 0.0) -> bool:
    """Are these the same numbers, words or dicts of them, in lists or tensors of one shape?"""
    if isinstance(value, dict):
        keys = isinstance(found, dict) and found.keys() == value.keys()
        return keys and all(same(found[key], value[key], within) for key in value)
    try:
        found, value = (torch.as_tensor(x, dtype=torch.float64) for x in (found, value))
    except (TypeError, ValueError, RuntimeError):  # no numbers
        return found == value
    return found.shape == value.shape and torch.allclose(found, value, rtol=0, atol=within, equal_nan=True)


def _answering(function: Callable) -> Callable:
    """The reader's function, told apart from a stub that returns nothing, and from one that changes its arguments."""

    def call(*args):
        before = deepcopy(args)
        result = function(*args)
        assert result is not None and result is not ..., EMPTY
        for given, kept in zip(args, before):
            unchanged = not isinstance(given, (list, dict, np.ndarray, torch.Tensor)) or same(given, kept)
            assert unchanged, "you changed what the function was given in place: make a new one."
        return result

    return call


def check(name: str, answer) -> None:
    """Print whether the answer to exercise `name` (such as "03.1") holds; if it does not, what to look at.

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


def expect(found, right, hint: str, wrong: Iterable[tuple] = (), within: float = 1e-4) -> None:
    """Assert that a result is right (see `same`); wrong: results of usual mistakes, and the hint that names each."""
    for value, why in wrong:
        assert not same(found, value, within), why
    assert same(found, right, within), hint


def expect_most(name, found: Mapping[str, float], hint: str) -> None:
    """Assert that a name has the largest number; hint: with {0} for the name, {1} for all numbers, {2} for its own."""
    assert isinstance(name, str) and name in found, f"give one name out of {', '.join(found)}."
    measured = ", ".join(f"{name} {float(value):.1f}" for name, value in found.items())
    assert found[name] == max(found.values()), hint.format(name, measured, found[name])


def worth(recipe: str, column: str) -> dict[str, float]:
    """What is left of the target, or lacks to a Score of 100, without a part of the recipe, by part: a mean of rows."""
    rows = committed("benchmark")
    without = rows[rows["method"].str.startswith(f"{recipe} without ")]
    found = without.groupby(without["method"].str.removeprefix(f"{recipe} without "))[column].mean()
    return (100 - found if column == "score" else found).to_dict()


def expect_outcome(answer, names: Sequence[str], hint: str) -> None:
    """Assert that an answer is (prediction, what a run measured by name), and that the run had most of the predicted.

    names: what must have been measured, or () for any two; hint: as in `expect_most`
    """
    pair = isinstance(answer, (tuple, list)) and len(answer) == 2 and isinstance(answer[1], Mapping)
    assert pair, "give the pair (prediction, found), where found has a number by name."
    prediction, found = answer
    ran = set(found) == set(names) if names else len(found) > 1
    assert ran, f"run it first: found has a number for each of {', '.join(names or ['two names or more'])}."
    expect_most(prediction, found, hint)


def expect_names(answer, names: Mapping[str, str], right: Sequence[str]) -> None:
    """Assert that an answer is the set `right` of `names`, which have the reason why each is in or out."""
    is_set = isinstance(answer, (set, frozenset, list, tuple)) and set(answer) <= set(names)
    assert is_set, f"give a set of names out of {', '.join(names)}."
    for name, why in names.items():
        assert (name in answer) == (name in right), why


def tensors(given):
    """What cases.toml gives, lists as tensors, those of a dict, too."""
    if isinstance(given, dict):
        return {name: tensors(value) for name, value in given.items()}
    return torch.tensor(given) if isinstance(given, list) else given


def expect_cases(cases: Sequence[Mapping], answer) -> None:
    """Assert what cases.toml asks of an answer."""
    for case in cases:
        found, right, wrong = answer, case.get("right"), case.get("wrong", [])
        if "outcome" in case:
            expect_outcome(answer, case["outcome"], case["hint"])
        elif "names" in case:
            expect_names(answer, case["names"], right)
        elif "worth" in case:
            expect_most(answer, worth(*case["worth"]), case["hint"])
        else:
            if "given" in case:
                found = answer(*(tensors(x) if case.get("tensors") else deepcopy(x) for x in case["given"]))
            share = [(right / 100, "that is a share; wanted is percent.")] if case.get("percent") else []
            expect(found, right, case["hint"].format(found), [*share, *wrong], case.get("within", 1e-4))


CHECKS |= {name: partial(expect_cases, cases) for name, cases in read("cases.toml").items()}
