"""What a sweep runs: a notebook or a function as it is now, with its parameters, its code's hash and its commit."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from forgetkit.batch import parameters
from forgetkit.batch.notebook import code_cells
from forgetkit.batch.parameters import Parameter


@dataclass(frozen=True)
class Task:
    """What is run: a notebook (`path`, absolute) or a function ("package.module:name"), as it is now.

    source: hash of its code; commit: of the repository it lies in, None if in none
    """

    name: str
    notebook: str | None
    function: str | None
    parameters: dict[str, Parameter]
    source: str
    commit: str | None


def of_notebook(path: Path) -> Task:
    """A notebook to run; raises ValueError if there is none, or none that takes parameters."""
    if not path.exists():
        raise ValueError(f"There is no notebook {path}.")
    try:
        found = parameters.of_notebook(path)
    except SyntaxError as error:
        raise ValueError(f"The `parameters` cell of {path} is no Python: {error}.") from None
    return Task(path.stem, str(path.resolve()), None, found, _hash(code_of(path)), _commit(path.parent))


def of_function(name: str) -> Task:
    """A function to run, "package.module:name"; raises ValueError if it cannot be imported."""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
        source = _package(sys.modules[module.partition(".")[0]])
    except Exception as error:  # whatever the module raises
        raise ValueError(f"function: {name!r} cannot be imported ({error}); write package.module:name.") from None
    folder = Path(inspect.getsourcefile(function)).parent
    return Task(name, None, name, parameters.of_function(function), _hash(source), _commit(folder))


def _package(top: ModuleType) -> str:
    """The source of a module, or of all modules of a package."""
    if not hasattr(top, "__path__"):
        return inspect.getsource(top)
    files = [file for folder in top.__path__ for file in Path(folder).rglob("*.py")]
    return "\n".join(file.read_text(errors="replace") for file in sorted(files))


def code_of(notebook: str | Path) -> str:
    """All code of a notebook."""
    return "\n".join(cell["source"] for cell in code_cells(notebook))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _commit(folder: Path) -> str | None:
    """The commit of the repository that holds `folder`, with "-dirty" where files differ from it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
