"""What changed between two models: against plain counts."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from forgetkit import score
from forgetkit.data.images import some
from forgetkit.evaluation import predict
from forgetkit.lessons import diagnostics

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
    assert list(rows) == ["image", "label", "subgroup", "before", "after", "similarity"]
    assert rows["image"].tolist() == [*"01201"]
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


def test_rivals_are_the_own_text_and_the_best_other():
    z, head = F.normalize(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), dim=1), torch.eye(2)
    assert diagnostics.rivals(z, head, 0) == pytest.approx(np.array([[0.6, 0.8], [1.0, 0.0]]))
    each = diagnostics.rivals(z, head, torch.tensor([1, 0]))
    assert each == pytest.approx(np.array([[0.8, 0.6], [1.0, 0.0]]))


def test_a_duel_says_of_each_image_what_the_model_calls_it(mini, colours, prototypes):
    points = diagnostics.duel({"a": mini, "b": mini}, colours.test, prototypes, 1, n=5)
    for column in ("target", "retain"):
        part = some({c: colours.test[c] for c in ("target", "retain", "other") if c in colours.test}, 5)[column]
        called = (mini.embed(part.images) @ prototypes.T).argmax(1) == 1
        assert ((points["a"][column][:, 0] > points["a"][column][:, 1]) == called.numpy()).all()
        assert np.array_equal(points["a"][column], points["b"][column])
