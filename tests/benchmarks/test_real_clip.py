"""The rows of a real CLIP, in small: random weights, noise for images."""

import csv

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import real_clip
from forgetkit.data.images import PARTS, ImageSet

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
    monkeypatch.setattr(real_clip, "real_clip", lambda *_: vit)
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


def test_subgroups_of_one_label_are_siblings(measured, vit, data):
    rows = measured("--kind", "coarse", "--target", "Tabby")
    assert set(rows["kind"]) == {"coarse"} and len(rows) == 2
    assert rows["retain by a plane"].notna().tolist() == [False, True] and "probe recall" in rows
    sets, heads, *_ = real_clip.sets_of(vit, "coarse", "tabby", 0, data)
    assert sets.subgroup.siblings == ("persian cat",) and set(sets.classes) == {"bird", "car", "cat"}
    assert set(sets.forget.labels.tolist()) == set(sets.retain.labels.tolist())
    assert {name: len(part) for name, part in sets.test.items() if name in ("target", "retain", "other")} == {
        "target": 4, "retain": 4, "other": 8,
    }  # fmt: skip
    assert heads["fashion"].shape == (2, sets.head.shape[1])
