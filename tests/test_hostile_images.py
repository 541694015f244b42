"""No file, however broken or hostile, does worse than be refused."""

import random
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from invert.errors import ExitCode, ImageCode, ImageError
from invert.images.decoding import ImagePolicy, decode_image
from invert.images.target import read_target
from tests import image_factory as factory
from tests.image_factory import chunk, encode, exif, image, png, read_bytes, refusal, save

CODES = set(get_args(ImageCode))


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "image-empty", "empty"),
        (b"<!DOCTYPE html><p>not found", "image-format", "web page"),
        (b"just some text", "image-unrecognised", "not a PNG, JPEG, WebP, BMP, TIFF, GIF"),
        (b"BMW builds cars, not images", "image-unrecognised", "not a PNG"),
        (bytes(1000), "image-unrecognised", "not a PNG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "image-format", "Git LFS pointer"),
        (b"II+\0" + bytes(100), "image-unrecognised", "not a PNG"),
        (b"8BPS" + bytes(100), "image-format", "Photoshop"),
        (b"SIMPLE  =                    T", "image-format", "FITS"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "image-format", "PostScript"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image-format", "SVG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "image-format", "JPEG 2000"),
        (b"\0\0\0\x1cftypisom" + bytes(100), "image-format", "video"),
        (b"PK\x03\x04" + bytes(100), "image-format", "zip"),
    ],
)
def test_what_is_not_a_image_is_named(tmp_path: Path, data: bytes, code: str, says: str) -> None:
    error = refusal(tmp_path, data)
    assert error.code == code
    assert says in str(error)
    assert error.exit_code == ExitCode.NO_INPUT


@pytest.mark.parametrize("kind", ["TGA", "ICO", "SGI", "DDS", "JPEG2000", "PCX"])
def test_other_formats_are_refused_though_the_decoder_knows_them(tmp_path: Path, kind: str) -> None:
    assert refusal(tmp_path, encode(image(), kind)).code in ("image-format", "image-unrecognised")


def test_a_format_can_be_switched_off(tmp_path: Path) -> None:
    data = encode(image(), "BMP")
    assert read_bytes(tmp_path, data).array.shape == (16, 16, 3)
    assert refusal(tmp_path, data, formats=("PNG",)).code == "image-format"


def test_run_length_bitmaps_are_refused(tmp_path: Path) -> None:
    broken = bytearray(encode(Image.fromarray(image()).quantize(16), "BMP"))
    broken[30] = 1
    assert refusal(tmp_path, bytes(broken)).code == "image-format"


def complete_files() -> dict[str, bytes]:
    source = image(64, 64)
    return {
        "PNG": encode(source),
        "JPEG": encode(source, "JPEG"),
        "progressive JPEG": encode(source, "JPEG", progressive=True),
        "WebP": encode(source, "WEBP"),
        "lossless WebP": encode(source, "WEBP", lossless=True),
        "BMP": encode(source, "BMP"),
        "TIFF": encode(source, "TIFF"),
        "packed TIFF": encode(source, "TIFF", compression="tiff_lzw"),
        "GIF": encode(source, "GIF"),
        "PPM": encode(source, "PPM"),
        "AVIF": encode(source, "AVIF"),
    }


@pytest.mark.parametrize("kind", complete_files())
def test_a_file_cut_off_anywhere_is_refused(kind: str) -> None:
    data = complete_files()[kind]
    assert decode_image(data, 3).size == (64, 64)
    for length in {1, *range(0, len(data), 37), *range(len(data) - 40, len(data))}:
        with pytest.raises(ImageError) as caught:
            decode_image(data[:length], 3)
        if length > len(data) // 10:
            assert caught.value.code == "image-truncated", length
            assert "cut off" in str(caught.value)


def test_png_without_its_end_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, encode(image())[:-12])
    assert error.code == "image-truncated"


def test_damaged_png_is_noticed_wherever_the_damage_is() -> None:
    data = encode(image())
    for position in range(8, len(data)):
        broken = bytearray(data)
        broken[position] ^= 0x10
        with pytest.raises(ImageError) as caught:
            decode_image(bytes(broken), 3)
        assert caught.value.code in ("image-damaged", "image-truncated")


