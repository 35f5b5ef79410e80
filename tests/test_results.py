"""Every number in README and docs comes from committed rows, and the rows hold what is promised."""

import pandas as pd
import pytest

from forgetkit.__main__ import RESULT_TARGETS
from forgetkit.report import BLOCK, FILES, render


@pytest.fixture(scope="module")
def rows(request):
    return pd.read_csv(request.config.rootpath / "docs/results/quickstart.csv")


def test_every_target_and_seed_is_there_once(rows):
    final = rows[rows["model"] == "restore"]
    expected = {(t, s, "default") for t in RESULT_TARGETS for s in range(3)}
    found = list(zip(final["subgroup"], final["seed"], final["recipe"]))
    assert expected <= set(found) and len(found) == len(set(found))


def test_default_forgets_the_target_and_keeps_the_rest(rows):
    final = rows[(rows["model"] == "restore") & (rows["recipe"] == "default")]
    assert (final["target"] <= 2).all(), final.loc[final["target"] > 2, ["subgroup", "seed", "target"]].to_string()
    assert (final["score"] >= 95).all(), final.loc[final["score"] < 95, ["subgroup", "seed", "score"]].to_string()
    stages = rows[(rows["model"] != "original") & (rows["recipe"] == "default")]
    assert (stages.groupby(["subgroup", "seed"])["seconds"].sum() < 120).all()


@pytest.mark.parametrize("file", FILES)
def test_tables_in_the_text_are_those_of_the_rows(request, file):
    text = (request.config.rootpath / file).read_text()
    assert render(text, request.config.rootpath) == text, f"{file} is stale: run `python -m forgetkit.report`"
    assert BLOCK.search(text), "the table is gone"
