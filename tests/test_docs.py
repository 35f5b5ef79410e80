"""README and docs: links lead somewhere, commands and lines of Python are such as this package takes."""

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

import forgetkit
from benchmarks.baselines import BASELINES
from forgetkit import __main__ as cli
from forgetkit.batch.notebook import known_parameters
from forgetkit.data.sets import SETS, cache_folder, load_parts
from forgetkit.evaluation import interval

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
    files = re.findall(r"`((?:docs|tests|notebooks|forgetkit)/[\w./-]+\.\w+)`", prose(path))
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
    if not module.startswith("forgetkit"):
        return "" if module in ("pytest", "pip", "sphinx") else f"which module is {module}?"
    if module == "forgetkit":
        return refusal(cli.forgetkit, words) if words else ""
    main = importlib.import_module(module).main
    return refusal(main, words) if words or not isinstance(main, click.Group) else ""


def notebook_of(words: list[str], folder: Path) -> str:
    """Why papermill would not run a notebook of ours with these parameters."""
    notebook = folder / words[0]
    if not notebook.exists():
        return f"there is no {words[0]}"
    given = {words[i + 1] for i, word in enumerate(words) if word == "-p"}
    unknown = given - set(known_parameters(notebook))
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
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
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
    assert fault("python -m benchmarks.studies nothing") and fault("make nothing") and fault("sudo make run")
    assert fault("pip install forgetkit[nothing]") == "nothing" and not fault('pip install "forgetkit[cluster]"')
    assert not fault("forgetkit run --target dog  # a comment") and not fault("make run TARGET=dog")


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "python")], ids=name)
def test_python_in_blocks_names_what_there_is(path):
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("forgetkit"):
                for alias in node.names:
                    assert hasattr(importlib.import_module(node.module), alias.name) or importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "forgetkit":
                assert hasattr(forgetkit, node.attr) or importlib.import_module(f"forgetkit.{node.attr}")


# --------------------------------------------------------------------------------------------------
# README


def test_the_readme_is_short_and_shows_all_on_its_first_screen():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    screen = text[: text.index("\n## ")]
    assert len(re.findall(r"!\[[^\]]+\]\(docs/figures/\S+\)", screen)) == 1, "one picture, with its words"
    (shell,), (code,) = (re.findall(rf"```{kind}\n(.*?)```", screen, re.S) for kind in ("bash", "python"))
    assert len(shell.splitlines()) == 2 and len([line for line in code.splitlines() if line]) == 6
    rows = [line for line in screen.splitlines() if line.startswith("|")][2:]
    assert 1 <= len(rows) <= 5


# --------------------------------------------------------------------------------------------------
# Numbers outside of tables


def number(pattern: str) -> str:
    return re.search(pattern, (ROOT / "README.md").read_text(encoding="utf-8"))[1]


def test_sizes_and_counts_in_the_readme_are_those_of_the_files():
    weights = [*(ROOT / "forgetkit/models/mini").glob("*.safetensors")]
    assert number(r"(\w+) small CLIP models \(") == {2: "two", 3: "three"}[len(weights)]
    assert int(number(r"small CLIP models \((\d+) MB\)")) == round(sum(f.stat().st_size for f in weights) / 1e6)
    assert number(r"(\w+)\nbaselines, and which") == {16: "sixteen", 17: "seventeen"}[len(BASELINES)]


@pytest.mark.slow
def test_the_readme_says_how_large_the_data_are():
    size = sum(load_parts(name) and (cache_folder() / f"{name}.npz").stat().st_size for name in SETS) / 1e6
    assert int(number(r"The data \((\d+) MB on disk\)")) == pytest.approx(size, rel=0.1)


def test_what_few_pictures_prove_is_computed():
    text, limit = prose(ROOT / "docs/adapting.md"), forgetkit.Recipe.default().restore.target_limit
    assert f"of 12 test pictures, none recognised still allows {interval(0, 12)[1]:.0f} %" in text
    assert f"({300 / limit:.0f} calibrate) | stage 3 can prove that less than {limit} % are left" in text


def test_every_file_of_rows_says_what_made_it_and_one_command_makes_all_that_can_be_made_here():
    listed = dict(re.findall(r"^\| `([\w-]+\.csv)`[^|]*\| ([^|]+) \|", prose(ROOT / "docs/results/README.md"), re.M))
    assert {*listed} == {path.name for path in (ROOT / "docs/results").glob("*.csv")}
    makefile, elsewhere = (ROOT / "Makefile").read_text(encoding="utf-8"), []
    for file, told in listed.items():
        command = re.match(r"`(python -m [^`]+)`", told)
        if not command or re.search(r"\b[A-Z]{3,}\b", command[1]):  # by hand, or of files that are not ours
            elsewhere.append(file)
        else:
            assert f"$(BIN)/{command[1]}" in makefile, f"make results does not make {file}"
    assert sorted(elsewhere) == ["batchnorm.csv", "minutes.csv", "real.csv", "tuning.csv"]
