"""What is kept: found where everything is the same, computed where anything is another, healed where it is damaged."""

import logging
import os
import random
import threading
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from open_clip.transformer import QuickGELU
from PIL import Image

from forgetkit import Recipe, accuracies, evaluate, forget, remind, store
from forgetkit.alignment import align
from forgetkit.data import DataError, ImageSet
from forgetkit.data.reading import files_for
from forgetkit.lora import adapt, merge
from forgetkit.store import Cache, key, once

RECIPE = Recipe.default(
    forget={"k": 2, "rank": 2, "fisher_samples": 4, "steps": 2, "stop": None, "batch": 8},
).forget


class Counting(Cache):
    """A cache that counts what is computed."""

    calls = 0

    def result(self, stage, args, pieces, compute):
        def counting():
            self.calls += 1
            return compute()

        return super().result(stage, args, pieces, counting)


def test_the_second_time_it_is_read_and_equal_to_the_bit(mini, ready, tmp_path):
    cache = Counting(tmp_path)
    first, second = (forget(mini, ready, RECIPE, cache=cache) for _ in range(2))
    assert cache.calls == 1
    a, b = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert second.name == "forget" and second.record == first.record


def test_a_model_of_which_nothing_was_noted_takes_what_was_kept(mini, ready, tmp_path):
    noted = replace(mini, record={**mini.record, "source": {"model": "some"}})
    forget(noted, ready, RECIPE, cache=Cache(tmp_path))
    cache = Counting(tmp_path)
    assert "source" not in forget(replace(mini, record={}), ready, RECIPE, cache=cache).record and not cache.calls


