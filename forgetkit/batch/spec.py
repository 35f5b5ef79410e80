"""A sweep: one YAML file that says which parameter sets a notebook, or a function, is to be run with.

    notebook: 03_reminding.ipynb          # beside the YAML file; or several: [a.ipynb, b.ipynb]
    grid:                                 # every combination of these values
      seed: [0, 1, 2]
      n_forget: [100, 400]
      recipe: default                     # one value for all
    list:                                 # parameter sets, each of them with every combination of the grid
      - {kind: class, target: cat}
      - {kind: style, target: cat sketches}
    exclude:                              # sets that are not run: all that have these values
      - {target: cat sketches, n_forget: 400}

Instead of `notebook`, `function: package.module:name` runs a Python function with these keyword arguments.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from forgetkit.batch import task as tasks
from forgetkit.batch.parameters import MISSING
from forgetkit.batch.task import Task, code_of

KEYS = ("notebook", "function", "grid", "list", "exclude")
OUT = "out"  # the parameter that gets the run's folder


class SweepError(ValueError):
    """A sweep that cannot be run; `mistakes` are all that was found, one sentence each."""

    def __init__(self, mistakes: list[str], where: str = "the sweep"):
        self.mistakes = list(dict.fromkeys(mistakes))
        head = "" if len(self.mistakes) == 1 else f"{where} has {len(self.mistakes)} mistakes, nothing was started:\n  "
        super().__init__(head + "\n  ".join(self.mistakes))


@dataclass(frozen=True)
class Run:
    """A task with one parameter set: what is `given`, and `parameters`, all of them, defaults and all.

    label: the values that tell it from the other runs of its sweep, for a reader
    key:   a hash of task and parameters, which says whether two runs are the same
    """

    task: Task
    given: dict
    parameters: dict
    label: str

    @property
    def key(self) -> str:
        text = json.dumps([self.task.name, self.parameters], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def load(spec: str | Path | Mapping, folder: Path | None = None) -> list[Run]:
    """The runs of a sweep: a YAML file, or a mapping of the same form (paths then relative to `folder`).

    Raises SweepError, with all mistakes at once.
    """
    where = "the sweep"
    if isinstance(spec, (str, Path)):
        folder, where = Path(spec).parent, Path(spec).name
        try:
            spec = yaml.safe_load(Path(spec).read_text())
        except FileNotFoundError:
            raise SweepError([f"There is no file {spec}."]) from None
        except yaml.YAMLError as error:
            raise SweepError([f"{where} is no YAML: {' '.join(str(error).split())}"]) from None
    mistakes = _shape(spec)
    if mistakes:
        raise SweepError(mistakes, where)
    runs = []
    for task in _tasks(spec, Path(folder or "."), mistakes):
        runs += _runs(task, spec, mistakes)
    if mistakes:
        raise SweepError(mistakes, where)
    return runs


def _shape(spec) -> list[str]:
    """What is wrong with the form of a sweep, whatever it runs."""
    if not isinstance(spec, Mapping):
        return [f"A sweep is a mapping with the keys {', '.join(KEYS)}."]
    found = [f"There is no key {key!r}.{_close(key, KEYS)}" for key in spec if key not in KEYS]
    if ("notebook" in spec) == ("function" in spec):
        found.append("Give one of `notebook` and `function`.")
    if not isinstance(spec.get("grid") or {}, Mapping):
        found.append("`grid` maps names of parameters to lists of values.")
    else:
        found += [f"grid: {name} has no value." for name, values in (spec.get("grid") or {}).items() if values == []]
    for key in ("list", "exclude"):
        if not isinstance(entries := spec.get(key) or [], list) or not all(isinstance(e, Mapping) for e in entries):
            found.append(f"`{key}` is a list of parameter sets, such as `- {{target: cat, seed: 0}}`.")
        elif key == "list" and isinstance(spec.get("grid") or {}, Mapping):
            twice = sorted({name for entry in entries for name in entry} & set(spec.get("grid") or {}))
            found += [f"{name} stands in `grid` and in `list`: give it in one of them." for name in twice]
    return found


def _tasks(spec: Mapping, folder: Path, mistakes: list[str]) -> list[Task]:
    key = "notebook" if "notebook" in spec else "function"
    names = spec[key] if isinstance(spec[key], list) else [spec[key]]
    found = []
    for name in names:
        try:
            found.append(tasks.of_notebook(folder / str(name)) if key == "notebook" else tasks.of_function(str(name)))
        except (ValueError, OSError) as error:
            mistakes.append(str(error))
    stems = [one.name for one in found]
    mistakes += [f"Two notebooks are called {stem}: name them apart." for stem in set(stems) if stems.count(stem) > 1]
    return found


def _sets(task: Task, spec: Mapping, mistakes: list[str]) -> list[dict]:
    """The parameter sets of a task, as the spec combines them; what is wrong is added to `mistakes`."""
    given = lambda entry: {name: _value(task, name, value, mistakes) for name, value in entry.items()}
    grid = {name: v if isinstance(v, list) else [v] for name, v in (spec.get("grid") or {}).items()}
    grid = {name: [_value(task, name, v, mistakes) for v in values] for name, values in grid.items()}
    entries = [given(entry) for entry in spec.get("list") or [{}]]
    exclude = [given(entry) for entry in spec.get("exclude") or []]
    sets = [{**entry, **dict(zip(grid, values))} for entry in entries for values in itertools.product(*grid.values())]
    fits = lambda entry, given: all(given.get(k, _default(task, k)) == v for k, v in entry.items())
    known = [entry for entry in exclude if set(entry) <= set(task.parameters)]
    mistakes += [f"exclude: no run has {entry}." for entry in known if not any(fits(entry, s) for s in sets)]
    left = [given for given in sets if not any(fits(entry, given) for entry in exclude)]
    mistakes += [] if left else ["exclude: no run is left."]
    return left


def _runs(task: Task, spec: Mapping, mistakes: list[str]) -> list[Run]:
    """The runs of a task; what is wrong with them is added to `mistakes`."""
    runs: dict[str, Run] = {}
    sets = _sets(task, spec, mistakes)
    varying = [n for n in task.parameters if len({repr(s.get(n, _default(task, n))) for s in sets}) > 1]
    for given in sets:
        values = {name: given.get(name, p.default) for name, p in task.parameters.items() if name != OUT}
        run = Run(task, given, values, ", ".join(f"{name}={values[name]}" for name in varying))
        mistakes += _faults(run)
        if run.key in runs and set(given) <= set(task.parameters):
            mistakes.append(f"Two runs of {task.name} are the same: {given or 'defaults only'}.")
        runs[run.key] = run
    _choices(task, list(runs.values()), mistakes)
    return list(runs.values())


def _faults(run: Run) -> Iterator[str]:
    """Parameters without a value, or with one that would be stale."""
    for name, parameter in run.task.parameters.items():
        if run.parameters.get(name) is MISSING:
            yield f"{name} has no default: give it a value."
        if name not in run.given and (changed := sorted(parameter.uses & set(run.given))):
            yield (
                f"{name} is computed from {', '.join(changed)} in the `parameters` cell and would keep its old value: "
                f"give it, too, or compute it in a later cell."
            )


def _default(task: Task, name: str):
    return task.parameters[name].default if name in task.parameters else MISSING


def _value(task: Task, name: str, given, mistakes: list[str]):
    """The value as the task takes it, or as it is where that is a mistake."""
    if name == OUT:
        mistakes.append(f"`{OUT}` is the run's folder and set for every run: leave it out.")
    elif name not in task.parameters:
        close = _close(name, task.parameters) or f" It has: {', '.join(task.parameters)}."
        mistakes.append(f"{task.name} has no parameter {name!r}.{close}")
    else:
        try:
            return task.parameters[name].value(given)
        except ValueError as error:
            mistakes.append(str(error))
    return given


def _close(name: str, names) -> str:
    found = difflib.get_close_matches(str(name), list(names), 1)
    return f" Is it {found[0]!r}?" if found else ""


def _choices(task: Task, runs: list[Run], mistakes: list[str]) -> None:
    """Ask `lesson.check_parameters` about the parameters it knows, for a notebook that is one of forgetkit's."""
    if not task.notebook or not re.search(r"^\s*(from|import) forgetkit\b", code_of(task.notebook), re.M):
        return
    from forgetkit.tutorial.lesson import CHECKED, check_parameters

    for run in runs:
        kind = {"kind": run.parameters["kind"]} if "kind" in run.parameters else {}
        for name in run.given:
            if name in task.parameters and (name in CHECKED or name.startswith("n_")):
                try:
                    check_parameters(**{**kind, name: task.parameters[name].value(run.given[name])})
                except ValueError as error:
                    mistakes.append(str(error))
