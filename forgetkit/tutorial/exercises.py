"""Checks of the exercises: what fails says what to look at. Solutions are in `notebooks/solutions`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from forgetkit.subgroups import Subgroup

CHECKS: dict[str, Callable] = {}
EMPTY = "there is no answer yet: replace the dots (a function must `return` something)."


def exercise(name: str):
    """Register a check: a function of the answer that raises AssertionError with a hint."""

    def register(function):
        CHECKS[name] = function
        return function

    return register


def _answering(function: Callable) -> Callable:
    """The reader's function, told apart from a stub that returns nothing."""

    def call(*args):
        result = function(*args)
        assert result is not None and result is not ..., EMPTY
        return result

    return call


def check(name: str, answer) -> None:
    """Print whether the answer to exercise `name` (such as "02.1") holds; if it does not, what to look at."""
    if name not in CHECKS:
        raise ValueError(f"There is no exercise {name!r}. Choose one of: {', '.join(CHECKS)}.")
    try:
        assert answer is not None and answer is not ..., EMPTY
        CHECKS[name](_answering(answer) if callable(answer) else answer)
    except AssertionError as hint:
        print(f"Exercise {name}, not yet: {hint}")
    except Exception as error:
        print(f"Exercise {name}, not yet: your code raised {type(error).__name__}: {error}")
    else:
        print(f"Exercise {name}: correct.")


# --------------------------------------------------------------------------------------------------
# 01 Subgroups
@exercise("01.1")
def _(subgroup):
    assert isinstance(subgroup, Subgroup), "make a `Subgroup(target, siblings)`."
    assert subgroup.target == "truck", f"the target is {subgroup.target!r}, wanted is 'truck'."
    assert isinstance(subgroup.siblings, tuple), 'siblings are a tuple; one of one name is written ("name",).'
    assert subgroup.siblings == ("automobile",), f"the only sibling is 'automobile', not {subgroup.siblings}."


@exercise("01.2")
def _(accuracy):
    head = torch.eye(3)
    z = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.9, 0.1, 0.1], [0.0, 0.2, 0.8]])
    labels = torch.tensor([0, 1, 1, 2])
    found = float(accuracy(z, head, labels))
    assert found != 0.75, "that is a share; wanted is percent."
    assert found == 75.0, f"three of these four images are right, 75 %, you get {found}: which text is *most* similar?"


@exercise("01.3")
def _(overlap):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    b = np.concatenate([a[4:], rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)])
    assert overlap(a, a[:0]) == 0, "an empty set shares nothing with any other."
    assert overlap(a, b) == 2, f"two images of `b` are also in `a`, you count {overlap(a, b)}; compare whole images."


