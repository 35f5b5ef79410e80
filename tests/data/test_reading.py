"""Reading images: the same pixels in every kind of set, read only when they are used."""

import json
import os

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image, ImageCms, features

from forgetkit.data import PARTS, DataError, ImageSet, folders, imagenet, styles, zero_shot
from forgetkit.data.layouts import from_csv, from_folder
from forgetkit.data.reading import SHARES, SUFFIXES, ImageFiles, divide, files_for, read_image, to_rgb

# --------------------------------------------------------------------------------------------------
# Odd images. Each is written by a function of a path, and `expected` says what its pixels are.

RAMP = np.linspace(0.05, 0.95, 90 * 70).reshape(70, 90)  # grey, brighter to the right and to the bottom
GREY = np.rint(255 * RAMP).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], np.full_like(GREY, 90)], -1)
ALPHA = np.zeros_like(GREY)
ALPHA[:, 20:70] = 255  # the sides are transparent
ON_WHITE = np.where(ALPHA[..., None] > 0, RGB, 255).astype(np.uint8)
three = lambda grey: np.repeat(grey[..., None], 3, -1)


def saved(array, mode=None, **options):
    image = Image.fromarray(array)
    return lambda path: (image.convert(mode) if mode else image).save(path, **options)


def turned(orientation):
    """RGB, stored in such a way that its EXIF orientation brings it upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    image = Image.fromarray(RGB).transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda path: image.save(path, exif=exif)


def palette(path):
    image = Image.fromarray(RGB).quantize(16)
    image.save(path)


def see_through_palette(path):
    image = Image.fromarray(np.where(ALPHA > 0, 1, 0).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.save(path, transparency=0)


def animated(path):
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(path, save_all=True, append_images=[second])


def plain(path):
    """What Pillow alone reads: for lossy files, and modes that it converts well."""
    return np.asarray(Image.open(path).convert("RGB"))


ODD = {
    "rgb.png": (saved(RGB), RGB),
    "upper.PNG": (saved(RGB), RGB),
    **{f"turned{i}.png": (turned(i), RGB) for i in range(2, 9)},
    "rgba.png": (saved(np.dstack([RGB, ALPHA])), ON_WHITE),
    "la.png": (saved(np.dstack([GREY, ALPHA])), np.where(ALPHA[..., None] > 0, three(GREY), 255).astype(np.uint8)),
    "clear.webp": (saved(np.dstack([RGB, ALPHA]), lossless=True, exact=True), ON_WHITE),
    "palette.png": (palette, plain),
    "palette, clear.png": (
        see_through_palette,
        np.where(ALPHA[..., None] > 0, [10, 20, 30], 255).astype(np.uint8),
    ),
    "animated.gif": (animated, three(GREY)),
    "one bit.png": (saved(GREY, "1"), plain),
    "grey.jpg": (saved(GREY), plain),
    "photo.jfif": (saved(RGB, format="JPEG"), plain),
    "cmyk.jpg": (saved(RGB, "CMYK"), plain),
    "grey.pgm": (saved(GREY), three(GREY)),
    "rgb.ppm": (saved(RGB), RGB),
    "rgb.bmp": (saved(RGB), RGB),
    "rgb.tif": (saved(RGB), RGB),
    "16.png": (saved((RAMP * 65535).astype(np.uint16)), three(np.rint((RAMP * 65535).astype(int) / 257))),
    "dark 16.png": (saved(np.full((70, 90), 200, np.uint16)), np.full((70, 90, 3), 1)),
    "16.tif": (saved((RAMP * 65535).astype(np.uint16)), three(np.rint((RAMP * 65535).astype(int) / 257))),
    "16.pgm": (saved((RAMP * 65535).astype(np.uint16)), three(np.rint((RAMP * 65535).astype(int) / 257))),
    "32 of 16.tif": (saved((RAMP * 65535).astype(np.int32)), three(np.rint((RAMP * 65535).astype(int) / 257))),
    "32 of 8.tif": (saved(GREY.astype(np.int32)), three(GREY)),
    "float to 1.tif": (saved(RAMP.astype(np.float32)), three(np.rint(255 * RAMP))),
    "float to 255.tif": (saved(GREY.astype(np.float32)), three(GREY)),
    "tall.png": (saved(np.repeat(RGB, 4, 0)), np.repeat(RGB, 4, 0)),
    "wide.png": (saved(np.repeat(RGB, 5, 1)), np.repeat(RGB, 5, 1)),
    "tiny.png": (saved(RGB[:3, :2]), RGB[:3, :2]),
}
if features.check("avif"):
    ODD["photo.avif"] = (saved(RGB), plain)
REFUSED = {
    "minus.tif": (np.full((9, 9), -5, np.int32), "its values, -5 to -5, is white"),
    "large.tif": (np.full((9, 9), 70000, np.int32), "its values, 70000 to 70000"),
    "nan.tif": (np.full((9, 9), np.nan, np.float32), "its values, nan to nan"),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    for name, (save, _) in ODD.items():
        save(root / name)
    return root


@pytest.mark.parametrize("name", ODD)
def test_each_odd_image_becomes_rgb_of_eight_bits(odd, name):
    expected = ODD[name][1](odd / name) if callable(ODD[name][1]) else ODD[name][1]
    assert np.array_equal(read_image(odd / name), expected)


def test_each_has_the_same_pixels_through_every_way_in(odd, tmp_path, mini):
    """A list of files, a folder, a style set, ImageNet's folders (flat or not), Food-101, ObjectNet less its border."""
    wnids = ("n02490219", "n02492035")
    for name in ODD:
        for base in ("folder/a", *(f"styles/{s}/{c}" for s in ("x", "y") for c in ("a", "b")),
                     *(f"imagenet/train/{w}" for w in wnids)):  # fmt: skip
            (tmp_path / base).mkdir(parents=True, exist_ok=True)
            os.link(odd / name, tmp_path / base / name)
    expected = {name: files_for(mini, [odd / name])[0] for name in ODD}
    nowhere = {part: folders.scan(tmp_path / "folder", mini).part(part) for part in PARTS}
    styled = styles.load(tmp_path / "styles", mini)
    found = imagenet.group(imagenet.load(tmp_path / "imagenet"), "marmoset", mini)
    for parts, copies in ((nowhere, 1), (styled.parts, 4), (found.parts, 2)):
        read = [(file, image) for s in parts.values() for file, image in zip(s.images.files, s.images.read())]
        assert len(read) == copies * len(ODD)
        assert all(np.array_equal(image, expected[os.path.basename(file)]) for file, image in read)

    mappings = tmp_path / "objectnet-1.0" / "mappings"
    mappings.mkdir(parents=True)
    (mappings / "folder_to_objectnet_label.json").write_text(json.dumps({"a": "A"}))
    (mappings / "objectnet_to_imagenet_1k.json").write_text(json.dumps({"A": "a"}))
    (tmp_path / "objectnet-1.0" / "images" / "a").mkdir(parents=True)
    for name in ODD:
        if name != "tiny.png":  # smaller than its frame
            frame = np.pad(read_image(odd / name), ((2, 2), (2, 2), (0, 0)))
            Image.fromarray(frame).save(tmp_path / "objectnet-1.0" / "images" / "a" / f"{name}.png")
    images = zero_shot.columns(tmp_path, mini)[0]["objectnet"].images
    for file, image in zip(images.files, images.read()):
        assert np.array_equal(image, expected[os.path.basename(file).removesuffix(".png")])


