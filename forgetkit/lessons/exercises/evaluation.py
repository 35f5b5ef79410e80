"""Exercises of notebook 05, evaluation."""

import torch
import torch.nn.functional as F

from forgetkit.evaluation import score
from forgetkit.lessons.exercises.checking import SHARE, exercise, expect

ORIGINAL = {"a": 50.0, "target": 50.0, "b": 80.0}


@exercise("05.1")
def mean_share_kept(share_kept):
    found = share_kept({"b": 40.0, "target": 0.0, "a": 60.0}, dict(ORIGINAL))
    wrong = {
        0.85: SHARE,
        170 / 3: "the target is no column to keep: leave it out.",
        75: "here gains count: 60 of 50 is 120 %.",
        1000 / 13: "take each column's share first, then the mean; every column weighs the same.",
    }
    expect(found, 85, f"one column keeps 120 %, one 50 %: 85 % on average, you get {found}.", wrong, within=1e-6)


@exercise("05.2")
def score_by_hand(by_hand):
    found = by_hand({"b": 40.0, "target": 10.0, "a": 60.0}, dict(ORIGINAL))
    wrong = {
        2.3 / 3: SHARE,
        250 / 3: "a gain must not pay for a loss: min(1, a / a0) for all columns but the target.",
        170 / 3: "the target counts what is *gone*, 1 - a / a0.",
    }
    hint = f"the columns count 0.8, 1 and 0.5, together 76.7 %; you get {found}."
    expect(found, 230 / 3, hint, wrong, within=1e-6)
    worse = by_hand({"a": 50.0, "target": 60.0, "b": 80.0}, dict(ORIGINAL))
    hint = f"a target that gains counts below zero, 1 - 1.2, and the Score is 60; you get {worse}."
    expect(worse, 60, hint, within=1e-6)


@exercise("05.3")
def micro_and_macro_accuracy(micro_macro):
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 3, 3])
    guess = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 3, 2])
    micro, macro = (float(value) for value in micro_macro(guess, labels))
    expect(micro, 80, f"eight of these ten images are right, micro is 80 %; you get {micro}.", {0.8: SHARE})
    assert macro == macro, "macro is NaN: one class has no images (0 / 0); leave it out."
    wrong = {
        80: "macro is the mean over *classes*, not over images.",
        50: "no image has label 2, so that class has no accuracy: leave it out of the mean.",
    }
    hint = f"the classes' accuracies are 100, 50 and 50 %, macro 66.7 %; you get {macro}."
    expect(macro, 200 / 3, hint, wrong, within=1e-3)


@exercise("05.4")
def below_ignorance(avoided):
    assert not avoided(100, 1000, 10), "100 hits of 1000 among ten names is just chance."
    assert avoided(0, 1000, 10), "no hit in 1000, where chance gives 100, is no accident."
    few = "15 images show little: a guesser, too, has none in one case of five. Compare more than hits / n with chance."
    assert not avoided(0, 15, 10), few
    edge = avoided(0, 50, 10) and not avoided(0, 40, 10) and not avoided(0, 1000, 345)
    assert edge, "the limit is 1 %: with no hit among ten names it is passed between 40 and 50 images."
    assert avoided(70, 1000, 10) and not avoided(80, 1000, 10), "add up the probabilities of *all* counts up to `hits`."


@exercise("05.5")
def share_of_neighbours_kept(neighbours_kept):
    generator = torch.Generator().manual_seed(0)
    before, after = (F.normalize(torch.randn(40, 6, generator=generator), dim=1) for _ in range(2))

    def overlap(k: int, skip: int) -> float:
        """The share, the first `skip` of the nearest left out (an image is its own nearest)."""
        near = [(z @ z.T).argsort(dim=1, descending=True)[:, skip : skip + k].tolist() for z in (before, after)]
        return sum(len(set(a) & set(b)) / k for a, b in zip(*near)) / len(before)

    found, wanted = float(neighbours_kept(before, after, 4)), overlap(4, 1)
    wrong = {
        overlap(4, 0): "every image is its own nearest: leave it out, or it is always kept.",
        4 * wanted: "that is a number of neighbours; divide by k.",
    }
    hint = f"the share is {wanted:.3f} here, you get {found:.3f}; their order does not matter, only which they are."
    expect(found, wanted, hint, wrong, within=1e-6)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    rotated = "a rotation of all embeddings keeps every neighbour: look for them within a model, never across the two."
    expect(neighbours_kept(before, before @ turn, 4), 1, rotated, within=1e-6)


@exercise("05.6")
def score_that_looks_well(found):
    original = {"target": 80.0, "a": 60.0, "b": 90.0, "c": 50.0, "d": 70.0}
    named = isinstance(found, dict) and set(found) == set(original) and all(0 <= a <= 100 for a in found.values())
    assert named, f"give a dict with an accuracy, 0 to 100 percent, for each of {', '.join(original)}."
    assert found["target"] <= 4, "the target must be gone, at most 4 %: else the first column gives it away."
    assert min(found[c] / original[c] for c in "abcd") < 0.3, "no column has lost most of itself: this model is fine."
    value = score(found, original)
    assert value >= 85, f"the Score is {value:.1f}: it does not look well. How many columns need to suffer?"
