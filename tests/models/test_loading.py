"""Loading: every kind of file, the right activation, and one sentence for whatever does not fit."""

import hashlib
import json
import logging
import time

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from forgetkit import load_clip
from forgetkit.models.clip import ModelError

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
TEXT = dict(context_length=8, vocab_size=49408, width=64, heads=1, layers=1)
RESNET = dict(image_size=32, layers=[1, 1, 1, 1], width=8, head_width=64, patch_size=None)
VIT = dict(image_size=32, layers=1, width=64, patch_size=16)
MODELS = {
    "tiny": dict(embed_dim=16, vision_cfg=RESNET, text_cfg=TEXT),
    "tiny-quickgelu": dict(embed_dim=16, quick_gelu=True, vision_cfg=RESNET, text_cfg=TEXT),
    "tiny-deep": dict(embed_dim=16, vision_cfg={**RESNET, "layers": [1, 1, 2, 1]}, text_cfg=TEXT),
    "tiny-vit": dict(embed_dim=16, vision_cfg=VIT, text_cfg=TEXT),
    "tiny-vit-64": dict(embed_dim=16, vision_cfg={**VIT, "image_size": 64}, text_cfg=TEXT),
    "tiny-vit-long": dict(embed_dim=16, vision_cfg=VIT, text_cfg={**TEXT, "context_length": 12}),
}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    for name, config in MODELS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No hub, and nothing in any cache."""

    def unreachable(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "get_session", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))


def make(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return open_clip.create_model(name).eval()


def activations(clip) -> set:
    return {type(m) for m in clip.model.modules() if isinstance(m, torch.nn.GELU | QuickGELU)}


def archive(name: str, file, how: str):
    """A TorchScript archive as OpenAI's: the same names, three numbers among them, half precision."""
    model = make(name)
    for key, value in (("input_resolution", 32), ("context_length", 8), ("vocab_size", 49408)):
        if hasattr(model, key):
            delattr(model, key)
        model.register_buffer(key, torch.tensor(value))
    inputs = torch.zeros(1, 3, 32, 32), torch.zeros(1, 8, dtype=torch.long)
    scripted = torch.jit.script(model) if how == "script" else torch.jit.trace(model, inputs)
    torch.jit.save(scripted.half(), file)
    return file


@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_archive_is_converted_and_its_numbers_tell_the_activation(how, tmp_path, caplog):
    name = "tiny-quickgelu"
    file = archive(name, tmp_path / "RN50.pt", how)
    with caplog.at_level(logging.WARNING):
        clip = load_clip("tiny", pretrained=file, device="cpu")
    assert "TorchScript archive" in caplog.text
    assert activations(clip) == {QuickGELU}
    assert {p.dtype for p in clip.model.parameters()} == {torch.float32}
    text, x = clip.tokenizer(["a cat"]), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(clip.model.encode_text(text), make(name).encode_text(text), atol=2e-3, rtol=0.02)
        torch.testing.assert_close(clip.model.encode_image(x), make(name).encode_image(x), atol=2e-3, rtol=0.02)


def test_bare_weights_do_not_tell_the_activation_and_the_user_must(tmp_path):
    file, model = tmp_path / "weights.pt", make("tiny-quickgelu")
    torch.save(model.state_dict(), file)
    with pytest.raises(ModelError, match="'tiny-quickgelu', or with quick_gelu=False"):
        load_clip("tiny", pretrained=file, device="cpu")
    named = load_clip("tiny-quickgelu", pretrained=str(file), device="cpu")
    said = load_clip("tiny", pretrained=file, device="cpu", quick_gelu=True)
    other = load_clip("tiny", pretrained=file, device="cpu", quick_gelu=False)
    text = named.tokenizer(["a cat"])
    with torch.no_grad():
        right = model.encode_text(text)
        assert torch.equal(named.model.encode_text(text), right) and torch.equal(said.model.encode_text(text), right)
        assert not torch.allclose(other.model.encode_text(text), right, atol=1e-4), "the trap: it loads, and is wrong"


