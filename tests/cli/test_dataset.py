"""`invert dataset` as a user runs it."""

import gzip
import hashlib
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.datasets.training_images import open_images
from tests.cli.conftest import Invert
from tests.cli.dataset_case import contents, grey
from tests.cli.dataset_case import out as out  # a fixture
from tests.cli.dataset_case import source as source  # a fixture
from tests.image_factory import encode, exif, image, png_bomb

NOT_GREY = "1 of 4 images is not grey, first 'd.png', colour"


def write_idx(folder: Path, count: int = 12, side: int = 28) -> Path:
    images = np.random.default_rng(0).integers(0, 256, [count, side, side], np.uint8)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">IIII", 0x803, count, side, side) + images.tobytes()))
    labels = bytes(index % 10 for index in range(count))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 0x801, count) + labels))
    return path


def test_idx_to_zip_and_back(invert: Invert, tmp_path: Path, out: Path) -> None:
    path = write_idx(tmp_path)
    result = invert("dataset", path, out, "--resolution", 32, "--pad")
    assert result.code == 0, result.err
    sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
    assert result.out == (
        f"12 images, 32 x 32, 1 channel, 10 classes; 0 skipped\n"
        f"wrote {out}, {out.stat().st_size:,} bytes, sha256 {sha256}\n"
    )
    images, info = contents(out)
    raw = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    for array, original in zip(images.values(), raw, strict=True):
        np.testing.assert_array_equal(array, np.pad(original, 2))
    assert list(images) == [f"00000/img{index:08d}.png" for index in range(12)]
    assert info["labels"] == [[name, index % 10] for index, name in enumerate(images)]
    assert (info["resolution"], info["channels"], info["classes"]) == (32, 1, None)
    opened = open_images(out)
    np.testing.assert_array_equal(opened.read(range(12))[:, 0], list(images.values()))
    assert opened.labels is not None
    assert opened.labels.tolist() == [index % 10 for index in range(12)]


def test_a_folder_of_idx_files(invert: Invert, tmp_path: Path, out: Path) -> None:
    write_idx(tmp_path)
    assert invert("dataset", tmp_path, out, "--resolution", 32).code == 0
    (tmp_path / "t10k-images-idx3-ubyte").touch()
    result = invert("dataset", tmp_path, tmp_path / "other.zip", "--resolution", 32)
    assert result.code == 5
    assert result.err.endswith("Name one of them.\n")


