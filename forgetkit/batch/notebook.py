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
    get the same port, and one dies (its issue 511): they have sockets, whose path must be short.
    Raises ValueError for an unknown parameter; papermill.PapermillExecutionError where a cell fails or exits.
    """
    import papermill
    from traitlets.config import Config

    path, target = Path(path), Path(to)
    if parameters:
        check_names(path, parameters)
    plain = lambda name: str(name).replace("{", "{{").replace("}", "}}")  # papermill fills in what stands in braces
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-", dir="/tmp", ignore_cleanup_errors=True) as folder:
            own = {"transport": "ipc", "connection_file": f"{folder}/k.json"}
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
    """Take progress bars out of an executed notebook, and widgets, all but a still picture; join what a cell printed.

    A terminal would show it so, stdout first. nbclient's coalesce_streams takes time quadratic in the pieces, and in
    the longest line.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):  # the still of a widget, or a picture
                output.data.pop(VIEW, None)
        outputs = [output for output in cell.outputs if VIEW not in output.get("data", {})]
        at = next((i for i, output in enumerate(outputs) if output.output_type == "stream"), 0)
        shown, streams = [output for output in outputs if output.output_type != "stream"], []
        for name in ("stdout", "stderr"):
            lines = "".join(output.text for output in outputs if output.get("name") == name).split("\n")
            lines = "\n".join(line[line.rfind("\r", 0, -1) + 1 :] for line in lines).splitlines(keepends=True)
            text = "".join(line for line in lines if name == "stdout" or not BAR.search(line))
            streams += [nbformat.v4.new_output("stream", name=name, text=text)] if text.strip() else []
        cell.outputs = shown[:at] + streams + shown[at:]
    nbformat.write(notebook, path)
