"""What a sweep runs: a notebook or a function, its parameters with their types, and a hash of its code.

A type comes from the annotation, else from the default: `seed = 0` takes whole numbers, `lr = 1e-3` any number,
`mode: Literal["a", "b"] = "a"` one of two words. A default that is `None` or computed, and a type that YAML cannot
give, take anything.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import os
import typing
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from forgetkit.batch.notebook import known_parameters, source_of
from forgetkit.batch.record import COLUMNS

MISSING = inspect.Parameter.empty  # no default, or no annotation
NAMES = {**vars(builtins), **vars(typing), "typing": typing}  # what an annotation may say


@dataclass(frozen=True)
class Parameter:
    """What may be given from outside; default: a value, the source of one that is computed from `uses`, or MISSING."""

    name: str
    default: Any = MISSING
    type: Any = Any
    uses: frozenset[str] = frozenset()

    def value(self, given: Any) -> Any:
        """The value to use for what was given in YAML; raises ValueError for a wrong one."""
        if self.type is Any:
            return given
        with suppress(TypeError, ValueError):  # pydantic's, too
            return to_jsonable_python(TypeAdapter(self.type).validate_json(json.dumps(given), strict=True))
        if typing.get_origin(self.type) is typing.Literal:
            raise ValueError(f"{self.name}={given!r}: choose one of {', '.join(map(str, typing.get_args(self.type)))}.")
        example = "" if self.default in (MISSING, None) else f", such as {self.default!r}"
        raise ValueError(f"{self.name}={given!r}: wanted is {inspect.formatannotation(self.type)}{example}.")


def _type(annotation: Any, default: Any) -> Any:
    """The type that an annotation, or its source, means; without one, that of the default; Any, where YAML has none."""
    if annotation is MISSING:
        return type(default) if type(default) in (int, float, str, bool, list, tuple, dict) else Any
    with suppress(Exception):  # a name of the notebook's own, or a class that pydantic does not know
        for _ in range(2):  # a string may be quoted once more
            annotation = eval(annotation, dict(NAMES)) if isinstance(annotation, str) else annotation
        TypeAdapter(annotation)
        return annotation
    return Any


@dataclass(frozen=True)
class Task:
    """A notebook, or the function that `name` says, and the file it stands in. source: a hash of its code."""

    name: str
    file: Path
    is_notebook: bool
    parameters: dict[str, Parameter]
    source: str


def parameters_of(path: str | Path) -> dict[str, Parameter]:
    """The parameters in a notebook's `parameters` cell; raises ValueError where it has none."""
    found = {}
    for name, (annotation, default) in known_parameters(path).items():
        value, uses, annotation = MISSING, frozenset(), ast.unparse(annotation) if annotation else MISSING
        try:
            if default is not None:
                json.dumps(value := ast.literal_eval(default))
        except (ValueError, TypeError, MemoryError, RecursionError):
            value, annotation = ast.unparse(default), "Any" if annotation is MISSING else annotation
            uses = frozenset(node.id for node in ast.walk(default) if isinstance(node, ast.Name))
        found[name] = Parameter(name, value, _type(annotation, value), uses)
    return found


def parameters_of_function(function: Callable) -> dict[str, Parameter]:
    """The parameters of a function that can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [p for p in inspect.signature(function).parameters.values() if p.kind in named]
    return {p.name: Parameter(p.name, p.default, _type(p.annotation, p.default)) for p in found}


def task_of(folder: Path, notebook: str | None, function: str | None) -> Task:
    """Raises ValueError where there is no such notebook or function, or one of its parameters cannot be in a table."""
    if notebook is not None:
        file = Path(os.path.abspath(folder / notebook))
        name, parameters = os.fsencode(file.stem).decode(errors="replace"), parameters_of(file)
    else:
        module, _, attribute = (name := function).partition(":")
        try:
            parameters = parameters_of_function(getattr(found := importlib.import_module(module), attribute))
            file = Path(inspect.getfile(found))
        except (Exception, SystemExit) as error:  # whatever the module raises
            raise ValueError(f"function: {name!r} cannot be imported ({error}); write package.module:name.") from None
    if taken := sorted(set(COLUMNS) & set(parameters)):
        raise ValueError(f"{name} has a parameter called {taken[0]}, which is a column of every table: rename it.")
    return Task(name, file, notebook is not None, parameters, source_of(file, notebook is not None))
