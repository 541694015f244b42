"""Read the members of a zip file that torch.save wrote: stored, not compressed, one after the other.

Zip files can be read in more than one way (local against central headers, wrong checksums, overlapping members). This
reader accepts only files where both ways agree, and is the only one that looks at the file.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from generator.errors import NetworkFileError

__all__ = ["Directory", "Member", "read_directory", "read_member", "read_members"]

END: Final = struct.Struct("<4s4H2IH")
END64: Final = struct.Struct("<4sQ2H2I4Q")
LOCATOR: Final = struct.Struct("<4sIQI")
CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
LOCAL: Final = struct.Struct("<4s5H3I2H")
_MAX_MEMBERS: Final = 20_000
_MAX_NAME: Final = 256
MAX_DESCRIPTOR: Final = 24
DESCRIPTOR_FLAG: Final = 0x0008
UTF8_FLAG: Final = 0x0800
_NAME: Final = re.compile(r"[A-Za-z0-9_.+=@ -]+(?:/[A-Za-z0-9_.+=@ -]+)*")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of one file of the archive.

    Attributes:
        name: Name of the file.
        at: Where the directory says so.
        header: Where the file's own header begins.
        size: Bytes of the file.
        packed: Bytes that it takes in the archive.
        method: Number of the compression, 0 for none.
        flags: Flags of the entry.
        checksum: CRC-32 of the file.
    """

    name: str
    at: int
    header: int
    size: int
    packed: int
    method: int
    flags: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive, whose place has been checked.

    Attributes:
        name: Name of the file.
        begin: Where its bytes begin.
        end: Where they end.
        checksum: CRC-32 of the file.
    """

    name: str
    begin: int
    end: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The archive's list of files.

    Attributes:
        entries: The files.
        begin: Where the list begins.
        end: Where it ends.
    """

    entries: tuple[_Entry, ...]
    begin: int
    end: int


def read_directory(data: memoryview) -> Directory:
    """List what the archive `data` says it holds.

    Raises:
        NetworkFileError: The directory is damaged.
    """
    count, begin, end = _end_records(data)
    if count > _MAX_MEMBERS:
        raise NetworkFileError(f"refused: a zip file of {count} members")
    entries = []
    position = begin
    for _ in range(count):
        entry, position = _entry(data, position, end)
        entries.append(entry)
    if position != end:
        raise NetworkFileError("damaged: the zip file's directory is longer than its members", position)
    return Directory(tuple(entries), begin, end)


def read_members(data: memoryview, directory: Directory) -> dict[str, Member]:
    """Find the files of the archive by name, each stored as it is and described in one way only.

    Raises:
        NetworkFileError: The archive is damaged or not one that torch.save writes.
    """
    members: dict[str, Member] = {}
    position = 0
    for entry in sorted(directory.entries, key=lambda entry: entry.header):
        name = entry.name
        if not _NAME.fullmatch(name) or len(name) > _MAX_NAME or ".." in name.split("/"):
            raise NetworkFileError("refused: the zip file has a member with a strange name", entry.at)
        if entry.method != 0 or entry.flags & ~(DESCRIPTOR_FLAG | UTF8_FLAG) or entry.size != entry.packed:
            raise NetworkFileError(f"refused: '{name}' in the zip file is compressed, encrypted or split", entry.at)
        if name in members:
            raise NetworkFileError(f"refused: the zip file holds '{name}' twice", entry.at)
        slack = MAX_DESCRIPTOR if members else 0  # the first member begins the file
        if not position <= entry.header <= position + slack:
            raise NetworkFileError(f"refused: '{name}' in the zip file overlaps another, or hides bytes", entry.at)
        begin = _check_local_header(data, entry)
        position = begin + entry.size
        if position > directory.begin:
            raise NetworkFileError(f"damaged: '{name}' in the zip file reaches past its end", entry.at)
        members[name] = Member(name, begin, position, entry.checksum)
    if directory.begin > position + MAX_DESCRIPTOR:
        raise NetworkFileError("refused: bytes are hidden before the zip file's directory", position)
    return members


def read_member(data: memoryview, member: Member) -> memoryview:
    """Return a member's bytes, which are checked against their checksum.

    Raises:
        NetworkFileError: The checksum is wrong.
    """
    content = data[member.begin : member.end]
    if zlib.crc32(content) != member.checksum:
        raise NetworkFileError(f"damaged: '{member.name}' in the zip file does not match its checksum", member.begin)
    return content


