"""Per-sample Fisher information against a plain loop."""

import time

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from forgetkit import Recipe, fisher
from forgetkit.fisher import choose_layers, relative_fisher, squared_gradients, top_k
from forgetkit.lora import adaptable


def plain_loop(tower, x, text, names):
    params = dict(tower.named_parameters())
    rows = []
    for image, t in zip(x, text):
        sim = F.cosine_similarity(tower(image[None]), t[None]).sum()
        grads = torch.autograd.grad(sim, [params[n] for n in names])
        rows.append(torch.stack([g.square().sum() for g in grads]))
    return torch.stack(rows)


@pytest.mark.parametrize("name, known", [("resnet", True), ("vit", True), ("vit", False)])
def test_equals_a_plain_loop(request, name, known, monkeypatch):
    others = []
    real = fisher._of_others
    monkeypatch.setattr(fisher, "_of_others", lambda *a: others.extend(a[-1]) or real(*a))
    if not known:  # another tower's blocks, of which nothing is assumed
        monkeypatch.setattr(fisher, "_plain_block", lambda _: False)
        monkeypatch.setattr(fisher, "VisionTransformer", ())
    clip = request.getfixturevalue(name)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 3, clip.image_size, clip.image_size, generator=generator)
    text = F.normalize(torch.randn(7, 16, generator=generator), dim=-1)
    tower, names = clip.model.visual, adaptable(clip.model.visual)
    found, expected = squared_gradients(tower, x, text, names, chunk=3), plain_loop(tower, x, text, names)
    assert found.shape == (7, len(names)) and bool(others) == (not known)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.max().item())


def speed_up(tower, names) -> float:
    """How many times as fast as a plain loop, on 128 images; each the best of five, against a busy machine."""
    x, text = torch.randn(128, 3, 64, 64), F.normalize(torch.randn(128, 128), dim=-1)

    def seconds(function):
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            function(tower, x, text, names)
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(plain_loop) / seconds(squared_gradients)


@pytest.mark.slow
def test_convolutions_are_faster_than_a_plain_loop(mini):
    tower = mini.model.visual
    assert speed_up(tower, [n for n in adaptable(tower) if "attnpool" not in n]) >= 2


@pytest.mark.slow
def test_whole_tower_is_three_times_as_fast_as_a_plain_loop(mini):
    assert speed_up(mini.model.visual, adaptable(mini.model.visual)) >= 3


def test_batch_gradient_is_another_thing(resnet):
    """The square of the summed gradient would be smaller or larger: per-sample means per-sample."""
    x = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    text = F.normalize(torch.ones(6, 16), dim=-1)
    tower, names = resnet.model.visual, ["conv1.weight"]
    summed = torch.autograd.grad(F.cosine_similarity(tower(x), text).mean(), tower.conv1.weight)[0].square().sum()
    assert not torch.isclose(squared_gradients(tower, x, text, names).mean(), summed, rtol=0.1)


def test_relative_fisher_is_the_ratio_of_means_and_sorted(mini, colours, prototypes):
    forget, retain = colours.forget.take(range(6)), colours.retain.take(range(6))
    table = relative_fisher(mini, forget, retain, prototypes)
    assert set(table["layer"]) == set(adaptable(mini.model.visual))
    assert table["ratio"].is_monotonic_decreasing
    assert ((table["ratio"] - table["forget"] / table["retain"]).abs() < 1e-5 * table["ratio"]).all()


def test_top_k_says_how_many_layers_there_are():
    table = pd.DataFrame({"layer": ["a", "b", "c"], "ratio": [1.0, 3.0, 2.0]})
    assert top_k(table, 2) == ["b", "c"]
    with pytest.raises(ValueError, match=r"1\.\.3"):
        top_k(table, 4)


def test_layers_can_be_drawn_for_comparison(mini, colours, prototypes):
    fisher = choose_layers(mini, colours, Recipe.default(k=4, fisher_samples=4), prototypes)[0]
    drawn = [
        choose_layers(mini, colours, Recipe.default(k=4, fisher_samples=4, choose="random", seed=s), prototypes)[0]
        for s in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) == 4
    assert drawn[0] != fisher
