"""A data set of Hugging Face's `datasets` comes out as pictures and a CSV, which are read as any others."""

import numpy as np
import pytest
from PIL import Image

from forgetkit.data.folders import scan
from forgetkit.data.hub import export
from forgetkit.data.images import DataError

datasets = pytest.importorskip("datasets", reason="an extra")


def pictures(n: int, seed: int) -> list[Image.Image]:
    numbers = np.random.default_rng(seed)
    return [Image.fromarray(numbers.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(n)]


def made(n: int, seed: int, label: str = "label"):
    kinds = datasets.ClassLabel(names=["Howler_monkey", "marmoset"])
    features = datasets.Features({"image": datasets.Image(), label: kinds, "kind": datasets.Value("string")})
    rows = {"image": pictures(n, seed), label: [i % 2 for i in range(n)], "kind": ["abc"[i % 3] for i in range(n)]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_its_splits_stay_and_its_pictures_are_those(tmp_path):
    found = export(datasets.DatasetDict(train=made(12, 0), test=made(6, 1)), tmp_path / "new")
    folder = scan(found, 16)
    assert len(folder.images) == 18 and folder.subgroups == ("howler monkey", "marmoset")
    assert folder.rows["part"].value_counts()["test"] == 6 and set(folder.rows["given"]) == {"train", "test"}
    assert np.array_equal(folder.images[0], np.asarray(pictures(12, 0)[0])), "to the last bit"
    finer = scan(export(made(12, 0), tmp_path / "one", subgroup="kind"), 16)
    assert finer.subgroups == ("a", "b", "c") and set(finer.rows["given"]) == {""}


def test_what_cannot_be_taken_is_said(tmp_path):
    one = made(4, 0)
    for data, given, message in [
        (one, {"label": "fine"}, "no column 'fine', but image, label, kind"),
        (one, {"image": "kind"}, "'kind' holds no pictures, but Value"),
        (datasets.DatasetDict(train=one, extra=one), {}, "split 'extra' is none of train"),
        (one.map(lambda row: {"label": -1}), {}, "The split '' has pictures without a label"),
    ]:
        with pytest.raises(DataError, match=message):
            export(data, tmp_path / "new", **given)
    assert not (tmp_path / "new").exists()
    with pytest.raises(DataError, match="is there already"):
        export(one, tmp_path)
