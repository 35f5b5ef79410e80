"""The tidy table of a sweep, its summary, its figures and its images: one bad run costs one row."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from forgetkit.__main__ import forgetkit
from forgetkit.batch import table as results


def leave(name: str, table=None, folder="out", **result) -> Path:
    """A run's folder with a result and, as text or bytes, a table."""
    run = Path(folder) / f"{name}-{abs(hash(name)) % 16**10:010x}"
    run.mkdir(parents=True)
    note = {"task": "rows", "status": "done", "seconds": 2.0, "peak_mb": 90, "commit": "c", "source": "s", "ended": 1}
    (run / "result.json").write_text(json.dumps({**note, "parameters": {}, **result}))
    if table is not None:
        (run / "table.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return run


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """Six runs; one has failed."""
    monkeypatch.chdir(tmp_path)
    for a, seed in [(1, 0), (1, 1), (1, 2), ("x", 0), ("x", 1), ("x", 2)]:
        bad = {"status": "failed", "error": "E: e"} if (a, seed) == ("x", 2) else {}
        parameters = {"a": a, "seed": seed, "pair": [1, 2]}
        leave(f"rows-{a}{seed}", f"a,score\n5,{10 * seed + (a == 1)}\n", parameters=parameters, commit=f"c{a}", **bad)
    return Path("out")


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(forgetkit, arguments)
    return done.exit_code, done.output + str(done.exception or "")


def test_the_table_is_tidy_and_both_files_hold_it(swept):
    results.write(table := results.gather(swept), swept)
    wanted = ["run", "task", "a", "seed", "pair", "table_a", "score", "status", "error", "seconds", "peak_mb", "commit"]
    assert list(table) == [*wanted, "source", "versions"], "a column of the same name as a parameter is told apart"
    assert set(table["a"]) == {"1", '"x"'} and set(table["pair"]) == {"[1, 2]"}
    failed = table[table["status"] == "failed"]
    assert len(table) == 6 and failed["error"].tolist() == ["E: e"] and failed["score"].isna().all()
    for kept in (pd.read_csv(swept / "results.csv"), pd.read_parquet(swept / "results.parquet")):
        assert list(kept) == list(table) and ((kept == table) | (kept.isna() & table.isna())).all(axis=None)
    assert not list(swept.glob(".*.csv"))


def test_the_summary_is_mean_and_spread(swept):
    table = results.gather(swept)
    by, values = results.columns(table)
    assert by == ["a"] and values == ["table_a", "score"]
    assert results.columns(table.assign(a=1.0 * table["seed"]), values=["a"])[0] == [], "a value is no group"
    summary = results.summarise(table, by, ["score"])
    assert summary["score"].to_dict() == {"1": "11.0 ± 10.0", '"x"': "5.0 ± 7.1"}
    assert summary["n"].to_dict() == {"1": 3, '"x"': 2}
    code, said = call("summary", str(swept), "--values", "score", "--by", "a,seed")
    assert code == 0 and "6 runs: 5 done, 1 failed" in said and "2 states of the code: c1, cx" in said
    assert (swept / "figures/score.png").stat().st_size > 5000
    for wrong, message in ((["--by", "b"], "no column 'b'"), (["--values", "a"], "no column of numbers")):
        assert message in call("summary", str(swept), *wrong)[1]


def summed(runs: list[tuple[dict, str]], **asked) -> pd.DataFrame:
    for i, (parameters, table) in enumerate(runs):
        leave(f"rows-{i:02}", table, "sum", parameters=parameters)
    return results.summarise(table := results.gather("sum"), *results.columns(table, **asked))


def test_what_differs_is_not_one_group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = [None, 7, "7", "007", True, "True", "None", "NA", [1], "[1]", 10**400, ""]
    found = summed([({"a": value, "seed": 0}, f"v\n{i}\n") for i, value in enumerate(values)])
    assert found["v"].tolist() == [f"{i}.0" for i in range(len(values))] and set(found["n"]) == {1}
    assert list(found.index[:6]) == ["(none)", "7", '"7"', '"007"', "true", '"True"']


@pytest.mark.parametrize("words", [["007", "7"], ["NA", "None", "null", "nan", "", "DE"], ["True", "False"]])
def test_words_of_a_table_stay_words(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = "label,acc\n" + "".join(f"{word},{10 * i}\n" for i, word in enumerate(words))
    found = summed([({"seed": seed}, table) for seed in range(2)])
    assert list(found.index) == [word or "(none)" for word in words] and set(found["n"]) == {2}
    assert found["acc"].tolist() == [f"{10 * i}.0 ± 0.0" for i in range(len(words))]


def test_n_counts_what_was_averaged_and_names_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = summed(
        [({"seed": i}, f"v,w,x\n{v},1,{x}\n") for i, (v, x) in enumerate([(1, 5), ("nan", 6), ("inf", "?")])]
    )
    assert found.loc["all"].tolist() == ["1.0 (n 1)", "1.0 ± 0.0", "5.5 ± 0.7 (n 2)", 3]
    assert [said.partition(" is no number in ")[0] for said in found.attrs["without"]] == ["v", "x"]
    assert found.attrs["without"][0].count("rows-") == 2


def test_a_spread_is_over_runs_and_numbers_have_the_digits_they_need(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = "".join(f"class {k},{5 * k},{0.0012 + 1e-4 * k / 6}\n" for k in range(13))
    found = summed([({"seed": seed}, f"label,acc,loss\n{labels}") for seed in range(3)])
    assert found.loc["all"].tolist() == ["30.0 ± 0.0", "0.0013 ± 0.0000", 3]
    assert results._figures(0.0013, 0.0001) == "0.0013 ± 0.0001" and results._figures(90.25, 0.04) == "90.25 ± 0.04"


@pytest.mark.slow
def test_odd_names_have_a_figure_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(2):
        leave(f"rows-{i}", f"准确率,召回率,cost $_$\n{i},{i},{i}\n", parameters={"a": ["$x^$", "$\\frac$" * 900][i]})
    code, said = call("summary", "out")
    assert code == 0 and len(list(Path("out/figures").glob("*.png"))) == 3, said


BAD = {
    "ragged": (b"x,y\n1,2\n1,2,3\n", {}, "row 2 is longer than its header"),
    "long": (b"x,y\n1,2,3\n", {}, "longer than its header"),
    "empty": (b"", {}, "no rows"),
    "latin": ("größe\n1\n".encode("latin-1"), {}, "can't decode"),
    "twice": (b"x,x\n1,2\n", {}, "two columns are called 'x'"),
    "rows": (b"x,y\n", {}, "no rows"),
    "none": (None, {}, "no table.csv"),
    "old": (b"score\n1\n", {"source": None, "commit": None, "seconds": "long"}, None),
    "status": (b"score\n1\n", {"status": "fine"}, "neither done nor failed"),
    "versions": (b"score\n1\n", {"versions": ["torch"]}, "neither done nor failed"),
    "huge": (f"score,table_a\n1,{10**30}\n".encode(), {"parameters": {"a": 10**40, "status": 3}}, None),
    "surrogate": (b"score\n1\n", {"parameters": {"a\ud800": "b\ud800"}}, None),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_run_costs_one_row(swept, name):
    table, result, wanted = BAD[name]
    run = leave(f"bad-{name}", table, **result)
    results.write(found := results.gather(swept), swept)
    row = found[found["run"] == run.name]
    assert len(found) == 7 and len(row) == 1 and found["score"].notna().sum() >= 5
    assert wanted is None or wanted in row["error"].item()
    assert len(pd.read_csv(swept / "results.csv")) == len(pd.read_parquet(swept / "results.parquet")) == 7
    code, said = call("summary", str(swept), "--no-figures")
    assert code == 0 and "11.0 ± 10.0" in said.replace("10.8 ± 9.0", "11.0 ± 10.0"), said


def test_tables_and_results_that_are_folders(swept):
    leave("folder").joinpath("table.csv").mkdir()
    (swept / "result-0123456789/result.json").mkdir(parents=True)
    (swept / "mine-notes.txt").write_text("no run")
    (swept / "file-0123456789").write_text("nor this")
    results.write(found := results.gather(swept), swept)
    assert len(found) == 8 and found["status"].value_counts()["damaged"] == 2


READ_ONLY = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: what is run next obeys modes, root or not
os.execv(sys.executable, [sys.executable, "-m", "forgetkit", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="root may write anywhere, and only Linux lets it give that up")
@pytest.mark.parametrize(
    "command, status, message",
    [
        (["summary", "out", "--values", "score"], 1, "out cannot be written (Permission denied): no table"),
        (["batch", "s.yaml", "--out", "out/sub/new"], 2, "new cannot be the sweep's folder: Permission denied."),
    ],
    ids=["summary", "batch"],
)
def test_a_folder_that_cannot_be_written_is_told(swept, command, status, message):
    Path("s.yaml").write_text("function: json:dumps\ngrid: {obj: 1}\n")
    (swept / ".sweep").mkdir()
    swept.chmod(0o555)
    try:
        done = subprocess.run([sys.executable, "-c", READ_ONLY, *command], capture_output=True, text=True)
    finally:
        swept.chmod(0o755)
    assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert ("11.0 ± 10.0" in done.stdout) == (command[0] == "summary"), "what was found is said all the same"
    assert all(path.is_dir() for path in swept.iterdir()), "nothing is left there"
