"""Checks of the exercises: a stub is told from a wrong answer, and the committed solutions are right."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch

from forgetkit.tutorial.exercises import CHECKS, EMPTY, check

SOLUTIONS = sorted((Path(__file__).resolve().parents[2] / "notebooks/solutions").glob("[0-9]*.ipynb"))


def test_a_stub_is_told_from_a_wrong_and_a_right_answer(capsys):
    check("01.2", ...)
    check("01.2", lambda z, head, labels: None)
    check("01.2", lambda z, head, labels: 0.75)
    check("01.2", lambda z, head, labels: 1 / 0)
    check("01.2", lambda z, head, labels: 100 * ((z @ head.T).argmax(1) == labels).float().mean())
    lines = capsys.readouterr().out.splitlines()
    assert "no answer yet" in lines[0] and "no answer yet" in lines[1]
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


def test_a_hint_names_the_mistake(capsys):
    """Usual mistakes, each with the words that the hint must have."""
    mistakes = {
        "01.4": (lambda z, c: torch.stack([z[:2].mean(0), z[2:].mean(0)]), "left the sphere"),
        "02.1": (lambda g: g.mean(0).square().sum(), "cancelled"),
        "02.2": (lambda w, a, b, s: w + (b @ a).view_as(w), "scale"),
        "02.3": (lambda s, y, m: (s.gather(1, y[:, None])[:, 0] - s.max(1).values + m).relu().mean(), "among"),
        "02.5": ({"similarity"}, "ascent pulls"),
        "03.1": (lambda a, w, d: (1 - d) * a + d * w, "belongs to the *average*"),
        "03.2": (lambda x: (x.mean((0, 2, 3)), x.var((0, 2, 3))), "variance"),
        "03.3": (lambda x, bn: x.mean((0, 2, 3)).norm() + x.std((0, 2, 3)).norm(), "nothing of `bn`"),
        "04.1": (lambda a, b, alpha: {k: alpha * a[k] + (1 - alpha) * b[k] for k in a}, "integer buffer"),
        "04.2": (lambda n: 300 / n, "n-th root"),
        "05.1": (lambda found, original: 170 / 3, "leave it out"),
        "05.2": (lambda found, original: 250 / 3, "must not pay"),
        "06.1": (lambda folders, wnid: folders.index(wnid), "sort the wnids"),
        "06.2": (lambda t: t.mean(1), "back to one"),
        "07.1": (lambda target, pairs: [p for p in pairs if p[0] == "cat" and p != target], "each sibling once"),
        "08.1": (lambda grid, _: [dict(zip(grid, v)) for v in zip(*grid.values())], "first with the first"),
        "08.2": (lambda rows: {"few": (5.0, 13.0), "many": (5.0, None)}, "variance"),
    }
    for name, (answer, words) in mistakes.items():
        check(name, answer)
        out = capsys.readouterr().out
        assert "not yet" in out and words in out, f"{name}: {out}"
    assert EMPTY.startswith("there is no answer")