@exercise("01.4")
def _(step):
    z = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0], [0.3, 1.0]]), dim=1)
    centres = step(z, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert tuple(centres.shape) == (2, 2), "return the centres, (n, D)."
    assert torch.allclose(centres.norm(dim=1), torch.ones(2), atol=1e-5), (
        "the centres left the sphere: divide each mean by its length."
    )
    wanted = F.normalize(torch.stack([z[:2].mean(0), z[2:].mean(0)]), dim=1)
    assert torch.allclose(centres, wanted, atol=1e-5), "every image goes to its *most similar* centre; then average."


# --------------------------------------------------------------------------------------------------
# 02 Forgetting
@exercise("02.1")
def _(information):
    g = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    assert information(g.clone()) is not None, "return a number."
    found = float(information(g.clone()))
    assert found != 0, "opposite gradients cancelled: square each sample's first, average then."
    assert found != 26, "that is the sum over samples; a set of more images would weigh more. Take the mean."
    assert found not in (3.25, 13), "the squared length is a *sum* over the layer's weights; the mean is over samples."
    assert abs(found - 6.5) < 1e-5, f"(9 + 9 + 4 + 4) / 4 = 6.5 here, you get {found:.3g}; is the length squared?"
    for n in (3, 5):  # not a shape that happens to fit
        g = torch.randn(n, 7, generator=torch.Generator().manual_seed(n))
        wanted = g.square().sum(1).mean()
        assert torch.isclose(torch.as_tensor(information(g)).float(), wanted), f"it does not hold for {n} samples."


@exercise("02.2")
def _(adapted):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    a, b = torch.randn(2, 36, generator=generator), torch.randn(6, 2, generator=generator)
    before = weight.clone()
    found = adapted(weight, a, torch.zeros(6, 2), 2.0)
    assert found is not None, "return the adapted kernel."
    assert tuple(found.shape) == (6, 4, 3, 3), f"a kernel (6, 4, 3, 3) goes in and comes out, not {tuple(found.shape)}."
    assert torch.equal(found, before), "with B = 0 the kernel must come out as it went in, to the bit."
    found = adapted(weight, a, b, 2.0)
    assert torch.equal(weight, before), "the original weight was changed in place: add into a new tensor."
    change = found - before
    wanted = (b @ a).view(6, 4, 3, 3)
    assert not torch.allclose(change, torch.zeros_like(change)), "B is not zero, yet nothing changed."
    assert not torch.allclose(change, wanted, atol=1e-4), "the scale (alpha / r) is missing."
    assert torch.allclose(change, 2 * wanted, atol=1e-4), (
        "B A is (out, in * kh * kw): reshape it to (out, in, kh, kw) without permuting."
    )


@exercise("02.3")
def _(hinge):
    logits = torch.tensor([[5.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 9.0, 1.0]])
    found = hinge(logits.clone(), torch.tensor([0, 0, 0]), 2.0)
    assert found is not None, "return a scalar."
    assert torch.as_tensor(found).ndim == 0, "one number for the batch: take the mean over the images."
    found = float(found)
    # the images count 5 - 1 + 2 = 6, 1 - 2 + 2 = 1, and 0, since 0 - 9 + 2 is below it
    wrong = {
        0: "where another class leads by more than the margin the loss is zero, not negative: that is its floor.",
        7: "that is the sum; take the mean over the images.",
        1: "the own class is among the others: take its logit out before the maximum.",
        2 / 3: "you subtract the margin: the loss must end *past* the tie, so add it.",
        4 / 3: "where is the margin? Without it the loss ends at the tie.",
        14 / 3: "the wrong way round: the loss is large where the *own* class leads.",
    }
    for value, hint in wrong.items():
        assert abs(found - value) > 1e-4, hint
    assert abs(found - 7 / 3) < 1e-4, f"(6 + 1 + 0) / 3 = 2.33 here, you get {found:.3g}: best other, or all others?"
    second = float(hinge(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1]), 0.5))
    assert abs(second - 1.5) < 1e-5, f"for label 1: 2 - 1 + 0.5 = 1.5, you get {second:.3g}; is the label read?"


@exercise("02.4")
def _(stops_at):
    found = stops_at([70.0, 30.0, 4.0, 1.0, 0.0, 3.0], 1.0)
    assert found != 4, "*at most* the limit: a check at exactly 1 % already ends it, and every further step is damage."
    assert found != 5, "the loop has ended long before the last check."
    assert found == 3, f"the first check at or below 1 % is number 3, you say {found}."
    assert stops_at([0.5, 0.4], 1.0) == 0, (
        "a model that knows nothing of the target stops at once, at the *first* check."
    )
    never = stops_at([70.0, 30.0], 1.0)
    assert never == -1, f"the limit is never met here, which is -1, not {never}: the caller must notice."
    assert stops_at([], 1.0) == -1, "without a check there is nothing to stop at: -1."


