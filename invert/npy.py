"""Read numpy's .npz and .npy without numpy's own reader, which believes what a file says of itself.

numpy allocates what a header asks for before it looks for the data, and parses the header as Python. Here an array is
its own bytes: their number is compared with the header first. Only plain numbers, truth values and texts are arrays.
"""

import io
import math
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArraysError", "read_array", "read_arrays"]

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '([<>|]?(?:[fiub]\d|[US]\d{1,9}))', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,12},? ?){0,8})\), \} *\n"
)
_MAX_HEADER = 1 << 12
_MAX_MEMBERS = 1000
_MAX_NAME = 200
_GROWTH = 16
_SMALL = 1 << 20
"""Members may unpack to `_GROWTH` times the file in all, or to this where that is more."""


class ArraysError(ValueError):
    """A file is no .npz or .npy, is damaged, or holds something else than plain arrays."""


def read_arrays(data: bytes | memoryview) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of an .npz by name.

    Args:
        data: The whole file.

    Raises:
        ArraysError: It is none, is damaged, or unpacks to much more than it has.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS or any(len(member.filename) > _MAX_NAME for member in members):
                raise ArraysError("it has too many members, or names that are too long")
            if sum(member.file_size for member in members) > max(_GROWTH * len(data), _SMALL):
                raise ArraysError("it unpacks to much more than it has")
            arrays = {member.filename.removesuffix(".npy"): read_array(archive.read(member)) for member in members}
    except (ArraysError, MemoryError):
        raise
    except Exception as error:
        # zipfile raises BadZipFile, NotImplementedError, RuntimeError, EOFError, struct.error, zlib.error and more, and
        # promises no list; whatever it is, the file is none.
        raise ArraysError("it is no archive of arrays, or damaged") from error
    if len(arrays) != len(members):
        raise ArraysError("it has an array twice")
    return arrays


def read_array(data: bytes) -> NDArray[Any]:
    """Return the array of an .npy.

    Args:
        data: The whole file.

    Raises:
        ArraysError: It is none, is damaged, or of another type than plain numbers, truth values and texts.
    """
    version, width = data[6:8], 2 if data[6:7] == b"\x01" else 4
    if data[:6] != _MAGIC or version not in (b"\x01\x00", b"\x02\x00"):
        raise ArraysError("it holds something else than arrays")
    begin = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    header = _HEADER.fullmatch(data[8 + width : min(begin, _MAX_HEADER)])
    if header is None:
        raise ArraysError("an array is not described as numpy does")
    try:
        dtype = np.dtype(header[1].decode())
    except TypeError as error:
        raise ArraysError("an array is of no plain type") from error
    shape = tuple(int(size) for size in re.findall(rb"\d+", header[3]))
    if len(data) - begin != math.prod(shape) * dtype.itemsize or math.prod(max(size, 1) for size in shape) >= 1 << 40:
        raise ArraysError("an array has other bytes than it says")
    flat = np.frombuffer(data, dtype, offset=begin) if len(data) > begin else np.empty(0, dtype)
    # copied, so that it can be written to as one that numpy read
    return flat.reshape(shape, order="F" if header[2] == b"True" else "C").copy()
