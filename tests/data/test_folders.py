"""Your own folder or CSV of images: its parts, copies, what is passed over, what is refused."""

import itertools
import logging
import os
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forgetkit import Subgroup, split
from forgetkit.data import PARTS, DataError, load_folder
from forgetkit.data.folders import scan
from forgetkit.data.reading import files_for


def write_images(folder, counts, size=(12, 8)):
    for name, n in counts.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)).save(folder / name / f"{i:03}.png")


def all_parts(folder, size=8, **options):
    return {part: load_folder(folder, size, part, **options) for part in PARTS}


def test_parts_are_disjoint_deterministic_and_whole(tmp_path):
    write_images(tmp_path, {"Fire_Truck": 20, "cat": 10})
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "cat/._000.png").write_bytes(b"resource fork")
    parts = all_parts(tmp_path)
    assert parts["test"].classes == ("cat", "fire truck") and parts["test"].images.shape[1:] == (8, 8, 3)
    files = [set(s.images.files) for s in parts.values()]
    assert sum(map(len, files)) == len(set.union(*files)) == 30
    assert all((np.bincount(s.labels, minlength=2) > 0).all() for s in parts.values()), "every class in every part"
    assert not any(
        a & b for a, b in itertools.combinations([{i.tobytes() for i in s.images} for s in parts.values()], 2)
    )
    again, other = load_folder(tmp_path, 8, "train"), load_folder(tmp_path, 8, "train", seed=1)
    assert np.array_equal(parts["train"].images, again.images) and again.images.files != other.images.files


def test_a_new_folder_or_file_moves_no_other_image(tmp_path):
    write_images(tmp_path, {"cat": 60, "dog": 60})
    before = {part: set(s.images.files) for part, s in all_parts(tmp_path).items()}
    write_images(tmp_path, {"ape": 20})
    shutil.copy(tmp_path / "cat/000.png", tmp_path / "cat/another.png")
    assert all(before[part] <= set(s.images.files) for part, s in all_parts(tmp_path).items())


def test_fractions_and_prompts(tmp_path):
    write_images(tmp_path, {"a": 4, "b": 7})
    even = list(all_parts(tmp_path, fractions=(0.25,) * 4, prompts=["a map of {}."]).values())
    assert sum(map(len, even)) == 11 and min(np.bincount(s.labels, minlength=2).min() for s in even) == 1
    assert even[0].prompts == ("a map of {}.",)
    assert len(load_folder(tmp_path, 8, "test", fractions=(0, 0, 0, 1))) == 11
    assert len(load_folder(tmp_path, 8, "train", fractions=(0, 0, 0, 1))) == 0


def test_images_know_their_files_and_are_in_memory(tmp_path, mini):
    write_images(tmp_path, {"a": 10})
    part = load_folder(tmp_path, mini, "train")
    expected = files_for(mini, part.images.files).read()
    shutil.rmtree(tmp_path / "a")
    assert np.array_equal(part.images.read(), expected) and np.array_equal(part.take([1, 0]).images, expected[[1, 0]])


def test_what_is_passed_over_is_counted_in_one_warning(tmp_path, caplog):
    write_images(tmp_path, {"cat": 10, "dog": 10, "cat/2021": 5, "cat/2022/may": 2, "dog/.thumbnails": 3})
    write_images(tmp_path, {".": 1})
    for i in range(3):
        (tmp_path / "dog" / f"IMG_{i}.cr2").write_bytes(b"raw")
    (tmp_path / "README").write_text("read me")
    (tmp_path / "ape").mkdir()
    with caplog.at_level(logging.WARNING):
        assert sum(map(len, all_parts(tmp_path).values())) == 27, "folders below a class belong to it"
    (message,) = [record.getMessage() for record in caplog.records]
    for words in (
        "6 files are passed over",
        "3 with the suffix .cr2",
        "1 without a suffix",
        "1 beside the class",
        "1 empty",
    ):
        assert words in message, words


def test_nothing_is_said_where_nothing_is_passed_over(tmp_path, caplog):
    write_images(tmp_path, {"cat": 4})
    load_folder(tmp_path, 8)
    assert not caplog.records


def used(found):
    """By part, the files that are used, as class/name."""
    rows = found.rows[~found.rows["dropped"]]
    short = lambda file: "/".join(Path(file).parts[-2:])
    return {part: set(map(short, rows["file"][rows["part"] == part])) for part in PARTS}


