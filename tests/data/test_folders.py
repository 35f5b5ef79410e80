"""Your own folder or CSV of images: its parts, copies, what is passed over, what is refused."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folders import files_by_part, write_images, write_waves
from PIL import Image, ImageOps

from forgetkit import Subgroup, split
from forgetkit.data import PARTS, DataError
from forgetkit.data.folders import scan
from forgetkit.data.reading import files_for


def all_parts(folder, seed=0):
    found = scan(folder, 8, seed)
    return {part: found.part(part) for part in PARTS}


# --------------------------------------------------------------------------------------------------
# Parts


def test_parts_are_disjoint_deterministic_and_whole(tmp_path):
    write_images(tmp_path, {"Fire_Truck": 20, "cat": 10})
    parts = all_parts(tmp_path)
    assert parts["test"].classes == ("cat", "fire truck") and parts["test"].images.shape[1:] == (8, 8, 3)
    assert sum(map(len, files_by_part(parts).values())) == 30
    assert all((np.bincount(s.labels, minlength=2) > 0).all() for s in parts.values()), "every class in every part"
    again, other = all_parts(tmp_path)["train"], all_parts(tmp_path, seed=1)["train"]
    assert np.array_equal(parts["train"].images, again.images) and again.images.files != other.images.files


def test_a_new_folder_or_file_moves_no_other_image(tmp_path):
    write_images(tmp_path, {"cat": 60, "dog": 60})
    before = files_by_part(all_parts(tmp_path))
    write_images(tmp_path, {"ape": 20})
    shutil.copy(tmp_path / "cat/000.png", tmp_path / "cat/another.png")
    assert all(before[part] <= files for part, files in files_by_part(all_parts(tmp_path)).items())


def test_images_know_their_files_and_are_in_memory(tmp_path, mini):
    write_images(tmp_path, {"a": 10})
    part = scan(tmp_path, mini).part("train")
    expected = files_for(mini, part.images.files).read()
    shutil.rmtree(tmp_path / "a")
    assert np.array_equal(part.images.read(), expected) and np.array_equal(part.take([1, 0]).images, expected[[1, 0]])


@pytest.mark.parametrize(
    "train, val, test",
    [("train", "val", "test"), ("Training", "eval", "TESTING"), ("set/train_set", "set/valid", "set/testset")],
)
def test_parts_of_the_user_are_kept(tmp_path, train, val, test):
    """Nothing of the test part is trained on, and calibration is taken out of validation."""
    write_images(tmp_path, {f"{part}/{c}": n for part, n in ((train, 9), (val, 8), (test, 7)) for c in ("cat", "dog")})
    found = scan(tmp_path, 8)
    counts = found.counts()
    assert counts.loc["cat", "train"] == 9 and counts.loc["dog", "test"] == 7
    assert counts.loc["cat", "calibration"] + counts.loc["cat", "validation"] == 8 and (counts > 0).all(axis=None)
    assert all(f"/{test}/" in file for file in found.rows["file"][found.rows["part"] == "test"])


@pytest.mark.parametrize("names", [("training/training/{}", "validation/validation/{}"), ("{}/train", "{}/val")])
def test_two_parts_are_train_and_test(tmp_path, names):
    """As archives have it; and parts below the classes."""
    write_images(tmp_path, {name.format(c): n for name, n in zip(names, (20, 6)) for c in ("cat", "dog")})
    counts = scan(tmp_path, 8).counts()
    assert list(counts.index) == ["cat", "dog"] and (counts["test"] == 6).all()
    assert (counts[["train", "calibration", "validation"]].sum(axis=1) == 20).all() and (counts > 0).all(axis=None)


def test_a_class_may_be_called_train(tmp_path):
    write_images(tmp_path, {"train": 4, "bus": 4})
    assert all_parts(tmp_path)["test"].classes == ("bus", "train")


@pytest.mark.parametrize("names", [["image.png"], ["left.png", "right.png"], [f"{i:04}.png" for i in range(4)]])
def test_one_name_in_every_folder_does_not_put_all_in_one_part(tmp_path, names):
    """The pictures of an object stay together, and the look says so."""
    for i in range(120 // len(names)):
        write_images(tmp_path, {f"{c}/object_{i:03}": len(names) for c in ("cat", "dog")}, names="{}.png")
        for c in ("cat", "dog"):
            for k, name in enumerate(names):
                os.rename(tmp_path / f"{c}/object_{i:03}/{k}.png", tmp_path / f"{c}/object_{i:03}/{name}")
    found = scan(tmp_path, 8)
    counts = found.counts()
    assert (counts["train"] > 50).all() and (counts["test"] > 4).all(), counts
    assert found.rows.groupby(found.rows["file"].map(os.path.dirname))["part"].nunique().max() == 1
    assert found.findings() == ["The files of cat, dog have one name in many folders: a folder stays in one part."]


@pytest.mark.parametrize("heading", ["part", "split", "Subset", "fold", "set", "partition"])
def test_a_list_keeps_its_parts_whatever_the_column_is_called(tmp_path, heading):
    """Or pictures of the user's test part would be trained on."""
    write_images(tmp_path, {".": 40})
    parts = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    write_csv(
        tmp_path / "list.csv",
        [["image", "label", heading], *([f"{i:03}.png", "ab"[i % 2], parts[i]] for i in range(40))],
    )
    found = scan(tmp_path / "list.csv", 8)
    assert not found.findings() and [p == "test" for p in found.rows["part"]] == [p == "test" for p in parts]


