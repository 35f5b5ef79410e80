"""Exercises of notebook 02, forgetting."""

import pandas as pd
import torch

from forgetkit.lessons.committed import committed
from forgetkit.lessons.exercises.checking import exercise, expect


@exercise("02.1")
def fisher_information(information):
    g = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) + 0.3
    found, lengths, wanted = float(information(g.clone())), g.norm(dim=1), g.square().sum(1).mean().item()
    cancelled = "opposite gradients cancelled: square each sample's first, average then."
    unsquared = "the lengths are not squared yet."
    wrong = {
        g.mean(0).square().sum(): cancelled,
        g.sum(0).square().sum(): cancelled,
        g.mean().square(): cancelled,
        g.var(0, correction=0).sum(): "that is a variance: the mean gradient is not to be taken off.",
        g.var(0).sum(): "that is a variance: the mean gradient is not to be taken off.",
        g.square().sum(): "that is the sum over samples; a set of more images would weigh more. Take the mean.",
        g.square().mean(): "the squared length is a *sum* over the layer's weights; only over samples is it a mean.",
        g.square().sum(0).mean(): "the axes are turned round: sum over weights (1), average over samples (0).",
        lengths.mean(): unsquared,
        lengths.mean().square(): "square each length first, average then.",
        g.abs().sum(1).mean(): unsquared,
        g.abs().sum(1).square().mean(): "the length is Euclidean: square each entry, then sum.",
    }
    wrong = {value.item(): why for value, why in wrong.items()}
    hint = f"{wanted:.3f} here, you get {found:.3f}: the squared length of each sample's gradient, then their mean."
    expect(found, wanted, hint, wrong)
    for n in (1, 3):  # not a shape that happens to fit
        g = torch.randn(n, 2, generator=torch.Generator().manual_seed(n))
        holds = torch.isclose(torch.as_tensor(information(g)).float(), g.square().sum(1).mean())
        assert holds, f"right for 5 samples of 7 weights, wrong for {n} of 2."


@exercise("02.2")
def adapted_kernel(adapted):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    a, b = torch.randn(2, 36, generator=generator), torch.randn(6, 2, generator=generator)
    before = weight.clone()
    found = adapted(weight, a, torch.zeros(6, 2), 2.0)
    assert tuple(found.shape) == (6, 4, 3, 3), f"a kernel (6, 4, 3, 3) goes in and comes out, not {tuple(found.shape)}."
    assert torch.equal(found, before), "with B = 0 the kernel must come out as it went in, to the bit."
    change = adapted(weight, a, b, 2.0) - before
    assert torch.equal(weight, before), "the original weight was changed in place: add into a new tensor."
    wanted = (b @ a).view(6, 4, 3, 3)
    assert not torch.allclose(change, torch.zeros_like(change)), "B is not zero, yet nothing changed."
    assert not torch.allclose(change, wanted, atol=1e-4), "the scale (alpha / r) is missing."
    hint = "B A is (out, in * kh * kw): reshape it to (out, in, kh, kw) without permuting."
    assert torch.allclose(change, 2 * wanted, atol=1e-4), hint


@exercise("02.3")
def hinge_loss(hinge):
    logits = torch.tensor([[5.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 9.0, 1.0]])
    found = hinge(logits.clone(), torch.tensor([0, 0, 0]), 2.0)
    assert torch.as_tensor(found).ndim == 0, "one number for the batch: take the mean over the images."
    # the images count 5 - 1 + 2 = 6, 1 - 2 + 2 = 1, and 0, since 0 - 9 + 2 is below it
    wrong = {
        0: "where another class leads by more than the margin the loss is zero, not negative: that is its floor.",
        7: "that is the sum; take the mean over the images.",
        1: "the own class is among the others: take its logit out before the maximum.",
        2 / 3: "you subtract the margin: the loss must end *past* the tie, so add it.",
        4 / 3: "where is the margin? Without it the loss ends at the tie.",
        14 / 3: "the wrong way round: the loss is large where the *own* class leads.",
    }
    hint = f"(6 + 1 + 0) / 3 = 2.33 here, you get {float(found):.3g}: best other, or all others?"
    expect(float(found), 7 / 3, hint, wrong)
    second = float(hinge(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1]), 0.5))
    expect(second, 1.5, f"for label 1: 2 - 1 + 0.5 = 1.5, you get {second:.3g}; is the label read?", within=1e-5)


