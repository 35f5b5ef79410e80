"""What lessons say of a run is computed from it: each cell that prints a sentence, on tables that must turn it round.

The cells are run as they stand in the lessons, on made-up numbers, with the columns that each kind of subgroup has.
"""

import contextlib
import io
from dataclasses import asdict
from types import SimpleNamespace
from unittest.mock import MagicMock

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from test_notebooks import NOTEBOOKS

import forgetkit
from forgetkit.evaluation import percent
from forgetkit.lessons import diagnostics

OTHERS = ["fashion", "quickdraw", "unseen", "emoji"]
COLUMNS = {  # of a lesson's tables, by kind
    "class": ["target", "retain", "other", *OTHERS],
    "coarse": ["target", "retain", "other", *OTHERS],
    "cluster": ["target", "retain", "other", *OTHERS],
    "style": ["target", "retain", "other", "fashion"],
    "folder": ["target", "retain"],
}
CELLS = {(path.name[:2], c.id): c.source for path in NOTEBOOKS for c in nbformat.read(path, as_version=4).cells}
every_kind = pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
STAGES = ["original", "forget", "remind", "restore"]


def said(lesson: str, cell: str, **names) -> str:
    """What a cell of a lesson prints where its names have these values; figures are not drawn."""
    names = {"pd": pd, "np": np, "torch": torch, "percent": percent, "out": "", "seed": 0, "changes": {}, **names}
    names = {"forgetkit": forgetkit, "figures": MagicMock(), "lesson": MagicMock(), "diagnostics": diagnostics} | names
    with contextlib.redirect_stdout(io.StringIO()) as text:
        exec(CELLS[lesson, cell], names)
    return text.getvalue()


def accuracies(columns, **values) -> dict[str, float]:
    return {**dict.fromkeys(columns, 80.0), "target": 2.0, **values}


def staged(scores: list[float], left: float) -> pd.DataFrame:
    return pd.DataFrame({"target": [80.0, left, left, left], "score": [float("nan"), *scores]}, STAGES)


def test_00_names_the_stage_and_the_recipe_that_decide():
    mine, theirs = staged([80.0, 95.0, 95.0], 1.0), staged([80.0, 70.0, 75.0], 9.0)
    ask = dict(asdict=asdict)
    text = said("00", "decision-4", tables={"default": mine, "paper": theirs}, **ask)
    assert "target left: 1.0 % (default), 9.0 % (paper)" in text and "stage 'remind', 25.0 points for default" in text
    text = said("00", "decision-4", tables={"default": theirs, "paper": mine}, **ask)
    assert "target left: 9.0 % (default), 1.0 % (paper)" in text and "stage 'remind', 25.0 points for paper" in text
    early = staged([50.0, 65.0, 65.0], 1.0)
    assert "stage 'forget', 30.0 points" in said("00", "decision-4", tables={"default": mine, "paper": early}, **ask)


@pytest.mark.parametrize("left, score", [(1.0, 97.0), (3.0, 97.0), (1.0, 94.0)])
def test_00_ends_with_what_the_table_says(left, score):
    text = said("00", "cell-18", table=pd.DataFrame({"target": [80.0, left], "score": [float("nan"), score]}))
    assert f"at most 2 %: {left <= 2}" in text and f"at least 95: {score >= 95}" in text


@pytest.mark.parametrize("gain", [20.0, -20.0])
def test_02_says_what_each_brake_was_worth(gain):
    names = ("similarity", "hinge", "hinge, any layer", "gradient ascent")
    scores = {f"{name}, to the end": 60.0 for name in names} | {f"{name}, stopped": 60.0 + gain for name in names}
    scores["hinge, any layer, stopped"] = 60 + 2 * gain
    text = said("02", "cell-42b", curves=dict.fromkeys(names), table=pd.DataFrame({"Score": scores}))
    assert f"to stop is worth {gain:+.1f} (similarity)" in text and f"{2 * gain:+.1f} (hinge, any layer)" in text
    assert f"late layers instead of any: {-gain:+.1f}" in text and "instead of the similarity: +0.0" in text


@every_kind
def test_03_names_the_columns_that_fine_tuning_lowered(columns):
    """All columns but the last fall in the end, the target among them, which is meant to."""
    fallen, before = columns[:-1], accuracies(columns, target=80.0)
    found = [accuracies(columns), accuracies(columns), accuracies(columns, **dict.fromkeys(fallen, 1.0))]
    given = dict(changes={}, kept=lambda f: f, settings=MagicMock(), forgotten=0, clip=None, sets=None, before=before)
    for last, expected in ((2, ", ".join(fallen[1:]) or "none"), (1, "none")):
        runs = iter((1, 1, last))
        fake = SimpleNamespace(remind=lambda *_: next(runs), accuracies=lambda model, _: found[model])
        assert f"lower than stage 1 left them: {expected}\n" in said(
            "03", "cell-09", **given, forgetkit=fake, columns=columns
        )


