"""Each format that is read: its pixels, its kinds, and what of it is refused."""

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from invert.images.decoding import decode_image
from invert.images.formats import EXTENSIONS, FORMATS, appearance, looks_like_image, unread
from tests import image_factory as factory
from tests.image_factory import encode, image, read_bytes, refusal


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"big_endian": True}),
        ("PPM", {}),
    ],
)
def test_lossless_formats_keep_every_pixel(tmp_path: Path, kind: str, options: dict[str, object]) -> None:
    source = image(24, 20)
    data = encode(source, kind, **options)
    target = read_bytes(tmp_path, data, resolution=20)
    np.testing.assert_array_equal(target.array, source[2:22])
    assert target.warnings == ("20 x 24 is not square: the 20 x 20 in the centre are kept",)
    assert appearance(data) == (20, 24, 3)


def test_avif_is_close(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 16, dtype=np.uint8)[:, None, None], (16, 16, 3))
    data = encode(np.ascontiguousarray(ramp), "AVIF", quality=95)
    assert np.abs(read_bytes(tmp_path, data).array.astype(int) - ramp).max() <= 6
    assert appearance(data) == (16, 16, 3)


@pytest.mark.parametrize("kind", ["PPM", "TIFF", "GIF", "AVIF"])
def test_grey_of_every_format(tmp_path: Path, kind: str) -> None:
    source = np.arange(256, dtype=np.uint8).reshape(16, 16)
    target = read_bytes(tmp_path, encode(source, kind), channels=1)
    assert np.abs(target.array[..., 0].astype(int) - source).max() <= (12 if kind == "AVIF" else 0)


def test_bits_of_pbm_and_tiff(tmp_path: Path) -> None:
    source = np.zeros((16, 20), np.uint8)
    source[8:] = 255
    for data in (encode(Image.fromarray(source).convert("1"), kind) for kind in ("PPM", "TIFF")):
        assert np.array_equal(read_bytes(tmp_path, data, channels=1).array[..., 0], source[:, 2:18])


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bits_is_scaled_and_said(tmp_path: Path, order: str) -> None:
    levels = np.linspace(0, 65535, 256).round().astype(f"{order}u2").reshape(16, 16)
    data = tiff({258: (3, [16]), 262: (3, [1]), 277: (3, [1])}, levels.tobytes(), order=order)
    target = read_bytes(tmp_path, data, channels=1)
    np.testing.assert_array_equal(target.array[..., 0], np.rint(levels / 257).astype(int))
    assert "its 16 bits per channel are reduced to 8" in target.notes


def test_transparency_of_tiff_and_gif(tmp_path: Path) -> None:
    source = factory.hidden_colour()
    palette = Image.fromarray(source[..., :3]).quantize(4)
    clear = palette.getpixel((12, 3))
    for data in (encode(source, "TIFF"), encode(palette, "GIF", transparency=clear)):
        target = read_bytes(tmp_path, data)
        assert (target.array[:, :8] == (255, 0, 0)).all()
        assert (target.array[:, 8:] == 0).all()
        assert "its transparent parts are laid on black" in target.warnings


def test_orientation_of_tiff(tmp_path: Path) -> None:
    source = image()
    target = read_bytes(tmp_path, encode(source, "TIFF", tiffinfo={274: 6}))
    np.testing.assert_array_equal(target.array, np.rot90(source, -1))
    assert target.warnings == ("EXIF orientation 6 applied before cropping",)


def test_ink_in_tiff(tmp_path: Path) -> None:
    target = read_bytes(tmp_path, encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF"))
    assert (target.array == (255, 0, 0)).all()
    assert target.warnings == ("its CMYK colours are converted to RGB without a colour profile",)


def test_the_first_of_several_pages_and_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(image(seed=seed)).quantize(32).convert("RGB") for seed in (1, 2, 3)]
    for kind, what in (("TIFF", "it has several pages"), ("GIF", "it is an animation")):
        data = encode(pages[0], kind, save_all=True, append_images=pages[1:])
        target = read_bytes(tmp_path, data)
        np.testing.assert_array_equal(target.array, np.asarray(pages[0]))
        assert target.warnings == (f"{what}: the first of its 3 images is used",)
    assert read_bytes(tmp_path, encode(pages[0], "GIF")).warnings == ()


def test_a_thumbnail_is_no_second_page(tmp_path: Path) -> None:
    small = {254: (4, [1]), 256: (4, [4]), 257: (4, [4])}
    data = tiff({254: (4, [0])}, image().tobytes(), more=small)
    assert read_bytes(tmp_path, data).warnings == ()


