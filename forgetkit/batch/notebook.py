"""A notebook as a file: its code, what it takes from outside, its execution, and how it is left behind."""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

LONGEST = 70  # bytes of a folder in which a kernel's sockets still have names that the system takes
BAR = re.compile(r"[^\r\n]*(\d+%\||\[\d+:\d\d(:\d\d)?(<|, ))[^\r\n]*[\r\n]?")  # a progress bar of tqdm
VIEW = "application/vnd.jupyter.widget-view+json"


def code_cells(path: str | Path) -> list[dict]:
    """The code cells of a notebook, each with `source`, a string, and `metadata`.

    Raises ValueError where the file is none.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        return [{**cell, "source": "".join(cell["source"]), "metadata": dict(cell["metadata"])} for cell in code]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is no notebook, or one that Jupyter should upgrade first.") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None


def code_of(path: str | Path) -> str:
    """All code of a notebook."""
    return "\n".join(cell["source"] for cell in code_cells(path))


def assignments(path: str | Path) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """(name, annotation, default) of each parameter in a notebook's `parameters` cell, as syntax trees.

    Magics in the cell are passed over. Raises ValueError where there is no such cell, or more than one, or no Python.
    """
    found = [cell["source"] for cell in code_cells(path) if "parameters" in (cell["metadata"].get("tags") or ())]
    if len(found) != 1:
        count = f"{len(found)} cells tagged `parameters`: keep one" if found else "no cell tagged `parameters`"
        raise ValueError(f"{path} has {count}.")
    try:
        try:
            lines = ast.parse(found[0]).body
        except SyntaxError:
            lines = ast.parse(re.sub(r"^([ \t]*)[%!](?!%).*", r"\1pass", found[0], flags=re.M)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"The `parameters` cell of {path} is no Python: {error}.") from None
    for line in lines:
        if isinstance(line, (ast.Assign, ast.AnnAssign)):
            for target in line.targets if isinstance(line, ast.Assign) else [line.target]:
                if isinstance(target, ast.Name):
                    yield target.id, getattr(line, "annotation", None), line.value


def known_parameters(path: str | Path) -> dict[str, str]:
    """{name: default as written} of a notebook's `parameters` cell; "" where a parameter has no default.

    Raises ValueError where the notebook has none.
    """
    return {name: ast.unparse(default) if default else "" for name, _, default in assignments(path)}


def check_names(path: str | Path, parameters: Iterable[str]) -> None:
    """Raise ValueError for a parameter that the notebook does not have."""
    known = known_parameters(path)
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{Path(path).name} has no parameter {', '.join(unknown)}. It has: {', '.join(known)}.")


@contextmanager
def kernel_folder(run: Path | None = None) -> Iterator[str]:
    """A folder for the sockets of one kernel, gone afterwards; "" where a kernel must listen on ports.

    A kernel's ports are chosen before it binds them, so two that start at once may get the same one, and one dies
    (papermill's issue 511). Sockets need a short path, so a long TMPDIR is passed over.

    run: the folder of the run that it is for; what a killed process has left of the same run is cleared
    """
    name = hashlib.sha256(os.fsencode(run)).hexdigest()[:16] if run else uuid.uuid4().hex
    found = ""
    for base in (tempfile.gettempdir(), "/tmp") if os.name == "posix" else ():
        if not found and len(os.fsencode(base)) <= LONGEST:
            shutil.rmtree(Path(base, f"kernel-{name}"), ignore_errors=True)
            with suppress(OSError):  # not writable, or somebody else's
                Path(base, f"kernel-{name}").mkdir(mode=0o700)
                found = f"{base}/kernel-{name}"
    try:
        yield found
    finally:
        if found:
            shutil.rmtree(found, ignore_errors=True)


def execute(
    path: str | Path, to: str | Path | None = None, parameters: dict | None = None, cwd: str | Path | None = None,
    sockets: str | None = None, timeout: float | None = None, log: IO | None = None,
) -> Path:  # fmt: skip
    """Execute a notebook with papermill, parameters given from outside; in place unless there is a file to write `to`.

    In place it is left as it is to be committed. Otherwise only progress bars and widget state are taken out.

    cwd:     where it runs, unless beside the notebook
    sockets: a folder for the kernel's sockets, if there is one already
    timeout: seconds a cell may take; log: gets what the notebook writes to stderr

    papermill only warns of a parameter that the notebook does not have, and takes `sys.exit` for success: both raise.
    Raises ValueError for an unknown parameter; papermill.PapermillExecutionError where a cell fails or exits.
    """
    import papermill
    from traitlets.config import Config

    path, target = Path(path), Path(to or path)
    if parameters:
        check_names(path, parameters)
    plain = lambda name: str(name).replace("{", "{{").replace("}", "}}")  # papermill fills in what stands in braces
    try:
        with nullcontext(sockets) if sockets is not None else kernel_folder() as folder:
            own = {"transport": "ipc", "connection_file": f"{folder}/k.json"} if folder else {}
            done = papermill.execute_notebook(
                plain(path), plain(target), parameters or {}, kernel_name="python3", cwd=cwd or path.parent,
                execution_timeout=timeout, stderr_file=log, coalesce_streams=True, config=Config(KernelManager=own),
            )  # fmt: skip
        for i, cell in enumerate(done.cells):
            if any(o.get("ename") == "SystemExit" for o in cell.get("outputs", [])):
                why = "the notebook ended itself here, what comes after it did not run"
                raise papermill.PapermillExecutionError(i, cell.execution_count, cell.source, "SystemExit", why, [])
    finally:
        if target.exists():
            clean(target, committed=to is None)
    return target


def clean(path: Path, committed: bool = False) -> None:
    """Take progress bars and widgets out of an executed notebook; of a widget that has a still picture, that is left.

    As it is to be `committed`: no stderr at all, no times, no machine, pictures of 256 colours.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if committed:
            cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags" and v}
        outputs = []
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):  # the still of a widget, or a picture
                output.data.pop(VIEW, None)
            if output.get("name") == "stderr":
                output.text = "" if committed else BAR.sub("", output.text)
            elif committed and "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
            if VIEW not in output.get("data", {}) and (output.get("name") != "stderr" or output.text.strip()):
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    if committed:
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
