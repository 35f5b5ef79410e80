"""Exercises of notebook 04, restoring."""

import torch

from forgetkit.tutorial.exercises.checking import SHARE, exercise, expect


@exercise("04.1")
def blend_of_two_models(blend):
    a = {"w": torch.tensor([4.0, 8.0]), "steps": torch.tensor(7)}
    b = {"w": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    mixed = blend(a, b, 0.25)
    assert isinstance(mixed, dict) and set(mixed) == set(a), "return a dict with every name of the state dicts."
    whole = mixed["steps"].dtype == torch.int64 and mixed["steps"] == 7
    assert whole, "`steps` is an integer buffer: half a step means nothing. See `tensor.is_floating_point()`."
    assert not torch.equal(mixed["w"], torch.tensor([3.0, 7.0])), "you have the two ends the wrong way round."
    assert torch.equal(mixed["w"], torch.tensor([1.0, 5.0])), f"a quarter of the way from b to a; you get {mixed['w']}."


@exercise("04.2")
def bound_on_what_was_not_seen(upper_bound):
    found = upper_bound(100)
    assert found > 0.1, SHARE
    expect(found, 2.951, f"for n = 100 it is 2.95 %, you get {found:.2f}: take the n-th root of 0.05.", within=0.01)
    expect(upper_bound(250), 1.191, "right for 100 images, wrong for 250: does your answer depend on n?", within=0.01)


@exercise("04.3")
def choice_of_alpha(choose):
    rows = [(0.0, 60.0), (0.4, 0.0), (0.6, 9.0), (0.8, 1.0), (1.0, 0.0)]
    assert choose(rows, 100) == 0.0, "with every alpha allowed, go back all the way: to the original."
    assert choose(rows, 5) != 0.4, "0.4 is within the limit by luck: past it, at 0.6, the target is back."
    assert choose(rows, 5) == 0.8, "from the largest alpha walk down while the target is within the limit."
    assert choose(rows[::-1], 5) == 0.8, "the rows may come in any order: sort them by alpha."
    assert choose([(0.5, 9.0), (1.0, 3.0)], 0) == 1.0, "nothing is within the limit: the lowest target wins."


@exercise("04.4")
def blend_layer_by_layer(layerwise):
    a = {"layer1.w": torch.tensor([1.0]), "layer2.w": torch.tensor([1.0]), "conv1.w": torch.tensor([1.0])}
    b = {name: torch.zeros(1) for name in a}
    mixed = layerwise(a, b, {"layer1.": 0.25, "layer2.": 1.0})
    assert isinstance(mixed, dict) and set(mixed) == set(a), "return a dict with every name of the state dicts."
    assert mixed["conv1.w"] == 0, "`conv1` is named in no coefficient: it is the original's."
    assert mixed["layer1.w"] == 0.25 and mixed["layer2.w"] == 1, "each layer has its own coefficient."
