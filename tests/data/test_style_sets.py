"""Style sets in the layouts of PACS, Office-Home and DomainNet, generated small; and the tutorial's own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forgetkit import Subgroup
from forgetkit.data import tutorial as kinds, styles as stylesets
from forgetkit.data.sets import PARTS, DataError
from forgetkit.data.files import ImageFiles

LAYOUTS = {
    "PACS": (("art_painting", "cartoon", "photo", "sketch"), ("dog", "elephant"), "jpg"),
    "OfficeHome": (("Art", "Clipart", "Product", "Real World"), ("Alarm_Clock", "Bike"), "jpg"),
    "DomainNet": (("clipart", "quickdraw", "real"), ("aircraft_carrier", "zebra"), "png"),
}


def generate(root: Path, layout: str, n: int = 12) -> Path:
    styles, classes, suffix = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    for style in styles:
        for name in classes:
            (root / style / name).mkdir(parents=True)
            for i in range(n):
                image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
                image.save(root / style / name / f"{i:03d}.{suffix}")
    return root


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("PACS"), "PACS")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_plain_names_and_disjoint_parts(tmp_path, mini, layout):
    styles, classes, _ = LAYOUTS[layout]
    data = stylesets.load(generate(tmp_path, layout), mini)
    names = [s.replace("_", " ").lower() for s in styles]
    assert set(data.styles["train"]) == set(names)
    assert data.parts["train"].classes == tuple(c.replace("_", " ").lower() for c in classes)
    files = [f for part in data.parts.values() for f in part.images.files]
    assert len(files) == len(set(files)) == 12 * len(styles) * len(classes)
    for part in PARTS:
        pairs = {
            f"{Path(f).parts[-2]} {Path(f).parts[-3]}".replace("_", " ").lower() for f in data.parts[part].images.files
        }
        assert pairs == set(data.pairs(part)), "every style of every class stands in every part"
    for file, pair in zip(data.parts["test"].images.files, data.pairs("test")):
        assert pair == f"{Path(file).parts[-2]} {Path(file).parts[-3]}".replace("_", " ").lower()


def test_domainnets_lists_say_what_is_test(tmp_path, mini):
    root = generate(tmp_path, "DomainNet")
    for style in LAYOUTS["DomainNet"][0]:
        lines = [
            f"{style}/{name}/{i:03d}.png {label}"
            for label, name in enumerate(("aircraft_carrier", "zebra"))
            for i in (3, 7)
        ]
        (root / f"{style}_test.txt").write_text("\n".join(lines) + "\n")
    data = stylesets.load(root, mini)
    assert {Path(f).stem for f in data.parts["test"].images.files} == {"003", "007"}
    assert not {"003", "007"} & {Path(f).stem for p in PARTS[:3] for f in data.parts[p].images.files}


def test_a_folder_inside_the_archives_folder_is_found(pacs, tmp_path, mini):
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "inner").symlink_to(pacs)
    assert stylesets.load(tmp_path / "outer", mini).targets() == stylesets.load(pacs, mini).targets()


def test_one_style_of_a_class_keeps_its_other_styles(pacs, mini):
    sets = stylesets.sets(stylesets.load(pacs, mini), "dog art_painting")
    assert sets.subgroup == Subgroup("dog art painting", ("dog cartoon", "dog photo", "dog sketch"), "dog")
    assert set(sets.forget.labels) == set(sets.retain.labels) == {sets.classes.index("dog")}
    assert len(sets.forget) == 7 and len(sets.retain) == 21, "as many as there are"
    assert isinstance(sets.forget.images, np.ndarray) and isinstance(sets.test["other"].images, ImageFiles)
    assert {Path(f).parts[-3] for f in sets.test["target"].images.files} == {"art_painting"}
    assert {Path(f).parts[-2] for f in sets.test["other"].images.files} == {"elephant"}


def test_other_classes_calibrate_by_style_not_by_class(pacs, mini):
    sets = stylesets.sets(stylesets.load(pacs, mini), "dog sketch", n_calibration=1)
    assert len(sets.calibration["other"]) == 4, "of many classes the calibration set would not fit into memory"


def test_a_whole_style_keeps_the_other_styles(pacs, mini):
    sets = stylesets.sets(stylesets.load(pacs, mini), "sketch", n_forget=10, n_retain=12)
    assert sets.subgroup == Subgroup("sketch", ("art painting", "cartoon", "photo"), "style")
    assert set(sets.forget.labels) == {0, 1} and "other" not in sets.test
    assert {Path(f).parts[-3] for f in sets.test["target"].images.files} == {"sketch"}


def test_what_is_missing_is_told(pacs, tmp_path, mini):
    data = stylesets.load(pacs, mini)
    with pytest.raises(DataError, match="no subgroup 'cat sketch'. Choose one of: dog art painting, .*sketch"):
        stylesets.sets(data, "cat sketch")
    with pytest.raises(DataError, match="no folder"):
        stylesets.load(tmp_path / "nowhere", mini)
    with pytest.raises(DataError, match="needs two styles or more"):
        stylesets.load(tmp_path, mini)
    generate(tmp_path / "few", "PACS", n=1)
    with pytest.raises(DataError, match="too few images: nothing is left for calibration"):
        stylesets.load(tmp_path / "few", mini)


def test_clusters_of_files_embed_each_once(pacs, mini, tmp_path, monkeypatch):
    monkeypatch.setenv("FORGETKIT_CACHE", str(tmp_path))
    data = stylesets.load(pacs, mini)
    groups = kinds.clusters(mini, data.parts, "dog", 2)
    assert set(groups["train"]) == {"dog 0", "dog 1", "elephant"}
    monkeypatch.setattr(type(mini), "embed", lambda *args, **kwargs: pytest.fail("embedded again"))
    again = kinds.clusters(mini, data.parts, "dog", 2)
    assert all(np.array_equal(again[part], groups[part]) for part in PARTS)


@pytest.mark.slow
def test_the_tutorials_own_styles():
    data = stylesets.embedded()
    assert {"cat sketches", "sketches", "icons", "photos"} <= set(data.targets())
    for target, siblings in (("cat sketches", ("cat photos", "cat icons")), ("sketches", ("photos", "icons"))):
        sets = stylesets.sets(data, target, n_retain=60)
        assert sets.subgroup.siblings == siblings and len(sets.retain) == 60
        assert len(sets.forget) == (78 if target == "cat sketches" else 400)
