"""`python -m forgetkit`: wrong words are told before anything starts; results resume."""

import pandas as pd
import pytest

from forgetkit import __main__ as cli
from forgetkit.data import DataError


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


def test_results_resume_and_skip_what_is_there(monkeypatch, tmp_path, mini, colours):
    computed = []
    monkeypatch.setattr(
        "forgetkit.kinds.tutorial_sets", lambda target, seed: computed.append((target, seed)) or colours
    )
    monkeypatch.setattr("forgetkit.pipeline.unlearn", lambda clip, sets, recipe: [clip, clip.copy("restore")])
    out = tmp_path / "rows.csv"
    arguments = ["results", "--targets", "cat", "ship", "--device", "cpu", "--out", str(out)]
    cli.main([*arguments, "--seeds", "0"])
    cli.main([*arguments, "--seeds", "0", "1"])
    assert computed == [("cat", 0), ("ship", 0), ("cat", 1), ("ship", 1)]
    rows = pd.read_csv(out)
    assert len(rows) == 8 and {"subgroup", "seed", "recipe", "model", "torch", "open_clip", "device"} <= set(rows)