@pytest.mark.parametrize(
    "train, val, test",
    [("train", "val", "test"), ("Training", "Validation", "TESTING"), ("set/train", "set/valid", "set/test")],
)
def test_parts_of_the_user_are_kept(tmp_path, train, val, test):
    """Nothing of the test part is trained on, and calibration is taken out of validation."""
    write_images(tmp_path, {f"{part}/{c}": n for part, n in ((train, 9), (val, 8), (test, 7)) for c in ("cat", "dog")})
    found = scan(tmp_path, 8)
    counts = found.counts()
    assert counts.loc["cat", "train"] == 9 and counts.loc["dog", "test"] == 7
    assert counts.loc["cat", "calibration"] + counts.loc["cat", "validation"] == 8 and (counts > 0).all(axis=None)
    assert all(f"/{test}/" in file for file in found.rows["file"][found.rows["part"] == "test"])


@pytest.mark.parametrize("names", [("training/training", "validation/validation"), ("cat/train", "cat/val")])
def test_two_parts_are_train_and_test(tmp_path, names):
    """As archives have it; and parts below the classes."""
    below = lambda c, name: name.replace("cat", c) if "cat" in name else f"{name}/{c}"
    write_images(tmp_path, {below(c, name): n for name, n in zip(names, (20, 6)) for c in ("cat", "dog")})
    counts = scan(tmp_path, 8).counts()
    assert list(counts.index) == ["cat", "dog"] and (counts["test"] == 6).all()
    assert (counts[["train", "calibration", "validation"]].sum(axis=1) == 20).all() and (counts > 0).all(axis=None)


def picture(seed, size=96):
    """Waves of three colours: something to see, which survives JPEG and resizing."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:size, :size] / size
    waves = [np.sin(2 * np.pi * (rng.uniform(0.3, 2) * x + rng.uniform(0.3, 2) * y + rng.uniform())) for _ in range(3)]
    return Image.fromarray((127 + 100 * np.stack(waves, -1)).astype(np.uint8))


def write_pictures(folder, names):
    """A picture for each name of `class/file`, seeded by its place."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / name)


def near_copies(folder, name):
    """Of an image: smaller, as a poor JPEG, in another mode."""
    source = Image.open(folder / name)
    source.resize((60, 60)).save(folder / f"{name}-small.png")
    source.save(folder / f"{name}-poor.jpg", quality=30)
    source.convert("RGBA").save(folder / f"{name}-rgba.png")


def test_copies_never_stand_in_two_parts(tmp_path):
    """Case 07: second downloads, re-encoded pictures, and one picture in two classes."""
    write_pictures(tmp_path, [f"{c}/{i:02}.png" for c in ("cat", "dog", "ape") for i in range(20)])
    for i in range(20):
        shutil.copy(tmp_path / f"cat/{i:02}.png", tmp_path / f"cat/{i:02} (1).png")
    for i in range(5):
        near_copies(tmp_path, f"dog/{i:02}.png")
        shutil.copy(tmp_path / f"cat/{i:02}.png", tmp_path / f"ape/copy {i:02}.png")
    found = scan(tmp_path, 32)
    assert found.rows.groupby("copy")["part"].nunique().max() == 1
    assert found.rows["copy"].nunique() == 60, "and different pictures are none"
    assert found.copies() == {"within": 20 - 5 + 15, "between": 10, "parts": 0}
    said = " ".join(found.findings())
    assert "30 images are copies within" in said and "10 images are copies between subgroups (ape and cat)" in said
    parts = {part: {image.tobytes() for image in s.images} for part, s in found.group("cat").parts.items()}
    assert not any(a & b for a, b in itertools.combinations(parts.values(), 2))
    only_exact = scan(tmp_path, 32, near=False)
    assert only_exact.rows["copy"].nunique() > 60


def test_a_copy_in_two_parts_of_the_user_stays_in_the_later_one(tmp_path):
    write_pictures(
        tmp_path, [f"{p}/{c}/{p}{i}.png" for p in ("train", "val", "test") for c in ("a", "b") for i in range(8)]
    )
    for i in range(3):
        shutil.copy(tmp_path / f"test/a/test{i}.png", tmp_path / f"train/a/again {i}.png")
    found = scan(tmp_path, 32)
    assert found.rows["dropped"].sum() == 3 and found.counts()["test"].tolist() == [8, 8]
    assert not any("again" in file for files in used(found).values() for file in files)
    assert "3 images are copies of one in a later part of yours" in " ".join(found.findings())


