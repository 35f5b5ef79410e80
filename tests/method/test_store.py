"""Kept stages: found where everything is the same, computed where anything is another."""

import logging
from dataclasses import fields, replace

import pytest
import torch
from open_clip.transformer import QuickGELU

from forgetkit import Recipe, forget, remind, restore
from forgetkit.lora import adapt, merge
from forgetkit.store import cached, key

QUICK = dict(k=2, rank=2, fisher_samples=4, forget_steps=2, forget_stop=None, remind_steps=2, align_steps=1,
             n_noise=4, n_abstract=4, remind_batch=8, forget_batch=8, alphas=(0.0, 1.0))  # fmt: skip


@pytest.fixture
def counted(monkeypatch):
    """`forget`, counting how often it is computed."""
    calls = []

    def counting(clip, sets, recipe, head=None):
        calls.append(1)
        return forget(clip, sets, recipe, head)

    counting.__name__ = "forget"
    return counting, calls


def test_the_second_time_it_is_read_and_equal_to_the_bit(counted, mini, colours, prototypes, tmp_path):
    stage, calls = counted
    recipe = Recipe.default(**QUICK)
    first, second = (cached(stage, tmp_path)(mini, colours, recipe, prototypes) for _ in range(2))
    assert len(calls) == 1
    a, b = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert second.name == "forget" and second.record == first.record


def test_a_damaged_entry_is_computed_anew(counted, mini, colours, prototypes, tmp_path, caplog):
    stage, calls = counted
    recipe = Recipe.default(**QUICK)
    cached(stage, tmp_path)(mini, colours, recipe, prototypes)
    (file,) = tmp_path.glob("*/visual.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        cached(stage, tmp_path)(mini, colours, recipe, prototypes)
    assert len(calls) == 2 and "damaged" in caplog.text


def test_a_folder_that_cannot_be_written_costs_a_warning_only(counted, mini, colours, prototypes, tmp_path, caplog):
    stage, calls = counted
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        found = cached(stage, blocked)(mini, colours, Recipe.default(**QUICK), prototypes)
    assert found.name == "forget" and "could not be kept" in caplog.text


def test_old_entries_go(mini, colours, prototypes, tmp_path, monkeypatch):
    monkeypatch.setattr("forgetkit.store.KEPT", 2)
    for seed in range(3):
        cached(forget, tmp_path)(mini, colours, Recipe.default(**QUICK, seed=seed), prototypes)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_key_depends_on_weights_images_recipe_and_head(mini, colours, prototypes):
    recipe = Recipe.default()
    base = key("forget", mini, colours, recipe, prototypes)
    assert base == key("forget", mini.copy(), colours, Recipe.default(), prototypes.clone())
    changed = mini.copy()
    changed.model.visual.attnpool.k_proj.bias.data[0] += 1e-3
    assert key("forget", changed, colours, recipe, prototypes) != base
    images = colours.forget.images.copy()
    images[0, 0, 0, 0] ^= 1
    other = replace(colours, forget=replace(colours.forget, images=images))
    assert key("forget", mini, other, recipe, prototypes) != base
    assert key("forget", mini, colours, Recipe.default(rank=3), prototypes) != base
    assert key("forget", mini, colours, recipe, prototypes + 1) != base
    assert key("forget", mini, colours, Recipe.default(ema_decay=0.5), prototypes) == base, "stage 1 does not read it"


def test_the_key_depends_on_the_activation_and_not_on_the_order_of_weights(vit, colours):
    head = torch.zeros(4, 16)
    base = key("forget", vit, colours, Recipe.default(), head)
    other = vit.copy()
    for block in other.model.visual.transformer.resblocks:
        block.mlp.gelu = QuickGELU()
    assert key("forget", other, colours, Recipe.default(), head) != base, "the weights are the same"
    moved = vit.copy()
    fc = moved.model.visual.transformer.resblocks[0].mlp.c_fc
    adapt(moved.model.visual, ["transformer.resblocks.0.mlp.c_fc.weight"], 1, 1.0)
    merge(moved.model.visual)
    assert list(fc.state_dict()) == ["bias", "weight"], "or the rest says nothing"
    assert key("forget", moved, colours, Recipe.default(), head) == base


@pytest.mark.parametrize("stage", ["forget", "remind", "restore"])
def test_a_stage_reads_nothing_that_its_key_leaves_out(stage, mini, colours, prototypes):
    """Every value of the recipe that `read_by` leaves out raises where the stage touches it."""
    recipe = Recipe.default(**QUICK)
    before = forget(mini, colours, recipe, prototypes)

    class Guarded:
        def __getattr__(self, name):
            if name in {f.name for f in fields(Recipe)} and name not in recipe.read_by(stage):
                raise AssertionError(f"{stage} reads {name}, but its key leaves it out")
            return getattr(recipe, name)

    if stage == "forget":
        forget(mini, colours, Guarded(), prototypes)
    else:
        {"remind": remind, "restore": restore}[stage](before, mini, colours, Guarded(), prototypes)


def test_two_stages_read_different_values():
    read = {stage: set(Recipe.default().read_by(stage)) for stage in ("forget", "remind", "restore")}
    assert read["restore"] == {"alphas", "soup_target_limit"}
    assert "forget_lr" in read["forget"] and "forget_lr" not in read["remind"]
    assert "ema_decay" in read["remind"] and "ema_decay" not in read["forget"]
    assert {"seed", "rank", "alpha", "guard_margin", "k"} <= read["forget"] & read["remind"]
