"""A sweep: one YAML file that says which parameter sets a notebook, or a function, is to be run with.

docs/batches.md has an example, and says what each key means.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError

from forgetkit.batch.task import MISSING, Task, code_of, task_of

OUT = "out"  # the parameter that gets the run's folder
MOST = 100_000  # runs of one sweep
MOST_PIECES = 1_000_000  # of a sweep as JSON, where an alias is written out each time
NUMBER = "[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)"  # whole; what else looks like one, as 012, is a word


class SweepError(ValueError):
    """A sweep that cannot be run; `mistakes` are all that was found, one sentence each."""

    def __init__(self, mistakes: list[str]):
        self.mistakes = list(dict.fromkeys(mistakes))
        head = f"the sweep has {len(self.mistakes)} mistakes, nothing was started:\n  " if self.mistakes[1:] else ""
        super().__init__(head + "\n  ".join(self.mistakes))


Check = Callable[[str, Any, dict], None]
STRICT = ConfigDict(extra="forbid")
Seconds = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] | None
Limits = create_model("Limits", __config__=STRICT, cell=(Seconds, None), run=(Seconds, None))
Several = BeforeValidator(lambda given: given if isinstance(given, list) else [given])
Timeout = Annotated[Limits, BeforeValidator(lambda given: given if isinstance(given, dict) else {"run": given})]
SETS = "is a list of parameter sets, such as `- {target: cat, seed: 0}`."
FORM = {  # of each key of a sweep the type, the default, and what is said of another type
    "notebook": (Annotated[list[str], Several], [], "is a path, or a list of paths."),
    "function": (str, "", "is a function's name, such as `package.module:name`."),
    "grid": (dict[str, Annotated[list, Several]], {}, "maps names of parameters to lists of values."),
    "list": (list[dict[str, Any]], [{}], SETS),
    "exclude": (list[dict[str, Any]], [], SETS),
    "timeout": (Timeout, Limits(), "is the seconds that a run may take, or such as `{cell: 600, run: 3600}`."),
}
Form = create_model("Form", __config__=STRICT, **{key: (kind, default) for key, (kind, default, _) in FORM.items()})


class _Constructor(SafeConstructor):
    """YAML 1.2, but for what a reader would take for a word: `012`, `1_000` and dates are words, as written."""

    def construct_yaml_int(self, node):
        return super().construct_yaml_int(node) if re.fullmatch(NUMBER, node.value) else node.value


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.construct_yaml_int)
_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_str)


def from_yaml(text: str | bytes, where: str = "") -> Any:
    """What a text in YAML means; raises SweepError where it is none, which names the text by `where`, or as it is."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.composer.warn_double_anchors = False
    try:
        return yaml.load(text)
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        why = f"line {mark.line + 1}: {error.problem}" if mark else " ".join(str(error).split())[:300]
    raise SweepError([f"{where or repr(text)} is no YAML: {why}."])


def _form(spec: Any) -> BaseModel:
    """A sweep in its form; raises SweepError, with all mistakes in the form."""
    if not isinstance(spec, Mapping):
        raise SweepError([f"A sweep is a mapping with the keys {', '.join(FORM)}."])
    try:
        pieces = json.JSONEncoder(default=str).iterencode(spec)
        if next(itertools.islice(pieces, MOST_PIECES, None), None):
            raise ValueError
        form = Form.model_validate({key: value for key, value in spec.items() if value is not None})
    except ValidationError as error:
        wrong = dict.fromkeys(fault["loc"][0] for fault in error.errors())
        unknown = lambda key: f"There is no key {key!r}. {_close(key, FORM)}"
        raise SweepError([f"`{k}` {FORM[k][2]}" if k in FORM else unknown(k) for k in wrong]) from None
    except (TypeError, ValueError, RecursionError):
        why = "A value holds itself, or too many others, or is named by something else than a word."
        raise SweepError([why]) from None
    found = [f"grid: {name} has no value." for name, values in form.grid.items() if not values]
    if bool(form.notebook) == bool(form.function):
        found.append("Give one of `notebook` and `function`.")
    if form.function and form.timeout.cell:
        found.append("timeout: a function has no cells, give `run`.")
    twice = sorted({name for entry in form.list for name in entry} & set(form.grid))
    found += [f"{name} stands in `grid` and in `list`: give it in one of them." for name in twice]
    if (n := math.prod(map(len, (form.notebook or [""], form.list, *form.grid.values())))) > MOST:
        found.append(f"The grid makes {n:,} runs, and a sweep has at most {MOST:,}: give fewer values.")
    if found:
        raise SweepError(found)
    return form


def _close(name: Any, names: Iterable[str]) -> str:
    """A question for the name that was perhaps meant, or all names."""
    found = difflib.get_close_matches(str(name), list(names), 1)
    return f"Is it {found[0]!r}?" if found else f"There are: {', '.join(names)}."


