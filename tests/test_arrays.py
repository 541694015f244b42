"""Images from memory become targets by the same rules as image files."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invert.errors import ImageError
from invert.images.decoding import ImagePolicy
from invert.images.target import read_target, target_of
from tests.image_factory import encode, exif, image, save


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("own", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (20, 31), (9, 12)])
def test_an_array_gives_what_its_file_gives(tmp_path: Path, channels: int, own: int, size: tuple[int, int]) -> None:
    source = image(*size, own)
    from_file = read_target(save(tmp_path, encode(source)), 16, channels)
    with Image.open(io.BytesIO(encode(source))) as opened:
        for given in (source, Image.fromarray(source), opened):
            found = target_of(given, 16, channels, name="x.png")
            np.testing.assert_array_equal(found.array, from_file.array)
            assert found.pixel_sha256 == from_file.pixel_sha256
            assert (found.name, found.path) == ("x", Path("x.png"))
            assert (found.original_size, found.upsampled) == (from_file.original_size, from_file.upsampled)
            assert (found.warnings, found.notes) == (from_file.warnings, from_file.notes)


def test_the_file_of_an_array_is_its_pixels() -> None:
    source = image(20, 30)
    found = target_of(source, 16, 3)
    assert found.file_sha256 == hashlib.sha256(b"uint8 20x30x3\n" + source.tobytes()).hexdigest()
    assert found.name == "image"


def test_tensors_are_channels_first() -> None:
    source = image(16, 16)
    expected = target_of(source, 16, 3)
    levels = torch.from_numpy(source.transpose(2, 0, 1).copy())
    for tensor in (levels, levels / 127.5 - 1, (levels.double() / 127.5 - 1).requires_grad_(), expected.pixels[0]):
        np.testing.assert_array_equal(target_of(tensor, 16, 3).array, source)
    grey = target_of(levels[:1], 16, 1)
    np.testing.assert_array_equal(grey.array[..., 0], source[..., 0])


def test_what_a_network_synthesises_outside_the_range_is_clamped() -> None:
    tensor = torch.full([3, 16, 16], 1.5)
    assert (target_of(tensor, 16, 3).array == 255).all()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros([16, 16, 3], np.float32), "an array of type float32 is no image. Give uint8"),
        (np.zeros([3, 16, 16], np.uint8), r"an array of shape \[3, 16, 16\] is no image"),
        (np.zeros([0, 16, 3], np.uint8), r"an array of shape \[0, 16, 3\] is no image"),
        (np.zeros([16], np.uint8), r"an array of shape \[16\] is no image"),
        (torch.zeros([16, 16, 3]), r"a tensor of shape \[16, 16, 3\] is no image"),
        (torch.zeros([1, 3, 16, 16]), r"a tensor of shape \[1, 3, 16, 16\] is no image"),
        (torch.zeros([3, 16, 16], dtype=torch.int64), r"a tensor of type torch.int64 is no image"),
        (torch.full([3, 16, 16], 255.0), "the values of the tensor are not in -1..1"),
        (torch.full([3, 16, 16], float("nan")), "the values of the tensor are not in -1..1"),
        (torch.full([3, 16, 16], float("inf")), "the values of the tensor are not in -1..1"),
        (Image.new("F", (16, 16)), "an image of mode F is not of 8 or 16 bits"),
        (Image.new("RGB", (4, 16)), "each side must have at least 8"),
        (Image.new("RGB", (2000, 20)), "over the 0.03 Mpx limit"),
        ("photo.png", "a str is no image"),
        ([[0, 0], [0, 0]], "a list is no image"),
    ],
)
def test_what_is_no_image_is_said(given: Any, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        target_of(given, 16, 3, name="given", policy=ImagePolicy(max_pixels=30_000))
    assert str(caught.value).startswith("image 'given': ")


def test_a_damaged_file_that_pillow_opened() -> None:
    data = encode(image(64, 64))
    with Image.open(io.BytesIO(data[: len(data) // 2])) as opened, pytest.raises(ImageError) as caught:
        target_of(opened, 16, 3)
    assert caught.value.code in ("image-truncated", "image-damaged")


def test_orientation_that_an_image_still_carries_is_applied(tmp_path: Path) -> None:
    data = encode(image(16, 16), "JPEG", exif=b"Exif\0\0" + exif(6))
    from_file = read_target(save(tmp_path, data), 16, 3)
    with Image.open(io.BytesIO(data)) as opened:
        found = target_of(opened, 16, 3)
    np.testing.assert_array_equal(found.array, from_file.array)
    assert found.warnings == from_file.warnings == ("EXIF orientation 6 applied before cropping",)