def tiff(
    changes: dict[int, tuple[int, list[int]]],
    pixels: bytes,
    order: str = "<",
    more: dict[int, tuple[int, list[int]]] | None = None,
) -> bytes:
    """Assemble a TIFF of 16 x 16 pixels; entries are type (3: 16 bits, 4: 32 bits) and values."""
    entries = {
        256: (4, [16]),
        257: (4, [16]),
        258: (3, [8, 8, 8]),
        259: (3, [1]),
        262: (3, [2]),
        273: (4, [8]),
        277: (3, [3]),
        278: (4, [16]),
        279: (4, [len(pixels)]),
        **changes,
    }
    out = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(pixels)) + pixels
    for table, follows in [(entries, more is not None), *([(more, False)] if more else [])]:
        spilled, rows = b"", []
        start = len(out) + 2 + 12 * len(table) + 4
        for tag, (kind, values) in sorted(table.items()):
            packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
            if len(packed) > 4:
                packed, spilled = struct.pack(f"{order}I", start + len(spilled)), spilled + packed
            rows.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))
        after = start + len(spilled) if follows else 0
        out += struct.pack(f"{order}H", len(table)) + b"".join(rows) + struct.pack(f"{order}I", after) + spilled
    return out


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({259: (3, [7])}, "image-format", "compression 7"),
        ({259: (3, [4])}, "image-format", "compression 4"),
        ({262: (3, [6])}, "image-format", "colours of kind 6"),
        ({258: (3, [32, 32, 32])}, "image-format", "samples of 32 bits"),
        ({339: (3, [3, 3, 3])}, "image-format", "samples of 8 bits of this kind"),
        ({258: (3, [8, 8, 16])}, "image-format", "several values of tag 258"),
        ({256: (4, [60000]), 257: (4, [60000])}, "image-truncated", "cut off"),
        ({256: (4, [60000]), 257: (4, [60000]), 259: (3, [5])}, "image-too-large", "over the 64 Mpx limit"),
        ({273: (4, [1 << 31])}, "image-truncated", "cut off"),
        ({273: (4, []), 279: (4, [])}, "image-damaged", "makes no sense"),
    ],
)
def test_tiff_that_is_refused(tmp_path: Path, changes: dict[int, tuple[int, list[int]]], code: str, says: str) -> None:
    error = refusal(tmp_path, tiff(changes, image().tobytes()))
    assert error.code == code
    assert says in str(error)


def test_a_directory_that_leads_to_itself_ends(tmp_path: Path) -> None:
    data = bytearray(tiff({}, image().tobytes()))
    start = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, len(data) - 6 - 4, start)  # behind the last entry; three sample sizes follow it
    np.testing.assert_array_equal(read_bytes(tmp_path, bytes(data)).array, image())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"P3 16 16 255 " + b"0 " * 768, "image-format"),
        (b"P6 16 16 65535\n" + bytes(1536), "image-format"),
        (b"P6 99999 99999 255\n" + bytes(99), "image-truncated"),
        (b"P6 16 x 255\n" + bytes(999), "image-damaged"),
        (b"P5 " + b"#" * 5000, "image-damaged"),
    ],
)
def test_ppm_that_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    assert refusal(tmp_path, data).code == code


def test_ppm_with_comments(tmp_path: Path) -> None:
    source = image()
    data = b"P6 # by hand\n16\n# rows\n16 255\n" + source.tobytes() + b"more"
    np.testing.assert_array_equal(read_bytes(tmp_path, data).array, source)


def test_gif_larger_than_its_screen_is_measured_before_it_is_decoded(tmp_path: Path) -> None:
    data = bytearray(encode(image(), "GIF"))
    at = data.index(b"\x2c", 13 + 3 * 256)
    struct.pack_into("<HHHH", data, at + 1, 60000, 60000, 5000, 5000)
    assert refusal(tmp_path, bytes(data)).code == "image-too-large"


def test_avif_cannot_lie_about_its_size(tmp_path: Path) -> None:
    data = factory.avif_of_size(16, 16, 200)
    assert refusal(tmp_path, data, max_pixels=39_999).code == "image-too-large"
    honest = encode(image(16, 16), "AVIF")
    assert read_bytes(tmp_path, honest, max_pixels=256).original_size == (16, 16)


def test_what_is_read_goes_by_these_names() -> None:
    assert {"PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PNM", "AVIF"} <= set(FORMATS)
    assert {".tif", ".tiff", ".gif", ".ppm", ".avif"} <= EXTENSIONS
    assert unread("x.TIFF") is None
    assert looks_like_image("x.jp2")
    assert not looks_like_image("x.txt")
    error = unread("x.jp2")
    assert error is not None
    assert "JPEG 2000" in str(error)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="pillow-heif is installed")
def test_heic_says_what_it_needs(tmp_path: Path) -> None:
    for error in (unread("x.HEIC"), refusal(tmp_path, HEIC)):
        assert error is not None
        assert error.code == "image-format"
        assert "pip install 'invert[heif]'" in str(error)


def test_heic_is_read_where_the_package_is() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    ramp: NDArray[np.uint8] = np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None].repeat(64, 1).repeat(3, 2)
    decoded = decode_image(encode(ramp, "HEIF", quality=95), 3)
    assert decoded.format == "HEIC"
    assert np.abs(np.asarray(decoded.image).astype(int) - ramp).max() <= 6
