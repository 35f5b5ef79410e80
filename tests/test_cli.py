"""`python -m forgetkit`: wrong words are told before anything starts."""

import pytest

from forgetkit import __main__ as cli
from forgetkit.data.sets import DataError


def test_wrong_target_or_recipe_starts_nothing(monkeypatch):
    monkeypatch.setattr(cli, "fetch", lambda: pytest.fail("data were fetched"))
    with pytest.raises(SystemExit, match="No family has a member 'unicorn'. Choose one of: bird, cat"):
        cli.main(["run", "--target", "unicorn"])
    with pytest.raises(SystemExit, match="'default' or 'paper'"):
        cli.main(["run", "--recipe", "papre"])


def test_data_errors_end_in_one_sentence(monkeypatch):
    def broken():
        raise DataError("cifar10: no network.")

    monkeypatch.setattr(cli, "fetch", broken)
    with pytest.raises(SystemExit, match="^forgetkit: cifar10: no network.$"):
        cli.main(["fetch"])
