"""What changed between two models: against plain counts."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from forgetkit import score
from forgetkit.batch.table import SAID
from forgetkit.evaluation import predict
from forgetkit.tutorial import diagnostics

TABLE = pd.DataFrame(
    {"model": ["original", "after"], "target": [50.0, 10.0], "a": [50.0, 60.0], "b": [80.0, 40.0], "c": [0.0, 5.0]}
)


def test_contributions_average_to_the_score():
    parts = diagnostics.contributions(TABLE, ["target", "a", "b", "c"])
    assert list(parts.columns) == ["target", "a", "b"], "a column at zero has nothing to lose"
    assert parts.loc["after"].tolist() == pytest.approx([80, 100, 50])
    before, after = TABLE.drop(columns="model").to_dict("records")
    assert parts.loc["after"].mean() == pytest.approx(score(after, before))


def test_churn_balances_to_the_change_of_accuracy():
    labels = torch.tensor([0, 0, 1, 1, 2])
    before, after = torch.tensor([0, 1, 1, 0, 0]), torch.tensor([1, 0, 1, 2, 0])
    assert diagnostics.churn(before, after, labels) == pytest.approx({"lost": 20, "won": 20, "still wrong": 20})


def test_predictions_have_a_row_an_image(mini, colours, tmp_path):
    other = mini.copy()
    with torch.no_grad():
        other.model.visual.conv1.weight.neg_()
    columns = {"target": colours.test["target"].take(range(3)), "retain": colours.test["retain"].take([5, 2])}
    diagnostics.predictions(mini, other, columns).to_parquet(tmp_path / "predictions.parquet")
    rows = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(rows) == list(SAID) and rows["image"].tolist() == [*"01201"]
    assert rows["subgroup"].tolist() == 3 * ["target"] + 2 * ["retain"]
    head = mini.head(colours.classes, colours.prompts)
    for column, part in columns.items():
        own = rows[rows["subgroup"] == column]
        assert own["label"].tolist() == part.names.tolist()
        for when, clip in (("before", mini), ("after", other)):
            assert own[when].tolist() == [part.classes[i] for i in predict(clip, part.images, head)]
        cosine = (other.embed(part.images) @ head.T)[range(len(part)), part.labels]
        assert own["similarity"].tolist() == pytest.approx(cosine.tolist(), abs=1e-2)
    assert (rows["before"] != rows["after"]).any(), "the second model is asked, too"


def test_second_choice_is_never_the_one_left_out():
    z, head = F.normalize(torch.randn(50, 8), dim=1), F.normalize(torch.randn(5, 8), dim=1)
    kept = torch.tensor([0, 1, 3, 4])
    assert torch.equal(diagnostics.second_choice(z, head, 2), kept[(z @ head[kept].T).argmax(1)])


def test_neighbours_leave_the_query_out_and_come_best_first():
    z = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, 0.5], [0.0, 1.0]]), dim=1)
    assert diagnostics.neighbours(z, torch.tensor([0, 3]), 2).tolist() == [[1, 2], [2, 1]]


def test_plane_finds_the_directions_of_most_variance():
    spread = torch.tensor([9.0, 5.0, 1.0, 1.0, 1.0, 1.0])
    z = 3 + spread * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    mean, axes, share = diagnostics.plane(z)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers are untouched"
    assert torch.allclose(mean, z.mean(0)) and axes.shape == (6, 2)
    assert axes[0, 0].abs() > 0.95 and axes[1, 1].abs() > 0.95
    expected = ((z - mean) @ axes).square().sum(0) / (z - mean).square().sum()
    assert share.tolist() == pytest.approx(expected.tolist(), 1e-3)