@exercise("02.4")
def stopping_rule(stops_at):
    found = stops_at([70.0, 30.0, 4.0, 1.0, 6.0, 5.0, 0.5, 0.0, 0.9, 0.8, 3.0, 2.0, 2.0], 1.0)
    wrong = {
        6: "*at most* the limit: a check at exactly 1 % already ends it, and every further step is damage.",
        4: "checks are counted from 0.",
        7: "the *first* check within the limit ends it, not the lowest.",
        9: "the loop has ended long before the last check within the limit.",
        12: "the loop has ended long before the last check.",
        5: "that is how *many* checks are within the limit.",
        8: "that is how many checks are above the limit; after the first within it there are no more.",
        2: "that is the last check *before* the limit is met.",
        -1: "here the limit is met: what comes after it is never seen, for training has ended.",
    }
    expect(found, 3, f"the first check at or below 1 % is number 3, you say {found}.", wrong, within=0)
    at_once = "a model that knows nothing of the target stops at once, at the *first* check."
    expect(stops_at([0.5, 0.4], 1.0), 0, at_once, within=0)
    never = stops_at([70.0, 30.0], 1.0)
    hint = f"the limit is never met here, which is -1, not {never}: the caller must notice."
    expect(never, -1, hint, within=0)
    expect(stops_at([], 1.0), -1, "without a check there is nothing to stop at: -1.", within=0)


@exercise("02.5")
def losses_that_still_pull(pulling):
    is_set = isinstance(pulling, (set, frozenset, list, tuple)) and set(pulling) <= {"similarity", "hinge", "ascent"}
    assert is_set, 'give a set of names out of "similarity", "hinge" and "ascent".'
    assert "hinge" not in pulling, "the hinge is flat there: another class leads by more than the margin."
    assert "similarity" in pulling, "the cosine has the same slope however low it is: it never stops pulling."
    hint = "d(log p) / d(own logit) = 1 - p goes to 1 as p goes to 0: ascent pulls *hardest* at what is forgotten."
    assert "ascent" in pulling, hint


@exercise("02.6")
def layers_that_change_places(gradients):
    four = isinstance(gradients, (tuple, list)) and len(gradients) == 4
    assert four, "give four tensors: (forget_a, retain_a, forget_b, retain_b)."
    f_a, r_a, f_b, r_b = (torch.as_tensor(g).double() for g in gradients)
    assert all(g.ndim == 2 for g in (f_a, r_a, f_b, r_b)), "each is (N, P): a row an image."
    each, batch = (lambda g: g.square().sum(1).mean().item()), (lambda g: g.mean(0).square().sum().item())
    assert min(each(r_a), each(r_b), batch(r_a), batch(r_b)) > 0, "the retain gradients must not vanish, nor cancel."
    right, wrong = (each(f_a) / each(r_a), each(f_b) / each(r_b)), (batch(f_a) / batch(r_a), batch(f_b) / batch(r_b))
    told = "per image the ratios are {:.2f} and {:.2f}, of whole batches {:.2f} and {:.2f}".format(*right, *wrong)
    assert right[0] > right[1], f"{told}: per image, layer a must come first."
    assert wrong[1] > wrong[0], f"{told}: of whole batches, layer b must come first. Where do gradients cancel?"


@exercise("02.7")
def column_that_falls_most(column):
    kept = left_by_stage_1()
    assert isinstance(column, str) and column in kept, f"give the name of one column: {', '.join(kept.index)}."
    told = f"on average {column} keeps {kept[column]:.0f} % of itself, and another column less."
    assert column == kept.idxmin(), f"{told} Which images are least like those that the stages see?"


def left_by_stage_1() -> pd.Series:
    """What stage 1 leaves of every other column, in percent of the original's: mean over the rows of the quickstart."""
    rows = committed("quickstart").set_index(["kind", "forget"])
    before, after = (rows.loc[rows["model"] == model, "retain":"emoji"] for model in ("original", "forget"))
    return (100 * after / before).mean()
