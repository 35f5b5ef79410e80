"""What tests of sweeps need: functions and notebooks to run, and the command that runs them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat

from forgetkit.batch import record

WORK = """\
import os, subprocess, sys, time
from pathlib import Path

def rows(a, wait: float = 0.0, out=None):
    time.sleep(wait)
    if a == 13:
        raise ValueError("an unlucky number")
    if a == 99:
        os.kill(os.getpid(), 9)
    with open("calls.txt", "a") as calls:
        calls.write(f"{a}\\n")
    (out / "note.txt").write_text(os.environ.get("OMP_NUM_THREADS", ""))
    row = {"model": "before", "score": 10 * a, "seconds": 0, "torch": "torch" in sys.modules}
    return [row, {**row, "model": "after", "score": 20 * a}]

def quiet(a=0):
    sys.exit(0) if a == 1 else None

def stubborn(a):
    import re, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep = "import time; time.sleep(4321)"
    subprocess.Popen([sys.executable, "-c", sleep])
    subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
    subprocess.run(["sh", "-c", f"{sys.executable} -c '{sleep}' & "])  # its parent is gone
    if os.fork() == 0:  # a daemon: twice forked, in a session of its own
        os.setsid()
        if os.fork() == 0:
            time.sleep(4321)
        os._exit(0)
    Path(f"child-{a}").write_text(str(os.getpid()))
    if a:
        re.match(r"(a+)+$", "a" * 60 + "b")  # for hours, and never lets go of the interpreter
"""


def write_notebook(path: Path, *cells: str, parameters: str = "a = 1\nout = '.'") -> Path:
    """A notebook of these cells after one, or several, tagged `parameters`."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(metadata=kernel)
    tagged = [parameters] if isinstance(parameters, str) else parameters
    notebook.cells = [nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]}) for cell in tagged]
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, path)
    return path


def spec(file="s.yaml", function="work:rows", **content) -> str:
    Path(file).write_text(json.dumps({"function": function, **content}))
    return file


def start(*args, **settings) -> subprocess.Popen:
    """`forgetkit batch` with these arguments, heard by Ctrl-C even if these tests run in the background."""
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, "-m", "forgetkit", "batch", *args], **pipes, preexec_fn=heard, **settings)


def sweep(*args, **settings) -> tuple[int, str]:
    """Its exit status, and all it said."""
    process = start(*args, **settings)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def finished(folder="out") -> dict[str, float]:
    """When each finished run ended."""
    return {run.name: result["ended"] for run in record.runs_in(Path(folder)) if (result := record.read(run))}


def until(condition, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)
