"""Kept embeddings: found again, and made anew for whatever they depend on."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from forgetkit import embeddings
from forgetkit.data.sets import DataError, ImageSet
from forgetkit.data.files import files_for


@pytest.fixture
def images(tmp_path, mini):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (70, 80, 3), np.uint8)).save(tmp_path / "images" / f"{i}.JPEG")
    return files_for(mini, sorted((tmp_path / "images").iterdir()))


@pytest.fixture
def seen(mini, monkeypatch):
    """How many images the model embeds, call by call."""
    counts = []
    embed = type(mini).embed

    def counting(self, images, *args, **kwargs):
        counts.append(len(images))
        return embed(self, images, *args, **kwargs)

    monkeypatch.setattr(type(mini), "embed", counting)
    return counts


def test_a_file_is_embedded_once_until_it_changes(mini, images, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "SHARD", 2)
    kept = tmp_path / "kept"
    first = embeddings.embed(mini, images, folder=kept)
    assert seen == [2, 2, 1] and torch.equal(first, mini.embed(images.read(), batch=2).cpu())
    seen.clear()
    assert torch.equal(embeddings.embed(mini, images, folder=kept), first) and not seen

    Image.new("RGB", (70, 80), "red").save(images.files[3])
    again = embeddings.embed(mini, images, folder=kept)
    assert seen == [2], "only the entry that the changed file is in"
    assert torch.equal(again[:2], first[:2]) and not torch.equal(again[3], first[3])
    seen.clear()
    os.utime(images.files[0], (1, 1))
    embeddings.embed(mini, images, folder=kept)
    assert seen == [2], "a new time of change, too"


def test_other_weights_sizes_and_interpolation_are_other_embeddings(mini, images, seen, tmp_path):
    embeddings.embed(mini, images, folder=tmp_path)
    other = mini.copy("other")
    with torch.no_grad():
        next(other.model.visual.parameters()).add_(0.1)
    seen.clear()
    embeddings.embed(other, images, folder=tmp_path)
    embeddings.embed(mini, files_for(mini, images.files, border=1), folder=tmp_path)
    assert seen == [5, 5]


def test_what_is_finished_before_a_broken_file_is_kept(mini, images, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "SHARD", 2)
    whole = open(images.files[4], "rb").read()
    open(images.files[4], "wb").write(whole[:-300])
    with pytest.raises(DataError, match=r"4\.JPEG cannot be read"):
        embeddings.embed(mini, images, folder=tmp_path / "kept")
    open(images.files[4], "wb").write(whole)
    seen.clear()
    embeddings.embed(mini, images, folder=tmp_path / "kept")
    assert seen == [1], "the four before it are not embedded again"


@pytest.mark.parametrize(
    "spoil, message", [(os.remove, "cannot be found any more"), (lambda f: open(f, "w"), "is empty")]
)
def test_a_missing_or_empty_file_is_told_before_anything_is_embedded(mini, images, seen, tmp_path, spoil, message):
    spoil(images.files[2])
    with pytest.raises(DataError, match=rf"2\.JPEG.*{message}|2\.JPEG {message}"):
        embeddings.embed(mini, images, folder=tmp_path / "kept")
    assert not seen


def test_a_damaged_entry_and_a_folder_that_cannot_be_written_cost_no_result(mini, images, tmp_path, caplog):
    first = embeddings.embed(mini, images, folder=tmp_path / "kept")
    next((tmp_path / "kept").glob("images-*")).write_bytes(b"nonsense")
    assert torch.equal(embeddings.embed(mini, images, folder=tmp_path / "kept"), first)
    (tmp_path / "file").write_text("in the way")
    assert torch.equal(embeddings.embed(mini, images, folder=tmp_path / "file"), first)
    assert "is made anew" in caplog.text and "could not be kept" in caplog.text


def test_accuracies_are_those_of_the_evaluation(mini, images, tmp_path, monkeypatch):
    monkeypatch.setenv("FORGETKIT_CACHE", str(tmp_path))
    columns = {"target": ImageSet("x", images, np.array([0, 1, 0, 1, 0]), ("cat", "ship"))}
    heads = embeddings.heads(mini, columns)
    assert torch.equal(heads["target"], mini.head(("cat", "ship"), columns["target"].prompts))
    from forgetkit import accuracies, evaluate

    found = embeddings.accuracies(mini, columns, heads)
    assert found == accuracies(mini, columns) == accuracies(mini, columns, heads)
    table = evaluate([mini, mini], columns, found, heads)
    assert table["target"].nunique() == 1
