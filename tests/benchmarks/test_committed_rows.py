"""The committed rows are whole, and README's and the docs' tables and figures are what the rows make of them."""

import inspect
import re
from pathlib import Path

import pytest
import torch

from benchmarks.ablations import by_stage
from benchmarks.baselines import BASELINES
from benchmarks.benchmark import GRIDS, TUNED_ON, best_setting
from benchmarks.results import missing
from benchmarks.studies import STUDIES
from benchmarks.tables import TABLES
from benchmarks.tables.__main__ import BLOCK, pages, pictures, rendered
from forgetkit import Recipe
from forgetkit.auditing import limits
from forgetkit.lessons.committed import RESULTS, committed
from forgetkit.models.loading import EMBEDDED

ROOT = Path(__file__).resolve().parents[2]
CORE = [name for name, study in STUDIES.items() if study.core]
# What is told apart in a file; such rows stand there once. Beside the key of its runs: the column that tells its rows.
KEYS = {name: [*STUDIES[name].key] for name in CORE} | {
    "real": ["model", "pixels", "method", "kind", "subgroup", "seed"], "mini-clip": ["model", "set"],
    "settings": ["method", "setting", "kind", "subgroup", "seed"], "families": ["family"],
    "small": ["pictures", "subgroup", "model"],
}  # fmt: skip
ROW_OF = {
    "audit": ["method", "measure"], "quickstart": ["model"], "sensitivity": ["model"], "unshown": ["method"],
}  # fmt: skip
BY_HAND = {"minutes", "tuning"}
FACTS = {"bridge"}  # a table of facts, one a line: no run, no device


@pytest.mark.parametrize("file", KEYS)
def test_no_row_stands_twice_and_each_says_where_it_was_made(file):
    rows, key = committed(file), KEYS[file] + ROW_OF.get(file, [])
    assert not rows.duplicated(key).any()
    assert rows[[*key, "torch", "open_clip", "device"]].notna().all(axis=None)


@pytest.mark.parametrize("file", ["benchmark", "quickstart", "real", "sensitivity", "settings"])
def test_every_result_has_its_accuracies_and_a_score_and_every_original_none(file):
    rows = committed(file)
    assert rows[["target", "retain"]].notna().all(axis=None)
    original = rows.get("method", rows.get("model")) == "original"
    assert rows.loc[~original, "score"].between(0, 100).all()
    assert rows.loc[original, "score"].isna().all() or file == "quickstart"


@pytest.mark.parametrize("file", CORE)
def test_every_row_that_the_pages_need_is_there_and_made_by_this_code(file):
    rows, lacking = missing(ROOT / RESULTS, file, torch.device("cpu"))
    if "made_by" not in rows.table:
        pytest.skip("it is older than the column")
    told = f"{len(lacking)} runs of {file}.csv lack or are stale, such as {lacking[:3]}: run `make results`"
    assert not lacking, told
    assert set(rows.keys()) == set(rows.order), f"{file}.csv has rows that no page needs"


def test_every_setting_was_tried_and_the_best_is_the_one_in_use():
    settings = committed("settings")
    searched = {name: grid for name, grid in GRIDS.items() if name != "default"}  # chosen before: tuning.csv, depth.csv
    for method, grid in searched.items():
        found = settings[settings["method"] == method].groupby(["kind", "subgroup"])["setting"].nunique()
        tried = [found.get(of, 0) for of in TUNED_ON]
        assert tried[0] == len(grid) and tried[1] >= -(-len(grid) // 3), method
        assert all(tried) or method != "paper"
        chosen = best_setting(settings, method)
        if method in BASELINES:
            used = {k: p.default for k, p in inspect.signature(BASELINES[method]).parameters.items()}
            assert {k: used[k] for k in chosen} == chosen, f"{method} does not use the setting that validated best"
        else:
            assert Recipe.named(method) == Recipe.named(method, 0, **by_stage(chosen)), method


def test_no_oracle_gives_the_name_of_what_it_never_saw():
    rows = committed("mini-clip")
    found = rows[rows["set"].str.startswith("photos of a ")].pivot(index="model", columns="set", values="top1")
    oracles = [name for name in EMBEDDED if "-without-" in name]
    assert oracles
    for name in oracles:
        missing = f"photos of a {name.partition('-without-')[2]}"
        assert found.loc[name, missing] == 0 < found.loc["mini-clip", missing]
        assert found.loc[name].drop(missing).min() > 50, "the rest it knows"


def test_fixed_limits_of_the_audit_are_the_oracles_share_and_a_twentieth():
    rows = committed("audit").query("subgroup == 'cat' and seed == 0")
    found = rows.pivot(index="method", columns="measure", values="value")
    lines = {name: line for name, line in limits.LINES.items() if line.rests_on == limits.CATS}
    assert len(lines) == 11
    for name, line in lines.items():
        limit, _ = line.limit(100.0, 0.0, None)
        share = 100 * found.loc["mini-clip-without-cat", name] / found.loc["original", name] + limits.SLACK
        assert float(limit.removeprefix("<= ")) == pytest.approx(share, abs=1), name


# --------------------------------------------------------------------------------------------------
# Pages


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.name)
def test_tables_and_numbers_in_the_text_are_those_of_the_rows(page):
    text = page.read_text(encoding="utf-8")
    assert rendered(page, ROOT / RESULTS) == text, f"{page.name} is stale: run `python -m benchmarks.tables`"


def test_every_table_stands_on_a_page():
    names = {match[2] for page in pages(ROOT) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert names == {*TABLES}


def test_every_figure_that_rows_make_is_there_and_shown(request):
    folder = request.config.rootpath / "docs"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md"))
    text += (request.config.rootpath / "forgetkit/models/mini/README.md").read_text(encoding="utf-8")
    for name in pictures(folder / "results"):
        assert (folder / f"figures/{name}.png").exists() and f"figures/{name}.png)" in text, name


def test_every_file_of_rows_says_what_made_it_and_one_command_makes_all_that_can_be_made_here(request):
    folder, root = request.config.rootpath / RESULTS, request.config.rootpath
    page, makefile = ((root / name).read_text(encoding="utf-8") for name in ("docs/results/README.md", "Makefile"))
    listed = {file: told for first, told in re.findall(r"^\|(`[^|]+)\|([^|]+)\|", page, re.M)
              for file in re.findall(r"`([\w-]+)\.csv`", first)}  # fmt: skip
    assert {*listed} == {path.stem for path in folder.glob("*.csv")}
    finished = {file for file, told in listed.items() if told.startswith("kept as")}
    commands = {file: re.match(r"`(make [\w-]+|python -m [^`]+)`", told) for file, told in listed.items()}
    assert {file for file, command in commands.items() if not command} == finished | BY_HAND
    made = {file: command[1] for file, command in commands.items() if command}
    assert {file for file, command in made.items() if command == "make results"} == {*CORE} | FACTS
    assert all(f"$(BIN)/{command}" in makefile or command.startswith("make ") for file, command in made.items()
               if file != "real"), "its weights are not ours"  # fmt: skip
    assert {*KEYS} == {*listed} - finished - BY_HAND - FACTS, "rows of which nothing is checked above"
