"""The notebooks: committed clean, reproduced by nbval, and run by papermill with other parameters."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

from forgetkit.tutorial import exercises, lesson

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LESSONS = NOTEBOOKS[1:]
SOLUTIONS = sorted((ROOT / "notebooks/solutions").glob("[0-9]*.ipynb"))
STAGES = ["model", "target", "retain", "other", "fashion", "quickdraw", "emoji", "score", "seconds"]
name = lambda path: f"{path.parent.name}/{path.stem}"


def read(path):
    return nbformat.read(path, as_version=4)


def tagged(path, tag):
    return [c for c in read(path).cells if tag in c.metadata.get("tags", [])]


def printed(path) -> str:
    outputs = [o for c in read(path).cells if c.cell_type == "code" for o in c.outputs]
    return "\n".join(o.text for o in outputs if o.output_type == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS + SOLUTIONS, ids=name)
def test_is_committed_executed_and_clean(path):
    notebook, text = read(path), path.read_text()
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}, "run `python -m forgetkit notebooks`"
    assert not [c for c in notebook.cells if set(c.metadata) - {"tags"}], "times and the like stay out"
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), "execute it in order, as a whole"
    assert not [o for c in code for o in c.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert "application/vnd.jupyter.widget-view+json" not in text, "progress bars: see forgetkit.notebook.clean"
    assert not re.search(r"/(home|root|tmp|work|Users)/", text), "an absolute path"
    assert path.stat().st_size < 1.5e6


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_lesson_has_what_every_lesson_has(path):
    cells = read(path).cells
    first = cells[0].source
    assert "After this notebook you can" in first and "CPU" in first and "GPU" in first
    cover = re.search(r"!\[.+\]\((\.\./docs/figures/\S+\.png)\)", first)
    assert cover and (path.parent / cover[1]).exists(), "one picture at the top"
    assert len(tagged(path, "parameters")) == 1
    assert {"kind", "target", "seed", "n_forget", "n_retain", "model", "device", "out"} <= set(
        lesson.known_parameters(path)
    )
    text = "\n".join(c.source for c in cells)
    assert "lesson.source(" in text and "$$" in text and "browse(" in text and "# NBVAL_CHECK_OUTPUT" in text
    number = path.name[:2]
    asked = re.findall(r"\*\*(\d\d\.\d) \((★+)\)\*\*", text)
    assert 3 <= len(asked) <= 5 and len({marks for _, marks in asked}) > 1
    assert {n for n, _ in asked} == {n for n in exercises.CHECKS if n.startswith(number)}
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", text)
    assert not [link for link in links if not (path.parent / link).exists()], "a dead link"


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_unsolved_exercises_say_so_and_solutions_hold(path):
    number = path.name[:2]
    wanted = sorted(n for n in exercises.CHECKS if n.startswith(number))
    unsolved = printed(path)
    assert all(f"Exercise {n}, not yet: {exercises.EMPTY}" in unsolved for n in wanted)
    solved = printed(path.parent / "solutions" / path.name)
    assert all(f"Exercise {n}: correct." in solved for n in wanted) and "not yet" not in solved


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS + SOLUTIONS, ids=name)
def test_nbval_reproduces_it(path):
    """Runs as committed; cells that begin with NBVAL_CHECK_OUTPUT must print the same."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "--nbval-cell-timeout=900",
        "-p",
        "no:cacheprovider",
        path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("path", SOLUTIONS, ids=name)
def test_solutions_satisfy_their_checks_when_run(path, tmp_path):
    out = printed(lesson.execute(path, tmp_path / "out.ipynb"))
    assert out.count("correct.") == len(tagged(path, "solution")) > 0 and "not yet" not in out


FEWER = dict(forget_steps=40, align_steps=3, remind_steps=20, alphas=[0.5, 1.0])  # the lessons that take longest
OTHER = {
    "01_subgroups": dict(kind="style", target="truck sketches"),
    "02_forgetting": dict(target="truck"),
    "03_reminding": dict(target="truck"),
    "04_restoring": dict(kind="cluster", target="dog 1"),
    "05_evaluation": dict(target="ship"),
    "06_imagenet_rn50": dict(target="ship", changes=FEWER),
    "07_styles": dict(target="sketches", changes=FEWER),
    "08_batches": dict(target="ship"),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_papermill_runs_the_lesson_on_another_subgroup_in_small(path, tmp_path):
    parameters = {**OTHER[path.stem], "seed": 1, "n_forget": 60, "n_retain": 120, "out": str(tmp_path)}
    out = lesson.execute(path, tmp_path / "out.ipynb", parameters)
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) >= 3 and not table.drop(columns=["score"], errors="ignore").isna().all().any()
    numbers = table.select_dtypes("number")
    percent = numbers[
        [c for c in numbers if c in ("target", "retain", "other", "fashion", "quickdraw", "emoji", "accuracy")]
    ]
    assert not percent.empty and ((percent >= 0) & (percent <= 100)).all(axis=None)
    assert len(list(tmp_path.glob("*.png"))) >= 4 and (tmp_path / "cover.png").exists()
    assert repr(parameters["target"])[1:-1] in json.dumps([c.source for c in read(out).cells])


@pytest.mark.slow
def test_papermill_runs_the_quickstart_on_another_subgroup(tmp_path):
    parameters = dict(target="truck", seed=3, n_forget=200, n_retain=200, out=str(tmp_path))
    lesson.execute(NOTEBOOKS[0], tmp_path / "out.ipynb", parameters)
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == STAGES
    assert list(table["model"]) == ["original", "forget", "remind", "restore"]
    restored = table.iloc[-1]
    assert table["target"][0] > 80, "the original knows trucks"
    assert restored["target"] <= 5 and restored["score"] >= 90
    figures = {"sets", "fisher", "alignment", "curves", "soup", "table", "predictions"}
    assert figures <= {f.stem for f in tmp_path.glob("*.png")}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_wrong_target_is_told_before_anything_is_computed(path, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="(?i)choose one of:? ?(airplane|bird)") as caught:
        lesson.execute(path, tmp_path / "out.ipynb", {"target": "unicorn"})
    assert caught.value.exec_count <= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_misspelt_parameter_is_an_error(path, tmp_path):
    with pytest.raises(ValueError, match="has no parameter targt. It has: .*target"):
        lesson.execute(path, tmp_path / "out.ipynb", {"targt": "cat"})
