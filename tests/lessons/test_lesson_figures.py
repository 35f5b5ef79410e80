"""Figures show what they are given, with named axes."""

from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from forgetkit.lessons import figures

RECORD = {
    "layers": ["a"],
    "forget": [{"step": 0.0, "target": 90.0}, {"step": 1.0, "loss": 0.5}, {"step": 5.0, "target": 1.0}],
    "remind": [{"step": 1.0, "contrastive": 2.0, "distill": 1.0}, {"step": 2.0, "contrastive": 1.0, "distill": 0.5}],
    "soup": [
        {"alpha": alpha, "target": target, "retain": 70.0, "score": 90.0}
        for alpha, target in ((0.0, 80.0), (0.5, 9.0), (1.0, 0.0))
    ],
    "alpha": 0.5,
}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_highlighted_rows_stand_out():
    axis = figures.bars(pd.DataFrame({"ratio": [2.0, 0.5]}, index=["a", "b"]), "ratio", ["a"]).axes[0]
    chosen, other = axis.patches
    assert [chosen.get_height(), other.get_height()] == [2.0, 0.5] and chosen.get_hatch() == "//"
    assert chosen.get_facecolor() != other.get_facecolor()
    assert [text.get_fontweight() for text in axis.get_xticklabels()] == ["bold", "normal"]


DRAWN = {
    "soup": lambda: figures.soup_path(RECORD),
    "curves": lambda: figures.loss_curves(RECORD),
    "curves without stage 1": lambda: figures.loss_curves({**RECORD, "layers": [], "forget": []}),
}


@pytest.mark.parametrize("name", DRAWN)
def test_axes_are_named(name):
    for axis in DRAWN[name]().axes:
        assert axis.get_xlabel() and axis.get_ylabel()


def test_soup_marks_the_chosen_alpha():
    lines = figures.soup_path(RECORD).axes[0].lines
    assert any(list(line.get_xdata()) == [0.5, 0.5] for line in lines)


def test_lines_have_a_panel_a_table_and_a_mark_by_title():
    table = pd.DataFrame({"target": [100.0, 0.0], "odd": [1.0, float("nan")]}, index=pd.Index([0, 4], name="step"))
    figure = figures.lines({"one": table, "two": table}, "accuracy (%)", mark={"two": 3})
    one, two = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["one", "two"] and one.get_xlabel() == "step"
    assert len(one.lines) == 2 and len(two.lines) == 3 and list(two.lines[-1].get_xdata()) == [3, 3]
    assert list(one.lines[1].get_ydata()) == [1.0], "a gap is left out"


def test_no_two_terms_of_a_loss_look_alike():
    terms = ("contrastive", "distill", "guard", "distill_forget", "mmd", "stay", "feature")
    drawn = figures.lines(pd.DataFrame({name: [1.0, 2.0] for name in terms}), "loss").axes[0].lines
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == len(terms)


def test_table_has_a_bar_a_model_and_column():
    table = pd.DataFrame({"model": ["original", "restore"], "target": [90.0, 1.0], "retain": [80.0, 79.0]})
    heights = [p.get_height() for p in figures.bars(table.set_index("model").T, "accuracy (%)").axes[0].patches]
    assert {90.0, 1.0, 80.0, 79.0} <= set(heights)


def test_grid_has_a_row_a_set(colours):
    figure = figures.image_grid({"forget": colours.forget, "retain": colours.retain}, columns=3)
    assert len(figure.axes) == 6 and sum(len(a.images) for a in figure.axes) == 6
    assert any("forget" in t.get_text() for a in figure.axes for t in a.texts)


def test_before_after_shows_only_what_the_original_knew(mini, colours):
    figure = figures.before_after(mini, mini, {"retain": colours.test["retain"]}, per_column=4)
    titles = [a.get_title() for a in figure.axes if a.images]
    for title in titles:
        before, after = title.split("\n→ ")
        assert before == after, "the same model changes nothing"


def test_before_after_takes_a_head_and_leaves_a_row_without_right_answers_empty(mini, colours, prototypes):
    part = colours.test["target"]
    wrong = replace(part, labels=(part.labels + 1) % 4)
    figure = figures.before_after(
        mini, mini, {"right": part, "wrong": wrong}, per_column=3, heads={"right": prototypes, "wrong": prototypes}
    )
    assert [len(a.images) for a in figure.axes] == [1, 1, 1, 0, 0, 0]


def test_percents_have_a_panel_a_table_and_leave_empty_cells_empty():
    table = pd.DataFrame({"photos": [90.0, 80.0], "sketches": [70.0, float("nan")]}, index=["red", "blue"])
    for axis in figures.percents({"original": table, "restore": table}, (2, 2), "accuracy (%)").axes[:2]:
        assert sorted(t.get_text() for t in axis.texts) == ["70", "80", "90"]


def test_a_row_of_neighbours_is_the_query_a_gap_and_the_nearest_of_each_model(colours):
    part, near = colours.retain, np.array([[1, 2], [3, 4]])
    axes = np.array(figures.neighbour_grid(part, [0, 5], {"a": near, "b": near + 1}, 1, ["x", "y"]).axes)
    titles = [axis.get_title() for axis in axes.reshape(2, 7)[1]]
    names = part.names
    assert titles == [names[5], "", names[3], names[4], "", names[4], names[5]]


def test_the_line_of_decision_counts_who_is_above_it():
    above, below = np.array([[0.5, 0.2]] * 3 + [[0.1, 0.4]]), np.array([[0.1, 0.6]] * 5)
    strip = {"original": {"target": above, "retain": below}, "forgotten": {"target": above[:, ::-1], "retain": below}}
    first, second = figures.decisions(strip, "cat").axes
    assert [t.get_text() for t in first.get_legend().texts] == ["target 75 %", "retain 0 %"]
    assert [t.get_text() for t in second.get_legend().texts] == ["target 25 %", "retain 0 %"]
    assert first.get_xlabel() and "'cat'" in first.get_ylabel() and first.get_xlim() == first.get_ylim()


def test_runs_are_dots_about_their_mean_and_of_many_settings_some_are_named():
    table = pd.DataFrame({"a": [1, 1, 2, 2], "v": [0.0, 2.0, 5.0, 7.0]})
    axis = figures.mean_and_runs(table, "v", ["a"]).axes[0]
    dots, means = axis.lines[0], axis.containers[0].lines[0]
    assert dots.get_ydata().tolist() == [0, 2, 5, 7] and means.get_ydata().tolist() == [1, 6]
    assert means.get_xdata().tolist() == [0, 1] and np.abs(dots.get_xdata() - [0, 0, 1, 1]).max() < 0.05
    many = pd.DataFrame({"a": range(90), "b": range(90), "v": range(90)})
    axis = figures.mean_and_runs(many, "v", ["a", "b"]).axes[0]
    assert len(axis.containers) == 90 and len(axis.get_xticks()) == len(axis.get_legend().get_texts()) == 15


def test_save_writes_a_png(tmp_path):
    figures.save(figures.soup_path(RECORD), tmp_path / "new", "soup")
    assert (tmp_path / "new/soup.png").read_bytes().startswith(b"\x89PNG")


def test_a_dollar_in_a_name_is_a_dollar():
    """And two are no mathematics, which the figures of the lessons have elsewhere."""
    points = {"original": {"target": np.array([[0.1, 0.2], [0.2, 0.1]])}}
    figure = figures.decisions(points, "$5 and $10 bills of a very long name")
    label = figure.axes[0].yaxis.label
    assert label._preprocess_math(label.get_text()) == ("cosine to the text '$5 and $10 bills of a v…'", False)
    plt.close(figure)