# --------------------------------------------------------------------------------------------------
# Copies


def test_mirrored_copies_are_found_and_frames_of_a_fixed_camera_need_not_be(tmp_path):
    write_waves(tmp_path, [f"{c}/{i:02}.png" for c in ("cat", "dog") for i in range(10)])
    for i in range(10):
        ImageOps.mirror(Image.open(tmp_path / f"cat/{i:02}.png")).save(tmp_path / f"cat/m{i:02}.png")
    found = scan(tmp_path, 32)
    assert found.rows["copy"].nunique() == 20 and "10 images are copies within" in found.findings()[0]
    frame = np.asarray(Image.open(tmp_path / "dog/00.png"))
    for i in range(30):  # a fixed camera: one corner of the picture changes
        changed = frame.copy()
        changed[:9, :9] = i * 8
        Image.fromarray(changed).save(tmp_path / f"dog/frame{i:02}.png")
    (said,) = scan(tmp_path, 32).findings()
    assert "--exact-copies" in said
    exact = scan(tmp_path, 32, near=False)
    assert not exact.findings() and (exact.counts().loc["dog", list(PARTS)] > 0).all()


def test_copies_never_stand_in_two_parts(tmp_path):
    """Second downloads, re-encoded pictures, and one picture in two classes."""
    write_waves(tmp_path, [f"{c}/{i:02}.png" for c in ("cat", "dog", "ape") for i in range(20)])
    for i in range(20):
        shutil.copy(tmp_path / f"cat/{i:02}.png", tmp_path / f"cat/{i:02} (1).png")
    for i in range(5):
        source = Image.open(tmp_path / f"dog/{i:02}.png")
        source.resize((60, 60)).save(tmp_path / f"dog/{i:02}-small.png")
        source.save(tmp_path / f"dog/{i:02}-poor.jpg", quality=30)
        source.convert("RGBA").save(tmp_path / f"dog/{i:02}-rgba.png")
        shutil.copy(tmp_path / f"cat/{i:02}.png", tmp_path / f"ape/copy {i:02}.png")
    found = scan(tmp_path, 32)
    assert found.rows.groupby("copy")["part"].nunique().max() == 1
    assert found.rows["copy"].nunique() == 60, "and different pictures are none"
    assert (found.rows["copy"] == found.rows.groupby("copy")["copy"].transform(lambda rows: rows.index[0])).all()
    said = " ".join(found.findings())
    assert "30 images are copies within" in said and "10 images are copies between subgroups (ape and cat)" in said


