"""What notebooks share: parameters checked, notebooks executed, exercises, widgets."""

import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import papermill
import pytest
import torch

from forgetkit.tutorial import exercises, lesson
from forgetkit.tutorial.widgets import browse


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(kind="flavour"), "choose one of class, style, cluster"),
        (dict(kind="class", target="unicorn"), "choose one of airplane"),
        (dict(kind="style", target="cat"), "no style here: choose one of airplane sketches"),
        (dict(recipe="secret"), "choose 'default' or 'paper'"),
        (dict(model="RN5000"), "choose 'mini'"),
        (dict(device="cuda:77"), "choose 'auto' or 'cpu'"),
        (dict(seed=-1), "a whole number, at least 0"),
        (dict(seed="0"), "a whole number"),
        (dict(n_forget=0), "at least 1"),
        (dict(colour="red"), "no parameter 'colour'"),
    ],
)
def test_a_wrong_parameter_is_told_with_the_choices(values, message):
    with pytest.raises(ValueError, match=message):
        lesson.check_parameters(**values)


def test_right_parameters_pass():
    lesson.check_parameters(
        kind="cluster", target="dog 1", seed=3, n_forget=10, recipe="paper", model="RN50", device="cpu"
    )


@pytest.fixture
def notebook(tmp_path):
    nb = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    nb.cells = [
        nbformat.v4.new_code_cell("a = 1  # a number\nb = 'x'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print(a, b)\nassert a < 9"),
    ]
    nbformat.write(nb, tmp_path / "nb.ipynb")
    return tmp_path / "nb.ipynb"


def test_known_parameters(notebook):
    assert lesson.known_parameters(notebook) == {"a": "1", "b": "'x'"}


def test_a_parameter_that_the_notebook_lacks_is_an_error(notebook, tmp_path):
    with pytest.raises(ValueError, match="has no parameter c. It has: a, b"):
        lesson.execute(notebook, tmp_path / "out.ipynb", {"c": 1})
    assert not (tmp_path / "out.ipynb").exists(), "nothing ran"


def test_parameters_reach_the_notebook_and_failures_are_kept(notebook, tmp_path):
    out = lesson.execute(notebook, tmp_path / "out.ipynb", {"a": 5})
    assert "5 x" in nbformat.read(out, 4).cells[-1].outputs[0].text
    with pytest.raises(papermill.PapermillExecutionError):
        lesson.execute(notebook, tmp_path / "bad.ipynb", {"a": 10})
    assert "AssertionError" in (tmp_path / "bad.ipynb").read_text()


def test_executed_in_place_it_holds_no_times(notebook):
    lesson.execute(notebook)
    text = notebook.read_text()
    assert "papermill" not in text and "iopub" not in text and '"1 x' in text


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such sockets")
def test_kernels_that_start_at_once_cannot_take_each_others_ports(notebook, tmp_path):
    nb = nbformat.read(notebook, 4)
    nb.cells.append(
        nbformat.v4.new_code_cell(
            "from ipykernel.kernelapp import IPKernelApp\n"
            "app = IPKernelApp.instance()\n"
            "print(app.transport, app.abs_connection_file)"
        )
    )
    nbformat.write(nb, notebook)
    places = set()
    for i in range(2):
        out = lesson.execute(notebook, tmp_path / f"out{i}.ipynb")
        transport, file = nbformat.read(out, 4).cells[-1].outputs[0].text.split()
        assert transport == "ipc" and not Path(file).parent.exists(), "its folder goes when it ends"
        places.add(Path(file).parent)
    assert len(places) == 2


def test_source_shows_the_code_itself():
    text = lesson.source(exercises.check).data
    assert "def check(name: str, answer)" in text and "# forgetkit.exercises" in text


def test_a_stub_is_told_from_a_wrong_and_a_right_answer(capsys):
    exercises.check("01.2", ...)
    exercises.check("01.2", lambda z, head, labels: None)
    exercises.check("01.2", lambda z, head, labels: 0.75)
    exercises.check("01.2", lambda z, head, labels: 1 / 0)
    exercises.check("01.2", lambda z, head, labels: 100 * ((z @ head.T).argmax(1) == labels).float().mean())
    lines = capsys.readouterr().out.splitlines()
    assert "no answer yet" in lines[0] and "no answer yet" in lines[1]
    assert "wanted is percent" in lines[2] and "ZeroDivisionError" in lines[3] and lines[4].endswith("correct.")
    with pytest.raises(ValueError, match="no exercise '99.1'"):
        exercises.check("99.1", 1)


def figure(value):
    fig, axis = plt.subplots(figsize=(1, 1))
    axis.bar(0, value)
    return fig


def test_the_widget_only_looks_up():
    open_before = len(plt.get_fignums())
    box = browse("Which one?", ((str(i), figure(i)) for i in range(1, 6)), "height")
    assert len(plt.get_fignums()) == open_before, "every figure is closed"
    question, control, image = box.children
    assert "Which one?" in question.value and control.description == "height"
    seen = {bytes(image.value)}
    start = time.perf_counter()
    for value in ("2", "3", "4", "5"):
        control.value = value
        seen.add(bytes(image.value))
    assert len(seen) == 5 and (time.perf_counter() - start) / 4 < 0.2
    with pytest.raises(ValueError, match="at least one"):
        browse("Nothing?", [], "none")


def test_every_check_refuses_a_stub(capsys):
    for name in exercises.CHECKS:
        exercises.check(name, lambda *_: None)
        exercises.check(name, torch.zeros(1))
    assert capsys.readouterr().out.count("not yet") == 2 * len(exercises.CHECKS)
