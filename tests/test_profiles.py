"""Colour profiles: images of other colour spaces become sRGB, and a profile that cannot be used is left out."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from invert.images.profiles import colour_of_codes
from invert.images.target import target_of
from tests.image_factory import chunk, encode, image, png, read_bytes


def light(values: np.ndarray) -> np.ndarray:
    """Return the light of sRGB's numbers in 0..1 (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def numbers(values: np.ndarray) -> np.ndarray:
    """Return sRGB's numbers of light, in 0..255."""
    clipped = values.clip(0, 1)
    return 255 * np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


# From the primaries of Display P3 (SMPTE EG 432-1) to those of sRGB, both with the white D65.
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
P3 = colour_of_codes(12, 13).profile
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def as_srgb(source: NDArray[np.uint8]) -> np.ndarray:
    return numbers(light(source / 255) @ P3_TO_SRGB.T)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_display_p3_becomes_srgb(tmp_path: Path, kind: str, options: dict[str, object]) -> None:
    source = image()
    target = read_bytes(tmp_path, encode(source, kind, icc_profile=P3, **options))
    assert np.abs(target.array - as_srgb(source)).max() <= 2
    assert target.warnings == ("its colour profile (unnamed) is converted to sRGB",)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_profiles_of_lossy_formats(tmp_path: Path, kind: str) -> None:
    source = np.broadcast_to(np.uint8([90, 160, 120]), (16, 16, 3))
    target = read_bytes(tmp_path, encode(np.ascontiguousarray(source), kind, quality=100, icc_profile=P3))
    assert np.abs(target.array - as_srgb(source)).max() <= 6
    assert np.abs(target.array.astype(int) - source).max() > 10
    assert target.warnings == ("its colour profile (unnamed) is converted to sRGB",)


def test_transparency_is_kept_beside_converted_colours(tmp_path: Path) -> None:
    source = image(channels=4)
    target = read_bytes(tmp_path, encode(source, icc_profile=P3), channels=4)
    np.testing.assert_array_equal(target.array[..., 3], source[..., 3])
    assert np.abs(target.array[..., :3] - as_srgb(source[..., :3])).max() <= 2


def test_images_from_memory_have_their_profile_too() -> None:
    source = image()
    with Image.open(io.BytesIO(encode(source, icc_profile=P3))) as opened:
        target = target_of(opened, 16, 3)
    assert np.abs(target.array - as_srgb(source)).max() <= 2
    assert target.warnings == ("its colour profile (unnamed) is converted to sRGB",)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "about",
    [
        chunk(b"sRGB", b"\0"),
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"gAMA", struct.pack(">I", 45455))
        + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100000)),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb_profile())),
        chunk(b"cICP", bytes([1, 13, 0, 1])),
    ],
)
def test_what_means_srgb_changes_nothing(tmp_path: Path, about: bytes) -> None:
    source = image()
    target = read_bytes(tmp_path, png(16, 16, 8, 2, source.tobytes(), before=about))
    np.testing.assert_array_equal(target.array, source)
    assert (target.warnings, target.notes) == ((), ())


def test_gamma_and_primaries_of_png(tmp_path: Path) -> None:
    source = np.repeat(LEVELS[..., None], 3, 2)
    linear = chunk(b"gAMA", struct.pack(">I", 100000))
    target = read_bytes(tmp_path, png(16, 16, 8, 2, source.tobytes(), before=linear))
    assert np.abs(target.array - numbers(source / 255)).max() <= 1
    assert target.warnings == ("its colour profile (gamma 1) is converted to sRGB",)
    primaries = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
    noise = image()
    for about in (primaries, chunk(b"cICP", bytes([12, 13, 0, 1])) + linear):
        target = read_bytes(tmp_path, png(16, 16, 8, 2, noise.tobytes(), before=about))
        assert np.abs(target.array - as_srgb(noise)).max() <= 2
    hdr = read_bytes(tmp_path, png(16, 16, 8, 2, noise.tobytes(), before=chunk(b"cICP", bytes([9, 16, 0, 1]))))
    assert hdr.warnings == ("its colours are those of HDR (PQ), which are not converted",)