@pytest.mark.parametrize("lowest", [0.0, 1.0, 1.5])
def test_03_says_where_the_alignment_loss_is_lowest_and_what_the_model_sees(lowest):
    tau = np.linspace(0, 2, 9)
    rows = pd.DataFrame({"$L_a$ of the batch": (tau - lowest) ** 2, "original's accuracy (%)": 90 - 10 * tau}, tau)
    text = said("03", "cell-25", strengths=rows, pictures={})
    assert f"lowest at τ = {lowest:.2f}" in text and "90 % at τ = 0, 80 % at τ = 1, 70 % at τ = 2" in text


@every_kind
def test_03_says_what_the_average_was_worth(columns):
    before, fallen = accuracies(columns, target=80.0), accuracies(columns, retain=40.0)
    fake = SimpleNamespace(accuracies=lambda model, _: model, score=forgetkit.score)
    points = forgetkit.score(fallen, before) - forgetkit.score(accuracies(columns), before)
    given = dict(forgetkit=fake, columns=columns, pace={"steps": 7}, before=before)
    for sign, off, on in ((1, accuracies(columns), fallen), (-1, fallen, accuracies(columns))):
        assert f"instead of off: {sign * points:+.1f} points" in said("03", "ema-1", raw=off, tuned={7: on}, **given)


@pytest.mark.parametrize("last", ["+ distillation", "+ raw images", "+ mmd"])
def test_03_compares_alignment_in_the_whole_recipe(last):
    table = pd.DataFrame({"model": ["forgotten", last, "the same, not aligned"], "score": [50.0, 91.0, 93.0]})
    assert "Score with alignment 91.0, without 93.0" in said("03", "cell-42", table=table, every_part=last)


@every_kind
@pytest.mark.parametrize("well", [True, False])
def test_03_ends_with_what_the_rows_say(columns, well):
    values = {"plain fine-tuning": 70, "+ alignment": 60, "+ distillation": 80, "+ guard": 95 if well else 75}
    rows = [{"model": name, "score": score, **accuracies(columns)} for name, score in values.items()]
    table = pd.DataFrame(rows).set_index("model")
    table.loc["+ distillation", "target"] = 60.0 if well else 3.0
    table.loc["+ guard", "target"] = 3.0 if well else 4.0
    if "other" in columns:
        table.loc["plain fine-tuning", "other"] = 70.0 if well else 85.0
    aligned = SimpleNamespace(curve=[10.0, 4.0 if well else 6.0])
    before = accuracies(columns, target=80.0)
    lines = said("03", "cell-44", table=table.reset_index(), aligned=aligned, before=before).splitlines()
    assert len(lines) == (5 if "other" in columns else 4) and all(line.endswith(f": {well}") for line in lines)
    unguarded = said("03", "cell-44", table=table.drop("+ guard").reset_index(), aligned=aligned, before=before)
    assert "guard" not in unguarded, "a recipe without one says nothing of it"


@pytest.mark.parametrize("well", [True, False])
def test_04_compares_the_choice_with_the_best(well):
    chosen = {"alpha": 0.8, "score": 96.0 if well else 90.0, "target": 1.0 if well else 8.0}
    best = {"alpha": 0.5, "score": 96.5, "target": 1.5}
    text = said("04", "cell-21", chosen=pd.Series(chosen), best=pd.Series(best))
    assert f"alpha 0.80: Score {chosen['score']:.1f}, target {chosen['target']:.1f} %" in text
    paths = {name: pd.DataFrame({"score": [score]}) for name, score in (("first", 80.0), ("on_test", 79.0 + 5 * well))}
    lines = said("04", "cell-29", chosen=chosen, best=best, untouched=["running"], half=["running"], **paths)
    assert [line.rpartition(": ")[2] for line in lines.splitlines()] == ["True", *3 * [str(well)]]


