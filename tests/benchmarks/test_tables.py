"""Tables and figures of the benchmark and the studies, from made-up rows."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from benchmarks import tables
from benchmarks.benchmark import ranked
from benchmarks.rows import measured
from benchmarks.tables import card, goals, studies
from benchmarks.tables.__main__ import rendered
from benchmarks.tables.values import filled, over_seeds
from forgetkit.lessons.committed import committed, percent_of_original, with_whole_seeds
from forgetkit.lessons.figures import runs


@pytest.fixture
def bench():
    rows = [{"method": "original", "kind": "class", "subgroup": "red", "seed": 0, "target": 80.0, "retain": 50.0}]
    scores = {"default": 99.0, "ga": 90.0, "default without soup": 98.0, "default without guard": 60.0}
    for method, value in scores.items():
        rows.append({**rows[0], "method": method, "target": 100 - value, "retain": value / 2, "score": value})
    return pd.DataFrame(rows).assign(other=40.0)[[*rows[0], *["other"], "score"]]


def test_rows_are_percent_of_the_original_on_the_same_subgroup(bench):
    found = percent_of_original(bench).set_index("method")
    assert "original" not in found.index
    assert found.loc["ga", "target"] == pytest.approx(100 * 10 / 80)
    assert found.loc["ga", "retain"] == pytest.approx(90) and found.loc["ga", "other"] == pytest.approx(100)
    elsewhere = pd.concat([bench, bench[bench["method"] == "ga"].assign(subgroup="blue")])
    assert percent_of_original(elsewhere).query("subgroup == 'blue'")["target"].isna().all(), "it has no original"


def test_committed_rows_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"method", "subgroup", "score"} <= set(committed("benchmark"))


def test_an_original_has_no_score_and_a_method_has_one():
    original = {"target": 80.0, "retain": 50.0}
    assert measured(original, None) == {**original, "score": None}
    assert measured({"target": 0.0, "retain": 100 / 3}, original) == {"target": 0.0, "retain": 33.333, "score": 83.333}


def test_a_method_may_have_more_seeds_but_no_half_of_one(bench):
    rows = percent_of_original(bench)
    rows = pd.concat([rows, rows.assign(subgroup="blue")])
    default = rows[rows["method"] == "default"]
    second = default.assign(seed=1, score=default["score"] - 2)
    only_red = rows[rows["method"] == "ga"].assign(seed=1).query("subgroup == 'red'")
    of_one = rows[rows["method"] == "ga"].assign(subgroup="green")
    found = with_whole_seeds(pd.concat([rows, second, only_red, of_one]))
    assert found.groupby("method")["seed"].unique().map(list).to_dict() == {
        **{method: [0] for method in rows["method"] if " " not in method}, "default": [0, 1],
    }  # fmt: skip
    assert set(found["subgroup"]) == {"red", "blue"}
    told = {method: over_seeds(of["score"], of["seed"]) for method, of in found.groupby("method")}
    assert told["default"] == "98.0 ± 1.4" and told["ga"] == "90.0"


@pytest.mark.parametrize("asked, found", {
    "rows | method == 'default' and kind == 'class' | score | mean | .1f": "99.0",
    "rows% | method == 'ga' | target | mean | .1f": "12.5",
    "rows | | `probe recall` <= 75 | sum | d": "2",
    "rows | score > 0 | | size | d": "4",
    "rows | score > 80 \\| score | seeds | .2f": "95.67",
    "rows | method == 'ga' | 100 * target / retain | max |\n.0f": "22",
}.items())  # fmt: skip
def test_a_number_in_prose_is_what_its_query_finds(asked, found, bench, tmp_path):
    bench.assign(**{"probe recall": [90.0, 80.0, 75.0, 76.0, 10.0]}).to_csv(tmp_path / "rows.csv", index=False)
    text = f"It has <!-- = {asked} -->1.0<!-- . --> percent."
    assert filled(text, tmp_path) == f"It has <!-- = {asked} -->{found}<!-- . --> percent."


@pytest.mark.parametrize("text, said", {
    "a <!-- = rows | method == 'none' | score | mean | .1f -->1<!-- . -->": "no row of rows.csv",
    "a <!-- = rows | method == 'original' | score | mean | .1f -->1<!-- . -->": "have no 'score'",
    "a <!-- = rows | score | mean -->1<!-- . -->": "3 fields",
    "a <!-- = rows | | scores | mean | .1f -->1<!-- . -->": "scores",
    "a\n<!-- = rows | | score | mean | .1f -->1<!-- . -->": "begins a line",
}.items())  # fmt: skip
def test_a_number_that_is_not_there_is_refused_by_page_and_comment(text, said, bench, tmp_path):
    bench.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(ValueError, match=said) as refused:
        filled(text, tmp_path, "page.md")
    assert str(refused.value).startswith("page.md: <!-- = rows |")


def test_a_lesson_tells_numbers_too_and_nothing_else_of_it_changes(bench, tmp_path):
    bench.to_csv(tmp_path / "rows.csv", index=False)
    cells = [nbformat.v4.new_markdown_cell("So <!-- = rows | | score | max | .0f -->1<!-- . -->."),
             nbformat.v4.new_code_cell("'<!-- = rows | | score | max | .0f -->1<!-- . -->'")]  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "lesson.ipynb")
    made = nbformat.reads(rendered(tmp_path / "lesson.ipynb", tmp_path), as_version=4)
    assert made.cells[0].source == "So <!-- = rows | | score | max | .0f -->99<!-- . -->."
    assert made.cells[1] == nbformat.read(tmp_path / "lesson.ipynb", as_version=4).cells[1]


def test_the_card_has_a_line_a_part_and_what_each_is_worth_even_nothing(bench):
    """Worth is Score with the part less Score without it, over seeds where there are several."""
    shown = card.card(bench).set_index("part")["worth in `default`"]
    assert shown["guard"] == "+39.0" and shown["soup, α by $D_m$"] == "+1.0" and shown["MMD"] == "–"
    second = bench[bench["method"] != "original"].assign(seed=1)
    more = pd.concat([bench, second.assign(score=second["score"].where(second["method"] == "default", 99.0))])
    assert card.worth(more, "default", "soup") == "+0.5 ± 0.7"
    none = bench.assign(score=bench["score"].replace(98.0, 99.0))
    assert card.worth(none, "default", "soup") == "0.0"
    assert "guard +39.0" in card.card_in_short(bench).iloc[-1, -1]


def test_a_recipe_is_compared_with_doing_nothing(bench):
    """Two columns of three are kept: doing nothing scores 66.7."""
    rows = [bench.assign(method=bench["method"].replace({"ga": "paper"}), score=score) for score in (60.0, 200 / 3)]
    rows[1]["subgroup"] = "blue"
    found = card.nothing_table(*rows).set_index("recipe").loc["`paper`"]
    assert (found["subgroups"], found["below"], found["the same"], found["above"]) == (2, 1, 1, 0)
    assert found["doing nothing"] == pytest.approx(200 / 3)


def test_the_first_table_has_a_line_a_kind(tmp_path):
    def rows(kind, subgroup, *runs):
        names = ("method", "seed", "target", "retain", "probe recall")
        return [{"kind": kind, "subgroup": subgroup, "other": 40.0, **dict(zip(names, run))} for run in runs]

    red = [("original", 0, 80, 60, 77.0), ("ga", 0, 0, 0, 0), ("default", 0, 2, 50, 76.0), ("default", 1, 9, 9, 9)]
    ink = [("original", 0, 50, 60, 70.0), ("default", 0, 5, 50, 60.0)]
    bench = [*rows("class", "red", *red), *rows("class", "blue", *red), *rows("style", "red ink", *ink)]
    pd.DataFrame(bench).to_csv(tmp_path / "benchmark.csv", index=False)
    assert tables.made("first", tmp_path).splitlines()[2:] == [
        "|class: red|80.0 → 2.0|50.0 → 45.0|77.0 → 76.0|",
        "|style: red ink|50.0 → 5.0|50.0 → 45.0|70.0 → 60.0|",
    ]


def test_ablation_table_tells_what_each_part_is_worth(bench, tmp_path):
    bench.to_csv(tmp_path / "benchmark.csv", index=False)
    text = tables.made("ablation", tmp_path)
    lines = [line.split("|")[1:-1] for line in text.splitlines()]
    table = {line[0]: dict(zip(lines[0], line)) for line in lines[2:]}
    scores = {part: float(line["default: class"]) for part, line in table.items()}
    assert scores["(nothing)"] - scores["soup"] == pytest.approx(1) and "lora" not in table, "not run"
    assert scores["(nothing)"] - scores["guard"] == pytest.approx(39)


def test_strips_show_every_run_and_the_mean():
    rows = pd.DataFrame(
        [("default", "class", f"c{i}", 98.0 + i) for i in range(2)] + [("ga", "class", "c0", 70.0)],
        columns=["method", "kind", "subgroup", "score"],
    )
    figure = runs.score_strips(rows)
    assert len(figure.axes) == 1
    points = np.concatenate([c.get_offsets()[:, 0] for c in figure.axes[0].collections])
    assert {98.0, 99.0, 70.0, 98.5} <= {round(float(p), 3) for p in points}
    assert [t.get_text() for t in figure.axes[0].texts] == ["98.5", "70.0"], "best first"
    plt.close(figure)


def test_a_goal_stands_beside_what_was_reached():
    found = goals.line("Score, class", pd.Series([98.0, 99.5]), low=98.5)
    told = {"asked": "at least 98.5", "mean": "98.8", "least": "98.0", "most": "99.5", "met by": "1 of 2"}
    assert found == {"goal": "Score, class", **told}
    assert goals.line("AUROC", pd.Series([0.4, 0.9]), 0.4, 0.85, digits=2)["asked"] == "0.4 to 0.85"


def test_of_all_that_was_not_forgotten_what_lost_most_is_told():
    runs = [("original", 0, "", 80, 50, 40), ("default", 1, "red", 0, 40, 40), ("default", 2, "blue", 4, 8, 30)]
    rows = pd.DataFrame(runs, columns=["method", "request", "subgroup", "red", "blue", "others"])
    _, line = studies.requests_table(rows.assign(**{"probe recall": 50.0}, seconds=1.0)).to_dict("records")
    assert line["worst target so far"] == 8 and line["least kept (% of the original's)"] == "75.0 (others)"


def test_a_job_gets_the_best_other_method_beside_the_default(tmp_path):
    names = ("method", "target", "retain", "probe recall", "score", "seconds")
    runs = [("original", 80, 50, 80, None, 0), ("default", 0, 50, 20, 99, 50), ("ga", 8, 50, 40, 95, 30)]
    rows = [dict(zip(names, run)) for run in [*runs, ("projection", 16, 50, 80, 90, 3), ("lip", 80, 50, 80, 50, 2)]]
    of = {"kind": "class", "subgroup": "red", "seed": 0}
    pd.DataFrame([{**of, **row} for row in rows]).to_csv(tmp_path / "benchmark.csv", index=False)
    (line,) = tables.made("choice", tmp_path).splitlines()[2:]
    assert line == "|class|1|99.0 (0 / 25; 50 s)|`ga` 95.0 (10 / 50; 30 s)|"


def test_settings_are_halved_and_the_best_of_those_left_is_used():
    rows = [(s, sub, v) for s, of in {"a": (90, 60), "b": (80, 80), "c": (95,)}.items() for sub, v in zip("xy", of)]
    table = pd.DataFrame(rows, columns=["setting", "subgroup", "score"]).assign(method="ga")
    assert ranked(table, "ga").to_dict() == {"b": 80, "a": 75}, "c was not tried on the second"
