"""What each idea of pre-training is worth, left out of a short run: `python -m benchmarks.pretraining.ideas`.

The rows, docs/results/pretraining.csv, are **validation** accuracy in percent by set.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.pretraining.accuracy import zero_shot
from benchmarks.pretraining.captions import Pretraining
from benchmarks.pretraining.train import Run
from benchmarks.rows import Rows, options
from forgetkit.models.clip import pick_device

IDEAS = {
    "as it is": {},
    "AdamW instead of Muon": {"muon": 0.0},
    "64 px throughout": {"sizes": ((1.0, 64),)},
    "no blended sketches": {"mix": 0.0},
    "no label smoothing": {"smoothing": 0.0},
    "no line drawings of icons": {"lines": 0.0},
    "no synonyms, no kinds": {"synonym": 0.0, "kind": 0.0},
    "no captions of further classes": {"others": 0},
    "both directions of the loss alike": {"to_image": 0.5},
}


@click.command(help=__doc__)
@options("pretraining.csv")
@click.option("--images", default=100_000, show_default=True, help="images that each run sees")
def main(device: str, out: Path, images: int) -> None:
    def compute(idea: str) -> list[dict]:
        config = Pretraining(images_seen=images, warmup=30, **IDEAS[idea])
        run = Run(config, pick_device(device))
        run.train()
        found = zero_shot(run.finish(), "validation").set_index("set")["top1"].to_dict()
        return [{"images": images, "cpu_seconds": round(run.seconds), **found}]

    Rows(out, ("idea",), pick_device(device)).fill([{"idea": idea} for idea in IDEAS], compute)


if __name__ == "__main__":
    main()