@exercise("02.5")
def _(pulling):
    names = {"similarity", "hinge", "ascent"}
    assert isinstance(pulling, (set, frozenset, list, tuple)) and set(pulling) <= names, (
        'give a set of names out of "similarity", "hinge" and "ascent".'
    )
    z = torch.tensor([[0.0, 1.0, 0.0]], requires_grad=True)  # the own class stands 10 logits below another
    logits = 10 * z
    losses = {
        "similarity": z[0, 0],
        "hinge": F.relu(logits[0, 0] - logits[0, 1] + 2),
        "ascent": -F.cross_entropy(logits, torch.tensor([0])),
    }
    true = {n for n, loss in losses.items() if torch.autograd.grad(loss, z, retain_graph=True)[0].norm() > 0}
    assert "hinge" not in pulling, "the hinge is flat there: another class leads by more than the margin."
    assert "similarity" in pulling, "the cosine has the same slope however low it is: it never stops pulling."
    assert "ascent" in pulling, (
        "d(log p) / d(own logit) = 1 - p. As p goes to 0 this goes to 1, not to 0: ascent pulls *hardest* at what is "
        "already forgotten."
    )
    assert set(pulling) == true, f"the gradients say {', '.join(sorted(true))}."


# --------------------------------------------------------------------------------------------------
# 03 Reminding
@exercise("03.1")
def _(ema):
    average, weights = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    found = torch.as_tensor(ema(average, weights, 0.75))
    assert torch.equal(average, torch.tensor([1.0, 0.0])), "return a new tensor: you changed the old average in place."
    assert not torch.allclose(found, torch.tensor([0.25, 1.5])), (
        "the decay belongs to the *average*: at 0.75 three quarters of it stay, a quarter is new."
    )
    assert torch.allclose(found, torch.tensor([0.75, 0.5])), (
        f"wanted is 0.75 · average + 0.25 · weights, you get {found}."
    )


@exercise("03.2")
def _(statistics):
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1), torch.tensor([0.0, 10.0, -4.0]).view(3, 1, 1)
    x = torch.randn(16, 3, 12, 12, generator=generator) * scale + shift + torch.randn(16, 3, 1, 1, generator=generator)
    found = statistics(x)
    assert isinstance(found, (tuple, list)) and len(found) == 2, "return the pair (mean, std)."
    mean, std = (torch.as_tensor(value) for value in found)
    assert tuple(mean.shape) != (16, 3), "that is a mean per image: a BatchNorm layer has *one* for the whole batch."
    assert tuple(mean.shape) != (3, 12, 12), "average over positions, too: a channel has one mean, wherever one looks."
    assert tuple(mean.shape) == tuple(std.shape) == (3,), (
        f"there is one number a channel, (3,); the shapes are {tuple(mean.shape)} and {tuple(std.shape)}."
    )
    variance, wanted = torch.var_mean(x, dim=(0, 2, 3))
    assert torch.allclose(mean, wanted, atol=1e-4), "the means are off: average over batch and positions (0, 2, 3)."
    assert not torch.allclose(std, variance, rtol=0.01), "that is the variance; std is its root."
    assert not torch.allclose(std, x.std((2, 3)).mean(0), rtol=1e-3), (
        "the mean of the images' stds misses how images differ from each other: take one std over all of them."
    )
    assert torch.allclose(std, variance.sqrt(), rtol=5e-3), "the stds are off: take them over batch and positions."


