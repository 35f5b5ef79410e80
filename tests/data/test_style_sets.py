"""Style sets in the layouts of PACS, Office-Home and DomainNet, generated small; and the tutorial's own."""

from pathlib import Path

import numpy as np
import pytest
from image_folders import files_by_part, write_images

from forgetkit import split
from forgetkit.data import PARTS, DataError, Subgroup, styles
from forgetkit.data.reading import ImageFiles

SIZE = 32  # of the images; a model would do as well

LAYOUTS = {
    "PACS": (("art_painting", "cartoon", "photo", "sketch"), ("dog", "elephant"), "jpg"),
    "OfficeHome": (("Art", "Clipart", "Product", "Real World"), ("Alarm_Clock", "Bike"), "jpg"),
    "DomainNet": (("clipart", "quickdraw", "real"), ("aircraft_carrier", "zebra"), "png"),
}


def generate(root: Path, layout: str, n: int = 12) -> Path:
    names, classes, suffix = LAYOUTS[layout]
    write_images(root, {f"{style}/{name}": n for style in names for name in classes}, names="{:03d}." + suffix)
    return root


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("PACS"), "PACS")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_plain_names_and_disjoint_parts(tmp_path, layout):
    folders, classes, _ = LAYOUTS[layout]
    data = styles.load(generate(tmp_path, layout), SIZE)
    names = [s.replace("_", " ").lower() for s in folders]
    assert set(data.styles["train"]) == set(names)
    assert data.parts["train"].classes == tuple(c.replace("_", " ").lower() for c in classes)
    assert sum(map(len, files_by_part(data.parts).values())) == 12 * len(folders) * len(classes)
    for part in PARTS:
        of_files = [
            f"{Path(f).parts[-2]} {Path(f).parts[-3]}".replace("_", " ").lower() for f in data.parts[part].images.files
        ]
        assert of_files == data.pairs(part).tolist()
        assert len(set(of_files)) == len(folders) * len(classes), "every style of every class stands in every part"


def test_domainnets_lists_say_what_is_test(tmp_path):
    root = generate(tmp_path, "DomainNet")
    for style in LAYOUTS["DomainNet"][0]:
        lines = [f"{style}/{name}/{i:03d}.png 0\n" for name in ("aircraft_carrier", "zebra") for i in (3, 7)]
        (root / f"{style}_test.txt").write_text("".join(lines))
    data = styles.load(root, SIZE)
    assert {Path(f).stem for f in data.parts["test"].images.files} == {"003", "007"}
    assert not {"003", "007"} & {Path(f).stem for p in PARTS[:3] for f in data.parts[p].images.files}


def test_a_folder_inside_the_archives_folder_is_found(pacs, tmp_path):
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "inner").symlink_to(pacs)
    assert styles.load(tmp_path / "outer", SIZE).targets() == styles.load(pacs, SIZE).targets()


def test_one_style_of_a_class_keeps_its_other_styles(pacs):
    sets = split(styles.group(styles.load(pacs, SIZE), "dog art_painting"))
    assert sets.subgroup == Subgroup("dog art painting", ("dog cartoon", "dog photo", "dog sketch"), "dog")
    assert set(sets.forget.labels) == set(sets.retain.labels) == {sets.classes.index("dog")}
    assert isinstance(sets.forget.images, np.ndarray) and isinstance(sets.test["other"].images, ImageFiles)
    assert {Path(f).parts[-3] for f in sets.test["target"].images.files} == {"art_painting"}
    assert {Path(f).parts[-2] for f in sets.test["other"].images.files} == {"elephant"}


def test_other_classes_calibrate_by_style_not_by_class(pacs):
    groups = styles.group(styles.load(pacs, SIZE), "dog sketch").groups["calibration"]
    others = {"other art painting", "other cartoon", "other photo", "other sketch"}
    assert {name for name in groups if not name.startswith("dog")} == others, "of many classes, D_m would be large"


def test_a_whole_style_keeps_the_other_styles(pacs):
    columns = {"fashion": {part: None for part in PARTS}}
    found = styles.group(styles.load(pacs, SIZE), "sketch", columns)
    assert found.subgroup == Subgroup("sketch", ("art painting", "cartoon", "photo"), "style")
    assert set(found.groups["test"]) == {"art painting", "cartoon", "photo", "sketch"} and found.zero_shot is columns
    files = np.array(found.parts["test"].images.files)[found.groups["test"] == "sketch"]
    assert {Path(f).parts[-3:-1] for f in files} == {("sketch", "dog"), ("sketch", "elephant")}


def test_what_is_missing_is_told(pacs, tmp_path):
    data = styles.load(pacs, SIZE)
    with pytest.raises(DataError, match="no subgroup 'cat sketch'. Choose one of: dog art painting, .*sketch"):
        styles.group(data, "cat sketch")
    with pytest.raises(DataError, match="no folder"):
        styles.load(tmp_path / "nowhere", SIZE)
    with pytest.raises(DataError, match="no folder of two styles or more"):
        styles.load(tmp_path, SIZE)
    generate(tmp_path / "few", "PACS", n=1)
    with pytest.raises(DataError, match="too few images: nothing is left for "):
        styles.load(tmp_path / "few", SIZE)


@pytest.mark.slow
def test_the_tutorials_own_styles():
    data = styles.embedded()
    assert {"cat sketches", "sketches", "icons", "photos"} <= set(data.targets())
    for target, siblings in (("cat sketches", ("cat photos", "cat icons")), ("sketches", ("photos", "icons"))):
        sets = split(styles.group(data, target), n_retain=60)
        assert sets.subgroup.siblings == siblings and len(sets.retain) == 60
        assert len(sets.forget) == (20 if target == "cat sketches" else 140)
        assert len(sets.test["target"]) == (15 if target == "cat sketches" else 105)
