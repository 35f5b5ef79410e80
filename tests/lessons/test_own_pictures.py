"""Your own pictures from a folder to a saved model, with classes that the model has no words for."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from image_folders import write_images
from PIL import Image
from synthetic_data import coloured_set

from forgetkit import Recipe, accuracies, audit, evaluate, load_clip, unlearn
from forgetkit.__main__ import main
from forgetkit.auditing import report
from forgetkit.data import DataError
from forgetkit.data.sets import load_parts
from forgetkit.lessons import own
from forgetkit.models.clip import ModelError
from forgetkit.models.mini import truths

NAMES = ("Oma", "pelu", "sitar", "wuk")  # red, green, blue and yellow
SMALL = dict(
    forget={"k": 6, "fisher_samples": 12, "batch": 16},
    remind={"align_steps": 2, "steps": 60, "batch": 16, "n_abstract": 8},
    restore={"alphas": (0.0, 0.5, 1.0)},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 images each of four kinds, one of them there twice."""
    root = tmp_path_factory.mktemp("own")
    part = coloured_set(40, seed=3)
    for i, (image, label) in enumerate(zip(part.images, part.labels)):
        (root / NAMES[label]).mkdir(exist_ok=True)
        Image.fromarray(image).save(root / NAMES[label] / f"{i:03}.png")
    Image.fromarray(part.images[0]).save(root / "Oma/again.png")
    return root


@pytest.fixture(scope="module")
def done(folder, mini, tmp_path_factory):
    """Models, sets, table and folder, as the cells of notebook 00 make them."""
    clip, sets, _ = own.prepare(folder, "oma", mini, ["pelu", "sitar"], head="images")
    sets, recipe, out = sets.on(clip), Recipe.default(**SMALL), tmp_path_factory.mktemp("out")
    models = unlearn(clip, sets, recipe)
    table = evaluate(models, sets.test)
    own.save(out, models[-1], sets, table, ["Harm: some."], recipe, head="images")
    return models, sets, table.set_index("model"), out


def test_a_class_without_words_is_forgotten_by_prototypes(done):
    _, sets, table, _ = done
    assert table.loc["original", "target"] > 80 and table.loc["original", "retain"] > 80, "or the rest says nothing"
    assert table.loc["remind", "target"] <= 15 and table.loc["restore", "retain"] >= 60
    assert sets.subgroup.siblings == ("pelu", "sitar") and "other" in table


def test_what_is_left_can_be_taken_away(done):
    models, sets, _, out = done
    again = load_clip(f"local-dir:{out / 'model'}", device="cpu")
    x = sets.forget.images[:4]
    torch.testing.assert_close(again.embed(x), models[-1].embed(x))
    card = json.loads((out / "model/forgetting.json").read_text(encoding="utf-8"))["record"]
    assert card["subgroup"]["target"] == "oma" and card["head"] == "images" and card["alarms"] == ["Harm: some."]
    assert card["sets"]["forget"]["images"] == len(sets.forget) and len(card["sets"]["test target"]["sha256"]) == 64
    report = (out / "report.txt").read_text(encoding="utf-8")
    assert f"/{len(sets.test['target'])}; " in report and report.endswith("Harm: some.\n"), "counts, intervals, alarms"
    torch.testing.assert_close(again.head(sets.classes, sets.prompts), sets.head)
    assert sets.classes == tuple(sorted(map(str.lower, NAMES)))
    said = (out / "model/README.md").read_text(encoding="utf-8")
    assert "means of training images" in said and f"{len(sets.forget)} forget" in said, "whose head, and whose pictures"


def test_a_second_request_takes_the_saved_head_and_keeps_the_first(done, folder):
    """The prototypes are those of before: made anew, that of the first target would find it again."""
    models, first, _, out = done
    clip = load_clip(f"local-dir:{out / 'model'}", device="cpu")
    clip, sets, checked = own.prepare(folder, "pelu", clip, head="images", previous_targets=["OMA"])
    sets = sets.on(clip)
    torch.testing.assert_close(sets.head, first.head)
    assert sets.previous_targets == ("oma",)
    assert "oma" not in checked.unknown and "oma" not in sets.subgroup.siblings
    gone = accuracies(clip, {"previous_targets": sets.test["previous_targets"]}, sets.head)["previous_targets"]
    assert gone == accuracies(models[-1], {"target": first.test["target"]}, first.head)["target"]


def test_the_head_of_a_run_answers_only_where_it_is_asked_for(done, mini):
    """Asked for the names, the saved model gives the text; saved with the text, no head of images is left beside it."""
    _, sets, _, out = done
    again = load_clip(f"local-dir:{out / 'model'}", device="cpu")
    by_text = own.with_head(again, sets.test["target"], "text").head(sets.classes, sets.prompts)
    torch.testing.assert_close(by_text, mini.head(sets.classes, sets.prompts))
    own.with_head(again, sets.test["target"], "text").save(out / "text")
    again.save(out / "text")
    assert (out / "text/head.safetensors").exists()
    mini.save(out / "text")
    assert not (out / "text/head.safetensors").exists() and load_clip(f"local-dir:{out}/text").heads == {}


