"""Training images from a folder, a zip and an IDX file, as the trainer reads them."""

import gzip
import json
import os
import struct
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from generator.training.images import Images
from invert.datasets.labels import parse_dataset_json
from invert.datasets.training_images import TrainingImages, open_images
from invert.errors import ImageError, InvertError, NoInputError, UnreadableError, UsageError
from tests.image_factory import encode, image

Files = dict[str, bytes]


def shirts(count: int = 5, side: int = 8, channels: int = 1) -> list[NDArray[np.uint8]]:
    return [image(side, side, channels, seed) for seed in range(count)]


def pngs(images: list[NDArray[np.uint8]]) -> Files:
    return {f"{index // 2}/{index}.png": encode(array) for index, array in enumerate(images)}


def with_labels(files: Files, *labels: int, **others: Any) -> Files:
    pairs = [[name, label] for name, label in zip(files, labels, strict=True)]
    return {**files, "dataset.json": json.dumps({"labels": pairs, **others}).encode()}


def write_folder(root: Path, files: Files) -> Path:
    for name, data in files.items():
        path = root / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "folder"


def write_zip(root: Path, files: Files) -> Path:
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return root / "set.zip"


def write_idx(root: Path, images: list[NDArray[np.uint8]], labels: list[int] | None = None) -> Path:
    data = struct.pack(">IIII", 0x803, len(images), *images[0].shape) + b"".join(p.tobytes() for p in images)
    path = root / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(data, mtime=0))
    if labels is not None:
        packed = gzip.compress(struct.pack(">II", 0x801, len(labels)) + bytes(labels), mtime=0)
        (root / "train-labels-idx1-ubyte.gz").write_bytes(packed)
    return path


def refusal(path: Path, kind: type[InvertError], **options: Any) -> InvertError:
    with pytest.raises(InvertError) as caught:
        open_images(path, **options)
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    return caught.value


@pytest.fixture(params=["folder", "zip"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Files], Path]:
    """Put files into a folder, and into a zip."""
    writer = {"folder": write_folder, "zip": write_zip}[request.param]
    return lambda files: writer(tmp_path, files)