def test_any_damage_is_told_and_the_stage_computed_anew(mini, ready, tmp_path, caplog):
    cache = Counting(tmp_path)
    wanted = forget(mini, ready, RECIPE, cache=cache).model.state_dict()
    (file,) = tmp_path.iterdir()
    whole, rng = file.read_bytes(), random.Random(0)
    for damage in ("cut", "flip", "flip", "note"):
        content = bytearray(whole[: len(whole) // 2] if damage == "cut" else whole)
        if damage != "cut":
            content[rng.randrange(len(whole)) if damage == "flip" else 40] ^= 1
        file.write_bytes(content)
        before = cache.calls
        with caplog.at_level(logging.WARNING):
            found = forget(mini, ready, RECIPE, cache=cache).model.state_dict()
        assert cache.calls == before + 1 and "made anew" in caplog.text
        assert all(torch.equal(found[k], wanted[k]) for k in wanted)


def test_a_folder_that_cannot_be_written_costs_a_warning_only(mini, ready, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        found = forget(mini, ready, RECIPE, cache=Cache(blocked))
    assert found.name == "forget" and "could not be kept" in caplog.text


def test_the_files_not_used_for_longest_go(tmp_path, monkeypatch):
    monkeypatch.setitem(store.MOST, "stages", 2)
    for i in range(4):
        store.write(tmp_path / "stages" / f"s{i}", {"x": torch.ones(1)})
        os.utime(tmp_path / "stages" / f"s{i}", (i, i))
        store.read(tmp_path / "stages" / "s0")
    assert {file.name for file in (tmp_path / "stages").iterdir()} == {"s0", "s3"}


def test_the_key_depends_on_weights_images_recipe_and_head(mini, colours, ready, prototypes):
    base = key("forget", mini, ready, RECIPE)
    assert base == key("forget", mini.copy(), colours.on(mini, prototypes.clone()), replace(RECIPE))
    changed = mini.copy()
    changed.model.visual.attnpool.k_proj.bias.data[0] += 1e-3
    assert key("forget", changed, ready, RECIPE) != base
    images = colours.forget.images.copy()
    images[0, 0, 0, 0] ^= 1
    other = replace(colours, forget=replace(colours.forget, images=images)).on(mini, prototypes)
    assert key("forget", mini, other, RECIPE) != base
    assert key("forget", mini, ready, replace(RECIPE, rank=3)) != base
    assert key("forget", mini, colours.on(mini, prototypes.flip(0)), RECIPE) != base
    assert key("remind", mini, ready, RECIPE) != base


def test_the_key_depends_on_the_activation_and_not_on_the_order_of_weights(vit):
    base = key(vit)
    other = vit.copy()
    for block in other.model.visual.transformer.resblocks:
        block.mlp.gelu = QuickGELU()
    assert key(other) != base, "the weights are the same"
    moved = vit.copy()
    fc = moved.model.visual.transformer.resblocks[0].mlp.c_fc
    adapt(moved.model.visual, ["transformer.resblocks.0.mlp.c_fc.weight"], 1, 1.0)
    merge(moved.model.visual)
    assert list(fc.state_dict()) == ["bias", "weight"], "or the rest says nothing"
    assert key(moved) == base


def test_a_weight_with_two_names_has_a_key_and_is_kept(vit, tmp_path):
    vit.model.visual.twin = vit.model.visual.proj
    assert key(vit) == key(vit.copy())
    state = vit.model.visual.state_dict()
    store.write(tmp_path / "entry", state)
    assert all(torch.equal(store.read(tmp_path / "entry")[0][name], state[name]) for name in state)


def test_stage_2_with_other_terms_aligns_the_same_images_once(mini, ready, tmp_path):
    sizes = {"steps": 1, "batch": 4, "rank": 2, "align_steps": 1, "n_abstract": 0}
    plain, other = (Recipe.default(remind={**sizes, "guard": guard}).remind for guard in (3.0, 0.0))
    made, stage1 = [], forget(mini, ready, RECIPE)

    @wraps(align)
    def counting(*args):
        made.append(args)
        return align(*args)

    aligned = once(counting)
    found = [remind(stage1, mini, ready, recipe, align=aligned, cache=Cache(tmp_path)) for recipe in (plain, other)]
    assert len(made) == 1
    a, b = remind(stage1, mini, ready, plain).model.state_dict(), found[0].model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    b = found[1].model.state_dict()
    assert not all(torch.equal(a[name], b[name]) for name in a), "or the key is the same"


def chosen(layer: str, seen: list | None = None):
    """Another `choose`, as a notebook's cell makes it: a new function of the same name each time."""

    def choose(clip, sets, recipe):
        return [layer], pd.DataFrame({"layer": [layer], "ratio": [1.0]})

    return choose


def test_an_edited_piece_is_another_and_an_unknown_one_is_not_kept(mini, ready, tmp_path, caplog):
    cache, layers = Counting(tmp_path), ("layer4.1.conv3.weight", "layer3.0.conv1.weight")
    for _ in range(2):
        for layer in layers:
            found = forget(mini, ready, RECIPE, cache=cache, choose=chosen(layer))
            assert found.record["layers"] == [layer]
    assert cache.calls == 2
    lock = threading.Lock()

    def locked(clip, sets, recipe):
        with lock:
            return chosen(layers[0])(clip, sets, recipe)

    with caplog.at_level(logging.WARNING):
        assert forget(mini, ready, RECIPE, cache=cache, choose=locked).name == "forget"
    assert "not kept: it depends on a lock of _thread" in caplog.text and len([*tmp_path.iterdir()]) == 2


def test_the_record_is_of_this_call(mini, ready, tmp_path):
    cache, source = Counting(tmp_path), {**mini.record["source"], "weights": "mine.safetensors"}
    first = forget(mini, ready, RECIPE, cache=cache)
    same = forget(replace(mini, record={**mini.record, "source": source}), ready, RECIPE, cache=cache)
    assert cache.calls == 1 and same.record == {**first.record, "source": source}
    audited = replace(mini, record={**mini.record, "audit": 7})
    computed, kept = (forget(audited, ready, RECIPE, cache=cache) for _ in range(2))
    assert cache.calls == 2 and kept.record == computed.record


# --------------------------------------------------------------------------------------------------
# Embeddings


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
    monkeypatch.setattr(store, "SHARD", 2)
    embed = partial(store.embed, mini, images, folder=tmp_path / "kept")
    first = embed()
    assert seen == [2, 2, 1] and torch.equal(first, mini.embed(images.read(), batch=2).cpu())
    seen.clear()
    assert torch.equal(embed(), first) and not seen

    Image.new("RGB", (70, 80), "red").save(images.files[3])
    again = embed()
    assert seen == [2], "only the entry that the changed file is in"
    assert torch.equal(again[:2], first[:2]) and not torch.equal(again[3], first[3])
    seen.clear()
    status = os.stat(images.files[0])
    os.utime(images.files[0], (1, 1))
    assert torch.equal(embed(), again) and not seen, "the time of change says nothing"
    Path(images.files[0]).write_bytes(Path(images.files[1]).read_bytes())
    os.utime(images.files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    embed()
    assert seen == [2], "nor does it where the content is another"


def test_the_weights_are_hashed_once_however_many_files_there_are(mini, images, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD", 1)
    hashed, real = [], store.key
    monkeypatch.setattr(store, "key", lambda *parts: hashed.append(mini in parts) or real(*parts))
    store.embed(mini, images, folder=tmp_path / "kept")
    assert len(hashed) == 6 and sum(hashed) == 1


def test_other_weights_and_other_reading_are_other_embeddings(mini, images, seen, tmp_path):
    store.embed(mini, images, folder=tmp_path)
    other = mini.copy("other")
    with torch.no_grad():
        next(other.model.visual.parameters()).add_(0.1)
    seen.clear()
    store.embed(other, images, folder=tmp_path)
    store.embed(mini, files_for(mini, images.files, border=1), folder=tmp_path)
    assert seen == [5, 5]


def test_another_tokenizer_is_another_head(mini, tmp_path):
    backwards = replace(mini, tokenizer=lambda texts, *_: mini.tokenizer([text[::-1] for text in texts]))
    heads = [store.head(clip, ["cat", "dog"], ["a {}"], tmp_path) for clip in (mini, backwards, mini)]
    assert torch.equal(heads[0], heads[2]) and not torch.equal(heads[0], heads[1]) and len([*tmp_path.iterdir()]) == 2


def test_what_is_finished_before_a_broken_file_is_kept(mini, images, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD", 2)
    whole = open(images.files[4], "rb").read()
    open(images.files[4], "wb").write(whole[:-300])
    with pytest.raises(DataError, match=r"4\.JPEG"):
        store.embed(mini, images, folder=tmp_path / "kept")
    open(images.files[4], "wb").write(whole)
    seen.clear()
    store.embed(mini, images, folder=tmp_path / "kept")
    assert seen == [1], "the four before it are not embedded again"


@pytest.mark.parametrize("spoil, message", [(os.remove, "cannot be read"), (lambda f: open(f, "w"), "is empty")])
def test_a_missing_or_empty_file_is_told_before_anything_is_embedded(mini, images, seen, tmp_path, spoil, message):
    spoil(images.files[2])
    with pytest.raises(DataError, match=rf"2\.JPEG {message}"):
        store.embed(mini, images, folder=tmp_path / "kept")
    assert not seen


def test_accuracies_are_those_of_the_evaluation(mini, images, tmp_path, monkeypatch):
    monkeypatch.setenv("FORGETKIT_CACHE", str(tmp_path))
    columns = {"target": ImageSet("x", images, np.array([0, 1, 0, 1, 0]), ("cat", "ship"))}
    heads = store.heads(mini, columns)
    assert torch.equal(heads["target"], mini.head(("cat", "ship"), columns["target"].prompts))
    found = store.accuracies(mini, columns, heads)
    assert found == accuracies(mini, columns) == accuracies(mini, columns, heads)
    assert evaluate([mini, mini], columns, found, heads)["target"].nunique() == 1
