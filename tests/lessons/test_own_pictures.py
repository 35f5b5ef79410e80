"""Your own pictures from a folder to a saved model, with classes that the model has no words for."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from synthetic_data import coloured_set

from forgetkit import Recipe, accuracies, audit, evaluate, load_clip, unlearn
from forgetkit.__main__ import main
from forgetkit.auditing import report
from forgetkit.data import DataError
from forgetkit.lessons import own
from forgetkit.models.clip import ModelError

NAMES = ("Oma", "pelu", "sitar", "wuk")  # red, green, blue and yellow
SMALL = dict(
    forget={"k": 6, "fisher_samples": 12, "batch": 16},
    remind={"align_steps": 2, "steps": 8, "batch": 16, "n_noise": 8, "n_abstract": 8},
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
    with safe_open(out / "model/head.safetensors", "pt") as file:
        torch.testing.assert_close(file.get_tensor("head"), sets.head)
        assert json.loads(file.metadata()["classes"]) == sorted(map(str.lower, NAMES))


def test_a_second_request_takes_the_saved_head_and_keeps_the_first(done, folder):
    """The prototypes are those of before: made anew, that of the first target would find it again."""
    models, first, _, out = done
    clip = own.loaded(f"local-dir:{out / 'model'}", None, "cpu")
    clip, sets, checked = own.prepare(folder, "pelu", clip, head="images", previous_targets=["OMA"])
    sets = sets.on(clip)
    torch.testing.assert_close(sets.head, first.head)
    assert sets.previous_targets == ("oma",)
    assert "oma" not in checked.unknown and "oma" not in sets.subgroup.siblings
    gone = accuracies(clip, {"previous_targets": sets.test["previous_targets"]}, sets.head)["previous_targets"]
    assert gone == accuracies(models[-1], {"target": first.test["target"]}, first.head)["target"]


QUICK = {"checks": (1,), "budgets": (1,), "templates": ("{}",)}


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
    mini.save(out / "plain")
    with pytest.raises(ModelError, match="names no sets"):
        own.again(out, out / "plain", mini, "oma", 0)


def test_a_look_says_what_the_model_does_not_know(folder, resnet):
    found = own.check(folder, resnet)
    assert found.counts["all"].tolist() == [41, 40, 40, 40] and len(found.unknown) >= 2 and not found.good
    name = found.unknown[0]
    assert found.counts.loc[name, "recognised"].startswith("0/") or "(" in found.counts.loc[name, "recognised"]
    assert "nothing to forget" in found.findings[-1] and "Use image prototypes" in found.findings[-1]
    assert "1 images are copies within a subgroup" in str(found) and "train" in str(found)


def test_what_the_model_knows_is_no_finding(folder, mini):
    found = own.check(folder, mini, "oma", head="images")
    assert found.unknown == () and found.good and len(found.findings) == 1, "the copy is still told"


def test_unknown_classes_stop_before_the_work(folder, resnet):
    unknown = own.check(folder, resnet).unknown[0]
    with pytest.raises(ModelError, match="Stopped before the work .*Use image prototypes"):
        own.prepare(folder, unknown, resnet)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(head="picture"), ValueError, "choose 'text' .* or 'images'"),
        (dict(target="unicorn"), DataError, "no subgroup 'unicorn'. Choose one of: oma, pelu"),
        (dict(siblings="pelu"), DataError, r"write \['dog'\]"),
        (dict(labels="cat", head="images"), ModelError, "there is none of"),
    ],
)
def test_wrong_words_are_told(folder, mini, settings, error, message):
    with pytest.raises(error, match=message):
        own.prepare(folder, **{"target": "oma", "clip": mini, **settings})


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
        (["run", "--siblings", "a,b"], "--siblings goes with --data-dir"),
        (["run", "--head", "images"], "--head goes with --data-dir"),
        (["run", "--data-dir", ".", "--recipe", "papre"], "'papre'"),
        (["check", ".", "--model", "nonsense"], "nonsense"),
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
