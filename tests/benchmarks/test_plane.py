"""The limit beside subgroups of one label: a plane through the original's embeddings."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks.plane import Plane, classifier, plane
from forgetkit.evaluation import recognised


def test_the_plane_moves_until_so_many_of_the_target_are_left():
    scores = Plane(target=torch.tensor([3.0, 1.0, 2.0, -float("inf")]), siblings=torch.tensor([-1.0, 0.5, 1.5, 2.5]))
    assert scores.keeps(0) == 50, "below 1.0, the target's lowest"
    assert scores.keeps(25) == 75 and scores.keeps(50) == 100, "below 2.0, and below 3.0"
    assert scores.keeps(75) == scores.keeps(100) == 100, "none of the target need go"
    unknown = Plane(scores.target, torch.tensor([-float("inf"), 0.0]))
    assert unknown.keeps(100) == 50, "what the original does not recognise is not kept"


def test_colours_are_told_apart_and_a_set_from_itself_is_not(mini, colours, ready):
    found = plane(mini, ready, colours.test)
    known = recognised(mini, colours.test["retain"], ready.head)
    assert found.keeps(0) >= known - 10 and found.keeps(100) == pytest.approx(known, abs=1)
    same = {**colours.test, "retain": colours.test["target"]}
    found = plane(mini, replace(ready, retain=ready.forget), same)
    left = recognised(mini, colours.test["target"], ready.head) / 2
    assert found.keeps(left) == pytest.approx(left, abs=5), "what moves the plane for one moves it for the other"


def test_the_ridge_is_the_one_that_sorts_the_calibration_images_best(mini, colours, ready, monkeypatch):
    values = iter((0.7, 0.9, 0.9))
    monkeypatch.setattr("benchmarks.plane.auroc", lambda *_: SimpleNamespace(value=next(values, 0.5)))
    chosen = plane(mini, ready, colours.test, ridges=(1e4, 10.0, 0.1))
    alone = {ridge: plane(mini, ready, colours.test, ridges=(ridge,)) for ridge in (1e4, 10.0, 0.1)}
    assert torch.equal(chosen.target, alone[10.0].target), "of two alike, the larger"
    assert not torch.allclose(alone[10.0].target, alone[0.1].target)


@pytest.mark.parametrize("n_frozen", [0, 5])
def test_a_classifier_gives_the_label_to_siblings_alone(mini, colours, ready, n_frozen):
    before = {name: recognised(mini, part, ready.head) for name, part in colours.test.items()}
    found = classifier(mini, ready, colours.test, before, n_frozen)
    assert found["target"] < before["target"] / 4 and found["retain"] > before["retain"] - 10
    assert found["other"] == before["other"]
    same = {**colours.test, "retain": colours.test["target"]}
    found = classifier(mini, replace(ready, retain=ready.forget), same, before, n_frozen)
    assert found["retain"] == found["target"], "a set is not told from itself"
