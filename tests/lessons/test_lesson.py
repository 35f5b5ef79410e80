"""What notebooks share: parameters checked, source shown, training watched, widgets that only look up."""

import base64
import io
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from forgetkit.__main__ import check_lesson
from forgetkit.alignment import align
from forgetkit.batch.notebook import VIEW, clean
from forgetkit.lessons import browse, exercises, lesson
from forgetkit.lessons.widgets import png
from forgetkit.recipe import Recipe


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(kind="flavour"), "choose one of class, coarse, style, cluster"),
        (dict(kind="class", target="unicorn"), "choose one of airplane"),
        (dict(kind="style", target="cat"), "no style here: choose one of airplane sketches"),
        (dict(recipe="secret"), "choose 'default' or 'paper'"),
        (dict(changes={"remind": {"stepps": 3}}), "stepps"),
        (dict(recipe="paper", changes={"reminding": {}}), "reminding"),
        (dict(model="RN5000"), "choose 'mini'"),
        (dict(model="RN50", pretrained=""), "a random one.*give `pretrained`"),
        (dict(model="ViT-B-16", pretrained=None), "a random one"),
        (dict(device="cuda:77"), "choose 'auto' or 'cpu'"),
        (dict(seed=-1), "a whole number, at least 0"),
        (dict(seed="0"), "a whole number"),
        (dict(seed=None), "a whole number"),
        (dict(n_forget=0), "at least 1"),
        (dict(n_retain=True), "at least 1"),
        (dict(kind="class", target="cat", n_forget=100_000), "at least 1, at most 500"),
        (dict(kind="class", target="cat", n_retain=4), "at least 5, at most 2,500"),
        (dict(kind="style", target="cat sketches", n_forget=21), "at most 20"),
        (dict(head="tail"), "choose 'text'"),
        (dict(siblings=["dog"], data_dir=""), r"siblings=\['dog'\] is for pictures of your own"),
        (dict(labels="pet", data_dir=""), "labels='pet' is for pictures of your own"),
        (dict(head="images", data_dir=""), "head='images' is for pictures of your own"),
        (dict(kind="folder", data_dir=""), "go together"),
        (dict(pretrained="nonsense"), "no tag of open_clip's for model='mini', and no file"),
        (dict(model="RN50", pretrained="nonsense"), "no tag of open_clip's for model='RN50'"),
        (dict(oracle="nonsense"), "oracle='nonsense': choose 'mini'"),
        (dict(out="/proc/nowhere/x"), "nothing can be written there"),
        (dict(out=7), "out=7: nothing can be written there"),
        (dict(recipe="paper", changes=3), "^changes=3: values of the recipe by stage"),
        (
            dict(kind="class", target="unicorn", seed=-1, n_test=0),
            r"(?s)^target='unicorn' is .*\nseed=-1: .*\nn_test=0: ",
        ),
    ],
)
def test_a_wrong_parameter_is_told_with_the_choices(values, message):
    with pytest.raises(ValueError, match=message):
        lesson.check_parameters(**values)


@pytest.mark.parametrize("given", [dict(kind="folder"), dict(own=("pictures", [], "", "", "text"))], ids=str)
def test_a_folder_and_its_kind_go_together(given):
    with pytest.raises(ValueError, match="go together"):
        lesson.start(**given)


def test_right_parameters_pass():
    lesson.check_parameters(
        kind="cluster", target="dog 1", seed=3, n_forget=10, n_retain=None, recipe="paper",
        changes={"remind": {"steps": 3}}, model="RN50", pretrained="openai", device="cpu",
    )  # fmt: skip
    lesson.check_parameters(model="mini", pretrained="")
    lesson.check_parameters(kind="coarse", target="truck", n_forget=500, n_retain=3, n_test=10**6)
    lesson.check_parameters(siblings=[], labels="", head="text", data_dir="", oracle="auto")
    lesson.check_parameters(
        kind="folder", siblings=["dog"], labels="pet", head="images", data_dir="pictures", oracle=""
    )
    lesson.check_parameters(model="RN50", pretrained="weights/mine.pt")  # from the folder that a run works in


def test_a_lesson_refuses_random_weights_before_it_makes_them(monkeypatch):
    monkeypatch.setattr(lesson, "load_clip", lambda *_: pytest.fail("a model was made"))
    with pytest.raises(ValueError, match="model='RN50' without weights"):
        lesson.start(model="RN50")
    with pytest.raises(ValueError, match="(?s)oracle='nonsense'.*out='/proc/x': nothing can be written there"):
        lesson.start(oracle="nonsense", out="/proc/x")
    with pytest.raises(ValueError, match="model='RN50' without weights"):
        check_lesson("pretrained", "", {"model": "RN50"})  # as a sweep asks


