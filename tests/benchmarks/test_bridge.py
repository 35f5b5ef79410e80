"""The bridge to a real CLIP: facts of the models themselves, and of rows only what they say."""

import open_clip
import pandas as pd
import pytest

from benchmarks import bridge
from forgetkit.lessons.committed import committed
from forgetkit.models.loading import load_clip


@pytest.fixture(scope="module")
def facts():
    return bridge.bridge()


def test_it_says_what_the_loaded_model_is(facts):
    clip, told = load_clip(device="cpu"), facts["mini-clip"]
    numbers = [sum(p.numel() for p in part.parameters()) for part in (clip.model.visual, clip.model)]
    assert [float(told[f"weights, {of} (millions)"]) for of in ("image tower", "both towers")] == pytest.approx(
        [n / 1e6 for n in numbers], abs=0.05
    )
    assert told["pixels"] == "{} × {}".format(*clip.image_shape)
    assert told["image tower"] == type(clip.model.visual).__name__


def test_the_committed_table_is_what_it_says(facts):
    pd.testing.assert_frame_equal(committed("bridge").set_index("fact"), facts, check_names=False, check_dtype=False)


def test_alignment_is_for_models_with_batch_norm(facts):
    assert facts.loc["alignment"].str[:3].tolist() == ["yes", "yes", "no,"]
    assert "55 BatchNorm" in facts.loc["alignment", "RN50"], "as open_clip's RN50 has"


def test_what_no_row_says_is_not_told(monkeypatch):
    rows = {
        "gpu": pd.DataFrame(
            {"device": ["CPU (x86_64), 2 threads", "a GPU"], "batch": [8, 256], "images_s": [4.0, 512.0]}
        ).assign(model="RN50", stage="remind", peak_mb=9),
        "quickstart": pd.DataFrame({"forget": ["cat", "cat", "dog"], "seconds": [1.0, 2.0, 4.0]}).assign(device="CPU"),
        "real": pd.DataFrame({"model": ["ViT-B-16-quickgelu"], "method": ["default"], "subgroup": ["ship"]}).assign(
            pixels=112, seconds=70.0, device="a GPU"
        ),
    }
    monkeypatch.setattr(bridge, "committed", rows.get)
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: pytest.fail("weights are made"))
    found = bridge.bridge()
    assert found.loc["a step of stage 2 (seconds)"].tolist() == [
        bridge.UNKNOWN, "2.00 (8 images; CPU), 0.50 (256 images; a GPU)", bridge.UNKNOWN,
    ]  # fmt: skip
    assert found.loc["all stages (seconds)"].tolist() == [
        "3 (cat; CPU)", bridge.UNKNOWN, "70 (ship, at 112 pixels; a GPU)",
    ]  # fmt: skip
