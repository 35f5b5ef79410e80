"""Exercises of notebook 09, attack it."""

import torch

from forgetkit.lessons.exercises.checking import SHARE, exercise, expect


@exercise("09.1")
def an_offset_from_gaps(offset):
    gap = torch.tensor([-9.0, -7.0, -5.0, -4.0, -3.0, -2.5, -2.0, -1.0, 0.5, 2.0])
    for share, named in ((0.1, 1), (0.3, 3), (0.8, 8)):
        b = float(offset(gap, share))
        found, reverse = (int((gap + sign * b > 0).sum()) for sign in (1, -1))
        assert reverse != named or found == named, "the sign is turned round: b is *added* to the gap."
        assert found == named, f"with b = {b:.2f}, {found} of the ten images get the name, where {share:.0%} should."


@exercise("09.2")
def an_auroc_by_hand(auroc):
    positive, negative = torch.tensor([0.9, 0.6, 0.3, 0.5]), torch.tensor([0.1, 0.5, 0.4, 0.7, 0.2])
    right = 14.5 / 20
    wrong = {
        1 - right: "turned round: count the pairs in which the *positive* is above.",
        14 / 20: "a tie counts half.",
        15 / 20: "a tie counts half, not whole.",
        100 * right: "a number from 0 to 1, please.",
    }
    found = float(auroc(positive, negative))
    expect(found, right, f"14.5 of the 20 pairs are in order, 0.725; you get {found:.3f}.", wrong, within=1e-6)
    flipped = "scores turned round give 1 - AUROC: below .5 says as much as above."
    expect(auroc(-positive, -negative), 1 - right, flipped, within=1e-6)


@exercise("09.3")
def what_is_left_beyond_ignorance(left):
    wrong = {
        0.5: SHARE,
        250 / 3: "that compares with the original alone; an oracle that never saw the target finds 40 %, too.",
    }
    half = "half of the way from ignorance (40) to the original (60) is left: 50 %."
    expect(left(60.0, 40.0, 50.0), 50, half, wrong, within=0.05)
    expect(left(60.0, 40.0, 30.0), 0, "below the oracle nothing is left: 0 %, not less.")
    assert left(40.0, 40.0, 40.0) == 0, "where the original finds no more than the oracle, there is nothing to be left."
