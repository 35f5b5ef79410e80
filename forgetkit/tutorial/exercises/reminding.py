"""Exercises of notebook 03, reminding."""

import torch

from forgetkit.tutorial.exercises.checking import exercise, expect


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
    assert tuple(mean.shape) != (16, 3), "that is a mean per image: a BatchNorm layer has *one* for the whole batch."
    assert tuple(mean.shape) != (3, 12, 12), "average over positions, too: a channel has one mean, wherever one looks."
    shapes = tuple(mean.shape), tuple(std.shape)
    assert shapes == ((3,), (3,)), "there is one number a channel, (3,); the shapes are {} and {}.".format(*shapes)
    variance, wanted = torch.var_mean(x, dim=(0, 2, 3))
    assert torch.allclose(mean, wanted, atol=1e-4), "the means are off: average over batch and positions (0, 2, 3)."
    assert not torch.allclose(std, variance, rtol=0.01), "that is the variance; std is its root."
    inside = torch.allclose(std, x.std((2, 3)).mean(0), rtol=1e-3)
    assert not inside, "the mean of the images' stds misses how images differ: take one std over all of them."
    assert torch.allclose(std, variance.sqrt(), rtol=5e-3), "the stds are off: take them over batch and positions."


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
        off.abs().sum() + spread.abs().sum(): "the norm is Euclidean, not a sum of |.|.",
        off.norm() + (variance - bn.running_var).norm(): "you compare variances; $L_a$ compares stds, their roots.",
        off.norm() + (std - bn.running_var).norm(): "`running_var` is a variance: compare its root with your std.",
        mean.norm() + std.norm(): "nothing of `bn` is in there yet.",
    }
    found, wanted = loss.item(), (off.norm() + spread.norm()).item()
    wrong = {value.item(): why for value, why in wrong.items()}
    expect(found, wanted, f"wanted is {wanted:.2f} here, you get {found:.2f}.", wrong, within=0.02)


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
    reduced = "sum over classes, mean over images."
    wrong = {
        kl(teacher, student): "class `removed` is still there.",
        kl(student[:, keep], teacher[:, keep]): "that is KL(student || teacher): the teacher weighs the sum.",
        (p.exp() * (p - q)).sum(1).mean().item(): "without the class the rest must sum to one: remove its *logit*.",
        wanted / 4: reduced,
        6 * wanted: reduced,
    }
    expect(found, wanted, f"wanted is {wanted:.4f} here, you get {found:.4f}.", wrong)
    changed = student.clone()
    changed[:, 2] += 50
    expect(float(distil(changed, teacher, 2)), wanted, "the removed logit still changes the loss.")


@exercise("03.5")
def guard_without_an_edge(soft_guard):
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    loss, each = soft_guard(logits, labels), -(1 - p).log()
    assert isinstance(loss, torch.Tensor) and loss.ndim == 0, "return a scalar tensor, the mean over images."
    wrong = {
        -p.log().mean().item(): "that is cross entropy, which *teaches* the own class.",
        p.log().mean().item(): "log p has no floor: it falls for ever, with the model. Wanted is -log(1 - p).",
        each.sum().item(): "take the mean over images, not the sum.",
    }
    expect(loss.item(), each.mean().item(), f"wanted is {each.mean():.4f} here, you get {loss:.4f}.", wrong)
    sure = torch.tensor([[200.0, 0.0, 1.0]], requires_grad=True)
    loss = soft_guard(sure, labels[:1])
    hint = "p rounds to 1 where the model is sure: write log(1 - p) with `torch.logsumexp` of all and of the others."
    assert torch.isfinite(loss), hint
    loss.backward()
    alive = abs(loss.item() - 198.687) < 0.01 and sure.grad[0, 0] > 0.9
    assert alive, "where the model is sure, the pull must not die."
