"""Exercises of notebooks 07, 10 and 11: evaluation, batches, attacks, and the closing quiz; those that are no cases."""

import builtins
from unittest.mock import patch

import torch
import torch.nn.functional as F
from IPython.display import Markdown

from forgetkit.evaluation import score
from forgetkit.lessons.exercises.checking import exercise, expect, read

QUIZ = read("quiz.toml")["question"]


def quiz() -> Markdown:
    """The ten questions with their answers a to d."""
    asked = [
        f"{i}. {question['text']}  \n"
        + " · ".join(f"**{letter}** {a}" for letter, a in zip("abcd", question["answers"]))
        for i, question in enumerate(QUIZ, 1)
    ]
    return Markdown("\n".join(asked))


@exercise("07.3")
def share_of_neighbours_kept(neighbours_kept):
    generator = torch.Generator().manual_seed(0)
    before, after = (F.normalize(torch.randn(40, 6, generator=generator), dim=1) for _ in range(2))

    def overlap(k: int, skip: int) -> float:
        """The share, the first `skip` of the nearest left out (an image is its own nearest)."""
        near = [(z @ z.T).argsort(dim=1, descending=True)[:, skip : skip + k].tolist() for z in (before, after)]
        return sum(len(set(a) & set(b)) / k for a, b in zip(*near)) / len(before)

    wanted = overlap(4, 1)
    wrong = [
        (overlap(4, 0), "every image is its own nearest: leave it out, or it is always kept."),
        (4 * wanted, "that is a number of neighbours; divide by k."),
    ]
    hint = f"the share is {wanted:.3f} here; the order of neighbours does not matter, only which they are."
    expect(neighbours_kept(before, after, 4), wanted, hint, wrong)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    rotated = "a rotation of all embeddings keeps every neighbour: look for them within a model, never across the two."
    expect(neighbours_kept(before, before @ turn, 4), 1, rotated)


@exercise("07.4")
def score_that_looks_well(found):
    original = {"target": 80.0, "a": 60.0, "b": 90.0, "c": 50.0, "d": 70.0}
    named = isinstance(found, dict) and set(found) == set(original) and all(0 <= a <= 100 for a in found.values())
    assert named, f"give a dict with an accuracy, 0 to 100 percent, for each of {', '.join(original)}."
    assert found["target"] <= 4, "the target must be gone, at most 4 %: else the first column gives it away."
    assert min(found[c] / original[c] for c in "abcd") < 0.3, "no column has lost most of itself: this model is fine."
    value = score(found, original)
    assert value >= 85, f"the Score is {value:.1f}: it does not look well. How many columns need to suffer?"


@exercise("07.6")
def three_stages_from_memory(letters):
    ten = isinstance(letters, str) and len(letters) == len(QUIZ) and set(letters) <= set("abcd")
    assert ten, f'give ten letters from a to d in one word, such as "{"abcd" * 2}ab".'
    wrong = [(i, question, a) for i, (question, a) in enumerate(zip(QUIZ, letters), 1) if a != question["right"]]
    told = "".join(f"\n  {i}. not {a}: {question['why'][a]}" for i, question, a in wrong)
    assert not wrong, f"{len(QUIZ) - len(wrong)} of {len(QUIZ)} are right.{told}"


@exercise("10.2")
def mean_and_spread(spread):
    found = spread([("few", 0, 2.0), ("many", 0, 5.0), ("few", 1, 4.0), ("few", 2, 9.0)])
    assert isinstance(found, dict) and set(found) == {"few", "many"}, "return a dict with every setting."
    wrong = [
        ((5, (26 / 3) ** 0.5), "divide by n - 1: the mean was taken from the same values."),
        ((5, 13), "that is the variance; take its root."),
    ]
    hint = "the mean of 2, 4 and 9 is 5, and the root of the squares of -3, -1 and 4 over 2 is 3.61."
    expect(found["few"], (5, 13**0.5), hint, wrong)
    assert found["many"] == (5.0, None), "one value has no spread: None, not 0, which would say that it is certain."


@exercise("10.3")
def key_of_a_run(key):
    defaults = {"seed": 0, "target": "cat"}
    one = key({"target": "dog", "seed": 1}, defaults)
    assert isinstance(one, str) and len(one) <= 64, "return a text of at most 64 characters, such as a part of a hash."
    assert key({"seed": 1, "target": "dog"}, defaults) == one, "the order in which values were written must not count."
    assert key({}, defaults) == key({"seed": 0}, defaults), "a value given that is the default makes no other run."
    with patch.object(builtins, "hash", lambda value: 0):
        session = key({"target": "dog", "seed": 1}, defaults) == one
    assert session, "Python's own `hash` of a text is another one in the next session: use `hashlib`."
    assert key({"seed": 2, "target": "dog"}, defaults) != one, "another seed is another run."
    assert key({"seed": "1", "target": "dog"}, defaults) != one, "the word '1' is not the number 1."
    long = [key({"text": "x" * 99 + end}, {"text": ""}) for end in "ab"]
    assert long[0] != long[1], "long values that differ at the end are two runs: hash, don't cut."


@exercise("11.1")
def an_offset_from_gaps(offset):
    gap = torch.tensor([-9.0, -7.0, -5.0, -4.0, -3.0, -2.5, -2.0, -1.0, 0.5, 2.0])
    for share, named in ((0.1, 1), (0.3, 3), (0.8, 8)):
        b = float(offset(gap, share))
        found, reverse = (int((gap + sign * b > 0).sum()) for sign in (1, -1))
        assert reverse != named or found == named, "the sign is turned round: b is *added* to the gap."
        assert found == named, f"with b = {b:.2f}, {found} of the ten images get the name, where {share:.0%} should."