@pytest.mark.parametrize("name", REFUSED)
def test_values_without_a_white_are_refused_by_name(tmp_path, name):
    array, words = REFUSED[name]
    Image.fromarray(array).save(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} cannot be read as an image \(.*{words}"):
        read_image(tmp_path / name)


def test_a_picture_of_400_megapixels_is_refused_before_it_fills_the_memory(tmp_path):
    Image.new("1", (20_000, 20_000)).save(file := tmp_path / "scan.png")
    with pytest.raises(DataError, match=r"scan\.png cannot be read as an image \(.*400000000 pixels.*remove it"):
        read_image(file)


@pytest.mark.parametrize("suffix", [".heic", ".jxl"])
def test_a_format_that_pillow_lacks_is_refused_by_name(tmp_path, suffix):
    if suffix in Image.registered_extensions():
        pytest.skip("this Pillow reads it")
    (tmp_path / f"a{suffix}").write_bytes(b"stands for a photo")
    assert suffix in SUFFIXES
    with pytest.raises(DataError, match=rf"a{suffix} .*Pillow has no reader for {suffix} here: install pillow-"):
        read_image(tmp_path / f"a{suffix}")


# --------------------------------------------------------------------------------------------------
# Resizing, and files that stand where an array may stand


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures, portrait and landscape, coarse noise, of the modes that ImageNet's files have."""
    root = tmp_path_factory.mktemp("six")
    rng = np.random.default_rng(0)
    for i, mode in enumerate(("RGB", "L", "CMYK", "RGBA", "P", "RGB")):
        small = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8)).resize((90 + 40 * i, 170 - 25 * i))
        small.convert(mode).save(root / f"{i}.{'png' if mode in ('RGBA', 'P') else 'JPEG'}")
    return root


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode, size", [("shortest", 64), ("longest", 64), ("squash", 64), ("squash", (32, 64))])
def test_pixels_are_those_of_open_clips_transform(folder, interpolation, mode, size):
    files = sorted(folder.iterdir())
    transform = open_clip.image_transform(size, False, (0, 0, 0), (1, 1, 1), mode, interpolation)
    opened = [Image.open(file) for file in files]
    expected = torch.stack([transform(i if i.mode in ("RGB", "L") else to_rgb(i)) for i in opened])
    images = ImageFiles(files, size, interpolation, mode)
    found = torch.as_tensor(images[:]).permute(0, 3, 1, 2)
    assert torch.equal(found.float() / 255, expected) and images.shape == (6, *expected.shape[2:], 3)


