"""The embedded models keep their floors, saw only what their card says, and pre-training learns, stops and resumes."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from benchmarks.pretraining import captions
from benchmarks.pretraining import train as pretrain
from benchmarks.pretraining.accuracy import FLOORS, zero_shot
from benchmarks.pretraining.captions import Pretraining, Source, Vocabulary, compose
from benchmarks.pretraining.muon import orthogonal
from forgetkit import load_clip
from forgetkit.data import SETS
from forgetkit.data.sets import NAMED_PARTS, ImageSet, load_parts
from forgetkit.models import mini as taught
from forgetkit.models.loading import EMBEDDED

CPU = torch.device("cpu")


@pytest.mark.slow
def test_floors_on_test_data_and_the_committed_rows(mini, request):
    table = zero_shot(mini).set_index("set")
    for name, floor in FLOORS.items():
        assert table.loc[name, "top1"] >= floor
    committed = pd.read_csv(request.config.rootpath / "docs/results/mini-clip.csv").query("model == 'mini-clip'")
    difference = committed.set_index("set")["top1"] - table["top1"]
    assert len(difference) == len(table) and difference.abs().max() < 0.3, "the model card's rows are not this model's"


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_no_image_of_any_part_but_pretrain_was_seen(name):
    digests = {
        part: {hashlib.sha256(image.tobytes()).digest() for image in images.images}
        for part, images in load_parts(name).items()
    }
    for part in NAMED_PARTS[1:]:
        assert digests[part] and digests["pretrain"].isdisjoint(digests[part]), part


@pytest.mark.slow
def test_the_embedded_models_were_trained_on_these_parts_and_nothing_else():
    """Every record beside embedded weights is of the settings in the code, which draw from `pretrain` alone."""
    assert "mini" in EMBEDDED
    for name, file in EMBEDDED.items():
        record = json.loads(file.with_suffix(".training.json").read_text())
        without = file.stem.partition("-without-")[2]
        assert record["config"] == json.loads(json.dumps(vars(Pretraining(without=without)))), name
        vocabulary = Vocabulary(Pretraining(without=without))
        assert all(len(part) == len(load_parts(name)["pretrain"]) for name, part in vocabulary.sets.items())
        assert record["sha256"] == pretrain.hashes(file, vocabulary.sets), "other weights, or other images"
        if without:
            assert without not in vocabulary.words and not {*taught.synonyms(without)} & {*vocabulary.words}
            for part_name, part in vocabulary.sets.items():
                shown = {part.classes[c] for c in vocabulary.classes(part_name)}
                assert not any(without in taught.truths(c) for c in shown)
        else:
            assert set(vocabulary.words) == set(taught.words()), "words.txt is not what captions say"
    sketches = Vocabulary(Pretraining())
    names = {sketches.sets["quickdraw"].classes[c] for c in sketches.classes("quickdraw")}
    assert names.isdisjoint(SETS["quickdraw"].unseen) and len(names) + len(SETS["quickdraw"].unseen) == 345
    assert set(SETS["quickdraw"].unseen) <= set(taught.words())


def test_words_that_are_true_of_a_class():
    assert {"kitten", "pet", "animal", "mammal"} <= taught.truths("cat")
    assert {"lorry", "truck", "vehicle"} <= taught.truths("pickup truck")
    assert "cat" in taught.truths("black cat") and "cat" not in taught.truths("lion face")
    assert "dog" not in taught.truths("pet") and "car" in taught.truths("automobile")
    assert {"jet", "lorry", "kitten", "puppy", "vehicle", "aircraft"} <= set(taught.words())
    assert list(taught.words()) == sorted(set(taught.words()))
    assert {*taught.KINDS, *(w for group in taught.SYNONYMS for w in group)} <= set(taught.words())
    members = {m for kind in taught.KINDS.values() for m in kind}
    assert members <= set(taught.words()), members - set(taught.words())


@pytest.fixture
def tiny_sets(monkeypatch):
    """Every set in small: noise of 8 pixels, two images a class."""
    classes = {
        "cifar10": ("cat", "dog", "truck"), "fashion": ("bag", "coat"),
        "quickdraw": ("cat", "cup", "dog", "shoe"), "emoji": ("black cat", "dog face", "pickup truck", "teacup"),
    }  # fmt: skip

    def load(name, part):
        assert part == "pretrain", "pre-training sees no other part"
        rng, own = np.random.default_rng(len(name)), classes[name]
        labels = np.arange(2 * len(own)) % len(own)
        if name == "quickdraw":
            labels = labels[labels != own.index("shoe")]  # its sketches are never shown
        return ImageSet(name, rng.integers(0, 255, (len(labels), 8, 8, 3), np.uint8), labels, own)

    monkeypatch.setattr(captions, "load", load)


def sources_of(config):
    vocabulary = Vocabulary(config)
    return vocabulary, [Source(name, vocabulary, CPU) for name, _ in config.share]


def test_a_true_caption_is_never_pushed_away(tiny_sets):
    config = Pretraining(mix=0.0)
    vocabulary, sources = sources_of(config)
    counts = [20, 10, 20, 20]
    batch = compose(sources, config, counts, 32, 1.0, torch.Generator().manual_seed(0), np.random.default_rng(0))
    assert batch.images.shape == (70, 3, 32, 32) and torch.equal(batch.target.sum(1), torch.ones(70))
    assert not (batch.excluded & (batch.target > 0)).any()
    spoken = {t.format(w): w for w in vocabulary.words for t in captions.ANY_STYLE}  # captions of no style, by word
    foreign, checked = taught.truths("shoe"), 0  # of sketches that are never shown: not held against others
    for i in range(70):
        own = spoken.get(batch.texts[int(batch.target[i].argmax())])
        for k, text in enumerate(batch.texts):
            if own and (word := spoken.get(text)) and word not in {own, *foreign} and own in {"cat", "dog", "truck"}:
                assert bool(batch.excluded[i, k]) == (word in taught.truths(own)), (own, word)
                checked += 1
    assert checked > 100


def test_sketches_are_not_held_against_the_word_of_an_unseen_class(tiny_sets):
    vocabulary, _ = sources_of(Pretraining())
    word = {w: i for i, w in enumerate(vocabulary.words)}
    for style in captions.STYLES:
        foreign = vocabulary.foreign[captions.STYLES.index(style)]
        assert foreign[word["shoe"]] == (style == "quickdraw") and not foreign[word["cup"]]


def test_the_oracle_neither_sees_nor_hears_the_class(tiny_sets):
    vocabulary, sources = sources_of(Pretraining(without="cat"))
    assert not {"cat", "kitten", "black cat"} & set(vocabulary.words) and "pet" in vocabulary.words, "a dog is a pet"
    shown = {name: [part.classes[c] for c in vocabulary.classes(name)] for name, part in vocabulary.sets.items()}
    assert shown["cifar10"] == ["dog", "truck"] and shown["quickdraw"] == ["cup", "dog"]
    assert shown["emoji"] == ["dog face", "pickup truck", "teacup"]
    for source in sources:
        x, rows, words, _ = source.draw(30, 16, 1.0, torch.Generator().manual_seed(0))
        assert not vocabulary.left_out[rows].any() and x.isfinite().all()


def test_loss_takes_several_positives_and_leaves_truths_out():
    text, scale = torch.eye(2, 4), torch.tensor(50.0)
    own = torch.tensor([0, 0, 1])
    target, config = F.one_hot(own, 2).float(), Pretraining(smoothing=0.0)

    def loss(image, excluded):
        return captions.contrastive_loss(image, text, scale, captions.Batch(image, [], target, excluded), config)

    nothing = torch.zeros(3, 2, dtype=torch.bool)
    # Two images share caption 0, so each can have half of its column: log 2, in one of two columns.
    assert loss(text[own], nothing).item() == pytest.approx(config.to_image * np.log(2) / 2, abs=1e-4)
    # Caption 1 is true of the first image too: standing nearer to it than to its own must cost nothing.
    near = F.normalize(text[own] + torch.tensor([[0.0, 1.2, 0, 0], [0] * 4, [0] * 4]), dim=-1)
    both = nothing.clone()
    both[0, 1] = True
    assert loss(near, both) < loss(near, nothing) - 0.05


def test_augmentation_keeps_shape_and_range_and_follows_its_generator():
    images = torch.randint(0, 255, (5, 3, 28, 28), dtype=torch.uint8)
    draw = lambda seed: captions.augment(images, 64, "quickdraw", 1.0, torch.Generator().manual_seed(seed))
    assert draw(1).shape == (5, 3, 64, 64) and 0 <= draw(1).min() and draw(1).max() <= 1
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    lines = captions.line_drawing(torch.full((1, 3, 64, 64), 0.5).index_fill(3, torch.arange(32), 0.1))
    assert lines[..., 30:34].min() == 0 and (lines[..., :20] == 1).all() and (lines[..., 40:] == 1).all()


def test_small_images_pass_the_attention_pool_and_large_ones_unchanged(mini):
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(pretrain.encode_images(mini.model.visual, x), mini.model.visual(x))
        assert pretrain.encode_images(mini.model.visual, x[..., :48, :48]).shape == (2, 128)


def test_an_orthogonal_update_has_equal_singular_values():
    values = torch.linalg.svdvals(orthogonal(torch.randn(16, 90, generator=torch.Generator().manual_seed(0)), steps=6))
    assert 0.5 < values.min() and values.max() < 1.4


SMALL = {"images_seen": 48, "batch": 16, "warmup": 1, "others": 8, "sizes": ((1.0, 64),), "share": (
    ("cifar10", 0.25), ("fashion", 0.25), ("quickdraw", 0.25), ("emoji", 0.25))}  # fmt: skip


@pytest.fixture
def unmeasured(monkeypatch):
    monkeypatch.setattr(pretrain, "zero_shot", lambda clip, part: pd.DataFrame({"set": ["cifar10"], "top1": [10.0]}))


def test_pretraining_lowers_its_loss(tiny_sets):
    run = pretrain.Run(Pretraining(**SMALL | {"images_seen": 16 * 30}), CPU)
    losses = [run.learn(pretrain.encode_images) for _ in range(30)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2


def test_the_same_settings_make_the_same_weights_and_a_record(tiny_sets, unmeasured, tmp_path):
    files = [pretrain.pretrain(pretrain.Run(Pretraining(**SMALL), CPU), tmp_path / name) for name in "ab"]
    one, other = map(load_file, files)
    assert all(torch.equal(one[k], other[k]) for k in one)
    record = json.loads((tmp_path / "a/mini-clip.training.json").read_text())
    assert record["steps"] == 3 and record["validation"] == {"cifar10": 10.0} and len(record["loss"]) == 1
    assert set(record["sha256"]) == {"weights", "cifar10", "fashion", "quickdraw", "emoji"}
    clip = load_clip("mini-clip", pretrained=files[0], device="cpu")
    assert clip.model.visual.preprocess_cfg["interpolation"] == "bilinear" and not clip.model.training
