"""Exercises of notebook 08, batches."""

from forgetkit.tutorial.exercises.checking import exercise, expect


@exercise("08.1")
def runs_of_a_grid(combinations):
    grid = {"a": [1, 2], "b": ["x", "y"]}
    found = combinations(dict(grid), [])
    assert isinstance(found, list) and all(isinstance(s, dict) for s in found), "return a list of dicts."
    assert len(found) != 2, "that pairs the first with the first; wanted is every value with every other."
    wanted = [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted)), f"wanted are four sets, you have {found}."
    assert found == wanted, "the sets are right, their order is not: the last name varies fastest."
    found = combinations(dict(grid), [{"a": 2, "b": "y"}])
    assert len(found) != 1, "a set that agrees with an entry in *one* value only stays."
    assert found == wanted[:3], "the set a=2, b=y goes out, and no other."
    either = combinations(dict(grid), [{"a": 1}, {"b": "x"}])
    assert either == wanted[3:], "a set goes out if *one* of the entries describes it."


@exercise("08.2")
def mean_and_spread(spread):
    found = spread([("few", 0, 2.0), ("many", 0, 5.0), ("few", 1, 4.0), ("few", 2, 9.0)])
    assert isinstance(found, dict) and set(found) == {"few", "many"}, "return a dict with every setting."
    pairs = all(isinstance(pair, tuple) and len(pair) == 2 for pair in found.values())
    assert pairs, "each value is a pair (mean, sd)."
    mean, sd = found["few"]
    expect(mean, 5, f"the mean of 2, 4 and 9 is 5, you get {mean}.", within=1e-6)
    wrong = {
        (26 / 3) ** 0.5: "divide by n - 1: the mean was taken from the same values.",
        13: "that is the variance; take its root.",
    }
    expect(
        sd, 13**0.5, f"the squares of -3, -1 and 4 over 2, and the root: 3.61; you get {sd:.2f}.", wrong, within=1e-6
    )
    assert found["many"] == (5.0, None), "one value has no spread: None, not 0, which would say that it is certain."


@exercise("08.3")
def key_of_a_run(key):
    defaults = {"seed": 0, "target": "cat"}
    one = key({"target": "dog", "seed": 1}, defaults)
    assert isinstance(one, str) and len(one) <= 64, "return a text of at most 64 characters, such as a part of a hash."
    assert key({"seed": 1, "target": "dog"}, defaults) == one, "the order in which values were written must not count."
    assert key({}, defaults) == key({"seed": 0}, defaults), "a value given that is the default makes no other run."
    assert key({"seed": 2, "target": "dog"}, defaults) != one, "another seed is another run."
    assert key({"seed": "1", "target": "dog"}, defaults) != one, "the word '1' is not the number 1."
    assert key({"a": 12}, {"a": 0, "b": 3}) != key({"a": 1}, {"a": 0, "b": 23}), "put something between the values."
    long = [key({"text": "x" * 99 + end}, {"text": ""}) for end in "ab"]
    cut = "long values that differ at the end are two runs: hash, don't cut."
    assert len(long[0]) <= 64 and long[0] != long[1], cut
