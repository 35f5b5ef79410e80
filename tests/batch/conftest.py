"""A folder to sweep in."""

import sys

import pytest
from sweep_tools import WORK


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a module of functions, which is also where the test runs."""
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "work", raising=False)
    return tmp_path
