"""The notebooks: committed clean, reproduced by nbval, and run by papermill with other parameters."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
COLUMNS = ["model", "target", "retain", "other", "fashion", "quickdraw", "emoji", "score", "seconds"]


def source(notebook, tag):
    return [c for c in notebook.cells if tag in c.metadata.get("tags", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_is_committed_executed_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata, "widget state makes it large"
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), "execute it in order, as a whole"
    assert not [o for c in code for o in c.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert "application/vnd.jupyter.widget-view+json" not in path.read_text(), (
        "progress bars: see forgetkit.lesson.clean"
    )
    assert len(source(notebook, "parameters")) == 1
    assert path.stat().st_size < 1.5e6


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_nbval_reproduces_it(path, tmp_path):
    """Runs as committed; cells marked NBVAL_CHECK_OUTPUT must print the same."""
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
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=path.parent,
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
def test_papermill_runs_the_quickstart_on_another_subgroup(tmp_path):
    parameters = dict(target="truck", seed=3, n_forget=200, n_retain=200, out=str(tmp_path))
    papermill.execute_notebook(
        ROOT / "notebooks/00_quickstart.ipynb", tmp_path / "out.ipynb", parameters, kernel_name="python3",
        cwd=ROOT / "notebooks", progress_bar=False, execution_timeout=1200,
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == COLUMNS
    assert list(table["model"]) == ["original", "forget", "remind", "restore"]
    restored = table.iloc[-1]
    assert table["target"][0] > 80, "the original knows trucks"
    assert restored["target"] <= 5 and restored["score"] >= 90
    figures = {"sets", "fisher", "alignment", "curves", "soup", "table", "predictions"}
    assert figures <= {f.stem for f in tmp_path.glob("*.png")}


@pytest.mark.slow
def test_papermill_tells_a_wrong_target(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="Choose one of: bird, cat"):
        papermill.execute_notebook(
            ROOT / "notebooks/00_quickstart.ipynb", tmp_path / "out.ipynb", {"target": "unicorn"},
            kernel_name="python3", cwd=ROOT / "notebooks", progress_bar=False,
        )  # fmt: skip
