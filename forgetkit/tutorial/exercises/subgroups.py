"""Exercises of notebook 01, subgroups."""

import numpy as np
import torch
import torch.nn.functional as F

from forgetkit.subgroups import Subgroup
from forgetkit.tutorial.exercises.checking import SHARE, exercise, expect


@exercise("01.1")
def a_subgroup(subgroup):
    assert isinstance(subgroup, Subgroup), "make a `Subgroup(target, siblings)`."
    assert subgroup.target == "truck", f"the target is {subgroup.target!r}, wanted is 'truck'."
    assert isinstance(subgroup.siblings, tuple), 'siblings are a tuple; one of one name is written ("name",).'
    assert subgroup.siblings == ("automobile",), f"the only sibling is 'automobile', not {subgroup.siblings}."


@exercise("01.2")
def zero_shot_accuracy(accuracy):
    z = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.9, 0.1, 0.1], [0.0, 0.2, 0.8]])
    found = float(accuracy(z, torch.eye(3), torch.tensor([0, 1, 1, 2])))
    hint = f"three of these four images are right, 75 %, you get {found}: which text is *most* similar?"
    expect(found, 75, hint, {0.75: SHARE}, within=0)


@exercise("01.3")
def images_in_both_sets(overlap):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    b = np.concatenate([a[4:], rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)])
    assert overlap(a, a[:0]) == 0, "an empty set shares nothing with any other."
    assert overlap(a, b) == 2, f"two images of `b` are also in `a`, you count {overlap(a, b)}; compare whole images."


@exercise("01.4")
def step_of_kmeans(step):
    z = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0], [0.3, 1.0]]), dim=1)
    centres = step(z, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert tuple(centres.shape) == (2, 2), "return the centres, (n, D)."
    on_sphere = torch.allclose(centres.norm(dim=1), torch.ones(2), atol=1e-5)
    assert on_sphere, "the centres left the sphere: divide each mean by its length."
    wanted = F.normalize(torch.stack([z[:2].mean(0), z[2:].mean(0)]), dim=1)
    assert torch.allclose(centres, wanted, atol=1e-5), "every image goes to its *most similar* centre; then average."