@pytest.mark.parametrize("cache_bytes", [1 << 20, 0], ids=["in memory", "on demand"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_in_order(write: Callable[[Files], Path], channels: int, cache_bytes: int) -> None:
    arrays = shirts(channels=channels)
    images: Images = open_images(write(with_labels(pngs(arrays), 4, 0, 1, 0, 2)), cache_bytes=cache_bytes)
    assert (len(images), images.resolution, images.channels, images.classes) == (5, 8, channels, 5)
    assert images.labels is not None
    assert images.labels.tolist() == [4, 0, 1, 0, 2]
    read = images.read([3, 0, 3])
    assert read.dtype == np.uint8
    assert read.shape == (3, channels, 8, 8)
    for planes, array in zip(read, (arrays[3], arrays[0], arrays[3]), strict=True):
        np.testing.assert_array_equal(planes, array[None] if channels == 1 else array.transpose(2, 0, 1))


def test_idx_files_are_read_as_they_are(tmp_path: Path) -> None:
    arrays = shirts()
    images = open_images(write_idx(tmp_path, arrays, [0, 1, 2, 9, 0]))
    np.testing.assert_array_equal(images.read(range(5))[:, 0], arrays)
    assert images.classes == 10
    # The folder that holds nothing else is the same.
    assert open_images(tmp_path).fingerprint == images.fingerprint
    (tmp_path / "t10k-images-idx3-ubyte").touch()
    assert "2 IDX files of images" in str(refusal(tmp_path, NoInputError))


def test_labels_are_optional(write: Callable[[Files], Path]) -> None:
    files = pngs(shirts())
    for labels in (None, b'{"labels": null}', b"{}"):
        if labels is not None:
            files["dataset.json"] = labels
        if labels == b"{}":
            assert "it has no list of labels" in str(refusal(write(files), NoInputError))
        else:
            images = open_images(write(files))
            assert images.labels is None
            assert images.classes == 0


def test_names_of_classes_count_classes(tmp_path: Path) -> None:
    files = with_labels(pngs(shirts(2)), 0, 1, classes=["shirt", "shoe", "bag"])
    images = open_images(write_zip(tmp_path, files))
    assert (images.classes, images.class_names) == (3, ("shirt", "shoe", "bag"))


@pytest.mark.parametrize("cache_bytes", [1 << 20, 0], ids=["in memory", "on demand"])
def test_bad_images_are_told_and_left_out(write: Callable[[Files], Path], cache_bytes: int) -> None:
    arrays = shirts()
    files = with_labels(pngs(arrays), 0, 1, 2, 3, 4)
    files["0/0.png"] = b"not an image"
    files["1/3.png"] = b""
    files["2/5.png"] = encode(arrays[0])
    messages: list[str] = []
    progress: list[tuple[int, int]] = []
    path = write(files)
    images = open_images(
        path,
        cache_bytes=cache_bytes,
        on_message=messages.append,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert images.labels is not None
    assert images.labels.tolist() == [1, 2, 4]
    assert len(images) == 3
    np.testing.assert_array_equal(images.read([0, 1, 2])[:, 0], [arrays[1], arrays[2], arrays[4]])
    assert [name in line for name, line in zip(("0.png", "3.png", "5.png"), messages, strict=True)] == [True] * 3
    assert messages[2].endswith("it has no label, and other images have. Add it to dataset.json.")
    assert progress == [(done, 6) for done in range(1, 7)]


def test_damage_behind_a_header_shows_when_it_is_read(tmp_path: Path) -> None:
    files = pngs(shirts())
    files["1/2.png"] = files["1/2.png"][:-20]
    path = write_folder(tmp_path, files)
    assert len(open_images(path)) == 4
    images = open_images(path, cache_bytes=0)
    assert len(images) == 5
    images.read([0, 1, 3, 4])
    with pytest.raises(ImageError, match=r"1/2.png': the file is cut off"):
        images.read([2])
    (path / "0/0.png").write_bytes(encode(image(16, 16, 1)))
    with pytest.raises(ImageError, match="not of the size and channels of the others"):
        images.read([0])


@pytest.mark.parametrize("cache_bytes", [1 << 20, 0], ids=["in memory", "on demand"])
@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        (image(16, 16, 1), "2 of 7 images are not 8 x 8, first '3/x.png', 16 x 16. {} --resolution 8."),
        (
            image(8, 9, 1),
            "2 of 7 images are not 8 x 8, first '3/x.png', 9 x 8. {} --resolution 8 (and --pad to cut nothing).",
        ),
        (image(8, 8, 3), "2 of 7 images are not grey, first '3/x.png', colour. {} --channels 3 (or 1)."),
    ],
)
def test_images_that_differ_are_one_error(
    write: Callable[[Files], Path], odd: NDArray[np.uint8], expected: str, cache_bytes: int
) -> None:
    files = pngs(shirts()) | {"3/x.png": encode(odd), "3/y.png": encode(odd)}
    error = refusal(write(files), UsageError, cache_bytes=cache_bytes)
    assert error.exit_code == 2
    assert str(error).endswith(expected.format("Run 'invert dataset' on it first, with"))


def test_sizes_that_no_network_has(tmp_path: Path) -> None:
    path = write_idx(tmp_path, shirts(3, 28))
    expected = "3 of 3 images are not of a square power-of-two size from 4 to 4096, first '0', 28 x 28. "
    assert f"{expected}Run 'invert dataset' on it first, with --resolution 32 (and --pad)." in str(
        refusal(path, UsageError)
    )


@pytest.mark.parametrize("files", [{}, {"notes.txt": b""}, {"a.png": b"x"}])
def test_nothing_usable(write: Callable[[Files], Path], tmp_path: Path, files: Files) -> None:
    (tmp_path / "folder").mkdir()
    error = refusal(write(files), NoInputError)
    assert error.exit_code == 5
    assert "it holds no image that can be used" in str(error)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    assert "it is not a folder, a zip of images or an IDX file" in str(refusal(tmp_path / "text", NoInputError))
    assert "there is no such file" in str(refusal(tmp_path / "missing", UnreadableError))
    (tmp_path / "text.zip").write_text("hello")
    assert "it is not a zip" in str(refusal(tmp_path / "text.zip", NoInputError))
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in str(refusal(tmp_path / "pipe", UnreadableError))


def test_several_threads_may_read(tmp_path: Path) -> None:
    arrays = shirts(50)
    images = open_images(write_zip(tmp_path, {f"{i:02}.png": encode(a) for i, a in enumerate(arrays)}), cache_bytes=0)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda index: images.read([index])[0, 0], range(50)))
    np.testing.assert_array_equal(read, arrays)