@exercise("03.3")
def _(term):
    generator = torch.Generator().manual_seed(0)
    bn = torch.nn.BatchNorm2d(3, eps=1e-5)
    bn.running_mean.copy_(torch.tensor([1.0, 0.0, -1.0]))
    bn.running_var.copy_(torch.tensor([4.0, 1.0, 0.25]))
    x = torch.randn(8, 3, 6, 6, generator=generator, requires_grad=True)
    variance, mean = torch.var_mean(x.detach(), dim=(0, 2, 3))
    off, spread = mean - bn.running_mean, variance.sqrt() - bn.running_var.sqrt()
    loss = term(x, bn)
    assert isinstance(loss, torch.Tensor) and loss.ndim == 0, "return a scalar tensor, the sum of the two norms."
    assert loss.requires_grad, "no gradient reaches x, so no perturbation could be learnt: avoid detach, item, no_grad."
    found, wanted = loss.item(), (off.norm() + spread.norm()).item()
    squares = (off.square().sum() + spread.square().sum()).item()
    assert abs(found - squares) > 1e-2, "these are squared norms; $L_a$ sums the norms themselves."
    assert abs(found - (off.abs().sum() + spread.abs().sum()).item()) > 1e-2, "the norm is Euclidean, not a sum of |.|."
    assert abs(found - (off.norm() + (variance - bn.running_var).norm()).item()) > 1e-2, (
        "you compare variances; $L_a$ compares stds, so take the root of `running_var`."
    )
    assert abs(found - (off.norm() + (variance.sqrt() - bn.running_var).norm()).item()) > 1e-2, (
        "you compare a std with `running_var`, which is a variance: take its root."
    )
    assert abs(found - (mean.norm() + variance.sqrt().norm()).item()) > 1e-2, "nothing of `bn` is in there yet."
    assert abs(found - wanted) < 0.02, f"wanted is {wanted:.2f} here, you get {found:.2f}."


@exercise("03.4")
def _(distil):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(6, 5, generator=generator) for _ in range(2))

    def kl(p: torch.Tensor, q: torch.Tensor) -> float:
        """KL of the softmax of logits p from that of q."""
        p, q = p.log_softmax(1), q.log_softmax(1)
        return (p.exp() * (p - q)).sum(1).mean().item()

    keep = [0, 1, 3, 4]
    found, wanted = float(distil(student, teacher, 2)), kl(teacher[:, keep], student[:, keep])
    p, q = teacher.log_softmax(1)[:, keep], student.log_softmax(1)[:, keep]
    assert abs(found - kl(teacher, student)) > 1e-4, "class `removed` is still there."
    assert abs(found - kl(student[:, keep], teacher[:, keep])) > 1e-4, (
        "that is KL(student || teacher): the teacher's probabilities weigh the sum."
    )
    assert abs(found - (p.exp() * (p - q)).sum(1).mean().item()) > 1e-4, (
        "you removed the class after the softmax, and what is left does not sum to one: remove its logit before."
    )
    assert min(abs(found - wanted / 4), abs(found - 6 * wanted)) > 1e-4, "sum over classes, mean over images."
    assert abs(found - wanted) < 1e-4, f"wanted is {wanted:.4f} here, you get {found:.4f}."
    changed = student.clone()
    changed[:, 2] += 50
    assert abs(float(distil(changed, teacher, 2)) - wanted) < 1e-4, "the removed logit still changes the loss."


@exercise("03.5")
def _(soft_guard):
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    loss = soft_guard(logits, labels)
    assert isinstance(loss, torch.Tensor) and loss.ndim == 0, "return a scalar tensor, the mean over images."
    assert abs(loss.item() + p.log().mean().item()) > 1e-4, "that is cross entropy, which *teaches* the own class."
    assert abs(loss.item() - p.log().mean().item()) > 1e-4, (
        "log p has no floor: it goes on falling for ever, and takes the model with it. Wanted is -log(1 - p)."
    )
    wanted = -(1 - p).log()
    assert abs(loss.item() - wanted.sum().item()) > 1e-4, "take the mean over images, not the sum."
    assert abs(loss.item() - wanted.mean().item()) < 1e-4, f"wanted is {wanted.mean():.4f} here, you get {loss:.4f}."
    sure = torch.tensor([[200.0, 0.0, 1.0]], requires_grad=True)
    loss = soft_guard(sure, labels[:1])
    assert torch.isfinite(loss), (
        "p rounds to 1 and the loss is infinite where the model is sure: write log(1 - p) with `torch.logsumexp`, "
        "once over all classes and once over the others."
    )
    loss.backward()
    assert abs(loss.item() - 198.687) < 0.01 and sure.grad[0, 0] > 0.9, (
        "where the model is sure, the pull must not die."
    )


