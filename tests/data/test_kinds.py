"""Four kinds of subgroups over the tutorial's sets."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from forgetkit import Grouped, split, tutorial_sets
from forgetkit.data import PARTS, DataError, ImageSet, Subgroup, tutorial
from forgetkit.data.images import CIFAR10
from forgetkit.data.tutorial import ICONS, KINDS, clusters, every_style, group, kmeans, targets


def test_kmeans_finds_what_is_there_largest_first():
    generator = torch.Generator().manual_seed(0)
    ends = F.normalize(torch.randn(3, 16, generator=generator), dim=1)
    truth = torch.tensor([0] * 20 + [1] * 50 + [2] * 30)
    z = F.normalize(ends[truth] + 0.05 * torch.randn(100, 16, generator=generator), dim=1)
    centres = kmeans(z, 3)
    assert torch.allclose(centres.norm(dim=1), torch.ones(3), atol=1e-5)
    assert (centres @ ends[[1, 2, 0]].T).diagonal().min() > 0.99
    assert torch.equal(kmeans(z, 3), centres), "same seed, same centres"
    with pytest.raises(DataError, match="ask for fewer"):
        kmeans(z[:2], 3)


def test_clusters_name_the_images_of_one_class_in_every_part(mini, colours):
    part = ImageSet("colours", colours.test["target"].images, colours.test["target"].labels, colours.classes)
    groups = clusters(mini, {name: part for name in PARTS}, "red", 2)
    for name in PARTS:
        assert set(groups[name]) == {"red 0", "red 1"}
        assert np.array_equal(groups[name], groups["train"]), "the same image joins the same cluster"


def test_target_and_siblings_may_have_one_label():
    """Groups, not labels, say what is forgotten; a small sibling gives all it has and others make up for it."""
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    part = ImageSet("styles", images, np.zeros(60, np.int64), ("cat",))
    groups = np.array(["sketches"] * 20 + ["photos"] * 37 + ["icons"] * 3)
    subgroup = Subgroup("sketches", ("photos", "icons"))
    grouped = Grouped({name: part for name in PARTS}, subgroup, {name: groups for name in PARTS})
    s = split(grouped, n_forget=20, n_retain=30, n_calibration=5, n_calibration_target=8)
    assert len(s.forget) == 20 and len(s.retain) == 30
    icons = {image.tobytes() for image in images[-3:]}
    assert icons <= {image.tobytes() for image in s.retain.images}
    assert {name: len(part) for name, part in s.calibration.items()} == {"target": 8, "retain": 5 + 3}
    with pytest.raises(DataError, match="40 images of photos, icons for the retain set, 41"):
        split(grouped, n_forget=20, n_retain=41)


def test_every_style_of_a_class_goes_with_it(monkeypatch):
    """Sketches and icons bear the label of the photos, in every part, and siblings have theirs."""

    def part(names):
        images = np.full((len(names), 8, 8, 3), 100, np.uint8)
        return dict.fromkeys(PARTS, ImageSet("some", images, np.arange(len(names)), tuple(names), ("a {}.",)))

    icons = [icon for drawn in ICONS.values() for icon in drawn]
    sets = {"cifar10": part(CIFAR10), "quickdraw": part([*ICONS, "banana"]), "emoji": part(icons)}
    monkeypatch.setattr(tutorial, "_parts", {**sets, "fashion": part(["coat"])}.__getitem__)
    tutorial.styles.cache_clear()
    found = every_style("cat")
    tutorial.styles.cache_clear()
    for name, n in {"cat": 1 + 1 + len(ICONS["cat"]), "dog": 1 + 1 + len(ICONS["dog"]), "deer": 1}.items():
        assert (found.parts["test"].names == name).sum() == n
    assert found.subgroup == Subgroup.within("cat")
    assert "cat" not in found.zero_shot["quickdraw"]["test"].names


def test_wrong_names_are_refused_with_the_choices():
    with pytest.raises(DataError, match="Choose one of: class, coarse, style, cluster"):
        targets("flavour")
    with pytest.raises(DataError, match="No style is called 'cat'. Choose one of: airplane sketches"):
        group("cat", "style")
    with pytest.raises(DataError, match="in a model's embedding: give the clip"):
        group("cat 1", "cluster")
    assert all(len(set(targets(kind))) == len(targets(kind)) for kind in KINDS)


EMBEDDER = SimpleNamespace(embed=lambda images: torch.eye(2 * 10)[: len(images)])


@pytest.fixture
def small_sets(monkeypatch):
    """The four named sets in small: every class of the tutorial's has two images a part, noise of 8 pixels."""
    icons = tuple(name for names in ICONS.values() for name in names)
    classes = {"cifar10": targets("class"), "quickdraw": (*ICONS, "fox", "shoe"), "emoji": icons, "fashion": ("bag",)}

    def parts_of(name):
        rng, n = np.random.default_rng(0), len(classes[name])
        noise = lambda: rng.integers(0, 256, (2 * n, 8, 8, 3), np.uint8)
        return {p: ImageSet(name, noise(), np.arange(2 * n) % n, classes[name], (f"{name} {{}}",)) for p in PARTS}

    monkeypatch.setattr(tutorial, "_parts", parts_of)
    monkeypatch.setattr(tutorial, "N_CLUSTERS", 2)
    tutorial.styles.cache_clear()
    yield
    tutorial.styles.cache_clear()