@every_kind
def test_05_names_the_class_that_lost_most_and_the_one_that_gained_most(columns):
    """The target's own classes are left out, however much they fall."""
    own = [c for c in ("target", "retain", "other") if c in columns]
    labels = {c: torch.arange(2).repeat_interleave(4) + 2 * i for i, c in enumerate(own)}
    right = {c: labels[c].clone() for c in own}
    lost = {c: labels[c].clone() for c in own}
    lost["target"][:] = 9
    lost["retain"][:3] = 9
    given = dict(own=own, labels=labels, sets=SimpleNamespace(classes=list("abcdef")), z=["original", "restore"])
    text = said("05", "cell-24", guess={"original": right, "restore": lost}, **given)
    assert "largest loss: c (retain), -75.0 points" in text
    text = said("05", "cell-24", guess={"original": lost, "restore": right}, **given)
    assert "largest gain: c (retain), +75.0 points" in text


@pytest.mark.parametrize("returns", ["a drawing of a {}.", "this is not a {}."])
def test_05_names_the_wording_for_which_the_target_comes_back(returns):
    """Two texts; the first is the target's, and wins for this wording alone."""
    asked = lambda _, wordings: torch.eye(2) if wordings == [returns] else torch.eye(2).flip(0)
    clip, sets = SimpleNamespace(head=asked), SimpleNamespace(classes=("a", "b"), prompts=("a photo of a {}.",))
    z = {model: {"target": torch.tensor([[1.0, 0.0]] * 4)} for model in ("original", "restore")}
    labels = {"target": torch.zeros(4, dtype=torch.long)}
    text = said("05", "cell-22", clip=clip, sets=sets, z=z, own=["target"], labels=labels)
    assert f"comes back for {returns!r}: 100.0 %" in text


@every_kind
def test_05_shows_what_was_lost_or_says_that_nothing_was(columns):
    labels = {c: torch.zeros(4, dtype=torch.long) for c in columns}
    same, wrong = {**labels, "target": labels["target"] + 1}, {**labels, "retain": labels["retain"] + 1}
    given = dict(looked=columns, labels=labels, test=MagicMock(), clip=None, restored=None)
    for after, nothing in ((same, True), (wrong, False)):
        text = said("05", "cell-40", guess={"original": labels, "restore": after}, **given)
        assert ("no image outside the target was lost" in text) == nothing


@every_kind
def test_05_ends_with_what_the_table_says(columns):
    ratio = pd.DataFrame(100.0, ["restore"], columns)
    given = dict(thoughts=pd.DataFrame({"score": [83.3]}, ["nothing is done"]), difference=0.05)
    for left, kept, share in ((4.0, 95.0, 90.0), (6.0, 85.0, 80.0)):
        table = pd.DataFrame({"target": [80.0, left], "score": [float("nan"), share]})
        parts = pd.DataFrame({"a": [0.0, 90.0], "b": [100.0, 90.0]})
        text = said("05", "cell-47", parts=parts, table=table, ratio=ratio.assign(target=0.0, retain=kept), **given)
        assert f"mean is the Score: {share == 90}" in text and f"at most 5 % of its images: {left <= 5}" in text
        assert f"at least 90 % of the original: {kept >= 90}" in text


@every_kind
def test_07_names_the_columns_that_lost_a_quarter(columns):
    labels = SimpleNamespace(labels=[0], own_labels=[])
    first = accuracies(columns, target=80.0)
    for last, lost, falls in ((accuracies(columns), "none", True), ({**first, columns[-1]: 59.0}, columns[-1], False)):
        text = said("07", "t024", table=pd.DataFrame([first, last]), columns=columns, sets=labels)
        assert f"the target falls: {falls}" in text and f"a quarter or more: {lost}\n" in text
        assert "both forgotten and kept: 1" in text


@pytest.mark.parametrize("few, many", [(9.0, 3.0), (3.0, 9.0)])
def test_08_says_whether_more_images_leave_less(few, many):
    means = pd.DataFrame({"target_acc": [few, many]}, pd.Index([20, 200], name="n_forget"))
    table = pd.DataFrame({"run": [1, 2], "status": ["done", "failed"]})
    after = pd.DataFrame({"n_forget": [20, 200, 200], "seed": [0, 0, 0]})
    text = said("08", "c33", means=means, table=table, after=after)
    assert f"less of the target: {many < few}" in text
    assert "runs: 2 all done: False" in text and "combination once: False" in text


@pytest.mark.parametrize("back", [True, False])
def test_09_says_whether_one_number_brings_it_back(back):
    offsets = pd.DataFrame({"target, b = 0 (%)": [4.0 if back else 6.0], "target recognised (%)": [6.0]}, ["unlearned"])
    audited = SimpleNamespace(table=pd.DataFrame({"n": [5, 5 * back]}))
    lines = said("09", "c26", offsets=offsets, audited=audited).splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == 3 * [str(back)]