def test_grey_profile_and_grey_network(tmp_path: Path) -> None:
    grey = png(16, 16, 8, 0, LEVELS.tobytes(), before=chunk(b"gAMA", struct.pack(">I", 100000)))
    target = read_bytes(tmp_path, grey, channels=1)
    assert np.abs(target.array[..., 0] - numbers(LEVELS / 255)).max() <= 1
    assert target.warnings == ("its colour profile (gamma 1) is converted to sRGB",)
    target = read_bytes(tmp_path, encode(LEVELS, icc_profile=P3), channels=1)
    np.testing.assert_array_equal(target.array[..., 0], LEVELS)
    assert target.warnings == ("its colour profile is for RGB and its pixels are grey: ignored",)
    profile = bytearray(P3)
    profile[16:20] = b"GRAY"
    data = encode(LEVELS, icc_profile=bytes(profile))  # a grey profile without the curve that it needs
    assert read_bytes(tmp_path, data, channels=1).warnings == ("its colour profile is damaged and is ignored",)


def hostile_profiles() -> dict[str, bytes]:
    """Profiles that only a trap or an accident makes."""
    many, outside, endless = bytearray(P3), bytearray(P3), bytearray(P3)
    struct.pack_into(">I", many, 128, 0xFFFFFFFF)
    struct.pack_into(">I", outside, 136, 0xFFFFFFF0)
    struct.pack_into(">I", endless, 0, 0xFFFFFFFF)
    device = P3[:12] + b"link" + P3[16:]
    return {
        "text": b"profile" * 20,
        "cut off": P3[: len(P3) // 2],
        "of many tags": bytes(many),
        "outside": bytes(outside),
        "endless": bytes(endless),
        "device link": device,
        "no tags": P3[:128] + bytes(4) + P3[132:],
        "nonsense curve": P3.replace(b"para", b"xxxx"),
        "large": P3 + bytes(5 << 20),
    }


@pytest.mark.parametrize("kind", hostile_profiles())
def test_profiles_that_cannot_be_used_are_ignored_with_a_word(tmp_path: Path, kind: str) -> None:
    source, profile = image(), hostile_profiles()[kind]
    for data in (encode(source, icc_profile=profile), encode(source, "WEBP", lossless=True, icc_profile=profile)):
        target = read_bytes(tmp_path, data)
        np.testing.assert_array_equal(target.array, source)
        (warning,) = target.warnings
        assert warning.startswith("its colour profile")
        assert "ignored" in warning


def test_damaged_profiles_are_ignored_or_used_and_never_more(tmp_path: Path) -> None:
    source, random = image(), np.random.RandomState(0)
    for _ in range(200):
        broken = bytearray(P3)
        for _ in range(random.randint(1, 6)):
            broken[random.randint(len(broken))] = random.randint(256)
        assert read_bytes(tmp_path, encode(source, icc_profile=bytes(broken))).array.shape == (16, 16, 3)


def test_a_chunk_of_garbage_is_no_profile(tmp_path: Path) -> None:
    source = image()
    for about in (chunk(b"iCCP", b"x\0\0garbage"), chunk(b"iCCP", b"no end"), chunk(b"iCCP", b"")):
        target = read_bytes(tmp_path, png(16, 16, 8, 2, source.tobytes(), before=about))
        np.testing.assert_array_equal(target.array, source)
        assert target.warnings == ("its colour profile is damaged and is ignored",)
    for about in (chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32)), chunk(b"cHRM", b"\1" * 32), chunk(b"gAMA", b"")):
        np.testing.assert_array_equal(
            read_bytes(tmp_path, png(16, 16, 8, 2, source.tobytes(), before=about)).array, source
        )