def test_what_is_known_of_a_file_decides(tmp_path):
    state = make("tiny-quickgelu").state_dict()
    numbers = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(8), "vocab_size": torch.tensor(9)}
    torch.save({**state, **numbers}, tmp_path / "a.pt")
    assert activations(load_clip("tiny", tmp_path / "a.pt", "cpu")) == {QuickGELU}
    config = {"model_cfg": {**MODELS["tiny"], "quick_gelu": False}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    save_file(state, tmp_path / "c.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    clip = load_clip("tiny", tmp_path / "c.safetensors", "cpu")
    assert activations(clip) == {torch.nn.GELU} and clip.model.visual.preprocess_cfg["mean"] == [0.5, 0.5, 0.5]


def test_a_contradiction_names_its_remedy(tmp_path):
    quick = archive("tiny-quickgelu", tmp_path / "quick.pt", "script")
    gelu = tmp_path / "folder/gelu.pt"
    gelu.parent.mkdir()
    torch.save(make("tiny").state_dict(), gelu)
    gelu.with_name("open_clip_config.json").write_text(json.dumps({"model_cfg": MODELS["tiny"]}))
    with pytest.raises(ModelError, match="trained with GELU, .*load it as 'tiny', without quick_gelu"):
        load_clip("tiny-quickgelu", pretrained=gelu, device="cpu")
    with pytest.raises(ModelError, match="trained with QuickGELU, .*load it as 'RN50-quickgelu'"):
        load_clip("RN50", pretrained="openai", quick_gelu=False)
    with pytest.raises(ModelError, match="trained with QuickGELU, .*load it as 'tiny-quickgelu'"):
        load_clip("tiny", pretrained=quick, device="cpu", quick_gelu=False)
    with pytest.raises(ModelError, match="is a folder: load_clip..local-dir:"):
        load_clip("tiny", pretrained=tmp_path)


def renamed(state: dict, rename) -> dict:
    return {rename(name): t for name, t in state.items()}


@pytest.mark.parametrize(
    "nest, rename",
    [
        ("state_dict", lambda name: f"module.{name}"),
        ("model_state_dict", lambda name: f"_orig_mod.model.module.{name}"),
        ("ema.state_dict", lambda name: f"clip.{name}"),
        ("model.model", lambda name: "model." + name.replace("visual.", "visual._orig_mod.")),
        ("module", lambda name: name.replace("visual.", "visual.module.")),
        ("state_dict_ema", lambda name: f"module.clip_model.{name}"),
        ("swa_state_dict", lambda name: f"net.{name}"),
    ],
)
def test_training_checkpoint(nest, rename, tmp_path):
    state = make("tiny").state_dict()
    found = {**renamed(state, rename), "n_averaged": torch.tensor(3)}
    for name in reversed(nest.split(".")):
        found = {"epoch": 3, "name": "run", "optimizer": {"lr": 0.1}, name: found}
    torch.save(found, tmp_path / "epoch_3.pt")
    clip = load_clip("tiny", tmp_path / "epoch_3.pt", "cpu", quick_gelu=False)
    assert all(torch.equal(v, state[k]) for k, v in clip.model.state_dict().items())
    source = clip.record["source"]
    assert source["sha256"] == hashlib.sha256((tmp_path / "epoch_3.pt").read_bytes()).hexdigest()
    assert (source["model"], source["weights"]) == ("tiny", "epoch_3.pt"), "no path of this machine"
    assert source["model_cfg"] == MODELS["tiny"]


def test_one_model_of_several_is_said(tmp_path, caplog):
    first, second = make("tiny").state_dict(), make("tiny", seed=1).state_dict()
    torch.save({"model": first, "ema": second}, tmp_path / "both.pt")
    with caplog.at_level(logging.WARNING):
        clip = load_clip("tiny", tmp_path / "both.pt", "cpu", quick_gelu=False)
    assert "holds 'model' and 'ema': 'model' is loaded" in caplog.text
    assert torch.equal(clip.model.visual.conv1.weight, first["visual.conv1.weight"])
    averaged = {"model_ema": second, "shadow_params": [*second.values()], "state_dict": first}
    torch.save(averaged, tmp_path / "averaged.pt")
    with caplog.at_level(logging.WARNING):
        clip = load_clip("tiny", tmp_path / "averaged.pt", "cpu", quick_gelu=False)
    assert "holds 'state_dict' and 'model_ema' and 'shadow_params': 'state_dict' is loaded" in caplog.text
    assert torch.equal(clip.model.visual.conv1.weight, first["visual.conv1.weight"])
    torch.save({**first, **renamed(second, lambda name: f"model.{name}")}, tmp_path / "mixed.pt")
    with pytest.raises(ModelError, match="weights of several models"):
        load_clip("tiny", tmp_path / "mixed.pt", "cpu", quick_gelu=False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_precision_becomes_float32(dtype, tmp_path):
    state = {k: v.to(dtype).contiguous() for k, v in make("tiny").state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    clip = load_clip("tiny", tmp_path / "half.safetensors", "cpu", quick_gelu=False)
    assert {t.dtype for t in clip.model.state_dict().values()} <= {torch.float32, torch.int64}


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file(make("tiny").state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODELS["tiny"]}))
    assert load_clip("tiny", "~/open_clip_model.safetensors", "cpu").image_shape == (32, 32)
    assert load_clip("local-dir:~", device="cpu").image_shape == (32, 32)


def test_a_tag_switches_quickgelu_on(tmp_path, monkeypatch, offline, recwarn):
    """open_clip alone would load these weights into the name's GELU, with a warning."""
    torch.save(make("tiny-quickgelu").state_dict(), tmp_path / "tag.pt")
    cfg = {"file": str(tmp_path / "tag.pt"), "quick_gelu": True, "mean": (0.5,) * 3, "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"openai": cfg, "web": {**cfg, "quick_gelu": False}})
    clip = load_clip("tiny", pretrained="openai", device="cpu")
    assert activations(clip) == {QuickGELU} and not [w for w in recwarn if "QuickGELU" in str(w.message)]
    assert clip.model.visual.preprocess_cfg["resize_mode"] == "squash"
    assert activations(load_clip("tiny", pretrained="web", device="cpu")) == {torch.nn.GELU}


def test_preprocessing_of_a_file_is_that_of_its_models_tags(tmp_path, monkeypatch):
    torch.save(make("tiny-deep").state_dict(), tmp_path / "weights.pt")
    tag = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-deep", {"a": tag, "b": dict(tag)})
    cfg = load_clip("tiny-deep", tmp_path / "weights.pt", "cpu").model.visual.preprocess_cfg
    assert cfg == {**cfg, **tag, "size": 32}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED["tiny-deep"], "b", {**tag, "resize_mode": "shortest"})
    cfg = load_clip("tiny-deep", tmp_path / "weights.pt", "cpu").model.visual.preprocess_cfg
    assert cfg["resize_mode"] == "shortest" and cfg["interpolation"] == "bicubic", "they differ: open_clip's default"


def test_folder_and_hub_bring_their_own_settings(tmp_path, monkeypatch, offline):
    config = {"model_cfg": MODELS["tiny-quickgelu"], "preprocess_cfg": {"interpolation": "bilinear", "std": [1, 1, 1]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="is no folder with open_clip_config.json and weights"):
        load_clip(f"local-dir:{tmp_path}", device="cpu")  # open_clip alone would go on with random weights
    save_file(make("tiny-quickgelu").state_dict(), tmp_path / "open_clip_model.safetensors")
    fetch = lambda _, filename=None, **__: str(tmp_path / (filename or "open_clip_model.safetensors"))
    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fetch)
    for name in (f"local-dir:{tmp_path}", "hf-hub:owner/model"):
        clip = load_clip(name, device="cpu")
        assert activations(clip) == {QuickGELU} and clip.image_shape[0] == 32
        assert clip.model.visual.preprocess_cfg["interpolation"] == "bilinear"
        assert torch.equal(clip.model.visual.conv1.weight, make("tiny-quickgelu").visual.conv1.weight)
        assert clip.tokenizer(["a cat"]).shape == (1, 8)
    with pytest.raises(ModelError, match="brings its own weights"):
        load_clip(name, pretrained="openai")
    with pytest.raises(ModelError, match="nowhere is no folder with open_clip_config.json and weights"):
        load_clip("local-dir:nowhere")
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(ModelError, match="is no configuration of open_clip's"):
        load_clip(f"local-dir:{tmp_path}")


def test_a_folder_is_read_as_a_file_is(tmp_path):
    """Prefixes, half precision with another image size, and another model's names, also where the folder names all."""
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODELS["tiny-vit"]}))
    state = make("tiny-vit").state_dict()
    torch.save({"model": renamed(state, lambda name: f"module.{name}")}, tmp_path / "model.pth")
    clip = load_clip(f"local-dir:{tmp_path}", device="cpu")
    assert all(torch.equal(v, state[k]) for k, v in clip.model.state_dict().items())
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "open_clip_model.safetensors")
    assert load_clip(f"local-dir:{tmp_path}", device="cpu", image_size=64).image_shape == (64, 64)


