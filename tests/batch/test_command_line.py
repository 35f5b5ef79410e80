"""`forgetkit COMMAND`: fast, and wrong words are told before anything starts."""

import subprocess
import sys

import pytest

from forgetkit import __main__ as cli
from forgetkit.data.images import DataError


def call(capsys, *arguments: str) -> tuple[int, str]:
    """Exit status, and what was said."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.setattr("forgetkit.data.sets.load_parts", lambda _: pytest.fail("data were fetched"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "--target", "unicorn"], "target='unicorn' is no class here: choose one of airplane, automobile"),
        (["run", "--kind", "style"], "target='cat' is no style here: choose one of "),
        (["run", "-p", "n_test", "0"], "n_test=0: a whole number, at least 1"),
        (["run", "--target", "unicorn", "-p", "n_test", "0"], "\nn_test=0: a whole number, at least 1"),
        (["run", "-p", "changes", "3"], "changes"),
        (["run", "--kind", "class", "--data-dir", "."], "--kind goes without --data-dir"),
        (["run", "--label", "pet"], "labels='pet' is for pictures of your own"),
        (["run", "--recipe", "papre"], "'papre'"),
        (["run", "--seed", "x"], "'x' is not a valid integer"),
        (["run", "--out", str(cli.NOTEBOOKS)], "holds the notebooks themselves"),
        (["run", "-p", "n_forgot", "9"], "00_quickstart.ipynb has no parameter n_forgot. It has: kind, target"),
        (["run", "-p", "changes", "{a"], "'{a' is no YAML: line 1: "),
        (["lab", __file__], "is a file"),
        (["bacth"], "Did you mean 'batch'?"),
        (["batch", "no.yaml"], "Missing option '--out'"),
        (["batch", "no.yaml", "--out", "x", "--workers", "0"], "0 is not in the range"),
        (["batch", "no.yaml", "--out", "x"], "no.yaml cannot be read"),
        (["summary", "nowhere"], "nowhere is no sweep's folder"),
    ],
)
def test_a_wrong_word_starts_nothing(capsys, no_data, arguments, message):
    code, said = call(capsys, *arguments)
    assert code == 2 and message in said and "Traceback" not in said


def test_data_errors_end_in_one_sentence(monkeypatch, capsys):
    def broken(_):
        raise DataError("cifar10: no network.")

    monkeypatch.setattr("forgetkit.data.sets.load_parts", broken)
    assert call(capsys, "fetch") == (1, "forgetkit: cifar10: no network.\n")


@pytest.mark.parametrize("command", ["", *cli.forgetkit.commands])
def test_each_command_has_help(capsys, command):
    code, said = call(capsys, *command.split(), "--help")
    assert code == 0 and said.startswith(f"Usage: forgetkit {command}")
    assert "..." not in said.replace("]...", ""), "a sentence is cut"


def test_help_needs_no_torch():
    code = "import sys, forgetkit.__main__; print([m for m in ('torch', 'pandas', 'papermill') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_options_become_parameters_of_the_quickstart(tmp_path, monkeypatch, capsys):
    executed = []

    def execute(notebook, to, parameters, cwd):
        executed.append(parameters)
        (to.parent / "report.txt").write_text("No alarm.\n")

    monkeypatch.setattr("forgetkit.batch.notebook.execute", execute)
    monkeypatch.setattr(cli.fetch, "callback", lambda: None)
    monkeypatch.setattr(cli, "look", lambda *_, **given: executed.append(given))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    shared = {"seed": 0, "recipe": "default", "head": "text", "model": "mini", "device": "auto", "near_copies": True}
    run = lambda *words: cli.forgetkit(["run", *words], standalone_mode=False)
    run("-p", "n_forget", "9")
    folder = str(tmp_path / "runs/class-cat")
    assert executed.pop() == {**shared, "kind": "class", "target": "cat", "n_forget": 9, "out": folder}
    run("--kind", "style", "--target", "cat sketches", "--seed", "1")
    assert executed.pop()["out"] == str(tmp_path / "runs/style-cat_sketches-1"), "and the first is left as it was"
    run("--data-dir", "pictures", "--target", "lynx", "--siblings", 'puma, "cat, big"', "--previous-targets", "dog")
    own = {"siblings": ["puma", "cat, big"], "previous_targets": ["dog"], "target": "lynx"}
    folder = str(tmp_path / "runs/own-lynx")
    assert executed.pop() == {**shared, **own, "kind": "folder", "data_dir": "pictures", "out": folder}
    looked = executed.pop()
    assert looked.items() >= own.items() and looked["near_copies"] is True
    assert "No alarm." in capsys.readouterr().out


def test_a_saved_folder_needs_no_prefix_and_another_hides_no_model(tmp_path):
    assert cli.a_model(None, None, str(tmp_path)) == str(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert cli.a_model(None, None, str(tmp_path)) == f"local-dir:{tmp_path}"
