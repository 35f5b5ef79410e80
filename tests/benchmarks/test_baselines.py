"""Baselines on synthetic images: each does what its paper says, and leaves alone what it should."""

from dataclasses import replace

import pytest
import torch

from benchmarks.baselines import BASELINES, edited, stopping_rule, train, trained
from forgetkit import accuracies
from forgetkit.editing import raw_embeddings
from forgetkit.evaluation import recognised
from forgetkit.models.clip import ModelError
from forgetkit.models.mini import words

CLOSED = ("projection", "null_space", "erasure")
ONCE = (*CLOSED, "slug", "damp")  # they edit weights a single time
FORGETS = ["ga", "salun", "munba", "text_lora", *CLOSED]


def small(name: str, lr: float) -> dict:
    """Settings under which a baseline is quick."""
    if name == "null_space":  # a random text tower says much the same of all words
        return {"rank": 2, "orthogonal": True}
    return {} if name in CLOSED else {"lr": lr, "batch": 16}


@pytest.fixture(scope="module")
def before(mini, ready):
    return accuracies(mini, ready.test, ready.head)


@pytest.fixture(scope="module")
def said(mini, ready, prototypes):
    """`colours` under words that the text tower says of them, and its own head: for what changes that."""
    texts = mini.head(words(), ready.prompts)
    near = prototypes @ texts.T
    chosen = tuple(words()[w] for w in (near - near.mean(0)).argmax(1))
    head = mini.head(chosen, ready.prompts)
    return replace(ready, forget=replace(ready.forget, classes=chosen), head=head)


@pytest.mark.parametrize("name", BASELINES)
def test_returns_a_new_model_and_leaves_the_statistics(name, mini, ready, said):
    weights = {k: v.clone() for k, v in mini.model.state_dict().items()}
    of_text = name == "text_lora"
    settings = {} if name in ONCE else {"steps": 2, "batch": 8}
    result = BASELINES[name](mini, said, steps=2) if of_text else BASELINES[name](mini, ready, **settings)
    assert result.name == name and result.record["seconds"] > 0
    for key, value in mini.model.state_dict().items():
        assert torch.equal(value, weights[key]), f"{key} of the original changed"
        if "running" in key or "num_batches" in key or key.startswith("visual.") == of_text:
            assert torch.equal(value, result.model.state_dict()[key]), f"{key} changed"
    assert all(torch.isfinite(p).all() for p in result.model.visual.parameters())
    assert not any(p.grad is not None or not p.requires_grad for p in result.model.parameters())


@pytest.mark.parametrize("name", FORGETS)
def test_forgets_the_target(name, mini, ready, said, before):
    """What D_f was recognised by is gone: by the sets' head, or by the result's own texts."""
    if name == "text_lora":
        result = BASELINES[name](mini, said, lr=1e-2)
        before, after = (accuracies(clip, {"target": said.forget})["target"] for clip in (mini, result))
        assert before > after <= 1, (before, after)
        return
    after = accuracies(BASELINES[name](mini, ready, **small(name, 1e-4)), ready.test, ready.head)
    assert before["target"] > 90 and after["target"] < 30, (before, after)


def test_same_seed_same_model(mini, ready):
    a, b, c = (BASELINES["salun"](mini, ready, steps=3, seed=s) for s in (0, 0, 1))
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

    train(mini, loss, steps=50, lr=1e-6, forgotten=lambda clip: forgotten[len(calls) // 2], every=2)
    assert len(calls) == 4


@pytest.mark.parametrize("stop", [0.0, 1.0, 50.0, 100.0])
def test_the_stopping_rule_counts_all_that_it_must(mini, ready, stop):
    """Cut short or not, it says what counting every forget image would."""
    found = recognised(mini, ready.forget, ready.head)
    assert stopping_rule(ready, stop, batch=7)(mini) == (found <= stop)


@pytest.mark.parametrize("name", ["projection", "null_space"])
def test_projection_leaves_the_other_logits(name, mini, ready):
    """The directions removed are orthogonal to the other classes' texts: up to the length of z, their logits stay."""
    after = BASELINES[name](mini, ready, strengths=(1.0,), orthogonal=True)
    x = mini.preprocess(ready.test["retain"].images[:8])
    with torch.no_grad():
        a, b = mini.model.visual(x), after.model.visual(x)
    torch.testing.assert_close(a @ ready.head[1:].T, b @ ready.head[1:].T, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(a @ ready.head[:1].T, b @ ready.head[:1].T, atol=1e-2)


def test_the_null_space_holds_every_word(mini, ready):
    """At strength 1, with all directions kept, no text of the target says anything of an image any more."""
    after = BASELINES["null_space"](mini, ready, words=["crimson"], rank=None, strengths=(1.0,), orthogonal=False)
    texts = torch.cat([ready.head[:1], *(mini.head(["red", "crimson"], [t]) for t in ("{}", "a picture of a {}."))])
    with torch.no_grad():
        z = after.model.visual(ready.retain.images[:8])
    assert (z @ texts.T).abs().max() < 5e-3 * z.norm(dim=1).mean()
    with pytest.raises(ModelError, match="orthogonal=False"):
        edited.span(ready.head[1:2], ready, orthogonal=True)


@pytest.mark.parametrize("held", [0, 40])
def test_erasure_moves_the_forget_set_alone(held, mini, ready):
    """D_f's mean loses what projection takes, and D_r's stays, whatever else is held."""
    after = BASELINES["erasure"](mini, ready, held=held, strengths=(1.0,))
    (f, r), (moved, left) = (
        [raw_embeddings(clip, part.images).mean(0) for part in (ready.forget, ready.retain)] for clip in (mini, after)
    )
    v = edited.span(ready.head[:1], ready, orthogonal=True)
    expected = f - v @ (v.T @ f)
    for found, told in ((left, r), (moved, expected)):
        assert (found - told).norm() < 0.05 * (expected - f).norm(), "bfloat16 keeps two or three digits"


@pytest.mark.parametrize("angle", [0.0, 0.5, -0.9])
def test_munba_solves_the_bargaining_equation(angle):
    """G a = 1 / a with a > 0, for gradients of any length."""
    forget, retain = torch.tensor([5.0, 0.0]), 0.01 * torch.tensor([angle, (1 - angle**2) ** 0.5])
    a = trained.bargain(forget, retain)
    gram = torch.stack([forget, retain]) @ torch.stack([forget, retain]).T
    assert (a > 0).all()
    torch.testing.assert_close(gram @ a, 1 / a)
    assert torch.isfinite(trained.bargain(forget, -forget)).all()


def test_text_lora_keeps_other_texts_and_needs_the_text_tower(mini, ready, said):
    after = BASELINES["text_lora"](mini, said, lr=1e-2).head(said.classes, said.prompts)
    moved = 1 - (after * said.head).sum(1)
    assert moved[0] > 0.1 and moved[1:].mean() < moved[0] / 2, moved
    with pytest.raises(ModelError, match="text tower"):
        BASELINES["text_lora"](mini, ready, steps=1)


@pytest.mark.parametrize("name", ["erasure", "null_space", "projection", "salun"])
def test_a_target_may_bear_every_label(name, mini, ready):
    """As a whole style does: there is no other class for these to turn to."""
    n, classes = len(ready.forget), len(ready.head)
    every = replace(ready, forget=replace(ready.forget, labels=torch.arange(n) % classes))
    settings = {} if name in ONCE else {"steps": 2, "batch": 8}
    result = BASELINES[name](mini, every, **settings, **({"orthogonal": False} if name == "projection" else {}))
    assert all(torch.isfinite(p).all() for p in result.model.visual.parameters())
