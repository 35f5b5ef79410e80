"""A step is as long on any model, and no stage hands back a model worse than the one it was given."""

import logging

import pytest
import torch

from forgetkit import Recipe, forget, remind, reminding, training
from forgetkit.lora import adapt, adaptable
from forgetkit.models import ModelError

FORGET = {"k": 2, "fisher_samples": 8, "batch": 16, "steps": 24}
REMIND = {
    "steps": 20, "batch": 16, "n_abstract": 16, "trainable_fraction": 0.35, "feature": 200.0,
    "embedding_step": 0.01, "margin": 4.0,
}  # fmt: skip
CAREFUL = Recipe.default(forget=FORGET, remind=REMIND)
CARELESS = CAREFUL.changed(forget={"min_retain": None, "drift": None}, remind={"drift": None})


@pytest.fixture(params=["mini", "vit"])
def clip_and_sets(request, colours):
    clip = request.getfixturevalue(request.param)
    return clip, colours.on(clip, head_of(clip, colours))


def head_of(clip, colours) -> torch.Tensor:
    """Prototypes of the four colours, made of the images that the stages read."""
    parts = [colours.forget, colours.retain, colours.calibration["other"]]
    z = torch.cat([clip.embed(part.images) for part in parts])
    labels = torch.cat([torch.as_tensor(part.labels) for part in parts])
    return torch.nn.functional.normalize(torch.stack([z[labels == c].mean(0) for c in range(4)]), dim=1)


@pytest.fixture
def far_too_high(request, monkeypatch):
    """The rate that a stage finds, fifteen times as high; twenty times that for a random ViT, which it hardly moves."""
    found, times = training.rate_for, 300 if "vit" in request.node.name else 15
    monkeypatch.setattr(training, "rate_for", lambda *args: times * found(*args))


def test_a_step_goes_as_far_as_asked_on_any_model(clip_and_sets, monkeypatch):
    """In float32: what rounding to bfloat16 does to embeddings of a random ViT, which are nearly one, is as large."""
    monkeypatch.setattr("forgetkit.models.clip.autocast", lambda device: torch.autocast(device.type, enabled=False))
    clip, sets = clip_and_sets
    student, images = clip.copy(), sets.retain.images
    tower = student.model.visual
    weights = adapt(tower, adaptable(tower, 0.35), 4, 8.0, torch.Generator().manual_seed(0))
    before, start = student.embed(images), [w.detach().clone() for w in weights]
    for embedding_step in (0.03, 0.06):
        rate = training.rate_for(embedding_step, student, weights, images)
        assert all(torch.equal(w, old) for w, old in zip(weights, start)), "weights are left as they were"
        moved, generator = [], torch.Generator().manual_seed(1)  # other directions than those it was found in
        for _ in range(5):
            with torch.no_grad():
                for w, old in zip(weights, start):
                    w.copy_(old + rate * (torch.randint(2, w.shape, generator=generator) * 2 - 1))
            moved.append((student.embed(images) - before).norm(dim=1).mean().item())
        assert sum(moved) / len(moved) == pytest.approx(embedding_step, rel=0.25)
        with torch.no_grad():
            for w, old in zip(weights, start):
                w.copy_(old)


def test_a_rate_far_too_high_does_no_harm(clip_and_sets, far_too_high, caplog):
    """The same steps without a way back leave a wreck: there is something to prevent."""
    clip, sets = clip_and_sets
    monitor = training.Monitor.of(clip, sets)
    found = {}
    for name, recipe in (("careful", CAREFUL), ("careless", CARELESS)):
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            stage1 = forget(clip, sets, recipe.forget)
            try:
                made = [clip, stage1, remind(stage1, clip, sets, recipe.remind)]
                found[name] = [monitor.measure(model) for model in made]
            except ModelError as error:
                assert name == "careless" and "no finite number" in str(error)
                found[name] = [training.Drift(float("inf"), 0.0)]
        assert ("Back to step" in caplog.text) == (name == "careful")
    original, stage1, reminded = found["careful"]
    assert stage1.drift <= CAREFUL.forget.drift
    assert reminded.drift <= max(CAREFUL.remind.drift, 2 * stage1.drift)
    assert reminded.known >= stage1.known - reminding.HARM or reminded.drift <= stage1.drift
    worst = {name: max(one.drift for one in drifts) for name, drifts in found.items()}
    assert worst["careless"] > 2 * worst["careful"]


def test_stage_two_returns_its_input_where_it_made_it_worse(mini, ready, far_too_high, caplog):
    stage1 = forget(mini, ready, CAREFUL.changed(forget={"steps": 2}).forget)
    blind = CAREFUL.changed(remind={"drift": 1.99, "feature": 0.0, "distill": 0.0}).remind
    reminded = remind(stage1, mini, ready, blind)
    assert "Stage 2 returns stage 1's model" in caplog.text
    state = stage1.model.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in reminded.model.state_dict().items())
    assert reminded.record["stage"] == "remind" and len(reminded.record["remind"]) == blind.steps


@pytest.mark.parametrize("known, forgot, harm", [(88, 0, False), (85, 0, True), (85, 94, False), (70, 94, True)])
def test_what_was_forgotten_weighs_against_what_was_lost(mini, ready, monkeypatch, caplog, known, forgot, harm):
    """Stage 1 ends early where siblings bear the target's name: a stage 2 that then forgets is no harm."""
    left = {"forget": 94.0, "remind": 94.0 - forgot}
    monkeypatch.setattr(reminding, "recognised", lambda clip, *_: left[clip.name])
    models = mini.copy("forget"), mini.copy("remind")
    drifts = training.Drift(0.1, 90.0), training.Drift(0.2, float(known))
    assert reminding.harmed(*drifts, *models, ready) == harm == bool(caplog.text)
    assert not reminding.harmed(drifts[1], training.Drift(0.1, 0.0), *models, ready), "nearer to the original: no harm"


def test_weights_that_are_not_finite_are_taken_back(mini, ready, monkeypatch, caplog):
    monkeypatch.setattr(training, "rate_for", lambda *args: float("nan"))
    stage1 = forget(mini, ready, CAREFUL.forget)
    assert "drifted by nan" in caplog.text
    state = mini.model.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in stage1.model.state_dict().items())


def test_weights_that_reach_no_embedding_are_told(mini, ready):
    student = mini.copy()
    idle = [torch.nn.Parameter(torch.zeros(3))]
    with pytest.raises(ModelError, match="do not reach the tower's output"):
        training.rate_for(0.01, student, idle, ready.retain.images[:4])
