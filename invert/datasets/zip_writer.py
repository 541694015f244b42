"""Write a zip of stored members in one pass, hashing as it goes; nothing of the time or the machine is in it.

Not `zipfile`: it goes back to fix what it has written, and an interrupt in the wrong moment makes its closing fail.
"""

import hashlib
import struct
import zlib
from typing import BinaryIO

__all__ = ["ZipWriter"]

_DATE = 1 << 5 | 1  # 1980-01-01, the first day that a zip knows
_UTF8 = 0x0800
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
"""What a field holds that is too small for its value, which then stands in a wider one elsewhere."""


class ZipWriter:
    """A zip in the making.

    Args:
        file: The file that it goes to, at its start.

    Attributes:
        size: Number of bytes written so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._directory = bytearray()
        self._count = 0
        self.size = 0

    @property
    def sha256(self) -> str:
        """The sha256 of all that was written so far."""
        return self._hash.hexdigest()

    def add(self, name: str, data: bytes) -> None:
        """Write one member; names have to be distinct, data below 4 GiB.

        Raises:
            OSError: The file cannot be written.
        """
        raw_name = name.encode()
        offset = self.size
        is_far = offset >= _FULL32
        version = 45 if is_far else 20
        # Flags, method, time, date, checksum, both sizes, length of the name.
        numbers = (_UTF8, 0, 0, _DATE, zlib.crc32(data), len(data), len(data), len(raw_name))
        common = struct.pack("<HHHHIIIH", *numbers)
        self._write(b"PK\3\4" + struct.pack("<H", version) + common + struct.pack("<H", 0) + raw_name)
        self._write(data)
        extra = struct.pack("<HHQ", 1, 8, offset) if is_far else b""
        self._directory += b"PK\1\2" + struct.pack("<HH", _UNIX | version, version) + common
        self._directory += struct.pack("<HHHHII", len(extra), 0, 0, 0, _MODE, _narrow(offset)) + raw_name + extra
        self._count += 1

    def finish(self) -> None:
        """Write the directory, after which nothing can be added.

        Raises:
            OSError: The file cannot be written.
        """
        start, length, count = self.size, len(self._directory), self._count
        self._write(self._directory)
        if count >= _FULL16 or length >= _FULL32 or start >= _FULL32:
            end = self.size
            self._write(b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, _UNIX | 45, 45, 0, 0, count, count, length, start))
            self._write(b"PK\6\7" + struct.pack("<IQI", 0, end, 1))
        counts = (min(count, _FULL16), min(count, _FULL16), _narrow(length), _narrow(start))
        self._write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, *counts, 0))

    def _write(self, data: bytes | bytearray) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)


def _narrow(value: int) -> int:
    return 0xFFFFFFFF if value >= _FULL32 else value
