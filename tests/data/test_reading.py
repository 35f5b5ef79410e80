"""Images in files: the same pixels as open_clip's evaluation transform, read only when they are used."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from forgetkit.data.sets import DataError, ImageSet
from forgetkit.data.files import ImageFiles, files_for


@pytest.fixture
def folder(tmp_path):
    """Six pictures of every mode that ImageNet's files have, portrait and landscape, coarse noise."""
    rng = np.random.default_rng(0)
    for i, mode in enumerate(("RGB", "L", "CMYK", "RGBA", "P", "RGB")):
        small = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8)).resize((90 + 40 * i, 170 - 25 * i))
        small.convert(mode).save(tmp_path / f"{i}.{'png' if mode in ('RGBA', 'P') else 'JPEG'}")
    return tmp_path


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode, size", [("shortest", 64), ("longest", 64), ("squash", 64), ("squash", (32, 64))])
def test_pixels_are_those_of_open_clips_transform(folder, interpolation, mode, size):
    files = sorted(folder.iterdir())
    transform = open_clip.image_transform(size, False, (0, 0, 0), (1, 1, 1), mode, interpolation)
    expected = torch.stack([transform(Image.open(f)) for f in files])
    images = ImageFiles(files, size, interpolation, mode)
    found = torch.as_tensor(images[:]).permute(0, 3, 1, 2)
    assert torch.equal(found.float() / 255, expected) and images.shape == (6, *expected.shape[2:], 3)


def test_a_model_sees_files_as_it_sees_their_pixels(folder, mini):
    images = files_for(mini, sorted(folder.iterdir()))
    assert images.how == (64, 64, "bilinear", "shortest", 0)
    assert torch.equal(mini.embed(images, batch=4), mini.embed(images.read(), batch=4))


def test_it_indexes_like_an_array(folder):
    files = ImageFiles(sorted(folder.iterdir()), 32)
    array = np.asarray(files)
    assert array.shape == files.shape and len(files) == 6
    mask = np.array([True, False, True, False, False, True])
    for index in (slice(1, 4), [4, 0], np.array([5]), mask, np.array([], int)):
        assert np.array_equal(files[index], array[index])
        assert np.array_equal(files.select(index).read(), array[index])
    assert np.array_equal(files[-1], array[-1]) and np.array_equal(files[np.int64(2)], array[2])
    assert np.array_equal(np.concatenate(list(files.batches(4))), array)
    with pytest.raises(IndexError):
        files.select([6])


def test_a_set_of_files_stays_unread_until_it_is_used(folder, monkeypatch):
    part = ImageSet("x", ImageFiles(sorted(folder.iterdir()), 32), np.arange(6) % 2, ("a", "b"))
    with monkeypatch.context() as patch:
        patch.setattr("forgetkit.data.files.read_image", lambda *a: pytest.fail("an image was read"))
        few = part.take([0, 3]).take(np.array([False, True]))
    assert isinstance(few.images, ImageFiles) and len(few) == 1
    loaded = few.loaded()
    assert isinstance(loaded.images, np.ndarray) and np.array_equal(loaded.images, part.images[[3]])
    assert loaded.loaded() is loaded


def test_a_truncated_image_among_many_is_named(folder):
    broken = folder / "0.JPEG"
    broken.write_bytes(broken.read_bytes()[:-200])
    files = ImageFiles(sorted(folder.iterdir()), 32)
    for read in (lambda: files[:], lambda: files[0], lambda: list(files.batches(2))):
        with pytest.raises(DataError, match=r"0\.JPEG cannot be read as an image .*truncated.*replace or remove it"):
            read()


def test_a_border_is_cut_off(tmp_path):
    framed = np.full((40, 40, 3), 200, np.uint8)
    framed[2:-2, 2:-2] = 10
    Image.fromarray(framed).save(tmp_path / "a.png")
    assert ImageFiles([tmp_path / "a.png"], 36, border=2)[0].max() == 10
    assert ImageFiles([tmp_path / "a.png"], 36)[0].max() > 100
