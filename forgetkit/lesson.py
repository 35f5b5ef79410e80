"""What every notebook of the series does besides its subject: check its parameters, show source, tell the time."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import nbformat
import open_clip
import torch
from IPython.display import Markdown

from .clips import Clip, describe, pick_device, register_mini
from .data import DataError
from .kinds import KINDS, targets
from .recipe import Recipe

_started = time.perf_counter()


def check_parameters(**values) -> None:
    """Raise ValueError, naming what there is to choose from, for a wrong parameter; call it first.

    Known are: kind, target (of that kind), seed, recipe, model, device, and sizes (n_...).
    """
    kind = values.get("kind", "class")
    for name, value in values.items():
        if name == "kind" and kind not in KINDS:
            raise ValueError(f"kind={kind!r}: choose one of {', '.join(KINDS)}.")
        elif name == "target" and value not in targets(kind):
            raise ValueError(f"target={value!r} is no {kind} here: choose one of {', '.join(targets(kind))}.")
        elif name == "recipe":
            Recipe.named(value)
        elif name == "model":
            register_mini()
            if value != "mini" and value not in open_clip.list_models():
                raise ValueError(f"model={value!r}: choose 'mini', or one of open_clip.list_models() such as 'RN50'.")
        elif name == "device":
            try:
                torch.empty(1, device=pick_device(value))
            except (RuntimeError, AssertionError) as error:
                raise ValueError(f"device={value!r} cannot be used here: choose 'auto' or 'cpu'.") from error
        elif name == "seed" or name.startswith("n_"):
            least = 0 if name == "seed" else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r}: a whole number, at least {least}.")
        elif name not in ("kind", "target"):
            raise ValueError(f"There is no parameter {name!r}.")


def source(*objects) -> Markdown:
    """The source of functions and classes, as it stands in the package."""
    blocks = [f"```python\n# {o.__module__}\n{inspect.getsource(o).rstrip()}\n```" for o in objects]
    return Markdown("\n\n".join(blocks))


def elapsed(clip: Clip) -> str:
    """How long this notebook took, since it imported this module, and where."""
    return f"{time.perf_counter() - _started:.0f} s on {describe(clip.device)}"


def known_parameters(path: str | Path) -> dict[str, str]:
    """{name: default as written} of a notebook's `parameters` cell.

    Raises DataError where the notebook has none.
    """
    import ast

    for cell in nbformat.read(path, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            tree = ast.parse(cell.source)
            return {n.targets[0].id: ast.unparse(n.value) for n in tree.body if isinstance(n, ast.Assign)}
    raise DataError(f"{path} has no cell tagged `parameters`.")


def execute(path: str | Path, out: str | Path | None = None, progress: bool = True, **parameters) -> Path:
    """Execute a notebook with papermill, parameters given from outside; in place without `out`.

    papermill only warns of a parameter the notebook does not have, and then runs without it: here it is an error.
    Progress bars and widget state, which clutter what is read later, are taken out of the result.

    Raises ValueError for an unknown parameter; papermill.PapermillExecutionError where a cell fails.
    """
    import papermill

    path, out = Path(path), Path(out or path)
    known = known_parameters(path)
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{path.name} has no parameter {', '.join(unknown)}. It has: {', '.join(known)}.")
    try:
        papermill.execute_notebook(
            path, out, parameters, kernel_name="python3", cwd=path.parent, progress_bar=progress,
            execution_timeout=3600,
        )  # fmt: skip
    finally:
        if out.exists():
            clean(out, keep_timing=out != path)
    return out


def clean(path: Path, keep_timing: bool = True) -> None:
    """Take progress bars, widget state and, where it is to be committed, everything that changes from run to run."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        views = "application/vnd.jupyter.widget-view+json"
        cell.outputs = [o for o in cell.outputs if views not in o.get("data", {}) and o.get("name") != "stderr"]
        if not keep_timing:
            cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags" and v}
    if not keep_timing:
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    nbformat.write(notebook, path)