@pytest.mark.parametrize(
    "kind, target", [("class", "cat"), ("coarse", "cat"), ("style", "cat sketches"), ("cluster", "cat 1")]
)
def test_a_grouped_set_is_what_split_takes(small_sets, kind, target):
    found = group(target, kind, EMBEDDER)
    assert found.subgroup.target == target and set(found.zero_shot) == {"fashion", "quickdraw", "unseen", "emoji"}
    shown = found.zero_shot["quickdraw"]["test"]
    assert set(found.zero_shot["unseen"]["test"].names) == {"shoe"} and "shoe" not in shown.names
    assert ("cat" in shown.names) == (kind == "cluster"), "the target is no column of its own success"
    icons = set(found.zero_shot["emoji"]["test"].names)
    assert icons.isdisjoint(ICONS["cat"]) == (kind in ("class", "coarse")) and icons >= {*ICONS["dog"]}
    assert {style: set(part.names) for style, part in tutorial.own_styles("cat").items()} == {
        "sketches": {"cat"}, "icons": {*ICONS["cat"]},
    }  # fmt: skip
    label = "animal" if kind == "coarse" else "cat"
    if kind != "class":
        assert {target, *found.subgroup.siblings} <= set(found.groups["train"]) and found.subgroup.family == label
    sets = split(found, n_forget=1, n_retain=len(found.subgroup.siblings))
    assert {sets.classes[c] for c in sets.forget.labels} == {label}
    if kind == "coarse":
        assert {sets.classes[c] for c in sets.retain.labels} == {label} and "dog" not in sets.classes


def test_clusters_of_two_classes_and_a_class_may_be_forgotten_one_after_another(small_sets):
    found = group("cat 1", "cluster", EMBEDDER, ("dog 0", "truck"))
    assert {"cat 0", "cat 1", "dog 0", "dog 1", "truck"} <= set(found.groups["train"])
    sets = split(found, n_forget=1, n_retain=1)
    assert sorted(sets.classes[c] for c in sets.previous.labels) == ["dog", "truck"], "at least one of each"
    assert [sets.classes[c] for c in sets.never] == ["truck"], "other dogs keep their name"
    with pytest.raises(DataError, match="tuple of names"):
        tutorial_sets("dog", previous_targets="cat")


@pytest.mark.slow
def test_clusters_of_the_real_sets(mini):
    s = tutorial_sets("dog 1", kind="cluster", clip=mini, n_forget=50, n_retain=60)
    assert set(s.forget.labels) == set(s.retain.labels) == {s.classes.index("dog")}
    total = len(s.test["target"]) + len(s.test["retain"])
    assert total == 1000 and 100 < len(s.test["target"]) < 600
