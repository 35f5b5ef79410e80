"""transformers' layout, in and out: the same embeddings as transformers itself, with random weights."""

import json

import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from forgetkit import load_clip
from forgetkit.models import ModelError, hugging_face

transformers = pytest.importorskip("transformers", reason="an extra")
pytestmark = pytest.mark.filterwarnings("ignore")
TOWER = dict(hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4)
VISION = dict(TOWER, image_size=32, patch_size=8)
TEXT = dict(TOWER, max_position_embeddings=16)


def clip_model(act: str = "quick_gelu"):
    text = dict(TEXT, vocab_size=49408, hidden_act=act)
    return transformers.CLIPModel(
        transformers.CLIPConfig(vision_config=dict(VISION, hidden_act=act), text_config=text, projection_dim=24)
    )


@pytest.fixture
def siglip_model(monkeypatch):
    def vit_tiny_patch8_siglip_32(pretrained=False, **given):
        sizes = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=72 / 32)
        return timm.models.VisionTransformer(**sizes, class_token=False, global_pool="map", num_classes=0)

    monkeypatch.setitem(
        timm.models._registry._model_entrypoints, "vit_tiny_patch8_siglip_32", vit_tiny_patch8_siglip_32
    )
    monkeypatch.setitem(hugging_face.TOWERS, 32, "tiny")
    text = dict(TEXT, vocab_size=12, projection_size=32)
    return transformers.SiglipModel(transformers.SiglipConfig(vision_config=VISION, text_config=text))


def saved(model, folder):
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    model.eval().save_pretrained(folder)
    if "Siglip" in type(model).__name__:
        tokenizers = pytest.importorskip("tokenizers")
        words = ["<pad>", "</s>", "<unk>", "a", "photo", "of", "cat"]
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")
        fast.save_pretrained(folder)
        transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model