QUICK = {"checks": (1,)}


def test_an_audit_takes_the_pictures_and_the_head_of_the_run(done, folder, mini, monkeypatch, capsys, tmp_path):
    _, sets, _, out = done
    monkeypatch.setattr(report, "audit", lambda *given, **more: audit(*given, **more, **QUICK))
    code, said = call(capsys, "audit", out / "model", "--data-dir", folder, "--out", tmp_path, "--device", "cpu")
    assert code == 0 and "the head is made of images" in said, said
    rows = pd.read_csv(tmp_path / "audit.csv").set_index("measure")
    assert rows.loc["target accuracy", "n"] == len(sets.test["target"]), "one's own, not the tutorial's"
    assert not {"other template", "synonyms", "soft prompt"} & {*rows.index}, "there are no words"
    card = (out / "model/README.md").read_text(encoding="utf-8")
    assert f"{len(sets.test['target'])} target" in card and "the head is made of images" in card
    for name in ("Oma", "pelu", "sitar"):
        shutil.copytree(folder / name, tmp_path / "fewer" / name)
    code, said = call(capsys, "audit", out / "model", "--data-dir", tmp_path / "fewer", "--device", "cpu")
    assert code == 2 and "its classes are oma, pelu, sitar, wuk" in said
    shutil.copytree(folder / "wuk", tmp_path / "fewer/wuk")
    (tmp_path / "fewer/pelu").joinpath(sorted(p.name for p in (folder / "pelu").iterdir())[0]).unlink()
    code, said = call(capsys, "audit", out / "model", "--data-dir", tmp_path / "fewer", "--device", "cpu")
    assert code == 2 and "another SHA-256 of" in said and "--data-dir" in said


def test_an_audit_without_the_pictures_is_refused(done, mini):
    *_, out = done
    record = json.loads((out / "model/forgetting.json").read_text(encoding="utf-8"))["record"]
    tutorial = SimpleNamespace(classes=("cat", "dog"), test={"target": SimpleNamespace(name="cifar10")})
    with pytest.raises(ValueError, match="other images than those of cifar10: its classes are oma, .*--data-dir"):
        report.check_images(out, record, tutorial)
    with pytest.raises(ModelError, match="names no sets"):
        own.again(out, mini, mini, "oma", 0)


def test_a_look_says_what_the_model_does_not_know(folder, resnet):
    found = own.check(folder, resnet)
    assert found.counts["all"].tolist() == [41, 40, 40, 40] and len(found.unknown) >= 2 and found.stops
    name = found.unknown[0]
    assert found.counts.loc[name, "recognised"].startswith("0/") or "(" in found.counts.loc[name, "recognised"]
    assert "nothing to forget" in found.findings[-1] and "Use image prototypes" in found.findings[-1]
    assert "1 images are copies within a subgroup" in str(found) and "train" in str(found)


def test_what_the_model_knows_is_no_finding(folder, mini):
    found = own.check(folder, mini, "oma", head="images")
    assert found.unknown == () and not found.stops and len(found.findings) == 1, "the copy is still told"


def test_unknown_classes_stop_before_the_work(folder, resnet):
    unknown = own.check(folder, resnet).unknown[0]
    with pytest.raises(ModelError, match="(?s)Stopped before the work.*Use image prototypes"):
        own.prepare(folder, unknown, resnet)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(head="picture"), ValueError, "choose 'text' .* or 'images'"),
        (dict(target="unicorn"), DataError, "no subgroup 'unicorn'. Choose one of: oma, pelu"),
        (dict(siblings="pelu"), DataError, r"write \['dog'\]"),
        (dict(labels="cat", head="images"), ModelError, "needs training pictures of every name, and airplane"),
    ],
)
def test_wrong_words_are_told(folder, mini, settings, error, message):
    with pytest.raises(error, match=message):
        own.prepare(folder, **{"target": "oma", "clip": mini, **settings})


def test_a_word_that_the_model_knows_is_suggested(tmp_path, mini):
    """Photos under names of nobody's: the look finds what to call them."""
    part = load_parts("cifar10")["train"]
    for name, label in (("wuk", "cat"), ("pelu", "dog"), ("sutor", "ship")):
        (tmp_path / name).mkdir()
        for i in np.flatnonzero(part.names == label)[:20]:
            Image.fromarray(part.images[i]).save(tmp_path / name / f"{i}.png")
    found = own.check(tmp_path, mini, "wuk", ["pelu"])
    word = re.search("of the words tried, '(.*)' fits them best", found.stops[0])[1]
    assert word in {*truths("cat"), *truths("dog")}, word
    assert not own.check(tmp_path, mini, "wuk", ["pelu"], "animal").stops, "the ship is neither"


