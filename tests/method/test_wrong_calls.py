"""Wrong calls: each is refused in one sentence that names what is wrong, before any work."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from synthetic_data import coloured_set, random_clip

from forgetkit import Grouped, Recipe, Subgroup, accuracies, evaluate, forget, remind, restore, score, split
from forgetkit.data.images import PARTS, DataError, ImageSet
from forgetkit.models.clip import Clip, ModelError

RECIPE = Recipe.default()
NONE = torch.full((4, 128), math.nan)


@pytest.fixture(scope="module")
def has(mini, colours, ready, prototypes):
    """What the calls below are about; `stage1` and `reminded` look like what the stages leave."""
    noted = {"layers": ["attnpool.c_proj.weight"], "subgroup": {"target": "red"}}
    clip = replace(mini, record={})
    parts = {part: coloured_set(8, seed) for seed, part in enumerate(PARTS)}
    other = split(Grouped(parts, Subgroup("yellow", ("blue",))))
    vit = random_clip(dict(image_size=32, layers=1, width=64, head_width=32, patch_size=16))
    resnet = random_clip(dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None))
    return SimpleNamespace(
        clip=clip, stage1=clip.copy("forget", stage="forget", **noted), vit=vit, resnet=resnet,
        reminded=clip.copy("remind", stage="remind", **noted), restored=clip.copy("restore", stage="restore", **noted),
        yellow=clip.copy("forget", stage="forget", subgroup={"target": "yellow"}), raw=colours, sets=ready,
        parts=parts, head=prototypes, other=other.on(mini, prototypes),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    """Nothing is computed: no image of a stage goes through a model."""
    monkeypatch.setattr(Clip, "embed_tensor", lambda *_: pytest.fail("work was begun"))


STAGES = [
    (lambda h: remind(h.clip, h.stage1, h.sets, RECIPE.remind), ModelError, "the first model is stage 1's result"),
    (
        lambda h: restore(h.clip, h.reminded, h.sets, RECIPE.restore),
        ModelError,
        r"restore\(unlearned, original, sets, rec",
    ),
    (lambda h: restore(h.restored, h.reminded, h.sets, RECIPE.restore), ModelError, "the second the original"),
    (lambda h: remind(h.clip, h.clip, h.sets, RECIPE.remind), ModelError, "the first model is stage 1's result"),
    (lambda h: restore(h.clip, h.clip, h.sets, RECIPE.restore), ModelError, "the second the original"),
    (lambda h: remind(h.stage1, h.clip, h.other, RECIPE.remind), ValueError, "forget 'red', .* of 'yellow'"),
    (lambda h: restore(h.reminded, h.clip, h.other, RECIPE.restore), ValueError, "forget 'red', .* of 'yellow'"),
    (lambda h: forget(h.clip, h.raw, RECIPE.forget), ValueError, r"hand over sets.on\(clip\)"),
    (lambda h: remind(h.stage1, h.clip, h.raw, RECIPE.remind), ValueError, r"hand over sets.on\(clip\)"),
    (lambda h: forget(h.vit, h.sets, RECIPE.forget), ValueError, r"hand over sets.on\(clip\)"),
    (lambda h: forget(h.resnet, h.sets, RECIPE.forget), ValueError, "on another model"),
    (lambda h: forget(h.sets, h.clip, RECIPE.forget), ValueError, "takes a model as load_clip makes it, got ModelSets"),
    (lambda h: forget(h.clip.model, h.sets, RECIPE.forget), ValueError, "got CLIP"),
    (lambda h: remind("forget", h.clip, h.sets, RECIPE.remind), ValueError, "got str"),
    (lambda h: forget(h.clip, h.parts, RECIPE.forget), ValueError, "sets that split draws, .* got dict"),
    (lambda h: forget(h.clip, None, RECIPE.forget), ValueError, "got NoneType"),
    (lambda h: forget(h.clip, h.sets, RECIPE), ValueError, "recipe.forget, got Recipe"),
    (lambda h: forget(h.clip, h.sets, RECIPE.remind), ValueError, "recipe.forget, got Remind"),
    (lambda h: remind(h.stage1, h.clip, h.sets, RECIPE.forget), ValueError, "recipe.remind, got Forget"),
    (lambda h: restore(h.reminded, h.clip, h.sets, {"alphas": [1]}), ValueError, "recipe.restore, got dict"),
]


def spoilt(clip: Clip, how) -> Clip:
    clip = clip.copy()
    how(clip.model)
    return clip


def with_pixel(sets, which: str, value: float):
    part = getattr(sets, which)
    images = part.images.clone()
    images[0, 0, 0, 0] = value
    return replace(sets, **{which: replace(part, images=images)})


NUMBERS = [
    (lambda h: forget(h.clip, with_pixel(h.sets, "forget", math.nan), RECIPE.forget), ValueError, "D_f holds pixels"),
    (lambda h: forget(h.clip, with_pixel(h.sets, "retain", math.inf), RECIPE.forget), ValueError, "D_r holds pixels"),
    (
        lambda h: forget(spoilt(h.clip, lambda m: m.logit_scale.data.fill_(math.nan)), h.sets, RECIPE.forget),
        ModelError,
        "NaN or infinite, in 1 of .*logit_scale",
    ),
    (
        lambda h: remind(h.stage1, spoilt(h.clip, lambda m: m.half()), h.sets, RECIPE.remind),
        ModelError,
        r"weights in float16.*clip.model.float\(\)",
    ),
    (
        lambda h: forget(spoilt(h.clip, lambda m: m.visual.train()), h.sets, RECIPE.forget),
        ModelError,
        r"training mode.*clip.model.eval\(\)",
    ),
    (lambda h: evaluate([spoilt(h.clip, lambda m: m.train())], h.raw.test), ModelError, "training mode"),
    (
        lambda h: replace(h.parts["train"], labels=h.parts["train"].labels.astype(float)),
        DataError,
        "labels are whole numbers, .* got float64",
    ),
    (
        lambda h: split(
            Grouped(
                {p: replace(part, classes=("red", "blue", "blue", "a")) for p, part in h.parts.items()},
                Subgroup("red", ("blue",)),
            )
        ),
        DataError,
        "two classes called 'blue'",
    ),
]
HEADS = [
    (lambda h: h.raw.on(h.clip, NONE), ModelError, "not finite"),
    (lambda h: h.raw.on(h.clip, torch.full((4, 128), math.inf)), ModelError, "not finite"),
    (lambda h: h.raw.on(h.clip, torch.zeros(4, 128)), ModelError, "rows that are zero"),
    (lambda h: h.raw.on(h.clip, torch.ones(4, 64)), ModelError, r"must be \(4, 128\).*got \(4, 64\)"),
    (lambda h: h.raw.on(h.clip, torch.ones(5, 128)), ModelError, r"must be \(4, 128\)"),
    (lambda h: h.raw.on(h.clip, torch.ones(128)), ModelError, r"got \(128,\)"),
    (lambda h: h.raw.on(h.clip, torch.ones(4, 128).long()), ModelError, "tensor of floats"),
    (lambda h: h.raw.on(h.clip, np.ones((4, 128))), ModelError, "tensor of floats, .* got ndarray"),
    (lambda h: h.raw.on(h.clip, "text"), ModelError, "got str"),
    (lambda h: accuracies(h.clip, h.raw.test, NONE), ModelError, "not finite"),
    (lambda h: accuracies(h.clip, h.raw.test, torch.ones(4, 3)), ModelError, r"must be \(4, 128\)"),
    (lambda h: accuracies(h.clip, h.raw.test, {"target": h.head}), ValueError, "no head for the column 'other'"),
    (lambda h: h.clip.head(["cat"], ["a photo."]), ModelError, "needs {} once"),
    (lambda h: h.clip.head(["cat"], ["a {} of a {}."]), ModelError, "needs {} once"),
    (lambda h: h.clip.head(["cat"], ["a {kind} of {}."]), ModelError, "no other braces"),
    (lambda h: h.clip.prototypes(h.parts["train"].take(range(8))), ModelError, "there is none of green, blue, yellow"),
]
EVALUATION = [
    (lambda h: evaluate([h.reminded, h.clip], h.raw.test), ModelError, "the original comes first"),
    (lambda h: evaluate([h.restored, h.clip], h.raw.test), ModelError, "the original comes first"),
    (lambda h: evaluate([], h.raw.test), ValueError, "the original first"),
    (lambda h: evaluate(h.clip, h.raw.test), ValueError, "are a list"),
    (lambda h: evaluate([h.clip.model], h.raw.test), ValueError, "as load_clip and the stages make them"),
    (lambda h: evaluate([h.clip], {}), ValueError, "at least one"),
    (lambda h: evaluate([h.clip], h.raw), ValueError, "image sets by name"),
    (lambda h: evaluate([h.clip], {"target": h.raw.forget.images}), ValueError, "image sets by name"),
    (lambda h: evaluate([h.clip], {"target": h.raw.forget.take([])}), ValueError, "with images"),
    (lambda h: score({"retain": 1.0}, {"retain": 1.0}), ValueError, "needs a column named 'target'"),
]
SETS = [
    (lambda h: Subgroup("red", "green"), DataError, r"tuple of names, as \('dog',\)"),
    (lambda h: Subgroup("red", (1, 2)), DataError, "tuple of names"),
    (lambda h: Subgroup(None, ("green",)), DataError, "the target is one"),
    (lambda h: Subgroup("red", ("green", "green")), DataError, "'green' is named twice"),
    (lambda h: Subgroup("red", ("red",)), DataError, "both target and sibling"),
    (lambda h: Subgroup("red", []), DataError, "no siblings"),
    (lambda h: split(Grouped(h.parts, "red")), DataError, r"Subgroup\(target, siblings\), got 'red'"),
    (lambda h: split(Grouped(h.parts["train"], Subgroup("red", ("blue",)))), DataError, "parts by name.* ImageSet"),
    (
        lambda h: split(Grouped({"train": h.parts["train"]}, Subgroup("red", ("blue",)))),
        DataError,
        "calibration.* missing",
    ),
    (lambda h: split(Grouped(h.parts, Subgroup("mauve", ("blue",)))), DataError, "no subgroup 'mauve'"),
    (lambda h: split(Grouped(h.parts, Subgroup("red", ("mauve",)))), DataError, "no subgroup 'mauve'"),
    (lambda h: split(Grouped(h.parts, Subgroup("red", ("blue",))), n_forget=-1), DataError, "n_forget .* got -1"),
    (
        lambda h: split(Grouped(h.parts, Subgroup("red", ("blue",))), n_retain=0.5),
        DataError,
        "n_retain .* whole number.* got 0.5",
    ),
    (lambda h: split(Grouped(h.parts, Subgroup("red", ("blue",))), n_forget="9"), DataError, "n_forget .* got '9'"),
    (
        lambda h: split(Grouped(h.parts, Subgroup("red", ("blue",))), n_calibration=0),
        DataError,
        "n_calibration .* got 0",
    ),
    (lambda h: split(Grouped(h.parts, Subgroup("red", ("blue",))), n_forget=99), DataError, "8 images of red"),
    (
        lambda h: split(Grouped(h.parts, Subgroup("a", ("b",)), groups={p: ["a"] for p in PARTS})),
        DataError,
        "train has another",
    ),
    (lambda h: ImageSet("x", np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, int), "cat"), DataError, "are tuples"),
    (
        lambda h: ImageSet("x", np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, int), ("c",), "a {}"),
        DataError,
        "are tuples",
    ),
    (lambda h: ImageSet("x", np.zeros((1, 2, 2, 3)), np.zeros(1, int), ("c",)), DataError, "uint8, got"),
    (lambda h: ImageSet("x", np.zeros((2, 2, 2, 3), np.uint8), np.zeros(1, int), ("c",)), DataError, "2 images but 1"),
    (lambda h: ImageSet("x", np.zeros((1, 2, 2, 3), np.uint8), np.ones(1, int), ("c",)), DataError, "labels must lie"),
]
VALUES = {
    "forget": dict(k=(0, -1, 1.5, "4", None), embedding_step=(0, -1e-3, 1.1, math.nan, "fast"), rank=(0, True),
                   batch=(0, 10**9),
                   steps=(-1,), trainable_fraction=(0, 1.1), stop=(-1, 101), margin=(-1, math.inf),
                   loss=("cosine",), seed=(-1,)),
    "remind": dict(steps=(0,), ema_decay=(1.0, -0.1), guard=(-1,), feature=(math.nan,),
                   trainable_fraction=(0, 1.1)),
    "restore": dict(alphas=((), (1.5,), (-0.1,), "0.5", 1, (math.nan,)), strengths=((-1.0,), "2", 1)),
}  # fmt: skip


@pytest.mark.parametrize("call, error, message", [*STAGES, *NUMBERS, *HEADS, *EVALUATION, *SETS])
def test_a_wrong_call_has_its_sentence(has, call, error, message):
    with pytest.raises(error, match=message) as told:
        call(has)
    assert str(told.value).count("\n") == 0 and len(str(told.value)) < 400


@pytest.mark.parametrize("stage, name, value", [(s, n, v) for s in VALUES for n in VALUES[s] for v in VALUES[s][n]])
def test_an_absurd_value_has_its_sentence(stage, name, value):
    with pytest.raises(ValueError, match=rf"^Recipe: {stage}.{name} must .*got ") as told:
        Recipe.default(**{stage: {name: value}})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "call", [lambda: Recipe(forget=RECIPE.remind), lambda: Recipe.default(forget=3), lambda: Recipe(1)]
)
def test_a_recipe_has_its_own_parts(call):
    with pytest.raises(ValueError, match="^Recipe: "):
        call()


def test_an_average_over_more_steps_than_there_are_is_told(has, caplog):
    with pytest.raises(BaseException, match="work was begun"):
        remind(has.stage1, has.clip, has.sets, replace(RECIPE.remind, ema_decay=0.99, steps=50))
    assert "averages over about 100 steps, and there are 50" in caplog.text and "Lower it to 0.96" in caplog.text
    caplog.clear()
    with pytest.raises(BaseException, match="work was begun"):
        remind(has.stage1, has.clip, has.sets, replace(RECIPE.remind, ema_decay=0.95, steps=50))
    assert "averages" not in caplog.text


@pytest.mark.parametrize("name, value", [("seed", -1), ("seed", None), ("n_forget", True), ("n_calibration", 1.5)])
def test_a_size_or_seed_that_is_no_whole_number_has_its_sentence(has, name, value):
    with pytest.raises(DataError, match=f"^{name} must be a whole number, at least [01], got {value}"):
        split(Grouped(has.parts, Subgroup("red", ("green",))), **{name: value})


def test_right_values_are_taken():
    recipe = Recipe.default(
        1, forget={"embedding_step": 1, "stop": None}, remind={"guard": 0}, restore={"alphas": [0, 0.5]}
    )
    assert recipe.restore.alphas == (0, 0.5) and recipe.forget.stop is None and recipe.remind.seed == 1


def test_a_second_run_begins_with_what_the_first_left(has):
    """The record of an earlier run comes back with a saved model, and is no wrong order."""
    again = has.restored.copy("forget", stage="forget")
    with pytest.raises(BaseException, match="work was begun"):
        remind(again, has.restored, has.sets, RECIPE.remind)
