"""A notebook is executed, and left clean."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import IO

from forgetkit.batch.record import OPENED
from forgetkit.batch.task import check_names

BAR = re.compile(r"\d%\||\[\d+:\d\d(:\d\d)?(<|, )")  # in a line that is a progress bar of tqdm's
VIEW = "application/vnd.jupyter.widget-view+json"


def execute(
    path: str | Path, to: str | Path, parameters: dict | None = None, cwd: str | Path | None = None,
    timeout: float | None = None, log: IO | None = None,
) -> Path:  # fmt: skip
    """Execute a notebook with papermill, parameters given from outside, and write it `to` a file, which is cleaned.

    cwd: where it runs, unless beside the notebook; timeout: seconds a cell may take; log: gets what it writes to stderr

    papermill only warns of an unknown parameter, and takes `sys.exit` for success. Two kernels that start at once may
    get the same port, and one dies (its issue 511): they have sockets, whose path must be short, where there are any.
    Raises ValueError for an unknown parameter; papermill.PapermillExecutionError where a cell fails or exits.
    """
    import papermill
    from traitlets.config import Config

    path, target = Path(path), Path(to)
    if parameters:
        check_names(path, parameters)
    plain = lambda name: str(name).replace("{", "{{").replace("}", "}}")  # papermill fills in what stands in braces
    base = "/tmp" if os.name == "posix" else None
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-", dir=base, ignore_cleanup_errors=True) as folder:
            own = {"transport": "ipc", "connection_file": f"{folder}/k.json"} if base else {}
            done = papermill.execute_notebook(
                plain(path), plain(target), parameters or {}, kernel_name="python3", cwd=cwd or path.parent,
                execution_timeout=timeout, stderr_file=log, config=Config(KernelManager=own),
                extra_arguments=["--ext=forgetkit.batch.record"] if OPENED in os.environ else [],
            )  # fmt: skip
        for i, cell in enumerate(done.cells):
            if any(o.get("ename") == "SystemExit" for o in cell.get("outputs", [])):
                why = "the notebook ended itself here, what comes after it did not run"
                raise papermill.PapermillExecutionError(i, cell.execution_count, cell.source, "SystemExit", why, [])
    finally:
        if target.exists():
            clean(target)
    return target


def clean(path: Path) -> None:
    """Join what an executed notebook's cells printed; take out progress bars, and widgets, all but a still picture."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = joined(cell.outputs)
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):  # the still of a widget, or a picture
                output.data.pop(VIEW, None)
            if output.get("name") == "stderr":
                lines = re.split(r"(?<=[\r\n])", output.text)
                output.text = "".join(line for line in lines if not BAR.search(line))
        seen = [output for output in cell.outputs if VIEW not in output.get("data", {})]
        cell.outputs = [output for output in seen if output.get("name") != "stderr" or output.text.strip()]
    nbformat.write(notebook, path)


def joined(outputs: list) -> list:
    """All that a cell wrote to one stream in one piece, as a terminal shows it; stdout before stderr.

    As nbclient's coalesce_streams, which takes time quadratic in the pieces, and in the longest line.
    """
    found, texts = [], {}
    for output in outputs:
        name = output.get("name")  # streams have one
        if name not in texts:
            found.append(output)
        if name:
            texts.setdefault(name, []).append(output.text)
    for i, output in enumerate(found):
        if output.get("name"):
            lines = "".join(texts[output.name]).split("\n")
            output.text = "\n".join(line[line.rfind("\r", 0, -1) + 1 :] for line in lines)
            if output.name == "stdout" and i and found[i - 1].get("name") == "stderr":
                found[i - 1], found[i] = output, found[i - 1]
    return found
