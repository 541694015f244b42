"""Read a zip of images that anybody may have made: members only ever in memory, never unpacked to disk.

A reader of its own, for what a trap is made of must be seen before it is believed: the directory is walked once, and
every promise in it is compared with the file, with fixed limits, and with the other members. It shares no code with
the reader of network files (`generator.files.pickles.zip_reader`), which accepts nothing but what torch.save writes:
these zips come from any program, are deflated, may be larger than memory, and their names are in two encodings.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from generator.system import read_at
from invert.errors import ImageError, NoInputError, display_path
from invert.images.formats import looks_like_image, unread
from invert.images.opening import open_regular, unreadable

__all__ = ["MAX_MEMBERS", "MAX_MEMBER_BYTES", "MAX_RATIO", "MAX_TOTAL_BYTES", "ImageZip", "ZipMember", "is_zip"]

MAX_MEMBERS = 2_000_000
MAX_MEMBER_BYTES = 256 << 20
MAX_TOTAL_BYTES = 4 << 40
MAX_RATIO = 1000
"""No deflated image of more than 1 MiB is packed more tightly than this; deflate itself ends at 1032."""

_STORED, _DEFLATED = 0, 8
_LOCAL = b"PK\3\4"

_RATIO_FROM = 1 << 20
_END, _END64, _LOCATOR64, _ENTRY = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2"
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_UTF8 = 0x0800
_UNIX_SYSTEMS = (3, 19)
_COPY_AGAIN = "Copy or download it again."
_PACK_AGAIN = "Unpack it and pack it again, or name the unpacked folder."

# Deflate may have so much of tables in front of the first byte.
_DEFLATE_HEAD = 1024


class ZipMember(NamedTuple):
    """A file in a zip.

    Attributes:
        name: Its path in the zip.
        raw_name: The bytes of that path, as they stand in the zip.
        offset: Where it starts, in bytes from the start of the zip.
        end: Where the next member, or the directory, starts.
        packed: Size in the zip in bytes.
        size: Size of its content in bytes.
        crc: CRC-32 of its content.
        method: 0 stored, 8 deflated.
    """

    name: str
    raw_name: bytes
    offset: int
    end: int
    packed: int
    size: int
    crc: int
    method: int


def is_zip(head: bytes) -> bool:
    """Return whether a file that starts so is a zip, whole or cut off."""
    return head.startswith((_LOCAL, _END))


def _pread(descriptor: int, offset: int, size: int) -> bytes:
    """Read `size` bytes, less at the end of the file; a single call of the system may return less."""
    pieces = []
    while size > 0 and (piece := read_at(descriptor, size, offset)):
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class ImageZip:
    """An open zip: its images, in the order of the bytes of their names, and its dataset.json.

    Folders, names of which a part starts with a dot, what lies in `__MACOSX`, and files whose names are not those of
    images are left out without a word. Several threads may read at once.

    Attributes:
        path: The zip.
        images: The images that can be read.
        skipped: The errors of those in formats that are not read.
        others: All other members.

    Raises:
        NoInputError: It is no zip, cut off, damaged, or made as only a trap is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        with open_regular(path) as file:
            self._descriptor = os.dup(file.fileno())
        try:
            members = _read_directory(self._descriptor, path)
        except OSError as error:
            self.close()
            raise unreadable(path, error) from error
        except BaseException:
            self.close()
            raise
        self.images: list[ZipMember] = []
        self.skipped: list[ImageError] = []
        self.others = [member for member in members if not _is_image(member)]
        for member in sorted(filter(_is_image, members), key=lambda member: member.raw_name):
            unreadable_format = unread(member.name)
            if unreadable_format is None:
                self.images.append(member)
            else:
                unreadable_format.path = path / member.name
                self.skipped.append(unreadable_format)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, member: ZipMember, limit: int | None = None) -> bytes:
        """Return the bytes of one member, or at most its first `limit`, which are then not checked.

        Raises:
            ImageError: This member is damaged.
            NoInputError: The zip is a trap, or cannot be read any more.
        """
        where = self.path / member.name
        try:
            header = read_at(self._descriptor, 30 + len(member.raw_name), member.offset)
            if header[:4] != _LOCAL or header[30:] != member.raw_name:
                raise ImageError("the zip is damaged where it should start", path=where, advice=_COPY_AGAIN)
            start = member.offset + 30 + sum(struct.unpack_from("<HH", header, 26))
            if start + member.packed > member.end:
                reason = f"'{display_path(member.name)}' overlaps another member"
                raise NoInputError(reason, path=self.path, code="zip-overlap")
            wanted = member.packed if limit is None else min(member.packed, limit + _DEFLATE_HEAD)
            packed = _pread(self._descriptor, start, wanted)
        except OSError as error:
            raise unreadable(self.path, error) from error
        data = packed if member.method == _STORED else self._inflate(member, packed, limit)
        if limit is not None:
            return data[:limit]
        if len(data) < member.size:
            raise ImageError("the zip's copy is cut off", path=where, advice=_COPY_AGAIN, code="image-truncated")
        if zlib.crc32(data) != member.crc:
            raise ImageError("its checksum in the zip does not match", path=where, advice=_COPY_AGAIN)
        return data

    def _inflate(self, member: ZipMember, packed: bytes, limit: int | None) -> bytes:
        bound = member.size + 1 if limit is None else min(member.size + 1, limit)
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, bound)
        except zlib.error as error:
            reason = "its compression in the zip is damaged"
            raise ImageError(reason, path=self.path / member.name, advice=_COPY_AGAIN) from error
        if len(data) > member.size:
            reason = f"'{display_path(member.name)}' unpacks to more than the {member.size} bytes it declares"
            raise NoInputError(reason, path=self.path, code="zip-bomb")
        return data


