"""Your own folder of images: its parts, what is passed over, what is refused."""

import itertools
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from forgetkit.data import PARTS, DataError, load_folder
from forgetkit.data.reading import files_for


def write_images(folder, counts, size=(12, 8)):
    rng = np.random.default_rng(2)
    for name, n in counts.items():
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
    assert parts["test"].classes == ("fire truck", "cat") and parts["test"].images.shape[1:] == (8, 8, 3)
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
    with caplog.at_level(logging.WARNING):
        assert sum(map(len, all_parts(tmp_path).values())) == 20
    (message,) = [record.getMessage() for record in caplog.records]
    assert "12 of its files are not read" in message and "7 in folders below a class folder" in message
    assert "3 with the suffix .cr2" in message and "1 without a suffix" in message and "1 beside the class" in message


def test_nothing_is_said_where_nothing_is_passed_over(tmp_path, caplog):
    write_images(tmp_path, {"cat": 4})
    load_folder(tmp_path, 8)
    assert not caplog.records


@pytest.mark.parametrize("names", [("training", "validation"), ("train", "val", "test"), ("Train", "Test", "extra")])
def test_folders_that_look_like_parts_are_refused_with_the_way_out(tmp_path, names):
    write_images(tmp_path, {f"{name}/{c}": 10 for name in names for c in ("cat", "dog")})
    with pytest.raises(
        DataError, match=rf"The folders {names[0]}, .* look like parts, not classes. Load each by itself"
    ) as error:
        load_folder(tmp_path, 8)
    first, last = [name for name in names if name != "extra"][:: len(names) - 1 - ("extra" in names)]
    assert f"load_folder('{tmp_path / first}', size, part, fractions=(0.7, 0.15, 0.15, 0))" in str(error.value)
    drawn = (0.7, 0.15, 0.15, 0)
    parts = {part: load_folder(tmp_path / first, 8, part, fractions=drawn) for part in PARTS[:3]}
    parts["test"] = load_folder(tmp_path / last, 8, "test", fractions=(0, 0, 0, 1))
    assert [s.classes for s in parts.values()] == [("cat", "dog")] * 4 and len(parts["test"]) == 20


def test_a_class_may_be_called_train(tmp_path):
    write_images(tmp_path, {"train": 4, "bus": 4})
    assert load_folder(tmp_path, 8).classes == ("bus", "train")


def test_errors_name_the_culprit(tmp_path):
    with pytest.raises(DataError, match="There is no folder .*nowhere"):
        load_folder(tmp_path / "nowhere", 8)
    with pytest.raises(DataError, match="no class folders; expected one folder a class: .*001.jpg"):
        load_folder(tmp_path, 8)
    with pytest.raises(DataError, match="no part 'dev'. Choose one of"):
        load_folder(tmp_path, 8, "dev")
    with pytest.raises(DataError, match="fractions must be four shares .* add up to 1"):
        load_folder(tmp_path, 8, fractions=(0.5, 0.5))
    write_images(tmp_path, {"cat": 10, "dog": 3})
    with pytest.raises(DataError, match=r"Class 'dog' has 3 images, but fractions .* need 4 a class"):
        load_folder(tmp_path, 8)
    shutil.rmtree(tmp_path / "dog")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"Class folder .*dog holds no image"):
        load_folder(tmp_path, 8)
    shutil.rmtree(tmp_path / "dog")
    write_images(tmp_path, {"sea_lion": 10, "sea lion": 10})
    with pytest.raises(DataError, match="same class name: .*sea_lion"):
        load_folder(tmp_path, 8)


def test_all_unreadable_images_of_all_parts_are_named_at_once(tmp_path):
    write_images(tmp_path, {"cat": 30}, size=(64, 64))
    broken = [tmp_path / f"cat/{i:03}.png" for i in (4, 11, 12, 25)]
    for file in broken[1:]:
        file.write_bytes(file.read_bytes()[:500])
    broken[0].write_bytes(b"not an image")
    with pytest.raises(DataError, match="^4 files cannot be read as images:") as error:
        all_parts(tmp_path)
    assert all(f"{file} cannot be read as an image (" in str(error.value) for file in broken)
