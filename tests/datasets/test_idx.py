"""IDX files: whole ones, and every way in which one can be broken."""

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from invert.datasets import idx
from invert.errors import NoInputError

IMAGES = np.arange(3 * 5 * 4, dtype=np.uint8).reshape(3, 5, 4)


def idx_images(images: np.ndarray = IMAGES) -> bytes:
    return struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()


def labels(*values: int) -> bytes:
    return struct.pack(">II", 0x801, len(values)) + bytes(values)


def refusal(path: Path, data: bytes) -> NoInputError:
    path.write_bytes(data)
    with pytest.raises(NoInputError) as caught:
        idx.read_images(path)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_images_and_labels_come_back(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "any name"
    path.write_bytes(pack(idx_images()))
    np.testing.assert_array_equal(idx.read_images(path), IMAGES)
    path.write_bytes(pack(labels(7, 0, 255)))
    assert idx.read_labels(path, 3).tolist() == [7, 0, 255]


@pytest.mark.parametrize("length", range(len(idx_images())))
def test_every_cut_is_noticed(tmp_path: Path, length: int) -> None:
    error = refusal(tmp_path / "x", idx_images()[:length])
    assert error.code == "idx-truncated"
    assert "cut off" in str(error)


@pytest.mark.parametrize("drop", [1, 4, 8, 9, 30])
def test_every_cut_of_gzip_is_noticed(tmp_path: Path, drop: int) -> None:
    assert refusal(tmp_path / "x", gzip.compress(idx_images())[:-drop]).code == "idx-truncated"


def test_gzip_damage_is_noticed(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(idx_images()))
    packed[-6] ^= 1  # the checksum
    assert refusal(tmp_path / "x", bytes(packed)).code == "idx-damaged"
    packed = bytearray(gzip.compress(np.random.default_rng(0).bytes(16) + bytes(100)))
    packed[10] = 0xFF  # an impossible kind of block
    assert refusal(tmp_path / "x", bytes(packed)).code == "idx-damaged"


def test_too_long_is_noticed(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x", idx_images() + b"\0").code == "idx-too-long"
    assert refusal(tmp_path / "x", gzip.compress(idx_images() + b"\0")).code == "idx-too-long"
    assert refusal(tmp_path / "x", gzip.compress(idx_images()) + b"rest").code == "idx-damaged"


def test_labels_and_other_files_are_told_from_images(tmp_path: Path) -> None:
    error = refusal(tmp_path / "x", labels(1, 2, 3, 4, 5, 6, 7, 8))
    assert error.code == "idx-magic"
    assert "it holds labels, not images. Name the file of images" in str(error)
    error = refusal(tmp_path / "x", b"<html>" + bytes(100))
    assert "it starts with 0x3c68746d, not 0x00000803" in str(error)


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 0, 4), (3, 5, 0)])
def test_nothing_in_it_is_an_error(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    assert refusal(tmp_path / "x", struct.pack(">IIII", 0x803, *shape)).code == "idx-empty"


def test_headers_that_lie_and_bombs_cost_no_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(idx_images() + bytes(20 << 20))
    tracemalloc.start()
    huge = struct.pack(">IIII", 0x803, 1 << 30, 4096, 4096) + bytes(100)
    assert refusal(tmp_path / "x", huge).code == "idx-too-large"
    # A gzip bomb: 20 kB that would unpack to 20 MB, behind a header of 60 bytes of images.
    assert refusal(tmp_path / "x", bomb).code == "idx-too-long"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_counts_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(labels(1, 2))
    with pytest.raises(NoInputError, match="it holds 2 labels, and there are 3 images"):
        idx.read_labels(path, 3)


def test_pipes_and_missing_files_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing"):
        with pytest.raises(NoInputError):
            idx.read_images(tmp_path / name)


@pytest.mark.parametrize(
    ("images", "present", "expected"),
    [
        ("train-images-idx3-ubyte.gz", ["train-labels-idx1-ubyte.gz"], "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", ["train-labels-idx1-ubyte"], "train-labels-idx1-ubyte"),
        ("t10k-images.idx3-ubyte", ["t10k-labels.idx1-ubyte", "t10k-labels.idx1-ubyte.gz"], "t10k-labels.idx1-ubyte"),
        ("train-images-idx3-ubyte", ["t10k-labels-idx1-ubyte"], None),
        ("images.idx", ["labels.idx"], None),
    ],
)
def test_labels_are_found_by_name(tmp_path: Path, images: str, present: list[str], expected: str | None) -> None:
    for name in present:
        (tmp_path / name).touch()
    found = idx.labels_beside(tmp_path / images)
    assert (found and found.name) == expected
