"""The notebooks: committed clean, reproduced by nbval, and run by papermill with other parameters."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from types import ModuleType

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import papermill
import pytest
from PIL import Image
from synthetic_data import coloured_set

from benchmarks.notebooks import NUMBER, TOOK, execute_committed, tell_time
from forgetkit.batch.notebook import execute
from forgetkit.batch.task import check_names, parameters_of
from forgetkit.lessons import exercises
from forgetkit.models.clip import Clip
from forgetkit.models.loading import load_clip

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LESSONS = NOTEBOOKS[1:]
CLIP = ROOT / "notebooks/a_clip_in_five_cells.ipynb"
SWEPT = ROOT / "notebooks/sweeps/forget.ipynb"
SOLUTIONS = sorted((ROOT / "notebooks/solutions").glob("[0-9]*.ipynb"))
COLUMNS = ["target", "retain", "other", "fashion", "quickdraw", "unseen", "emoji"]
FOLDERS = ("08_imagenet_rn50", "09_styles")  # whose targets may be those of a reader's folder
name = lambda path: f"{path.parent.name}/{path.stem}"


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [c for c in read(path).cells if c.cell_type == "code"]


def printed(path) -> str:
    return "\n".join(o.text for c in code(path) for o in c.outputs if o.output_type == "stream")


@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP, *SOLUTIONS, SWEPT], ids=name)
def test_is_committed_executed_and_clean(path):
    notebook, text = read(path), path.read_text(encoding="utf-8")
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}, "run `python -m benchmarks.notebooks`"
    assert not [c for c in notebook.cells if set(c.metadata) - {"tags"}], "times and the like stay out"
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "execute it in order, as a whole"
    assert not [o for c in code(path) for o in c.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert "application/vnd.jupyter.widget-view+json" not in text, "progress bars: see forgetkit.batch.notebook.clean"
    assert not re.search(r"/(home|root|tmp|work|Users)/", text), "an absolute path"
    assert path.stat().st_size < 1.5e6


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_lesson_has_what_every_lesson_has(path):
    cells = read(path).cells
    first = cells[0].source
    assert "After this notebook you can" in first and "CPU" in first and "GPU" in first
    cover = re.search(r"!\[.+\]\((\.\./docs/figures/\S+\.png)\)", first)
    assert cover and (path.parent / cover[1]).exists(), "one picture at the top"
    wanted = {"target", "seed", "n_forget", "n_retain", "model", "device", "out"}
    wanted |= {"labels"} if path.stem == "08_imagenet_rn50" else {"kind"}
    assert wanted <= set(parameters_of(path))
    text = "\n".join(c.source for c in cells)
    assert "lesson.source(" in text and "$$" in text and "# NBVAL_CHECK_OUTPUT" in text
    built = path.stem == "02_from_scratch"  # it shows code, no widget
    assert built or "browse(" in text
    asked = re.findall(r"\*\*(\d\d\.\d) \((★+)(?:, \d+ min)?\)\*\*", text)
    assert 3 - built <= len(asked) <= 7 and len({marks for _, marks in asked}) > 1
    assert len(re.findall(r"\*\*\d\d\.\d \(★+, \d+ min\)\*\*", text)) == len(asked) == text.count("<summary>Hint")
    assert len(re.findall(r"\*\*(?:Break it|Predict)\b", text)) >= 2 or path.stem == "11_attack"
    assert {n for n, _ in asked} == {n for n in exercises.CHECKS if n.startswith(path.name[:2])}
    sections = [int(number) for number in re.findall(r"^## (\d+)\.", text, re.M)]
    assert sections == [*range(1, len(sections) + 1)], "a numbered section is missing"
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", text)
    assert not [link for link in links if not (path.parent / link).exists()], "a dead link"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_widget_leaves_a_picture_for_whoever_has_none(path):
    for cell in code(path):
        if "browse(" in cell.source:
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source


@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP], ids=name)
def test_cells_are_short(path):
    setup, *rest = [[line for line in c.source.splitlines() if line.strip()] for c in code(path)[1:]]
    assert len(setup) <= 14 and max(map(len, rest)) <= 25


@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP], ids=name)
def test_the_first_cell_tells_the_seconds_of_the_committed_run(path):
    took = TOOK.search(printed(path))
    assert took, "execute it: its last line says how long it took"
    assert f"*Took {took[1]};" in read(path).cells[0].source


def test_the_seconds_of_a_run_take_the_place_of_those_before(tmp_path):
    """What is said after them stays; a notebook that does not tell its time is left as it is."""
    cells = [nbformat.v4.new_markdown_cell("# A\n\n*Takes long; less the next time.*"), nbformat.v4.new_code_cell("")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    tell_time(tmp_path / "a.ipynb")
    assert "*Takes long;" in read(tmp_path / "a.ipynb").cells[0].source
    for took in ("82 s on CPU (x86_64, bf16), 2 threads", "9 s on a GPU"):
        cells[1].outputs = [nbformat.v4.new_output("stream", text=f"this notebook took {took}\n")]
        cells[0] = read(tmp_path / "a.ipynb").cells[0]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
        tell_time(tmp_path / "a.ipynb")
        assert read(tmp_path / "a.ipynb").cells[0].source == f"# A\n\n*Took {took}; less the next time.*"


@pytest.mark.slow
def test_numbers_of_the_run_are_put_into_the_prose(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("It was <!-- run: a['x']:.1f -->9.9<!-- . --> %, of <!-- run: n -->?<!-- . -->."),
        nbformat.v4.new_code_cell("a, n = {'x': 0.25}, 3"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    execute_committed(tmp_path / "a.ipynb")
    told, computed = read(tmp_path / "a.ipynb").cells
    assert told.source == "It was <!-- run: a['x']:.1f -->0.2<!-- . --> %, of <!-- run: n -->3<!-- . -->."
    assert computed.execution_count == 1


@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP], ids=name)
def test_no_number_of_the_run_begins_a_line(path):
    """Markdown would take the line as HTML."""
    lines = [line for c in read(path).cells if c.cell_type == "markdown" for line in c.source.splitlines()]
    assert not [line for line in lines if NUMBER.match(line)]


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_unsolved_exercises_say_so(path):
    wanted = [n for n in exercises.CHECKS if n.startswith(path.name[:2])]
    assert all(f"Exercise {n}, not yet: {exercises.EMPTY}" in printed(path) for n in wanted)


# --------------------------------------------------------------------------------------------------
# Parameters


@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP], ids=name)
def test_every_parameter_is_checked_before_anything_is_computed(path):
    """After the imports, the first call of the first cell is the check, and it is given what lessons share."""
    lines = [
        line for line in ast.parse(code(path)[1].source).body if not isinstance(line, (ast.Import, ast.ImportFrom))
    ]
    calls = [node for line in lines for node in ast.walk(line) if isinstance(node, ast.Call)]
    assert ast.unparse(calls[0].func) in ("lesson.start", "lesson.check_parameters")
    until = next(i for i, line in enumerate(lines) if calls[0] in ast.walk(line))
    used = {node.id for line in lines[: until + 1] for node in ast.walk(line) if isinstance(node, ast.Name)}
    shared = {"kind", "target", "seed", "recipe", "changes", "model", "pretrained", "device"}
    assert {"model", "pretrained"} <= set(parameters_of(path)), "weights are named beside the model"
    shared &= set(parameters_of(path))
    shared |= {n for n in parameters_of(path) if n.startswith("n_")}
    assert used >= shared - ({"kind", "target"} if path.stem in FOLDERS else set())


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem not in FOLDERS], ids=name)
def test_a_wrong_target_is_told_before_anything_is_computed(path, tmp_path, monkeypatch):
    """The first two cells, run here: a kernel's start would take longer than they do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Clip, "embed_tensor", lambda *_: pytest.fail("the model was run"))
    parameters, setup, *_ = code(path)
    cells = {}
    exec(parameters.source, cells)
    cells["target"] = "unicorn"
    with pytest.raises(ValueError, match="(?i)choose one of airplane"):
        exec(setup.source, cells)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_wrong_target_stops_the_kernel_at_the_first_cell(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="(?i)choose one of airplane") as caught:
        execute(LESSONS[3], tmp_path / "out.ipynb", {"target": "unicorn"})
    assert caught.value.exec_count == 3, "the given parameters are a cell, too"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_misspelt_parameter_is_an_error(path, tmp_path):
    with pytest.raises(ValueError, match="has no parameter targt. It has: .*target"):
        execute(path, tmp_path / "out.ipynb", {"targt": "cat"})