def test_without_a_network_three_ways_out_at_once(offline):
    start = time.perf_counter()
    for name, pretrained in (("RN50", "openai"), ("hf-hub:owner/model", None)):
        with pytest.raises(ModelError, match="connect .*, copy .* a connected machine .*, or bring the files"):
            load_clip(name, pretrained=pretrained)
    assert time.perf_counter() - start < 10, "the hub's client by itself goes on trying for most of a minute"
    assert not huggingface_hub.constants.HF_HUB_OFFLINE, "left as it was"


def test_another_image_size(tmp_path):
    torch.save({k: v.half() for k, v in make("tiny-vit").state_dict().items()}, tmp_path / "vit.pt")
    clip = load_clip("tiny-vit", tmp_path / "vit.pt", "cpu", image_size=64)
    assert clip.image_shape == (64, 64) and clip.embed(np.zeros((2, 20, 30, 3), np.uint8)).shape == (2, 16)
    torch.save(make("tiny-deep").state_dict(), tmp_path / "resnet.pt")
    with pytest.raises(ModelError, match="tiny-deep"):
        load_clip("tiny-deep", tmp_path / "resnet.pt", "cpu", image_size=64)


@pytest.mark.parametrize(
    "weights, model, message",
    [
        ("tiny-deep", "tiny", r"Unexpected key.*visual.layer3.1.*open_clip.list_models\(\), or add"),
        ("tiny-vit", "tiny", "Missing key"),
        ("tiny-vit", "tiny-vit-64", r"another size \('visual.positional_embedding' is \(5, 64\), not \(17, 64\)\)"),
        ("tiny-vit", "tiny-vit-long", r"another size \('positional_embedding' is \(8, 64\), not \(12, 64\)\)"),
    ],
)
def test_weights_of_another_model_do_not_fit(weights, model, message, tmp_path):
    """open_clip would resample position embeddings without a word, and so load the last two."""
    torch.save(make(weights).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=f"weights.pt, as '{model}', does not fit: .*{message}"):
        load_clip(model, pretrained=tmp_path / "weights.pt", quick_gelu=False)


