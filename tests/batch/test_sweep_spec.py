"""A sweep's YAML becomes runs, or a list of everything that is wrong with it."""

import random
from typing import Literal, Optional

import pytest
from sweep_tools import write_notebook

from forgetkit.__main__ import check_lesson
from forgetkit.batch.spec import SweepError, load
from forgetkit.batch.task import MISSING, parameters_of, parameters_of_function

NOTEBOOKS = "notebooks"
CELL = """\
from typing import Literal
a = 1  # a whole number
b: Literal["x", "y"] = "x"
rate = 0.1
limit: float | None = None
quoted: "list[int]" = [1]
path: Path = "x"
anything = None
words = ("u", "v")
twice = 2 * a
out = "."
"""


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "nb.ipynb", "print(a)", parameters=CELL)


def mistakes(spec, folder=None, check=None) -> list[str]:
    with pytest.raises(SweepError) as caught:
        load(spec, folder, check)
    return caught.value.mistakes


@pytest.mark.parametrize(
    "name, right, wrong",
    [
        ("a", [3], [1.5, "1", True, None, [1]]),
        ("b", ["y"], ["z", None]),
        ("rate", [2, 0.5], ["fast", "1e-4", True, None]),
        ("limit", [None, 1, 0.5], ["none", True]),
        ("anything", [1, "x", None, [1, 2]], []),
        ("quoted", [[1], []], [["1"], 1]),
        ("path", ["x", 1], []),
        ("words", [["u"]], ["u", 1]),
        ("twice", [5, "whatever"], []),
    ],
)
def test_types_and_choices_of_a_notebook(notebook, name, right, wrong):
    parameter = parameters_of(notebook)[name]
    for value in right:
        parameter.value(value)
    for value in wrong:
        with pytest.raises(ValueError, match=f"{name}={value!r}: (wanted is|choose one of)".replace("[", r"\[")):
            parameter.value(value)
    assert name != "rate" or type(parameter.value(2)) is float, "1 and 1.0 are one run, not two"


def test_parameters_of_a_function():
    def f(a: int, b: Literal["x", "y"] = "x", c: Optional[float] = None, *args, d=3, e: int | str = 0, **rest): ...

    found = parameters_of_function(f)
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
        "a": 1, "b": "y", "rate": 0.1, "limit": None, "quoted": [1], "path": "x", "anything": None, "words": ("u", "v"),
        "twice": 2,
    }, "defaults and all, without `out`"  # fmt: skip
    assert runs[2].label == "a=2, rate=0.1, twice=4" and len({r.key for r in runs}) == 3


def test_a_run_is_the_same_whatever_else_is_in_its_sweep(notebook):
    one = load({"notebook": "nb.ipynb", "grid": {"rate": [0.2]}}, notebook.parent)
    more = load({"notebook": "nb.ipynb", "grid": {"b": ["x", "y"], "rate": [0.1, 0.2]}}, notebook.parent)
    assert one[0].key in {r.key for r in more}, "b was at its default"


def test_the_example_is_right(request):
    assert len(load(request.config.rootpath / NOTEBOOKS / "sweeps/sixty.yaml")) == 60


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
        ({"notebook": "no.ipynb"}, "no.ipynb cannot be read (No such file"),
        ({"notebook": "nb.ipynb", "grid": {"a": []}}, "a has no value"),
        ({"notebook": "nb.ipynb", "grid": [1]}, "maps names"),
        ({"notebook": "nb.ipynb", "list": {"a": 1}}, "list of parameter sets"),
        ({"notebook": "nb.ipynb", "timeout": 0}, "`timeout` is the seconds"),
        ({"function": "textwrap:indent", "timeout": {"cell": 1}}, "a function has no cells"),
        ({"notebook": "nb.ipynb", "grid": {"a": {5: 1}}}, "a={5: 1}: wanted is int"),
        ({"notebook": "nb.ipynb", "grid": {n: list(range(1000)) for n in "abc"}}, "makes 1,000,000,000 runs"),
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
    assert "cannot be read" in mistakes(tmp_path / "no.yaml")[0]
    (tmp_path / "s.yaml").write_bytes(b"grid: \xe4")
    assert "is no YAML" in mistakes(tmp_path / "s.yaml")[0]
    assert "cannot be read" in mistakes(tmp_path)[0]
    (tmp_path / "nb.ipynb").write_text("{")
    assert "is no notebook" in mistakes({"notebook": "nb.ipynb"}, tmp_path)[0]


def test_a_lesson_is_asked_for_its_choices(request):
    entries = [
        {"kind": "style", "target": "cat"},
        {"kind": "styl", "target": "cat"},
        {"kind": "class", "target": "unicorn"},
    ]
    spec = {"notebook": "06_restoring.ipynb", "list": entries, "grid": {"seed": [-1, "x"], "recipe": "defualt"}}
    found = mistakes(spec, request.config.rootpath / NOTEBOOKS, check_lesson)
    wanted = ("no style here", "kind='styl'", "'unicorn' is no class", "seed=-1", "seed='x'", "no recipe 'defualt'")
    assert len(found) == len(wanted) and all(any(w in f for f in found) for w in wanted)


@pytest.mark.parametrize("name, target", [("08_imagenet_rn50", "marmoset"), ("09_styles", "dog sketch")])
def test_a_lesson_on_a_folder_of_ones_own_takes_its_targets(request, name, target):
    """Notebooks that read a folder check the target against it themselves; all else is asked as ever."""
    spec = {"notebook": f"{name}.ipynb", "grid": {"data_dir": "/mine", "target": [target, ""], "seed": 0}}
    folder = request.config.rootpath / NOTEBOOKS
    assert len(load(spec, folder, check_lesson)) == 2
    assert ["seed=-1" in found for found in mistakes({**spec, "grid": {"seed": -1}}, folder, check_lesson)] == [True]


