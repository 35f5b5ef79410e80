"""What a GPU makes of it: refused where there is none, unless it is asked for in small; rows beside the committed."""

import pandas as pd
from click.testing import CliRunner

from benchmarks import gpu


def test_without_a_gpu_only_the_small_trial_runs(monkeypatch, tmp_path):
    refused = CliRunner().invoke(gpu.main, ["--device", "cpu"])
    assert refused.exit_code == 1 and "make gpu DEVICE=cpu SMALL=1" in refused.output
    row = {"method": "ga", "kind": "class", "subgroup": "cat", "seed": 0, "score": 90.0, "target": 1.0, "seconds": 2.0}
    monkeypatch.setattr(gpu, "OUT", tmp_path)
    (tmp_path / "results").mkdir()
    pd.DataFrame([row | {"torch": "2", "device": "it"}]).to_csv(tmp_path / "results/benchmark.csv", index=False)
    monkeypatch.setattr(gpu, "committed", lambda _: pd.DataFrame([row | {"score": 91.0, "seconds": 9.0}]))
    called = []
    monkeypatch.setattr(gpu.subprocess, "run", lambda command, check: called.append(command))
    done = CliRunner().invoke(gpu.main, ["--device", "cpu", "--small"])
    assert done.exit_code == 0, done.output
    assert [command[2] for command in called] == ["forgetkit", "benchmarks.results"]
    assert {"cpu", "projection", "truck sketches"} <= set(called[1])
    table = pd.read_csv(tmp_path / "cuda.csv")
    assert table["method"].tolist() == ["forgetkit run", "ga"], "in small, docs/results is left alone"
    assert table.loc[1, ["score", "score committed", "seconds committed"]].tolist() == [90.0, 91.0, 9.0]
