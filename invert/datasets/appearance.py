"""What the head of an image file says of its size and colour, without decoding anything."""

import contextlib
import io
import struct
from typing import NamedTuple

from PIL.BmpImagePlugin import BmpImageFile

__all__ = ["HEAD_BYTES", "Appearance", "appearance"]

HEAD_BYTES = 1 << 16
"""Enough of a file for `appearance`, unless a JPEG has a large block of metadata before its frame."""

_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


class Appearance(NamedTuple):
    """Width and height as stored, not turned upright; channels 1 (grey, with or without alpha) or 3."""

    width: int
    height: int
    channels: int


def appearance(head: bytes) -> Appearance | None:
    """Return how an image looks by its header.

    Args:
        head: The file, or its first `HEAD_BYTES`.

    Returns:
        None where the header does not tell: `invert.images.decoding.decode` then says why the file is no image.
    """
    with contextlib.suppress(struct.error, IndexError):
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height, _, colour = struct.unpack_from(">IIBB", head, 16)
            return Appearance(width, height, 1 if colour in (0, 4) else 3)
        if head.startswith(b"\xff\xd8\xff"):
            return _jpeg(head)
        if head.startswith(b"RIFF"):
            return _webp(head)
        if head.startswith(b"BM"):
            return _bmp(head)
    return None


def _jpeg(head: bytes) -> Appearance | None:
    position = 2
    while (position := head.find(b"\xff", position)) >= 0:
        marker = head[position + 1]
        if marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", head, position + 5)
            return Appearance(width, height, 1 if components == 1 else 3)
        if marker in (0xDA, 0xD9):
            break
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + struct.unpack_from(">H", head, position + 2)[0]
    return None


def _webp(head: bytes) -> Appearance | None:
    kind, body = head[12:16], head[20:30]
    if kind == b"VP8X":
        return Appearance(1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"), 3)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return Appearance(width & 0x3FFF, height & 0x3FFF, 3)
    if kind == b"VP8L":
        packed = struct.unpack_from("<I", body, 1)[0]
        return Appearance(1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF), 3)
    return None


def _bmp(head: bytes) -> Appearance | None:
    # Whether its colours are all grey stands in the palette, which Pillow reads with the header. It promises no
    # list of what it raises.
    with contextlib.suppress(Exception):
        image = BmpImageFile(io.BytesIO(head))
        return Appearance(*image.size, 1 if image.mode in ("1", "L") else 3)
    return None