def test_a_copy_in_two_parts_of_the_user_stays_in_the_later_one(tmp_path):
    write_waves(
        tmp_path, [f"{p}/{c}/{p}{i}.png" for p in ("train", "val", "test") for c in ("a", "b") for i in range(8)]
    )
    for i in range(3):
        shutil.copy(tmp_path / f"test/a/test{i}.png", tmp_path / f"train/a/again {i}.png")
    found = scan(tmp_path, 32)
    assert found.rows["dropped"].sum() == 3 and found.counts()["test"].tolist() == [8, 8]
    assert not found.used["file"].str.contains("again").any()
    assert "3 images are copies of one in a later part of yours" in " ".join(found.findings())


def test_plain_pictures_are_no_near_copies(tmp_path):
    """Blank pages of several greys: they show nothing that could be compared."""
    for c, first in (("a", 100), ("b", 140)):
        (tmp_path / c).mkdir()
        for i in range(8):
            Image.new("RGB", (20, 20), (first + i,) * 3).save(tmp_path / c / f"{i}.png")
    assert scan(tmp_path, 8).rows["copy"].nunique() == 16


# --------------------------------------------------------------------------------------------------
# Names and lists


def test_names_as_people_write_them(tmp_path):
    """Spaces, capitals, accents in either coding, and a link to a folder elsewhere."""
    write_images(tmp_path / "pictures", {"Sea Lion": 8, "e\u0301cureuil": 8})
    write_images(tmp_path / "elsewhere", {"Tiger": 8})
    (tmp_path / "pictures/tiger").symlink_to(tmp_path / "elsewhere/Tiger")
    found = scan(tmp_path / "pictures", 8)
    assert found.subgroups == ("sea lion", "tiger", "\u00e9cureuil") and found.counts()["all"].tolist() == [8, 8, 8]
    grouped = found.group("E\u0301CUREUIL", ["Sea_Lion"])
    assert grouped.subgroup == Subgroup("\u00e9cureuil", ("sea lion",))


def write_csv(path, rows):
    path.write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")


def test_a_csv_has_subgroups_finer_than_labels(tmp_path):
    """Siblings are the other subgroups of the target's label."""
    write_images(tmp_path, {"img": 48})
    kinds = [("cat", "night"), ("cat", "day"), ("cat", "dusk"), ("dog", "dogs")]
    rows = [[f"img/{i:03}.png", *kinds[i % 4]] for i in range(48)]
    write_csv(tmp_path / "list.csv", [["Image", "label", "subgroup"], *rows])
    found = scan(tmp_path / "list.csv", 8).group("night")
    assert found.subgroup == Subgroup("night", ("day", "dusk")) and found.parts["train"].classes == ("cat", "dog")
    over_labels = [*rows, ["img/000.png", "dog", "night"]]  # the target bears two labels: siblings, too
    write_csv(tmp_path / "list.csv", [["image", "label", "subgroup"], *over_labels])
    assert scan(tmp_path / "list.csv", 8).group("night").subgroup.siblings == ("day", "dogs", "dusk")
    sets = split(found)
    assert set(sets.forget.labels) == set(sets.retain.labels) == {0} and "other" in sets.test
    assert sum(map(len, found.parts.values())) == 48


