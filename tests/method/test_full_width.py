"""The paper's models at full width, weights random: every stage, every shape. Few images, a step or two."""

import numpy as np
import pytest
import torch

from forgetkit import Grouped, Recipe, Subgroup, load_clip, split, unlearn
from forgetkit.data import PARTS, ImageSet
from forgetkit.models.clip import batch_norms

FEW = dict(
    forget={"k": 2, "fisher_samples": 2, "steps": 1, "stop": None, "min_retain": None, "batch": 2},
    remind={"align_steps": 1, "steps": 1, "batch": 1, "n_abstract": 2},
    restore={"alphas": (1.0,)},
)


def noise_set(seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 2)
    return ImageSet("noise", rng.integers(0, 255, (6, 40, 50, 3), np.uint8), labels, ("cat", "dog", "cup"))


@pytest.mark.slow
@pytest.mark.parametrize("name, embed_dim, norms", [("RN50", 1024, 55), ("RN101", 512, 106), ("ViT-B-16", 512, 0)])
def test_all_stages_at_full_width(name, embed_dim, norms):
    clip = load_clip(name, device="cpu")
    sizes = dict(n_forget=2, n_retain=2, n_calibration=1, n_calibration_target=1)
    sets = split(Grouped({p: noise_set(i) for i, p in enumerate(PARTS)}, Subgroup("cat", ("dog",))), **sizes)
    assert clip.image_shape[0] == 224 and len(batch_norms(clip.model)) == norms
    models = unlearn(clip, sets, Recipe.default(**FEW))
    assert [m.name for m in models] == ["original", "forget", "remind", "restore"]
    before, after = clip.model.state_dict(), models[-1].model.state_dict()
    assert before.keys() == after.keys() and all(before[k].shape == after[k].shape for k in before)
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert len(models[2].record.get("align", [])) == norms
    z = models[-1].embed(sets.test["target"].images)
    assert z.shape == (2, embed_dim) and torch.isfinite(z).all()
