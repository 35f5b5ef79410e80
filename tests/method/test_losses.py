"""Distillation losses, the guard, the mmd, and the images of no class."""

import pytest
import torch
import torch.nn.functional as F

from forgetkit.losses import class_distillation, feature_distillation, hinge, mmd
from forgetkit.synthetic import abstract_images, strokes, turned

SCALE = torch.tensor(10.0)
HEAD = torch.eye(3, 4)


def unit(*rows):
    return F.normalize(torch.tensor(rows), dim=-1)


def test_hinge_measures_the_lead_of_the_own_text_and_has_a_floor():
    z, labels = HEAD[:1].clone().requires_grad_(), torch.tensor([0])
    assert hinge(z, labels, HEAD, SCALE, margin=2.0).item() == pytest.approx(10 - 0 + 2)
    other = HEAD[1:2].clone().requires_grad_()
    loss = hinge(other, labels, HEAD, SCALE, margin=2.0)
    loss.backward()
    assert loss.item() == 0 and not other.grad.any(), "where another class leads by the margin, nothing pulls"


def test_class_distillation_is_zero_for_equals_and_grows_with_the_distance():
    teacher = unit([1.0, 0.5, 0.2, 0.1])
    assert class_distillation(teacher, teacher, HEAD, SCALE).item() == pytest.approx(0, abs=1e-6)
    near, far = (class_distillation(unit(row), teacher, HEAD, SCALE) for row in ([1, 0.6, 0.2, 0], [0, 0, 1.0, 0]))
    assert 0 < near < far
    s, t = (F.softmax(SCALE * z @ HEAD.T, -1) for z in (unit([1, 0.6, 0.2, 0]), teacher))
    assert near.item() == pytest.approx((t * (t / s).log()).sum().item(), rel=1e-4)


def test_a_removed_class_has_no_say():
    teacher = torch.tensor([[0.9, 0.3, 0.2, 0.0]])
    moved = torch.tensor([[-0.9, 0.3, 0.2, 0.0]])  # only the similarity to class 0 differs
    assert class_distillation(moved, teacher, HEAD, SCALE, without=[0]).item() == pytest.approx(0, abs=1e-6)
    assert class_distillation(moved, teacher, HEAD, SCALE).item() > 1


def test_feature_distillation_leaves_the_freed_direction_alone():
    teacher, moved = torch.tensor([[0.8, 0.4, 0.2, 0.1]]), torch.tensor([[-0.8, 0.4, 0.2, 0.1]])
    assert feature_distillation(moved, teacher, HEAD[:1]).item() == pytest.approx(0, abs=1e-6)
    assert feature_distillation(moved, teacher).item() > 0.5


def cloud(n: int, centre: torch.Tensor, seed: int) -> torch.Tensor:
    """n unit embeddings around a centre (D,)."""
    return F.normalize(centre + 0.5 * torch.randn(n, len(centre), generator=torch.Generator().manual_seed(seed)), dim=1)


def test_discrepancy_is_its_equation_and_vanishes_only_for_one_distribution():
    here, there = torch.eye(8)[0], torch.eye(8)[1]
    siblings, alike, apart = cloud(40, here, 0), cloud(30, here, 1), cloud(30, there, 2)
    width = sum(1 - siblings[i] @ siblings[j] for i in range(40) for j in range(40) if i != j) / (40 * 39)
    k = lambda x, y: sum(float(torch.exp(-(1 - x @ y) / (r * width))) for r in (0.25, 0.5, 1, 2))
    pairs = lambda x: sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (len(x) * (len(x) - 1))
    across = sum(k(a, b) for a in apart for b in siblings) / (30 * 40)
    value = mmd(apart, siblings).item()
    assert value == pytest.approx(pairs(apart) + pairs(siblings) - 2 * across, rel=1e-4)
    assert abs(mmd(alike, siblings).item()) < 0.1 * value, "drawn alike, there is nothing to tell apart"
    narrow = F.normalize(here + 0.05 * torch.randn(30, 8, generator=torch.Generator().manual_seed(3)), dim=1)
    assert mmd(narrow, siblings) > 0.1 * value, "the same mean is not the same distribution"


def test_descending_the_discrepancy_hides_a_cloud_from_a_plane():
    siblings, moved = cloud(60, torch.eye(8)[0], 0), torch.nn.Parameter(cloud(60, torch.eye(8)[1], 1))
    optimizer = torch.optim.Adam([moved], lr=0.05)

    def found() -> float:  # of the moved, by the plane between the two means
        z = F.normalize(moved.detach(), dim=1)
        plane = z.mean(0) - siblings.mean(0)
        middle = (z.mean(0) + siblings.mean(0)) @ plane / 2
        return ((z @ plane > middle).double().mean() + (siblings @ plane < middle).double().mean()).item() / 2

    assert found() > 0.9
    for _ in range(100):
        optimizer.zero_grad()
        mmd(F.normalize(moved, dim=1), siblings).backward()
        optimizer.step()
    assert found() < 0.75


def test_discrepancy_is_finite_for_single_and_equal_images():
    one = cloud(1, torch.eye(8)[0], 0).requires_grad_()
    for siblings in (one.detach(), one.detach().repeat(5, 1)):
        loss = mmd(one, siblings)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(one.grad).all()


def test_abstract_images_are_valid_and_of_every_kind(mini, colours):
    x = mini.preprocess(colours.retain.images)
    draw = lambda seed: abstract_images(mini, x, 21, torch.Generator().manual_seed(seed))
    images = draw(0)
    assert images.shape == (21, 3, 64, 64)
    low, high = mini.pixel_range()
    assert (images >= low - 1e-5).all() and (images <= high + 1e-5).all()
    assert torch.equal(images, draw(0)) and not torch.equal(images, draw(1))
    pixels = mini.to_pixels(images)
    grey = (pixels - pixels.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-4
    assert grey.sum() == 9, "edges, grey ones and strokes have no colour"
    assert len(abstract_images(mini, x, 5, torch.Generator())) == 5


def test_a_turned_image_keeps_its_middle_and_its_colours():
    x = torch.rand(1, 3, 1, 1).expand(1, 3, 9, 9).clone()
    x[..., 4, 4] = 1.0
    found = turned(x, torch.Generator().manual_seed(0))
    assert found.shape == x.shape and torch.allclose(found[..., 4, 4], x[..., 4, 4], atol=1e-5)
    assert torch.allclose(found[..., 0, 0], x[..., 0, 0], atol=1e-5)


def test_strokes_are_dark_on_white_and_each_another():
    found = strokes(4, (32, 24), torch.Generator().manual_seed(0))
    assert found.shape == (4, 3, 32, 24) and found.amax() == 1 and found.amin() == 0
    assert (found.flatten(1).mean(1) > 0.5).all() and not torch.equal(found[0], found[1])


def test_with_every_class_removed_there_is_nothing_to_distil():
    """A whole style is forgotten over all classes: nothing else is left to call its images."""
    student = HEAD[[0, 1]].clone().requires_grad_()
    loss = class_distillation(student, HEAD[[1, 0]], HEAD, SCALE, without=list(range(len(HEAD))))
    loss.backward()
    assert loss.item() == 0 and student.grad.abs().sum() == 0
