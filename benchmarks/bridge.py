"""From mini-CLIP to a real CLIP: what is the same, what is larger, and what the committed rows say of it.

`python -m benchmarks.bridge` writes docs/results/bridge.csv, which lesson 08 shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
import open_clip
import pandas as pd
import torch

from forgetkit.lessons.committed import RESULTS, committed
from forgetkit.lora import adaptable
from forgetkit.models import mini  # noqa: F401, which makes mini-CLIP known to open_clip
from forgetkit.models.clip import batch_norms

UNKNOWN = "not measured"  # there is no row of it


def bridge(models: Sequence[str] = ("mini-clip", "RN50", "ViT-B-16")) -> pd.DataFrame:
    """A column a model of open_clip's, a row a fact; what no committed row says is `UNKNOWN`.

    The models are built on torch's meta device: nothing is downloaded, and no weight takes memory.
    """
    steps = committed("gpu").query("stage == 'remind'")
    runs, facts = whole_runs(), {}
    for name in models:
        with torch.device("meta"):
            model = open_clip.CLIP(**open_clip.get_model_config(name))
        tower, norms = model.visual, len(batch_norms(model))
        size, all_of = tower.image_size, lambda part: sum(p.numel() for p in part.parameters()) / 1e6
        step = steps[steps["model"] == name].to_dict("records")
        facts[name] = {
            "image tower": type(tower).__name__,
            "layers that an adapter fits": str(len(adaptable(tower))),
            "weights, image tower (millions)": f"{all_of(tower):.1f}",
            "weights, both towers (millions)": f"{all_of(model):.1f}",
            "memory of both, float32 (MB)": f"{4 * all_of(model):.0f}",
            "pixels": "{} × {}".format(*(size if isinstance(size, tuple) else (size, size))),
            "a step of stage 2 (seconds)": step_of(step, lambda row: f"{row['batch'] / row['images_s']:.2f}"),
            "memory in that step (MB)": step_of(step, lambda row: f"{row['peak_mb']:.0f}"),
            "all stages (seconds)": runs.get(name, UNKNOWN),
            "LoRA, losses, guard, EMA, soup": "yes",
            "alignment": f"yes, {norms} BatchNorm layers" if norms else "no, there is no BatchNorm",
        }
    return pd.DataFrame(facts)


def step_of(rows: Sequence[dict], tell: Callable[[dict], str]) -> str:
    """What is told of a step on every device that has a row."""
    told = [f"{tell(row)} ({row['batch']} images; {row['device'].split(' (')[0]})" for row in rows]
    return ", ".join(told) or UNKNOWN


def whole_runs() -> dict[str, str]:
    """What all stages of `default` took, by model: on the first subgroup that `quickstart.csv` and `real.csv` have."""
    rows, real = committed("quickstart"), committed("real").query("method == 'default'")
    first = rows[rows["forget"] == rows["forget"].iloc[0]]
    found = {"mini-clip": f"{first['seconds'].sum():.0f} ({first['forget'].iloc[0]}; {first['device'].iloc[0]})"}
    for row in real.drop_duplicates("model").itertuples():
        name = row.model.removesuffix("-quickgelu")  # another activation, the same layers
        found[name] = f"{row.seconds:.0f} ({row.subgroup}, at {row.pixels} pixels; {row.device})"
    return found


@click.command(help=__doc__)
def main() -> None:
    bridge().rename_axis("fact").to_csv(RESULTS / "bridge.csv")


if __name__ == "__main__":
    main()