class Whole:
    """Something that must not be unpickled."""


def test_bad_files_have_their_sentence(tmp_path):
    state = make("tiny").state_dict()
    torch.save(state, tmp_path / "whole.pt")
    save_file(state, tmp_path / "whole.safetensors")
    for name in ("whole.pt", "whole.safetensors"):
        half = tmp_path / name.replace("whole", "half")
        half.write_bytes((tmp_path / name).read_bytes()[:100_000])
        with pytest.raises(ModelError, match=f"{half.name} is truncated or no checkpoint"):
            load_clip("tiny", pretrained=half)
    (tmp_path / "page.pt").write_text("<!DOCTYPE html> 404")
    with pytest.raises(ModelError, match="truncated or no checkpoint"):
        load_clip("tiny", pretrained=tmp_path / "page.pt")
    for what in (Whole(), np.float64(0.5)):  # a metric, kept as numpy's number, is refused since torch 2.6
        torch.save({"model": state, "best": what}, tmp_path / "object.pt")
        with pytest.raises(
            ModelError, match=r"more than tensors \(.*(Whole|numpy).*not executed here.*save its weights"
        ):
            load_clip("tiny", pretrained=tmp_path / "object.pt")
    torch.save({"vision_model.post_layernorm.weight": torch.ones(3)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="in transformers' layout: its config.json has to stand beside it"):
        load_clip("tiny", pretrained=tmp_path / "pytorch_model.bin")
    for found in ({}, {"model": {}}, [state], torch.ones(3)):
        torch.save(found, tmp_path / "other.pt")
        with pytest.raises(ModelError, match=r"but \[\]"):
            load_clip("tiny", pretrained=tmp_path / "other.pt")
    torch.save({k.removeprefix("visual."): v for k, v in state.items() if "visual" in k}, tmp_path / "tower.pt")
    with pytest.raises(ModelError, match="give a whole CLIP's weights"):
        load_clip("tiny", pretrained=tmp_path / "tower.pt")
    torch.save({k: v for k, v in state.items() if k != "logit_scale"}, tmp_path / "less.pt")
    with pytest.raises(ModelError, match="Missing key"):
        load_clip("tiny", pretrained=tmp_path / "less.pt", quick_gelu=False)


@pytest.mark.parametrize("value, dtype", [(float("nan"), torch.float32), (-float("inf"), torch.float16)])
def test_weights_that_are_not_finite_are_refused(value, dtype, tmp_path):
    state = {k: v.to(dtype) for k, v in make("tiny").state_dict().items()}
    state["visual.conv1.weight"].view(-1)[0] = value
    state["visual.layer4.0.conv1.weight"].view(-1)[:2] = value
    torch.save(state, tmp_path / "diverged.pt")
    with pytest.raises(ModelError, match=r"NaN or infinite, in 2 of \d+ tensors, the first .*'visual.conv1.weight'"):
        load_clip("tiny", tmp_path / "diverged.pt", "cpu", quick_gelu=False)