@dataclass(frozen=True)
class Run:
    """A task with one parameter set: what is `given`, and all `parameters`, with their defaults.

    label:   the values that tell it from the other runs of its sweep, for a reader
    timeout: seconds of a "cell" and of the "run", or None
    """

    task: Task
    given: dict
    parameters: dict
    label: str
    timeout: dict[str, float | None]

    @cached_property
    def key(self) -> str:
        """A hash of task and parameters, which says whether two runs are the same."""
        plain = json.loads(json.dumps(self.parameters, default=lambda v: re.sub(" at 0x[0-9a-f]+", "", str(v))))
        text = json.dumps([self.task.name, plain], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def load(spec: str | Path | Mapping, folder: str | Path = ".", check: Check | None = None) -> list[Run]:
    """The runs of a sweep: a YAML file, or a mapping of the same form (paths then relative to `folder`).

    check: is called with name and value of each parameter that is given, and all parameters of its run, for notebooks
           that import forgetkit; it raises ValueError for a value that the notebook would refuse

    Raises SweepError, with all mistakes at once.
    """
    mistakes, tasks, runs = [], [], []
    if isinstance(spec, (str, Path)):
        folder = Path(spec).parent
        try:
            spec = from_yaml(Path(spec).read_bytes(), Path(spec).name)
        except OSError as error:
            raise SweepError([f"{spec} cannot be read: {error.strerror}."]) from None
    form = _form(spec)
    for name in form.notebook or [None]:
        with _noted(mistakes):
            tasks.append(task_of(Path(folder), name, form.function))
    many = Counter(task.name for task in tasks)
    mistakes += [f"Two notebooks are called {name}: name them apart." for name, n in many.items() if n > 1]
    for task in tasks:
        runs += (found := _runs(task, form, mistakes))
        if check and task.is_notebook and re.search(r"^\s*(from|import) forgetkit\b", code_of(task.file), re.M):
            for run, name in ((run, name) for run in found for name in run.given if name in run.parameters):
                with _noted(mistakes):
                    check(name, task.parameters[name].value(run.given[name]), run.parameters)
    if mistakes:
        raise SweepError(mistakes)
    return runs


@contextmanager
def _noted(mistakes: list[str]) -> Iterator[None]:
    """What is wrong in this block ends it, and is put to the mistakes."""
    try:
        yield
    except ValueError as error:
        mistakes.append(str(error))


def _runs(task: Task, form: BaseModel, mistakes: list[str]) -> list[Run]:
    """The runs of a task; what is wrong with them is added to `mistakes`."""

    def value(name: str, given: Any) -> Any:
        with _noted(mistakes):
            if name == OUT:
                raise ValueError(f"`{OUT}` is the run's folder and set for every run: leave it out.")
            if name not in task.parameters:
                raise ValueError(f"{task.name} has no parameter {name!r}. {_close(name, task.parameters)}")
            return task.parameters[name].value(given)
        return given

    typed = lambda entries: [{name: value(name, given) for name, given in entry.items()} for entry in entries]
    grid = {name: [value(name, given) for given in values] for name, values in form.grid.items()}
    entries, exclude = typed(form.list), typed(form.exclude)
    sets = [{**entry, **dict(zip(grid, values))} for entry in entries for values in itertools.product(*grid.values())]
    default = {name: parameter.default for name, parameter in task.parameters.items() if name != OUT}
    same = lambda a, b: a == b and isinstance(a, bool) == isinstance(b, bool)
    fits = lambda entry, given: all(same(given.get(k, default.get(k, MISSING)), v) for k, v in entry.items())
    unused = [e for e in exclude if set(e) <= set(default) and not any(fits(e, given) for given in sets)]
    mistakes += [f"exclude: no run has {entry}." for entry in unused]
    sets = [given for given in sets if not any(fits(entry, given) for entry in exclude)]
    mistakes += [] if sets else ["exclude: no run is left."]
    varying = [n for n in default if len({repr(given.get(n, default[n])) for given in sets}) > 1]
    runs: dict[str, Run] = {}
    for given in sets:
        values = {name: given.get(name, value) for name, value in default.items()}
        run = Run(task, given, values, ", ".join(f"{name}={values[name]}" for name in varying), dict(form.timeout))
        mistakes += [f"{name} has no default: give it a value." for name, v in values.items() if v is MISSING]
        for name, parameter in task.parameters.items():
            if name not in given and (changed := sorted(parameter.uses & set(given))):
                why = f"{name} is computed from {', '.join(changed)} in the `parameters` cell and would keep its value"
                mistakes.append(f"{why}: give it, too, or compute it in a later cell.")
        if run.key in runs and set(given) <= set(default):
            mistakes.append(f"Two runs of {task.name} are the same: {given or 'defaults only'}.")
        runs[run.key] = run
    return list(runs.values())
