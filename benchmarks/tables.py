"""Tables and figures in README and docs, made from committed rows: `python -m benchmarks.tables` rewrites them.

A block `<!-- table: NAME -->` ... `<!-- end -->` holds what the table NAME makes of `docs/results` (`shown`).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import click
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import deeper, figures  # noqa: F401  (deeper registers tables)
from benchmarks.benchmark import best_setting
from benchmarks.benchmarked import whole_methods
from benchmarks.rows import kept_at_target, trade_off
from benchmarks.shown import made, picked, table
from forgetkit.lessons.committed import KEPT, RESULTS, before_and_after
from forgetkit.models.loading import EMBEDDED
from forgetkit.recipe import Recipe

FILES = (
    "README.md", "docs/method.md", "docs/benchmark.md", "docs/models.md", "docs/batches.md", "docs/audit.md",
    "docs/development.md", "forgetkit/models/mini/README.md",
)  # fmt: skip
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)


# Short pre-trainings, each without one idea.
table("pretraining")(picked(
    idea="run", images="images", **{name: name for name in ("cifar10", "fashion", "quickdraw", "unseen", "emoji")},
    cpu_seconds="CPU s", device="device",
))  # fmt: skip


@table("mini-clip")
def mini_clip_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Zero-shot accuracy of the embedded model and its oracles per set."""
    names = {"set": "set", "images": "test images", "classes": "classes", "chance": "chance (%)"}
    wide = rows.pivot(index="set", columns="model", values="top1")[[*rows["model"].unique()]]
    first = rows.drop_duplicates("set").set_index("set")
    return first.reset_index()[[*names]].rename(columns=names).join(wide.add_suffix(" (%)"), on="set")


@table("quickstart")
def quickstart_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup: accuracies before → after forgetting it."""
    lines = []
    for (kind, subgroup), found in rows.groupby(["kind", "forget"], sort=False):
        before, after = (found[found["model"] == model] for model in ("original", "restore"))
        score = f"{after['score'].mean():.1f}"
        lines.append({"kind": kind, "forget": subgroup, **before_and_after(before, after), "Score": score})
    return pd.DataFrame(lines)


@table("first", "benchmark", "real")
def first_table(rows: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """One line a kind (but a whole style) and one of a real CLIP, the first subgroup of each by `default`, seed 0.

    The target, the mean of the columns kept, and how much of the target a linear probe finds: before → after.
    """
    rows, lines = pd.concat([rows, real.assign(kind=real["model"])]), []
    rows = rows[rows["method"].isin(["original", "default"]) & (rows["seed"] == 0) & (rows["kind"] != "whole style")]
    for kind, found in rows.groupby("kind", sort=False):
        name = found["subgroup"].iloc[0]
        found = found[found["subgroup"] == name].drop_duplicates("method").set_index("method")
        found["kept"] = found[[*found.columns.intersection(KEPT)]].mean(axis=1)
        shown = {"target": "target", "kept": "kept", "probe recall": "target, by a probe"}
        change = {title: f"{found[c]['original']:.1f} → {found[c]['default']:.1f}" for c, title in shown.items()}
        lines.append({"forget": f"{kind}: {name}", **change})
    return pd.DataFrame(lines)


@table("soup")
def soup_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup: target and Score along the soup's path on validation images, and what was chosen."""
    rows, lines = rows.query("alpha >= 0.6"), []
    for subgroup, found in rows.groupby("subgroup", sort=False):
        line = {"target": subgroup}
        line |= {f"α {row.alpha:g}": f"{row.target:.1f} / {row.score:.1f}" for row in found.itertuples()}
        line["chosen"], line["of images"] = f"{found['chosen'].iloc[0]:g}", found["calibration_target"].iloc[0]
        lines.append(line)
    return pd.DataFrame(lines)


@table("front")
def front_table(rows: pd.DataFrame, level: float = 20.0) -> pd.DataFrame:
    """One line a method: what its path from the original keeps where `level` percent of the target are left."""
    lines = {}
    for (method, kind, name), path in rows.groupby(["method", "kind", "subgroup"], sort=False):
        lines.setdefault(method, {"method": method})[f"{kind} {name}"] = kept_at_target(trade_off(path), level)
    shown = pd.DataFrame(lines.values())
    means = shown.drop(columns="method").mean(axis=1, skipna=False)
    return shown.assign(mean=means).sort_values("mean", ascending=False, na_position="last")


@table("settings")
def settings_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The setting each method was given, its validation Score on each subgroup tuned on, and the worst on the first."""
    rows, lines = rows[rows["method"] != "original"], []
    rows = rows.assign(of=rows["kind"] + " " + rows["subgroup"])
    tuned_on = [*rows["of"].unique()]
    for method, found in rows.groupby("method", sort=False):
        best, scores = best_setting(rows, method), found.pivot(index="setting", columns="of", values="score")[tuned_on]
        text = ", ".join(f"{n}={v if isinstance(v, str) else format(v, 'g')}" for n, v in best.items())
        line = {"method": method, "setting": text, **scores.loc[json.dumps(best, sort_keys=True)]}
        lines.append({**line, f"worst on {tuned_on[0]}": scores[tuned_on[0]].min()})
    shown = pd.DataFrame(lines)
    return shown.loc[shown[tuned_on].mean(axis=1).sort_values(ascending=False).index]


@table("cost")
def cost_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Seconds and peak memory of each method, once, alone on the machine."""
    rows = rows[rows["unit"].isin(["s", "MB"])].pivot(index=["device", "what"], columns="unit", values="value")
    rows = rows.sort_values("s").reset_index().rename(columns={"what": "method", "s": "seconds", "MB": "peak MB"})
    return rows[["method", "seconds", "peak MB", "device"]].astype({"peak MB": int})


