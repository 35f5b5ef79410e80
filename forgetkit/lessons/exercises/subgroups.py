"""Exercises of notebook 01, subgroups."""

import numpy as np
import torch
import torch.nn.functional as F

from forgetkit.evaluation import percent
from forgetkit.lessons.exercises.checking import SHARE, exercise, expect
from forgetkit.subgroups import Subgroup


@exercise("01.1")
def a_subgroup(subgroup):
    assert isinstance(subgroup, Subgroup), "make a `Subgroup(target, siblings)`."
    assert subgroup.target == "truck", f"the target is {subgroup.target!r}, wanted is 'truck'."
    assert subgroup.siblings == ("automobile",), f"the only sibling is 'automobile', not {subgroup.siblings}."


@exercise("01.2")
def zero_shot_accuracy(accuracy):
    generator = torch.Generator().manual_seed(6)
    z, head = (F.normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (20, 3))
    labels = torch.arange(20) % 3
    similarity = z @ head.T
    found, wanted = float(accuracy(z, head, labels)), percent(similarity.argmax(1) == labels)
    wrong = {
        wanted / 100: SHARE,
        percent(z.argmax(1) == labels): "the head is not read: an embedding's largest entry is no class.",
        percent(similarity.argmin(1) == labels): "that is the *least* similar text.",
    }
    hint = f"{wanted / 5:.0f} of these 20 images are right, {wanted:.0f} %, not {found}: which text is most similar?"
    expect(found, wanted, hint, wrong, within=1e-3)
    turned = (labels + 1) % 3
    again = "right for one set of labels only: are they read?"
    expect(accuracy(z, head, turned), percent(similarity.argmax(1) == turned), again, within=1e-3)


@exercise("01.3")
def images_in_both_sets(overlap):
    rng = np.random.default_rng(0)
    a, new = (rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8) for n in (6, 2))
    near = a[0].copy()
    near[2, 3, 1] ^= 1
    b = np.stack([new[0], a[4], near, a[5], a[2, :, ::-1], new[1], a[4], a[0]])
    wrong = {
        3: "an image that stands twice in `b` counts twice.",
        5: "compare every pixel in its place: an image of `b` is mirrored, another differs in one pixel only.",
        0: "an image may stand at another place in `b` than in `a`.",
    }
    found = overlap(a, b)
    expect(found, 4, f"four images of `b` are also in `a`, you count {found}; compare whole images.", wrong, within=0)
    assert overlap(a, a[:0]) == 0, "an empty set shares nothing with any other."
    assert overlap(b, a) == 3, "the other way round it is three: of `a`, each image is there once."


@exercise("01.4")
def step_of_kmeans(step):
    generator = torch.Generator().manual_seed(1)
    start, of = torch.eye(4)[:3], torch.tensor([0, 2, 1, 0, 0, 2, 0, 1, 0])
    z = F.normalize(start[of] + 0.25 * torch.randn(9, 4, generator=generator), dim=1)
    centres = step(z.clone(), start.clone())
    assert tuple(centres.shape) == (3, 4), "return the centres, (n, D)."
    on_sphere = torch.allclose(centres.norm(dim=1), torch.ones(3), atol=1e-5)
    assert on_sphere, "the centres left the sphere: divide each mean by its length."
    assert not torch.allclose(centres, start), "the centres have not moved: average the images of each."
    wanted = F.normalize(torch.stack([z[of == j].mean(0) for j in range(3)]), dim=1)
    assert torch.allclose(centres, wanted, atol=1e-5), "every image goes to its *most similar* centre; then average."


@exercise("01.5")
def images_without_a_centre(z):
    assert isinstance(z, torch.Tensor) and z.ndim == 2 and len(z) > 1, "give a tensor (N, D) of two images or more."
    assert torch.allclose(z.norm(dim=1), torch.ones(len(z)), atol=1e-4), "embeddings have length one: divide each row."
    length = z.mean(0).norm().item()
    assert length < 1e-4, f"their mean has length {length:.2f}, so it has a direction, and the cluster a centre."


@exercise("01.6")
def accuracy_by_heart(reported):
    wrong = {
        0.55: SHARE,
        50: "half of the images it knows by heart; of the others it still guesses one in ten.",
        60: "one in ten of the *other half* is guessed, not of all images.",
        10: "that is what it is worth; what the test *says* counts the images it has seen.",
    }
    expect(reported, 55, "of the seen half all are right, of the other half one in ten.", wrong, within=0.01)