def _end_records(data: memoryview) -> tuple[int, int, int]:
    """Return the number of members and where the directory begins and ends."""
    at = len(data) - END.size
    if at < 0 or bytes(data[at : at + 4]) != b"PK\5\6":
        raise NetworkFileError("damaged or cut off: the zip file does not end with its directory", max(at, 0))
    _, disk, first, here, count, size, start, comment = END.unpack_from(data, at)
    end = at
    locator = at - LOCATOR.size
    if locator >= 0 and bytes(data[locator : locator + 4]) == b"PK\6\7":
        _, _, end, _ = LOCATOR.unpack_from(data, locator)
        if end + END64.size != locator or bytes(data[end : end + 4]) != b"PK\6\6":
            raise NetworkFileError("damaged: the zip file's end records do not fit together", locator)
        _, length, _, _, disk, first, here64, count64, size64, start64 = END64.unpack_from(data, end)
        narrow, wide = (here, count, size, start), (here64, count64, size64, start64)
        for small, large, limit in zip(narrow, wide, (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), strict=True):
            if small not in (large, limit) or length != END64.size - 12:
                raise NetworkFileError("refused: the zip file describes its directory in two ways", end)
        here, count, size, start = wide
    if disk or first or comment or here != count or start + size != end:
        raise NetworkFileError("damaged: the zip file's directory is not where it should be", at)
    return count, start, end


def _entry(data: memoryview, position: int, limit: int) -> tuple[_Entry, int]:
    """Read one entry of the directory; return it and where the next one begins."""
    if position + CENTRAL.size > limit or bytes(data[position : position + 4]) != b"PK\1\2":
        raise NetworkFileError("damaged: the zip file's directory has a broken entry", position)
    fields = CENTRAL.unpack_from(data, position)
    _, _, _, flags, method, _, _, checksum, packed, size, name_length, extra_length, comment, disk, _, _, header = (
        fields
    )
    extra_at = position + CENTRAL.size + name_length
    extra_end = extra_at + extra_length
    if disk or extra_end + comment > limit:
        raise NetworkFileError("damaged: the zip file's directory has a broken entry", position)
    name = str(data[position + CENTRAL.size : extra_at], "latin-1")
    size, packed, header = _wide_sizes(bytes(data[extra_at:extra_end]), size, packed, header)
    return _Entry(name, position, header, size, packed, method, flags, checksum), extra_end + comment


def _wide_sizes(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Take sizes that do not fit 32 bits from the zip64 field."""
    values = [size, packed, header]
    if 0xFFFFFFFF not in values:
        return size, packed, header
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        wide = extra[position + 4 : position + 4 + length]
        if kind == 1:
            for i, value in enumerate(values):
                if value == 0xFFFFFFFF and len(wide) >= 8:
                    values[i], wide = int.from_bytes(wide[:8], "little"), wide[8:]
            break
        position += 4 + length
    return values[0], values[1], values[2]


def _check_local_header(data: memoryview, entry: _Entry) -> int:
    """Check the header in front of a file against the directory; return where the file begins."""
    at, name = entry.header, entry.name
    if at + LOCAL.size > len(data) or bytes(data[at : at + 4]) != b"PK\3\4":
        raise NetworkFileError(f"damaged: '{name}' in the zip file is not where the directory says", at)
    _, _, flags, method, _, _, checksum, packed, size, name_length, extra = LOCAL.unpack_from(data, at)
    begin: int = at + LOCAL.size + name_length + extra
    local_name = str(data[at + LOCAL.size : at + LOCAL.size + name_length], "latin-1")
    described = (checksum, packed, size)
    later = bool(flags & DESCRIPTOR_FLAG) and described == (0, 0, 0)  # sizes follow the data
    wide = (entry.checksum, 0xFFFFFFFF, 0xFFFFFFFF)
    same = later or described in ((entry.checksum, entry.size, entry.size), wide)
    if (local_name, flags, method) != (name, entry.flags, entry.method) or not same:
        raise NetworkFileError(f"refused: '{name}' in the zip file is described in two ways", at)
    return begin
