"""A second request: what was forgotten before is no sibling, stays forgotten, and has a column of its own."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_data import COLOURS, coloured_set

from forgetkit import Grouped, Recipe, Subgroup, accuracies, alarms, forget, score, split, unlearn
from forgetkit.data.images import PARTS, DataError
from forgetkit.lessons.diagnostics import contributions
from forgetkit.losses import class_distillation
from forgetkit.store import key

RECIPE = Recipe.default(
    forget={"steps": 200, "k": 6, "fisher_samples": 12, "batch": 16},
    remind={
        "trainable_fraction": 0.35,
        "steps": 20,
        "batch": 16,
        "n_abstract": 16,
        "rank": 8,
        "crops": 0,
        "margin": 2.0,
    },
    restore={"alphas": (0.5, 1.0)},
)
SIZES = dict(n_forget=30, n_retain=30, n_calibration=10)


@pytest.fixture(scope="module")
def parts():
    return {part: coloured_set(40, seed) for seed, part in enumerate(PARTS)}


def request(parts, target: str, siblings: tuple[str, ...], previous_targets=()):
    return split(Grouped(parts, Subgroup(target, siblings), previous_targets=previous_targets), **SIZES)


def names(sets, part) -> set[str]:
    return {sets.classes[label] for label in part.labels}


def test_the_sets_of_a_second_request_show_earlier_targets_to_the_guard_alone(parts):
    sets = request(parts, "green", ("red", "blue"), ("red",))
    assert sets.subgroup.siblings == ("blue",) and names(sets, sets.retain) == {"blue"}
    assert "red" not in set.union(*(names(sets, part) for part in sets.calibration.values()))
    assert names(sets, sets.previous) == {"red"} and len(sets.previous) == SIZES["n_forget"]
    assert sets.never == (list(COLOURS).index("red"),) and sets.previous_targets == ("red",)
    for columns in (sets.validation, sets.test):
        assert {name: names(sets, part) for name, part in columns.items()} == {
            "target": {"green"}, "retain": {"blue"}, "other": {"yellow"}, "previous_targets": {"red"},
        }  # fmt: skip
    several = request(parts, "green", ("red", "blue"), ("red", "yellow"))
    assert sorted(np.bincount(several.previous.labels).tolist()) == [0, 0, 15, 15], "as many of each"
    assert "other" not in several.test


def test_a_first_request_draws_as_ever(parts):
    first = request(parts, "green", ("red", "blue"))
    assert first.previous is None and first.never == () and "previous_targets" not in first.test


def test_what_was_measured_of_the_model_before_is_not_said_of_the_next(mini, ready):
    """Its card would show the audit, the table and the images of another model as this one's."""
    quick = RECIPE.changed(forget={"steps": 1, "fisher_samples": 2}).forget
    said = {"table": [{"target": 0.0}], "audit": {"table": []}, "seed": 3, "alpha": 0.5, "notes": None}
    before = mini.copy("first", **said, subgroup={"target": "black", "siblings": []}, stage="restore")
    after = forget(before, ready, quick)
    assert after.record["source"] == mini.record["source"] and after.record["previous_targets"] == ["black"]
    assert after.record["subgroup"]["target"] == "red" and after.record["stage"] == "forget"
    assert not {*said} & {*after.record} and {*said} < {*before.record}, "the model before keeps what is its own"


def test_a_name_is_given_up_only_if_all_that_bear_it_are_forgotten(parts):
    """Two styles of one class: the name is needed for the other style."""
    groups = {p: np.where(parts[p].names == "red", [f"red {i % 2}" for i in range(160)], parts[p].names) for p in PARTS}
    draw = lambda *before: split(
        Grouped(parts, Subgroup("green", ("blue",)), groups=groups, previous_targets=before), **SIZES
    )
    assert draw("red 0").never == () and draw("red 0", "red 1").never == (0,)
    assert len(draw("red 0").test["previous_targets"]) == 20 and names(draw("red 0"), draw("red 0").test["other"]) == {
        "red",
        "yellow",
    }


@pytest.mark.parametrize(
    "previous_targets, message",
    [("red", "tuple of names"), (("green",), "both the target"), (("pink",), "no subgroup 'pink'"),
     (("red", "blue"), "no siblings")],
)  # fmt: skip
def test_what_cannot_have_been_forgotten_is_told(parts, previous_targets, message):
    with pytest.raises(DataError, match=message):
        request(parts, "green", ("red", "blue"), previous_targets)


