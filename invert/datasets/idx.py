"""Read IDX files, the format of MNIST and its family: a short header, then raw bytes, often gzipped.

The header says how many bytes follow. Not one more than that and one is ever unpacked.
"""

import contextlib
import gzip
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from invert.errors import NoInputError
from invert.images.opening import open_regular, unreadable

__all__ = ["is_images_name", "labels_beside", "read_images", "read_labels"]

_MAX_BYTES = 8 << 30
"""Largest content that is read: a hundred times the largest data set in this format."""

_MAX_RATIO, _SMALL = 50, 16 << 20
"""A gzipped file may unpack to so many times its own size, or to 16 MiB; those of MNIST's family to ten times."""

_IMAGES, _LABELS = 0x803, 0x801
_NAME = re.compile(r"(?P<head>.*)images(?P<join>[-.])idx3(?P<tail>-ubyte)(?P<gz>\.gz)?", re.DOTALL)
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_COPY_AGAIN = "Copy or download it again."


def is_images_name(name: str) -> bool:
    """Return whether a file is called as IDX files of images are, such as `train-images-idx3-ubyte.gz`."""
    return _NAME.fullmatch(name) is not None


def labels_beside(path: Path) -> Path | None:
    """Return the file of labels that belongs to one of images by its name, or None where there is none."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    stem = f"{match['head']}labels{match['join']}idx1{match['tail']}"
    packed, plain = path.with_name(f"{stem}.gz"), path.with_name(stem)
    candidates = (packed, plain) if match["gz"] else (plain, packed)
    return next((candidate for candidate in candidates if os.path.lexists(candidate)), None)


def read_images(path: Path) -> NDArray[np.uint8]:
    """Read the images of an IDX file.

    Returns:
        [N, H, W], 0 to 255.

    Raises:
        NoInputError: It cannot be read, holds something else, is cut off, too long or damaged.
    """
    with _opened(path) as (stream, most):
        _check_magic(stream, path, _IMAGES)
        count, height, width = struct.unpack(">III", _exactly(stream, 12, path))
        if not (count and height and width):
            raise NoInputError(f"it holds {count} images of {width} x {height} pixels", path=path, code="idx-empty")
        data = _content(stream, count * height * width, most, path)
    return data.reshape(count, height, width)


def read_labels(path: Path, count: int) -> NDArray[np.int64]:
    """Read the labels of an IDX file.

    Args:
        path: The file.
        count: How many images they belong to.

    Returns:
        [count].

    Raises:
        NoInputError: As for `read_images`, or the number of labels is another.
    """
    with _opened(path) as (stream, most):
        _check_magic(stream, path, _LABELS)
        (found,) = struct.unpack(">I", _exactly(stream, 4, path))
        if found != count:
            reason = f"it holds {found} labels, and there are {count} images"
            raise NoInputError(reason, path=path, advice="The two files belong to different sets.", code="idx-count")
        return _content(stream, count, most, path).astype(np.int64)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, gzipped or not, and turn everything that reading it raises into one error.

    With it comes the most bytes that it may unpack to.
    """
    try:
        with open_regular(path) as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            size = os.fstat(file.fileno()).st_size
            if packed:
                with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                    yield unpacked, max(_MAX_RATIO * size, _SMALL)  # type: ignore[misc]  # a BinaryIO in all but name
            else:
                yield file, size
    except EOFError as error:
        raise _cut(path) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        reason = "its gzip compression is damaged"
        raise NoInputError(reason, path=path, advice=_COPY_AGAIN, code="idx-damaged") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _cut(path: Path) -> NoInputError:
    return NoInputError("the file is cut off", path=path, advice=_COPY_AGAIN, code="idx-truncated")


def _exactly(stream: BinaryIO, count: int, path: Path) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise _cut(path)
    return data


def _check_magic(stream: BinaryIO, path: Path, expected: int) -> None:
    (magic,) = struct.unpack(">I", _exactly(stream, 4, path))
    if magic == expected:
        return
    kinds = {_IMAGES: "images", _LABELS: "labels"}
    if magic not in kinds:
        reason = f"it is not an IDX file of {kinds[expected]}: it starts with {magic:#010x}, not {expected:#010x}"
        raise NoInputError(reason, path=path, code="idx-magic")
    advice = "Name the file of images, *-images-idx3-ubyte." if expected == _IMAGES else ""
    reason = f"it holds {kinds[magic]}, not {kinds[expected]}"
    raise NoInputError(reason, path=path, advice=advice, code="idx-magic")


def _content(stream: BinaryIO, size: int, most: int, path: Path) -> NDArray[np.uint8]:
    """Read exactly `size` bytes, after which the file must end.

    Args:
        stream: The file, after its header.
        size: What the header promises.
        most: What the file can hold.
        path: What messages call it.
    """
    if size > _MAX_BYTES:
        reason = f"its header promises {size} bytes, over the limit of {_MAX_BYTES}"
        raise NoInputError(reason, path=path, code="idx-too-large")
    if size > most:
        # A plain file that is too short is cut off; a gzipped one would have to be a trap.
        reason = f"the file is cut off: its header promises {size} bytes, which a file of its size does not hold"
        raise NoInputError(reason, path=path, advice=_COPY_AGAIN, code="idx-truncated")
    try:
        data = np.empty(size, np.uint8)
    except MemoryError as error:
        raise NoInputError(f"not enough memory for its {size} bytes", path=path, code="idx-memory") from error
    filled = 0
    while filled < size:
        piece = stream.read(min(_PIECE, size - filled))
        if not piece:
            reason = f"the file is cut off: {filled} of the {size} bytes that its header promises"
            raise NoInputError(reason, path=path, advice=_COPY_AGAIN, code="idx-truncated")
        data[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    # For a gzipped file this also reads and compares the checksum at its end.
    if stream.read(1):
        reason = f"it goes on after the {size} bytes that its header promises"
        raise NoInputError(reason, path=path, advice=_COPY_AGAIN, code="idx-too-long")
    return data