# --------------------------------------------------------------------------------------------------
# 04 Restoring
@exercise("04.1")
def _(blend):
    a = {"w": torch.tensor([4.0, 8.0]), "steps": torch.tensor(7)}
    b = {"w": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    mixed = blend(a, b, 0.25)
    assert isinstance(mixed, dict) and set(mixed) == set(a), "return a dict with every name of the state dicts."
    assert mixed["steps"].dtype == torch.int64 and mixed["steps"] == 7, (
        "`steps` is an integer buffer: half a step means nothing. See `tensor.is_floating_point()`."
    )
    assert not torch.equal(mixed["w"], torch.tensor([3.0, 7.0])), "you have the two ends the wrong way round."
    assert torch.equal(mixed["w"], torch.tensor([1.0, 5.0])), f"a quarter of the way from b to a; you get {mixed['w']}."


@exercise("04.2")
def _(upper_bound):
    found = upper_bound(100)
    assert found > 0.1, "that is a share; wanted is percent."
    assert abs(found - 2.951) < 0.01, f"for n = 100 it is 2.95 %, you get {found:.2f}: take the n-th root of 0.05."
    assert abs(upper_bound(250) - 1.191) < 0.01, "right for 100 images, wrong for 250: does your answer depend on n?"


@exercise("04.3")
def _(choose):
    rows = [(0.0, 60.0), (0.4, 0.0), (0.6, 9.0), (0.8, 1.0), (1.0, 0.0)]
    assert choose(rows, 100) == 0.0, "with every alpha allowed, go back all the way: to the original."
    assert choose(rows, 5) != 0.4, "0.4 is within the limit by luck: past it, at 0.6, the target is back."
    assert choose(rows, 5) == 0.8, "from the largest alpha walk down while the target is within the limit."
    assert choose(rows[::-1], 5) == 0.8, "the rows may come in any order: sort them by alpha."
    assert choose([(0.5, 9.0), (1.0, 3.0)], 0) == 1.0, "nothing is within the limit: the lowest target wins."


@exercise("04.4")
def _(layerwise):
    a = {"layer1.w": torch.tensor([1.0]), "layer2.w": torch.tensor([1.0]), "conv1.w": torch.tensor([1.0])}
    b = {name: torch.zeros(1) for name in a}
    mixed = layerwise(a, b, {"layer1.": 0.25, "layer2.": 1.0})
    assert isinstance(mixed, dict) and set(mixed) == set(a), "return a dict with every name of the state dicts."
    assert mixed["conv1.w"] == 0, "`conv1` is named in no coefficient: it is the original's."
    assert mixed["layer1.w"] == 0.25 and mixed["layer2.w"] == 1, "each layer has its own coefficient."


# --------------------------------------------------------------------------------------------------
# 05 Evaluation
@exercise("05.1")
def _(share_kept):
    original = {"a": 50.0, "target": 50.0, "b": 80.0}
    found = share_kept({"b": 40.0, "target": 0.0, "a": 60.0}, original)
    assert found is not None, "return the mean share in percent."
    assert abs(found - 0.85) > 1e-6, "that is a share; wanted is percent."
    assert abs(found - 170 / 3) > 1e-6, "the target is no column to keep: leave it out."
    assert abs(found - 75) > 1e-6, "here gains count: 60 of 50 is 120 %."
    assert abs(found - 1000 / 13) > 1e-6, "take each column's share first, then the mean; every column weighs the same."
    assert abs(found - 85) < 1e-6, f"one column keeps 120 %, one 50 %: 85 % on average, you get {found}."


@exercise("05.2")
def _(score):
    original = {"a": 50.0, "target": 50.0, "b": 80.0}
    found = score({"b": 40.0, "target": 10.0, "a": 60.0}, original)
    assert found is not None, "return the Score in percent."
    assert abs(found - 2.3 / 3) > 1e-6, "that is a share; wanted is percent."
    assert abs(found - 250 / 3) > 1e-6, "a gain must not pay for a loss: min(1, a / a0) for all columns but the target."
    assert abs(found - 170 / 3) > 1e-6, "the target counts what is *gone*, 1 - a / a0."
    assert abs(found - 230 / 3) < 1e-6, f"the columns count 0.8, 1 and 0.5, together 76.7 %; you get {found}."
    worse = score({"a": 50.0, "target": 60.0, "b": 80.0}, original)
    assert abs(worse - 60) < 1e-6, (
        f"a target that gains counts below zero, 1 - 1.2, and the Score is 60; you get {worse}."
    )


@exercise("05.3")
def _(micro_macro):
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 3, 3])
    guess = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 3, 2])
    found = micro_macro(guess, labels)
    assert found is not None and len(found) == 2, "return the pair (micro, macro)."
    micro, macro = (float(value) for value in found)
    assert abs(micro - 0.8) > 1e-4, "these are shares; wanted is percent."
    assert abs(micro - 80) < 1e-4, f"eight of these ten images are right, micro is 80 %; you get {micro}."
    assert macro == macro, "macro is NaN: one class has no images (0 / 0); leave it out."
    assert abs(macro - 80) > 1e-4, "macro is the mean over *classes*, not over images."
    assert abs(macro - 50) > 1e-4, "no image has label 2, so that class has no accuracy: leave it out of the mean."
    assert abs(macro - 200 / 3) < 1e-3, f"the classes' accuracies are 100, 50 and 50 %, macro 66.7 %; you get {macro}."


