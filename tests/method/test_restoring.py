"""The model soup: ends exact, integers left alone. The plane edit: in the weights what it is in the embedding."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_data import random_clip

from forgetkit.editing import Plane, push, separating
from forgetkit.models import ModelError
from forgetkit.recipe import Recipe
from forgetkit.restoring import choose_alpha, choose_edit, restore, soup

WHAT = ("images", "labels")
SMALL = dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None)


@pytest.fixture
def pair():
    return random_clip(SMALL, seed=1).model, random_clip(SMALL, seed=2).model


@pytest.mark.parametrize("alpha", [0, 1])
def test_ends_are_returned_exactly(pair, alpha):
    end = pair[1 - alpha].state_dict()
    blended = soup(*pair, alpha)
    assert blended.keys() == end.keys()
    assert all(torch.equal(blended[k], end[k]) for k in end if end[k].is_floating_point())


def test_middle_is_the_weighted_mean(pair):
    f, o = (model.state_dict() for model in pair)
    key = "visual.layer2.0.conv2.weight"
    torch.testing.assert_close(soup(*pair, 0.25)[key], 0.25 * f[key] + 0.75 * o[key])


def test_equal_statistics_and_integer_counters_stay_to_the_bit(pair):
    unlearned, original = pair
    original.visual.bn1.load_state_dict(unlearned.visual.bn1.state_dict())
    unlearned.visual.bn2.num_batches_tracked.fill_(7)
    blended = soup(unlearned, original, 0.3)
    assert torch.equal(blended["visual.bn1.running_var"], original.visual.bn1.running_var)
    assert blended["visual.bn2.num_batches_tracked"].item() == 7
    assert blended["visual.bn2.num_batches_tracked"].dtype == torch.int64


def test_other_architecture_is_told(pair):
    other = random_clip({**SMALL, "width": 16}).model
    with pytest.raises(ValueError, match="differ in architecture"):
        soup(pair[0], other, 0.5)


def test_alpha_is_the_largest_that_is_nearly_best():
    table = pd.DataFrame({"alpha": [0.0, 0.5, 0.8, 1.0], "score": [60.0, 99.0, 98.6, 98.4]})
    assert choose_alpha(table) == choose_alpha(table.sample(frac=1, random_state=0)) == 0.8
    assert choose_alpha(table.assign(score=[60.0, 99.0, 98.0, 96.0])) == 0.5
    assert choose_alpha(table.assign(score=float("nan"))) == 1.0, "the original knew nothing of the target"


@pytest.mark.parametrize(
    "scores, chosen",
    [
        ([96.0, 97.0, 96.8, 97.2], (1.0, -0.5)),  # of those within half a point, no strength is needed less
        ([96.8, 97.0, 96.9, 97.2], (0.0, 0.0)),
        ([float("nan")] * 4, (0.0, 0.0)),
    ],
)
def test_the_edit_is_the_least_that_is_nearly_best(scores, chosen):
    table = pd.DataFrame({"strength": [0.0, 2.0, 1.0, 2.0], "shift": [0.0, 0.0, -0.5, 1.0], "score": scores})
    assert choose_edit(table) == chosen


def one_label(colours):
    """`colours` with `red`, to forget, and its siblings under one label: red, and yellow."""
    called = {0: 0, 1: 0, 2: 0, 3: 1}

    def named(part):
        return replace(part, labels=np.array([called[int(c)] for c in part.labels]), classes=("red", "yellow"))

    parts = {name: {n: named(p) for n, p in getattr(colours, name).items()} for name in ("calibration", "validation")}
    return replace(
        colours, forget=named(colours.forget), retain=named(colours.retain), test=parts["validation"], **parts
    )


@pytest.fixture(params=["vit", "resnet"])
def tower(request):
    """A random tower of either kind; the ViT's last LayerNorm has a bias, as a trained one's."""
    clip = request.getfixturevalue(request.param)
    if request.param == "vit":
        with torch.no_grad():
            clip.model.visual.ln_post.bias.normal_(generator=torch.Generator().manual_seed(0)).add_(1.0)
            clip.model.visual.ln_post.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return clip


def test_an_edit_in_the_weights_is_the_edit_of_the_embedding(tower, colours):
    """The label's logit falls by s + h at m_f and by h at m_r; those of the other texts stay."""
    sets = one_label(colours).on(tower)
    with torch.no_grad():
        d_f, d_r = (tower.model.visual(part.images) for part in (sets.forget, sets.retain))
    m_f, m_r, one = d_f.mean(0), d_r.mean(0), d_f.norm(dim=1).mean() / tower.scale
    a = separating(d_f, d_r, ridge=1.0)
    plane = Plane(a, a @ m_r, push(sets.head, [0], one))
    for mean, fall in ((m_f, 3.5), (m_r, 0.5)):
        told = (mean - plane.moved(mean[None], strength=3.0, shift=0.5)[0]) @ sets.head.T / one
        torch.testing.assert_close(told, torch.tensor([fall, 0.0]), rtol=1e-3, atol=1e-3)
    after = tower.copy()
    after.model.visual.load_state_dict(plane.edit(tower.model.visual, strength=3.0, shift=0.5))
    with torch.no_grad():
        moved = after.model.visual(sets.retain.images)
    torch.testing.assert_close(moved, plane.moved(d_r, 3.0, 0.5), rtol=1e-3, atol=1e-3)