def test_the_teacher_gives_no_share_to_a_name_that_is_gone():
    z, head, scale = torch.eye(3, 4), torch.eye(3, 4), torch.tensor(2.0)
    given = class_distillation(z[:1], z[:1], head, scale, never=[1])
    p, q = (2 * head[[0, 2]] @ z[0]).softmax(0), (2 * head @ z[0]).softmax(0)[[0, 2]]
    assert given == pytest.approx((p * (p / q).log()).sum().item(), abs=1e-6)
    assert class_distillation(z[1:2], z[:1], head, scale, never=[1]) > given, "the student may not give it, either"
    both = class_distillation(z[:1], z[:1], head, scale, [0], never=[1])
    assert both == pytest.approx(-(torch.zeros(2).softmax(0)[1].log()).item(), abs=1e-6), (
        "of the rest, all is one class"
    )
    assert class_distillation(z, z, head, scale, never=[]) == 0


@pytest.fixture(scope="module")
def first(mini, parts, prototypes):
    """mini-CLIP without red."""
    return unlearn(mini, request(parts, "red", ("green", "blue")).on(mini, prototypes), RECIPE)[-1]


def test_a_second_request_keeps_the_first(first, mini, parts, prototypes):
    told = request(parts, "green", ("red", "blue"), ("red",))
    ready = told.on(first, prototypes)
    second = unlearn(first, ready, RECIPE)[-1]
    before, after = (accuracies(clip, told.test, prototypes) for clip in (mini, second))
    assert before["previous_targets"] > 80 and before["target"] > 80, "or the rest says nothing"
    assert after["previous_targets"] <= 10 and after["target"] <= 10, after
    assert min(after[name] / before[name] for name in ("retain", "other")) > 0.7, after
    assert "stay" in second.record["remind"][0] and second.record["previous_targets"] == ["red"]
    assert key(first, ready) != key(first, replace(ready, never=())), "a kept stage is not another's"


def test_earlier_targets_are_guarded(mini, parts, prototypes):
    """Seen best on a model that still knows red: the guard alone takes it away."""
    told = request(parts, "green", ("red", "blue"), ("red",))
    found = []
    for sets in (told, replace(told, previous=None, never=())):
        reminded = unlearn(
            mini,
            sets.on(mini, prototypes),
            RECIPE.changed(remind={"drift": None, "mmd": 0.0, "steps": 30, "embedding_step": 0.01}),
        )[2]
        found.append(accuracies(reminded, told.test, prototypes)["previous_targets"])
    assert found[0] < found[1] - 20, found


def test_a_sibling_that_was_forgotten_is_refused(first, parts, prototypes):
    with pytest.raises(ValueError, match=r"made to forget 'red'.*previous_targets=\('red',\)"):
        unlearn(first, request(parts, "green", ("red", "blue")).on(first, prototypes), RECIPE)


def test_the_score_wants_earlier_targets_low():
    before = {"target": 80.0, "retain": 90.0, "previous_targets": 0.0}
    found = [score({"target": 0.0, "retain": 90.0, "previous_targets": gone}, before) for gone in (0.0, 30.0)]
    assert found == pytest.approx([100.0, 90.0])
    table = pd.DataFrame(
        [{"model": "original", **before}, {"model": "restore", "target": 8.0, "retain": 99.0, "previous_targets": 30.0}]
    )
    counted = contributions(table, list(before)).loc["restore"]
    assert counted.to_dict() == pytest.approx({"target": 90.0, "retain": 100.0, "previous_targets": 70.0})
    assert counted.mean() == pytest.approx(score(dict(table.iloc[1][list(before)]), before))


def test_earlier_targets_that_return_raise_an_alarm():
    row = lambda model, gone: {
        "model": model,
        "target": 80.0 if model == "original" else 0.0,
        "retain": 90.0,
        "previous_targets": gone,
    }
    assert not alarms(pd.DataFrame([row("original", 2.0), row("restore", 0.5)]))
    raised = alarms(pd.DataFrame([row("original", 0.5), row("restore", 30.0)]))
    assert len(raised) == 1 and raised[0].startswith("Resurrection: earlier targets rose from 0.5 to 30.0 %")
