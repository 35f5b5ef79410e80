"""Exercises of notebook 02, forgetting."""

import torch

from forgetkit.lessons.committed import committed
from forgetkit.lessons.exercises.checking import exercise, expect, expect_choice


@exercise("02.1")
def fisher_information(information):
    g = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) + 0.3
    found, wanted = float(information(g.clone())), g.square().sum(1).mean()
    wrong = {
        g.mean(0).square().sum(): "opposite gradients cancelled: square each sample's first, average then.",
        g.square().sum(): "that is the sum over samples; a set of more images would weigh more. Take the mean.",
        g.square().mean(): "the squared length is a *sum* over the layer's weights; only over samples is it a mean.",
        g.norm(dim=1).mean(): "the lengths are not squared yet.",
    }
    hint = f"{wanted:.3f} here, you get {found:.3f}: the squared length of each sample's gradient, then their mean."
    expect(found, wanted, hint, wrong)
    few = g[:3, :2]  # not a number that happens to fit
    expect(information(few), few.square().sum(1).mean(), "right for 5 samples of 7 weights, wrong for 3 of 2.")


@exercise("02.2")
def adapted_kernel(adapted):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    a, b = torch.randn(2, 36, generator=generator), torch.randn(6, 2, generator=generator)
    before = weight.clone()
    found = adapted(weight, a, torch.zeros(6, 2), 2.0)
    assert tuple(found.shape) == (6, 4, 3, 3), f"a kernel (6, 4, 3, 3) goes in and comes out, not {tuple(found.shape)}."
    assert torch.equal(found, before), "with B = 0 the kernel must come out as it went in, to the bit."
    change, wanted = adapted(weight, a, b, 2.0) - before, (b @ a).view(6, 4, 3, 3)
    assert torch.equal(weight, before), "the original weight was changed in place: add into a new tensor."
    assert not torch.allclose(change, wanted, atol=1e-4), "the scale (alpha / r) is missing."
    hint = "B A is (out, in * kh * kw): reshape it to (out, in, kh, kw) without permuting."
    assert torch.allclose(change, 2 * wanted, atol=1e-4), hint


@exercise("02.3")
def hinge_loss(hinge):
    # the images count 5 + 1 + 2 = 8, 1 - 2 + 2 = 1, and 0, since 0 - 9 + 2 is below it
    logits = torch.tensor([[5.0, -1.0, -2.0], [1.0, 2.0, 0.0], [0.0, 9.0, 1.0]])
    found = hinge(logits.clone(), torch.tensor([0, 0, 0]), 2.0)
    wrong = {
        2 / 3: "where another class leads by more than the margin the loss is zero, not negative: that is its floor.",
        1: "the own class is among the others: take its logit out before the maximum.",
        8 / 3: "a logit of zero wins where all others are negative: take the own one out, or make it minus infinity.",
        2: "where is the margin? Without it the loss ends at the tie.",
    }
    hint = f"(8 + 1 + 0) / 3 = 3 here, you get {float(found):.3g}: own less best other plus margin, mean over images."
    expect(found, 3, hint, wrong)
    second = float(hinge(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1]), 0.5))
    expect(second, 1.5, f"for label 1 and margin 0.5: 2 - 1 + 0.5 = 1.5, you get {second:.3g}; are both read?")


@exercise("02.4")
def stopping_rule(stops_at):
    found = stops_at([70.0, 30.0, 4.0, 1.0, 6.0, 5.0, 0.5, 0.0, 0.9, 0.8, 3.0, 2.0, 2.0], 1.0)
    wrong = {
        6: "*at most* the limit: a check at exactly 1 % already ends it, and every further step is damage.",
        4: "checks are counted from 0.",
        7: "the *first* check within the limit ends it, not the lowest.",
        9: "the loop has ended long before the last check within the limit.",
    }
    expect(found, 3, f"the first check at or below 1 % is number 3, you say {found}.", wrong, within=0)
    at_once = "a model that knows nothing of the target stops at once, at the *first* check."
    expect(stops_at([0.5, 0.4], 1.0), 0, at_once, within=0)
    for never in ([70.0, 30.0], []):
        found = stops_at(never, 1.0)
        expect(found, -1, f"at {never} the limit is never met, which is -1, not {found}.", within=0)


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
    assert min(batch(r_a), batch(r_b)) > 0, "the retain gradients must not vanish, nor cancel."
    right, wrong = (each(f_a) / each(r_a), each(f_b) / each(r_b)), (batch(f_a) / batch(r_a), batch(f_b) / batch(r_b))
    told = "per image the ratios are {:.2f} and {:.2f}, of whole batches {:.2f} and {:.2f}".format(*right, *wrong)
    assert right[0] > right[1], f"{told}: per image, layer a must come first."
    assert wrong[1] > wrong[0], f"{told}: of whole batches, layer b must come first. Where do gradients cancel?"


@exercise("02.7")
def column_that_falls_most(column):
    rows = committed("quickstart").set_index(["kind", "forget"])  # accuracies, by the model that has them
    before, after = (rows.loc[rows["model"] == model, "retain":"emoji"] for model in ("original", "forget"))
    left = (100 * after / before).mean()
    hint = "on average {} keeps {:.0f} % of itself, and another column less. Which images are least like those read?"
    expect_choice(column, left, left.idxmin(), hint)
