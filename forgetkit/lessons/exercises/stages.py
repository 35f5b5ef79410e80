"""Exercises of notebooks 02 to 06: from scratch, and part by part."""

import math

import pandas as pd
import torch

from forgetkit.lessons.committed import committed
from forgetkit.lessons.exercises.checking import exercise, expect, expect_choice


def left_without(recipe: str, column: str) -> pd.Series:
    """What the benchmark's rows have in a column without a part of the recipe, by part: means over subgroups."""
    rows = committed("benchmark")
    without = rows[rows["method"].str.startswith(f"{recipe} without ")]
    return without.groupby(without["method"].str.removeprefix(f"{recipe} without "))[column].mean()


@exercise("02.2")
def published_part_worth_most(part):
    left = left_without("paper", "score")
    hint = "without {} the Score was {:.1f}, and lower without another part."
    expect_choice(part, left, left.idxmin(), hint)


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


@exercise("05.1")
def distillation_without_a_class(distil):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(6, 5, generator=generator) for _ in range(2))
    of = lambda logits: torch.distributions.Categorical(logits=logits)
    kl = lambda p, q: torch.distributions.kl_divergence(of(p), of(q)).mean()
    keep = [0, 1, 3, 4]
    wanted = kl(teacher[:, keep], student[:, keep])
    p, q = teacher.log_softmax(1)[:, keep], student.log_softmax(1)[:, keep]
    zeroed = [x.index_fill(1, torch.tensor([2]), 0.0) for x in (teacher, student)]
    wrong = [
        (kl(teacher, student), "class `removed` is still there."),
        (kl(student[:, keep], teacher[:, keep]), "that is KL(student || teacher): the teacher weighs the sum."),
        ((p.exp() * (p - q)).sum(1).mean(), "without the class the rest must sum to one: remove its *logit*."),
        (kl(*zeroed), "a logit of zero is a class like any other: take it out, or make it minus infinity."),
    ]
    expect(distil(student, teacher, 2), wanted, f"{wanted:.4f} here: a sum over classes, a mean over images.", wrong)
    other = kl(teacher[:, 1:], student[:, 1:])
    expect(distil(student, teacher, 0), other, "right for class 2, wrong for class 0: is `removed` read?")


@exercise("05.2")
def guard_without_an_edge(soft_guard):
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    loss, each = soft_guard(logits, labels), -(1 - p).log()
    wrong = [
        (-p.log().mean(), "that is cross entropy, which *teaches* the own class."),
        (p.log().mean(), "log p has no floor: it falls for ever, with the model. Wanted is -log(1 - p)."),
        (each.sum(), "take the mean over images, not the sum."),
    ]
    expect(loss, each.mean(), f"wanted is {each.mean():.4f} here, a scalar, the mean over images.", wrong)
    sure = torch.tensor([[200.0, 0.0, 1.0]], requires_grad=True)
    loss = soft_guard(sure, labels[:1])
    slope = torch.autograd.grad(loss, sure)[0][0, 0] if torch.isfinite(loss) else 0
    hint = "p rounds to 1 where the model is sure, and the pull must not die: write log(1 - p) with `torch.logsumexp`."
    assert abs(loss.item() - 198.687) < 0.01 and slope > 0.9, hint


@exercise("05.3")
def part_that_holds_the_target_down(part):
    left = left_without("default", "target")
    hint = "without {}, {:.1f} % of the target are left, and without another part more. Which pulls at its images?"
    expect_choice(part, left, left.idxmax(), hint)


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
