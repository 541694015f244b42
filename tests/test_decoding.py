"""Depth, transparency, colour, orientation and animations, as documented; profiles are in `test_profiles`."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.images.containers import orientation
from tests import image_factory as factory
from tests.image_factory import chunk, encode, exif, image, png, read_bytes

# Depth


def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 256).round().astype(">u2").reshape(16, 16)
    target = read_bytes(tmp_path, png(16, 16, 16, 0, levels.tobytes()), channels=1)
    values = target.array.ravel().astype(int)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_array_equal(values, np.rint(levels.ravel() / 257).astype(int))
    assert "its 16 bits per channel are reduced to 8" in target.notes


def test_colour_of_16_bits_is_reduced_and_noted(tmp_path: Path) -> None:
    rows = np.full((16, 16, 3), 40000, ">u2")
    target = read_bytes(tmp_path, png(16, 16, 16, 2, rows.tobytes()))
    assert (target.array == 156).all()
    assert "its 16 bits per channel are reduced to 8" in target.notes


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_few_bits_reaches_black_and_white(tmp_path: Path, bits: int) -> None:
    rows = np.zeros((16, 16 * bits // 8), np.uint8)
    rows[8:] = 255
    target = read_bytes(tmp_path, png(16, 16, bits, 0, rows.tobytes()), channels=1)
    assert (target.array[:8] == 0).all()
    assert (target.array[8:] == 255).all()


# Transparency


def transparent_images() -> dict[str, bytes]:
    """Files that all show red on the left and transparent green on the right."""
    array = factory.hidden_colour()
    index = np.repeat(np.arange(2, dtype=np.uint8), 8)[None].repeat(16, 0)
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0]))
    rgb16 = np.where(array[..., :3] == 255, (65535, 40000, 0), 0).astype(">u2").tobytes()
    return {
        "RGBA": encode(array),
        "RGBA WebP": encode(array, "WEBP", lossless=True, exact=True),
        "palette": png(16, 16, 8, 3, index.tobytes(), before=palette + chunk(b"tRNS", b"\xff\x00")),
        "RGB": png(16, 16, 8, 2, array[..., :3].tobytes(), before=chunk(b"tRNS", struct.pack(">HHH", 0, 255, 0))),
        "RGB 16": png(16, 16, 16, 2, rgb16, before=chunk(b"tRNS", struct.pack(">HHH", 0, 40000, 0))),
    }


@pytest.mark.parametrize("kind", transparent_images())
def test_transparent_parts_become_black_and_hidden_colour_stays_hidden(tmp_path: Path, kind: str) -> None:
    target = read_bytes(tmp_path, transparent_images()[kind])
    assert (target.array[:, :8] == (255, 0, 0)).all()
    assert (target.array[:, 8:] == 0).all()
    assert "its transparent parts are laid on black" in target.warnings


@pytest.mark.parametrize("kind", transparent_images())
def test_four_channels_keep_transparency(tmp_path: Path, kind: str) -> None:
    target = read_bytes(tmp_path, transparent_images()[kind], channels=4)
    assert target.array.shape == (16, 16, 4)
    assert (target.array[:, :8] == (255, 0, 0, 255)).all()
    assert (target.array[:, 8:, 3] == 0).all()
    assert tuple(target.pixels.shape) == (1, 4, 16, 16)


def test_half_transparent_is_blended_and_white_is_possible(tmp_path: Path) -> None:
    array = np.zeros((16, 16, 4), np.uint8)
    array[...] = (200, 100, 0, 128)
    assert read_bytes(tmp_path, encode(array)).array[0, 0].tolist() == [100, 50, 0]
    assert read_bytes(tmp_path, encode(array), alpha="white").array[0, 0].tolist() == [227, 177, 127]


def grey_with_transparent_white() -> dict[str, bytes]:
    files = {}
    for bits in (1, 2, 4, 8, 16):
        rows = np.zeros((16, 16 * bits // 8), np.uint8)
        rows[8:] = 255
        mark = chunk(b"tRNS", struct.pack(">H", (1 << bits) - 1))
        files[f"{bits} bits"] = png(16, 16, bits, 0, rows.tobytes(), before=mark)
    grey, alpha = np.zeros((16, 16), np.uint8), np.full((16, 16), 255, np.uint8)
    grey[8:], alpha[8:] = 255, 0
    files["LA"] = encode(Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha))))
    return files


@pytest.mark.parametrize("kind", grey_with_transparent_white())
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_grey_becomes_black_at_every_depth(tmp_path: Path, kind: str, channels: int) -> None:
    target = read_bytes(tmp_path, grey_with_transparent_white()[kind], channels=channels)
    assert (target.array == 0).all()
    assert "its transparent parts are laid on black" in target.warnings


def test_opaque_alpha_needs_no_warning(tmp_path: Path) -> None:
    source = image(channels=4)
    source[..., 3] = 255
    target = read_bytes(tmp_path, encode(source))
    np.testing.assert_array_equal(target.array, source[..., :3])
    assert target.warnings == ()


# Colour


def test_grey_into_colour_and_colour_into_grey(tmp_path: Path) -> None:
    grey, colour = image(channels=1), image()
    target = read_bytes(tmp_path, encode(grey))
    np.testing.assert_array_equal(target.array, np.repeat(grey[..., None], 3, 2))
    assert target.warnings == ("it is grey: repeated into three channels",)
    target = read_bytes(tmp_path, encode(colour), channels=1)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert target.array.shape == (16, 16, 1)
    assert np.abs(target.array[..., 0] - luma).max() <= 1
    assert target.warnings == ("its colours are converted to grey",)
    assert tuple(target.pixels.shape) == (1, 1, 16, 16)


def test_grey_stored_as_colour_loses_nothing_and_warns_of_nothing(tmp_path: Path) -> None:
    grey = image(channels=1)
    target = read_bytes(tmp_path, encode(np.repeat(grey[..., None], 3, 2)), channels=1)
    np.testing.assert_array_equal(target.array[..., 0], grey)
    assert target.warnings == ()


def test_palette_is_looked_up(tmp_path: Path) -> None:
    palette = bytes(image(1, 256, 3, seed=1).ravel())
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    target = read_bytes(tmp_path, png(16, 16, 8, 3, index.tobytes(), before=chunk(b"PLTE", palette)))
    assert target.array.tobytes() == palette
    assert target.warnings == ()


@pytest.mark.parametrize("marker", ["adobe", "none"])
def test_cmyk_jpeg_shows_its_colours_and_not_their_inverse(tmp_path: Path, marker: str) -> None:
    # Full yellow and magenta ink make red.
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    assert data[at + 4 : at + 9] == b"Adobe"
    if marker == "none":
        data = data[:at] + data[at + 2 + struct.unpack_from(">H", data, at + 2)[0] :]
    target = read_bytes(tmp_path, data)
    assert np.abs(target.array.astype(int) - (255, 0, 0)).max() <= 6
    assert "its CMYK colours are converted to RGB without a colour profile" in target.warnings


# Orientation


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("value", ORIENTED)
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_orientations_give_the_same_target(tmp_path: Path, value: int, order: str) -> None:
    upright = image(17, 24)
    stored = np.ascontiguousarray(ORIENTED[value](upright))
    rows, (height, width) = stored.tobytes(), stored.shape[:2]
    block = chunk(b"eXIf", exif(value, order))
    warned = () if value == 1 else (f"EXIF orientation {value} applied before cropping",)
    for data in (
        png(width, height, 8, 2, rows, before=block),
        png(width, height, 8, 2, rows, after=block),
        encode(stored, "WEBP", lossless=True, exif=exif(value, order)),
    ):
        target = read_bytes(tmp_path, data, resolution=17)
        np.testing.assert_array_equal(target.array, upright[:, 3:20])
        assert target.original_size == (24, 17)
        assert target.warnings[: len(warned)] == warned
        assert len(target.warnings) == len(warned) + 1


def test_jpeg_orientation_is_applied(tmp_path: Path) -> None:
    source = np.zeros((16, 16, 3), np.uint8)
    source[:4] = 255
    plain = encode(source, "JPEG", quality=95)
    turned = read_bytes(tmp_path, factory.with_segment(plain, 0xE1, b"Exif\0\0" + exif(6)))
    np.testing.assert_array_equal(turned.array, np.rot90(read_bytes(tmp_path, plain).array, -1))
    assert turned.warnings == ("EXIF orientation 6 applied before cropping",)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        exif(0),
        exif(9),
        exif(6)[:-8],
        exif(6)[:12],
        b"II*\0\xff\xff\xff\xff",
        b"\xff" * 500,
    ],
)
def test_senseless_exif_is_ignored(tmp_path: Path, block: bytes) -> None:
    assert orientation(block) == 1
    source = image()
    target = read_bytes(tmp_path, png(16, 16, 8, 2, source.tobytes(), before=chunk(b"eXIf", block)))
    np.testing.assert_array_equal(target.array, source)
    assert target.warnings == ()
    data = factory.with_segment(encode(source, "JPEG"), 0xE1, b"Exif\0\0" + block)
    assert read_bytes(tmp_path, data).warnings == ()


# Animations


def test_first_image_of_an_animation(tmp_path: Path) -> None:
    first, second = Image.fromarray(image(seed=1)), Image.fromarray(image(seed=2))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = encode(first, kind, save_all=True, append_images=[second, first], **options)
        target = read_bytes(tmp_path, data)
        np.testing.assert_array_equal(target.array, np.asarray(first))
        assert target.warnings == ("it is an animation: the first of its 3 images is used",)


@pytest.mark.parametrize("frames", [0, 1, 0xFFFFFFFF])
def test_senseless_animation_header_does_not_matter(tmp_path: Path, frames: int) -> None:
    source = image()
    control = chunk(b"acTL", struct.pack(">II", frames, 0))
    for extra in (control, control + control, control + chunk(b"fcTL", b"\xff" * 26)):
        data = png(16, 16, 8, 2, source.tobytes(), before=extra)
        np.testing.assert_array_equal(read_bytes(tmp_path, data).array, source)
