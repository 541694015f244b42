"""TIFF files, taken apart: the first page, with nothing in its directory but what the pixels need.

Reference: TIFF 6.0 (Adobe 1992), sections 2, 8 and 10.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from invert.errors import ImageError
from invert.images.containers import MAX_BLOCKS, Appearance, Container, cut_off, damaged
from invert.images.profiles import MAX_PROFILE, Colour

__all__ = ["is_tiff", "look_at_tiff", "take_tiff_apart"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_FORMATS = {1: "B", 3: "H", 4: "I"}
_MOST_ENTRIES, _MOST_PAGES = 1000, 4096

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANES, _PREDICTOR = 273, 277, 278, 279, 284, 317
_PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 320, 322, 323, 324, 325
_INKS, _EXTRA, _SAMPLE_FORMAT, _PROFILE = 332, 338, 339, 34675
_KEPT = frozenset(
    {
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANES, _PREDICTOR),
        *(_PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _INKS, _EXTRA, _SAMPLE_FORMAT),
    }
)
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
_GREY, _COLOURS, _INK = (0, 1), (2, 3), 5


class _Entry(NamedTuple):
    tag: int
    kind: int
    length: int
    place: int
    raw: bytes


def is_tiff(head: bytes) -> bool:
    """Return whether a file that begins so is TIFF."""
    return head.startswith((b"II*\0", b"MM\0*"))


def take_tiff_apart(data: bytes) -> Container:
    """Check a TIFF file and take it apart, see `Container`."""
    return _Page(data).container()


def look_at_tiff(head: bytes) -> Appearance | None:
    """Return size and colour by the head of a TIFF file, whose directory may lie behind it."""
    page = _Page(head)
    width, height = page.size
    return Appearance(width, height, 1 if page.number(_PHOTOMETRIC, 1) in _GREY else 3)


class _Page:
    """The first directory of a TIFF file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._start = struct.unpack_from(self._order + "I", data, 4)[0]
        self._entries = {entry.tag: entry for entry in self._directory(self._start)}

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.number(_WIDTH, 0), self.number(_HEIGHT, 0)

    def number(self, tag: int, default: int) -> int:
        """Return the value of an entry that has one number, or where all its numbers are the same."""
        values = set(self.numbers(tag, (default,)))
        if len(values) != 1:
            raise _not_enabled(f"TIFF with several values of tag {tag}")
        return values.pop()

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the values of an entry."""
        entry = self._entries.get(tag)
        if entry is None:
            return default
        if entry.kind not in _FORMATS or not 0 < entry.length <= MAX_BLOCKS:
            raise damaged(f"tag {tag} of its directory makes no sense")
        return struct.unpack_from(f"{self._order}{entry.length}{_FORMATS[entry.kind]}", self._data, entry.place)

    def container(self) -> Container:
        """Return the file with this page alone."""
        bits = self._check()
        kept = b"".join(self._entries[tag].raw for tag in sorted(_KEPT & self._entries.keys()))
        directory = struct.pack(self._order + "H", len(kept) // 12) + kept + bytes(4)
        end = len(self._data) + len(self._data) % 2
        head = self._data[:4] + struct.pack(self._order + "I", end)
        data = b"".join([head, self._data[8:], bytes(end - len(self._data)), directory])
        # The block of EXIF is a TIFF file too: its orientation stands in the first directory.
        return Container(data, self.size, bits, self._pages(), self._data, Colour(self._profile()))

    def _check(self) -> int:
        """Validate what decides the pixels; return the bits of a sample."""
        compression, bits = self.number(_COMPRESSION, 1), self.number(_BITS, 1)
        photometric, samples = self.number(_PHOTOMETRIC, 1), self.number(_SAMPLES, 1)
        if compression not in _COMPRESSIONS:
            raise _not_enabled(f"TIFF with compression {compression}")
        if photometric not in (*_GREY, *_COLOURS, _INK) or not 1 <= samples <= 5:
            raise _not_enabled(f"TIFF with colours of kind {photometric} in {samples} samples")
        if bits not in (1, 2, 4, 8, 16) or self.number(_SAMPLE_FORMAT, 1) != 1 or (bits == 16 and photometric == 0):
            raise _not_enabled(f"TIFF with samples of {bits} bits of this kind")
        tiled = _TILE_OFFSETS in self._entries
        offsets = self.numbers(_TILE_OFFSETS if tiled else _OFFSETS)
        counts = self.numbers(_TILE_COUNTS if tiled else _COUNTS)
        if not offsets or len(offsets) != len(counts):
            raise damaged("it does not say where its pixels are")
        if any(offset + count > len(self._data) for offset, count in zip(offsets, counts, strict=True)):
            raise cut_off(len(self._data))
        if compression == 1 and sum(counts) * 8 < self.size[0] * self.size[1] * samples * bits:
            raise cut_off(len(self._data))
        return bits

    def _profile(self) -> bytes:
        entry = self._entries.get(_PROFILE)
        size = 0 if entry is None else min(entry.length, MAX_PROFILE + 1)
        return b"" if entry is None else self._data[entry.place : entry.place + size]

    def _pages(self) -> int:
        """Return how many pages there are, without those that are a smaller version of another."""
        seen: set[int] = set()
        pages, start = 0, self._start
        while start and start not in seen and len(seen) < _MOST_PAGES:
            seen.add(start)
            try:
                entries = list(self._directory(start))
            except (struct.error, ImageError):
                break
            subfile = next((entry for entry in entries if entry.tag == _SUBFILE and entry.kind == 4), None)
            is_smaller = subfile is not None and struct.unpack_from(self._order + "I", self._data, subfile.place)[0] & 1
            pages += not is_smaller
            start = struct.unpack_from(self._order + "I", self._data, start + 2 + 12 * len(entries))[0]
        return max(pages, 1)

    def _directory(self, start: int) -> Iterator[_Entry]:
        count = struct.unpack_from(self._order + "H", self._data, start)[0]
        if not 0 < count <= _MOST_ENTRIES:
            raise damaged(f"a directory of {count} entries")
        struct.unpack_from("4x", self._data, start + 2 + 12 * count)
        for index in range(count):
            place = start + 2 + 12 * index
            tag, kind, length = struct.unpack_from(self._order + "HHI", self._data, place)
            inside = place + 8
            if length * _SIZES.get(kind, 1) > 4:
                inside = struct.unpack_from(self._order + "I", self._data, place + 8)[0]
                if tag in _KEPT and inside + length * _SIZES.get(kind, 1) > len(self._data):
                    raise cut_off(len(self._data))
            yield _Entry(tag, kind, length, inside, self._data[place : place + 12])


def _not_enabled(what: str) -> ImageError:
    return ImageError(f"{what} is not enabled", advice="Convert it to PNG.", code="image-format")
