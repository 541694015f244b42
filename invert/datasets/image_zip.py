"""Read a zip of images that anybody may have made: members only ever in memory, never unpacked to disk."""

import os
import struct
import zlib
from pathlib import Path

from invert.datasets.zip_directory import LOCAL, STORED, Member, pread, read_directory
from invert.errors import ImageError, NoInputError, display_path
from invert.images.opening import open_regular, unreadable
from invert.images.scan import EXTENSIONS

__all__ = ["DATASET_JSON", "ImageZip"]

DATASET_JSON = "dataset.json"

# Deflate may have so much of tables in front of the first byte.
_DEFLATE_HEAD = 1024
_COPY_AGAIN = "Copy or download it again."


class ImageZip:
    """An open zip: its images, in the order of the bytes of their names, and its dataset.json.

    Left out without a word: folders, names of which a part starts with a dot, what lies in `__MACOSX`, and
    files without one of `invert.images.scan.EXTENSIONS`. Several threads may read at once.

    Raises:
        NoInputError: It is no zip, cut off, damaged, or made as only a trap is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as file:
            self._descriptor = os.dup(file.fileno())
        try:
            members = read_directory(self._descriptor, path)
        except OSError as error:
            self.close()
            raise unreadable(path, error) from error
        except BaseException:
            self.close()
            raise
        self.dataset_json = next((member for member in members if member.name == DATASET_JSON), None)
        self.images = sorted(filter(_is_image, members), key=lambda member: member.raw_name)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self, member: Member, limit: int | None = None) -> bytes:
        """Return the bytes of one member, or at most its first `limit`, which are then not checked.

        Raises:
            ImageError: This member is damaged.
            NoInputError: The zip is a trap, or cannot be read any more.
        """
        where = self.path / member.name
        try:
            header = os.pread(self._descriptor, 30 + len(member.raw_name), member.offset)
            if header[:4] != LOCAL or header[30:] != member.raw_name:
                raise ImageError("the zip is damaged where it should start", path=where, advice=_COPY_AGAIN)
            start = member.offset + 30 + sum(struct.unpack_from("<HH", header, 26))
            if start + member.packed > member.end:
                reason = f"'{display_path(member.name)}' overlaps another member"
                raise NoInputError(reason, path=self.path, code="zip-overlap")
            wanted = member.packed if limit is None else min(member.packed, limit + _DEFLATE_HEAD)
            packed = pread(self._descriptor, start, wanted)
        except OSError as error:
            raise unreadable(self.path, error) from error
        data = packed if member.method == STORED else self._inflate(member, packed, limit)
        if limit is not None:
            return data[:limit]
        if len(data) < member.size:
            raise ImageError("the zip's copy is cut off", path=where, advice=_COPY_AGAIN, code="image-truncated")
        if zlib.crc32(data) != member.crc:
            raise ImageError("its checksum in the zip does not match", path=where, advice=_COPY_AGAIN)
        return data

    def _inflate(self, member: Member, packed: bytes, limit: int | None) -> bytes:
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


def _is_image(member: Member) -> bool:
    parts = member.name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in EXTENSIONS
