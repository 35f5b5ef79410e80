"""A sweep's YAML becomes runs, or a list of everything that is wrong with it."""

from typing import Literal, Optional

import nbformat
import pytest
import yaml

from forgetkit.batch.parameters import of_function, of_notebook
from forgetkit.batch.spec import SweepError, load

NOTEBOOKS = "notebooks"
CELL = """\
from typing import Literal
a = 1  # a whole number
b: Literal["x", "y"] = "x"
rate = 0.1
limit: float | None = None
anything = None
words = ("u", "v")
twice = 2 * a
out = "."
"""


@pytest.fixture
def notebook(tmp_path):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb = nbformat.v4.new_notebook(metadata=kernel)
    nb.cells = [
        nbformat.v4.new_code_cell(CELL, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print(a)"),
    ]
    nbformat.write(nb, tmp_path / "nb.ipynb")
    return tmp_path / "nb.ipynb"


def mistakes(spec, folder=None) -> list[str]:
    with pytest.raises(SweepError) as caught:
        load(spec, folder)
    return caught.value.mistakes


@pytest.mark.parametrize(
    "name, right, wrong",
    [
        ("a", [3], [1.5, "1", True, None, [1]]),
        ("b", ["y"], ["z", None]),
        ("rate", [2, 0.5, "1e-4"], ["fast", True, None]),
        ("limit", [None, 1, 0.5], ["none", True]),
        ("anything", [1, "x", None, [1, 2]], []),
        ("words", [["u"]], ["u", 1]),
        ("twice", [5, "whatever"], []),
    ],
)
def test_types_and_choices_of_a_notebook(notebook, name, right, wrong):
    parameter = of_notebook(notebook)[name]
    for value in right:
        parameter.value(value)
    for value in wrong:
        with pytest.raises(ValueError, match=f"{name}={value!r}: (wanted is|choose one of)".replace("[", r"\[")):
            parameter.value(value)


def test_a_number_is_a_float_where_one_is_wanted(notebook):
    value = of_notebook(notebook)["rate"].value
    assert value(2) == 2.0 and type(value(2)) is float, "1 and 1.0 are one run, not two"
    assert value("1e-4") == 1e-4, "YAML 1.1 reads 1e-4 as a word"


def test_parameters_of_a_function():
    def f(a: int, b: Literal["x", "y"] = "x", c: Optional[float] = None, *args, d=3, e: int | str = 0, **rest): ...

    found = of_function(f)
    assert set(found) == {"a", "b", "c", "d", "e"}
    assert found["c"].value(1) == 1.0 and found["c"].value(None) is None and found["e"].value("s") == "s"
    for name, wrong in (("a", 1.5), ("b", "z"), ("c", "s"), ("d", "3"), ("e", 0.5)):
        with pytest.raises(ValueError):
            found[name].value(wrong)


def test_grid_list_and_exclude(notebook):
    spec = {
        "notebook": "nb.ipynb",
        "grid": {"rate": [0.1, 1], "b": "y"},
        "list": [{"a": 1, "twice": 2}, {"a": 2, "twice": 4}],
        "exclude": [{"a": 2, "rate": 1}],
    }
    runs = load(spec, notebook.parent)
    assert [(r.given["a"], r.given["rate"]) for r in runs] == [(1, 0.1), (1, 1.0), (2, 0.1)]
    assert runs[0].parameters == {
        "a": 1, "b": "y", "rate": 0.1, "limit": None, "anything": None, "words": ("u", "v"), "twice": 2,
    }, "defaults and all, without `out`"  # fmt: skip
    assert runs[2].label == "a=2, rate=0.1, twice=4" and len({r.key for r in runs}) == 3


def test_a_run_is_the_same_whatever_else_is_in_its_sweep(notebook):
    one = load({"notebook": "nb.ipynb", "grid": {"rate": [0.2]}}, notebook.parent)
    more = load({"notebook": "nb.ipynb", "grid": {"b": ["x", "y"], "rate": [0.1, 0.2]}}, notebook.parent)
    assert one[0].key in {r.key for r in more}, "b was at its default"


def test_ten_lines_make_sixty_runs(tmp_path, request):
    lines = """\
notebook: 02_forgetting.ipynb
grid:
  seed: [0, 1, 2, 3, 4]
  n_forget: [100, 400]
list:
  - {target: cat}
  - {target: dog}
  - {target: truck}
  - {target: ship}
  - {kind: style, target: cat sketches}
  - {kind: cluster, target: dog 1}"""
    assert len(load(yaml.safe_load(lines), request.config.rootpath / NOTEBOOKS)) == 60


def test_the_example_is_right(request):
    root = request.config.rootpath
    assert len(load(root / NOTEBOOKS / "sweeps/sixty.yaml")) == 60
    assert len((root / NOTEBOOKS / "sweeps/sixty.yaml").read_text().splitlines()) <= 10


def test_all_mistakes_are_told_at_once(notebook):
    (notebook.parent / "s.yaml").write_text(
        """\
notebook: nb.ipynb
grid: {aa: 1, rate: [fast, 1], b: z, out: here}
list: [{a: x}]
exclude: [{a: 99}]
"""
    )
    found = mistakes(notebook.parent / "s.yaml")
    wanted = (
        "'aa'. Is it 'a'?", "rate='fast'", "b='z': choose one of x, y", "`out` is the run's", "a='x'", "no run has",
        "twice is computed from a",
    )  # fmt: skip
    assert len(found) == len(wanted) and all(any(w in f for f in found) for w in wanted)


@pytest.mark.parametrize(
    "spec, message",
    [
        ([], "mapping with the keys"),
        ({}, "one of `notebook` and `function`"),
        ({"notebook": "nb.ipynb", "gird": {}}, "no key 'gird'. Is it 'grid'?"),
        ({"notebook": "no.ipynb"}, "There is no notebook"),
        ({"notebook": "nb.ipynb", "grid": {"a": []}}, "a has no value"),
        ({"notebook": "nb.ipynb", "grid": [1]}, "maps names"),
        ({"notebook": "nb.ipynb", "list": {"a": 1}}, "list of parameter sets"),
        ({"notebook": "nb.ipynb", "grid": {"b": ["x"]}, "list": [{"b": "y"}]}, "stands in `grid` and in `list`"),
        ({"notebook": "nb.ipynb", "list": [{}, {"b": "x"}]}, "are the same"),
        ({"notebook": "nb.ipynb", "exclude": [{"a": 1}]}, "no run is left"),
        ({"notebook": "nb.ipynb", "grid": {"a": [1, 2]}}, "twice is computed from a"),
        ({"notebook": ["nb.ipynb", "nb.ipynb"]}, "Two notebooks are called nb"),
        ({"function": "no.such:thing"}, "cannot be imported"),
        ({"function": "textwrap:indent"}, "prefix has no default"),
    ],
)
def test_each_mistake_says_what_to_do(notebook, spec, message):
    assert any(message in found for found in mistakes(spec, notebook.parent))


def test_a_broken_file_is_told(tmp_path):
    assert "There is no file" in mistakes(tmp_path / "no.yaml")[0]
    (tmp_path / "s.yaml").write_text("grid: [1")
    assert "is no YAML" in mistakes(tmp_path / "s.yaml")[0]
    (tmp_path / "nb.ipynb").write_text("{")
    assert "is no notebook" in mistakes({"notebook": "nb.ipynb"}, tmp_path)[0]


def test_a_lesson_is_asked_for_its_choices(request):
    entries = [
        {"kind": "style", "target": "cat"},
        {"kind": "styl", "target": "cat"},
        {"kind": "class", "target": "unicorn"},
    ]
    spec = {"notebook": "04_restoring.ipynb", "list": entries, "grid": {"seed": [-1, "x"], "recipe": "defualt"}}
    found = mistakes(spec, request.config.rootpath / NOTEBOOKS)
    wanted = ("no style here", "kind='styl'", "'unicorn' is no class", "seed=-1", "seed='x'", "no recipe 'defualt'")
    assert len(found) == len(wanted) and all(any(w in f for f in found) for w in wanted)
