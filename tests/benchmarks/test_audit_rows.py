"""Rows of audits: whole, resumable, and of the models that belong to a subgroup."""

import pandas as pd

from benchmarks import audit
from benchmarks.tables import audits


def test_rows_are_whole_and_resumable(mini, ready, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(audit, "unlearned", lambda method, clip, *_: (made.append(method) or clip.copy(method), 0.0))
    monkeypatch.setattr(audit, "drawn", lambda *_: ready)
    quick = {"checks": (1,)}
    given = (mini, tmp_path / "audit.csv", ("low",), (("class", "red"), ("class", "cat")), (0,))
    table = audit.measure_all(*given, **quick)
    assert made == ["low"] * 2 and set(table["method"]) == {"original", "low", "mini-clip-without-cat"}
    assert set(table.loc[table["method"] == "mini-clip-without-cat", "subgroup"]) == {"cat"}, "an oracle of its class"
    columns = "method kind subgroup seed measure value low high n limit alarm seconds"
    assert {*columns.split()} <= set(table.columns)
    blocks = table["measure"].str.startswith("probe at ")
    assert set(table.loc[blocks, "subgroup"]) == {"cat"} and {"low", "original"} < set(table.loc[blocks, "method"])
    figures = table[table["subgroup"] == "red"].pivot(index="measure", columns="method", values="value")
    own = figures.drop(["other word", "other template"], errors="ignore")
    assert own["low"].equals(own["original"]), "the same model under two names"
    pd.testing.assert_frame_equal(audit.measure_all(*given, **quick), pd.read_csv(given[1]))
    assert len(made) == 2, "what is there is not computed again"


def test_alarms_are_counted_by_subgroup_and_blocks_stand_in_the_towers_order():
    common = {"kind": "class", "subgroup": "cat", "seed": 0, "unit": "%", "value": 50.0}
    rows = [
        {**common, "method": method, "measure": measure, "limit": limit, "alarm": alarm}
        for method, alarms in (("original", (True, True)), ("default", (True, False)), ("ga", (True, True)))
        for (measure, limit), alarm in zip((("offset recall", "<= 5.0"), ("synonyms", "<= 5.0")), alarms)
    ]
    rows += [{**common, "method": "default", "measure": "offset", "limit": None, "alarm": False}]
    blocks = [
        {**common, "method": method, "measure": f"{attack} at {block}", "value": value}
        for method, value in (("default", 60.0), ("mini-clip-without-cat", 40.0))
        for block in ("stem", "layer1.0", "embedding") for attack in ("probe", "ten-image probe")
    ]  # fmt: skip
    rows = pd.DataFrame(rows + blocks)
    (line,) = audits.alarms_table(rows).to_dict("records")
    assert (line["default"], line["ga"]) == ("1 of 2", "2 of 2") and "original" not in line
    assert line["those of `default`"] == "offset recall"
    table = audits.blocks_table(rows)
    assert table["block"].tolist() == ["stem", "layer1.0", "embedding"]
    assert table.loc[0, ["default", "oracle"]].tolist() == ["60 / 60", "40 / 40"]