def test_a_csv_keeps_its_parts_and_may_lie_in_the_folder(tmp_path):
    write_images(tmp_path / "all", {".": 32})
    rows = [[f"{i:03}.png", "ab"[i % 2], PARTS[i // 2 % 4]] for i in range(32)]
    write_csv(tmp_path / "all/list.csv", [["image", "subgroup", "part"], *rows])
    found = scan(tmp_path / "all", 8)
    assert (found.counts()[list(PARTS)] == 4).all(axis=None) and found.rows["label"].equals(found.rows["subgroup"])


def test_one_label_for_all_is_the_coarse_case(tmp_path):
    """Names compete for an image: one alone would always win."""
    write_images(tmp_path, {"tabby": 12, "siamese": 12, "persian": 12, "beagle": 12})
    found = scan(tmp_path, 8)
    coarse = found.group("tabby", ["siamese", "persian"], "Cat")
    assert coarse.parts["test"].classes == ("beagle", "cat") and coarse.subgroup.family == "cat"
    assert set(coarse.groups["test"]) == {"tabby", "siamese", "persian", "beagle"}
    alone = found.group("tabby", None, "cat").parts["test"]
    assert set(alone.names) == {"cat"} and {"dog", "truck"} < set(alone.classes) and alone.classes.count("cat") == 1


# --------------------------------------------------------------------------------------------------
# What is said and refused


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: scan(f, 8).group("unicorn"), "no subgroup 'unicorn'. Choose one of: cat, dog, few"),
        (lambda f: scan(f, 8).group(None), "no subgroup None"),
        (lambda f: scan(f, 8).group("cat", ["fox"]), "no subgroup 'fox'"),
        (lambda f: scan(f, 8).group("cat", "dog"), r"write \['dog'\], not 'dog'"),
        (lambda f: scan(f, 8).group("cat", ["cat", "dog"]), "must not overlap"),
        (lambda f: scan(f, 8).group("cat", ["dog", "Dog"]), "'dog' is named twice"),
        (lambda f: scan(f, 8).group("cat", []), "no siblings"),
        (lambda f: scan(f, 8).group("cat", labels=["a", "b"]), "labels is one label"),
        (lambda f: scan(f, 8).group("few"), "'few' has 3 pictures that are no copies: 4 are the least"),
        (lambda f: scan(f, 8, 3).group("cat", ["few"]), "No image of the siblings .few. is in the part"),
    ],
)
def test_errors_name_the_culprit(tmp_path, call, message):
    write_images(tmp_path, {"cat": 10, "dog": 10, "few": 3})
    with pytest.raises(DataError, match=message):
        call(tmp_path)


def test_all_unreadable_images_of_all_parts_are_named_at_once(tmp_path):
    """A scan counts the others and raises nothing."""
    write_images(tmp_path, {"cat": 30, "dog": 9}, size=(64, 64))
    broken = [tmp_path / f"cat/{i:03}.png" for i in (4, 11, 12, 25)]
    for file in broken[1:]:
        file.write_bytes(file.read_bytes()[:500])
    broken[0].write_bytes(b"not an image")
    found = scan(tmp_path, 8)
    assert found.counts()["all"].to_dict() == {"cat": 26, "dog": 9} and len(found.images) == 35
    assert found.findings()[0] == "4 files cannot be read as images:" and len(found.findings()) == 5
    with pytest.raises(DataError, match="^4 files cannot be read as images:") as error:
        found.group("cat")
    assert all(f"{file} cannot be read as an image (" in str(error.value) for file in broken)


def test_folders_below_a_class_belong_to_it_and_what_is_passed_over_is_said(tmp_path):
    write_images(tmp_path, {"cat": 10, "dog": 10, "cat/2021": 5, "cat/2022/may": 2})
    found = scan(tmp_path, 8)
    assert len(found.images) == 27 and not found.findings()
    write_images(tmp_path, {".": 1})
    (tmp_path / "README").write_text("read me")
    (message,) = scan(tmp_path, 8).findings()
    assert message == "Passed over: 1 beside the class folders, 1 without a suffix."


# --------------------------------------------------------------------------------------------------
# Odd folders and files: each is read, or named in a sentence; none ends in a traceback or in silence.


def two_classes(root, **contents):
    write_images(root, {"cat": 8, "dog": 8})
    for name, content in contents.items():
        (root / "cat" / name.replace("_", ".")).write_bytes(content)


def renamed(name):
    """A folder with an image under another name."""

    def make(root):
        two_classes(root)
        os.rename(root / "cat/000.png", os.path.join(os.fsencode(root / "cat"), name))

    return make


def made(call):
    """A folder that also holds something made by `call(path of it)`."""

    def make(root):
        two_classes(root)
        call(root / "cat/odd.png")

    return make


def csv_of(text, encoding="utf-8"):
    def make(root):
        write_images(root / "all", {".": 8})
        (root / "all/list.csv").write_bytes(text.encode(encoding))

    return make


