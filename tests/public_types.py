"""Every public name, called as its callers call it: what mypy reads, and nobody runs.

A line that is wrong on purpose says so with `type: ignore`; where it is not wrong, mypy tells (`warn_unused_ignores`).
"""

from pathlib import Path

import pandas as pd

import forgetkit


def the_method() -> pd.DataFrame:
    clip: forgetkit.Clip = forgetkit.load_clip("mini", device="cpu")
    sets: forgetkit.ModelSets = forgetkit.tutorial_sets("cat", 0, n_forget=10).on(clip)
    recipe: forgetkit.Recipe = forgetkit.Recipe.default()
    stage1: forgetkit.Clip = forgetkit.forget(clip, sets, recipe.forget)
    reminded: forgetkit.Clip = forgetkit.remind(stage1, clip, sets, recipe.remind)
    restored: forgetkit.Clip = forgetkit.restore(reminded, clip, sets, recipe.restore)
    stages: list[forgetkit.Clip] = forgetkit.unlearn(clip, sets, recipe)
    restored.save("my-model", subgroup=sets.subgroup, recipe=recipe)
    found = forgetkit.audit(clip, stages[-1], sets)
    print(found.table, found.alarms)
    return forgetkit.evaluate([clip, stage1, reminded, restored], sets.test)


def the_numbers(clip: forgetkit.Clip, sets: forgetkit.ModelSets, table: pd.DataFrame) -> list[str]:
    before: dict[str, float] = forgetkit.accuracies(clip, sets.test, sets.head)
    print(forgetkit.score(before, before) + 1.0)
    return forgetkit.alarms(table)


def your_own(folder: Path) -> forgetkit.Splits:
    from forgetkit.data.folders import scan

    grouped: forgetkit.Grouped = scan(folder, 64).group("red", ["green", "blue"])
    return forgetkit.split(grouped, n_forget=5)


def wrong(clip: forgetkit.Clip, sets: forgetkit.Splits) -> None:
    forgetkit.load_clip(3)  # type: ignore[arg-type]
    forgetkit.evaluate(clip, sets.test)  # type: ignore[arg-type]
    forgetkit.tutorial_sets("cat", seed="one")  # type: ignore[arg-type]
    forgetkit.Subgroup("red")  # type: ignore[call-arg]
    forgetkit.forgett  # type: ignore[attr-defined]
