"""What an image file says about itself, format by format, and its parts without the metadata.

The decoder is handed nothing but what the pixels need. Text, colour profile and EXIF blocks are where
decompression bombs and half of a decoder's surprises live; the method uses the orientation, and the profile, which
`invert.images.profiles` looks at. Nothing here allocates more than the file's own size and one profile.
`invert.images.formats` is the table of formats; GIF, PNM, TIFF and HEIF have modules of their own.

The functions of a format may raise struct.error or IndexError for a file that is cut off, and ImageError for one that
is damaged.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from PIL.BmpImagePlugin import BmpImageFile

from invert.errors import ImageError
from invert.images.profiles import MAX_PROFILE, NO_COLOUR, Colour, colour_of_codes, colour_of_png

__all__ = [
    "SHEET_MARK",
    "Appearance",
    "Container",
    "count_blocks",
    "cut_off",
    "damaged",
    "is_bmp",
    "is_jpeg",
    "is_png",
    "is_sheet",
    "is_webp",
    "look_at_bmp",
    "look_at_jpeg",
    "look_at_png",
    "look_at_webp",
    "orientation",
    "take_bmp_apart",
    "take_jpeg_apart",
    "take_png_apart",
    "take_webp_apart",
]

# Enough for every encoder in use; each further scan makes the decoder walk all pixels again.
MAX_JPEG_SCANS = 100
# An image of 256 MiB in the usual pieces of 8 KiB has 32768.
MAX_BLOCKS = 1 << 18

_PNG_SAMPLES = {2: 3, 4: 2, 6: 4}  # by the colour type of the header; elsewhere there is one a pixel
_PNG = b"\x89PNG\r\n\x1a\n"

_MARK = b"tEXtSoftware\0invert, a sheet of several images"
SHEET_MARK = struct.pack(">I", len(_MARK) - 4) + _MARK + struct.pack(">I", zlib.crc32(_MARK))
"""The chunk that follows the header of a PNG which this program made of several images: it is no input."""

_BMP_HEADERS = frozenset(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))

_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


class Appearance(NamedTuple):
    """Width and height as stored, not turned upright; channels 1 (grey, with or without alpha) or 3."""

    width: int
    height: int
    channels: int


@dataclass(frozen=True)
class Container:
    """An image file, taken apart.

    Attributes:
        data: The file for the decoder.
        size: (width, height), given where the decoder allocates before it can be asked.
        bits: Bits per channel of the original.
        frames: Number of images in the original.
        exif: The EXIF block, which is a TIFF block, or nothing.
        colour: What it says about its colours.
        is_sheet: Whether this program made it of several images, see `SHEET_MARK`.
    """

    data: bytes
    size: tuple[int, int] | None = None
    bits: int = 8
    frames: int = 1
    exif: bytes = b""
    colour: Colour = NO_COLOUR
    is_sheet: bool = False


def cut_off(position: int) -> ImageError:
    """Return the error about a file that ends too early."""
    reason = f"the file is cut off after {position} bytes"
    return ImageError(reason, advice="Copy or download it again.", code="image-truncated")


def damaged(reason: str) -> ImageError:
    """Return the error about a file that contradicts itself."""
    return ImageError(f"the file is damaged: {reason}", advice="Copy or download it again.", code="image-damaged")


def count_blocks() -> Iterator[None]:
    """Yield for every block of a file, and raise when there are so many that only a trap has them."""
    for _ in range(MAX_BLOCKS):
        yield
    raise ImageError(f"it has more than {MAX_BLOCKS} blocks, which only a trap has", code="image-bomb")


def is_png(head: bytes) -> bool:
    """Return whether a file that begins so is PNG."""
    return head.startswith(_PNG)


def is_sheet(head: bytes) -> bool:
    """Return whether a file that begins so is a PNG which this program made of several images."""
    return is_png(head) and head[33 : 33 + len(SHEET_MARK)] == SHEET_MARK


def take_png_apart(data: bytes) -> Container:
    """Check a PNG file and take it apart, see `Container`."""
    kept = [_PNG]
    kinds: list[bytes] = []
    frames, exif, is_sheet, packed = 1, b"", False, 0
    about: dict[bytes, bytes] = {}
    for kind, start, end in _png_chunks(data):
        kinds.append(kind)
        packed += end - start if kind == b"IDAT" else 0
        body = data[start + 8 : end - 4]
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[start:end])
        elif kind == b"acTL":
            frames = struct.unpack_from(">I", body)[0]
        elif kind == b"eXIf":
            exif = body
        elif kind in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
            about.setdefault(kind, body)
        elif data[start:end] == SHEET_MARK:
            is_sheet = True
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or b"IDAT" not in kinds:
        raise damaged("it has no single header followed by pixels")
    # Deflate makes of one byte 1032 at most: what the header promises is there, or the file ends too early.
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if height * (1 + width * bits * _PNG_SAMPLES.get(colour, 1) // 8) > 1032 * packed + MAX_BLOCKS:
        raise cut_off(len(data))
    return Container(b"".join(kept), None, data[24], max(frames, 1), exif, _png_colour(about), is_sheet)


def _png_colour(about: dict[bytes, bytes]) -> Colour:
    """Return what the chunks about colour come to; where there are several, the first of the order below counts."""
    if len(codes := about.get(b"cICP", b"")) == 4:
        return colour_of_codes(codes[0], codes[1])
    if b"iCCP" in about:
        _, _, packed = about[b"iCCP"].partition(b"\0")
        try:
            profile = zlib.decompressobj().decompress(packed[1:], MAX_PROFILE + 1)
        except zlib.error:
            profile = b""
        return Colour(profile) if profile else Colour(problem="its colour profile is damaged and is ignored")
    if b"sRGB" in about:
        return Colour()
    gamma, primaries = about.get(b"gAMA", b""), about.get(b"cHRM", b"")
    return colour_of_png(
        struct.unpack(">I", gamma)[0] / 100_000 if len(gamma) == 4 else None,
        [value / 100_000 for value in struct.unpack(">8I", primaries)] if len(primaries) == 32 else None,
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of every chunk up to IEND, each checked against its CRC."""
    position = len(_PNG)
    for _ in count_blocks():
        # A file without IEND is a file cut off, even where all pixels happen to be there.
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise cut_off(len(data))
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise damaged(f"a checksum does not match at byte {position}")
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end


