"""Zero-shot accuracy of mini-CLIP and its oracles on every set: `python -m benchmarks.pretraining.accuracy`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import pandas as pd

from benchmarks.rows import Rows, options
from forgetkit.data.sets import load
from forgetkit.data.tutorial import zero_shot as unread
from forgetkit.evaluation import accuracies
from forgetkit.models.clip import Clip
from forgetkit.models.loading import load_clip

# What the embedded model must reach on test data, top-1 in percent (a test keeps it so).
FLOORS = {"cifar10": 87.0, "fashion": 88.0, "quickdraw": 50.0, "emoji": 43.0}
MISSING = ("cat", "truck")  # what an oracle never saw: photos of each, in rows of their own


def zero_shot(clip: Clip, part: str = "test") -> pd.DataFrame:
    """One row a column: images, classes, prompts, top-1 accuracy and chance in percent."""
    photos = load("cifar10", part)
    columns = {"cifar10": photos, **{name: sets[part] for name, sets in unread().items()}}
    columns["unseen, asked for sketches"] = replace(columns["unseen"], prompts=columns["quickdraw"].prompts)
    columns |= {f"photos of a {name}": photos.take(photos.names == name) for name in MISSING}
    rows = [
        {"set": name, "part": part, "images": len(images), "classes": len(images.classes),
         "prompts": " | ".join(images.prompts), "top1": round(top1, 2), "chance": round(100 / len(images.classes), 2)}
        for (name, images), top1 in zip(columns.items(), accuracies(clip, columns).values())
    ]  # fmt: skip
    return pd.DataFrame(rows)


@click.command(help=__doc__)
@options("mini-clip.csv")
@click.option("--model", default="mini-clip", show_default=True, help="what to call it: rows it has are not made again")
@click.option("--weights", help="a checkpoint; without one, the embedded model of this name")
def main(device: str, out: Path, model: str, weights: str | None) -> None:
    clip = load_clip("mini" if weights or model == "mini-clip" else model, weights, device)

    def measure(model: str) -> list[dict]:
        floors = FLOORS if model == "mini-clip" else {}
        return [{**row, "floor": floors.get(row["set"])} for row in zero_shot(clip).to_dict("records")]

    rows = Rows(out, ("model",), next(clip.model.parameters()).device)
    rows.fill([{"model": model}], measure)
    print(rows.table.drop(columns=["prompts", *rows.where]).to_string(index=False))


if __name__ == "__main__":
    main()