def test_names_that_the_text_tower_cuts_are_told_and_two_that_become_one_stop(tmp_path, mini):
    long = "a very long name of a small brown animal that lives in the high mountains of the far south "
    for name in (f"{long}one", f"{long}two", "cat"):
        write_images(tmp_path, {name: 8})
    found = own.check(tmp_path, mini)
    assert "reads only the beginning of a very long" in found.findings[0]
    assert len(found.stops) == 1 and "south one and a very" in found.stops[0] and "are one name" in found.stops[0]
    assert not own.check(tmp_path, mini, head="images").stops, "images need no names"


@pytest.mark.parametrize(
    "counts, arguments, said",
    [
        ({"dog": 8}, (), "There is one name only"),
        ({"dog": 8, "deer": 8, "cat": 1}, ("--head", "images"), "training pictures of every name, and cat has none"),
    ],
)
def test_check_ends_as_a_run_would(tmp_path, capsys, counts, arguments, said):
    for name, n in counts.items():
        write_images(
            tmp_path / "own", {name: n}, names="{:03}.png" if n > 1 else "002.png"
        )  # which is not for training
    target = ("--target", "dog", "--device", "cpu")
    codes = []
    for command in (("check", tmp_path / "own"), ("run", "--data-dir", tmp_path / "own", "--out", tmp_path / "out")):
        code, told = call(capsys, *command, *arguments, *(target if command[0] == "run" or arguments else ()))
        codes.append(code)
        assert said in told or "no siblings" in told
    assert codes == [1, 1] and not (tmp_path / "out").exists()


def test_a_label_that_others_bear_is_told(tmp_path, mini):
    """Or a third class would be one with target and siblings in silence; and a class without a test picture is told."""
    write_images(tmp_path, {"cat": 8, "dog": 8, "horse": 8, "few": 1})
    said = own.check(tmp_path, mini, "cat", ["dog"], "horse").findings
    assert "horse of label 'horse' joins target and siblings." in said
    assert not any("joins" in line for line in own.check(tmp_path, mini, "cat", ["dog"], "animal").findings)
    assert "few cannot be the target: at least one part has no picture of it." in own.check(tmp_path, mini).findings


def test_what_is_there_is_not_written_over(done, folder, tmp_path, capsys):
    *_, out = done
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/table.csv").write_text("image,label")
    shutil.copytree(out / "model", tmp_path / "another/model")
    (tmp_path / "another/00_quickstart.ipynb").write_text("{}")
    for name, said in (("theirs", "holds other files"), ("another", "a model that forgot 'oma'")):
        code, told = call(capsys, "run", "--data-dir", folder, "--target", "wuk", "--out", tmp_path / name)
        assert code == 2 and said in told and "--out" in told
    code, told = call(capsys, "run", "--data-dir", folder, "--target", "wuk", "--out", folder)
    assert code == 2 and "holds your pictures" in told


def call(capsys, *arguments) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return ended.value.code or 0, said.out + said.err


def test_the_command_line_looks_and_tells_every_fault_at_once(folder, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for c in ("a", "b"):
        (tmp_path / c).mkdir()
        for i in range(6):
            Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(tmp_path / c / f"{i}.png")
    (tmp_path / "a/bad 1.png").write_bytes(b"x")
    (tmp_path / "b/bad 2.jpg").write_bytes(b"")
    (tmp_path / "b/notes.txt").write_text("x")
    code, said = call(capsys, "check", tmp_path, "--head", "images", "--device", "cpu")
    assert code == 1 and "bad 1.png" in said and "bad 2.jpg" in said and "1 with the suffix .txt" in said
    assert "train" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["check", "nowhere"], "There is no folder or CSV nowhere"),
        (["run", "--data-dir", "nowhere", "--target", "x"], "There is no folder or CSV nowhere"),
        (["run", "--target", "x", "-p", "data_dir", "nowhere"], "There is no folder or CSV nowhere"),
        (["run", "--siblings", "a,b"], "siblings=['a', 'b'] is for pictures of your own: give data_dir (--data-dir)"),
        (["run", "--head", "images"], "head='images' is for pictures of your own"),
        (["run", "--data-dir", ".", "--target", "x", "--recipe", "papre"], "'papre'"),
        (["check", ".", "--model", "nonsense"], "nonsense"),
        (["check", ".", "--model", "RN50"], "without weights is a random one"),
        (["audit", ".", "--original", "RN50"], "without weights is a random one"),
        (["check", ".", "--seed", "-1"], "seed=-1: a whole number"),
        (["check", ".", "--device", "cuda:77"], "cannot be used here"),
        (["check", ".", "--siblings", ""], "a name is missing"),
        (["check", ".", "--siblings", "horse,"], "a name is missing"),
        (["run", "--data-dir", "."], "Say with --target"),
    ],
)
def test_the_command_line_refuses_in_a_sentence(capsys, arguments, message):
    code, said = call(capsys, *arguments)
    assert code in (1, 2) and message in said and "Traceback" not in said


@pytest.mark.parametrize(
    "hits, n, classes, expected",
    [(0, 26, 10, True), (3, 26, 10, True), (20, 26, 10, False), (3, 3, 2, False), (4, 5, 2, False), (6, 12, 2, True)],
)
def test_chance_is_told_from_knowing(hits, n, classes, expected):
    assert own.by_chance(hits, n, classes) == expected