LISTED = "".join(f"{i:03}.png,{'ab'[i % 2]}\n" for i in range(8))
WRITTEN = ("train", "val", "dev", "test")
ODD = {  # what it makes, and what is said: of it (text), or how many images are read (number)
    "no folder": (lambda root: root.rmdir(), "There is no folder or CSV"),
    "empty": (lambda root: (root / "x").mkdir(), "no class folders with images; expected .*001.jpg"),
    "hidden only": (lambda root: write_images(root, {".cat": 4, "__MACOSX": 4}), "no class folders"),
    "images only": (lambda root: write_images(root, {".": 4}), "no class folders"),
    "all broken": (lambda root: [(root / "a").mkdir(), (root / "a/x.png").write_text("x")], "None of the 1 images"),
    "one class": (lambda root: write_images(root, {"cat": 8}), "no siblings"),
    "zero bytes": (lambda root: two_classes(root, odd_png=b""), "odd.png cannot be read"),
    "a web page": (lambda root: two_classes(root, odd_jpg=b"<html>"), "odd.jpg cannot be read"),
    "heic": (lambda root: two_classes(root, odd_heic=b"x"), "odd.heic cannot be read"),
    "raw": (lambda root: two_classes(root, odd_cr2=b"x"), "1 with the suffix .cr2"),
    "no suffix": (lambda root: two_classes(root, README=b"x"), "1 without a suffix"),
    "hidden file": (lambda root: two_classes(root, __odd_png=b"a fork", _DS_Store=b"x"), "over: 1 hidden files.$"),
    "hidden class": (lambda root: [two_classes(root), write_images(root, {".lynx": 4, "__puma": 4})],
                     r"over: 1 hidden folders \(.lynx\), 1 hidden folders \(__puma\)"),
    "capital suffix": (renamed(b"IMG.PNG"), 16),
    "a line break": (renamed(b"a\nb.png"), 16),
    "not in UTF-8": (renamed(b"caf\xe9.png"), 16),
    "quotes and dollars": (renamed(b"' $(x)\".png"), 16),
    "long name": (renamed(b"x" * 240 + b".png"), 16),
    "a folder called .png": (made(lambda path: path.mkdir()), "1 empty folders"),
    "a pipe": (made(os.mkfifo), "1 no regular files"),
    "a broken link": (made(lambda path: path.symlink_to("gone.png")), "odd.png cannot be read"),
    "a link to itself": (made(lambda path: path.symlink_to(path)), "odd.png cannot be read"),
    "a circle": (lambda root: [two_classes(root), (root / "cat/up").symlink_to(root)], "links to folders"),
    "one pixel": (made(lambda path: Image.new("L", (1, 1)).save(path)), 17),
    "a strip": (made(lambda path: Image.new("RGB", (900, 1)).save(path)), "1 images are more than twice as long"),
    "pages": (made(lambda path: Image.new("L", (9, 9)).save(path, "TIFF", save_all=True,
                                                            append_images=[Image.new("L", (9, 9))])),
              "1 files hold several pictures .frames, pages.: only the first is read"),
    "another format": (made(lambda path: Image.new("CMYK", (9, 9)).save(path, "JPEG")), 17),
    "numbers": (lambda root: write_images(root, {"0": 8, "1": 8}), 16),
    "same in capitals": (lambda root: write_images(root, {"cat": 8, "CAT": 8}), "CAT and cat are read as one"),
    "a class not in UTF-8": (lambda root: [two_classes(root), os.mkdir(os.fsencode(root) + b"/ch\xe9vre"), shutil.copy(
        root / "cat/000.png", os.fsencode(root) + b"/ch\xe9vre/1.png")], "vre' is not in UTF-8"),
    "parts alone": (lambda root: write_images(root, {"train": 8, "test": 8}), r"lie in parts, .* expected .*test/cat/"),
    "beside the parts": (lambda root: write_images(root, {f"{p}/{c}": 8 for c in "ab" for p in ("train", "test", "x")}),
                         "Beside the parts stands x, taken for a class"),
    "of a NAS": (lambda root: [two_classes(root), write_images(root, {"cat/@eaDir": 2, "$RECYCLE.BIN": 2})],
                 r"1 folders of a system \(\$RECYCLE.BIN\), 1 folders of a system \(@eaDir\)"),
    "style/class": (lambda root: write_images(root, {f"{s}/{c}": 8 for s in ("photo", "sketch") for c in ("a", "b")}),
                    r"outer folders \(photo, sketch\), and each has the same folders in it \(a, b\)"),
    "many broken": (lambda root: [two_classes(root), *((root / f"cat/x{i}.png").write_text("x") for i in range(40))],
                    r"x12.png .* and 35 more such lines"),
    "dollars": (lambda root: write_images(root, {"$5 bill": 8, "$10 bill": 8}), 16),
    "a name of nothing": (lambda root: [two_classes(root), write_images(root, {"_": 4})], "name '_' has no letters"),
    "deep": (lambda root: write_images(root, {"a/b/c/cat": 8, "a/b/c/dog": 8}), 16),
    "two names of a part": (lambda root: write_images(root, {f"{p}/{c}": 8 for c in "ab" for p in WRITTEN}),
                            "The parts dev and val are read as one, validation."),
    "no test part": (lambda root: write_images(root, {f"{p}/{c}": 8 for c in "ab" for p in ("train", "val")}),
                     "There is no test part: val is used as the test."),
    "one part": (lambda root: write_images(root, {"test/a": 8, "test/b": 8}), "All images are in the folder test:"),
    "parts of one class": (lambda root: write_images(root, {"a/train": 8, "a/test": 8, "b": 8}),
                           "8 images are in none of your parts"),
    "a list beside": (lambda root: [two_classes(root), (root / "list.csv").write_text("x")],
                      r"1 with the suffix .csv \(name the file itself to read it\)"),
    "images in a part": (lambda root: write_images(root, {"train/a": 8, "test/a": 8, "test": 2}), "in no class folder"),
    "CSV with a mark": (csv_of("\ufeffimage,label\n" + LISTED), 8),
    "CSV of a spreadsheet": (csv_of("image;label\n" + LISTED.replace(",", ";")), 8),
    "CSV, with other columns": (csv_of("image,label,width\n" + LISTED.replace("\n", ",9\n")), "not read: width"),
    "CSV, some in parts": (csv_of("image,label,split\n" + LISTED.replace("\n", ",\n") + "000.png,a,Test\n"),
                           "8 images are in none of your parts"),
    "CSV, folds": (csv_of("image,label,fold\n" + LISTED.replace("\n", ",3\n")), "the fold '3' is none of .*rename"),
    "CSV of Windows": (csv_of("image,label\n" + LISTED.replace("0", ".\\0", 1)), 8),
    "CSV in Latin-1": (csv_of("image,label\n000.png,\xe9\n", "latin-1"), "in UTF-8"),
    "CSV, empty": (csv_of(""), "cannot be read as a CSV"),
    "CSV, long rows": (csv_of("image,label\na,b,c,d\n"), "cannot be read as a CSV"),
    "CSV, short rows": (csv_of("image,label\nx\n"), "a value is missing in line 2"),
    "CSV, other columns": (csv_of("file,kind\n000.png,a\n"), "needs the columns image,label,subgroup"),
    "CSV, another part": (csv_of("image,label,part\n000.png,a,exam\n"), "the part 'exam' is none of"),
    "CSV, no rows": (csv_of("image,label\n"), "it has no rows"),
    "CSV, twice": (csv_of("image,label\n" + LISTED + "000.png,a\n"), "1 images are copies"),
    "CSV, elsewhere": (csv_of("image,label\n/nowhere/1.png,a\n" + LISTED), "1.png cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_folder_is_read_or_told(tmp_path, name):
    make, expected = ODD[name]
    root = Path(tmp_path / "root")
    root.mkdir()
    make(root)
    said = ""
    try:
        found = scan(root / "all" if (root / "all").exists() else root, 8)
        said = " ".join(found.findings())
        found.group(found.subgroups[0])
    except DataError as error:
        said += str(error)
    if isinstance(expected, int):
        assert said == "" and len(found.images) == found.counts()["all"].sum() == expected
    else:
        assert re.search(expected, said), said
