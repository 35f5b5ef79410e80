"""Exercises of notebooks 01 and 07 to 11: sets, evaluation, batches, attacks, and the closing quiz."""

import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import Markdown

from forgetkit.evaluation import score
from forgetkit.lessons.exercises.checking import exercise, expect, read
from forgetkit.subgroups import Subgroup

QUIZ = read("quiz.toml")["question"]


def quiz() -> Markdown:
    """The ten questions with their answers a to d."""
    asked = []
    for i, question in enumerate(QUIZ, 1):
        answers = " · ".join(f"**{letter}** {a}" for letter, a in zip("abcd", question["answers"]))
        asked.append(f"{i}. {question['text']}  \n{answers}")
    return Markdown("\n".join(asked))


@exercise("01.1")
def a_subgroup(subgroup):
    assert isinstance(subgroup, Subgroup), "make a `Subgroup(target, siblings)`."
    assert subgroup.target == "truck", f"the target is {subgroup.target!r}, wanted is 'truck'."
    assert subgroup.siblings == ("automobile",), f"the only sibling is 'automobile', not {subgroup.siblings}."


@exercise("01.3")
def images_in_both_sets(overlap):
    rng = np.random.default_rng(0)
    a, new = (rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8) for n in (6, 2))
    near = a[0].copy()
    near[2, 3, 1] ^= 1
    b = np.stack([new[0], a[4], near, a[5], a[2, :, ::-1], new[1], a[4], a[0]])
    wrong = [
        (3, "an image that stands twice in `b` counts twice."),
        (5, "compare every pixel in its place: an image of `b` is mirrored, another differs in one pixel only."),
        (0, "an image may stand at another place in `b` than in `a`."),
    ]
    expect(overlap(a, b), 4, "four images of `b` are also in `a`: compare whole images.", wrong)
    assert overlap(a, a[:0]) == 0, "an empty set shares nothing with any other."


@exercise("01.5")
def images_without_a_centre(z):
    assert isinstance(z, torch.Tensor) and z.ndim == 2 and len(z) > 1, "give a tensor (N, D) of two images or more."
    assert torch.allclose(z.norm(dim=1), torch.ones(len(z)), atol=1e-4), "embeddings have length one: divide each row."
    length = z.mean(0).norm().item()
    assert length < 1e-4, f"their mean has length {length:.2f}, so it has a direction, and the cluster a centre."


@exercise("07.3")
def share_of_neighbours_kept(neighbours_kept):
    generator = torch.Generator().manual_seed(0)
    before, after = (F.normalize(torch.randn(40, 6, generator=generator), dim=1) for _ in range(2))

    def overlap(k: int, skip: int) -> float:  # an image is its own nearest: it is skipped
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


@exercise("08.3")
def labels_of_the_devkit(labels_of):
    wnids = ["n02490219", "n01440764", "n15075141", "n01669191"]
    devkit = {1: "n15075141", 2: "n02490219", 3: "n01440764", 4: "n01669191"}
    found = list(labels_of(["2", "4", "1", "1", "3"], devkit, wnids))
    wrong = [
        ([1, 3, 0, 0, 2], "an id less one is no class index: the devkit numbers classes its own way."),
        ([0, 3, 2, 2, 1], "the order of `wnids` as given means nothing: their alphabetical one does."),
    ]
    expect(found, [2, 1, 3, 3, 0], f"wanted is [2, 1, 3, 3, 0], you get {found}: id → wnid → place.", wrong)
    assert list(labels_of(["3\n"], devkit, wnids)) == [0], "a line of a file ends with a line break: int() ignores it."


@exercise("08.5")
def folders_in_the_wrong_order(folders):
    names = isinstance(folders, (list, tuple)) and len(folders) > 1 and all(isinstance(f, str) for f in folders)
    assert names, "give a list of two names or more."
    assert all(f[:1] == "n" and f[1:].isdecimal() for f in folders), 'each is an "n" and digits.'
    text, numbers = sorted(folders), {int(f[1:]) for f in folders}
    assert len(numbers) == len(folders), "each folder has a number of its own."
    assert text != sorted(folders, key=lambda f: int(f[1:])), f"as text they stand {text}, and by number, too."


@exercise("09.1")
def siblings_of_a_style(siblings):
    pairs = [("cat", "photos"), ("cat", "sketches"), ("dog", "sketches"), ("cat", "icons"), ("cat", "photos")]
    found = siblings(("cat", "sketches"), pairs)
    assert ("dog", "sketches") not in found, "a sketch of a dog has another label: it is `other`, not a sibling."
    assert ("cat", "sketches") not in found, "the target is not its own sibling."
    hint = f"cats in the other styles, each sibling once, not {sorted(found)}."
    assert sorted(found) == [("cat", "icons"), ("cat", "photos")], hint


@exercise("09.3")
def style_lost_in_a_mean(after):
    pair = isinstance(after, (tuple, list)) and len(after) == 2 and all(0 <= a <= 100 for a in after)
    assert pair, "give two accuracies in percent, of the photos and of the icons."
    assert 0 in after, "one of the two styles must be lost as a whole: 0 %."
    fall = (1000 * (90 - after[0]) + 3 * (100 - after[1])) / 1003
    assert fall < 1, f"`retain` falls by {fall:.1f} points, and everybody sees it. Which style has few images?"


@exercise("11.1")
def an_offset_from_gaps(offset):
    gap = torch.tensor([-9.0, -7.0, -5.0, -4.0, -3.0, -2.5, -2.0, -1.0, 0.5, 2.0])
    for share, named in ((0.1, 1), (0.3, 3), (0.8, 8)):
        b = float(offset(gap, share))
        found, reverse = (int((gap + sign * b > 0).sum()) for sign in (1, -1))
        assert reverse != named or found == named, "the sign is turned round: b is *added* to the gap."
        assert found == named, f"with b = {b:.2f}, {found} of the ten images get the name, where {share:.0%} should."
