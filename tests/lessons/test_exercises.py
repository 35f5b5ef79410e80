"""Checks of the exercises: wrong answers are refused by name, and the committed solutions are right."""

import contextlib
import io
import json
import math
import statistics
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from wrong_answers import WRONG

from forgetkit.lessons.exercises import CHECKS, EMPTY, check, quiz
from forgetkit.lessons.exercises.checks import QUIZ
from forgetkit.subgroups import Subgroup

SOLUTIONS = sorted((Path(__file__).resolve().parents[2] / "notebooks/solutions").glob("[0-9]*.ipynb"))


def test_a_stub_is_told_from_a_wrong_and_a_right_answer(capsys):
    check("01.2", ...)
    check("01.2", lambda z, head, labels: None)
    check("01.2", lambda z, head, labels: ((z @ head.T).argmax(1) == labels).float().mean())
    check("01.2", lambda z, head, labels: 1 / 0)
    check("01.2", lambda z, head, labels: 100 * ((z @ head.T).argmax(1) == labels).float().mean())
    lines = capsys.readouterr().out.splitlines()
    assert EMPTY in lines[0] and EMPTY in lines[1]
    assert "wanted is percent" in lines[2] and "ZeroDivisionError" in lines[3] and lines[4].endswith("correct.")
    with pytest.raises(ValueError, match="no exercise '99.1'"):
        check("99.1", 1)


def test_every_check_refuses_a_stub(capsys):
    for name in CHECKS:
        check(name, lambda *_: None)
        check(name, torch.zeros(1))
    assert capsys.readouterr().out.count("not yet") == 2 * len(CHECKS)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_run_and_print_what_is_committed(path):
    """Their cells need nothing of a notebook, so they run here, in order and in one namespace, without a kernel."""
    printed, committed, namespace = io.StringIO(), "", {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(printed):
                exec("".join(cell["source"]), namespace)
            committed += "".join("".join(output["text"]) for output in cell["outputs"])
    assert printed.getvalue() == committed
    lines = printed.getvalue().splitlines()
    assert lines == [f"Exercise {name}: correct." for name in sorted(CHECKS) if name.startswith(path.stem[:2])]


HELPERS = {
    "percent": lambda right: 100 * right.double().mean().item(),
    "mean": statistics.mean,
    "sets": lambda grid: [dict(zip(grid, values)) for values in product(*grid.values())],
    "own": lambda x, y: x.gather(1, y[:, None])[:, 0],
    "others": lambda x, y: x.scatter(1, y[:, None], -torch.inf).max(1).values,
    "p": lambda x, y: x.softmax(1).gather(1, y[:, None])[:, 0],
    "off": lambda x, bn: x.mean((0, 2, 3)) - bn.running_mean,
    "spread": lambda x, bn: x.std((0, 2, 3)) - bn.running_var.sqrt(),
    "without": lambda x, c: x[:, [i for i in range(x.shape[1]) if i != c]],
    "zeroed": lambda x, c: x.index_fill(1, torch.tensor([c]), 0.0),
    "kl": lambda t, s: F.kl_div(s.log_softmax(1), t.log_softmax(1), reduction="batchmean", log_target=True),
    "mixed": lambda a, b, share: {k: share(k) * a[k] + (1 - share(k)) * b[k] for k in a},
    "parts": lambda f, o: [1 - f[c] / o[c] if c == "target" else min(1, f[c] / o[c]) for c in o],
    "tail": lambda h, n, c: sum(math.comb(n, i) * (1 / c) ** i * (1 - 1 / c) ** (n - i) for i in range(h + 1)),
    "bare": lambda z: (z @ z.T).fill_diagonal_(-torch.inf),
    "kept": lambda s, t, k: (s.topk(k).indices[:, :, None] == t.topk(k).indices[:, None]).any(2).float().mean().item(),
}
NAMES = {
    **HELPERS,
    **{m.__name__: m for m in (torch, math, json, product, Subgroup)},
    "F": F,
    "np": np,
}


def wrong_answers() -> list[tuple[str, str, str, str]]:
    """(exercise, arguments, answer, words of the hint) of every line."""
    found, name, arguments = [], "", ""
    for line in WRONG.strip().splitlines():
        if line.startswith(" "):
            answer, words = (part.strip() for part in line.split(" ## "))
            found.append((name, arguments, answer, words))
        else:
            name, _, arguments = line.partition(" ")
    return found


def test_every_exercise_has_wrong_answers():
    assert {name for name, *_ in wrong_answers()} == set(CHECKS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_wrong_answer_is_refused_and_called_by_its_name(name, capsys):
    for _, arguments, answer, words in (found for found in wrong_answers() if found[0] == name):
        check(name, eval(f"lambda {arguments}: {answer}" if arguments else answer, dict(NAMES)))
        told = capsys.readouterr().out
        assert "not yet" in told and words in told, f"{answer}: {told}"


def test_a_question_of_the_quiz_says_why_of_each_wrong_answer():
    assert len(QUIZ) == 10
    for question in QUIZ:
        assert {question["right"], *question["why"]} == set("abcd") and question["right"] not in question["why"]
    text = quiz().data
    assert all(question["text"] in text and all(a in text for a in question["answers"]) for question in QUIZ)