def test_labels_of_a_lesson_that_has_its_own_are_its_own(request):
    spec = {"notebook": "08_imagenet_rn50.ipynb", "grid": {"labels": ["fine", "coarse"]}}
    assert len(load(spec, request.config.rootpath / NOTEBOOKS, check_lesson)) == 2


@pytest.mark.parametrize(
    "cells, message",
    [
        (["a = 1", "a = 2"], "2 cells tagged `parameters`: keep one"),
        (["%%time\na = 1"], "is no Python"),
        (["a = ("], "is no Python"),
        (["seconds = 1"], "has a parameter called seconds, which is a column"),
        (["a: int"], "a has no default"),
        ([], "no cell tagged"),
    ],
)
def test_a_parameters_cell_that_cannot_be_used_is_told(tmp_path, cells, message):
    write_notebook(tmp_path / "nb.ipynb", parameters=cells)
    assert message in mistakes({"notebook": "nb.ipynb"}, tmp_path)[0]


def test_magics_and_chains_in_a_parameters_cell_are_understood(tmp_path):
    path = write_notebook(tmp_path / "nb.ipynb", parameters="%matplotlib inline\n!true\na = b = 1\nc: int")
    found = parameters_of(path)
    assert {name: found[name].default for name in found} == {"a": 1, "b": 1, "c": MISSING}


def test_yaml_is_read_as_it_is_written(tmp_path):
    write_notebook(tmp_path / "nb.ipynb", parameters="any = None\nflag = False\nn = 0\nrate = 0.1")
    file = tmp_path / "s.yaml"
    values = "[012, 12:30, 1e-3, no, 1_000, 2024-01-01, [1e3, on], 0x10, ~, true]"
    file.write_text(f"notebook: nb.ipynb\ngrid: {{any: {values}}}")
    wanted = ["012", "12:30", 0.001, "no", "1_000", "2024-01-01", [1000.0, "on"], 16, None, True]
    assert [run.given["any"] for run in load(file)] == wanted
    file.write_text("notebook: nb.ipynb\ngrid: {flag: no, n: [012, 1_000], rate: 1e-3}")
    assert [m.partition(":")[0] for m in mistakes(file)] == ["flag='no'", "n='012'", "n='1_000'"]
    file.write_text("notebook: nb.ipynb\nlist: [&x {n: 1, rate: 1e-3}, {<<: *x, n: 2}]")
    assert [run.given for run in load(file)] == [{"n": 1, "rate": 0.001}, {"n": 2, "rate": 0.001}]


BOMB = "a: &a0 [lol]\n" + "\n".join(f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(20))


@pytest.mark.parametrize(
    "text, message",
    [
        ("grid: [1", "is no YAML: line 1: expected"),
        ("notebook: nb.ipynb\ngrid: {n: 1, n: 2}", 's.yaml is no YAML: line 2: found duplicate key "n"'),
        ("grid: {n: " + "9" * 5000 + "}", "is no YAML"),
        ("grid: &a {n: *a}", "A value holds itself"),
        (BOMB, "A value holds itself, or too many others"),
        ("!!python/object:os.system {}", "is no YAML"),
        ("[" * 3000, "is no YAML"),
        ("{[1]: 2}", "named by something else than a word"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, text, message):
    (tmp_path / "s.yaml").write_text(text)
    assert message in " ".join(mistakes(tmp_path / "s.yaml"))


VALUES = (
    "012", "1_000", "12:30", "1e999", ".nan", "no", "true", "~", "''", "cat", "[1, [2]]", "[]", "{a: 1}", "{1: a}",
    "2024-01-01", "2024-13-45", "!!binary aGk=", "!!set {a, b}", "!!python/name:os.sys", "*a", "&a [*a]", "&a [1, 2]",
    "0x1f", "9" * 40, "'\ud7ff'", "[0.5, x]", '"\\ud800"', '"\\0"', "- 1", "? a", "@",
)  # fmt: skip
NAMES = ("a", "b", "rate", "out", "seconds", "sede", "5", "~", "[x]", "'a b'", "é")


def test_a_random_sweep_is_understood_or_refused_in_sentences(notebook):
    """Of right and wrong parts, one in three with some bytes changed: a traceback would end this test."""
    rng, file, right = random.Random(0), notebook.parent / "s.yaml", 0
    some = lambda likely, every: rng.choice(likely if rng.random() < 0.8 else every)
    pair = lambda: f"{some(NAMES[:3], NAMES)}: {some(('1', 'x', '[1, 2]'), VALUES)}"
    flow = lambda: "{" + ", ".join(pair() for _ in range(rng.randrange(4))) + "}"
    for _ in range(400):
        parts = {
            "grid": flow(),
            "list": f"[{flow()}, {flow()}]",
            "exclude": f"[{flow()}]",
            "timeout": rng.choice(VALUES),
        }
        chosen = rng.sample([*parts], rng.randrange(3))
        text = "\n".join(["notebook: nb.ipynb", *(f"{key}: {some([parts[key]], VALUES)}" for key in chosen)])
        found = bytearray(text.encode(errors="replace"))
        for _ in range(rng.choice((0, 0, 2))):
            found[rng.randrange(len(found))] = rng.randrange(256)
        file.write_bytes(found)
        try:
            right += bool(load(file))
        except SweepError as error:
            assert error.mistakes and all(error.mistakes)
    assert 40 < right < 360