@pytest.mark.slow
def test_a_lesson_starts_on_the_sets_as_the_model_takes_them_or_as_images(capsys):
    asked = dict(kind="style", target="cat sketches", n_retain=20, recipe="paper", changes={"forget": {"k": 2}})
    clip, sets, settings = lesson.start(**asked)
    assert "forget 'cat sketches', keep cat photos, cat icons" in capsys.readouterr().out
    assert sets.forget.images.shape[1:] == (3, *clip.image_shape) and sets.head.shape[0] == len(sets.classes)
    assert len(sets.forget) < 400 and len(sets.retain) == 20, "all there are, and as many as asked for"
    assert settings.name == "paper" and settings.forget.k == 2
    _, images, _ = lesson.start(**asked, as_images=True, n_test=5)
    assert images.forget.images.dtype == np.uint8 and not hasattr(images, "head")
    assert max(map(len, images.test.values())) == 5 < max(map(len, images.validation.values()))


def test_a_recipe_without_a_stage_1_shows_none_and_takes_the_papers_where_a_lesson_needs_one():
    ours, published = Recipe.default(seed=3), Recipe.paper(seed=3)
    assert lesson.stage1_of(ours) == lesson.stage1_of(published) == published.forget
    models = [SimpleNamespace(name=name, record={"layers": []}) for name in ("original", "forget", "remind", "restore")]
    assert [*lesson.stages(models)] == ["original", "remind", "restore"]
    models[1].record["layers"] = ["a"]
    assert [*lesson.stages(models).values()] == models


def test_few_images_of_each_column_are_the_same_in_every_call(colours):
    few = lesson.few(colours.test, 5)
    assert few.keys() == colours.test.keys() and all(len(part) == 5 for part in few.values())
    again = lesson.few(colours.test, 5)["target"]
    assert np.array_equal(few["target"].images, again.images)
    assert not np.array_equal(few["target"].images, lesson.few(colours.test, 5, seed=1)["target"].images)


def test_the_table_is_kept_rounded_and_handed_on(tmp_path):
    table = pd.DataFrame({"target": [1.23456]})
    assert lesson.keep(table, tmp_path / "new") is table
    assert (tmp_path / "new/table.csv").read_text().split() == ["target", "1.23"]


def test_source_shows_the_code_itself():
    text = lesson.source(exercises.check, align).data
    assert "def check(name: str, answer)" in text and "# forgetkit.lessons.exercises" in text
    assert "def align(" in text and text.rstrip().endswith("```")


def test_of_a_widget_its_still_is_left_in_the_notebook(tmp_path):
    still, bar = base64.b64encode(png(figure(1))).decode(), {VIEW: {"model_id": "a"}}
    cell = nbformat.v4.new_code_cell("browse()")
    cell.outputs = [nbformat.v4.new_output("display_data", data) for data in ({**bar, "image/png": still}, bar)]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": ""}})
    nbformat.write(notebook, tmp_path / "a.ipynb")
    clean(tmp_path / "a.ipynb")
    left = nbformat.read(tmp_path / "a.ipynb", as_version=4).cells[0].outputs
    assert [list(output.data) for output in left] == [["image/png"]], "the bar is gone, the picture is not"


def figure(value):
    fig, axis = plt.subplots(figsize=(1, 1))
    axis.bar(0, value)
    return fig


def test_the_widget_only_looks_up():
    open_before = len(plt.get_fignums())
    box = browse("Which one?", ((str(i), figure(i)) for i in range(1, 6)), "height")
    assert len(plt.get_fignums()) == open_before, "every figure is closed"
    question, control, image = box.children
    assert "Which one?" in question.value and control.description == "height"
    seen = {bytes(image.value)}
    for value in ("2", "3", "4", "5"):
        control.value = value
        seen.add(bytes(image.value))
    assert len(seen) == 5 and len(plt.get_fignums()) == open_before, "nothing is drawn while it moves"
    still = Image.open(io.BytesIO(box.still))
    assert still.width == 1000 and still.convert("L").getextrema() == (0, 255), (
        "the pictures, for whoever has no widget"
    )
    shown = box._repr_mimebundle_()
    assert base64.b64decode(shown["image/png"]) == box.still and any("widget-view" in kind for kind in shown)
    with pytest.raises(ValueError, match="at least one"):
        browse("Nothing?", [], "none")
