"""Exercises of notebook 07, styles."""

import torch
import torch.nn.functional as F

from forgetkit.tutorial.exercises.checking import SHARE, exercise, expect


@exercise("07.1")
def siblings_of_a_style(siblings):
    pairs = [("cat", "photos"), ("cat", "sketches"), ("dog", "sketches"), ("cat", "icons"), ("cat", "photos")]
    found = siblings(("cat", "sketches"), pairs)
    assert ("dog", "sketches") not in found, "a sketch of a dog bears another label: it is `other`, not a sibling."
    assert ("cat", "sketches") not in found, "the target is not its own sibling."
    assert len(found) == len(set(found)), "each sibling once, however many images it has."
    assert set(found) == {("cat", "photos"), ("cat", "icons")}, f"cats in the other styles, not {sorted(found)}."


@exercise("07.2")
def accuracy_of_styles(style_accuracy):
    generator = torch.Generator().manual_seed(0)
    styles = torch.tensor([0] * 20 + [1] * 20 + [2] * 4)
    spread = torch.tensor([0.3, 0.9, 0.9])[styles, None]  # a style that varies more has a shorter mean
    z = F.normalize(torch.eye(3)[styles] + spread * torch.randn(44, 3, generator=generator), dim=1)
    sums = torch.stack([z[styles == s].sum(0) for s in range(3)])
    means = torch.stack([z[styles == s].mean(0) for s in range(3)])

    def percent(prototypes: torch.Tensor) -> float:
        return 100 * ((z @ prototypes.T).argmax(1) == styles).double().mean().item()

    found, wanted = float(style_accuracy(z, styles)), percent(F.normalize(means, dim=1))
    unit = "and wins by its length: bring every mean to length one."
    wrong = {
        wanted / 100: SHARE,
        percent(sums): f"a style of many images has a longer sum, {unit}",
        percent(means): f"a style that varies little has a longer mean, {unit}",
    }
    hint = f"wanted is {wanted:.1f}, you get {found:.1f}: the nearest *unit* mean wins."
    expect(found, wanted, hint, wrong)


@exercise("07.3")
def probabilities_of_the_others(otherwise):
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