@exercise("05.4")
def _(avoided):
    assert avoided(0, 1000, 10) is not None, "return True or False."
    assert not avoided(100, 1000, 10), "100 hits of 1000 among ten names is just chance."
    assert avoided(0, 1000, 10), "no hit in 1000, where chance gives 100, is no accident."
    assert not avoided(0, 15, 10), (
        "15 images show little: a guesser, too, has no hit among them in one case of five. "
        "It is not enough to compare hits / n with chance."
    )
    assert not avoided(0, 1000, 345), "among 345 names chance gives three hits of 1000, and none in 5 cases of 100."
    assert avoided(0, 50, 10) and not avoided(0, 40, 10), (
        "with no hit among ten names, 1 % is passed between 40 and 50."
    )
    assert avoided(70, 1000, 10) and not avoided(80, 1000, 10), "add up the probabilities of *all* counts up to `hits`."


@exercise("05.5")
def _(neighbours_kept):
    generator = torch.Generator().manual_seed(0)
    before, after = (F.normalize(torch.randn(40, 6, generator=generator), dim=1) for _ in range(2))

    def overlap(k: int, skip: int) -> float:
        """The share, the first `skip` of the nearest left out (an image is its own nearest)."""
        near = [(z @ z.T).argsort(dim=1, descending=True)[:, skip : skip + k].tolist() for z in (before, after)]
        return sum(len(set(a) & set(b)) / k for a, b in zip(*near)) / len(before)

    found = neighbours_kept(before, after, 4)
    assert found is not None, "return the mean share, 0 to 1."
    found = float(found)
    assert abs(found - overlap(4, 0)) > 1e-6, "every image is its own nearest: leave it out, or it is always kept."
    assert abs(found - 4 * overlap(4, 1)) > 1e-6, "that is a number of neighbours; divide by k."
    assert abs(found - overlap(4, 1)) < 1e-6, (
        f"the share is {overlap(4, 1):.3f} here, you get {found:.3f}; their order does not matter, only which they are."
    )
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    assert abs(float(neighbours_kept(before, before @ turn, 4)) - 1) < 1e-6, (
        "a rotation of all embeddings keeps every neighbour: look for them within each model, never across the two."
    )


# --------------------------------------------------------------------------------------------------
# 06 ImageNet
@exercise("06.1")
def _(class_index):
    folders = ["n02490219", "n01440764", "n15075141", "n01669191", "n02123045"]
    found = class_index(folders, "n01669191")
    assert found != 3, "a folder lists its entries in any order: sort the wnids first."
    assert found != 2, "class indices start at 0."
    assert found == 1, f"the second wnid in alphabetical order is class 1, not {found}."
    assert class_index(folders, "n15075141") == 4, "right for n01669191 only: does your answer depend on the wnid?"
    assert folders[0] == "n02490219", "you sorted the reader's list in place: make a new one."