@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP, *SOLUTIONS, SWEPT], ids=name)
def test_it_reaches_nothing_outside_the_folder_it_runs_in(path):
    """So that it runs from anywhere: what it reads besides comes with the package."""
    words = [node.value for c in code(path) for node in ast.walk(ast.parse(c.source)) if isinstance(node, ast.Constant)]
    paths = [PurePosixPath(word) for word in words if isinstance(word, str)]
    assert not [p for p in paths if ".." in p.parts or p.is_absolute() or p.parts[:1] == ("~",)]
    if path not in SOLUTIONS:
        assert parameters_of(path)["out"].default.startswith("runs/")


@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP, *SOLUTIONS, SWEPT], ids=name)
def test_what_it_takes_of_the_package_is_there(path):
    """What it imports, and what it then names of an imported module or class."""
    nodes, found = [node for c in code(path) for node in ast.walk(ast.parse(c.source))], {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("forgetkit"):
            exec(ast.unparse(node), found)
    of_ours = {name for name, value in found.items() if isinstance(value, type | ModuleType)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in of_ours:
            assert hasattr(found[node.value.id], node.attr), f"{node.value.id}.{node.attr}"


# --------------------------------------------------------------------------------------------------
# Runs


@pytest.mark.slow
@pytest.mark.parametrize("how", ["papermill", "jupyter"])
def test_it_runs_from_anywhere_in_any_locale(how, tmp_path):
    """By plain papermill, which runs it in the caller's folder, and by `jupyter execute`, in the notebook's own."""
    notebook, copy = read(SWEPT), tmp_path / "forget.ipynb"
    notebook.cells[1].source += f"\nn_forget, n_retain, changes = 10, 10, {SMALL}"  # `jupyter execute` takes none
    nbformat.write(notebook, copy)
    command = {"papermill": [copy, "out.ipynb", "-k", "python3"], "jupyter": ["execute", copy]}[how]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    environment |= {"PYTHONUTF8": "0"} if how == "papermill" else {}  # jupyter's own reader then takes ASCII only
    (elsewhere := tmp_path / "elsewhere").mkdir()
    done = subprocess.run([sys.executable, "-m", how, *command], capture_output=True, cwd=elsewhere, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    out = (elsewhere if how == "papermill" else tmp_path) / "runs/forget"
    assert len(pd.read_csv(out / "table.csv")) == 2
    assert {"target", "retain"} <= set(pd.read_parquet(out / "predictions.parquet")["subgroup"])


@pytest.mark.slow
@pytest.mark.lesson
@pytest.mark.parametrize("path", [*NOTEBOOKS, CLIP], ids=name)
def test_nbval_reproduces_it(path):
    """Runs as committed; cells that begin with NBVAL_CHECK_OUTPUT must print the same, with any number of threads."""
    nbval = ["--nbval-lax", "--nbval-cell-timeout=900", "-p", "no:cacheprovider", path]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    command = [sys.executable, "-m", "pytest", *nbval]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent, env=environment)
    assert done.returncode == 0, done.stdout[-4000:]


SMALL = {
    "forget": {"steps": 20, "fisher_samples": 20},
    "remind": {"steps": 6, "align_steps": 2, "n_abstract": 20},
    "restore": {"alphas": [0.0, 0.5, 1.0]},
}
OTHER = {  # the others are run on a folder, 08 and 09 in test_at_scale, 10 by nbval
    "02_from_scratch": dict(kind="coarse", target="truck"),
    "03_forgetting": dict(kind="coarse", target="ship"),
    "04_alignment": dict(kind="class", target="truck"),
    "05_reminding": dict(kind="style", target="bird sketches", n_forget=20),
    "06_restoring": dict(kind="cluster", target="dog 1"),
}


def run_cells(path, **parameters) -> dict:
    """What a notebook's cells leave, run here with these parameters: a kernel and its imports take longer than they do.

    Figures are drawn and saved; only what Jupyter shows of them is not.
    """
    check_names(path, parameters)
    first, *rest = code(path)
    exec(first.source, cells := {"__name__": "__main__"})
    cells |= parameters
    try:
        for cell in rest:
            exec(compile(cell.source, path.name, "exec"), cells)
    finally:
        plt.close("all")
    return cells


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in LESSONS if path.stem in OTHER], ids=name)
def test_the_lesson_runs_on_another_subgroup_in_small(path, tmp_path):
    parameters = {"seed": 1, "n_forget": 40, "n_retain": 60, **OTHER[path.stem], "out": str(tmp_path)}
    if "changes" in parameters_of(path):
        parameters["changes"] = SMALL
    cells = run_cells(path, **parameters)
    assert cells["sets"].subgroup.target == parameters["target"]
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) >= 3 and not table.drop(columns=["score", "Score"], errors="ignore").isna().all().any()
    numbers = table.select_dtypes("number")
    percent = numbers[[c for c in numbers if c in (*COLUMNS, "accuracy")]]
    assert not percent.empty and ((percent >= 0) & (percent <= 100)).all(axis=None)
    assert len(list(tmp_path.glob("*.png"))) >= 4 and (tmp_path / "cover.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if "siblings" in parameters_of(path)], ids=name)
def test_a_folder_of_your_own_goes_through_the_lesson(path, tmp_path, capsys):
    """Of classes that the model has no words for: it takes their images for names."""
    part = coloured_set(30, seed=3)
    for i, (image, colour) in enumerate(zip(part.images, part.names)):
        (tmp_path / "own" / f"{colour} wuk").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "own" / f"{colour} wuk" / f"{i:03}.png")
    parameters = dict(kind="folder", data_dir=str(tmp_path / "own"), target="red wuk", head="images")
    parameters |= dict.fromkeys({"n_forget", "n_retain"} & {*parameters_of(path)})  # None: all there are
    if path.stem == "03_forgetting":
        parameters["siblings"] = ["green wuk", "blue wuk"]  # the others are a column of their own
    if "changes" in parameters_of(path):
        parameters["changes"] = SMALL if path.stem == "03_forgetting" else {**SMALL, "forget": {}}  # no stage 1
    cells = run_cells(path, **parameters, out=str(tmp_path / "out"))
    said = capsys.readouterr().out
    assert (tmp_path / "out/table.csv").exists()
    if path.stem == "00_quickstart":  # as `forgetkit run --data-dir` leaves it
        assert "/" in (tmp_path / "out/report.txt").read_text() and (tmp_path / "out/predictions.png").exists()
        assert load_clip(f"local-dir:{tmp_path / 'out/model'}").record["subgroup"]["target"] == "red wuk"
    assert "are copies" not in said and "recognised" in said
    assert cells["sets"].subgroup.target == "red wuk"