@torch.no_grad()
def same(clip, model):
    x, texts = torch.randn(3, 3, *clip.image_shape), clip.tokenizer(["a photo of a cat", "a dog"])
    assert len(set(texts[0].tolist())) > 3
    pooled = [model.get_image_features(pixel_values=x), model.get_text_features(input_ids=texts)]
    theirs = [getattr(found, "pooler_output", found) for found in pooled]
    for ours, found in zip((clip.model.encode_image(x), clip.model.encode_text(texts)), theirs):
        torch.testing.assert_close(ours, found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_a_clip_goes_in_and_out_with_the_same_embeddings(act, tmp_path):
    model = saved(clip_model(act), tmp_path / "theirs")
    clip = load_clip(f"local-dir:{tmp_path / 'theirs'}", device="cpu")
    same(clip, model)
    with torch.no_grad():
        clip.model.visual.proj.mul_(1.5)  # as a stage may
    assert clip.save(tmp_path / "again") == tmp_path / "again", "in the layout that it was loaded in"
    back = transformers.CLIPModel.from_pretrained(tmp_path / "again").eval()
    same(clip, back)
    same(load_clip(f"local-dir:{tmp_path / 'again'}", device="cpu"), back)
    words = transformers.CLIPProcessor.from_pretrained(tmp_path / "again").tokenizer(
        ["a photo of a cat", "it's 12 naïve"]
    )
    for found, ours in zip(words.input_ids, clip.tokenizer(["a photo of a cat", "it's 12 naïve"])):
        assert found == ours[: len(found)].tolist()
    card = (tmp_path / "again/README.md").read_text()
    assert "library_name: transformers" in card and "AutoModel.from_pretrained" in card
    assert f"| activation | {'QuickGELU' if act == 'quick_gelu' else 'GELU'} |" in card
    with pytest.raises(ModelError, match="a model in another layout"):
        clip.save(tmp_path / "again", layout="open_clip")
    clip.save(tmp_path / "open", layout="open_clip")
    plain = open_clip.create_model(f"local-dir:{tmp_path / 'open'}").eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(plain.encode_image(x), clip.model.encode_image(x), atol=1e-5, rtol=1e-5)


def test_a_siglip_goes_in_and_out_with_the_same_embeddings(siglip_model, tmp_path):
    model = saved(siglip_model, tmp_path / "theirs")
    clip = load_clip(f"local-dir:{tmp_path / 'theirs'}", device="cpu")
    same(clip, model)
    assert clip.model.visual.preprocess_cfg["resize_mode"] == "squash"
    assert clip.model.logit_bias.item() == pytest.approx(model.logit_bias.item())
    clip.save(tmp_path / "again")
    same(clip, transformers.SiglipModel.from_pretrained(tmp_path / "again").eval())
    clip.save(tmp_path / "open", layout="open_clip")
    same(load_clip(f"local-dir:{tmp_path / 'open'}", device="cpu"), model)


def test_a_file_with_its_configuration_beside_it(tmp_path, monkeypatch):
    config = dict(embed_dim=24, quick_gelu=True,
                  vision_cfg=dict(image_size=32, layers=2, width=32, head_width=8, patch_size=8, mlp_ratio=2.25),
                  text_cfg=dict(context_length=16, width=32, heads=4, layers=2, mlp_ratio=2.25))  # fmt: skip
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", config)
    model = saved(clip_model(), tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    same(load_clip("small", tmp_path / "pytorch_model.bin", "cpu"), model)
    same(load_clip("small", tmp_path / "model.safetensors", "cpu"), model)
    with pytest.raises(ModelError, match="trained with QuickGELU, and GELU is asked for"):
        load_clip("small", tmp_path / "model.safetensors", "cpu", quick_gelu=False)
    with pytest.raises(ModelError, match="as 'ViT-S-32', cannot be loaded .text pos_embed width changed"):
        load_clip("ViT-S-32", tmp_path / "model.safetensors", "cpu", quick_gelu=True)


def test_what_is_no_clip_of_transformers_is_refused_in_a_sentence(tmp_path, mini):
    saved(clip_model(), tmp_path)
    file, config = tmp_path / "model.safetensors", json.loads((tmp_path / "config.json").read_text())
    state = load_file(file)
    for changed, found, message in [
        ({"model_type": "siglip2"}, state, "is a 'siglip2' of transformers': read are clip and siglip"),
        ({"text_config": config["text_config"] | {"hidden_act": "relu"}}, state, "activations quick_gelu and relu"),
        ({}, {**state, "classifier.weight": torch.ones(2)}, "'classifier.weight'"),
        ({}, {n: t for n, t in state.items() if n != "text_model.final_layer_norm.bias"}, "final_layer_norm.bias"),
    ]:
        save_file(found, file)
        (tmp_path / "config.json").write_text(json.dumps(config | changed))
        with pytest.raises(ModelError, match=message):
            load_clip(f"local-dir:{tmp_path}", device="cpu")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="config.json has to stand beside it"):
        load_clip(f"local-dir:{tmp_path}", device="cpu")
    with pytest.raises(ModelError, match="transformers has no layout for this model .*: save it in open_clip's"):
        mini.save(tmp_path / "new", layout="transformers")
    with pytest.raises(ModelError, match="no layout 'onnx': choose open_clip or transformers"):
        mini.save(tmp_path / "new", layout="onnx")


def test_what_open_clip_has_and_transformers_has_not_is_not_written(tmp_path):
    clip = load_clip("mini-vit", device="cpu")
    clip.save(tmp_path / "a", layout="transformers")
    clip.record["source"]["model_cfg"]["vision_cfg"]["pool_type"] = "avg"
    with pytest.raises(ModelError, match="pool_type is 'avg', and 'tok' there"):
        clip.save(tmp_path / "b", layout="transformers")


def test_the_hub_has_either_layout(tmp_path, monkeypatch):
    model = saved(clip_model(), tmp_path)

    def fetched(repo, file):
        assert repo == "owner/model"
        if not (tmp_path / file).exists():
            raise OSError("404")
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, allow_patterns: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.get_session", lambda: (_ for _ in ()).throw(ConnectionError()))
    same(load_clip("hf-hub:owner/model", device="cpu"), model)
