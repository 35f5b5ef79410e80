"""Rows of audits: whole, resumable, and of the models that belong to a subgroup."""

import pandas as pd

from benchmarks import audit


def test_rows_are_whole_and_resumable(mini, ready, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(audit, "unlearned", lambda method, clip, *_: (made.append(method) or clip.copy(method), 0.0))
    monkeypatch.setattr(audit, "drawn", lambda *_: ready)
    quick = {"checks": (1,), "budgets": (1,), "templates": ("{}",)}
    given = (mini, tmp_path / "audit.csv", ("low",), (("class", "red"), ("class", "cat")), (0,))
    table = audit.measure_all(*given, **quick)
    assert made == ["low"] * 2 and set(table["method"]) == {"original", "low", "mini-clip-without-cat"}
    assert set(table.loc[table["method"] == "mini-clip-without-cat", "subgroup"]) == {"cat"}, "an oracle of its class"
    columns = "method kind subgroup seed measure value low high n limit alarm seconds"
    assert {*columns.split()} <= set(table.columns)
    figures = table[table["subgroup"] == "red"].pivot(index="measure", columns="method", values="value")
    own = figures.drop(["other word", "other template"], errors="ignore")
    assert own["low"].equals(own["original"]), "the same model under two names"
    pd.testing.assert_frame_equal(audit.measure_all(*given, **quick), pd.read_csv(given[1]))
    assert len(made) == 2, "what is there is not computed again"
