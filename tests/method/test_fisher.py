"""Relative Fisher information: per sample, then averaged."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

from forgetkit import Recipe
from forgetkit.fisher import choose_layers, relative_fisher, squared_gradients, squared_gradients_in_batches, top_k
from forgetkit.lora import adaptable


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_equals_torchs_own_gradient_per_sample(request, name, caplog):
    clip = request.getfixturevalue(name)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, clip.image_shape[0], clip.image_shape[0], generator=generator)
    text = F.normalize(torch.randn(5, 16, generator=generator), dim=-1)
    tower, names = clip.model.visual, adaptable(clip.model.visual)
    rest = {n: p.detach() for n, p in [*tower.named_parameters(), *tower.named_buffers()]}
    chosen = {n: rest.pop(n) for n in names}

    def similarity(weights, image, t):
        return F.cosine_similarity(functional_call(tower, {**weights, **rest}, (image[None],)), t[None]).squeeze()

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        found = vmap(grad(similarity), in_dims=(None, 0, 0))(chosen, x, text)
    expected = torch.stack([found[n].flatten(1).square().sum(1) for n in names], 1)
    for squares in (squared_gradients, squared_gradients_in_batches):
        mine = squares(tower, x, text, names)
        assert mine.shape == (5, len(names))
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5 * expected.max().item())
    assert not caplog.records, "in batches, no layer is left to the loop"


class Tower(torch.nn.Module):
    """Layers of other towers: a grouped convolution, windows, a matrix on the right, a weight that is used twice."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.window, self.twice = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
        self.proj = torch.nn.Parameter(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        x = self.conv(x).flatten(2).mT.reshape(-1, 8)  # (N * positions, 8)
        x = self.twice(self.twice(self.window(x).tanh()).tanh())
        return x.unflatten(0, (-1, 16)).amax(1) @ self.proj


def test_in_batches_it_equals_the_loop_whatever_the_layer(caplog):
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(37, 4, 4, 4, generator=generator), torch.randn(37, 6, generator=generator)
    names = ["conv.weight", "window.weight", "twice.weight", "proj"]
    expected = squared_gradients(tower := Tower(), x, text, names)
    torch.testing.assert_close(squared_gradients_in_batches(tower, x, text, names), expected, rtol=1e-3, atol=1e-9)
    assert "twice.weight: no plain product" in caplog.text, "what is not known is told, and is the loop's"


def test_batch_gradient_is_another_thing(resnet):
    """The square of the summed gradient would be smaller or larger: per-sample means per-sample."""
    x = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    text = F.normalize(torch.ones(6, 16), dim=-1)
    tower, names = resnet.model.visual, ["conv1.weight"]
    summed = torch.autograd.grad(F.cosine_similarity(tower(x), text).mean(), tower.conv1.weight)[0].square().sum()
    assert not torch.isclose(squared_gradients(tower, x, text, names).mean(), summed, rtol=0.1)


def test_relative_fisher_is_the_ratio_of_means_and_sorted(mini, ready, prototypes):
    forget, retain = ready.forget.take(slice(6)), ready.retain.take(slice(6))
    table = relative_fisher(mini, forget, retain, prototypes)
    assert set(table["layer"]) == set(adaptable(mini.model.visual))
    assert table["ratio"].is_monotonic_decreasing
    assert ((table["ratio"] - table["forget"] / table["retain"]).abs() < 1e-5 * table["ratio"]).all()


def test_top_k_are_the_largest():
    assert top_k(pd.DataFrame({"layer": ["a", "b", "c"], "ratio": [1.0, 3.0, 2.0]}), 2) == ["b", "c"]


def test_the_chosen_layers_are_the_first_of_those_that_may_change(mini, ready):
    recipe = Recipe.default(forget={"k": 3, "fisher_samples": 4}).forget
    layers, table = choose_layers(mini, ready, recipe)
    assert layers == top_k(table, 3)
    assert set(table["layer"]) == set(adaptable(mini.model.visual, recipe.trainable_fraction))
