"""What a fresh clone needs: the files agree with each other, and nothing private or third-party is named."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent


def requirements(*extras: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]


def test_environment_yml_agrees_with_pyproject():
    entries = YAML(typ="safe").load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(e["pip"] for e in entries if isinstance(e, dict))
    assert sorted(pip) == sorted([*requirements("test"), "-e ."])


def test_lock_pins_every_dependency_with_hashes():
    lock = (ROOT / "requirements.lock").read_text()
    for requirement in requirements("test", "book", "cluster"):
        name = re.sub("[._]", "-", re.match(r"[A-Za-z0-9._-]+", requirement)[0]).lower()
        assert re.search(rf"^{name}==\S+.*\\\n    --hash=sha256:", lock, re.M), f"{name} is not in the lock: make lock"


def test_ci_calls_the_readmes_test_command():
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text()
    readme = (ROOT / "README.md").read_text()
    assert "make run" in readme and "make test" in readme


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / f for f in listed.stdout.splitlines() if (ROOT / f).is_file()]


def test_no_registry_host_and_no_machine_path_is_committed():
    hosts = "|".join(("pypi", "pythonhosted", "npmjs", "debian"))
    for file in committed():
        if file.suffix in {".png", ".safetensors"}:
            continue
        text = file.read_text(errors="ignore")
        assert not re.search(rf"({hosts})\.org", text), f"{file.name} names a registry's host"
        assert str(ROOT.parent) + "/" not in text, f"{file.name} holds a path of this machine"


def test_committed_weights_are_small():
    files = [*(ROOT / "forgetkit/models/mini").glob("*.safetensors")]
    assert len(files) >= 2 and max(file.stat().st_size for file in files) <= 25e6


def test_a_wheel_carries_every_file_of_package_notebooks_and_docs():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    homes = {"forgetkit": "forgetkit", "notebooks": "forgetkit.notebooks", "docs": "forgetkit.docs"}
    for file in committed():
        top, *below = file.relative_to(ROOT).parent.parts or ("",)
        if top not in homes or (top, *below[:1]) == ("docs", "book"):
            continue
        package = ".".join((homes[top], *below))
        assert package in settings["packages"], f"{package} would be missing from a wheel"
        patterns = [] if file.suffix == ".py" else settings["package-data"].get(package, [])
        assert file.suffix == ".py" or any(file.match(pattern) for pattern in patterns), f"{file.name} would be missing"
