"""Stages and evaluation take a CoCa, whose tower has two outputs, and a SigLIP, whose probabilities are sigmoids."""

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from synthetic_data import COLOURS, coloured_set

from forgetkit import Recipe, evaluate, unlearn
from forgetkit.evaluation import recognised
from forgetkit.losses import class_distillation, contrastive
from forgetkit.models.clip import Clip

TEXT = dict(context_length=8, vocab_size=49408, width=32, heads=2, layers=1)
VIT = dict(image_size=32, layers=2, width=64, head_width=32, patch_size=8)


def clip_of(model: torch.nn.Module, size: int = 32) -> Clip:
    model.visual.preprocess_cfg = open_clip.transform.PreprocessCfg(size=size).__dict__
    return Clip(model.eval(), open_clip.SimpleTokenizer(context_length=8), "original")


def coca() -> Clip:
    pooling = dict(attentional_pool=True, attn_pooler_heads=2, output_tokens=True)
    decoder = dict(TEXT, attn_pooler_heads=2, context_length=8)
    text = dict(TEXT, embed_cls=True, output_tokens=True)
    model = open_clip.CoCa(32, decoder, text, VIT | pooling)
    torch.nn.init.zeros_(model.text_decoder.text_projection)  # which open_clip leaves as the memory was
    return clip_of(model)


@pytest.fixture(scope="module")
def siglip() -> Clip:
    """A small one that knows four colours: 40 steps of the sigmoid loss on images and names."""
    torch.manual_seed(0)
    text = dict(TEXT, no_causal_mask=True, proj_bias=True, pool_type="last")
    clip = clip_of(open_clip.CustomTextCLIP(32, VIT, text, init_logit_scale=float(np.log(10)), init_logit_bias=-10))
    shown = clip.inputs(coloured_set(60, 1))
    texts = clip.tokenizer([f"a photo of a {name}." for name in COLOURS])
    optimizer = torch.optim.AdamW(clip.model.parameters(), lr=1e-3)
    for _ in range(40):
        some = torch.randint(len(shown), (64,))
        head = F.normalize(clip.model.encode_text(texts), dim=-1)
        scale, bias = clip.model.logit_scale.exp(), clip.model.logit_bias
        loss = contrastive(clip.embed_tensor(shown.images[some]), shown.labels[some], head, scale, bias)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return clip


def test_a_coca_goes_through_all_stages(colours):
    torch.manual_seed(0)
    clip = coca()
    sets = colours.on(clip)
    few = {"steps": 2, "batch": 4}
    recipe = Recipe.default(forget=few | {"fisher_samples": 2, "k": 1}, remind=few | {"n_abstract": 2})
    models = unlearn(clip, sets, recipe)
    assert models[-1].embed(sets.forget.images).shape == (30, 32)
    assert "target" in evaluate([clip, *models], sets.test)


def test_a_siglip_forgets_a_colour_and_keeps_the_others_with_the_recipes_values(siglip, colours):
    sets = colours.on(siglip)
    assert sets.bias is not None and recognised(siglip, sets.test["target"], sets.head) > 90
    restored = unlearn(siglip, sets, Recipe.default())[-1]
    assert recognised(restored, sets.test["target"], sets.head) < 10
    assert recognised(restored, sets.test["retain"], sets.head) > 80


def test_sigmoid_losses_are_what_their_equations_say():
    torch.manual_seed(0)
    z, teacher, head = (F.normalize(torch.randn(n, 8), dim=1) for n in (5, 5, 4))
    labels, scale, bias = torch.tensor([0, 1, 2, 3, 1]), torch.tensor(10.0), torch.tensor(-3.0)
    logits = scale * z @ head.T + bias
    sign = 2 * F.one_hot(labels, 4) - 1
    torch.testing.assert_close(contrastive(z, labels, head, scale, bias), -F.logsigmoid(sign * logits).sum(1).mean())
    p, q = (scale * teacher @ head.T + bias).sigmoid(), logits.sigmoid()
    kl = lambda p, q: p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(class_distillation(z, teacher, head, scale, bias=bias), kl(p, q).sum(1).mean())
    others = kl(p, q)[:, [1, 3]].sum(1) - (1 - q[:, 2]).log()  # class 0 left out, class 2 never to be named
    torch.testing.assert_close(class_distillation(z, teacher, head, scale, [0], [2], bias), others.mean())
