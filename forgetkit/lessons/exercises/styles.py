"""Exercises of notebook 07, styles."""

import torch
import torch.nn.functional as F

from forgetkit.evaluation import percent
from forgetkit.lessons.exercises.checking import SHARE, exercise, expect


@exercise("07.1")
def siblings_of_a_style(siblings):
    pairs = [("cat", "photos"), ("cat", "sketches"), ("dog", "sketches"), ("cat", "icons"), ("cat", "photos")]
    found = siblings(("cat", "sketches"), pairs)
    assert ("dog", "sketches") not in found, "a sketch of a dog has another label: it is `other`, not a sibling."
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
    nearest = lambda prototypes: percent((z @ prototypes.T).argmax(1) == styles)
    found, wanted = float(style_accuracy(z, styles)), nearest(F.normalize(sums, dim=1))
    wrong = {
        wanted / 100: SHARE,
        nearest(
            sums
        ): "a style of many images has a longer sum, and wins by its length: bring every mean to length one.",
        nearest(sums / torch.tensor([[20.0], [20.0], [4.0]])): (
            "a style that varies little has a longer mean, and wins by its length: bring every mean to length one."
        ),
    }
    expect(found, wanted, f"wanted is {wanted:.1f}, you get {found:.1f}: the nearest *unit* mean wins.", wrong)


@exercise("07.3")
def probabilities_of_the_others(otherwise):
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 1])
    before = logits.clone()
    p = otherwise(logits, labels)
    assert torch.equal(logits, before), "you changed the logits in place: work on a copy."
    assert tuple(p.shape) == (2, 3), f"keep all classes, (2, 3): the own one at zero; you return {tuple(p.shape)}."
    assert p[0, 0] == 0 and p[1, 1] == 0, "an image's own class has probability zero, whatever it was."
    assert torch.allclose(p.sum(1), torch.ones(2)), "probabilities sum to one: remove the logit before the softmax."
    hint = "each image loses its *own* class only, and the others keep their proportions."
    assert torch.allclose(p[0, 1:], torch.tensor([1.0, 0.0]).softmax(0)), hint


@exercise("07.4")
def cells_by_column(counts):
    triples = isinstance(counts, (tuple, list)) and len(counts) == 2 and all(len(c) == 3 for c in counts)
    assert triples, "give two triples (target, siblings, other): for one style of a class, then for a whole style."
    one, whole = (tuple(c) for c in counts)
    assert sum(one) == 21 and sum(whole) == 21, "seven classes in three styles are 21 cells: each is in one column."
    assert one[0] == 1, "one style of one class is one cell."
    assert one[1] == 2, "the siblings are the class's two other styles; other classes in its style are `other`."
    assert whole[0] == 7, "a whole style is a cell of every class."
    assert whole == (7, 14, 0), "every class is a target, so each cell of another style is a sibling: no `other`."


@exercise("07.5")
def style_lost_in_a_mean(after):
    pair = isinstance(after, (tuple, list)) and len(after) == 2 and all(0 <= a <= 100 for a in after)
    assert pair, "give two accuracies in percent, of the photos and of the icons."
    assert 0 in after, "one of the two styles must be lost as a whole: 0 %."
    fall = (1000 * (90 - after[0]) + 3 * (100 - after[1])) / 1003
    assert fall < 1, f"`retain` falls by {fall:.1f} points, and everybody sees it. Which style has few images?"
