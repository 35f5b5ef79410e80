"""Score against the reported rows; accuracies against a plain count."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch

from forgetkit import accuracies, alarms, evaluate, score
from forgetkit.data.images import ImageSet
from forgetkit.evaluation import interval, most_called, own_rank, predict, with_intervals

# RN50, forget "marmoset": figures *reported* in arXiv 2506.03117.
COLUMNS = ("target", "retain", "imagenet", "cifar", "food", "stl", "objectnet")
REPORTED = {
    "original": (51.0, 54.7, 59.8, 70.4, 60.9, 92.0, 68.9, None),
    "GA": (0.0, 0.9, 32.2, 16.4, 22.9, 63.3, 22.1, 45.3),
    "EMMN": (0.0, 56.7, 28.4, 13.1, 20.4, 54.9, 20.5, 55.6),
    "LIP": (0.7, 0.2, 1.3, 10.7, 0.2, 10.3, 1.6, 18.6),
    "paper": (0.0, 50.2, 54.5, 85.7, 62.9, 81.5, 45.2, 91.0),
}


@pytest.mark.parametrize("method", ["GA", "EMMN", "LIP", "paper"])
def test_score_reproduces_the_reported_rows(method):
    original = dict(zip(COLUMNS, REPORTED["original"]))
    *found, reported = REPORTED[method]
    assert score(dict(zip(COLUMNS, found)), original) == pytest.approx(reported, abs=0.1)


def test_gains_do_not_pay_for_losses():
    original = {"target": 50.0, "a": 50.0, "b": 50.0}
    assert score({"target": 0.0, "a": 100.0, "b": 25.0}, original) == pytest.approx(100 * (1 + 1 + 0.5) / 3)


def test_score_needs_a_known_target():
    with pytest.raises(ValueError, match="target"):
        score({"a": 1.0}, {"a": 1.0})
    assert np.isnan(score({"target": 0.0, "a": 1.0}, {"target": 0.0, "a": 1.0})), "nothing to forget, no Score"


def test_a_column_at_zero_is_left_out():
    assert score({"target": 0.0, "a": 5.0, "b": 9.0}, {"target": 10.0, "a": 10.0, "b": 0.0}) == pytest.approx(75)


def test_accuracies_count_hits(mini, colours, prototypes):
    part = colours.test["retain"]
    with torch.no_grad():
        z = mini.embed_tensor(mini.preprocess(part.images))
    expected = 100 * np.mean((z @ prototypes.T).argmax(1).numpy() == part.labels)
    assert accuracies(mini, {"retain": part}, prototypes)["retain"] == pytest.approx(expected)
    assert expected > 80, "the prototypes tell the colours apart, or this test says nothing"


def test_table_has_a_row_a_model_and_the_original_first(mini, colours):
    part = colours.test["retain"]
    guess = predict(mini, part.images, mini.head(part.classes, part.prompts)).numpy()
    known = dataclasses.replace(part, labels=guess)  # what the text head says is right, so the original is at 100
    columns = {"target": known.take(range(5)), "retain": known.take(range(5, 30)), "other": known.take(range(30, 50))}
    table = evaluate([mini, mini.copy("twin")], columns)
    assert list(table["model"]) == ["original", "twin"]
    assert np.isnan(table["score"][0])
    assert table["retain"][1] == pytest.approx(100)
    assert table["score"][1] == pytest.approx(100 * 2 / 3), "nothing was forgotten: 0, and two columns kept"


def test_all_models_are_measured_on_the_same_preprocessed_images(mini, colours, prototypes, ready):
    other = mini.copy("other")
    with torch.no_grad():
        other.model.visual.attnpool.c_proj.weight.add_(0.02)
    columns = {name: colours.test[name] for name in ("target", "retain")}
    table = evaluate([mini, other], columns, head=prototypes).set_index("model")
    for clip, name in ((mini, "original"), (other, "other")):
        assert table.loc[name, ["target", "retain"]].to_dict() == accuracies(clip, columns, prototypes)
    assert accuracies(mini, {"x": ready.retain}, prototypes) == accuracies(mini, {"x": colours.retain}, prototypes)


def test_a_head_of_any_length_gives_the_same(mini, colours, prototypes):
    long = prototypes * torch.tensor([[1.0], [5.0], [0.2], [3.0]])
    assert accuracies(mini, colours.test, long) == accuracies(mini, colours.test, prototypes)


def stages(**last):
    rows = [
        dict(model="original", target=60.0, retain=80.0, other=90.0),
        dict(model="forget", target=1.0, retain=70.0, other=85.0),
    ]
    rows += [dict(model="remind", target=1.0, retain=80.0, other=90.0)]
    rows += [{**rows[-1], "model": "restore", **last}]
    return pd.DataFrame(rows).assign(score=0.0, seconds=1.0)


def test_no_alarm_where_all_is_well():
    assert alarms(stages(), rank=5.0, classes=10, called=("dog", 30.0, 25.0)) == []
    assert alarms(stages(target=2.9)) == [], "two points are within the noise"


@pytest.mark.parametrize("left", [60.0, 20.0, 4.0])
def test_a_target_that_is_still_there_raises_an_alarm(left):
    same = stages().assign(target=[60.0, left, left, left])
    (sentence,) = alarms(same)
    assert f"Not forgotten: {left:.1f} % of the target are left, of 60.0 %" in sentence


def test_where_the_original_knows_nothing_there_is_nothing_to_forget():
    (sentence,) = alarms(stages().assign(target=0.0))
    assert "Nothing to forget" in sentence and "head made of images" in sentence


@pytest.mark.parametrize(
    "last, rank, words",
    [
        (dict(retain=60.0), None, "Over-forgetting: retain fell from 80.0 to 60.0 %"),
        (dict(), 9.5, "ranks 9.5 of 10"),
        (
            dict(target=9.0),
            None,
            "Resurrection: the target rose from 1.0 to 9.0 % in stage 'restore'. Raise remind.guard",
        ),
    ],
)
def test_each_alarm_says_what_to_change(last, rank, words):
    sentences = alarms(stages(**last), rank, 10)
    assert len([s for s in sentences if words in s]) == 1 and len(sentences) <= 2


def test_alarms_know_how_many_images_a_figure_rests_on():
    """What chance may have found is nothing to forget; intervals that overlap prove no change."""
    shown = lambda n, classes: {"target": ImageSet("few", np.zeros((n, 1, 1, 3), np.uint8), np.zeros(n, int), classes)}
    (said,) = alarms(stages(), shown=shown(12, ("cat", "dog")))
    assert "Nothing to forget: the original recognises 60.0 % of the target, no better than chance on 12 images" in said
    assert "a head made of images" in said
    (said,) = alarms(stages(), shown=shown(12, ("cat", "dog")), head="images")
    assert said.endswith("Bring more pictures for the test part, or use a larger model."), "the head is of images"
    assert alarms(stages(), shown=shown(200, ("cat",) * 10)) == []
    few = alarms(stages(target=1.0), shown=shown(5, ("cat",) * 100))
    assert len(few) == 1 and few[0].startswith("Few images: target has 5"), few


LEARNT, HARM, NAN = dict(retain=95.0), "from Score 90.0 to 70.0", dict(other=np.nan)


def scored(*scores):
    return stages().assign(score=[np.nan, *scores])


@pytest.mark.parametrize(
    "raises, silent, words",
    [
        (
            lambda: alarms(stages(**LEARNT)),
            lambda: alarms(stages(retain=88.0)),
            "Learnt: retain rose from 80.0 to 95.0 %",
        ),
        (
            lambda: alarms(scored(90, 70, 80)),
            lambda: alarms(scored(90, 89, 80)),
            "Harm: stage 2 lost .* from Score 90.0",
        ),
        (lambda: alarms(stages(**NAN)), lambda: alarms(stages()), "Not finite: model 'restore'"),
        (
            lambda: alarms(stages(), called=("dog", 90.0, 20.0)),
            lambda: alarms(stages(), called=("dog", 85.0, 80.0)),  # most of the test images are dogs
            "Trivial: 90 % of the test images to be kept are called 'dog', and 20 % are",
        ),
    ],
)
def test_each_alarm_is_raised_and_is_not(raises, silent, words):
    (sentence,) = raises()
    assert re.match(words, sentence) and re.search("Lower|see that", sentence), "and says what to do"
    assert silent() == []


def test_alarms_take_a_table():
    for wrong in (pd.DataFrame(), pd.DataFrame({"model": ["a"]}), stages().iloc[:0]):
        with pytest.raises(ValueError, match="alarms take the table that evaluate makes"):
            alarms(wrong)


def test_a_model_that_calls_all_by_one_name_is_seen(mini, colours, prototypes):
    one = torch.cat(
        [prototypes[:1], 1e-3 * torch.randn(3, 128, generator=torch.Generator().manual_seed(0)) - prototypes[:1]]
    )
    assert most_called(mini, colours.test, one)[:2] == ("red", 100.0)
    name, said, true = most_called(mini, colours.test, prototypes)
    assert true == 25.0 and said < 40


def test_weights_that_are_not_finite_are_not_an_accuracy(mini, colours, prototypes):
    broken = mini.copy("broken")
    with torch.no_grad():
        broken.model.visual.attnpool.c_proj.weight.fill_(torch.nan)
    table = evaluate([mini, broken], colours.test, head=prototypes)
    assert np.isnan(table.loc[1, "target"]) and table.loc[0, "target"] > 80
    assert "Not finite: model 'broken'" in alarms(table)[0]
    assert with_intervals(table, colours.test).loc[1, "target"] == "not finite"


def test_intervals_are_wilsons():
    """Against the figures of Newcombe (1998, table I): 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for (hits, n), expected in {
        (81, 263): (25.53, 36.62), (15, 148): (6.24, 16.05), (0, 20): (0.0, 16.11), (1, 29): (0.61, 17.18),
    }.items():  # fmt: skip
        assert interval(hits, n) == pytest.approx(expected, abs=0.01)
    assert interval(20, 20)[1] == pytest.approx(100) and interval(0, 5)[0] >= 0


def test_a_table_tells_counts_and_intervals(colours):
    told = with_intervals(stages().assign(target=[97.5, 0.0, 2.5, 5.0]), {"target": colours.test["target"]})
    assert told["target"].tolist()[:2] == ["97.5 (39/40; 87 to 100)", "0.0 (0/40; 0 to 9)"]
    assert told["retain"].tolist() == stages()["retain"].tolist(), "columns without images stay"


def test_own_rank_counts_texts_that_are_nearer(mini, colours, prototypes):
    part = colours.test["target"]
    assert own_rank(mini, part, prototypes) < 1.2, "the original knows its colours"
    assert own_rank(mini, part, torch.cat([-prototypes[:1], prototypes[1:]])) == 4, "an opposite text comes last"
