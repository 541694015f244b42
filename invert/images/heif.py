"""AVIF and HEIC files, taken apart: boxes (ISO/IEC 14496-12) that say the size, the colours and where the pixels are.

The decoder of AVIF makes room for what the AV1 data says, whatever the boxes say, so that is looked at here too.
"""

import struct
from collections.abc import Iterator

from invert.errors import ImageError
from invert.images.containers import Appearance, Container, count_blocks, cut_off, damaged
from invert.images.profiles import Colour, colour_of_codes

__all__ = ["is_avif", "is_heic", "look_at_heif", "take_avif_apart", "take_heic_apart"]

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis"})
_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})

_Box = tuple[bytes, int, int]


def is_avif(head: bytes) -> bool:
    """Return whether a file that begins so is AVIF."""
    return bool(_brands(head) & {b"avif", b"avis"})


def is_heic(head: bytes) -> bool:
    """Return whether a file that begins so is HEIC."""
    return not is_avif(head) and bool(_brands(head) & (_HEIC | {b"mif1", b"msf1", b"hevc", b"hevx"}))


def take_avif_apart(data: bytes) -> Container:
    """Check an AVIF file and take it apart, see `Container`."""
    size, colour, meta = _described(data)
    sizes = [size, *_coded_sizes(data, meta)]
    # The largest that anything in the file asks for is what the limit on pixels is held against.
    return Container(data, max(sizes, key=lambda one: one[0] * one[1]), 8, 1, b"", colour)


def take_heic_apart(data: bytes) -> Container:
    """Check a HEIC file and take it apart, see `Container`."""
    size, colour, _ = _described(data)
    return Container(data, size, 8, 1, b"", colour)


def look_at_heif(head: bytes) -> Appearance | None:
    """Return size and colour by the head of an AVIF or HEIC file."""
    meta = next((box for box in _boxes(head, 0, len(head), whole=False) if box[0] == b"meta"), None)
    if meta is None:
        return None
    sizes = _sizes(head, meta)
    return Appearance(*max(sizes), 3) if sizes else None


def _brands(head: bytes) -> set[bytes]:
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), 256, len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _described(data: bytes) -> tuple[tuple[int, int], Colour, _Box]:
    """Return the size that the boxes say, the colours, and the box that says it."""
    boxes = list(_boxes(data, 0, len(data)))
    if _brands(data) & _SEQUENCES and any(kind == b"moov" for kind, _, _ in boxes):
        raise ImageError("it is an animation, which is not read in this format", code="image-format")
    meta = next((box for box in boxes if box[0] == b"meta"), None)
    sizes = [] if meta is None else _sizes(data, meta)
    if meta is None or not sizes:
        raise damaged("it does not say how large its image is")
    return max(sizes, key=lambda one: one[0] * one[1]), _colour(data, meta), meta


def _boxes(data: bytes, start: int, end: int, *, whole: bool = True) -> Iterator[_Box]:
    """Yield (kind, start, end) of the content of each box."""
    for _ in count_blocks():
        if start + 8 > end:
            if start != end and whole:
                raise cut_off(len(data))
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        begin = start + 8
        if size == 1:
            size = struct.unpack_from(">Q", data, begin)[0]
            begin += 8
        stop = end if size == 0 else start + size
        if stop < begin:
            raise damaged(f"a box of {size} bytes at byte {start}")
        if stop > end and whole:
            raise cut_off(len(data))
        yield kind, begin, min(stop, end)
        start = stop


def _properties(data: bytes, meta: _Box) -> Iterator[_Box]:
    """Yield the properties of the items."""
    for kind, start, end in _boxes(data, meta[1] + 4, meta[2]):
        if kind == b"iprp":
            for inner, begin, stop in _boxes(data, start, end):
                if inner == b"ipco":
                    yield from _boxes(data, begin, stop)


def _sizes(data: bytes, meta: _Box) -> list[tuple[int, int]]:
    found = []
    for kind, start, end in _properties(data, meta):
        if kind == b"ispe" and end - start >= 12:
            width, height = struct.unpack_from(">II", data, start + 4)
            found.append((width, height))
    return found


