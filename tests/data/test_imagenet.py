"""ImageNet's folders: classes, families, ground truth, subgroups; on generated miniatures of the layout."""

from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
from image_folders import files_by_part, linked, write_images

import forgetkit
from forgetkit.data import PARTS, DataError, imagenet
from forgetkit.data.reading import ImageFiles, divide

TABLE = pd.read_csv(Path(imagenet.__file__).with_name("imagenet_families.csv"))
MONKEYS = ("n02490219", "n02492035", "n02493509")  # marmoset, capuchin, titi
OTHERS = ("n01751748", "n04263257")  # sea snake, soup bowl
SIZE = 32  # of the images; a model would do as well


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("imagenet")
    write_images(root / "train", dict.fromkeys((*MONKEYS, *OTHERS), 20), names="{}.JPEG")
    write_images(root / "val", dict.fromkeys((*MONKEYS, *OTHERS), 3), names="1{:02}.JPEG")
    return root


def flat(root: Path, numbers: dict[int, str]) -> Path:
    """A flat validation folder of the images of these numbers, beside a train folder."""
    for number in numbers:
        write_images(root / "val", {".": 1}, names=f"ILSVRC2012_val_{number:08d}.JPEG")
    write_images(root / "train", dict.fromkeys(numbers.values(), 4))
    return root


# ---------------------------------------------------------------------------------------------------
# The table


def test_the_thousand_wnids_are_open_clips_classes():
    assert len(imagenet.wnids()) == len(open_clip.IMAGENET_CLASSNAMES) == 1000
    assert list(imagenet.wnids()) == sorted(imagenet.wnids())
    known = {"n01440764": "tench", "n02490219": "marmoset", "n01669191": "box turtle", "n15075141": "toilet paper"}
    for wnid, name in known.items():
        assert open_clip.IMAGENET_CLASSNAMES[imagenet.wnids().index(wnid)] == name


def test_every_row_of_the_families_is_right():
    for row in TABLE.itertuples():
        assert imagenet.wnids()[row.index] == row.wnid and open_clip.IMAGENET_CLASSNAMES[row.index] == row.name, row
    assert not TABLE.duplicated(["family", "wnid"]).any()
    families, names = imagenet.families(), dict(zip(imagenet.wnids(), open_clip.IMAGENET_CLASSNAMES))
    assert len(families) >= 12 and all(len(members) >= 3 for members in families.values())
    sizes = [len(members) for members in families.values()]
    assert sizes == sorted(sizes), "a class stands in the smallest first"
    monkeys = [names[wnid] for wnid in families["monkey"]]
    assert len(monkeys) == 13 and "marmoset" in monkeys and "gibbon" not in monkeys
    assert set(families["monkey"]) < set(families["animal"])


WORDNET = Path("/usr/share/wordnet/data.noun")  # Debian: wordnet-base, of version 3.0


@pytest.mark.skipif(not WORDNET.exists(), reason="no WordNet here: install wordnet-base")
def test_the_families_are_wordnets():
    above = {}
    for line in WORDNET.read_text().splitlines():
        if line.startswith(" "):
            continue
        fields = line.partition(" | ")[0].split()
        start = 4 + 2 * int(fields[3], 16)
        pointers = [fields[start + 1 + 4 * i : start + 5 + 4 * i] for i in range(int(fields[start]))]
        above[f"n{fields[0]}"] = [f"n{p[1]}" for p in pointers if p[0] in ("@", "@i")]

    def nodes(wnid):
        return {n for a in above[wnid] for n in ({a} | nodes(a))}

    for family, node in dict(zip(TABLE["family"], TABLE["node"])).items():
        assert imagenet.families()[family] == tuple(w for w in imagenet.wnids() if node in nodes(w)), family


# ---------------------------------------------------------------------------------------------------
# Folders


@pytest.mark.parametrize("below", ["", "ILSVRC/Data/CLS-LOC"])
def test_a_folder_of_a_few_classes_has_them_in_imagenets_order(folder, tmp_path, below):
    linked(tmp_path / below, folder)
    found = imagenet.load(tmp_path)
    assert list(found.names) == sorted((*MONKEYS, *OTHERS))
    assert found.names["n02490219"] == "marmoset" and found.names["n02492035"] == "white-headed capuchin"
    assert {len(files) for files in found.train.values()} == {20} and {len(f) for f in found.val.values()} == {3}


