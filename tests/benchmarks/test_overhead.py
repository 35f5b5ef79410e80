"""What `python -m benchmarks.overhead` measures, in small; bounds on times are checked on the committed rows."""

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import overhead

pytestmark = pytest.mark.slow


def test_plain_papermill_and_a_sweep_are_timed(tmp_path):
    found = overhead.papermill(tmp_path, 2, overhead.trivial(tmp_path))
    (plain, unit), (swept, _), (more, _) = found.values()
    assert unit == "s a run" and min(plain, swept) > 0 and more == pytest.approx(100 * (swept / plain - 1))
    assert len([*(tmp_path / "out").glob("*-*/table.csv")]) == 2 and (tmp_path / "plain/table.csv").exists()


def test_workers_are_timed(tmp_path):
    *_, (against, unit) = overhead.workers(tmp_path, 2, overhead.trivial(tmp_path)).values()
    assert against > 0 and unit == "times as fast"


def test_a_run_that_fails_has_no_time(tmp_path):
    with pytest.raises(RuntimeError, match="run it by hand: papermill none.ipynb"):
        overhead.seconds(tmp_path, ["papermill", "none.ipynb", "out.ipynb"])


def test_memory_is_watched_over_many_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(overhead.MEASURES, "many", lambda folder: overhead.many(folder, 12))
    done = CliRunner().invoke(overhead.main, ["many", "--out", str(tmp_path / "batch.csv")])
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(tmp_path / "batch.csv")
    assert rows["unit"].tolist() == ["s a run", "s a run", "MB", "MB"] and (rows["value"] > 0).all()
    assert {"cores", "torch", "device"} <= set(rows)


def test_kill_9_at_random_moments_loses_and_doubles_nothing(tmp_path):
    _, (again, _), (wrong, _) = overhead.kill(tmp_path, 10, kills=3).values()
    assert again == wrong == 0
