"""Rows of audits: whole, resumable, and of the models that belong to a subgroup."""

import pandas as pd

from benchmarks import audit
from forgetkit.models import loading


def test_rows_are_whole_and_resumable(mini, ready, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(audit, "unlearned", lambda method, clip, *_: (made.append(method) or clip.copy(method), 0.0))
    monkeypatch.setattr(audit, "drawn", lambda *_: ready)
    quick = {"checks": (1,), "budgets": (1,), "templates": ("{}",)}
    given = (mini, tmp_path / "audit.csv", ("low",), (("class", "red"),), (0,))
    table = audit.measure_all(*given, **quick)
    assert made == ["original", "low"] and set(table["method"]) == {"original", "low"}
    columns = "method kind subgroup seed measure value low high n limit alarm seconds"
    assert {*columns.split()} <= set(table.columns)
    pd.testing.assert_frame_equal(audit.measure_all(*given, **quick), pd.read_csv(given[1]))
    assert made == ["original", "low"], "what is there is not computed again"


def test_oracles_belong_to_their_class():
    assert loading.oracle_of("cat") == "mini-clip-without-cat"
    assert loading.oracle_of("cat 1") is None and loading.oracle_of("owl") is None
    runs = audit.runs(("default",), (("class", "cat"), ("class", "owl")), (0, 1))
    keys = [(run["method"], run["subgroup"], run["seed"]) for run in runs]
    assert ("mini-clip-without-cat", "cat", 0) in keys and ("original", "owl", 0) in keys
    assert ("original", "owl", 1) not in keys and ("default", "cat", 1) in keys
