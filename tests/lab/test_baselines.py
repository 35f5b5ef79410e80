"""Baselines on synthetic images: each does what its paper says, and leaves alone what it should."""

import pytest
import torch

from forgetkit import accuracies
from forgetkit.evaluation import recognised
from forgetkit.lab.baselines import BASELINES, stopping_rule, train

FORGETS = ["ga", "random_labels", "ga_retain", "salun", "projection"]


@pytest.fixture(scope="module")
def before(mini, ready):
    return accuracies(mini, ready.test, ready.head)


@pytest.mark.parametrize("name", BASELINES)
def test_returns_a_new_model_and_leaves_the_statistics(name, mini, ready):
    weights = {k: v.clone() for k, v in mini.model.state_dict().items()}
    settings = {} if name == "projection" else {"steps": 2, "batch": 8}
    result = BASELINES[name](mini, ready, **settings)
    assert result.name == name and result.record["seconds"] > 0
    for key, value in mini.model.state_dict().items():
        assert torch.equal(value, weights[key]), f"{key} of the original changed"
        if "running" in key or "num_batches" in key or not key.startswith("visual."):
            assert torch.equal(value, result.model.state_dict()[key]), f"{key} changed"
    assert all(torch.isfinite(p).all() for p in result.model.visual.parameters())
    assert not any(p.grad is not None for p in result.model.visual.parameters())


@pytest.mark.parametrize("name", FORGETS)
def test_forgets_the_target(name, mini, ready, before):
    settings = {} if name == "projection" else {"lr": 1e-4, "batch": 16}
    after = accuracies(BASELINES[name](mini, ready, **settings), ready.test, ready.head)
    assert before["target"] > 90 and after["target"] < 30, (before, after)


def test_same_seed_same_model(mini, ready):
    a, b, c = (BASELINES["random_labels"](mini, ready, steps=3, seed=s) for s in (0, 0, 1))
    same = lambda x, y: all(torch.equal(p, q) for p, q in zip(x.model.parameters(), y.model.parameters()))
    assert same(a, b) and not same(a, c)


def test_masked_entries_stay(mini):
    """SalUn's mask: an entry outside it is the original's to the bit."""
    name = "conv1.weight"
    mask = torch.zeros_like(mini.model.visual.conv1.weight, dtype=torch.bool)
    mask[0] = True
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    loss = lambda student: student.embed_tensor(x).square()[:, 0].sum()
    after = train(mini, loss, steps=2, lr=1e-3, masks={name: mask}, layers=[name])
    moved = after.model.visual.conv1.weight != mini.model.visual.conv1.weight
    assert moved[0].any() and not moved[1:].any()
    assert torch.equal(after.model.visual.conv2.weight, mini.model.visual.conv2.weight), "only the layers named move"


def test_the_stopping_rule_ends_the_training(mini):
    x, forgotten = torch.zeros(2, 3, 64, 64), [False, False, True]
    calls = []

    def loss(student):
        calls.append(1)
        return student.embed_tensor(x).sum()

    train(mini, loss, steps=50, lr=1e-6, forgotten=lambda clip: forgotten[len(calls) // 2], check=2)
    assert len(calls) == 4


@pytest.mark.parametrize("stop", [0.0, 1.0, 50.0, 100.0])
def test_the_stopping_rule_counts_all_that_it_must(mini, ready, stop):
    """Cut short or not, it says what counting every forget image would."""
    found = recognised(mini, ready.forget, ready.head)
    assert stopping_rule(ready, stop, batch=7)(mini) == (found <= stop)


def test_projection_leaves_the_other_logits(mini, ready):
    """The direction removed is orthogonal to the other classes' texts: up to the length of z, their logits stay."""
    after = BASELINES["projection"](mini, ready, strengths=(1.0,))
    x = mini.preprocess(ready.test["retain"].images[:8])
    with torch.no_grad():
        a, b = mini.model.visual(x), after.model.visual(x)
    torch.testing.assert_close(a @ ready.head[1:].T, b @ ready.head[1:].T, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(a @ ready.head[:1].T, b @ ready.head[:1].T, atol=1e-2)
