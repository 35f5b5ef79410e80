"""What does not fit is done in parts, with the same result."""

import contextlib
import logging
from dataclasses import replace

import open_clip
import pandas as pd
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from forgetkit import Recipe, forget, load_clip, remind, training
from forgetkit.alignment import align
from forgetkit.lora import adaptable
from forgetkit.losses import hinge
from forgetkit.models.clip import Clip
from forgetkit.models.memory import accumulate, halving, to_device
from forgetkit.models.prefix import cuts
from forgetkit.training import Pool, Trainer

QUICK = dict(
    forget=dict(k=2, rank=2, fisher_samples=8, steps=3, stop=None, batch=8),
    remind=dict(rank=2, steps=3, align_steps=1, n_abstract=4, batch=8),
)


def full():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture
def small_memory(monkeypatch):
    """A device that holds at most 9 images' activations, and 20 without."""
    real, asked = Clip.embed_tensor, []

    def embed_tensor(self, x):
        asked.append(len(x))
        if len(x) > (9 if torch.is_grad_enabled() else 20):
            full()
        return real(self, x)

    monkeypatch.setattr(Clip, "embed_tensor", embed_tensor)
    return asked


def test_parts_have_the_gradient_of_the_whole(mini, prototypes):
    """Also for a loss that compares the images of a batch with each other, where a mean over parts would be wrong."""
    x, labels = torch.randn(10, 3, 64, 64), torch.arange(10) % 4
    tower = mini.copy()
    params = [tower.model.visual.get_parameter(name) for name in adaptable(tower.model.visual, 0.3)]

    def loss_of(z):
        return hinge(z, labels, prototypes, mini.scale, 2.0) + (z @ z.T).square().mean()

    found = {}
    for size in (10, 4, 1):
        for p in params:
            p.grad = None
        loss = accumulate(tower.embed_tensor, x, loss_of, size)
        found[size] = [loss, *(p.grad.clone() for p in params)]
    for size in (4, 1):
        for a, b in zip(found[10], found[size]):
            assert (a - b).norm() < 0.02 * a.norm(), "the same to the rounding of bfloat16"


def test_a_full_memory_halves_the_batch_with_a_note(caplog):
    tried = []

    def run(size):
        tried.append(size)
        if size > 5:
            full()
        return size

    with caplog.at_level(logging.WARNING):
        assert halving(run, 40, "remind") == 5
    assert tried == [40, 20, 10, 5]
    assert "remind: 40 images at once do not fit into memory; going on with 20" in caplog.text


def test_an_image_that_does_not_fit_and_other_errors_are_told():
    with pytest.raises(torch.OutOfMemoryError):
        halving(lambda size: full(), 4, "align")
    with pytest.raises(RuntimeError, match="shapes"):
        halving(lambda size: (_ for _ in ()).throw(RuntimeError("shapes differ")), 4, "align")


def test_what_a_failed_attempt_left_does_not_count(mini, monkeypatch):
    weight, calls = torch.nn.Parameter(torch.ones(1)), []

    def embed(_, x):
        calls.append(len(x))
        if len(calls) == 6:  # the second part's backward, after the first part's has left a gradient
            full()
        return x * weight

    monkeypatch.setattr(Clip, "embed_tensor", embed)
    trainer = Trainer("forget", mini, [weight], rate=1e-9)
    trainer.at_once = 2
    pool = Pool(torch.ones(4, 1))
    for _ in range(2):
        assert trainer.backward({"forget": pool}, lambda z, drawn: {"loss": z["forget"].sum()})["loss"] == 4
    assert weight.grad.item() == 4 and trainer.at_once == 1, "once found, the size stays"


@pytest.mark.parametrize("stage", ["forget", "remind"])
def test_a_stage_goes_on_where_the_batch_does_not_fit(stage, mini, ready, request, caplog):
    recipe = Recipe.default(**QUICK).changed(forget={"batch": 16}, remind={"rank": 8, "crops": 0, "margin": 2.0})

    def run():
        found = forget(mini, ready, recipe.forget)
        return found if stage == "forget" else remind(found, mini, ready, recipe.remind)

    whole = run().model.state_dict()
    asked = request.getfixturevalue("small_memory")
    with caplog.at_level(logging.WARNING):
        found = run().model.state_dict()
    assert f"{stage}: " in caplog.text and max(asked) > 9
    before = mini.model.state_dict()
    moved = [k for k in whole if not torch.equal(whole[k], before[k])]
    assert moved
    for k in moved:
        assert (whole[k] - found[k]).norm() < 0.05 * (whole[k] - before[k]).norm(), k


