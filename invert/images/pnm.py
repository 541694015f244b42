"""PNM files (PBM, PGM, PPM), taken apart: those of raw bytes, with 1 or 8 bits."""

import re

from invert.errors import ImageError
from invert.images.containers import Appearance, Container, cut_off, damaged

__all__ = ["is_pnm", "look_at_pnm", "take_pnm_apart"]

_SPACE = rb"(?:\s|#[^\n\r]{0,1000}[\n\r]){1,100}"
_BITMAP = re.compile(rb"(P4)%s(\d{1,9})%s(\d{1,9})()\s" % (_SPACE, _SPACE))
_LEVELS = re.compile(rb"(P[56])%s(\d{1,9})%s(\d{1,9})%s(\d{1,9})\s" % (_SPACE, _SPACE, _SPACE))


def is_pnm(head: bytes) -> bool:
    """Return whether a file that begins so is PNM, of whatever kind."""
    return re.match(rb"P[1-6][\s#]", head) is not None


def take_pnm_apart(data: bytes) -> Container:
    """Check a PNM file and take it apart, see `Container`."""
    if data[1:2] in b"123":
        # Numbers in words are read one by one in Python.
        raise ImageError("PNM in plain text is not enabled", advice="Convert it to PNG.", code="image-format")
    match = _BITMAP.match(data) or _LEVELS.match(data)
    if match is None:
        raise damaged("its header has no size")
    kind, width, height = match[1], int(match[2]), int(match[3])
    if kind != b"P4" and int(match[4]) != 255:
        raise ImageError(
            f"PNM with {int(match[4])} levels is not enabled", advice="Convert it to PNG.", code="image-format"
        )
    row = -(-width // 8) if kind == b"P4" else width * (3 if kind == b"P6" else 1)
    end = match.end() + row * height
    if end > len(data):
        raise cut_off(len(data))
    # Without comments, which the decoder reads byte by byte.
    head = b" ".join([kind, match[2], match[3], *([b"255"] if kind != b"P4" else [])]) + b"\n"
    return Container(head + data[match.end() : end], (width, height))


def look_at_pnm(head: bytes) -> Appearance | None:
    """Return size and colour by the head of a PNM file."""
    match = _BITMAP.match(head) or _LEVELS.match(head)
    return None if match is None else Appearance(int(match[2]), int(match[3]), 3 if match[1] == b"P6" else 1)
