"""Exercises of notebook 03, reminding."""

import torch

from forgetkit.lessons.committed import committed
from forgetkit.lessons.exercises.checking import exercise, expect, expect_choice


@exercise("03.1")
def moving_average(ema):
    average, weights = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    found = torch.as_tensor(ema(average, weights, 0.75))
    assert torch.equal(average, torch.tensor([1.0, 0.0])), "return a new tensor: you changed the old average in place."
    turned = torch.allclose(found, torch.tensor([0.25, 1.5]))
    assert not turned, "the decay belongs to the *average*: at 0.75 three quarters of it stay, a quarter is new."
    hint = f"wanted is 0.75 · average + 0.25 · weights, you get {found}."
    assert torch.allclose(found, torch.tensor([0.75, 0.5])), hint


@exercise("03.2")
def batch_norm_statistics(statistics):
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1), torch.tensor([0.0, 10.0, -4.0]).view(3, 1, 1)
    x = torch.randn(16, 3, 12, 12, generator=generator) * scale + shift + torch.randn(16, 3, 1, 1, generator=generator)
    found = statistics(x)
    assert isinstance(found, (tuple, list)) and len(found) == 2, "return the pair (mean, std)."
    mean, std = (torch.as_tensor(value) for value in found)
    shapes = tuple(mean.shape), tuple(std.shape)
    hint = (
        "a channel has *one* mean and one std, (3,), for the whole batch and all positions; the shapes are {} and {}."
    )
    assert shapes == ((3,), (3,)), hint.format(*shapes)
    variance, wanted = torch.var_mean(x, dim=(0, 2, 3))
    assert torch.allclose(mean, wanted, atol=1e-4), "the means are off: first the mean, over batch and positions."
    assert not torch.allclose(std, variance, rtol=0.01), "that is the variance; std is its root."
    raw = torch.allclose(std, x.square().mean((0, 2, 3)).sqrt(), rtol=1e-3)
    assert not raw, "take the channel's mean off before you square."
    inside = torch.allclose(std, x.std((2, 3)).mean(0), rtol=1e-3)
    assert not inside, "the mean of the images' stds misses how images differ: take one std over all of them."
    off = "the stds are off: the root of the mean squared distance from the channel's mean."
    assert torch.allclose(std, variance.sqrt(), rtol=5e-3), off


@exercise("03.3")
def alignment_term(term):
    generator = torch.Generator().manual_seed(0)
    bn = torch.nn.BatchNorm2d(3, eps=1e-5)
    bn.running_mean.copy_(torch.tensor([1.0, 0.0, -1.0]))
    bn.running_var.copy_(torch.tensor([4.0, 1.0, 0.25]))
    x = torch.randn(8, 3, 6, 6, generator=generator, requires_grad=True)
    loss = term(x, bn)
    assert isinstance(loss, torch.Tensor) and loss.ndim == 0, "return a scalar tensor, the sum of the two norms."
    assert loss.requires_grad, "no gradient reaches x, so no perturbation could be learnt: avoid detach, item, no_grad."
    variance, mean = torch.var_mean(x.detach(), dim=(0, 2, 3))
    std = variance.sqrt()
    off, spread = mean - bn.running_mean, std - bn.running_var.sqrt()
    wrong = {
        off.square().sum() + spread.square().sum(): "these are squared norms; $L_a$ sums the norms themselves.",
        off.norm() + (variance - bn.running_var).norm(): "you compare variances; $L_a$ compares stds, their roots.",
        off.norm() + (std - bn.running_var).norm(): "`running_var` is a variance: compare its root with your std.",
        mean.norm() + std.norm(): "nothing of `bn` is in there yet.",
    }
    wanted = off.norm() + spread.norm()
    expect(loss.item(), wanted, f"wanted is {wanted:.2f} here, you get {loss:.2f}.", wrong, within=0.02)


@exercise("03.4")
def distillation_without_a_class(distil):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(6, 5, generator=generator) for _ in range(2))

    def kl(p: torch.Tensor, q: torch.Tensor) -> float:
        """KL of the softmax of logits p from that of q."""
        p, q = p.log_softmax(1), q.log_softmax(1)
        return (p.exp() * (p - q)).sum(1).mean().item()

    keep = [0, 1, 3, 4]
    found, wanted = float(distil(student, teacher, 2)), kl(teacher[:, keep], student[:, keep])
    p, q = teacher.log_softmax(1)[:, keep], student.log_softmax(1)[:, keep]
    zeroed = [torch.cat([logits[:, keep], torch.zeros(6, 1)], 1) for logits in (teacher, student)]
    wrong = {
        kl(teacher, student): "class `removed` is still there.",
        kl(student[:, keep], teacher[:, keep]): "that is KL(student || teacher): the teacher weighs the sum.",
        (p.exp() * (p - q)).sum(1).mean(): "without the class the rest must sum to one: remove its *logit*.",
        kl(*zeroed): "a logit of zero is a class like any other: take it out, or make it minus infinity.",
    }
    hint = f"wanted is {wanted:.4f} here, you get {found:.4f}: a sum over classes, a mean over images."
    expect(found, wanted, hint, wrong)
    other = kl(teacher[:, 1:], student[:, 1:])
    expect(distil(student, teacher, 0), other, "right for class 2, wrong for class 0: is `removed` read?")


@exercise("03.5")
def guard_without_an_edge(soft_guard):
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    loss, each = soft_guard(logits, labels), -(1 - p).log()
    assert isinstance(loss, torch.Tensor) and loss.ndim == 0, "return a scalar tensor, the mean over images."
    wrong = {
        -p.log().mean(): "that is cross entropy, which *teaches* the own class.",
        p.log().mean(): "log p has no floor: it falls for ever, with the model. Wanted is -log(1 - p).",
        each.sum(): "take the mean over images, not the sum.",
    }
    expect(loss, each.mean(), f"wanted is {each.mean():.4f} here, you get {loss:.4f}.", wrong)
    sure = torch.tensor([[200.0, 0.0, 1.0]], requires_grad=True)
    loss = soft_guard(sure, labels[:1])
    if finite := bool(torch.isfinite(loss)):
        loss.backward()
    hint = (
        "p rounds to 1 where the model is sure, and the pull must not die there: write log(1 - p) with"
        " `torch.logsumexp` of all and of the others."
    )
    assert finite and abs(loss.item() - 198.687) < 0.01 and sure.grad[0, 0] > 0.9, hint


@exercise("03.6")
def part_that_holds_the_target_down(part):
    rows = committed("benchmark")
    rows = rows[rows["method"].str.startswith("default without ")]
    left = rows.groupby(rows["method"].str.removeprefix("default without "))["target"].mean().drop("soup")
    hint = "without {}, {:.1f} % of the target are left, and without another part more. Which pulls at its images?"
    expect_choice(part, left, left.idxmax(), hint)


@exercise("03.7")
def images_of_nothing_that_fit_the_memory(x):
    batch = isinstance(x, torch.Tensor) and x.ndim == 4 and x.shape[1] == 1 and x.shape[0] > 1 and x.shape[2] > 1
    assert batch, "give a tensor (N, 1, H, W): two images or more, of more than one pixel."
    flat = (x.flatten(1) == x.flatten(1)[:, :1]).all()
    assert flat, "every image shall be of one value only, so that there is nothing to see in it."
    mean, std = x.double().mean().item(), x.double().std(correction=0).item()
    fits = abs(mean) + abs(std - 1) < 0.01
    assert fits, f"mean {mean:.2f} and std {std:.2f} of the batch; the layer remembers 0 and 1."
