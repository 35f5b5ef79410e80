"""Files of strangers: read, or refused, and nothing in them is run."""

import json
import pickle
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from forgetkit import load_clip
from forgetkit.models import ModelError
from forgetkit.models.checkpoints import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")
TOWER = dict(image_size=32, layers=1, width=64, patch_size=16)
TEXT = dict(context_length=8, vocab_size=49408, width=64, heads=1, layers=1)
CONFIG = dict(embed_dim=16, vision_cfg=TOWER, text_cfg=TEXT)


class Writes(torch.nn.Module):
    """A module that writes a file as soon as torch.jit.load reads it."""

    def __init__(self):
        super().__init__()
        self.w = torch.arange(3.0)

    @torch.jit.export
    def __getstate__(self):
        return self.w, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        found = torch.from_file("written", True, 8, dtype=torch.uint8)
        found.fill_(65)
        self.w, self.training = state[0] + 0.0 * found.sum(), state[1]

    def forward(self, x: torch.Tensor):
        return x + self.w


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual, self.inner = torch.nn.Linear(2, 3), Writes()

    def forward(self, x: torch.Tensor):
        return self.inner(self.visual(x))


def rewritten(file: Path, name: str, change) -> Path:
    """The zip file with one of its members changed."""
    with zipfile.ZipFile(file) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for one, content in members.items():
            archive.writestr(one, change(content) if one.endswith(f"/{name}") else content)
    return file


def test_a_torchscript_archive_gives_its_tensors_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    holder = Holder()
    torch.jit.save(torch.jit.script(holder), "evil.pt")
    Path("written").unlink(missing_ok=True)
    found = read_checkpoint(Path("evil.pt")).state
    assert set(found) == {"visual.weight", "visual.bias"} and torch.equal(found["visual.weight"], holder.visual.weight)
    assert not Path("written").exists()
    torch.jit.load("evil.pt")
    assert Path("written").exists(), "or this shows nothing"


def test_openais_layout_is_read(tmp_path):
    """Scripted on a GPU, in half precision, with three numbers beside the weights."""
    holder = torch.nn.Sequential()
    holder.visual, holder.logit_scale = torch.nn.Conv2d(3, 4, 2), torch.nn.Parameter(torch.tensor(4.6))
    holder.register_buffer("input_resolution", torch.tensor(224))
    torch.jit.save(torch.jit.script(holder).half(), tmp_path / "RN50.pt")
    file = rewritten(tmp_path / "RN50.pt", "data.pkl", lambda pkl: pkl.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    assert b"cuda:0" in zipfile.ZipFile(file).read("RN50/data.pkl")
    found = read_checkpoint(file).state
    assert {name: (t.shape, t.dtype) for name, t in found.items()} == {
        "visual.weight": ((4, 3, 2, 2), torch.float32), "visual.bias": ((4,), torch.float32),
        "logit_scale": ((), torch.float32),
    }  # fmt: skip
    assert torch.equal(found["visual.weight"], holder.visual.weight.float())


class Calls:
    def __reduce__(self):
        return open, ("written", "w")


def test_an_archive_whose_pickle_calls_something_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "m.pt")
    rewritten(Path("m.pt"), "data.pkl", lambda _: pickle.dumps(Calls(), 2))
    with pytest.raises(ModelError, match="holds more than tensors"):
        read_checkpoint(Path("m.pt"))
    assert not Path("written").exists()


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 5)), tmp_path / "m.pt")
    larger = lambda pkl: pkl.replace(b"K\x05K\x03t", b"K\xf5K\x03t")
    rewritten(tmp_path / "m.pt", "data.pkl", larger)
    with pytest.raises(ModelError, match="truncated or no checkpoint"):
        read_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize("asked", ["trust_remote_code", "tokenizer_type", "code_revision"])
def test_a_configuration_that_has_code_run_is_refused(asked, tmp_path, monkeypatch):
    config = {**CONFIG, "text_cfg": {**TEXT, "hf_tokenizer_name": "x", "tokenizer_kwargs": {asked: True}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file(open_clip.model.CLIP(**CONFIG).state_dict(), tmp_path / "open_clip_model.safetensors")
    fetch = lambda _, filename=None, **__: str(tmp_path / (filename or "open_clip_model.safetensors"))
    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fetch)
    monkeypatch.setattr(open_clip.factory, "get_tokenizer", lambda *_, **__: pytest.fail("too late"))
    for name in (f"local-dir:{tmp_path}", "hf-hub:owner/model"):
        with pytest.raises(ModelError, match=f"gives the tokenizer {asked}, which may run code"):
            load_clip(name, device="cpu")