@pytest.mark.parametrize("kind", complete_files())
def test_flipped_bits_decode_or_are_refused(kind: str) -> None:
    data, chance = complete_files()[kind], random.Random(0)
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        decode_or_refuse(bytes(broken))


def decode_or_refuse(data: bytes, channels: int = 3) -> None:
    try:
        decoded = decode_image(data, channels, ImagePolicy(max_pixels=1_000_000))
    except ImageError as error:
        code, reason = error.code, error.reason
    else:
        assert np.asarray(decoded.image).size == decoded.size[0] * decoded.size[1] * channels
        return
    assert code in CODES
    assert reason


@settings(max_examples=500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzz(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SMALL_FILES)))
    broken = bytearray(SMALL_FILES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(broken) - 4, 120)))
        broken[at : at + 4] = data.draw(st.binary(min_size=0, max_size=8))
    if kind == "PNG" and data.draw(st.booleans()):
        broken = bytearray(with_right_checksums(bytes(broken)))
    decode_or_refuse(bytes(broken), data.draw(st.sampled_from([1, 3, 4])))


SMALL_FILES = {
    "PNG": encode(Image.fromarray(image()).quantize(16), transparency=bytes(range(16))),
    "JPEG": encode(image(), "JPEG", exif=exif(6)),
    "progressive JPEG": encode(Image.new("CMYK", (16, 16)), "JPEG", progressive=True),
    "WebP": encode(image(channels=4), "WEBP", exif=exif(6)),
    "lossless WebP": encode(image(), "WEBP", lossless=True),
    "BMP": encode(Image.fromarray(image()).quantize(16), "BMP"),
    "TIFF": encode(image(), "TIFF"),
    "GIF": encode(image(), "GIF"),
    "PPM": encode(image(), "PPM"),
    "AVIF": encode(image(), "AVIF"),
}


def with_right_checksums(data: bytes) -> bytes:
    """Repair the checksums of a PNG that was tampered with, so that the damage gets further in."""
    fixed, position = bytearray(data), 8
    while position + 12 <= len(data):
        end = position + 12 + struct.unpack_from(">I", data, position)[0]
        if end > len(data):
            break
        struct.pack_into(">I", fixed, end - 4, zlib.crc32(data[position + 4 : end - 4]))
        position = end
    return bytes(fixed)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 17),
    st.integers(0, 7),
    st.binary(max_size=800),
    st.binary(max_size=40),
    st.binary(max_size=20),
)
def test_fuzz_png_headers(
    width: int, height: int, bits: int, colour: int, pixels: bytes, palette: bytes, transparency: bytes
) -> None:
    before = chunk(b"PLTE", palette) + chunk(b"tRNS", transparency)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = pixels.ljust(4000, b"\0")
    decode_or_refuse(factory.MAGIC + header + before + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND"))


def test_unexpected_errors_of_the_decoder_become_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(image())
    for raised, code in (
        (ValueError("Decompressed data too large"), "image-damaged"),
        (struct.error("unpack"), "image-damaged"),
        (zlib.error("stream"), "image-damaged"),
        (EOFError(), "image-damaged"),
        (Image.DecompressionBombError("bomb"), "image-damaged"),
        (OSError("image file is truncated"), "image-truncated"),
        (MemoryError(), "image-memory"),
    ):

        def fail(*_: object, error: Exception = raised) -> None:
            raise error

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
        assert refusal(tmp_path, data).code == code


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (7, 7), (7, 100)])
def test_tiny_and_extreme_shapes_are_refused(tmp_path: Path, width: int, height: int) -> None:
    error = refusal(tmp_path, encode(image(height, width)))
    assert error.code == "image-too-small"
    assert f"{width} x {height} pixels, and each side must have at least 8" in str(error)


def test_smallest_side_is_a_setting(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, encode(image(1, 1)), min_size=1).array.shape == (16, 16, 3)


