"""A saved model comes back whole: `load_clip` brings its record, plain open_clip embeds the same."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file

from forgetkit import Recipe, Subgroup, load_clip
from forgetkit.models.clip import ModelError
from forgetkit.models.loading import EMBEDDED
from forgetkit.models.saving import WEIGHTS, add_to_card, jsonable

PLAIN = """
import sys
import numpy as np, open_clip, torch
from PIL import Image
folder, out = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms("local-dir:" + folder)
tokenizer = open_clip.get_tokenizer("local-dir:" + folder)
image = np.load(folder + "/image.npy")
model.eval()
with torch.no_grad():
    z = model.encode_image(torch.from_numpy(np.load(folder + "/x.npy")))
    own = model.encode_image(preprocess(Image.fromarray(image))[None])
    text = model.encode_text(tokenizer(["a photo of a cat."]))
assert "forgetkit" not in sys.modules
np.savez(out, z=z, own=own, text=text)
"""


def forgotten(clip):
    """As a stage leaves it: other weights, not all contiguous, and a record."""
    found = clip.copy("restore", layers=["layer4.0.conv1"], alpha=0.35, forget=[{"step": 0, "loss": 0.5}])
    with torch.no_grad():
        weight = found.model.visual.layer4[0].conv1.weight
        weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    return found


@pytest.mark.slow
def test_plain_open_clip_embeds_the_same_in_a_process_without_forgetkit(mini, tmp_path):
    clip = forgotten(mini)
    clip.save(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    x = clip.preprocess(image[None])
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "x.npy", x.numpy())
    subprocess.run([sys.executable, "-c", PLAIN, tmp_path, tmp_path / "found.npz"], check=True, cwd=tmp_path)
    found = {name: torch.from_numpy(value) for name, value in np.load(tmp_path / "found.npz").items()}
    with torch.no_grad():
        z, text = clip.model.encode_image(x), clip.model.encode_text(clip.tokenizer(["a photo of a cat."]))
    torch.testing.assert_close(found["z"], z, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["text"], text, atol=1e-5, rtol=1e-4)
    assert torch.cosine_similarity(found["own"], z).item() > 0.999, "open_clip's own transform of the same picture"


def test_name_record_and_weights_come_back(mini, tmp_path):
    clip = forgotten(mini)
    assert not all(p.is_contiguous() for p in clip.model.parameters()), "else this proves nothing"
    again = load_clip(f"local-dir:{clip.save(tmp_path / 'new' / 'folder')}", device="cpu")
    assert (again.name, again.record) == (clip.name, clip.record)
    assert again.record["alpha"] == 0.35 and again.record["source"]["weights"] == "mini-clip.safetensors"
    before, after = clip.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert jsonable(again.model.visual.preprocess_cfg) == jsonable(mini.model.visual.preprocess_cfg)
    assert all(t.dtype in (torch.float32, torch.int64) for t in load_file(tmp_path / "new/folder" / WEIGHTS).values())


def test_the_card_says_what_was_forgotten(mini, tmp_path):
    table = pd.DataFrame([{"model": "original", "target": 93.0, "score": np.nan}, {"model": "restore", "target": 0.4}])
    said = dict(
        subgroup=Subgroup("cat", ("dog", "frog")), recipe=Recipe.default(), seed=np.int64(3), table=table,
        alarms=["Over-forgetting: other fell."],
    )  # fmt: skip
    forgotten(mini).save(tmp_path, **said)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    weights = hashlib.sha256(EMBEDDED["mini"].read_bytes()).hexdigest()[:6]
    facts = ("target, forgotten | cat", "dog, frog", "recipe | default", "seed | 3", "activation | GELU")
    rows = ("| original | 93.0 |  |", "| restore | 0.4 |  |", "- Over-forgetting: other fell.")
    for words in (*facts, *rows, f"weights | {weights}", "library_name: open_clip"):
        assert words in card, words
    assert str(tmp_path) not in card and "**Keep it in eval mode.**" in card and "`forgetkit audit` measures." in card
    row = {"measure": "statistics anew", "unit": "%", "original": 73.6, "unlearned": 17.0, "low": 1.0, "high": 20.0}
    row |= {"n": 9, "limit": "<= 5.0", "alarm": True, "reason": "it comes back", "limited_by": "a guess"}
    add_to_card(tmp_path, audit={"table": [row], "images": "9 pictures"})
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "17.0 % of its test images get their name then (the original: 73.6 %)." in card and "9 pictures." in card
    record = load_clip(f"local-dir:{tmp_path}", device="cpu").record
    assert record["subgroup"]["siblings"] == ["dog", "frog"] and record["recipe"]["forget"]["k"] == 4
    assert record["table"][0] == {"model": "original", "target": 93.0, "score": None}
    load_clip(f"local-dir:{tmp_path}", device="cpu").save(tmp_path / "again")  # with the same card
    first, second = (json.loads((folder / "forgetting.json").read_text()) for folder in (tmp_path, tmp_path / "again"))
    assert first == second


def test_names_are_shown_in_the_card_and_mark_nothing_up(mini, tmp_path):
    name = "<img src=x onerror=alert(1)> |\n# [a](b)"
    table = pd.DataFrame([{"model": name, name: 1.0}])
    mini.copy(name).save(tmp_path, subgroup=Subgroup(name, (name + "2",)), table=table, alarms=[name])
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "<img" not in card and "\n# [" not in card and card.count("\n# ") == 1
    assert card.count(r"&lt;img src=x onerror=alert(1)&gt; \| # \[a\](b)") == 7
    assert load_clip(f"local-dir:{tmp_path}", device="cpu").name == name


def test_tied_tensors_are_saved_and_files_are_for_all_to_read(mini, tmp_path):
    clip = mini.copy("tied")
    clip.model.visual.layer4[0].bn2.bias = clip.model.visual.layer4[0].bn1.bias
    before = os.umask(0o022)
    clip.save(tmp_path)
    os.umask(before)
    again = load_clip(f"local-dir:{tmp_path}", device="cpu").model.visual.layer4[0]
    assert torch.equal(again.bn2.bias, clip.model.visual.layer4[0].bn1.bias)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_activation_and_image_size_are_those_of_the_model(tmp_path):
    clip = load_clip("mini-vit", device="cpu", quick_gelu=True, image_size=96)
    clip.save(tmp_path)
    again = load_clip(f"local-dir:{tmp_path}", device="cpu")
    assert again.image_shape == (96, 96) and any(isinstance(m, QuickGELU) for m in again.model.modules())
    plain = open_clip.create_model(f"local-dir:{tmp_path}")
    assert plain.visual.image_size == (96, 96) and any(isinstance(m, QuickGELU) for m in plain.modules())
    assert "| activation | QuickGELU |" in (tmp_path / "README.md").read_text()


def test_nothing_is_overwritten_that_was_not_saved_here(mini, resnet, tmp_path):
    (tmp_path / "README.md").write_text("my project")
    with pytest.raises(ModelError, match="holds something else"):
        mini.save(tmp_path)
    with pytest.raises(ModelError, match="holds something else"):
        mini.save(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == "my project"
    with pytest.raises(ModelError, match="Only a model that load_clip has loaded"):
        resnet.save(tmp_path / "new")
    mini.save(tmp_path / "twice")
    mini.copy("other").save(tmp_path / "twice")
    assert load_clip(f"local-dir:{tmp_path / 'twice'}", device="cpu").name == "other"
    (tmp_path / "twice/forgetting.json").write_text("{")
    with pytest.raises(ModelError, match="forgetting.json is damaged"):
        load_clip(f"local-dir:{tmp_path / 'twice'}", device="cpu")


@dataclass
class Part:
    values: tuple


def test_records_become_json():
    found = jsonable(
        {
            1: np.float32(0.5), "t": torch.tensor(2), "a": np.array([1.0, np.nan]), "p": Part((True, np.int64(7))),
            "rows": pd.DataFrame({"layer": ["x"], "value": [np.float32(1.5)]}), "none": None, "inf": float("inf"),
        }
    )  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "1": 0.5, "t": 2, "a": [1.0, None], "p": {"values": [True, 7]}, "rows": [{"layer": "x", "value": 1.5}],
        "none": None, "inf": None,
    }  # fmt: skip
    with pytest.raises(TypeError, match="A record cannot hold .*object"):
        jsonable({"x": object()})
