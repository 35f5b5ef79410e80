"""What every notebook of the series does besides its subject: check its parameters, show source, tell the time."""

from __future__ import annotations

import base64
import inspect
import io
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import open_clip
import torch
from IPython.display import Markdown
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from .clips import Clip, describe, pick_device
from .data import DataError
from .kinds import KINDS, targets
from .loading import register_mini
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
        papermill.execute_notebook(
            path, to, parameters or {}, kernel_name="python3", cwd=path.parent, execution_timeout=3600,
        )  # fmt: skip
    finally:
        if to.exists():
            clean(to, keep_timing=to != path)
    return to


def clean(path: Path, keep_timing: bool = True) -> None:
    """Take progress bars and widget state out of an executed notebook.

    Without `keep_timing`, as it is to be committed: pictures of 256 colours, no times, no machine.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        views = "application/vnd.jupyter.widget-view+json"
        for output in cell.outputs if not keep_timing else ():
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
        cell.outputs = [o for o in cell.outputs if views not in o.get("data", {}) and o.get("name") != "stderr"]
        if not keep_timing:
            cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags" and v}
    if not keep_timing:
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


def _smaller(encoded: str) -> str:
    """A PNG in base64 brought to 256 colours, where that makes it smaller."""
    data = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    image.quantize(256).save(data, format="png", optimize=True)
    return min(encoded, base64.b64encode(data.getvalue()).decode() + "\n", key=len)


def thumbnail(picture: Path, to: Path) -> None:
    """Write a picture at most 700 pixels wide, in 256 colours."""
    image = Image.open(picture).convert("RGB")
    image.thumbnail((700, 700))
    image.quantize(256).save(to, optimize=True)


@contextmanager
def weights_by_step():
    """Collect what any torch optimiser trains, after each of its steps: a list of flat copies, (weights,) each.

    It looks on from outside, so that a stage can be watched without a change to it.
    """
    path: list[torch.Tensor] = []

    def look(optimizer, args, kwargs):
        params = [p for group in optimizer.param_groups for p in group["params"]]
        path.append(torch.cat([p.detach().flatten().cpu() for p in params]))

    handle = register_optimizer_step_post_hook(look)
    try:
        yield path
    finally:
        handle.remove()
