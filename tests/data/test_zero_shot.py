"""Zero-shot sets that the user may have: read where they are, named where they are not. Generated miniatures."""

import json
import pickle

import numpy as np
import pytest
import torchvision
from PIL import Image

from forgetkit.data import zero_shot


def picture(path, colour, size=(50, 40), frame=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, frame or colour)
    image.paste(colour, (2, 2, size[0] - 2, size[1] - 2))
    image.save(path)


def cifar100(root):
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    data = np.arange(2 * 3072, dtype=np.uint32).reshape(2, 3072).astype(np.uint8)
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps({"data": data, "fine_labels": [1, 0]}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "aquarium_fish"]}))


def stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    images = np.zeros((3, 3, 96, 96), np.uint8)
    images[:, 0, :, 5] = 255  # x = 5 of the file's columns, which come first there
    images.tofile(folder / "test_X.bin")
    np.array([1, 2, 1], np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\n")


def food101(root):
    folder = root / "food-101"
    for name in ("apple_pie", "pho"):
        picture(folder / "images" / name / "7.jpg", "red")
    (folder / "meta").mkdir()
    (folder / "meta" / "test.json").write_text(json.dumps({"apple_pie": ["apple_pie/7"], "pho": ["pho/7"]}))


def objectnet(root):
    folder = root / "objectnet-1.0"
    labels = {"air_freshener": "Air freshener", "alarm_clock": "Alarm clock", "banana": "Banana"}
    for i, name in enumerate(labels):
        picture(folder / "images" / name / f"{i}.png", "blue", (100, 100), frame="red")
    (folder / "mappings").mkdir()
    (folder / "mappings" / "folder_to_objectnet_label.json").write_text(json.dumps(labels))
    shared = {"Alarm clock": "analog clock; digital clock", "Banana": "banana"}
    (folder / "mappings" / "objectnet_to_imagenet_1k.json").write_text(json.dumps(shared))


@pytest.fixture
def unchecked(monkeypatch):
    """Without the check sums of the real archives."""
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *args: True)
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)


def test_each_is_found_where_it_is(tmp_path, mini, unchecked):
    for make in (cifar100, stl10, food101, objectnet):
        make(tmp_path)
    found, missing = zero_shot.columns(tmp_path, mini)
    assert not missing and list(found) == ["cifar100", "food101", "stl10", "objectnet"]
    assert found["cifar100"].classes == ("apple", "aquarium fish") and list(found["cifar100"].labels) == [1, 0]
    assert found["cifar100"].images.shape == (2, 32, 32, 3)
    assert found["stl10"].classes == ("airplane", "bird") and list(found["stl10"].labels) == [0, 1, 0]
    assert found["food101"].classes == ("apple pie", "pho") and found["food101"].images.shape == (2, 64, 64, 3)
    assert found["objectnet"].classes == ("alarm clock", "banana"), "only what ImageNet has too"
    assert len(found["objectnet"]) == 2 and found["objectnet"].images[0][..., 0].max() == 0, "the red frame is cut off"
    assert mini.embed(found["stl10"].images).shape == (3, mini.model.visual.output_dim)


def test_an_absent_or_broken_one_is_named_and_no_error(tmp_path, mini):
    stl10(tmp_path)
    (tmp_path / "objectnet-1.0").mkdir()
    found, missing = zero_shot.columns(tmp_path, mini)
    assert not found and set(missing) == set(zero_shot.SETS)
    assert missing["food101"] == f"food-101 was not found in {tmp_path}"
    assert "stl10_binary in" in missing["stl10"] and "cannot be read" in missing["stl10"], "its check sums differ"
    assert "cannot be read" in missing["objectnet"]
    assert set(zero_shot.columns("", mini)[1].values()) == {"no folder was named"}