def _is_image(member: ZipMember) -> bool:
    parts = member.name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and looks_like_image(parts[-1])


def _read_directory(descriptor: int, path: Path) -> list[ZipMember]:
    """Return all members of a zip, folders included.

    Args:
        descriptor: Descriptor of the open file.
        path: What messages call it.

    Raises:
        NoInputError: It is no zip, cut off, damaged, or made as only a trap is.
        OSError: It cannot be read.
    """
    try:
        return _Directory(descriptor, path).members()
    except (struct.error, IndexError) as error:
        reason = "its directory is damaged"
        raise NoInputError(reason, path=path, advice=_COPY_AGAIN, code="zip-damaged") from error


class _Directory:
    """The directory of one zip."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def _refusal(self, reason: str, code: str, advice: str = "") -> NoInputError:
        return NoInputError(reason, path=self._path, advice=advice, code=code)

    def _member_refusal(self, name: str, reason: str, code: str, advice: str = "") -> NoInputError:
        return self._refusal(f"'{display_path(name)}' {reason}", code, advice)

    def _damaged(self) -> NoInputError:
        return self._refusal("its directory is damaged", "zip-damaged", _COPY_AGAIN)

    def members(self) -> list[ZipMember]:
        count, start, size = self._place(os.fstat(self._descriptor).st_size)
        if count > MAX_MEMBERS:
            raise self._refusal(f"it has {count} members, more than {MAX_MEMBERS}", "zip-too-many")
        members: list[ZipMember] = []
        names: set[str] = set()
        for member in self._entries(_pread(self._descriptor, start, size), count):
            if member.name in names:
                raise self._member_refusal(member.name, "is in it twice", "zip-duplicate", _PACK_AGAIN)
            names.add(member.name)
            members.append(member)
        total = sum(member.size for member in members)
        if total > MAX_TOTAL_BYTES:
            raise self._refusal(f"its members declare {total} bytes, over {MAX_TOTAL_BYTES}", "zip-too-large")
        return self._apart(members, start)

    def _place(self, file_size: int) -> tuple[int, int, int]:
        """Return (number of members, offset, size) of the directory, as the end of the file tells."""
        tail_size = min(file_size, 22 + 0xFFFF + 76)
        tail = _pread(self._descriptor, file_size - tail_size, tail_size)
        end = tail.rfind(_END)
        while end >= 0 and (
            end + 22 > len(tail) or end + 22 + struct.unpack_from("<H", tail, end + 20)[0] != len(tail)
        ):
            end = tail.rfind(_END, 0, end)
        if end < 0:
            if is_zip(_pread(self._descriptor, 0, 4)):
                raise self._refusal("the zip is cut off or damaged: it has no end", "zip-truncated", _COPY_AGAIN)
            raise self._refusal("it is not a zip", "zip-unrecognised")
        disk, first_disk, here, count, size, start = struct.unpack_from("<HHHHII", tail, end + 4)
        stop = file_size - tail_size + end
        if end >= 20 and tail[end - 20 : end - 16] == _LOCATOR64:
            stop = struct.unpack_from("<Q", tail, end - 12)[0]
            record = _pread(self._descriptor, stop, 56)
            if record[:4] != _END64:
                raise self._damaged()
            disk, first_disk, here, count, size, start = struct.unpack_from("<IIQQQQ", record, 16)
        if disk or first_disk or here != count:
            raise self._refusal("it is one part of several", "zip-multipart", "Join the parts first.")
        if start + size != stop or stop > file_size:
            reason = "the zip is damaged: its directory is not where it should be"
            raise self._refusal(reason, "zip-damaged", _COPY_AGAIN)
        return count, start, size

    def _entries(self, directory: bytes, count: int) -> Iterator[ZipMember]:
        position = 0
        for _ in range(count):
            if directory[position : position + 4] != _ENTRY:
                raise self._damaged()
            member, position = self._entry(directory, position)
            yield member
        if position != len(directory):
            raise self._damaged()

    def _entry(self, directory: bytes, position: int) -> tuple[ZipMember, int]:
        """Check one entry of the directory by itself; return it and where the next one starts."""
        made_by, flags, method, crc, packed, size = struct.unpack_from("<H2xHH4xIII", directory, position + 4)
        name_size, extra_size, comment_size, disk, mode, offset = struct.unpack_from(
            "<HHHH2xII", directory, position + 28
        )
        name_end = position + 46 + name_size
        raw_name = directory[position + 46 : name_end]
        packed, size, offset = _wide(directory[name_end : name_end + extra_size], packed, size, offset)
        name = self._name(raw_name, flags)
        kind = stat.S_IFMT(mode >> 16) if made_by >> 8 in _UNIX_SYSTEMS else 0
        if flags & _ENCRYPTED:
            raise self._member_refusal(name, "is encrypted", "zip-encrypted", "Pack it again without a password.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a link" if kind == stat.S_IFLNK else "a pipe, socket or device"
            raise self._member_refusal(name, f"is {what}, not a file", "zip-link", _PACK_AGAIN)
        if method not in (_STORED, _DEFLATED):
            reason = f"is packed by method {method}, not stored or deflated"
            raise self._member_refusal(name, reason, "zip-method", _PACK_AGAIN)
        if size > MAX_MEMBER_BYTES:
            raise self._member_refusal(name, f"has {size} bytes, over the limit of {MAX_MEMBER_BYTES}", "zip-too-large")
        if size > _RATIO_FROM and size > MAX_RATIO * packed:
            reason = f"is to grow from {packed} to {size} bytes, as only a trap does"
            raise self._member_refusal(name, reason, "zip-bomb")
        if disk or (method == _STORED and packed != size):
            raise self._member_refusal(name, "has a damaged entry in the directory", "zip-damaged", _COPY_AGAIN)
        member = ZipMember(name, raw_name, offset, 0, packed, size, crc, method)
        return member, name_end + extra_size + comment_size

    def _name(self, raw_name: bytes, flags: int) -> str:
        try:
            name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError as error:
            reason = f"the name '{display_path(raw_name)}' is not UTF-8"
            raise self._refusal(reason, "zip-name", _PACK_AGAIN) from error
        parts = name.split("/")
        has_drive = parts[0][1:2] == ":" and parts[0][0].isalpha()
        if "\0" in name or "\\" in name or ".." in parts or not parts[0] or has_drive:
            reason = f"the name '{display_path(name)}' leads out of the zip, or is not portable"
            raise self._refusal(reason, "zip-name", _PACK_AGAIN)
        return name

    def _apart(self, members: list[ZipMember], directory: int) -> list[ZipMember]:
        """Check that no two members share a byte, and note where each one has to end."""
        placed, end = [], directory
        for member in sorted(members, key=lambda member: member.offset, reverse=True):
            if member.offset + 30 + len(member.raw_name) + member.packed > end:
                raise self._member_refusal(member.name, "overlaps another member", "zip-overlap")
            placed.append(member._replace(end=end))
            end = member.offset
        return placed


def _wide(extra: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    """Return the three numbers, taken from the extra field with 64 bits where 32 are too few."""
    values = {"size": size, "packed": packed, "offset": offset}
    wanted = [key for key, value in values.items() if value == 0xFFFFFFFF]
    position = 0
    while wanted and position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            values.update(zip(wanted, struct.unpack_from(f"<{len(wanted)}Q", extra, position + 4), strict=True))
            break
        position += 4 + length
    return values["packed"], values["size"], values["offset"]