def look_at_png(head: bytes) -> Appearance | None:
    """Return size and colour by the head of a PNG file."""
    width, height, _, colour = struct.unpack_from(">IIBB", head, 16)
    return Appearance(width, height, 1 if colour in (0, 4) else 3)


def is_jpeg(head: bytes) -> bool:
    """Return whether a file that begins so is JPEG."""
    return head.startswith(b"\xff\xd8\xff")


def take_jpeg_apart(data: bytes) -> Container:
    """Check a JPEG file and take it apart, see `Container`."""
    kept = [data[:2]]
    exif = b""
    pieces: dict[int, bytes] = {}
    for marker, start, end in _jpeg_segments(data):
        body = data[start + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and not exif:
            exif = body[6:]
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            pieces.setdefault(body[12], body[14:])
        # APP0 (JFIF) and APP14 (Adobe) say how the colours are coded; other APPn and comments do not matter.
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[start:end])
        if marker == 0xDA:
            kept.append(data[end:])
            scans = data.count(b"\xff\xda", start)
            if scans > MAX_JPEG_SCANS:
                raise ImageError(
                    f"it has {scans} scans, more than {MAX_JPEG_SCANS}, which only a trap has", code="image-bomb"
                )
    return Container(b"".join(kept), None, 8, 1, exif, Colour(b"".join(pieces[number] for number in sorted(pieces))))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of every segment up to the first start of scan."""
    position = 2
    for _ in count_blocks():
        # Junk between segments and fill bytes are allowed, as every decoder does.
        position = data.find(b"\xff", position)
        if position < 0:
            raise cut_off(len(data))
        marker = data[position + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            raise damaged("it ends before its pixels start")
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if end > len(data):
            raise cut_off(len(data))
        yield marker, position, end
        if marker == 0xDA:
            return
        position = end


def look_at_jpeg(head: bytes) -> Appearance | None:
    """Return size and colour by the head of a JPEG file."""
    position = 2
    while (position := head.find(b"\xff", position)) >= 0:
        marker = head[position + 1]
        if marker in _JPEG_FRAMES:
            height, width, components = struct.unpack_from(">HHB", head, position + 5)
            return Appearance(width, height, 1 if components == 1 else 3)
        if marker in (0xDA, 0xD9):
            break
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + struct.unpack_from(">H", head, position + 2)[0]
    return None


def is_webp(head: bytes) -> bool:
    """Return whether a file that begins so is WebP."""
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def take_webp_apart(data: bytes) -> Container:
    """Check a WebP file and take it apart, see `Container`."""
    if len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise cut_off(len(data))
    size: tuple[int, int] | None = None
    frames, exif, profile = 0, b"", b""
    position = 12
    for _ in count_blocks():
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if size is None:
            size = _webp_size(kind, body)
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            exif = body
        if kind == b"ICCP":
            profile = body
        position += 8 + length + (length & 1)
    return Container(data, size, 8, max(frames, 1), exif, Colour(profile))


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas from the first chunk, which must be one of three."""
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        packed = struct.unpack_from("<I", body, 1)[0]
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    raise damaged("its first block is not an image")


def look_at_webp(head: bytes) -> Appearance | None:
    """Return size and colour by the head of a WebP file."""
    with contextlib.suppress(ImageError):
        return Appearance(*_webp_size(head[12:16], head[20:30]), 3)
    return None


def is_bmp(head: bytes) -> bool:
    """Return whether a file that begins so is BMP."""
    return head.startswith(b"BM") and head[14:18] in _BMP_HEADERS


def take_bmp_apart(data: bytes) -> Container:
    """Check a BMP file and take it apart, see `Container`."""
    header, compression = struct.unpack_from("<I", data, 14)[0], struct.unpack_from("<I", data, 30)[0]
    if header != 12 and compression not in (0, 3):
        # Run lengths are unpacked pixel by pixel in Python: half a megabyte keeps that busy for minutes.
        raise ImageError("compressed BMP is not enabled", advice="Convert it to PNG.", code="image-format")
    return Container(data)


def look_at_bmp(head: bytes) -> Appearance | None:
    """Return size and colour by the head of a BMP file."""
    # Whether its colours are all grey stands in the palette, which Pillow reads with the header. It promises no
    # list of what it raises.
    with contextlib.suppress(Exception):
        image = BmpImageFile(io.BytesIO(head))
        return Appearance(*image.size, 1 if image.mode in ("1", "L") else 3)
    return None


def orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or it makes no sense.

    Args:
        exif: A TIFF block (tag 0x0112 of its first directory is read), with or without the prefix of JPEG.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        directory = struct.unpack_from(order + "I", exif, 4)[0]
        count = struct.unpack_from(order + "H", exif, directory)[0]
        for index in range(count):
            tag, kind, length, value = struct.unpack_from(order + "HHIH", exif, directory + 2 + 12 * index)
            if (tag, kind, length) == (0x0112, 3, 1):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
