"""`forgetkit lab`: a copy of the lessons, and nothing of the reader's is lost."""

import pytest

import forgetkit
from forgetkit import __main__ as cli
from forgetkit.batch.lessons import RECORD, copy_lessons

FILES = ONE, TWO = "docs/one.md", "notebooks/two.ipynb"


@pytest.fixture
def home(tmp_path):
    for name in FILES:
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_text(f"{name}, first edition")
    return tmp_path / "home"


def texts(folder) -> list[str]:
    return [(folder / name).read_text() for name in FILES]


def said(copied: int, folder, kept=()) -> str:
    lines = [f"Kept as you changed it: {name}" for name in kept]
    return "\n".join([f"{copied} of 2 files copied to {folder}.", *lines])


def test_a_newer_edition_replaces_what_was_not_touched_and_nothing_else(home, tmp_path):
    mine = tmp_path / "mine"
    assert copy_lessons(mine, home) == said(2, mine)
    assert copy_lessons(mine, home) == said(0, mine), "a second call finds everything there"
    (mine / TWO).write_text("my notes")
    for name in FILES:
        (home / name).write_text(f"{name}, second edition")
    assert copy_lessons(mine, home) == said(1, mine, [TWO])
    assert texts(mine) == [f"{ONE}, second edition", "my notes"]
    (mine / TWO).unlink()
    assert copy_lessons(mine, home) == said(1, mine), "a file that was deleted comes anew"
    assert texts(mine) == [f"{name}, second edition" for name in FILES]
    assert sorted(path.name for path in mine.rglob("*") if path.is_file()) == [RECORD, "one.md", "two.ipynb"]


@pytest.mark.parametrize("record", ["", "[]", "{"])
def test_what_was_there_before_is_the_readers_whatever_the_record_says(home, tmp_path, record):
    mine = tmp_path / "mine"
    (mine / TWO).parent.mkdir(parents=True)
    (mine / TWO).write_text("my notes")
    (mine / RECORD).write_text(record)
    assert copy_lessons(mine, home) == said(1, mine, [TWO])
    assert texts(mine) == [f"{ONE}, first edition", "my notes"]


def test_a_file_in_the_way_of_a_folder_is_told_in_a_sentence(home, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/docs").write_text("a file of mine")
    with pytest.raises(ValueError, match="mine/docs.* cannot be written"):
        copy_lessons(tmp_path / "mine", home)


def test_the_clone_itself_is_left_as_it_is(tmp_path):
    assert copy_lessons(forgetkit.HOME) == f"{forgetkit.HOME} holds the lessons themselves."
    assert not (forgetkit.HOME / RECORD).exists()


def test_jupyterlab_is_opened_on_lesson_00_with_the_readers_options(tmp_path, monkeypatch, capsys):
    (tmp_path / "jupyterlab.py").write_text(
        "import os, sys; print(os.getcwd(), *sys.argv[1:], flush=True); sys.exit(3)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [])
    mine = tmp_path / "mine"
    with pytest.raises(SystemExit) as ended:
        cli.main(["lab", str(mine), "--", "--no-browser"])
    assert ended.value.code == 3, "JupyterLab's own exit status"
    said = capsys.readouterr().out
    assert f"copied to {mine}." in said
    assert said.endswith(f"{mine} --ServerApp.root_dir={mine} --no-browser notebooks/00_quickstart.ipynb\n")
    lessons = {path.name for path in (forgetkit.HOME / "notebooks").glob("*.ipynb")}
    assert {path.name for path in (mine / "notebooks").glob("*.ipynb")} == lessons
    assert (mine / "docs/figures/default.png").exists() and (mine / "notebooks/sweeps/sixty.yaml").exists()