def test_names_of_ones_own(folder, tmp_path):
    linked(tmp_path, folder)
    (tmp_path / "classnames.txt").write_text("n02490219 small monkey\n\nn04263257 bowl\n")
    names = imagenet.load(tmp_path).names
    assert names["n02490219"] == "small monkey" and names["n04263257"] == "bowl" and names["n02493509"] == "titi monkey"
    (tmp_path / "classnames.txt").write_text("marmoset n02490219\n")
    with pytest.raises(DataError, match="classnames.txt has the line 'marmoset n02490219'"):
        imagenet.load(tmp_path)


def test_another_layout_is_told(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="neither train nor val.*n01440764"):
            imagenet.load(folder)
    (tmp_path / "train" / "cats").mkdir(parents=True)
    with pytest.raises(DataError, match="no image in class folders such as train/n01440764"):
        imagenet.load(tmp_path)
    write_images(tmp_path / "train", {"n99999999": 1, MONKEYS[0]: 1})
    with pytest.raises(DataError, match="n99999999 .* is no class of ImageNet-1K"):
        imagenet.load(tmp_path)


# ---------------------------------------------------------------------------------------------------
# Ground truth. The first three images of the real validation set are a sea snake, an alp, a Shetland sheepdog.
REAL = {1: "n01751748", 2: "n09193705", 3: "n02105855"}


