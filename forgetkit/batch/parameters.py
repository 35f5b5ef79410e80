"""What may be given from outside: the parameters of a notebook or a function, with their types and choices.

A type comes from the annotation, else from the default: `seed = 0` takes whole numbers, `lr = 1e-3` any number,
`mode: Literal["a", "b"] = "a"` one of two words. A default of `None`, or one that is computed, takes anything.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forgetkit.batch.notebook import assignments

TYPES = {t.__name__: t for t in (int, float, str, bool, list, tuple, dict)} | {"None": type(None)}
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)e[-+]?\d+", re.I)  # 1e-4 is a string in YAML 1.1
MISSING = object()


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    default: a value, the source of a default that is computed, or MISSING
    types:   what a value may be an instance of; empty if anything goes
    choices: values allowed besides
    uses:    names that a computed default reads
    """

    name: str
    default: object = MISSING
    types: frozenset[type] = frozenset()
    choices: tuple = ()
    uses: frozenset[str] = frozenset()

    def value(self, given):
        """The value to use for what was given in YAML; raises ValueError for a wrong one."""
        if float in self.types:
            if type(given) is int and int not in self.types:
                return float(given)
            if isinstance(given, str) and str not in self.types and NUMBER.fullmatch(given):
                return float(given)
        if tuple in self.types and type(given) is list:
            return given
        if not (self.types or self.choices) or type(given) in self.types or given in self.choices:
            return given
        if self.choices and not self.types:
            raise ValueError(f"{self.name}={given!r}: choose one of {', '.join(map(str, self.choices))}.")
        kinds = " or ".join(sorted(t.__name__ for t in self.types))
        example = "" if self.default in (MISSING, None) else f", such as {self.default!r}"
        raise ValueError(f"{self.name}={given!r}: wanted is {kinds}{example}.")


def of_notebook(path: str | Path) -> dict[str, Parameter]:
    """The parameters in a notebook's `parameters` cell; raises ValueError where it has none."""
    return {name: _read(name, default, annotation) for name, annotation, default in assignments(path)}


def of_function(function: Callable) -> dict[str, Parameter]:
    """The parameters of a function that can be given by name."""
    found = {}
    for name, p in inspect.signature(function).parameters.items():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY):
            continue
        written = "" if p.annotation is p.empty else p.annotation
        written = written if isinstance(written, str) else inspect.formatannotation(written)
        types, choices = _allowed(ast.parse(written, mode="eval").body) if written else (frozenset(), ())
        default = MISSING if p.default is p.empty else p.default
        if not written and default not in (MISSING, None) and type(default) in TYPES.values():
            types = frozenset({type(default)})
        found[name] = Parameter(name, default, types, choices)
    return found


def _read(name: str, default: ast.expr, annotation: ast.expr | None) -> Parameter:
    types, choices = _allowed(annotation) if annotation else (frozenset(), ())
    try:
        value = ast.literal_eval(default)
    except ValueError:
        uses = frozenset(node.id for node in ast.walk(default) if isinstance(node, ast.Name))
        return Parameter(name, ast.unparse(default), types, choices, uses)
    if annotation is None and value is not None:
        types = frozenset({type(value)})
    return Parameter(name, value, types, choices)


def _allowed(node: ast.expr) -> tuple[frozenset[type], tuple]:
    """Types and choices of an annotation; both are empty where it allows, or may allow, anything."""
    anything = frozenset(), ()
    if isinstance(node, ast.Constant) and node.value is None:
        return frozenset({type(None)}), ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        parts = [_allowed(node.left), _allowed(node.right)]
    elif isinstance(node, ast.Subscript):
        base = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if base == "Literal":
            return frozenset(), tuple(ast.literal_eval(item) for item in inner)
        if base not in ("Optional", "Union"):
            return _allowed(ast.Name(base))
        parts = [_allowed(item) for item in inner] + ([(frozenset({type(None)}), ())] if base == "Optional" else [])
    else:
        name = ast.unparse(node)
        return (frozenset({TYPES[name]}), ()) if name in TYPES else anything
    if anything in parts:
        return anything
    return frozenset().union(*(types for types, _ in parts)), sum((choices for _, choices in parts), ())