@exercise("06.2")
def _(head):
    generator = torch.Generator().manual_seed(0)
    t = F.normalize(torch.randn(5, 8, 6, generator=generator) + torch.randn(5, 1, 6, generator=generator), dim=-1)
    found = head(t.clone())
    assert tuple(found.shape) != (8, 6), "average over the prompts (axis 1), not over the classes."
    assert tuple(found.shape) == (5, 6), f"one row a class, (5, 6), not {tuple(found.shape)}."
    assert not torch.allclose(found, t.mean(1), atol=1e-5), (
        "the mean of unit vectors is shorter than one, and shorter where the wordings disagree: bring it back to one."
    )
    assert torch.allclose(found, F.normalize(t.mean(1), dim=-1), atol=1e-5), "the mean over the prompts, at length one."


@exercise("06.3")
def _(labels_of):
    wnids = ["n02490219", "n01440764", "n15075141", "n01669191"]
    devkit = {1: "n15075141", 2: "n02490219", 3: "n01440764", 4: "n01669191"}
    lines = ["2", "4", "1", "1", "3"]
    found = labels_of(lines, devkit, wnids)
    assert list(found) != [1, 3, 0, 0, 2], "an id less one is no class index: the devkit numbers classes its own way."
    assert list(found) != [0, 3, 2, 2, 1], "the order of `wnids` as given means nothing: their alphabetical one does."
    assert list(found) == [2, 1, 3, 3, 0], f"wanted is [2, 1, 3, 3, 0], you get {list(found)}: id → wnid → place."
    assert list(labels_of(["3\n"], devkit, wnids)) == [0], "a line of a file ends with a line break: int() ignores it."


# --------------------------------------------------------------------------------------------------
# 07 Styles
@exercise("07.1")
def _(siblings):
    pairs = [("cat", "photos"), ("cat", "sketches"), ("dog", "sketches"), ("cat", "icons"), ("cat", "photos")]
    found = siblings(("cat", "sketches"), pairs)
    assert ("dog", "sketches") not in found, "a sketch of a dog bears another label: it is `other`, not a sibling."
    assert ("cat", "sketches") not in found, "the target is not its own sibling."
    assert len(found) == len(set(found)), "each sibling once, however many images it has."
    assert set(found) == {("cat", "photos"), ("cat", "icons")}, f"cats in the other styles, not {sorted(found)}."


@exercise("07.2")
def _(style_accuracy):
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    styles = torch.tensor([0] * 20 + [1] * 20 + [2] * 4)
    spread = torch.tensor([0.3, 0.9, 0.9])[styles, None]  # a style that varies more has a shorter mean
    z = F.normalize(centres[styles] + spread * torch.randn(44, 3, generator=generator), dim=1)
    means = F.normalize(torch.stack([z[styles == s].mean(0) for s in range(3)]), dim=1)
    wanted = 100 * ((z @ means.T).argmax(1) == styles).double().mean().item()
    found = float(style_accuracy(z, styles))
    assert abs(found - wanted / 100) > 1e-6, "that is a share; wanted is percent."
    sums = torch.stack([z[styles == s].sum(0) for s in range(3)])
    assert abs(found - 100 * ((z @ sums.T).argmax(1) == styles).double().mean().item()) > 1e-6, (
        "a style of many images has a longer sum, and wins by its length: bring every mean to length one."
    )
    plain = torch.stack([z[styles == s].mean(0) for s in range(3)])
    assert abs(found - 100 * ((z @ plain.T).argmax(1) == styles).double().mean().item()) > 1e-6, (
        "a style that varies little has a longer mean, and wins by its length: bring every mean to length one."
    )
    assert abs(found - wanted) < 1e-4, f"wanted is {wanted:.1f}, you get {found:.1f}: the nearest *unit* mean wins."


