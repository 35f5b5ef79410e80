"""Zero-shot accuracy of mini-CLIP on the test part of every set: `python -m forgetkit.lab.accuracy`."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from forgetkit.data.sets import SETS, load
from forgetkit.evaluation import accuracies
from forgetkit.lab.rows import options
from forgetkit.models.clip import Clip
from forgetkit.models.loading import load_clip

# What the embedded model must reach on test data, top-1 in percent (a test keeps it so).
FLOORS = {"cifar10": 82.0, "fashion": 85.0, "quickdraw": 35.0, "emoji": 25.0}


def zero_shot(clip: Clip, part: str = "test") -> pd.DataFrame:
    """One row a set: images, classes, prompts, top-1 accuracy and chance in percent."""
    columns = {name: load(name, part) for name in SETS}
    rows = [
        {"set": name, "part": part, "images": len(images), "classes": len(images.classes),
         "prompts": " | ".join(images.prompts), "top1": round(top1, 2), "chance": round(100 / len(images.classes), 2),
         "floor": FLOORS[name]}
        for (name, images), top1 in zip(columns.items(), accuracies(clip, columns).values())
    ]  # fmt: skip
    return pd.DataFrame(rows)


@click.command(help=__doc__)
@options("mini-clip.csv")
@click.option("--weights", help="a checkpoint instead of the embedded one")
def main(device: str, out: Path, weights: str | None) -> None:
    table = zero_shot(load_clip("mini", weights, device))
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    print(table.drop(columns="prompts").to_string(index=False))


if __name__ == "__main__":
    main()