def test_a_plane_edit_ends_stage_three_where_siblings_bear_the_label(tower, colours):
    recipe, unlearned = Recipe.default().restore, tower.copy("remind", stage="remind")
    sets = one_label(colours).on(tower)
    record = restore(unlearned, tower, sets, recipe).record
    table = pd.DataFrame(record["edits"])
    assert tuple(record["edit"].values()) == choose_edit(table) and len(table) > len(recipe.strengths)
    for name, known in (("target", sets.forget), ("retain", sets.retain)):  # chosen on D_m, D_f and D_r together
        images, labels = (torch.cat([getattr(part, of) for part in (sets.calibration[name], known)]) for of in WHAT)
        right = (tower.embed(images) @ sets.head.T).argmax(1) == labels
        assert table.loc[0, name] == pytest.approx(100 * right.float().mean().item(), abs=0.01)
    assert "edit" not in restore(unlearned, tower, colours.on(tower), recipe).record, "a label of its own"
    assert "edit" not in restore(unlearned, tower, sets, Recipe.paper().restore).record


def test_a_plane_edit_follows_where_the_soup_went_back_to_the_original(resnet, colours):
    unlearned = resnet.copy("remind", stage="remind")
    with torch.no_grad():
        unlearned.model.visual.layer2[0].conv1.weight.mul_(-1)  # well before the last layer
    recipe = Recipe.default(restore={"alphas": (0.0,)}).restore
    restored = restore(unlearned, resnet, one_label(colours).on(resnet), recipe)
    assert restored.record["alpha"] == 0 and "edit" in restored.record


def test_a_tower_whose_end_takes_no_edit_goes_without(vit, colours, caplog):
    """A LayerNorm without a bias has no constant in what it makes."""
    vit.model.visual.ln_post.bias.data.zero_()
    sets = one_label(colours).on(vit)
    recipe = Recipe.default(restore={"strengths": (1.0,)}).restore
    restored = restore(vit.copy("remind", stage="remind"), vit, sets, recipe)
    assert "edit" not in restored.record and "leaves the plane edit out" in caplog.text


def test_a_push_that_no_direction_gives_is_told():
    head = torch.eye(3)[[0, 1, 1]]
    with pytest.raises(ModelError, match="no direction is its own"):
        push(head, [1], torch.tensor(1.0))
    assert push(head, [0], torch.tensor(2.0)).tolist() == pytest.approx([2.0, 0.0, 0.0])
