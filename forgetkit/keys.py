"""A hash of code, as it runs: comments, docstrings and layout do not count."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from types import ModuleType


def code_of(*pieces: ModuleType | Callable) -> str:
    """A hash of the code of modules, functions and classes, 16 hex digits; comments, docstrings, layout do not count.

    Only what is named counts, not what it imports or calls. Raises OSError where there is no source.
    """
    code = [_as_it_runs(inspect.getsource(piece)) for piece in pieces]
    return hashlib.sha256(repr(code).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=None)
def _as_it_runs(source: str) -> str:
    """Source without comments, docstrings and layout."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
