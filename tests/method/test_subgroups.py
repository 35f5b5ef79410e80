"""Subgroups and the sets drawn for them."""

import numpy as np
import pytest

from forgetkit import Grouped, Subgroup, split
from forgetkit.data.sets import PARTS, DataError, ImageSet


def numbered(name="numbered", n=60, classes=("cat", "dog", "frog", "ship")):
    """Every image is unique: its index is written into its first pixels."""
    parts = {}
    for p, part in enumerate(PARTS):
        images = np.zeros((n, 4, 4, 3), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(n), p
        parts[part] = ImageSet(name, images, np.arange(n) % len(classes), tuple(classes))
    return parts


def identities(*sets):
    return {image.tobytes() for s in sets for image in s.images}


def test_sets_hold_what_they_say_and_never_overlap():
    s = split(
        Grouped(numbered(), Subgroup("cat", ("dog", "frog"))),
        n_forget=5,
        n_retain=7,
        n_calibration=3,
        n_calibration_target=4,
    )
    assert set(s.forget.labels) == {0} and len(s.forget) == 5
    assert set(s.retain.labels) == {1, 2} and sorted(np.bincount(s.retain.labels)[1:]) == [3, 4], "evenly"
    groups = [
        identities(s.forget), identities(s.retain), identities(*s.calibration.values()),
        identities(*s.validation.values()), identities(*s.test.values()),
    ]  # fmt: skip
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert {n: set(p.labels) for n, p in s.test.items()} == {"target": {0}, "retain": {1, 2}, "other": {3}}
    assert sum(len(p) for p in s.calibration.values()) == 3 * 3 + 4
    assert sum(len(p) for p in s.test.values()) == 60


def test_same_seed_same_sets():
    draw = lambda seed: split(Grouped(numbered(), Subgroup("cat", ("dog",))), n_forget=5, n_retain=5, seed=seed)  # noqa: E731
    assert np.array_equal(draw(1).forget.images, draw(1).forget.images)
    assert not np.array_equal(draw(1).forget.images, draw(2).forget.images)


def test_zero_shot_sets_are_columns_only():
    others = {"drawn": numbered("drawn")}
    s = split(Grouped(numbered(), Subgroup("cat", ("dog",)), zero_shot=others), n_forget=5, n_retain=5)
    assert list(s.test) == ["target", "retain", "other", "drawn"]
    assert "drawn" not in s.calibration
    assert s.test["drawn"] is others["drawn"]["test"] and s.validation["drawn"] is others["drawn"]["validation"]


def test_family_names_the_siblings():
    assert Subgroup.within("cat").siblings == ("bird", "deer", "dog", "frog", "horse")
    assert Subgroup.within("ship").family == "vehicle"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Subgroup("cat", ("cat", "dog")), "must not overlap"),
        (lambda: Subgroup("cat", ()), "no siblings"),
        (lambda: Subgroup.within("unicorn"), "Choose one of: bird, cat"),
        (lambda: split(Grouped(numbered(), Subgroup("unicorn", ("dog",)))), "no subgroup 'unicorn'. Choose among: cat"),
        (
            lambda: split(Grouped(numbered(), Subgroup("cat", ("dog",))), n_forget=1000),
            "15 images of cat for the forget set",
        ),
        (lambda: split(Grouped(numbered(), Subgroup("cat", ("dog",))), n_forget=0), "at least 1"),
        (lambda: split(Grouped(numbered(), Subgroup("cat", ("dog", "frog"))), n_forget=2, n_retain=1), "one of each"),
    ],
)
def test_bad_input_has_its_sentence(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_empty_subgroup_in_a_part_is_told():
    parts = numbered()
    parts["test"] = parts["test"].take(parts["test"].labels != 0)
    with pytest.raises(DataError, match="no image of the target subgroups"):
        split(Grouped(parts, Subgroup("cat", ("dog",))), n_forget=2, n_retain=2)