@table("speed", "cost")
def speed_table(rows: pd.DataFrame) -> pd.DataFrame:
    """images/s of the stages' steps against plain training steps of the same model at the same batch."""
    lines = []
    for device, found in rows.query("unit == 'images/s'").groupby("device"):
        for stage, plain in zip(found.iloc[::2].itertuples(), found.iloc[1::2].itertuples()):  # rows come in pairs
            line = {"steps of": stage.what, "images/s": stage.value, "beside": plain.what, "its images/s": plain.value}
            lines.append(line | {"ratio": f"{stage.value / plain.value:.2f}", "device": device})
    return pd.DataFrame(lines)


@table("batch")
def batch_table(rows: pd.DataFrame) -> pd.DataFrame:
    """What sweeps cost, a figure a line."""
    rows["measured"] = [f"{value:.4g} {unit}" for value, unit in zip(rows["value"], rows["unit"])]
    return rows[["what", "measured", "device"]].rename(columns={"what": ""})


@table("vit")
def vit_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a subgroup and alignment: mean over seeds, Score also with its standard deviation, cost of stage 2."""
    lines = []
    for (subgroup, alignment), runs in rows.groupby(["subgroup", "alignment"], sort=False):
        before, reminded, after = (runs[runs["model"] == name] for name in ("original", "remind", "restore"))
        line = {"forget": subgroup, "alignment": alignment, "seeds": len(after), **before_and_after(before, after)}
        line["Score"] = f"{after['score'].mean():.1f} ± {after['score'].std():.1f}"
        lines.append(line | {"seconds of stage 2": f"{reminded['seconds'].mean():.0f}"})
    return pd.DataFrame(lines)


@table("throughput", "gpu")
def throughput_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a model and stage: images/s beside those of a plain training step and of the floor; peak memory."""
    shown = picked(
        model="model", batch="batch", stage="stage", images_s="images/s", ratio="ratio to plain",
        floor_share="% of the floor's speed", peak_mb="peak MB", device="device",
    )  # fmt: skip
    return shown(rows.assign(ratio=rows["ratio"].map("{:.2f}".format)))


@table("memory")
def memory_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a model and stage: what a step holds at most, and with the weights of the models."""
    rows = rows.rename(columns={"held_gb": "step (GB)", "weights_gb": "weights (GB)"})
    rows["both (GB)"] = rows["step (GB)"] + rows["weights (GB)"]
    return rows[["model", "batch", "stage", "step (GB)", "weights (GB)", "both (GB)"]]


def usual_values(rows: pd.DataFrame) -> dict[str, float]:
    """The default of every knob of a sensitivity study; of the soup's coefficient, what was chosen most often."""
    recipe = asdict(Recipe.default())
    found = {f"{stage}.{n}": v for stage in ("forget", "remind") for n, v in recipe[stage].items()}
    chosen = rows[(rows["model"] == "restore") & (rows["knob"] != "restore.alphas")]["alpha"].mode().max()
    sizes = {"n_forget": 400, "n_retain": 400, "restore.alphas": chosen}
    return {**recipe["forget"], **found, **sizes}  # a name without a stage: both have the same


def pictures(results: Path) -> dict[str, Figure]:
    """The figures of the docs, by name: those whose rows are there."""
    figures.use_style()
    drawn = {  # by name: the file of rows, and what is drawn of them
        "benchmark": ("benchmark", lambda rows: figures.score_strips(whole_methods(rows))),
        "depth": ("benchmark", lambda rows: figures.score_and_depth(whole_methods(rows))),
        "front": ("front", figures.fronts),
        "sensitivity": ("sensitivity", lambda rows: figures.sensitivity(rows, usual_values(rows))),
    }
    records = {file.stem: json.loads(file.with_suffix(".training.json").read_text()) for file in EMBEDDED.values()}
    there = {name: (results / f"{file}.csv", draw) for name, (file, draw) in drawn.items()}
    found = {name: draw(pd.read_csv(file)) for name, (file, draw) in there.items() if file.exists()}
    return {**found, "pretraining": figures.pretraining(records)}


def render(text: str, results: Path) -> str:
    """The text with every block made anew from the rows."""
    return BLOCK.sub(lambda m: m[1] + made(m[2], results) + "\n" + m[3], text)


@click.command(help=__doc__)
def main() -> None:
    root = Path(__file__).resolve().parents[1]
    for file in (root / name for name in FILES):
        file.write_text(render(file.read_text(encoding="utf-8"), root / RESULTS), encoding="utf-8")
    for name, figure in pictures(root / RESULTS).items():
        figures.save(figure, root / "docs/figures", name)


if __name__ == "__main__":
    main()