def test_a_model_sees_files_as_it_sees_their_pixels(folder, mini):
    images = files_for(mini, sorted(folder.iterdir()))
    assert images.how == (64, 64, "bilinear", "shortest", 0)
    assert torch.equal(mini.embed(images, batch=4), mini.embed(images.read(), batch=4))


@pytest.mark.parametrize("kept", [False, True])
def test_it_indexes_like_an_array(folder, kept):
    files = ImageFiles(sorted(folder.iterdir()), 32)
    array = np.asarray(files)
    files.pixels = array if kept else None
    assert array.shape == files.shape and len(files) == 6
    mask = np.array([True, False, True, False, False, True])
    for index in (slice(1, 4), [4, 0], np.array([5]), mask, np.array([], int)):
        assert np.array_equal(files[index], array[index])
        assert np.array_equal(files.select(index).read(), array[index])
    assert np.array_equal(files[-1], array[-1]) and np.array_equal(files[np.int64(2)], array[2])
    assert np.array_equal(np.concatenate(list(files.batches(4))), array)
    with pytest.raises(IndexError):
        files.select([6])


def test_a_set_of_files_stays_unread_until_it_is_used(folder, monkeypatch):
    part = ImageSet("x", ImageFiles(sorted(folder.iterdir()), 32), np.arange(6) % 2, ("a", "b"))
    with monkeypatch.context() as patch:
        patch.setattr("forgetkit.data.reading.read_image", lambda *a: pytest.fail("an image was read"))
        few = part.take([0, 3]).take(np.array([False, True]))
    assert isinstance(few.images, ImageFiles) and len(few) == 1
    loaded = few.loaded()
    assert isinstance(loaded.images, np.ndarray) and np.array_equal(loaded.images, part.images[[3]])
    assert loaded.loaded() is loaded


