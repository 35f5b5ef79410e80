"""The paper's models at full width, weights random: every stage, every shape. Few images, a step or two."""

import numpy as np
import pytest
import torch

from forgetkit import Recipe, Subgroup, load_clip, split
from forgetkit.alignment import norm_layers
from forgetkit.data.sets import PARTS, ImageSet
from forgetkit.pipeline import unlearn

FEW = dict(k=2, fisher_samples=2, forget_steps=1, forget_stop=None, forget_spare=None, forget_batch=2, align_steps=1,
           align_layernorm=True, remind_steps=1, remind_batch=1, remind_mirrored=False, n_noise=2, n_abstract=2,
           alphas=(1.0,))  # fmt: skip


def noise_set(seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 2)
    return ImageSet("noise", rng.integers(0, 255, (6, 40, 50, 3), np.uint8), labels, ("cat", "dog", "cup"))


@pytest.mark.slow
@pytest.mark.parametrize("name, embed_dim, norms", [("RN50", 1024, 55), ("RN101", 512, 106), ("ViT-B-16", 512, 26)])
def test_all_stages_at_full_width(name, embed_dim, norms):
    clip = load_clip(name, device="cpu")
    sizes = dict(n_forget=2, n_retain=2, n_calibration=1, n_calibration_target=1)
    sets = split({p: noise_set(i) for i, p in enumerate(PARTS)}, Subgroup("cat", ("dog",)), **sizes)
    assert clip.image_size == 224 and len(norm_layers(clip.model.visual)) == norms
    models = unlearn(clip, sets, Recipe.default(**FEW))
    assert [m.name for m in models] == ["original", "forget", "remind", "restore"]
    before, after = clip.model.state_dict(), models[-1].model.state_dict()
    assert before.keys() == after.keys() and all(before[k].shape == after[k].shape for k in before)
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert len(models[2].record["align"]) == norms
    z = models[-1].embed(sets.test["target"].images)
    assert z.shape == (2, embed_dim) and torch.isfinite(z).all()
