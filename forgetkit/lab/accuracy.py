"""Zero-shot accuracy of mini-CLIP on the test part of every set: `python -m forgetkit.lab.accuracy`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from forgetkit.models.clip import Clip
from forgetkit.data.sets import SETS, load
from forgetkit.evaluation import accuracies
from forgetkit.models.loading import load_clip

# What the embedded model must reach on test data, top-1 in percent (a test keeps it so).
FLOORS = {"cifar10": 82.0, "fashion": 85.0, "quickdraw": 35.0, "emoji": 25.0}


def zero_shot(clip: Clip, part: str = "test") -> pd.DataFrame:
    """One row a set: images, classes, prompts, top-1 accuracy and chance in percent."""
    rows = []
    for name in SETS:
        images = load(name, part)
        rows.append(
            {
                "set": name,
                "part": part,
                "images": len(images),
                "classes": len(images.classes),
                "prompts": " | ".join(images.prompts),
                "top1": round(accuracies(clip, {name: images})[name], 2),
                "chance": round(100 / len(images.classes), 2),
                "floor": FLOORS[name],
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=None, help="a checkpoint instead of the embedded one")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("docs/results/mini-clip.csv"))
    args = parser.parse_args()
    table = zero_shot(load_clip("mini", args.weights, args.device))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)
    print(table.drop(columns="prompts").to_string(index=False))


if __name__ == "__main__":
    main()