def test_broken_images_among_many_are_all_named(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: -200 if file.name in ("0.JPEG", "2.JPEG") else None])
    files = ImageFiles(sorted(tmp_path.iterdir()), 32)
    one = r"0\.JPEG cannot be read as an image .*truncated.*replace or remove it"
    for read in (lambda: files[:], lambda: files[0], lambda: list(files.batches(2))):
        with pytest.raises(DataError, match=one):
            read()
    with pytest.raises(DataError, match=r"(?s)^2 files cannot be read as images:\n  .*0\.JPEG .*\n  .*2\.JPEG "):
        files.read()


def test_a_border_is_cut_off(tmp_path):
    framed = np.full((40, 40, 3), 200, np.uint8)
    framed[2:-2, 2:-2] = 10
    Image.fromarray(framed).save(tmp_path / "a.png")
    assert ImageFiles([tmp_path / "a.png"], 36, border=2)[0].max() == 10
    assert ImageFiles([tmp_path / "a.png"], 36)[0].max() > 100


def test_a_class_name_that_a_page_would_take_for_markup_is_refused(tmp_path):
    (tmp_path / "<img src=x onerror=alert(1)>").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "<img src=x onerror=alert(1)>/a.png")
    (tmp_path / "mine.csv").write_text("image,label\na.png,<b>cat</b>\n")
    for read, path in ((from_folder, tmp_path), (from_csv, tmp_path / "mine.csv")):
        with pytest.raises(DataError, match="has < or > in it"):
            read(path)


# --------------------------------------------------------------------------------------------------
# The splitter


def test_a_files_part_depends_on_its_own_name_alone():
    names = [f"IMG_{i:04}.jpg" for i in range(1000)]
    parts = divide(names)
    assert sorted(sum(parts.values(), [])) == names and list(parts) == list(PARTS)
    assert all(abs(len(files) - 1000 * share) < 50 for files, share in zip(parts.values(), SHARES))
    fewer = divide(names[::3])
    assert all(set(fewer[part]) <= set(parts[part]) for part in PARTS), "a file more moves no other"
    elsewhere = divide([f"/another/folder/{name}" for name in names])
    assert all([os.path.basename(f) for f in elsewhere[part]] == parts[part] for part in PARTS), "nor does a folder"
    assert divide(names, seed=1) != parts and divide(names) == parts


@pytest.mark.parametrize("n", [4, 5, 10])
def test_no_part_of_a_small_class_is_empty(n):
    for seed in range(50):
        parts = divide([f"{i:03}.png" for i in range(n)], seed=seed)
        assert min(map(len, parts.values())) >= 1 and sum(map(len, parts.values())) == n


def test_a_share_of_none_gets_none_and_of_three_files_one_part_has_none():
    assert [len(files) for files in divide(["a", "b", "c"], (0, 0, 0, 1)).values()] == [0, 0, 0, 3]
    assert sorted(len(files) for files in divide(["a", "b", "c"]).values()) == [0, 1, 1, 1]
    assert all(files == [] for files in divide([]).values())


def test_colours_are_those_of_the_profile(tmp_path):
    """A profile whose gamma is 1 says that 128 is bright: 188 in sRGB; without a profile, 128 stays."""
    image = Image.new("RGB", (4, 4), (128, 128, 128))
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "linear.png", icc_profile=linear_profile())
    image.save(tmp_path / "damaged.png", icc_profile=b"x" * 200)
    values = [int(read_image(tmp_path / f"{name}.png")[0, 0, 0]) for name in ("plain", "linear", "damaged")]
    assert values[0] == values[2] == 128 and abs(values[1] - 188) <= 2


def linear_profile() -> bytes:
    """sRGB's own profile with the three curves replaced by the identity."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    n = int.from_bytes(profile[128:132])
    for i in range(n):
        tag = profile[132 + 12 * i : 144 + 12 * i]
        if tag[:4] in (b"rTRC", b"gTRC", b"bTRC"):
            start, size = int.from_bytes(tag[4:8]), int.from_bytes(tag[8:12])
            profile[start : start + size] = (b"curv" + bytes(8)).ljust(size, b"\0")  # no entries: the identity
    return bytes(profile)
