"""From the wheel alone: built, installed beside no clone, and used as a new reader does."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
SMALL = """{forget: {steps: 10, fisher_samples: 10}, restore: {alphas: [0.0, 1.0]},
            remind: {steps: 4, align_steps: 2, n_abstract: 20}}"""
STAGES = ["model", "target", "retain", "other", "fashion", "quickdraw", "unseen", "emoji", "score", "seconds"]
IMPORT_ALL = """
import importlib.util, pkgutil, forgetkit
print(forgetkit.__file__, importlib.util.find_spec("benchmarks"))
for module in pkgutil.walk_packages(forgetkit.__path__, "forgetkit."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def called(*command, cwd: Path, **settings) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, **settings)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Calls a program of an environment that has the wheel; an empty folder, and no way to the clone.

    The other packages are those of this environment, found through a .pth file: what is installed here "editable" is
    not, as a .pth file in a folder that a .pth file names is not read.
    """
    work = tmp_path_factory.mktemp("wheel")
    listed = called("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in filter(lambda name: (ROOT / name).is_file(), listed):  # no build/ of before, nothing ignored
        (work / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, work / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    called(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", work, work / "source", cwd=work)
    venv.create(work / "env", with_pip=False)
    programs = work / "env" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = work.glob("*.whl")
    called(*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", wheel, cwd=work)
    (site,) = (work / "env").rglob("site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    (work / "empty").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return lambda program, *words: called(programs / program, *words, cwd=work / "empty", env=environment)


def test_every_module_is_imported_and_the_command_has_help(reader):
    file, benchmarks = reader("python", "-c", IMPORT_ALL).splitlines()[0].split(maxsplit=1)
    assert f"{os.sep}env{os.sep}" in file, "another forgetkit was imported"
    assert benchmarks == "None", "the wheel carries benchmarks"
    said = reader("forgetkit", "--help")
    assert said.startswith("Usage: forgetkit") and "lab " in said


def test_a_cat_is_forgotten_in_small_without_a_clone(reader, tmp_path):
    small = ["-p", "n_forget", "40", "-p", "n_retain", "60", "-p", "n_test", "200", "-p", "changes", SMALL]
    reader("forgetkit", "run", "--target", "cat", "--out", tmp_path, *small)
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table) == STAGES and list(table["model"]) == ["original", "forget", "remind", "restore"]
    figures = {"sets", "curves", "soup", "table", "predictions"}
    assert figures <= {f.stem for f in tmp_path.glob("*.png")} and (tmp_path / "00_quickstart.ipynb").exists()


def test_two_commands_lead_to_lesson_00(reader, tmp_path):
    """`pip install` of the fixture and `forgetkit lab`; its first cells run where they were copied to."""
    reader("forgetkit", "lab", "--no-open", tmp_path)
    lesson = tmp_path / "notebooks/00_quickstart.ipynb"
    notebook = json.loads(lesson.read_text(encoding="utf-8"))
    code = [i for i, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    notebook["cells"] = notebook["cells"][: code[1] + 1]  # parameters, and the set-up with its imports
    lesson.write_text(json.dumps(notebook), encoding="utf-8")
    reader("python", "-m", "papermill", lesson, lesson, "-k", "python3", "--cwd", lesson.parent)
    assert "forget 'cat', keep" in lesson.read_text(encoding="utf-8")
    assert "Kept as you changed it: notebooks/00_quickstart.ipynb" in reader("forgetkit", "lab", "--no-open", tmp_path)
