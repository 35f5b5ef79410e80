"""Image sets: what they hold, what they refuse."""

from dataclasses import replace

import numpy as np
import pytest

from forgetkit.data import DataError, ImageSet


def small_set():
    images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    return ImageSet("small", images, np.array([0, 1, 1, 0]), ("cat", "dog"), ("a {}.",))


def test_take_accepts_indices_masks_and_nothing():
    s = small_set()
    assert s.take([3, 1]).labels.tolist() == [0, 1]
    assert np.array_equal(s.take([3, 1]).images, s.images[[3, 1]])
    assert np.array_equal(s.take(s.names == "dog").images, s.images[1:3])
    assert len(s.take([])) == 0 and s.take([]).images.shape == (0, 2, 2, 3)
    assert s.take([0]).prompts == ("a {}.",) and s.take([0]).classes == s.classes
    with pytest.raises(IndexError):
        s.take([4])


def test_image_set_refuses_what_does_not_fit():
    s = small_set()
    with pytest.raises(DataError, match=r"small: images must be \(N, H, W, 3\) uint8, got \(4, 2, 2, 3\) float64"):
        replace(s, images=s.images / 255)
    with pytest.raises(DataError, match="4 images but 3 labels"):
        replace(s, labels=s.labels[:3])
    with pytest.raises(DataError, match=r"labels must lie in 0..1"):
        replace(s, labels=s.labels + 1)
