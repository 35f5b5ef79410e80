"""README and docs: links lead somewhere, commands and lines of Python are such as this package takes."""

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from PIL import Image

import forgetkit
from forgetkit import __main__ as cli
from forgetkit.batch.task import parameters_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/book/*.md", "docs/results/*.md", "forgetkit/models/mini/*.md")
    for path in ROOT.glob(pattern)
)
OTHERS = {"cd", "conda", "dask", "jupyter", "npm", "apt-get", "pre-commit", "bash", "git", "ruff"}  # not ours
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
name = lambda path: path.relative_to(ROOT).as_posix()


def blocks(path: Path, *languages: str) -> list[str]:
    return [code for language, code in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The names that a code-hosting page gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_to_what_is_in_the_repository(path):
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        file, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), f"{link} is no address of a page"
            continue
        to = (path.parent / file).resolve() if file else path
        if not to.is_relative_to(ROOT) or not to.exists() or (anchor and anchor not in anchors(to)):
            dead.append(link)
    assert not dead
    files = re.findall(r"`((?:docs|tests|notebooks|forgetkit|benchmarks)/[\w./-]+\.\w+)`", prose(path))
    assert not [file for file in files if not (ROOT / file).exists()], "a file that is named is not there"


# --------------------------------------------------------------------------------------------------
# Commands


def refusal(command: click.Command, words: list[str]) -> str:
    """Why click would not take these words; "" where it would. Nothing is run; files need not be there."""
    try:
        context = command.make_context(command.name, list(words))
    except click.exceptions.Exit:  # --help
        return ""
    except click.UsageError as error:
        return "" if "does not exist" in error.format_message() else error.format_message()
    if not isinstance(command, click.Group):
        return ""
    below = command.commands.get(words[0])
    return refusal(below, words[1:]) if below else f"{context.info_name} has no command {words[0]}"


def module_of(words: list[str]) -> str:
    """Why `python -m MODULE ...` would not be taken; modules of others are not looked into."""
    module, *words = words
    if not module.startswith(("forgetkit", "benchmarks")):
        return "" if module in ("pytest", "pip", "sphinx") else f"which module is {module}?"
    if module == "forgetkit":
        return refusal(cli.forgetkit, words) if words else ""
    found = importlib.import_module(module)
    main = (importlib.import_module(f"{module}.__main__") if hasattr(found, "__path__") else found).main
    return refusal(main, words) if words or not isinstance(main, click.Group) else ""


def notebook_of(words: list[str], folder: Path) -> str:
    """Why papermill would not run a notebook of ours with these parameters."""
    notebook = folder / words[0]
    if not notebook.exists():
        return f"there is no {words[0]}"
    given = {words[i + 1] for i, word in enumerate(words) if word == "-p"}
    unknown = given - set(parameters_of(notebook))
    return f"{notebook.name} has no {', '.join(sorted(unknown))}" if unknown else ""


def fault(line: str, folder: Path = ROOT) -> str:
    """What is wrong with a command; "" if nothing."""
    program, *words = shlex.split(line, comments=True)
    if program == "forgetkit":
        return refusal(cli.forgetkit, words) if words else ""
    if program == "papermill":
        return notebook_of(words, folder)
    if program.startswith("python"):
        return module_of(words[1:]) if words[:1] == ["-m"] else f"{line}: only modules are run"
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        return ", ".join(word for word in words if "=" not in word and word not in targets)
    if program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        wanted = {e for found in re.findall(r"(?:forgetkit|\.)\[(.+?)\]", line) for e in found.split(",")}
        return ", ".join(wanted - set(extras))
    return "" if program in OTHERS else f"what is {program}?"


def commands(path: Path) -> list[tuple[str, Path]]:
    """The lines of the page's shell blocks, each with the folder it runs in."""
    found = []
    for block in blocks(path, "bash", "sh"):
        folder = ROOT
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                folder = folder / line.split()[1] if line.startswith("cd ") else folder
                found.append((line, folder))
    return found


@pytest.mark.parametrize("path", [path for path in PAGES if commands(path)], ids=name)
def test_commands_in_blocks_are_taken(path):
    assert [f"{line}: {wrong}" for line, folder in commands(path) if (wrong := fault(line, folder))] == []


OURS = re.compile(r"`((?:forgetkit|python -m|make|papermill|pip install) [^`\n]+)`")


@pytest.mark.parametrize("path", [path for path in PAGES if OURS.search(prose(path))], ids=name)
def test_commands_in_the_text_are_taken_as_far_as_they_go(path):
    """In the text a command is often cut short: what is missing is forgiven, what is wrong is not."""
    wrong = {line: fault(line) for line in OURS.findall(prose(path)) if "..." not in line}
    forgiven = ("Missing ", "requires an argument")
    assert {line: why for line, why in wrong.items() if why and not any(word in why for word in forgiven)} == {}


def test_the_check_of_commands_sees_what_is_wrong():
    assert "No such option" in fault("forgetkit run --taget cat") and "has no command" in fault("forgetkit rum x")
    assert fault("papermill notebooks/00_quickstart.ipynb out.ipynb -p targt cat") and fault("papermill 99.ipynb o")
    assert fault("python -m benchmarks.benchmark nothing") and fault("make nothing") and fault("sudo make run")
    assert fault("pip install forgetkit[nothing]") == "nothing" and not fault('pip install "forgetkit[cluster]"')
    assert not fault("forgetkit run --target dog  # a comment") and not fault("make run TARGET=dog")


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "python")], ids=name)
def test_python_in_blocks_names_what_there_is(path):
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith(("forgetkit", "benchmarks")):
                for alias in node.names:
                    assert hasattr(importlib.import_module(node.module), alias.name) or importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "forgetkit":
                assert hasattr(forgetkit, node.attr) or importlib.import_module(f"forgetkit.{node.attr}")


# --------------------------------------------------------------------------------------------------
# Pictures and README


@pytest.mark.parametrize("picture, name", {"default": "default", "paper": "paper", "story_forget": "paper",
                                           "story_remind": "default", "story_restore": "default"}.items())  # fmt: skip
def test_a_diagram_shows_the_recipe_as_it_is(picture, name):
    drawn = Image.open(ROOT / f"docs/figures/{picture}.png").text["recipe"]
    assert drawn == repr(forgetkit.Recipe.named(name)), "run `python docs/figures/method.py`"


def test_the_readme_is_short_and_shows_all_on_its_first_screen():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    screen = text[: text.index("\n## ")]
    assert len(re.findall(r"!\[[^\]]+\]\(docs/figures/\S+\)", screen)) == 1, "one picture, with its words"
    (shell,), (code,) = (re.findall(rf"```{kind}\n(.*?)```", screen, re.S) for kind in ("bash", "python"))
    assert len(shell.splitlines()) == 2 and len([line for line in code.splitlines() if line]) == 6
    rows = [line for line in screen.splitlines() if line.startswith("|")][2:]
    assert 1 <= len(rows) <= 5