def test_plain_pictures_are_no_near_copies(tmp_path):
    """Blank pages of several greys: nothing is seen in them by which they could be told to be one."""
    for c, first in (("a", 100), ("b", 140)):
        (tmp_path / c).mkdir()
        for i in range(8):
            Image.new("RGB", (20, 20), (first + i,) * 3).save(tmp_path / c / f"{i}.png")
    assert scan(tmp_path, 8).rows["copy"].nunique() == 16


def test_names_as_people_write_them(tmp_path):
    """Spaces, capitals, accents in either coding, links to files and to folders, and a link that goes round."""
    write_images(tmp_path / "pictures", {"Sea Lion": 8, "e\u0301cureuil": 8, "polar_bear": 8})
    write_images(tmp_path / "elsewhere", {"Tiger": 8})
    (tmp_path / "pictures/tiger").symlink_to(tmp_path / "elsewhere/Tiger")
    (tmp_path / "pictures/Sea Lion/round").symlink_to(tmp_path / "pictures")
    (tmp_path / "pictures/polar_bear/lost.png").symlink_to(tmp_path / "nowhere.png")
    found = scan(tmp_path / "pictures", 8)
    assert found.subgroups == ("polar bear", "sea lion", "tiger", "\u00e9cureuil")
    assert found.counts()["all"].tolist() == [8, 8, 8, 8]
    assert len(found.broken) == 1 and "lost.png" in found.broken[0]
    (tmp_path / "pictures/polar_bear/lost.png").unlink()
    grouped = scan(tmp_path / "pictures", 8).group("E\u0301CUREUIL", ["Sea_Lion"])
    assert grouped.subgroup == Subgroup("\u00e9cureuil", ("sea lion",))


