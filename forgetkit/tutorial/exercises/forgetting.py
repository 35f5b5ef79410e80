"""Exercises of notebook 02, forgetting."""

import torch

from forgetkit.tutorial.exercises.checking import exercise, expect


@exercise("02.1")
def fisher_information(information):
    g = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    found = float(information(g.clone()))
    summed = "the squared length is a *sum* over the layer's weights; the mean is over samples."
    wrong = {
        0: "opposite gradients cancelled: square each sample's first, average then.",
        26: "that is the sum over samples; a set of more images would weigh more. Take the mean.",
        3.25: summed,
        13: summed,
    }
    hint = f"(9 + 9 + 4 + 4) / 4 = 6.5 here, you get {found:.3g}; is the length squared?"
    expect(found, 6.5, hint, wrong, within=1e-5)
    for n in (3, 5):  # not a shape that happens to fit
        g = torch.randn(n, 7, generator=torch.Generator().manual_seed(n))
        wanted = g.square().sum(1).mean()
        assert torch.isclose(torch.as_tensor(information(g)).float(), wanted), f"it does not hold for {n} samples."


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
    found = stops_at([70.0, 30.0, 4.0, 1.0, 0.0, 3.0], 1.0)
    wrong = {
        4: "*at most* the limit: a check at exactly 1 % already ends it, and every further step is damage.",
        5: "the loop has ended long before the last check.",
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
