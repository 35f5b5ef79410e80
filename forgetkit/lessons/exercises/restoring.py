"""Exercises of notebook 04, restoring."""

import math

import torch

from forgetkit.lessons.exercises.checking import SHARE, exercise, expect


@exercise("04.1")
def blend_of_two_models(blend):
    a = {"w": torch.tensor([4.0, 8.0]), "steps": torch.tensor(7)}
    b = {"w": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    mixed = blend(a, b, 0.25)
    assert isinstance(mixed, dict) and set(mixed) == {"w", "steps"}, "return a dict with every name of the state dicts."
    given = a["w"].tolist() == [4, 8] and b["w"].tolist() == [0, 4] and (a["steps"], b["steps"]) == (7, 3)
    assert given, "you changed one of the two models in place: make new tensors, and a new dict."
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
    rows = [(0.0, 60.0), (0.4, 0.0), (0.6, 9.0), (0.8, 5.0), (1.0, 0.0)]
    assert choose(rows, 100) == 0.0, "with every alpha allowed, go back all the way: to the original."
    assert choose(rows, 5) != 0.4, "0.4 is within the limit by luck: past it, at 0.6, the target is back."
    assert choose(rows, 5) == 0.8, "from the largest alpha walk down while the target is within (at most) the limit."
    assert choose(rows[::-1], 5) == 0.8, "the rows may come in any order: sort them by alpha."
    assert choose([(0.5, 9.0), (1.0, 3.0)], 0) == 1.0, "nothing is within the limit: the lowest target wins."


@exercise("04.4")
def blend_layer_by_layer(layerwise):
    names = ("layer1.w", "layer2.w", "conv1.w", "neck.layer1.w", "layer10.w")
    a, b = ({name: torch.tensor([value]) for name in names} for value in (4.0, 2.0))
    mixed = layerwise(a, b, {"layer1.": 0.5, "layer2.": 1.0})
    assert isinstance(mixed, dict) and set(mixed) == set(names), "return a dict with every name of the state dicts."
    assert mixed["conv1.w"] == 2, "`conv1` is named in no coefficient: it is the original's."
    assert mixed["neck.layer1.w"] == 2, "`neck.layer1.w` has `layer1.` in it, but does not *begin* with it."
    assert mixed["layer10.w"] == 2, "a name begins with `layer1.`, its dot included."
    hint = "each layer has its own coefficient: half of the way from 2 to 4 is 3, and all of it 4."
    assert mixed["layer1.w"] == 3 and mixed["layer2.w"] == 4, hint


@exercise("04.5")
def equal_models_with_an_empty_soup(models):
    pair = isinstance(models, (tuple, list)) and len(models) == 2 and all(len(model) == 2 for model in models)
    assert pair, "give two pairs of numbers, ((u, v), (u, v))."
    (u, v), (s, t) = models
    assert u * v != 0 and s * t != 0, "each model must compute something: its product must not be zero."
    same = math.isclose(u * v, s * t, rel_tol=1e-6)
    assert same, f"the first multiplies by {u * v:g}, the second by {s * t:g}: make them the same."
    soup = (u + s) / 2 * (v + t) / 2
    assert abs(soup) < 1e-6 * abs(u * v), f"their soup multiplies by {soup:g}; it should compute nothing, 0."


@exercise("04.6")
def images_to_prove_two_percent(n):
    wrong = {
        150: "that is for none recognised: (0 + 3) / n.",
        50: "one of fifty *is* two percent, and the next fifty may have two: add three to what was seen.",
        4: "that is h + 3; divide it by the limit.",
        201: "*at* the limit is allowed.",
    }
    expect(n, 200, f"(h + 3) / n with h = 1 must come down to 0.02; with {n} it does not, or sooner.", wrong)
