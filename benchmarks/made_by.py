"""What a row was made by, as a short hash: the code that it runs through, files, and plain values.

The code of a function is its own source and that of everything of this project which it names, and so on, without
comments and docstrings: a word in a page, or a method that the row does not use, changes nothing. A method that is
called on an argument is found by the argument's annotation. Sources are read, not imported.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path

from forgetkit.keys import without_docstrings

ROOT = Path(__file__).resolve().parents[1]
# Where results are kept, shown and told, which changes none of them.
APART = (
    "forgetkit.store", "forgetkit.lessons", "forgetkit.batch", "forgetkit.models.saving",
    "forgetkit.recipe",  # its values are named beside the code
)  # fmt: skip


def made_by(*parts) -> str:
    """A hash of functions (their code), files by `Path` (their content), and plain values: v and eight hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(
            code(part) if callable(part) else content(part) if isinstance(part, Path) else repr(part).encode()
        )
    return f"v{digest.hexdigest()[:8]}"  # with a letter in front, no reader of a CSV takes it for a number


@functools.cache
def content(file: Path) -> bytes:
    """A SHA-256 of the file."""
    return hashlib.sha256(file.read_bytes()).digest()


@functools.cache
def code(function: Callable) -> bytes:
    """A SHA-256 of all code of ours that a function runs through."""
    function, seen = inspect.unwrap(function), {}
    visit(function.__module__, function.__name__, seen)
    return hashlib.sha256(repr(sorted(seen.items())).encode()).digest()


def visit(module: str, name: str, seen: dict[str, str]) -> None:
    """Add to `seen`, by full name, the code that defines `name` in a module of ours, and that of all that it names."""
    full = f"{module}.{name}"
    if full in seen or module.startswith(APART):
        return
    for node in definitions(module).get(name, ()):
        if isinstance(node, ast.ImportFrom):
            original = next(alias.name for alias in node.names if name in (alias.asname, alias.name))
            visit(node.module, original, seen)
            continue
        seen[full] = seen.get(full, "") + ast.unparse(node)
        for used in ast.walk(node):
            if isinstance(used, ast.Name):
                visit(module, used.id, seen)
            elif isinstance(used, ast.Attribute) and isinstance(used.value, ast.Name):
                for found in definitions(module).get(used.value.id, ()):
                    if isinstance(found, ast.ImportFrom):  # perhaps of a module
                        visit(f"{found.module}.{used.value.id}", used.attr, seen)


@functools.cache
def definitions(module: str) -> dict[str, list[ast.stmt]]:
    """What defines each name at the top of a module of ours, without docstrings; nothing of another's module."""
    path, found = ROOT / module.replace(".", "/"), {}
    file = next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)
    for node in without_docstrings(ast.parse(file.read_bytes())).body if file else ():
        if isinstance(node, ast.ImportFrom):
            names = [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        else:
            names = [node.name] if hasattr(node, "name") else []
        for name in names:
            found.setdefault(name, []).append(node)
    return found