def test_pixel_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    data = encode(image(40, 50))
    error = refusal(tmp_path, data, max_pixels=1999)
    assert error.code == "image-too-large"
    assert str(error).endswith("over the 0.001999 Mpx limit. Use --max-pixels to raise it.")
    assert read_bytes(tmp_path, data, max_pixels=2000).array.shape == (16, 16, 3)


def test_size_limit_on_files(tmp_path: Path) -> None:
    data = encode(image())
    assert refusal(tmp_path, data, max_bytes=len(data) - 1).code == "image-too-large"
    assert read_bytes(tmp_path, data, max_bytes=len(data)).array.shape == (16, 16, 3)


BOMB_CHILD = """
import pathlib, re, sys, time
from invert.images.target import read_target
from invert.errors import ImageError
for path in sys.argv[1:]:
    started = time.process_time()
    try:
        read_target(path, 16, 3)
        result = "read"
    except ImageError as error:
        result = error.code
    print(result, round(time.process_time() - started, 2))
# Not ru_maxrss: that starts at the peak of the process that forked.
print(int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_bombs_cost_neither_memory_nor_time(tmp_path: Path) -> None:
    jpeg = encode(image(), "JPEG")
    bombs = {
        "12000.png": (factory.png_bomb(12000), "image-too-large"),
        "20000.png": (factory.png_bomb(20000), "image-too-large"),
        "65535.jpg": (factory.jpeg_of_size(jpeg, 65535, 65535), "image-too-large"),
        "canvas.webp": (factory.webp_of_canvas(13000, 13000), "image-too-large"),
        "scans.jpg": (factory.jpeg_of_scans(64, 5000), "image-bomb"),
        "blocks.png": (factory.MAGIC + chunk(b"IHDR", bytes(13)) + chunk(b"teXt") * 300_000, "image-bomb"),
        "fill.jpg": (jpeg[:2] + b"\xff" * 2_000_000 + jpeg[2:], "image-bomb"),
        # Text and profiles are never unpacked, so these are as good as any image.
        **{f"{kind}.png": (data, "read") for kind, data in factory.text_bombs(image()).items()},
    }
    paths = [save(tmp_path, data, name) for name, (data, _) in bombs.items()]
    result = subprocess.run(
        [sys.executable, "-c", BOMB_CHILD, *paths], capture_output=True, text=True, check=True, timeout=60
    )
    *lines, peak = result.stdout.split("\n")[:-1]
    for (name, (data, expected)), line in zip(bombs.items(), lines, strict=True):
        code, seconds = line.split()
        assert code == expected, name
        assert float(seconds) < 2, name
        assert name[0] not in "12z" or len(data) < 300_000
    assert int(peak) < 300, "MB at the peak"
    assert result.stderr == ""


def test_pixels_beside_a_text_bomb_are_read(tmp_path: Path) -> None:
    source = image()
    for data in factory.text_bombs(source, 8 << 20).values():
        np.testing.assert_array_equal(read_bytes(tmp_path, data).array, source)


@pytest.mark.parametrize("keyword", ["transparency", "bbox", "exif", "interlace", "icc_profile"])
def test_text_cannot_pose_as_a_header(tmp_path: Path, keyword: str) -> None:
    source = image()
    text = chunk(b"tEXt", keyword.encode() + b"\x001")
    target = read_bytes(tmp_path, png(16, 16, 8, 2, source.tobytes(), before=text))
    np.testing.assert_array_equal(target.array, source)
    assert target.warnings == ()


def test_threads_read_alike_and_leave_no_trace(tmp_path: Path) -> None:
    """Pillow's warnings and limits are global; reading must depend on neither and change neither."""
    import warnings

    path = save(
        tmp_path, factory.with_segment(encode(image(64, 64), "JPEG"), 0xE1, b"Exif\0\0" + b"II*\0\x08\0\0\0\xff")
    )
    expected = read_target(path, 16, 3).pixel_sha256
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    found: list[str] = []

    def work() -> None:
        found.extend(read_target(path, 16, 3).pixel_sha256 for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 80
    assert list(warnings.filters) == filters
    assert limit == Image.MAX_IMAGE_PIXELS
