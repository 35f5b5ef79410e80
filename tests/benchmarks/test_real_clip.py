"""The rows of a real CLIP, in small: random weights, noise for images."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from benchmarks import real_clip
from forgetkit.data.images import PARTS, ImageSet
from forgetkit.models.prefix import cuts

CIFAR = ("airplane", "bird", "cat", "deer", "dog", "horse")
KNOWN = ("airplane", "bird", "cat", "dog", "horse", "car")
WNIDS = {"n1": ("cat", "tabby"), "n2": ("cat", "Persian cat"), "n3": ("bird", "goose"), "n4": ("car", "limousine")}


def noise(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), np.uint8)


@pytest.fixture
def data(tmp_path, vit):
    """What the command reads, in the layout that it documents."""
    vectors = np.random.default_rng(0).normal(size=(len(KNOWN), vit.model.visual.output_dim)).astype(np.float32)
    np.savez(tmp_path / "text.npz", names=np.array(KNOWN), vectors=vectors)
    with (tmp_path / "subgroups.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("wnid", "label", "subgroup"), *((w, *names) for w, names in WNIDS.items())])
    for i, wnid in enumerate(WNIDS):
        for part, n in (("train", 12), ("val", 4)):
            folder = tmp_path / "images" / part / wnid
            folder.mkdir(parents=True)
            for j, image in enumerate(noise(n, 100 * i + n)):
                Image.fromarray(image).save(folder / f"{j}.png")
    return tmp_path


@pytest.fixture
def measured(data, vit, monkeypatch):
    """Runs the command, and returns its rows."""

    def parts_of(name):
        classes = CIFAR if name == "cifar10" else ("bag", "shoe")
        part = lambda seed: ImageSet(name, noise(60, seed), np.arange(60) % len(classes), classes, ("a {}",))
        return {part_name: part(seed) for seed, part_name in enumerate(PARTS)}

    monkeypatch.setattr(real_clip, "load_parts", parts_of)
    keeping = real_clip.Keeping(vit.model, vit.tokenizer, vit.name)
    monkeypatch.setattr(real_clip, "real_clip", lambda *_: keeping)
    monkeypatch.setattr(real_clip, "SIZES", dict(n_forget=5, n_retain=5, n_calibration=2, n_calibration_target=4))
    real_clip.others.cache_clear()
    real_clip.sets_of.cache_clear()

    def run(*arguments: str) -> pd.DataFrame:
        given = {"weights": data / "text.npz", "data": data, "out": data / "real.csv"}
        arguments = [*(word for name, path in given.items() for word in (f"--{name}", str(path))), *arguments]
        done = CliRunner().invoke(real_clip.main, ["--method", "projection", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return pd.read_csv(data / "real.csv")

    return run


def test_classes_without_a_text_are_left_out_and_other_sets_have_prototypes(measured):
    rows = measured()
    assert rows["method"].tolist() == ["original", "projection"] and set(rows["subgroup"]) == {"cat"}
    assert {"target", "retain", "other", "fashion", "quickdraw"} <= set(rows) and rows["images"].iloc[1] == 5
    assert rows["seconds"].isna().tolist() == [True, False], "the original took none"
    assert measured().equals(rows), "what is there is not computed again"


def test_what_is_kept_is_what_the_model_makes_of_an_image(vit):
    clip = real_clip.Keeping(vit.model, vit.tokenizer, vit.name)
    x, found = clip.preprocess(noise(6, 0)), [*cuts(vit.model.visual)]
    for n_frozen in (found[-1], found[1], found[0]):
        for part in (x[:4], x):
            torch.testing.assert_close(clip.features(part, n_frozen).values, vit.features(part, n_frozen).values)
    assert clip.spent["images"] == 6 and clip.spent["saved"] == 4 and clip.saved() > 0
    assert type(clip.copy()) is type(vit)


def test_columns_are_kept_features_while_the_blocks_before_are_the_same(vit):
    clip = real_clip.Keeping(vit.model, vit.tokenizer, vit.name)
    part = ImageSet("noise", noise(6, 0), np.arange(6) % 2, ("a", "b"), ("a {}",))
    late, early = clip.copy(), clip.copy()
    late.model.visual.proj.data += 1
    early.model.visual.conv1.weight.data += 1
    behind = clip.behind({"test": part}, late)["test"]
    torch.testing.assert_close(late.embed(behind.images), late.embed(part.images), rtol=0.02, atol=0.02)
    assert clip.behind({"test": part}, early)["test"] is part


def test_subgroups_of_one_label_are_siblings(measured, vit, data):
    classifiers = ("--method", "classifier", "--method", "classifier on features")
    rows = measured("--kind", "coarse", "--target", "Tabby", *classifiers)
    assert set(rows["kind"]) == {"coarse"} and len(rows) == 4 and rows[["target", "retain"]].notna().all(axis=None)
    assert rows["retain by a plane"].notna().tolist() == [False, True, False, False] and "probe recall" in rows
    sets, heads, *_ = real_clip.sets_of(
        real_clip.Keeping(vit.model, vit.tokenizer, vit.name), "coarse", "tabby", 0, data
    )
    assert sets.subgroup.siblings == ("persian cat",) and set(sets.classes) == {"bird", "car", "cat"}
    assert set(sets.forget.labels.tolist()) == set(sets.retain.labels.tolist())
    assert {name: len(part) for name, part in sets.test.items() if name in ("target", "retain", "other")} == {
        "target": 4, "retain": 4, "other": 8,
    }  # fmt: skip
    assert heads["fashion"].shape == (2, sets.head.shape[1])
