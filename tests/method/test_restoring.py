"""The model soup: ends exact, integers left alone, alpha chosen with the target in view."""

import pandas as pd
import pytest
import torch
from synthetic_data import random_clip

from forgetkit.restoring import choose_alpha, soup

SMALL = dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None)


@pytest.fixture
def pair():
    return random_clip(SMALL, seed=1).model, random_clip(SMALL, seed=2).model


@pytest.mark.parametrize("alpha", [0, 1])
def test_ends_are_returned_exactly(pair, alpha):
    end = pair[1 - alpha].state_dict()
    blended = soup(*pair, alpha)
    assert blended.keys() == end.keys()
    assert all(torch.equal(blended[k], end[k]) for k in end if end[k].is_floating_point())


def test_middle_is_the_weighted_mean(pair):
    f, o = (model.state_dict() for model in pair)
    key = "visual.layer2.0.conv2.weight"
    torch.testing.assert_close(soup(*pair, 0.25)[key], 0.25 * f[key] + 0.75 * o[key])


def test_equal_statistics_and_integer_counters_stay_to_the_bit(pair):
    unlearned, original = pair
    original.visual.bn1.load_state_dict(unlearned.visual.bn1.state_dict())
    unlearned.visual.bn2.num_batches_tracked.fill_(7)
    blended = soup(unlearned, original, 0.3)
    assert torch.equal(blended["visual.bn1.running_var"], original.visual.bn1.running_var)
    assert blended["visual.bn2.num_batches_tracked"].item() == 7
    assert blended["visual.bn2.num_batches_tracked"].dtype == torch.int64


def test_other_architecture_is_told(pair):
    other = random_clip({**SMALL, "width": 16}).model
    with pytest.raises(ValueError, match="differ in architecture"):
        soup(pair[0], other, 0.5)


TABLE = pd.DataFrame(
    {"alpha": [0.0, 0.5, 0.8, 1.0], "target": [80.0, 6.0, 1.0, 0.0], "score": [60.0, 99.0, 97.0, 96.0]}
)


def test_alpha_restores_as_much_as_the_target_allows():
    assert choose_alpha(TABLE, target_limit=1.5, n_target=1000) == 0.8
    assert choose_alpha(TABLE, target_limit=7, n_target=1000) == 0.5
    assert choose_alpha(TABLE.sample(frac=1, random_state=0), target_limit=1.5, n_target=1000) == 0.8


def test_no_alpha_below_the_least_is_taken_where_the_target_allows_it():
    assert choose_alpha(TABLE, target_limit=7, n_target=1000, min_alpha=0.6) == 0.8
    assert choose_alpha(TABLE, target_limit=7, n_target=1000, min_alpha=0.9) == 1.0
    assert choose_alpha(TABLE, None, 1000, min_alpha=0.9) == 0.5, "a rule of its own"


def test_without_a_limit_the_score_decides():
    assert choose_alpha(TABLE, target_limit=None, n_target=1000) == 0.5


def test_few_target_images_prove_nothing():
    """None of 3 recognised may still mean every image elsewhere: then the soup stays at the unlearned end."""
    none = TABLE.assign(target=[80.0, 0.0, 0.0, 0.0])
    assert choose_alpha(none, target_limit=1.5, n_target=3) == 1.0
    assert choose_alpha(none, target_limit=1.5, n_target=199) == 1.0
    assert choose_alpha(none, target_limit=1.5, n_target=200) == 0.5


def test_a_lucky_alpha_below_a_bad_one_does_not_count():
    lucky = TABLE.assign(target=[80.0, 0.0, 9.0, 0.0])
    assert choose_alpha(lucky, target_limit=1.5, n_target=1000) == 1.0


def test_alpha_without_any_admissible_takes_the_lowest_target():
    assert choose_alpha(TABLE[TABLE["alpha"] < 0.8], target_limit=1.5, n_target=1000) == 0.5


def test_ties_go_to_the_unlearned_end():
    same = pd.DataFrame({"alpha": [0.5, 0.9], "target": [8, 8], "score": [9.0, 9.0]})
    assert choose_alpha(same, None, 1000) == choose_alpha(same, 1.0, 1000) == 0.9
