"""A notebook is executed with parameters from outside, and left clean."""

import os
import time
from pathlib import Path

import nbformat
import papermill
import pytest

from benchmarks.notebooks import execute_committed
from forgetkit.batch.notebook import clean, execute
from forgetkit.batch.task import parameters_of


@pytest.fixture
def small(tmp_path):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    where = "from ipykernel.kernelapp import IPKernelApp\napp = IPKernelApp.instance()\n"
    nb.cells = [
        nbformat.v4.new_code_cell("a = 1  # a number\nb = 'x'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print(a, b)\nassert a < 9"),
        nbformat.v4.new_code_cell(where + "print(app.transport, app.abs_connection_file)"),
    ]
    nbformat.write(nb, tmp_path / "nb.ipynb")
    return tmp_path / "nb.ipynb"


def said(path, cell):
    return nbformat.read(path, 4).cells[cell].outputs[0].text


def test_a_parameter_that_the_notebook_lacks_is_an_error(small, tmp_path):
    assert list(parameters_of(small)) == ["a", "b"]
    with pytest.raises(ValueError, match="has no parameter c. It has: a, b"):
        execute(small, tmp_path / "out.ipynb", {"c": 1})
    assert not (tmp_path / "out.ipynb").exists(), "nothing ran"


@pytest.mark.slow
def test_parameters_reach_the_notebook_and_failures_are_kept(small, tmp_path):
    out = execute(small, tmp_path / "out.ipynb", {"a": 5})
    assert "5 x" in said(out, -2)
    with pytest.raises(papermill.PapermillExecutionError):
        execute(small, tmp_path / "bad.ipynb", {"a": 10})
    assert "AssertionError" in (tmp_path / "bad.ipynb").read_text(encoding="utf-8")


@pytest.mark.slow
def test_executed_to_be_committed_it_holds_no_times_and_a_print_is_one_output(small):
    nb = nbformat.read(small, 4)
    nb.cells.append(nbformat.v4.new_code_cell("import time\nfor i in range(3):\n    print(i)\n    time.sleep(0.5)"))
    nbformat.write(nb, small)
    execute_committed(small)
    text = small.read_text(encoding="utf-8")
    assert "papermill" not in text and "iopub" not in text and '"1 x' in text
    assert len(nbformat.read(small, 4).cells[-1].outputs) == 1 and said(small, -1) == "0\n1\n2\n"


def test_long_outputs_are_joined_in_time_that_grows_as_they_do(tmp_path):
    start = time.perf_counter()
    stream = lambda name, text: nbformat.v4.new_output("stream", name=name, text=text)
    outputs = [stream("stderr", "1" * 400_000 + "\n"), *(stream("stdout", "x" * 10_000) for _ in range(1000))]
    outputs += [stream("stderr", " 50%|##   | 1/2 [00:01<00:01]\r100%|####| 2/2 [00:02<00:00]\nlast words\n")]
    outputs += [stream("stdout", "\nfirst\rthen\r\n")]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)])
    nbformat.write(nb, tmp_path / "nb.ipynb")
    clean(tmp_path / "nb.ipynb")
    out, err = nbformat.read(tmp_path / "nb.ipynb", 4).cells[0].outputs
    assert (out.name, err.name) == ("stdout", "stderr")
    assert out.text == "x" * 10_000_000 + "\nthen\r\n" and err.text == "1" * 400_000 + "\nlast words\n"
    assert time.perf_counter() - start < 5


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no such sockets")
def test_kernels_that_start_at_once_cannot_take_each_others_ports(small, tmp_path):
    places = set()
    for i in range(2):
        transport, file = said(execute(small, tmp_path / f"out{i}.ipynb"), -1).split()
        assert transport == "ipc" and not Path(file).parent.exists(), "its folder goes when it ends"
        places.add(Path(file).parent)
    assert len(places) == 2