def test_the_same_input_gives_the_same_bytes(invert: Invert, source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(b_png=grey(seed=1), a_png=grey(seed=2))
    assert invert("dataset", folder, tmp_path / "one.zip").code == 0
    os.utime(folder / "a.png", (0, 0))
    os.rename(folder, tmp_path / "renamed")
    assert invert("dataset", tmp_path / "renamed", tmp_path / "two.zip").code == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    # And once more from the zip itself: nothing changes but the names it remembers.
    assert invert("dataset", tmp_path / "two.zip", tmp_path / "three.zip").code == 0
    first, info = contents(tmp_path / "two.zip")
    second, again = contents(tmp_path / "three.zip")
    np.testing.assert_equal(first, second)
    assert info.pop("sources") == ["a.png", "b.png"]
    assert again.pop("sources") == list(first)
    assert info == again == {"labels": None, "classes": None, "resolution": 16, "channels": 1}


def test_images_are_cropped_and_resized(invert: Invert, source: Callable[..., Path], out: Path) -> None:
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = 200
    turned = Image.fromarray(np.zeros((48, 16, 3), np.uint8))
    folder = source(
        a_png=wide, b_png=np.full((64, 64, 3), 7, np.uint8), c_jpg=encode(turned, "JPEG", exif=b"Exif\0\0" + exif(6))
    )
    result = invert("dataset", folder, out, "--resolution", 32, "-q")
    assert result.code == 0
    assert "c.jpg': EXIF orientation 6 applied" in result.err
    assert "2 images are smaller than 32 px: enlarged (--pad puts them on black instead)" in result.err
    assert "2 images are not square: the centre square is cut out (--pad keeps them whole, on black)" in result.err
    images = list(contents(out)[0].values())
    assert [array.shape for array in images] == [(32, 32, 3)] * 3
    assert (images[0] == 200).all()
    assert (images[1] == 7).all()


@pytest.mark.parametrize("side", [4, 13, 28, 32, 50])
def test_padding(invert: Invert, source: Callable[..., Path], out: Path, side: int) -> None:
    assert (
        invert("dataset", source(a_png=np.full((side, side, 3), 255, np.uint8)), out, "--resolution", 32, "--pad").code
        == 0
    )
    (array,) = contents(out)[0].values()
    assert array.shape == (32, 32, 3)
    start = max(0, (32 - side) // 2)
    expected = np.zeros((32, 32, 3), np.uint8)
    expected[start : start + side, start : start + side] = 255
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("width", "height", "inside"),
    # inside: left, top, width and height of the image in 32 x 32
    [(64, 48, (0, 4, 32, 24)), (48, 64, (4, 0, 24, 32)), (32, 16, (0, 8, 32, 16)), (21, 10, (5, 11, 21, 10)),
     (400, 2, (0, 15, 32, 1)), (64, 64, (0, 0, 32, 32))],
    ids=str,
)  # fmt: skip
def test_padding_cuts_nothing(
    invert: Invert, source: Callable[..., Path], out: Path, width: int, height: int, inside: tuple[int, ...]
) -> None:
    """An image that is not square is letterboxed, and not enlarged."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[:, : width // 2, 1] = 0
    result = invert("dataset", source(a_png=pixels), out, "--resolution", 32, "--pad", "--json", "-q")
    assert result.code == 0, result.err
    summary = result.records()[-1]
    assert (summary["cut"], summary["enlarged"]) == (0, 0)
    assert result.err == ""
    (array,) = contents(out)[0].values()
    left, top, w, h = inside
    assert (array[top : top + h, left : left + w, 0] == 255).all()
    assert array[..., 0].astype(bool).sum() == w * h
    # both halves of it are there
    assert array[top, left, 1] == 0
    assert array[top, left + w - 1, 1] == 255


def test_padding_what_is_cut_first(invert: Invert, source: Callable[..., Path], out: Path) -> None:
    """Both options together do as each says."""
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = 200
    result = invert("dataset", source(a_png=wide), out, "--resolution", 32, "--crop", "center", "--pad", "-q")
    assert "1 image is not square: the centre square is cut out" in result.err
    (array,) = contents(out)[0].values()
    np.testing.assert_array_equal(array[..., 0], np.pad(np.full((16, 16), 200), 8))
    refused = invert("dataset", source(a_png=wide), out, "--resolution", 32, "--crop", "none", "--pad", "--overwrite")
    assert refused.code == 2
    assert "is not square" in refused.err


@pytest.mark.parametrize(
    ("arguments", "reason", "advice"),
    [
        (
            [],
            f"1 of 4 images is not 16 x 16, first 'c.png', 9 x 16; {NOT_GREY}",
            "Add --resolution 16 (and --pad to cut nothing) and --channels 3 (or 1).",
        ),
        (["--resolution", 8], NOT_GREY, "Add --channels 3 (or 1)."),
        (
            ["--resolution", 8, "--crop", "none", "--channels", 1],
            "1 of 4 images is not square, first 'c.png', 9 x 16",
            "Add --crop center.",
        ),
    ],
)
def test_images_that_differ_are_one_error(
    invert: Invert, source: Callable[..., Path], out: Path, arguments: list[object], reason: str, advice: str
) -> None:
    folder = source(a_png=grey(), b_png=grey(), c_png=image(16, 9, 1), d_png=image(16, 16, 3))
    result = invert("dataset", folder, out, "-q", *arguments)
    assert result.code == 2
    assert result.err == f"invert: error: file '{folder}': {reason}. {advice}\n"
    assert os.listdir(out.parent) == ["source"]
    assert invert("dataset", folder, out, "--resolution", 16, "--channels", 3).code == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_converted_on_request(
    invert: Invert, source: Callable[..., Path], out: Path, channels: int
) -> None:
    folder = source(a_png=grey(), b_png=image(16, 16, 3), c_png=image(16, 16, 3))
    result = invert("dataset", folder, out, "--channels", channels)
    assert result.code == 0
    text = "it is grey: repeated into three channels" if channels == 3 else "its colours are converted to grey"
    assert result.err.count(text) == (1 if channels == 3 else 2)
    assert "1 more" in result.err or channels == 3
    shape = (16, 16, 3) if channels == 3 else (16, 16)
    assert {array.shape for array in contents(out)[0].values()} == {shape}


def test_bad_images_are_skipped(invert: Invert, source: Callable[..., Path], out: Path) -> None:
    good = encode(grey())
    folder = source(
        a_png=good, b_png=good[:-30], c_png=b"", d_png=b"<html></html>", e_png=png_bomb(30_000), f_txt=b"", g_png=good
    )
    os.mkfifo(folder / "pipe.png")
    os.symlink("nowhere.png", folder / "link.png")
    result = invert("dataset", folder, out, "--json", "-q")
    assert result.code == 3
    *skipped, summary = result.records()
    codes = {Path(record["path"]).name: record["code"] for record in skipped}
    assert codes == {
        "b.png": "image-truncated",
        "c.png": "image-empty",
        "d.png": "image-format",
        "e.png": "image-too-large",
        "pipe.png": "image-not-regular",
        "link.png": "image-link-dangling",
    }
    assert result.err.count("invert: error: image '") == 6
    assert "--max-pixels" not in result.err
    expected = {"type": "summary", "code": "done", "images": 2, "skipped": 6, "classes": None, "channels": 1}
    assert expected.items() <= summary.items()
    assert summary["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert contents(out)[1]["sources"] == ["a.png", "g.png"]


def test_nothing_usable(invert: Invert, source: Callable[..., Path], out: Path) -> None:
    result = invert("dataset", source(a_png=b"x", b_txt=b"y"), out, "-q")
    assert result.code == 5
    assert result.err.splitlines()[-1].endswith("it holds no image that can be used")
    assert os.listdir(out.parent) == ["source"]


def test_links_out_of_the_folder(invert: Invert, source: Callable[..., Path], out: Path, tmp_path: Path) -> None:
    folder = source(a_png=grey())
    (tmp_path / "other.png").write_bytes(encode(grey(seed=1)))
    os.symlink(tmp_path / "other.png", folder / "b.png")
    result = invert("dataset", folder, out)
    assert result.code == 0
    assert "warning: image" in result.err
    assert invert("dataset", folder, out, "--follow", "--overwrite").code == 0
    assert len(contents(out)[0]) == 2


def test_a_hostile_zip_is_one_error(invert: Invert, tmp_path: Path, out: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", encode(grey()))
        archive.writestr("../../b.png", encode(grey()))
    result = invert("dataset", tmp_path / "x.zip", out)
    assert result.code == 5
    assert "the name '../../b.png' leads out of the zip" in result.err
    assert result.err.count("\n") == 1
    data = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data[: len(data) // 2])
    result = invert("dataset", tmp_path / "x.zip", out)
    assert result.code == 5
    assert "the zip is cut off" in result.err
    assert os.listdir(tmp_path) == ["x.zip"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--resolution", 33],
        ["--resolution", 2],
        ["--resolution", 8192],
        ["--resolution", "x"],
        ["--channels", 2],
        ["--pad"],
        ["--crop", "none"],
        ["--labels", "some"],
    ],
    ids=str,
)
def test_usage(invert: Invert, source: Callable[..., Path], out: Path, arguments: list[object]) -> None:
    result = invert("dataset", source(a_png=grey()), out, *arguments)
    assert result.code == 2
    assert not out.exists()


def test_progress_is_told_now_and_then(invert: Invert, source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(**{f"{name}_png": grey() for name in "abcdefghijklmnopqrstuvwxyz"})
    result = invert("dataset", folder, tmp_path / "a.zip")
    assert result.err.splitlines()[-1] == "invert: progress: image 26 of 26"
    assert len(result.err.splitlines()) == 10
    assert invert("dataset", folder, tmp_path / "b.zip", "-q").err == ""
