"""A classifier with BatchNorm becomes a CLIP whose class embeddings are its rows."""

import numpy as np
import timm
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from benchmarks import efficientnet, real
from forgetkit import load_clip
from forgetkit.models.body import blocks
from forgetkit.models.clip import batch_norms


def test_a_classifier_becomes_a_clip(tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    theirs = {f"_{i}_{name.replace('.', '_')}": value for i, (name, value) in enumerate(net.state_dict().items())}
    torch.save(theirs, tmp_path / "weights.pth")
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "images").mkdir(parents=True)
    rows = ["wnid,label,subgroup", "n01440764,fish,tench", "n01443537,fish,goldfish", "n01484850,shark,white shark"]
    (data / "subgroups.csv").write_text("\n".join(rows))
    done = CliRunner().invoke(efficientnet.main, [str(tmp_path / "weights.pth"), str(data), str(out)])
    assert done.exit_code == 0, done.output

    clip = load_clip(f"local-dir:{out}", image_size=64)
    assert clip.image_shape == (64, 64) and len(batch_norms(clip.model)) == 49 and len(blocks(clip.model.visual)) == 18
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    x = (torch.as_tensor(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    net.reset_classifier(0)
    with torch.no_grad():
        assert F.cosine_similarity(clip.embed(pixels), F.normalize(net(x), dim=1)).min() > 0.99
    texts = real.texts(out)
    classes = F.normalize(theirs[[*theirs][-2]], dim=1)
    torch.testing.assert_close(texts["shark"], classes[2])
    torch.testing.assert_close(texts["fish"], F.normalize(classes[:2].mean(0), dim=0))
    assert (out / "subgroups.csv").read_text() == (data / "subgroups.csv").read_text()
