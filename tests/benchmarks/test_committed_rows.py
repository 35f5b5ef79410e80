"""The committed rows are whole, and README's and the docs' tables and figures are what the rows make of them."""

import inspect
import itertools
import re
from pathlib import Path

import pytest

from benchmarks.ablations import by_stage
from benchmarks.audit import SUBGROUPS as AUDITED
from benchmarks.baselines import BASELINES
from benchmarks.benchmark import ABLATED_ON, GRIDS, KEY, SEEDS, SUBGROUPS, TUNED_ON, all_methods, best_setting
from benchmarks.studies import BLENDS, KNOBS, METHODS, QUICKSTART, REQUESTS, STUDIED
from benchmarks.tables import TABLES
from benchmarks.tables.__main__ import BLOCK, pages, pictures, rendered
from forgetkit import Recipe
from forgetkit.auditing import limits
from forgetkit.lessons.committed import RESULTS, committed, whole
from forgetkit.models.loading import EMBEDDED

ROOT = Path(__file__).resolve().parents[2]
# What is told apart in a file; such rows stand there once.
KEYS = {
    "audit": [*KEY, "measure"], "benchmark": KEY, "cost": ["what", "unit", "device"],
    "front": [*KEY, "alpha"], "mini-clip": ["model", "set"],
    "quickstart": ["kind", "forget", "model"], "real": ["model", "pixels", *KEY], "requests": ["method", "request"],
    "sensitivity": ["knob", "value", "kind", "subgroup", "seed", "model"],
    "settings": ["method", "setting", "kind", "subgroup", "seed"],
}  # fmt: skip
BY_HAND = {"minutes", "tuning"}
FACTS = {"bridge"}  # a table of facts, one a line: no run, no device


@pytest.mark.parametrize("study", KEYS)
def test_no_row_stands_twice_and_each_says_where_it_was_made(study):
    rows = committed(study)
    assert not rows.duplicated(KEYS[study]).any()
    assert rows[[*KEYS[study], "torch", "open_clip", "device"]].notna().all(axis=None)


@pytest.mark.parametrize("study", ["benchmark", "front", "quickstart", "real", "sensitivity", "settings"])
def test_every_result_has_its_accuracies_and_a_score_and_every_original_none(study):
    rows = committed(study)
    assert rows[["target", "retain"]].notna().all(axis=None)
    original = rows.get("method", rows.get("model")) == "original"
    assert rows.loc[~original, "score"].between(0, 100).all()
    assert rows.loc[original, "score"].isna().all() or study == "quickstart"


def test_the_benchmark_has_every_method_on_every_subgroup_with_every_seed():
    rows = committed("benchmark")
    found = set(rows[KEY].itertuples(index=False, name=None))
    wanted = {("original", *of, 0) for of in SUBGROUPS}
    for method in all_methods():
        of = SUBGROUPS if whole(method) else ABLATED_ON
        wanted |= {(method, *subgroup, seed) for subgroup, seed in itertools.product(of, SEEDS)}
    assert found == wanted


def test_studies_lack_no_run():
    front, sensitivity, quickstart = (committed(name) for name in ("front", "sensitivity", "quickstart"))
    assert len(front) == len(METHODS) * (len(STUDIED) + 1) * len(BLENDS)
    assert len(sensitivity) == 2 * 3 * sum(map(len, KNOBS.values())) and set(sensitivity["knob"]) == {*KNOBS}
    assert len(quickstart) == 4 * len(QUICKSTART)
    assert {*METHODS} <= set(committed("cost").query("unit == 's'")["what"])
    requests = committed("requests")
    assert requests.query("method == 'default'")["subgroup"].tolist() == [*REQUESTS]
    audit = set(committed("audit")[KEY].itertuples(index=False, name=None))
    assert {("original", *of, 0) for of in AUDITED} <= audit
    assert {("default", *of, seed) for of, seed in itertools.product(AUDITED, SEEDS)} <= audit


def test_every_setting_was_tried_and_the_best_is_the_one_in_use():
    settings = committed("settings")
    searched = {name: grid for name, grid in GRIDS.items() if name != "default"}  # chosen before: tuning.csv, depth.csv
    for method, grid in searched.items():
        found = settings[settings["method"] == method].groupby(["kind", "subgroup"], sort=False)["setting"].nunique()
        assert found.to_dict() == dict(zip(TUNED_ON, (len(grid), -(-len(grid) // 2)))), method
        chosen = best_setting(settings, method)
        if method in BASELINES:
            used = {k: p.default for k, p in inspect.signature(BASELINES[method]).parameters.items()}
            assert {k: used[k] for k in chosen} == chosen, f"{method} does not use the setting that validated best"
        else:
            assert Recipe.named(method) == Recipe.named(method, 0, **by_stage(chosen)), method


def test_the_margin_is_the_one_that_validated_best_within_one_label():
    best, recipe = committed("margin").groupby("margin")["score"].mean().idxmax(), Recipe.default()
    assert recipe.forget.margin == recipe.remind.margin == best


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
    lines = {name: line for name, line in limits.lines(()).items() if line.rests_on == limits.CATS}
    assert len(lines) == 11
    for name, line in lines.items():
        limit, _ = line.rule(100.0, 0.0, None)
        share = 100 * found.loc["mini-clip-without-cat", name] / found.loc["original", name] + limits.SLACK
        assert float(limit.removeprefix("<= ")) == pytest.approx(share, abs=1), name


# --------------------------------------------------------------------------------------------------
# Pages


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.name)
def test_tables_and_numbers_in_the_text_are_those_of_the_rows(page):
    text = page.read_text(encoding="utf-8")
    assert rendered(page, ROOT / RESULTS) == text, f"{page.name} is stale: run `python -m benchmarks.tables`"


def test_every_table_stands_on_one_page():
    names = [match[2] for page in pages(ROOT) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(names) == sorted(TABLES)


def test_every_figure_that_rows_make_is_there_and_shown(request):
    folder = request.config.rootpath / "docs"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md"))
    text += (request.config.rootpath / "forgetkit/models/mini/README.md").read_text(encoding="utf-8")
    for name in pictures(folder / "results"):
        assert (folder / f"figures/{name}.png").exists() and f"figures/{name}.png)" in text, name


def test_every_file_of_rows_says_what_made_it_and_one_command_makes_all_that_can_be_made_here(request):
    folder, root = request.config.rootpath / RESULTS, request.config.rootpath
    page, makefile = ((root / name).read_text(encoding="utf-8") for name in ("docs/results/README.md", "Makefile"))
    listed = {file: told for first, told in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", page, re.M)
              for file in re.findall(r"`([\w-]+)\.csv`", first)}  # fmt: skip
    assert {*listed} == {path.stem for path in folder.glob("*.csv")}
    finished = {file for file, told in listed.items() if told.startswith("kept as")}
    commands = {file: re.match(r"`(python -m [^`]+)`", told) for file, told in listed.items()}
    assert {file for file, command in commands.items() if not command} == finished | BY_HAND
    elsewhere = [file for file, command in commands.items() if command and f"$(BIN)/{command[1]}" not in makefile]
    assert elsewhere == ["real"], "its weights are not ours"
    assert {*KEYS} == {*listed} - finished - BY_HAND - FACTS, "rows of which nothing is checked above"