@exercise("07.3")
def _(otherwise):
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 1])
    before = logits.clone()
    p = otherwise(logits, labels)
    assert torch.equal(logits, before), "you changed the logits in place: work on a copy."
    assert tuple(p.shape) == (2, 3), f"keep all classes, (2, 3): the own one at zero; you return {tuple(p.shape)}."
    assert torch.isfinite(p).all(), "not all numbers are finite: only the *own* class of each image goes."
    assert p[0, 0] == 0 and p[1, 1] == 0, "an image's own class has probability zero, whatever it was."
    assert p[0, 1] > 0 and p[1, 0] > 0, "you removed the labels of *all* images; each loses only its own."
    assert torch.allclose(p.sum(1), torch.ones(2)), "probabilities sum to one: remove the logit before the softmax."
    assert torch.allclose(p[0, 1:], torch.tensor([1.0, 0.0]).softmax(0)), "the others keep their proportions."


# --------------------------------------------------------------------------------------------------
# 08 Batches
@exercise("08.1")
def _(combinations):
    found = combinations({"a": [1, 2], "b": ["x", "y"]}, [])
    assert isinstance(found, list) and all(isinstance(s, dict) for s in found), "return a list of dicts."
    assert len(found) != 2, "that pairs the first with the first; wanted is every value with every other."
    wanted = [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted)), f"wanted are four sets, you have {found}."
    assert found == wanted, "the sets are right, their order is not: the last name varies fastest."
    found = combinations({"a": [1, 2], "b": ["x", "y"]}, [{"a": 2, "b": "y"}])
    assert len(found) != 1, "a set that agrees with an entry in *one* value only stays."
    assert found == wanted[:3], "the set a=2, b=y goes out, and no other."
    assert combinations({"a": [1, 2], "b": ["x", "y"]}, [{"a": 1}, {"b": "x"}]) == wanted[3:], (
        "a set goes out if *one* of the entries describes it."
    )


@exercise("08.2")
def _(spread):
    found = spread([("few", 0, 2.0), ("many", 0, 5.0), ("few", 1, 4.0), ("few", 2, 9.0)])
    assert isinstance(found, dict) and set(found) == {"few", "many"}, "return a dict with every setting."
    assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in found.values()), (
        "each value is a pair (mean, sd)."
    )
    mean, sd = found["few"]
    assert abs(mean - 5) < 1e-6, f"the mean of 2, 4 and 9 is 5, you get {mean}."
    assert abs(sd - (26 / 3) ** 0.5) > 1e-6, "divide by n - 1: the mean was taken from the same values."
    assert abs(sd - 13) > 1e-6, "that is the variance; take its root."
    assert abs(sd - 13**0.5) < 1e-6, f"the squares of -3, -1 and 4 over 2, and the root: 3.61; you get {sd:.2f}."
    assert found["many"] == (5.0, None), "one value has no spread: None, not 0, which would say that it is certain."


@exercise("08.3")
def _(key):
    defaults = {"seed": 0, "target": "cat"}
    one = key({"target": "dog", "seed": 1}, defaults)
    assert isinstance(one, str) and len(one) <= 64, "return a text of at most 64 characters, such as a part of a hash."
    assert key({"seed": 1, "target": "dog"}, defaults) == one, "the order in which values were written must not count."
    assert key({}, defaults) == key({"seed": 0}, defaults), (
        "a value that was given and is the default makes no other run."
    )
    assert key({"seed": 2, "target": "dog"}, defaults) != one, "another seed is another run."
    assert key({"seed": "1", "target": "dog"}, defaults) != one, "the word '1' is not the number 1."
    assert key({"a": 12}, {"a": 0, "b": 3}) != key({"a": 1}, {"a": 0, "b": 23}), "put something between the values."
    long = [key({"text": "x" * 99 + end}, {"text": ""}) for end in "ab"]
    assert len(long[0]) <= 64 and long[0] != long[1], (
        "long values that differ at the end are two runs: hash, don't cut."
    )
