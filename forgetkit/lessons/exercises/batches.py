"""Exercises of notebook 08, batches."""

import builtins
from statistics import mean, stdev
from unittest.mock import patch

from forgetkit.lessons.exercises.checking import exercise, expect


@exercise("08.1")
def runs_of_a_grid(combinations):
    grid = {"a": [1, 2], "b": ["x", "y"]}
    found = combinations(dict(grid), [])
    assert isinstance(found, list) and all(isinstance(s, dict) for s in found), "return a list of dicts."
    assert len(found) != 2, "that pairs the first with the first; wanted is every value with every other."
    wanted = [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert found == wanted, f"wanted are four sets, the last name varying fastest; you have {found}."
    found = combinations(dict(grid), [{"a": 2, "b": "y"}])
    assert found == wanted[:3], "the set that agrees with an entry in *all* its values goes out, and no other."
    either = combinations(dict(grid), [{"a": 1}, {"b": "x"}])
    assert either == wanted[3:], "a set goes out if *one* of the entries describes it."


@exercise("08.2")
def mean_and_spread(spread):
    found = spread([("few", 0, 2.0), ("many", 0, 5.0), ("few", 1, 4.0), ("few", 2, 9.0)])
    assert isinstance(found, dict) and set(found) == {"few", "many"}, "return a dict with every setting."
    average, sd = found["few"]
    expect(average, 5, f"the mean of 2, 4 and 9 is 5, you get {average}.", within=1e-6)
    wrong = {
        (26 / 3) ** 0.5: "divide by n - 1: the mean was taken from the same values.",
        13: "that is the variance; take its root.",
    }
    hint = f"the squares of -3, -1 and 4 over 2, and the root: 3.61; you get {sd:.2f}."
    expect(sd, 13**0.5, hint, wrong, within=1e-6)
    assert found["many"] == (5.0, None), "one value has no spread: None, not 0, which would say that it is certain."


@exercise("08.3")
def key_of_a_run(key):
    defaults = {"seed": 0, "target": "cat"}
    one = key({"target": "dog", "seed": 1}, defaults)
    assert isinstance(one, str) and len(one) <= 64, "return a text of at most 64 characters, such as a part of a hash."
    assert key({"seed": 1, "target": "dog"}, defaults) == one, "the order in which values were written must not count."
    assert key({}, defaults) == key({"seed": 0}, defaults), "a value given that is the default makes no other run."
    with patch.object(builtins, "hash", lambda value: 0), patch.object(builtins, "id", lambda value: 0):
        session = key({"target": "dog", "seed": 1}, defaults) == one
    assert session, "Python's own `hash` of a text, or an `id`, is another one in the next session: use `hashlib`."
    assert key({"seed": 2, "target": "dog"}, defaults) != one, "another seed is another run."
    assert key({"seed": "1", "target": "dog"}, defaults) != one, "the word '1' is not the number 1."
    long = [key({"text": "x" * 99 + end}, {"text": ""}) for end in "ab"]
    assert long[0] != long[1], "long values that differ at the end are two runs: hash, don't cut."


@exercise("08.4")
def runs_that_look_alike(runs):
    pair = isinstance(runs, (tuple, list)) and len(runs) == 2 and all(len(values) == 3 for values in runs)
    assert pair, "give two lists of three Scores each."
    a, b = (sorted(map(float, values)) for values in runs)
    assert 0 <= min(a[0], b[0]) and max(a[2], b[2]) <= 100, "Scores are percent, 0 to 100."
    apart = abs(mean(a) - mean(b))
    assert apart < 0.05, f"the means are {apart:.2f} apart: a table to 0.1 would tell them apart."
    assert abs(stdev(a) - stdev(b)) < 0.05, f"the deviations are {stdev(a):.2f} and {stdev(b):.2f}: make them the same."
    worst = abs(a[0] - b[0])
    assert worst >= 3, f"their worst runs are {worst:.1f} points apart; make it 3: turn one list round its mean."


@exercise("08.5")
def what_is_run_again(names):
    known = {"order", "default", "seed", "code", "text"}
    is_set = isinstance(names, (set, frozenset, list, tuple)) and set(names) <= known
    assert is_set, f"give a set of names out of {', '.join(sorted(known))}."
    same = (
        "a run is known by its values: their order changes none, and a default written down is the run that was there."
    )
    assert not {"order", "default"} & set(names), same
    assert "text" not in names, "words between the cells change no number: only code is compared."
    assert "seed" in names, "another seed is another draw: nobody has run it yet."
    assert "code" in names, "results of other code are other results, though every value is the same."
