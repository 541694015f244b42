"""Depth, transparency, colour, orientation and animations, as documented."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from invert.images.containers import orientation
from invert.images.profiles import colour_of_codes
from invert.images.target import target_of
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


# Colour profiles


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