class TestFingerprint:
    """What a training run is tied to."""

    def of(self, path: Path, **options: Any) -> str:
        return open_images(path, **options).fingerprint

    def test_is_of_the_content(self, tmp_path: Path, write: Callable[[Files], Path]) -> None:
        files = with_labels(pngs(shirts()), 0, 1, 2, 3, 4)
        before = self.of(write(files))
        assert self.of(write(files), cache_bytes=0) == before
        others = [
            with_labels(pngs(shirts()), 0, 1, 2, 3, 0),
            with_labels(pngs(shirts(6)), 0, 1, 2, 3, 4, 4),
            pngs(shirts(6)),
            with_labels({name.replace("2/", "3/"): data for name, data in pngs(shirts()).items()}, 0, 1, 2, 3, 4),
        ]
        found = [self.of(write_zip(tmp_path, other)) for other in others]
        assert len({before, *found}) == 5

    def test_of_a_zip_sees_changed_bytes(self, tmp_path: Path) -> None:
        arrays = shirts()
        before = self.of(write_zip(tmp_path, pngs(arrays)))
        arrays[2] = arrays[2][::-1].copy()
        assert self.of(write_zip(tmp_path, pngs(arrays))) != before

    def test_of_idx_sees_pixels_and_labels(self, tmp_path: Path) -> None:
        arrays = shirts()
        first = self.of(write_idx(tmp_path, arrays, [0, 1, 2, 3, 4]))
        second = self.of(write_idx(tmp_path, arrays, [0, 1, 2, 4, 4]))
        arrays[4] = arrays[4] ^ 1
        assert len({first, second, self.of(write_idx(tmp_path, arrays, [0, 1, 2, 4, 4]))}) == 3


class TestDatasetJson:
    """Labels that anybody may have written."""

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"\xff",
            b'{"labels": 3}',
            b'{"labels": {"a.png": 3}}',
            b'{"labels": ["a.png"]}',
            b'{"labels": [["a.png"]]}',
            b'{"labels": [["a.png", 1, 2]]}',
            b'{"labels": [[1, "a.png"]]}',
            b'{"labels": [["a.png", -1]]}',
            b'{"labels": [["a.png", 1.5]]}',
            b'{"labels": [["a.png", true]]}',
            b'{"labels": [["a.png", null]]}',
            b'{"labels": [["a.png", [1, 0]]]}',
            b'{"labels": [["a.png", 1048576]]}',
            b'{"labels": [["a.png", 1], ["a.png", 2]]}',
            b'{"labels": [["a.png", 1' + b"0" * 10000 + b"]]}",
            b'{"labels": [["a.png", 1]], "classes": ["one"]}',
            b'{"labels": [["a.png", 1]], "classes": "two"}',
            b'{"labels": [["a.png", 0]], "classes": [7]}',
            b'{"labels": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        ],
        ids=range(21),
    )
    def test_another_form_is_one_error(self, data: bytes) -> None:
        with pytest.raises(NoInputError) as caught:
            parse_dataset_json(data, Path("dataset.json"))
        assert caught.value.code == "labels-damaged"
        assert len(str(caught.value)) < 400

    def test_an_error_names_the_file(self, write: Callable[[Files], Path]) -> None:
        error = refusal(write(pngs(shirts()) | {"dataset.json": b"{"}), NoInputError)
        assert "dataset.json': it is not JSON" in str(error)

    def test_labels_of_other_images_are_one_error(self, write: Callable[[Files], Path]) -> None:
        files = pngs(shirts()) | {"dataset.json": b'{"labels": [["folder/0/0.png", 1]]}'}
        assert "none of its 5 images has one of its 1 labels" in str(refusal(write(files), NoInputError))


def test_closing_is_harmless(tmp_path: Path) -> None:
    for cache_bytes in (0, 1 << 20):
        images: TrainingImages = open_images(write_zip(tmp_path, pngs(shirts())), cache_bytes=cache_bytes)
        images.close()
        images.close()
