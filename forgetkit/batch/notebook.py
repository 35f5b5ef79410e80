"""A notebook as a file: what it takes from outside, its execution, and how it is left behind.

Imports no torch, so that processes that only execute notebooks start fast.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def code_cells(path: str | Path) -> list[dict]:
    """The code cells of a notebook, each with `source`, a string, and `metadata`.

    Raises ValueError where the file is none.
    """
    try:
        cells = [cell for cell in json.loads(Path(path).read_text())["cells"] if cell["cell_type"] == "code"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no notebook, or one that Jupyter should upgrade first.") from None


def assignments(path: str | Path) -> Iterator[tuple[str, ast.expr | None, ast.expr]]:
    """(name, annotation, default) of each parameter in a notebook's `parameters` cell, as syntax trees.

    Raises ValueError where the notebook has no such cell.
    """
    for cell in code_cells(path):
        if "parameters" in cell["metadata"].get("tags", []):
            break
    else:
        raise ValueError(f"{path} has no cell tagged `parameters`.")
    for line in ast.parse(cell["source"]).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            yield line.targets[0].id, None, line.value
        elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
            yield line.target.id, line.annotation, line.value


def known_parameters(path: str | Path) -> dict[str, str]:
    """{name: default as written} of a notebook's `parameters` cell.

    Raises ValueError where the notebook has none.
    """
    return {name: ast.unparse(default) for name, _, default in assignments(path)}


@contextmanager
def _own_sockets() -> Iterator[dict]:
    """Settings of a kernel that listens in a folder of its own, where the system can do that (Windows cannot).

    A kernel's ports are chosen before it binds them, so two that start at once may get the same one, and one dies
    (papermill's issue 511).
    """
    if os.name != "posix":
        yield {}
        return
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        yield {"config": Config(KernelManager={"transport": "ipc", "connection_file": f"{folder}/kernel.json"})}


def execute(path: str | Path, to: str | Path | None = None, parameters: dict | None = None) -> Path:
    """Execute a notebook with papermill, parameters given from outside; in place unless there is a file to write `to`.

    papermill only warns of a parameter the notebook does not have, and then runs without it: here it is an error.
    Progress bars and widget state, which clutter what is read later, are taken out of the result.

    Raises ValueError for an unknown parameter; papermill.PapermillExecutionError where a cell fails.
    """
    import papermill

    path, to = Path(path), Path(to or path)
    if parameters and (unknown := sorted(set(parameters) - set(known := known_parameters(path)))):
        raise ValueError(f"{path.name} has no parameter {', '.join(unknown)}. It has: {', '.join(known)}.")
    try:
        with _own_sockets() as settings:
            papermill.execute_notebook(
                path, to, parameters or {}, kernel_name="python3", cwd=path.parent, execution_timeout=3600, **settings,
            )  # fmt: skip
    finally:
        if to.exists():
            clean(to, keep_timing=to != path)
    return to


def clean(path: Path, keep_timing: bool = True) -> None:
    """Take progress bars and widget state out of an executed notebook.

    Without `keep_timing`, as it is to be committed: pictures of 256 colours, no times, no machine.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if not keep_timing:
            cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags" and v}
        if cell.cell_type != "code":
            continue
        views = "application/vnd.jupyter.widget-view+json"
        for output in cell.outputs if not keep_timing else ():
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
        cell.outputs = [o for o in cell.outputs if views not in o.get("data", {}) and o.get("name") != "stderr"]
    if not keep_timing:
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


def _smaller(encoded: str) -> str:
    """A PNG in base64 brought to 256 colours, where that makes it smaller."""
    from PIL import Image

    data = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    image.quantize(256).save(data, format="png", optimize=True)
    return min(encoded, base64.b64encode(data.getvalue()).decode() + "\n", key=len)


def thumbnail(picture: Path, to: Path) -> None:
    """Write a picture at most 700 pixels wide, in 256 colours."""
    from PIL import Image

    image = Image.open(picture).convert("RGB")
    image.thumbnail((700, 700))
    image.quantize(256).save(to, optimize=True)
