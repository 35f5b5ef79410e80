"""What a folder of 20, 60 or 150 pictures a class reaches: `python -m benchmarks.small`.

Photos of CIFAR-10 that mini-CLIP never saw, as a folder, with a head of images, as for names that it does not know.
What the folder's own test part says, of a few pictures, stands beside what 300 others a class say ("held ...").
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks.rows import Rows, combinations, measured, options
from forgetkit import Recipe, accuracies, unlearn
from forgetkit.data.images import ImageSet, Subgroup
from forgetkit.data.sets import load_parts
from forgetkit.lessons import own
from forgetkit.models.loading import load_clip
from forgetkit.subgroups import columns

RUNS = combinations(pictures=(20, 60, 150), subgroup=("cat", "truck"))
HELD = 300  # of each class


def first(part: ImageSet, n: int) -> np.ndarray:
    """Indices of the first n images of each class."""
    return np.concatenate([np.flatnonzero(part.labels == c)[:n] for c in range(len(part.classes))])


@click.command()
@options("small.csv")
def main(out: Path, device: str) -> None:
    """Make the rows that are not there yet."""
    clip, photos = load_clip("mini", device=device), load_parts("cifar10")
    held = photos["test"].take(first(photos["test"], HELD))

    def compute(pictures: int, subgroup: str):
        with tempfile.TemporaryDirectory() as folder:
            for i in first(photos["train"], pictures):
                file = Path(folder) / photos["train"].names[i] / f"{i}.png"
                file.parent.mkdir(exist_ok=True)
                Image.fromarray(photos["train"].images[i]).save(file)
            siblings = Subgroup.within(subgroup).siblings
            headed, sets, _ = own.prepare(folder, subgroup, clip, siblings, head="images")
            models, before = unlearn(headed, sets, Recipe.default()), None
            shown = {**sets.test, **{f"held {name}": part for name, part in columns(held, sets.subgroup).items()}}
            for model in (models[0], models[-1]):  # both with one head: the classes are in one order
                found = accuracies(model, shown, models[0].head(sets.classes, sets.prompts))
                told = measured(found, before and {name: before[name] for name in sets.test})
                yield {"model": model.name, "test pictures": len(sets.test["target"]), **told}
                before = before or found

    Rows(out, ("pictures", "subgroup"), clip.device, RUNS).fill(RUNS, compute)


if __name__ == "__main__":
    main()