def test_embedding_and_alignment_halve_too(mini, colours, small_memory, monkeypatch, caplog):
    images = colours.retain.images
    with caplog.at_level(logging.WARNING):
        assert mini.embed(images).shape == (30, 128)
        real = mini.model.visual.forward

        def forward(x):
            if len(x) > 9:
                full()
            return real(x)

        monkeypatch.setattr(mini.model.visual, "forward", forward)
        x = mini.preprocess(images)
        aligned = align(mini, x, steps=1)
    assert aligned.images.shape == x.shape
    assert all(f"{what}: 30 images" in caplog.text for what in ("embed", "align"))
    assert "statistics are then those of fewer images" in caplog.text


def test_to_the_cpu_nothing_is_copied():
    x = torch.ones(3)
    assert to_device(x, torch.device("cpu")) is x


class Watch(TorchDispatchMode):
    """Notes every copy from the host that a step waits for. The other way, the meta device has nothing to give."""

    def __init__(self):
        super().__init__()
        self.waits, self.on = [], False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.on:
            here = [t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.numel() > 1]
            to = kwargs.get("device")
            copied = to is not None and torch.device(to).type == "meta" and "cpu" in here
            if (copied and not kwargs.get("non_blocking")) or {"cpu", "meta"} <= set(here):
                self.waits.append(str(function))
        return function(*args, **kwargs)


@pytest.mark.parametrize("stage", ["forget", "remind"])
def test_no_step_waits_for_the_device(stage, resnet, colours, monkeypatch):
    """On the meta device, where reading a value raises, from the end of the first step to the end of the last."""
    assert [*cuts(resnet.model.visual)], "where the tower may be cut is found by values"
    watch, on_meta = Watch(), replace(resnet, model=resnet.model.to("meta"))
    layers = adaptable(on_meta.model.visual)[-2:]
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(training, "rate_for", lambda *_: 1e-3)  # before the steps
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda t: torch.ones(1))  # likewise
    monkeypatch.setattr(training, "float", lambda value: 0.0, raising=False)  # what the record holds in the end
    recipe = Recipe.default(
        forget={**QUICK["forget"], "min_retain": None, "drift": None},  # a look reads, every few steps
        remind={**QUICK["remind"], "align_steps": 0, "n_abstract": 40, "drift": None},
    )
    sets = colours.on(on_meta, torch.eye(4, 16))
    real = torch.Tensor.tolist  # before the steps, stage 2 reads which labels there are
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: [0] if t.is_meta and not watch.on else real(t))
    steps = []

    def after(*_):
        steps.append(1)
        watch.on = len(steps) < 3

    hooks = [register_optimizer_step_post_hook(after)]
    hooks.append(register_optimizer_step_pre_hook(lambda *_: setattr(watch, "on", False)))
    try:
        with watch:
            if stage == "forget":
                forget(on_meta, sets, recipe.forget, choose=lambda *_: (layers, pd.DataFrame()))
            else:
                remind(on_meta.copy(layers=layers), on_meta, sets, recipe.remind)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(steps) == 3 and not watch.waits


class Moved(TorchDispatchMode):
    """Counts the bytes that the operators in its block write."""

    written = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.written += sum(x.nbytes for x in tree_leaves(found) if torch.is_tensor(x))
        return found


def test_frozen_attention_copies_no_weight_for_each_token():
    """torch does so in a frozen block under autocast: P copies of `in_proj_weight`, most of the time of a step."""
    loaded = load_clip("mini-vit", device="cpu").model.visual.requires_grad_(False)
    plain = open_clip.create_model("mini-vit").visual.eval().requires_grad_(False)
    plain.load_state_dict(loaded.state_dict())
    x, found = torch.randn(2, 3, 64, 64), {}
    for name, tower in (("loaded", loaded), ("plain", plain)):
        with Moved() as counter, torch.autocast("cpu", torch.bfloat16):
            z = tower(x)
        found[name] = counter.written, z
    assert found["plain"][0] > 2 * found["loaded"][0]
    torch.testing.assert_close(found["plain"][1], found["loaded"][1], atol=0.02, rtol=0.02)
