"""Exercises whose check is more than a call and its result: examples to be made, and the closing quiz."""

import math

import numpy as np
import torch
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


@exercise("03.6")
def layers_that_change_places(gradients):
    four = isinstance(gradients, (tuple, list)) and len(gradients) == 4
    assert four, "give four tensors: (forget_a, retain_a, forget_b, retain_b)."
    assert all(g.ndim == 2 for g in gradients), "each is (N, P): a row an image."
    f_a, r_a, f_b, r_b = (torch.stack([g.square().sum(1).mean(), g.mean(0).square().sum()]) for g in gradients)
    assert min(r_a[1], r_b[1]) > 0, "the retain gradients must not vanish, nor cancel."
    (a, whole_a), (b, whole_b) = (f_a / r_a).tolist(), (f_b / r_b).tolist()
    told = f"per image the ratios are {a:.2f} and {b:.2f}, of whole batches {whole_a:.2f} and {whole_b:.2f}"
    assert a > b, f"{told}: per image, layer a must come first."
    assert whole_b > whole_a, f"{told}: of whole batches, layer b must come first. Where do gradients cancel?"


@exercise("04.1")
def batch_norm_statistics(statistics):
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([[1.0, 2.0, 5.0], [0.0, 10.0, -4.0]])[:, :, None, None]
    x = torch.randn(16, 3, 12, 12, generator=generator) * scale + shift + torch.randn(16, 3, 1, 1, generator=generator)
    found = statistics(x)
    assert isinstance(found, (tuple, list)) and len(found) == 2, "return the pair (mean, std)."
    mean, std = found
    hint = "first the mean, (3,): a channel has *one* for the whole batch and all positions."
    expect(mean, x.mean((0, 2, 3)), hint)
    relative = std / x.std((0, 2, 3))
    wrong = [
        (x.std((0, 2, 3)), "that is the variance; std is its root."),
        (x.square().mean((0, 2, 3)).sqrt() / x.std((0, 2, 3)), "take the channel's mean off before you square."),
    ]
    off = "the stds are off: the root of the mean squared distance from the channel's mean, over all images at once."
    expect(relative, [1, 1, 1], off, wrong, within=5e-3)


@exercise("04.2")
def alignment_term(term):
    bn = torch.nn.BatchNorm2d(3, eps=1e-5)
    bn.running_mean.copy_(torch.tensor([1.0, 0.0, -1.0]))
    bn.running_var.copy_(torch.tensor([4.0, 1.0, 0.25]))
    x = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = term(x, bn)
    assert isinstance(loss, torch.Tensor) and loss.ndim == 0, "return a scalar tensor, the sum of the two norms."
    assert loss.requires_grad, "no gradient reaches x, so no perturbation could be learnt: avoid detach, item, no_grad."
    std, mean = torch.std_mean(x.detach(), dim=(0, 2, 3))
    off, spread = mean - bn.running_mean, std - bn.running_var.sqrt()
    wrong = [
        (off.square().sum() + spread.square().sum(), "these are squared norms; $L_a$ sums the norms themselves."),
        (off.norm() + (std**2 - bn.running_var).norm(), "you compare variances; $L_a$ compares stds, their roots."),
        (off.norm() + (std - bn.running_var).norm(), "`running_var` is a variance: compare its root with your std."),
    ]
    wanted = off.norm() + spread.norm()
    expect(loss, wanted, f"wanted is {wanted:.2f} here, you get {loss:.2f}.", wrong, within=0.02)


@exercise("04.3")
def images_of_nothing_that_fit_the_memory(x):
    batch = isinstance(x, torch.Tensor) and x.ndim == 4 and x.shape[1] == 1 and x.shape[0] > 1 and x.shape[2] > 1
    assert batch, "give a tensor (N, 1, H, W): two images or more, of more than one pixel."
    flat = (x.flatten(1) == x.flatten(1)[:, :1]).all()
    assert flat, "every image shall be of one value only, so that there is nothing to see in it."
    mean, std = x.double().mean().item(), x.double().std(correction=0).item()
    fits = abs(mean) + abs(std - 1) < 0.01
    assert fits, f"mean {mean:.2f} and std {std:.2f} of the batch; the layer remembers 0 and 1."


@exercise("06.5")
def equal_models_with_an_empty_soup(models):
    pairs = isinstance(models, (tuple, list)) and len(models) == 2 and all(len(pair) == 2 for pair in models)
    assert pairs, "give two pairs of numbers, ((u, v), (u, v))."
    (u, v), (s, t) = models
    assert u * v != 0 and s * t != 0, "each model must compute something: its product must not be zero."
    same = math.isclose(u * v, s * t, rel_tol=1e-6)
    assert same, f"the first multiplies by {u * v:g}, the second by {s * t:g}: make them the same."
    soup = (u + s) / 2 * (v + t) / 2
    assert abs(soup) < 1e-6 * abs(u * v), f"their soup multiplies by {soup:g}; it should compute nothing, 0."


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
