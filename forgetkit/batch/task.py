"""What a sweep runs: a notebook or a function, its parameters with their types, and a hash of its code.

A type comes from the annotation, else from the default: `seed = 0` takes whole numbers, `lr = 1e-3` any number,
`mode: Literal["a", "b"] = "a"` one of two words. A default that is `None` or computed, and a type that YAML cannot
give, take anything.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import inspect
import json
import os
import re
import typing
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from forgetkit.batch.record import COLUMNS

MISSING = inspect.Parameter.empty  # no default, or no annotation
NAMES = {**vars(builtins), **vars(typing), "typing": typing}  # what an annotation may say
UNREADABLE = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)  # what `ast` raises for text


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


@dataclass(frozen=True)
class Task:
    """A notebook, or the function that `name` says, and the file it stands in. source: a hash of its code."""

    name: str
    file: Path
    is_notebook: bool
    parameters: dict[str, Parameter]
    source: str


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


def source_of(file: Path, is_notebook: bool) -> str:
    """A hash of a notebook's code, or of a module's file; raises OSError or ValueError where there is none."""
    code = code_of(file).encode(errors="replace") if is_notebook else file.read_bytes()
    return hashlib.sha256(code).hexdigest()[:16]


def code_cells(path: str | Path) -> list[dict]:
    """The code cells of a notebook; raises ValueError where the file is none."""
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        return [{"metadata": {}, **c, "source": "".join(c["source"])} for c in cells if c["cell_type"] == "code"]
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ValueError(f"{path} is no notebook.") from None


def code_of(path: str | Path) -> str:
    """All code of a notebook."""
    return "\n".join(cell["source"] for cell in code_cells(path))


def parameters_of(path: str | Path) -> dict[str, Parameter]:
    """What a notebook's `parameters` cell assigns, by name, without magics.

    Raises ValueError where there is no such cell, or more than one, or no Python.
    """
    tagged = [cell["source"] for cell in code_cells(path) if "parameters" in (cell["metadata"].get("tags") or ())]
    if len(tagged) != 1:
        count = f"{len(tagged)} cells tagged `parameters`: keep one" if tagged else "no cell tagged `parameters`"
        raise ValueError(f"{path} has {count}.")
    try:
        try:
            lines = ast.parse(tagged[0]).body
        except SyntaxError:
            lines = ast.parse(re.sub(r"^([ \t]*)[%!](?!%).*", r"\1pass", tagged[0], flags=re.M)).body
    except UNREADABLE as error:
        raise ValueError(f"The `parameters` cell of {path} is no Python: {error}.") from None
    found = {}
    for line in (line for line in lines if isinstance(line, ast.Assign | ast.AnnAssign)):
        value, uses, annotation = MISSING, frozenset(), getattr(line, "annotation", None)
        annotation = ast.unparse(annotation) if annotation else MISSING
        try:
            if line.value:
                json.dumps(value := ast.literal_eval(line.value))
        except UNREADABLE:
            value, annotation = ast.unparse(line.value), "Any" if annotation is MISSING else annotation
            uses = frozenset(node.id for node in ast.walk(line.value) if isinstance(node, ast.Name))
        for target in getattr(line, "targets", None) or [line.target]:
            if isinstance(target, ast.Name):
                found[target.id] = Parameter(target.id, value, _type(annotation, value), uses)
    return found


def parameters_of_function(function: Callable) -> dict[str, Parameter]:
    """The parameters of a function that can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [p for p in inspect.signature(function).parameters.values() if p.kind in named]
    return {p.name: Parameter(p.name, p.default, _type(p.annotation, p.default)) for p in found}


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


def check_names(path: str | Path, parameters: Iterable[str]) -> None:
    """Raise ValueError for a parameter that the notebook does not have."""
    known = parameters_of(path)
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{Path(path).name} has no parameter {', '.join(unknown)}. It has: {', '.join(known)}.")
