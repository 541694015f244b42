"""Read what an image file says about itself, and take its metadata out.

The decoder is handed nothing but what the pixels need. Text, colour profile and EXIF blocks are where
decompression bombs and half of a decoder's surprises live, and the method uses only the orientation.
Nothing here allocates more than the file's own size.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from invert.errors import ImageError

__all__ = ["FORMATS", "Container", "orientation", "parse"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

# Enough for every encoder in use; each further scan makes the decoder walk all pixels again.
MAX_JPEG_SCANS = 100
# An image of 256 MiB in the usual pieces of 8 KiB has 32768.
MAX_BLOCKS = 1 << 18

_PNG = b"\x89PNG\r\n\x1a\n"

_BMP_HEADERS = frozenset(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))

# Recognised only to be refused by name.
_OTHERS = (
    (b"GIF8", "a GIF animation"),
    (b"II*\0", "a TIFF file"),
    (b"MM\0*", "a TIFF file"),
    (b"8BPS", "a Photoshop file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF", "a PDF file"),
    (b"\0\0\0\x0cjP", "a JPEG 2000 file"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, the image itself was not downloaded"),
)


@dataclass(frozen=True)
class Container:
    """An image file, taken apart.

    `data` is the file for the decoder. `size` (width, height) is given where the decoder allocates before
    it can be asked. `bits` per channel and `frames` describe the original; `exif` is a TIFF block.
    """

    format: str
    data: bytes
    size: tuple[int, int] | None = None
    bits: int = 8
    frames: int = 1
    exif: bytes = b""
    has_profile: bool = False


def parse(data: bytes, formats: tuple[str, ...] = FORMATS) -> Container:
    """Recognise an image by its content and take it apart.

    Args:
        data: The whole file.
        formats: Which of `FORMATS` are enabled.

    Raises:
        ImageError: It is not an image in an enabled format, or it is cut off or damaged.
    """
    kind = _sniff(data)
    if kind not in formats:
        raise ImageError(f"{kind} images are not enabled", advice="Convert it to PNG.", code="image-format")
    try:
        return _PARSERS[kind](data)
    except (struct.error, IndexError) as error:
        raise _cut(len(data)) from error


def _sniff(data: bytes) -> str:
    if not data:
        raise ImageError("the file is empty", code="image-empty")
    if data.startswith(_PNG):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        return "BMP"
    looks = next((name for magic, name in _OTHERS if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        looks = "an AVIF, HEIF or video file"
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        looks = "a web page"
    elif text.startswith((b"<svg", b"<?xml")):
        looks = "an SVG or XML file"
    if looks is None:
        raise ImageError("it is not a PNG, JPEG, WebP or BMP image", code="image-unrecognised")
    advice = "Convert it to PNG."
    raise ImageError(f"it is {looks}, and that format is not enabled", advice=advice, code="image-format")


def _cut(position: int) -> ImageError:
    reason = f"the file is cut off after {position} bytes"
    return ImageError(reason, advice="Copy or download it again.", code="image-truncated")


def _damaged(reason: str) -> ImageError:
    return ImageError(f"the file is damaged: {reason}", advice="Copy or download it again.", code="image-damaged")


def _count_blocks() -> Iterator[None]:
    """Yield for every block of a file, and raise when there are so many that only a trap has them."""
    for _ in range(MAX_BLOCKS):
        yield
    raise ImageError(f"it has more than {MAX_BLOCKS} blocks, which only a trap has", code="image-bomb")


def _parse_png(data: bytes) -> Container:
    kept = [_PNG]
    kinds: list[bytes] = []
    frames, exif, has_profile = 1, b"", False
    for kind, start, end in _png_chunks(data):
        kinds.append(kind)
        body = data[start + 8 : end - 4]
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[start:end])
        elif kind == b"acTL":
            frames = struct.unpack_from(">I", body)[0]
        elif kind == b"eXIf":
            exif = body
        elif kind == b"iCCP":
            has_profile = True
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or b"IDAT" not in kinds:
        raise _damaged("it has no single header followed by pixels")
    return Container("PNG", b"".join(kept), None, data[24], max(frames, 1), exif, has_profile)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of every chunk up to IEND, each checked against its CRC."""
    position = len(_PNG)
    for _ in _count_blocks():
        # A file without IEND is a file cut off, even where all pixels happen to be there.
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _cut(len(data))
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise _damaged(f"a checksum does not match at byte {position}")
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end


def _parse_jpeg(data: bytes) -> Container:
    kept = [data[:2]]
    exif, has_profile = b"", False
    for marker, start, end in _jpeg_segments(data):
        body = data[start + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and not exif:
            exif = body[6:]
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            has_profile = True
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
    return Container("JPEG", b"".join(kept), None, 8, 1, exif, has_profile)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of every segment up to the first start of scan."""
    position = 2
    for _ in _count_blocks():
        # Junk between segments and fill bytes are allowed, as every decoder does.
        position = data.find(b"\xff", position)
        if position < 0:
            raise _cut(len(data))
        marker = data[position + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            raise _damaged("it ends before its pixels start")
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if end > len(data):
            raise _cut(len(data))
        yield marker, position, end
        if marker == 0xDA:
            return
        position = end


def _parse_webp(data: bytes) -> Container:
    if len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise _cut(len(data))
    size: tuple[int, int] | None = None
    frames, exif, has_profile = 0, b"", False
    position = 12
    for _ in _count_blocks():
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if size is None:
            size = _webp_size(kind, body)
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            exif = body
        has_profile = has_profile or kind == b"ICCP"
        position += 8 + length + (length & 1)
    return Container("WEBP", data, size, 8, max(frames, 1), exif, has_profile)


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
    raise _damaged("its first block is not an image")


def _parse_bmp(data: bytes) -> Container:
    header, compression = struct.unpack_from("<I", data, 14)[0], struct.unpack_from("<I", data, 30)[0]
    if header != 12 and compression not in (0, 3):
        # Run lengths are unpacked pixel by pixel in Python: half a megabyte keeps that busy for minutes.
        raise ImageError("compressed BMP is not enabled", advice="Convert it to PNG.", code="image-format")
    return Container("BMP", data)


_PARSERS: dict[str, Callable[[bytes], Container]] = {
    "PNG": _parse_png,
    "JPEG": _parse_jpeg,
    "WEBP": _parse_webp,
    "BMP": _parse_bmp,
}


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
