"""Checks of the exercises: what fails says what to look at. Solutions are in `notebooks/solutions`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from .subgroups import Subgroup

CHECKS: dict[str, Callable] = {}


def exercise(name: str):
    """Register a check: a function of the answer that raises AssertionError with a hint."""

    def register(function):
        CHECKS[name] = function
        return function

    return register


def check(name: str, answer) -> None:
    """Print whether the answer to exercise `name` (such as "02.1") holds; if it does not, what to look at."""
    if name not in CHECKS:
        raise ValueError(f"There is no exercise {name!r}. Choose one of: {', '.join(CHECKS)}.")
    try:
        assert answer is not None and answer is not ..., "there is no answer yet: replace the dots."
        CHECKS[name](answer)
    except AssertionError as hint:
        print(f"Exercise {name}, not yet: {hint}")
    except Exception as error:
        print(f"Exercise {name}, not yet: your code raised {type(error).__name__}: {error}")
    else:
        print(f"Exercise {name}: correct.")


# --------------------------------------------------------------------------------------------------
# 01 Subgroups


@exercise("01.1")
def _(subgroup):
    assert isinstance(subgroup, Subgroup), "make a `Subgroup(target, siblings)`."
    assert subgroup.target == "truck", f"the target is {subgroup.target!r}, wanted is 'truck'."
    assert isinstance(subgroup.siblings, tuple), 'siblings are a tuple; one of one name is written ("name",).'
    assert subgroup.siblings == ("automobile",), f"the only sibling is 'automobile', not {subgroup.siblings}."


@exercise("01.2")
def _(accuracy):
    head = torch.eye(3)
    z = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.9, 0.1, 0.1], [0.0, 0.2, 0.8]])
    labels = torch.tensor([0, 1, 1, 2])
    found = float(accuracy(z, head, labels))
    assert found != 0.75, "that is a share; wanted is percent."
    assert found == 75.0, f"three of these four images are right, 75 %, you get {found}: which text is *most* similar?"


@exercise("01.3")
def _(overlap):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    b = np.concatenate([a[4:], rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)])
    assert overlap(a, a[:0]) == 0, "an empty set shares nothing with any other."
    assert overlap(a, b) == 2, f"two images of `b` are also in `a`, you count {overlap(a, b)}; compare whole images."


@exercise("01.4")
def _(step):
    z = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0], [0.3, 1.0]]), dim=1)
    centres = step(z, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert centres is not None and tuple(centres.shape) == (2, 2), "return the centres, (n, D)."
    assert torch.allclose(centres.norm(dim=1), torch.ones(2), atol=1e-5), (
        "the centres left the sphere: divide each mean by its length."
    )
    wanted = F.normalize(torch.stack([z[:2].mean(0), z[2:].mean(0)]), dim=1)
    assert torch.allclose(centres, wanted, atol=1e-5), "every image goes to its *most similar* centre; then average."