def write_csv(path, rows, mark=","):
    path.write_text("\n".join(mark.join(row) for row in rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize("mark", [",", ";"])
def test_a_csv_has_subgroups_finer_than_labels(tmp_path, mark):
    """Case 11: siblings are the other subgroups of the target's label."""
    write_images(tmp_path, {"img": 48})
    kinds = [("cat", "night"), ("cat", "day"), ("cat", "dusk"), ("dog", "dogs")]
    rows = [[f"img/{i:03}.png", *kinds[i % 4]] for i in range(48)]
    write_csv(tmp_path / "list.csv", [["Image", "label", "subgroup"], *rows], mark)
    found = scan(tmp_path / "list.csv", 8).group("night")
    assert found.subgroup == Subgroup("night", ("day", "dusk")) and found.parts["train"].classes == ("cat", "dog")
    sets = split(found)
    assert set(sets.forget.labels) == set(sets.retain.labels) == {0} and "other" in sets.test
    assert sum(map(len, found.parts.values())) == 48


def test_a_csv_keeps_its_parts_and_may_lie_in_the_folder(tmp_path):
    write_images(tmp_path / "all", {".": 32})
    parts = ["train", "calibration", "validation", "test"]
    rows = [[f"{i:03}.png", "ab"[i % 2], parts[i // 2 % 4]] for i in range(32)]
    write_csv(tmp_path / "all/list.csv", [["image", "subgroup", "part"], *rows])
    found = scan(tmp_path / "all", 8)
    assert (found.counts()[list(PARTS)] == 4).all(axis=None) and found.rows["label"].equals(found.rows["subgroup"])


@pytest.mark.parametrize(
    "rows, message",
    [
        ([["file", "kind"], ["000.png", "a"]], "needs the columns image,label,subgroup"),
        ([["image", "label"], ["000.png", ""]], "a value is missing in line 2"),
        ([["image", "label", "part"], ["000.png", "a", "exam"]], "the part 'exam' is none of"),
        ([["image", "label"]], "it has no rows"),
        ([["image", "label"], ["000.png", "a"], ["gone.png", "a"]], "gone.png cannot be read"),
    ],
)
def test_a_csv_that_says_nothing_is_told(tmp_path, rows, message):
    write_images(tmp_path, {".": 1})
    write_csv(tmp_path / "list.csv", rows)
    with pytest.raises(DataError, match=message):
        scan(tmp_path / "list.csv", 8).group("a")


def test_one_label_for_all_is_the_coarse_case(tmp_path):
    """Names compete for an image: one alone would always win."""
    write_images(tmp_path, {"tabby": 12, "siamese": 12, "persian": 12, "beagle": 12})
    found = scan(tmp_path, 8).group("tabby", ["siamese", "persian"], "Cat")
    assert found.parts["test"].classes == ("beagle", "cat") and found.subgroup.family == "cat"
    assert set(found.groups["test"]) == {"tabby", "siamese", "persian", "beagle"}
    alone = scan(tmp_path, 8).group("tabby", None, "cat")
    assert set(alone.parts["test"].names) == {"cat"} and {"dog", "truck"} < set(alone.parts["test"].classes)
    assert alone.parts["test"].classes.count("cat") == 1
    few = scan(tmp_path, 8).group("tabby", None, "cat", words=["dog"])
    assert few.parts["test"].classes == ("cat", "dog")


def test_a_class_may_be_called_train(tmp_path):
    write_images(tmp_path, {"train": 4, "bus": 4})
    assert load_folder(tmp_path, 8).classes == ("bus", "train")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: load_folder(f / "nowhere", 8), "There is no folder or CSV .*nowhere"),
        (lambda f: load_folder(f / "empty", 8), "no class folders with images; expected .*001.jpg"),
        (lambda f: load_folder(f, 8, "dev"), "no part 'dev'. Choose one of"),
        (lambda f: load_folder(f, 8, fractions=(0.5, 0.5)), "fractions must be four shares .* add up to 1"),
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
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        call(tmp_path)


def test_a_look_counts_all_and_raises_nothing(tmp_path):
    write_images(tmp_path, {"cat": 12, "dog": 9}, size=(64, 64))
    (tmp_path / "cat/004.png").write_bytes(b"not an image")
    (tmp_path / "dog/001.png").write_bytes(b"")
    found = scan(tmp_path, 8)
    assert found.counts()["all"].to_dict() == {"cat": 11, "dog": 8} and len(found.images) == 19
    assert found.findings()[0] == "2 files cannot be read as images:"
    assert any("004.png" in words for words in found.findings()) and any("001.png" in w for w in found.findings())
    with pytest.raises(DataError, match="(?s)^2 files cannot be read as images:.*004.png"):
        found.group("cat")


def test_all_unreadable_images_of_all_parts_are_named_at_once(tmp_path):
    write_images(tmp_path, {"cat": 30}, size=(64, 64))
    broken = [tmp_path / f"cat/{i:03}.png" for i in (4, 11, 12, 25)]
    for file in broken[1:]:
        file.write_bytes(file.read_bytes()[:500])
    broken[0].write_bytes(b"not an image")
    with pytest.raises(DataError, match="^4 files cannot be read as images:") as error:
        all_parts(tmp_path)
    assert all(f"{file} cannot be read as an image (" in str(error.value) for file in broken)


# --------------------------------------------------------------------------------------------------
# Odd folders and files: each is read, or told in a sentence; none ends in a traceback or in silence.


def pair(root, **kinds):
    write_images(root, {"cat": 8, "dog": 8})
    for name, content in kinds.items():
        (root / "cat" / name.replace("_", ".")).write_bytes(content)


def moved(root, name):
    """An image of `cat` under another name."""
    pair(root)
    os.rename(root / "cat/000.png", os.path.join(os.fsencode(root / "cat"), name))


def made(call):
    """A folder that also holds something made by `call(path of it)`."""

    def make(root):
        pair(root)
        call(root / "cat/odd.png")

    return make


def csv_of(text, encoding="utf-8"):
    def make(root):
        write_images(root / "all", {".": 8})
        (root / "all/list.csv").write_bytes(text.encode(encoding))

    return make


LISTED = "".join(f"{i:03}.png,{'ab'[i % 2]}\n" for i in range(8))
ODD = {  # what it makes, and what is said: of it (text), or how many images are read (number)
    "no folder": (lambda root: None, "There is no folder|no class folders"),
    "empty": (lambda root: (root / "x").mkdir(), "no class folders"),
    "hidden only": (lambda root: write_images(root, {".cat": 4, "__MACOSX": 4}), "no class folders"),
    "images only": (lambda root: write_images(root, {".": 4}), "no class folders"),
    "text only": (lambda root: [(root / "a").mkdir(), (root / "a/x.txt").write_text("x")], "no class folders"),
    "all broken": (lambda root: [(root / "a").mkdir(), (root / "a/x.png").write_text("x")], "None of the 1 images"),
    "one class": (lambda root: write_images(root, {"cat": 8}), "no siblings"),
    "zero bytes": (lambda root: pair(root, odd_png=b""), "odd.png cannot be read"),
    "a web page": (lambda root: pair(root, odd_jpg=b"<html>"), "odd.jpg cannot be read"),
    "cut short": (lambda root: pair(root, odd_png=b"\x89PNG\r\n\x1a\n0000"), "odd.png cannot be read"),
    "heic": (lambda root: pair(root, odd_heic=b"x"), "odd.heic cannot be read"),
    "raw": (lambda root: pair(root, odd_cr2=b"x"), "1 with the suffix .cr2"),
    "a film": (lambda root: pair(root, odd_mp4=b"x"), "1 with the suffix .mp4"),
    "no suffix": (lambda root: pair(root, README=b"x"), "1 without a suffix"),
    "capital suffix": (lambda root: moved(root, b"IMG.PNG"), 16),
    "spaces": (lambda root: moved(root, b" a  b .png"), 16),
    "a line break": (lambda root: moved(root, b"a\nb.png"), 16),
    "not in UTF-8": (lambda root: moved(root, b"caf\xe9.png"), 16),
    "quotes and dollars": (lambda root: moved(root, b"'$(x)\".png"), 16),
    "long name": (lambda root: moved(root, b"x" * 240 + b".png"), 16),
    "a folder called .png": (made(lambda path: path.mkdir()), "1 empty folders"),
    "a pipe": (made(os.mkfifo), "1 no regular files"),
    "a broken link": (made(lambda path: path.symlink_to("gone.png")), "odd.png cannot be read"),
    "a link to itself": (made(lambda path: path.symlink_to(path)), "odd.png cannot be read"),
    "a circle": (lambda root: [pair(root), (root / "cat/up").symlink_to(root)], "links to folders that are read"),
    "one pixel": (made(lambda path: Image.new("L", (1, 1)).save(path)), 17),
    "a strip": (made(lambda path: Image.new("RGB", (900, 1)).save(path)), 17),
    "an animation": (made(lambda path: Image.new("P", (9, 9)).save(path, "GIF")), 17),
    "another format": (made(lambda path: Image.new("CMYK", (9, 9)).save(path, "JPEG")), 17),
    "numbers": (lambda root: write_images(root, {"0": 8, "1": 8}), 16),
    "same in capitals": (lambda root: write_images(root, {"cat": 8, "CAT": 8, "dog": 8}), 24),
    "deep": (lambda root: write_images(root, {"a/b/c/cat": 8, "a/b/c/dog": 8}), 16),
    "parts, one class": (lambda root: write_images(root, {"train/cat": 8, "test/cat": 8}), "no siblings"),
    "images in a part": (lambda root: write_images(root, {"train/a": 8, "test/a": 8, "test": 2}), "in no class folder"),
    "CSV with a mark": (csv_of("\ufeffimage,label\n" + LISTED), 8),
    "CSV of a spreadsheet": (csv_of("image;label\n" + LISTED.replace(",", ";")), 8),
    "CSV in Latin-1": (csv_of("image,label\n000.png,\xe9\n", "latin-1"), "in UTF-8"),
    "CSV, empty": (csv_of(""), "cannot be read as a CSV"),
    "CSV, ragged": (csv_of("image,label\na,b,c,d\nx\n"), "missing|cannot be read"),
    "CSV, twice": (csv_of("image,label\n" + LISTED + "000.png,a\n"), "1 images are copies"),
    "CSV, elsewhere": (csv_of("image,label\n/nowhere/1.png,a\n" + LISTED), "1.png cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_folder_is_read_or_told(tmp_path, name):
    make, expected = ODD[name]
    make(tmp_path)
    path = tmp_path / "all" if (tmp_path / "all").exists() else tmp_path
    said = ""
    try:
        found = scan(path, 8)
        said = " ".join(found.findings())
        found.group(found.subgroups[0])
    except DataError as error:
        said += str(error)
    if isinstance(expected, int):
        assert said == "" and len(found.images) == found.counts()["all"].sum() == expected
    else:
        assert re.search(expected, said), said
