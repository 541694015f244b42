"""GIF files, taken apart: the first image, and how many there are."""

import struct

from invert.images.containers import Appearance, Container, count_blocks, damaged

__all__ = ["is_gif", "look_at_gif", "take_gif_apart"]

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_SIZE_BITS = 7


def is_gif(head: bytes) -> bool:
    """Return whether a file that begins so is GIF."""
    return head.startswith((b"GIF87a", b"GIF89a"))


def take_gif_apart(data: bytes) -> Container:
    """Check a GIF file and take it apart, see `Container`."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _table(flags)
    kept, frames, control = [data[:position]], 0, b""
    for _ in count_blocks():
        start, kind = position, data[position]
        if kind == _END:
            break
        if kind == _EXTENSION:
            position = _after_pieces(data, position + 2)
            if data[start + 1] == _CONTROL:
                control = data[start:position]
        elif kind == _IMAGE:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, position + 1)
            position = _after_pieces(data, position + 11 + _table(flags))
            frames += 1
            if frames == 1:
                kept += [control, data[start:position]]
                # The decoder makes room for what sticks out.
                width, height = max(width, left + wide), max(height, top + high)
        else:
            raise damaged(f"there is no block that begins with {kind} at byte {position}")
    if not frames:
        raise damaged("it holds no image")
    return Container(b"".join(kept) + bytes([_END]), (width, height), 8, frames)


def look_at_gif(head: bytes) -> Appearance | None:
    """Return size and colour by the head of a GIF file."""
    # Whether its colours are all grey stands in its palettes; it is cheap to treat them as colours.
    width, height = struct.unpack_from("<HH", head, 6)
    return Appearance(width, height, 3)


def _table(flags: int) -> int:
    """Return the bytes of the palette that follows."""
    return 3 << ((flags & _SIZE_BITS) + 1) if flags & 0x80 else 0


def _after_pieces(data: bytes, position: int) -> int:
    """Return where a chain of pieces of up to 255 bytes ends."""
    while (length := data[position]) != 0:
        position += 1 + length
    return position + 1