def truth_file(root: Path, form: str) -> None:
    if form == "kaggle":
        rows = [f"ILSVRC2012_val_{i:08d},{w} 111 108 9 8 {w} 1 2 3 4" for i, w in reversed(REAL.items())]
        (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    else:
        (root / "val.txt").write_text("".join(f"ILSVRC2012_val_{i:08d}.JPEG {w}\n" for i, w in REAL.items()))


@pytest.mark.parametrize("form", ["kaggle", "names"])
def test_every_form_of_ground_truth_gives_the_same_wnids(tmp_path, form):
    root = flat(tmp_path / "imagenet", REAL)
    truth_file(root, form)
    found = {wnid: [Path(file).name for file in files] for wnid, files in imagenet.load(root).val.items()}
    assert found == {wnid: [f"ILSVRC2012_val_{i:08d}.JPEG"] for i, wnid in REAL.items()}


def test_ground_truth_that_cannot_be_told_is_refused(tmp_path):
    root = flat(tmp_path / "imagenet", REAL)
    with pytest.raises(DataError, match="no ground truth: put one of LOC_val_solution.csv"):
        imagenet.load(root)
    (root / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000002.JPEG 970\n")
    with pytest.raises(DataError, match="several orders"):
        imagenet.load(root)
    (root / "val.txt").write_text("ILSVRC2012_val_00000001,n01751748\n")
    with pytest.raises(DataError, match="has no line of image 'ILSVRC2012_val_00000002'"):
        imagenet.load(root)


# ---------------------------------------------------------------------------------------------------
# Subgroups


@pytest.mark.parametrize("target", ["n02490219", "marmoset", "Marmoset"])
def test_a_class_by_wnid_or_name_stands_in_its_smallest_family(folder, target):
    found, groups = imagenet.subgroup(imagenet.load(folder), target)
    assert found.target == "marmoset" and found.family == "monkey"
    assert found.siblings == ("white-headed capuchin", "titi monkey")
    assert groups == {"n02490219": "marmoset", "n02492035": "white-headed capuchin", "n02493509": "titi monkey"}


def test_a_node_or_chosen_siblings(folder):
    data = imagenet.load(folder)
    found, groups = imagenet.subgroup(data, "monkey")
    assert found == forgetkit.Subgroup("monkey", ("sea snake",), "animal")
    assert [w for w, name in groups.items() if name == "monkey"] == list(MONKEYS)
    found, _ = imagenet.subgroup(data, "marmoset", "n02493509, soup bowl")
    assert found == forgetkit.Subgroup("marmoset", ("titi monkey", "soup bowl"))
    found, _ = imagenet.subgroup(data, "marmoset", "animal")
    assert found.siblings == ("sea snake", "white-headed capuchin", "titi monkey") and found.family == "animal"


def test_what_is_not_there_is_told_with_what_is(folder):
    data = imagenet.load(folder)
    with pytest.raises(DataError, match="family 'marmosett'. Choose one of: sea snake"):
        imagenet.subgroup(data, "marmosett")
    with pytest.raises(DataError, match="no class or family 'turtle'"):
        imagenet.subgroup(data, "marmoset", "turtle")
    with pytest.raises(DataError, match="No family has 'soup bowl' and another class"):
        imagenet.subgroup(data, "soup bowl")


def test_two_classes_of_one_name_are_told_apart(tmp_path):
    write_images(tmp_path / "train", {"n04355933": 1, "n04356056": 1})
    data = imagenet.load(tmp_path)
    assert data.names["n04356056"] == "sunglasses (n04356056)"
    with pytest.raises(DataError, match="2 classes are called 'sunglasses': choose one of n04355933, n04356056"):
        data.resolve("sunglasses")
    assert data.resolve("n04356056") == ("n04356056",)


def test_the_parts_are_disjoint_lazy_and_labelled(folder):
    data = imagenet.load(folder)
    found = imagenet.group(data, "marmoset", SIZE)
    assert found.parts["train"].classes == tuple(data.names.values()) and len(found.parts["train"].prompts) == 80
    files_by_part(found.parts)
    for part in PARTS:
        images = found.parts[part]
        assert isinstance(images.images, ImageFiles)
        assert {Path(file).parts[-3] for file in images.images.files} == {"val" if part == "test" else "train"}
        assert np.array_equal(images.names, data.class_of(images.images.files))
        other = ~np.isin(images.names, (found.subgroup.target, *found.subgroup.siblings))
        assert np.array_equal(found.groups[part], np.where(other, "other", images.names))
    counts = dict(zip(*np.unique(found.groups["test"], return_counts=True)))
    assert counts == {"marmoset": 3, "white-headed capuchin": 3, "titi monkey": 3, "other": 6}
    assert found.zero_shot == {}


def test_split_takes_what_is_grouped(folder):
    sets = forgetkit.split(imagenet.group(imagenet.load(folder), "marmoset", SIZE), n_forget=8, n_retain=8)
    assert {sets.classes[c] for c in sets.forget.labels} == {"marmoset"}
    assert {sets.classes[c] for c in sets.retain.labels} == {"white-headed capuchin", "titi monkey"}
    assert {name: len(part) for name, part in sets.test.items()} == {"target": 3, "retain": 6, "other": 6}
    assert isinstance(sets.forget.images, np.ndarray) and isinstance(sets.test["other"].images, ImageFiles)


def test_of_1300_images_of_a_class_enough_calibrate_and_validate():
    for wnid in imagenet.wnids()[::50]:
        parts = divide([f"{wnid}_{i}.JPEG" for i in range(1300)], imagenet.SHARES)
        assert len(parts["calibration"]) >= 250 and len(parts["validation"]) >= 50 and not parts["test"]


def test_a_class_is_divided_alike_whichever_others_are_there(folder, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for wnid in MONKEYS[:2]:
            (tmp_path / split / wnid).symlink_to(folder / split / wnid)
    for part in PARTS:
        both = [imagenet.group(imagenet.load(root), "marmoset", SIZE) for root in (folder, tmp_path)]
        all_of, few_of = (np.array(g.parts[part].images.files)[g.groups[part] == "marmoset"] for g in both)
        assert [Path(file).name for file in all_of] == [Path(file).name for file in few_of]


def test_coarse_labels_are_the_familys_name(folder):
    found = imagenet.group(imagenet.load(folder), "marmoset", SIZE, labels="coarse", templates="one")
    train = found.parts["train"]
    assert train.classes == ("sea snake", "monkey", "soup bowl") and train.prompts == ("a photo of a {}.",)
    assert set(train.labels[found.groups["train"] != "other"]) == {1} and found.subgroup.target == "marmoset"
    with pytest.raises(DataError, match="Coarse labels are a family's name"):
        imagenet.group(imagenet.load(folder), "marmoset", SIZE, family="titi monkey, sea snake", labels="coarse")
    with pytest.raises(DataError, match="labels is one of fine, coarse"):
        imagenet.group(imagenet.load(folder), "marmoset", SIZE, labels="medium")


def test_train_or_val_alone_is_divided(folder, tmp_path):
    for split in ("train", "val"):
        linked(tmp_path / split / split, folder / "train")  # 20 a class in either
        found = imagenet.group(imagenet.load(tmp_path / split), "marmoset", SIZE)
        files_by_part(found.parts)
        assert all({"marmoset", "titi monkey"} <= set(found.groups[part]) for part in PARTS)


def test_of_many_siblings_few_images_each_calibrate_and_few_others_are_evaluated(folder, monkeypatch):
    data = imagenet.load(folder)
    before = imagenet.group(data, "marmoset", SIZE).groups["calibration"].tolist()
    monkeypatch.setattr(imagenet, "CALIBRATION", 2)
    found = imagenet.group(data, "marmoset", SIZE, n_other=2)
    after = found.groups["calibration"].tolist()
    assert before.count("titi monkey") > 1 and after.count("titi monkey") == after.count("white-headed capuchin") == 1
    assert after.count("marmoset") == before.count("marmoset")
    assert found.groups["test"].tolist().count("other") == 2 and len(found.parts["test"]) == 11