def _colour(data: bytes, meta: _Box) -> Colour:
    """Return what the first profile says, or the codes where there is none."""
    codes = Colour()
    for kind, start, end in _properties(data, meta):
        if kind != b"colr":
            continue
        if data[start : start + 4] in (b"prof", b"rICC"):
            return Colour(data[start + 4 : end])
        if data[start : start + 4] == b"nclx" and end - start >= 11:
            codes = colour_of_codes(*struct.unpack_from(">HH", data, start + 4))
    return codes


def _coded_sizes(data: bytes, meta: _Box) -> Iterator[tuple[int, int]]:
    """Yield the size that each sequence header of AV1 asks the decoder to make room for."""
    inner = {kind: (start, end) for kind, start, end in _boxes(data, meta[1] + 4, meta[2])}
    if b"iloc" not in inner:
        raise damaged("it does not say where its pixels are")
    found = False
    for pieces in _places(data, inner[b"iloc"], inner.get(b"idat")):
        item = b"".join(data[start:end] for start, end in pieces)
        for header in _sequence_headers(item):
            found = True
            yield _Bits(header).frame_size()
    if not found:
        raise damaged("it holds no image of AV1")


def _places(data: bytes, iloc: tuple[int, int], idat: tuple[int, int] | None) -> Iterator[list[tuple[int, int]]]:
    """Yield where the pieces of each item lie: start and end in the file."""
    reader = _Numbers(data, iloc[0], iloc[1])
    version = reader.take(1)
    reader.take(3)
    sizes = reader.take(2)
    offset_size, length_size, base_size, index_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    total = 0
    for _ in range(reader.take(4 if version == 2 else 2)):
        reader.take(4 if version == 2 else 2)
        method = reader.take(2) & 15 if version in (1, 2) else 0
        reader.take(2)
        base = reader.take(base_size)
        pieces = []
        for _ in range(reader.take(2)):
            reader.take(index_size if version in (1, 2) else 0)
            start, length = base + reader.take(offset_size), reader.take(length_size)
            area = (0, len(data)) if method == 0 or idat is None else idat
            begin = area[0] + start
            stop = begin + length if length else area[1]
            if method > 1 or not begin <= stop <= area[1]:
                raise cut_off(len(data))
            total += stop - begin
            pieces.append((begin, stop))
        if total > 2 * len(data):
            raise ImageError("its pixels are named again and again, as only a trap does", code="image-bomb")
        yield pieces


class _Numbers:
    """Big-endian numbers one after the other."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._at, self._end = data, start, end

    def take(self, size: int) -> int:
        if self._at + size > self._end:
            raise damaged("a box is too short")
        value = int.from_bytes(self._data[self._at : self._at + size], "big")
        self._at += size
        return value


def _sequence_headers(item: bytes) -> Iterator[bytes]:
    """Yield the sequence headers among the units of AV1 data (AV1 specification, section 5.3)."""
    position = 0
    for _ in count_blocks():
        if position >= len(item):
            return
        head = item[position]
        position += 2 if head & 4 else 1
        size = len(item) - position
        if head & 2:
            size, position = _leb128(item, position)
        if head & 0x80 or size < 0 or position + size > len(item):
            return  # no AV1: EXIF, XMP or a grid
        if head >> 3 & 15 == 1:
            yield item[position : position + size]
        position += size


def _leb128(item: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = item[position + index] if position + index < len(item) else 0
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    return -1, position


class _Bits:
    """The bits of a sequence header."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:1024], "big"), 8 * min(len(data), 1024)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise damaged("the header of its AV1 data is too short")
        return self._value >> self._left & ((1 << count) - 1)

    def frame_size(self) -> tuple[int, int]:
        """Return the largest frame (AV1 specification, section 5.5.1)."""
        self.take(4)
        if self.take(1):
            self.take(5)
        else:
            self._timing()
        wide, high = self.take(4) + 1, self.take(4) + 1
        return self.take(wide) + 1, self.take(high) + 1

    def _timing(self) -> None:
        delay_bits = 0
        if self.take(1):
            self.take(64)
            if self.take(1):
                zeros = 0
                while not self.take(1):
                    zeros += 1
                self.take(min(zeros, 32))
            if self.take(1):
                delay_bits = self.take(5) + 1
                self.take(42)
        has_delay = self.take(1)
        for _ in range(self.take(5) + 1):
            self.take(12)
            if self.take(5) > 7:
                self.take(1)
            if delay_bits and self.take(1):
                self.take(2 * delay_bits + 1)
            if has_delay and self.take(1):
                self.take(4)
