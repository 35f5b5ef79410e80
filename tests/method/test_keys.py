"""Keys: what the code of a method is, and that of a user's own pieces."""

import functools
import importlib
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_data import random_clip

from forgetkit import Subgroup, keys
from forgetkit.keys import NoKey, key
from forgetkit.reminding import reminding_terms

BARE = "def f(x):\n    return x + 1\n"
WORDS = '"""A module."""\n\n\ndef f(x):  # adds\n    """One more."""\n    return (\n        x + 1\n    )\n'


def test_code_of_the_method_counts_and_words_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "HERE", tmp_path)
    found = []
    for text in (BARE, WORDS, BARE.replace("1", "2")):
        (tmp_path / "forgetting.py").write_text(text)
        found.append(key("x"))
    assert found[0] == found[1] != found[2]


CELL = """
import numpy as np
from forgetkit.reminding import reminding_terms
FACTOR = {factor}
def scaled(values, by={default}):
    return {{name: FACTOR * by * value + {constant} for name, value in values.items()}}
def terms(*args):
    return scaled(reminding_terms(*args))
class Terms:
    def __init__(self, weight):
        self.weight = weight
    def __call__(self, *args):
        return scaled(reminding_terms(*args), self.weight)
def made(weight):
    return lambda *args: scaled(reminding_terms(*args), weight)
"""


def cell(factor=1.0, default=1.0, constant=0) -> dict:
    """A notebook's cell, executed again after an edit."""
    names = {"__name__": "__main__"}
    exec(CELL.format(factor=factor, default=default, constant=constant), names)
    return names


def test_a_piece_is_known_by_all_that_it_computes_with():
    assert key(cell()["terms"]) == key(cell()["terms"])
    edits = [cell(factor=2.0), cell(default=2.0), cell(constant=1)]
    one = lambda names: [names["terms"], names["made"](1.0), names["Terms"](1.0), functools.partial(names["terms"])]
    for pieces in zip(one(cell()), *map(one, edits)):
        assert len({key(piece) for piece in pieces}) == 4
    assert len({key(cell()[name](weight)) for name in ("made", "Terms") for weight in (1.0, 2.0)}) == 4


def test_a_piece_of_the_method_that_is_wrapped_is_not_it():
    @functools.wraps(reminding_terms)
    def wrapped(*args):
        return {name: -value for name, value in reminding_terms(*args).items()}

    assert key(wrapped) != key(reminding_terms)


def test_a_helper_in_a_file_counts_and_one_that_is_installed_by_its_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    keys = []
    for i in (1, 2):
        (tmp_path / "own_helper.py").write_text(
            f"import numpy as np\ndef size(x):\n    return {i} * np.linalg.norm(x)\n"
        )
        importlib.invalidate_caches()
        own_helper = importlib.reload(importlib.import_module("own_helper"))
        keys.append([key(lambda x: own_helper.size(x)), key(own_helper), key(lambda x: np.linalg.norm(x))])
    assert [a == b for a, b in zip(*keys)] == [False, False, True]


@pytest.mark.parametrize(
    "what", [threading.Lock(), open(__file__), (i for i in range(3))], ids=["lock", "file", "rest"]
)
def test_what_has_no_hash_has_no_key(what):
    with pytest.raises(NoKey):
        key({"inside": [what]})


def test_values_of_other_kinds_have_other_keys():
    values = [
        1,
        1.0,
        True,
        "1",
        b"1",
        None,
        [1],
        (1,),
        {1},
        {1: 1},
        np.ones(1),
        torch.ones(1),
        np.random.default_rng(0),
    ]
    values += [
        np.random.default_rng(1),
        np.float64(1),
        [[1], 1],
        [[1, 1]],
        Subgroup("a", ("b",)),
        Subgroup("a", ("c",)),
    ]
    assert len({key(value) for value in values}) == len(values)
    same = (1, 2)
    assert key([same, same]) == key([(1, 2), tuple([1, 2])])
    loop = [1]
    loop.append(loop)
    assert key(loop) == key(loop)


def test_heads_names_of_columns_and_siblings_count(vit, ready):
    other = random_clip(dict(image_size=32, layers=2, width=64, head_width=16, patch_size=16))
    other.model.load_state_dict(vit.model.state_dict())
    assert key(other) != key(vit), "the weights are the same, the number of heads is not"
    swapped = dict(zip(("retain", "target", "other"), ready.calibration.values()))
    others = [replace(ready, calibration=swapped), replace(ready, subgroup=Subgroup("red", ("yellow",)))]
    assert len({key(sets) for sets in (ready, *others)}) == 3
    hooked = vit.copy()
    hooked.model.visual.register_forward_hook(lambda module, args, out: -out)
    assert key(hooked) != key(vit)
