"""What changed between two models: against plain counts."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from forgetkit.tutorial import diagnostics as compare
from forgetkit import score

TABLE = pd.DataFrame(
    {"model": ["original", "after"], "target": [50.0, 10.0], "a": [50.0, 60.0], "b": [80.0, 40.0], "c": [0.0, 5.0]}
)


def test_contributions_average_to_the_score():
    parts = compare.contributions(TABLE, ["target", "a", "b", "c"])
    assert list(parts.columns) == ["target", "a", "b"], "a column at zero has nothing to lose"
    assert parts.loc["after"].tolist() == pytest.approx([80, 100, 50])
    before, after = TABLE.drop(columns="model").to_dict("records")
    assert parts.loc["after"].mean() == pytest.approx(score(after, before))


def test_churn_balances_to_the_change_of_accuracy():
    labels = torch.tensor([0, 0, 1, 1, 2])
    before, after = torch.tensor([0, 1, 1, 0, 0]), torch.tensor([1, 0, 1, 2, 0])
    assert compare.churn(before, after, labels) == pytest.approx({"lost": 20, "won": 20, "still wrong": 20})


def test_second_choice_is_never_the_one_left_out():
    z, head = F.normalize(torch.randn(50, 8), dim=1), F.normalize(torch.randn(5, 8), dim=1)
    kept = torch.tensor([0, 1, 3, 4])
    assert torch.equal(compare.second_choice(z, head, 2), kept[(z @ head[kept].T).argmax(1)])


def test_neighbours_leave_the_query_out_and_come_best_first():
    z = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, 0.5], [0.0, 1.0]]), dim=1)
    assert compare.neighbours(z, torch.tensor([0, 3]), 2).tolist() == [[1, 2], [2, 1]]


def test_plane_finds_the_directions_of_most_variance():
    spread = torch.tensor([9.0, 5.0, 1.0, 1.0, 1.0, 1.0])
    z = 3 + spread * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    mean, axes, share = compare.plane(z)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers are untouched"
    assert torch.allclose(mean, z.mean(0)) and axes.shape == (6, 2)
    assert axes[0, 0].abs() > 0.95 and axes[1, 1].abs() > 0.95
    expected = ((z - mean) @ axes).square().sum(0) / (z - mean).square().sum()
    assert share.tolist() == pytest.approx(expected.tolist(), 1e-3)


def test_kept_is_percent_of_the_own_original():
    rows = pd.DataFrame({"subgroup": ["cat", "dog", "cow"], "target": [5.0, 10.0, 1.0]}, index=[3, 7, 9])
    original = pd.DataFrame({"target": [50.0, 40.0]}, index=["cat", "dog"])
    found = compare.kept(rows, original)["target"]
    assert found[3] == 10 and found[7] == 25 and pd.isna(found[9])


def test_a_front_is_read_where_the_target_has_fallen_to_a_level():
    found = {"target_acc": [80, 40, 0], "retain": [50, 60, 40], "other": [50, 45, 40]}
    path = pd.DataFrame({"alpha": [0.0, 0.5, 1.0], **found})
    curve = compare.front(path.sample(frac=1, random_state=0), ["retain", "other"])
    assert curve["target"].tolist() == [100, 50, 0] and curve["kept"].tolist() == [100, 95, 80]
    assert compare.kept_at(curve, 25) == pytest.approx(87.5)
    assert compare.kept_at(curve, 100) == 100 and np.isnan(compare.kept_at(curve.iloc[:2], 25))
