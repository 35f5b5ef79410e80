"""The house: which room may import which, and that its style holds."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "forgetkit"
# From the ground up: a room imports itself and what stands before it. `batch` stands apart, and imports only itself.
FLOORS = ("data", "models", "method", "store", "auditing", "lessons", "__main__")
METHOD = (
    "subgroups", "recipe", "lora", "fisher", "losses", "evaluation", "training", "forgetting", "alignment", "synthetic",
    "reminding", "editing", "restoring", "pipeline",
)  # fmt: skip


def room_of(module: str) -> str:
    """The room of a module such as "forgetkit.models.clip"."""
    first = (module.split(".") + ["__init__"])[1]
    return "method" if first in METHOD else "store" if first == "keys" else first


def imports(path: Path, of: Iterable[str] = ("forgetkit",)) -> set[str]:
    """All modules of these packages that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in of}


FILES = {path: room_of(".".join(("forgetkit", *path.relative_to(PACKAGE).with_suffix("").parts)))
         for path in sorted(PACKAGE.rglob("*.py"))}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_room_imports_one_above_it(path):
    room = FILES[path]
    if room == "__init__":
        return  # names only, imported when they are used
    below = ("batch", "__init__") if room == "batch" else (*FLOORS[: FLOORS.index(room) + 1], "batch", "__init__")
    wrong = sorted(name for name in imports(path) if room_of(name) not in below)
    assert not wrong, f"{room} may import {', '.join(below)}"


def test_the_picture_in_the_docs_is_what_the_imports_say():
    drawn = (PACKAGE.parent / "docs/development.md").read_text(encoding="utf-8")
    drawn = drawn.replace("    main", "    __main__")
    arrows = set(re.findall(r"^ +(\w+)(?:\[.*?\])? --> (\w+)", drawn, re.M))
    found = {(room, room_of(name)) for path, room in FILES.items() for name in imports(path)}
    assert arrows == {(a, b) for a, b in found if a != b and "__init__" not in (a, b)}


def test_importing_the_package_or_the_batch_room_brings_no_torch():
    code = "import sys, forgetkit, forgetkit.batch.run, forgetkit.__main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_figures_of_a_summary_need_no_torch():
    code = "import sys; from forgetkit.lessons import figures; figures.use_style, figures.mean_and_runs, figures.save"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_the_package_imports_neither_benchmarks_nor_tests():
    outside = {"benchmarks", "tests", *(path.stem for path in Path(__file__).parent.rglob("*.py"))}
    assert not {path: found for path in FILES if (found := imports(path, outside))}


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_content(command):
    ruff = shutil.which("ruff", path=Path(sys.executable).parent) or shutil.which("ruff")
    assert ruff, "ruff comes with the test extra"
    done = subprocess.run([ruff, *command, PACKAGE.parent], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
