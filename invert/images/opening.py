"""The one opener, `generator.opening`, with the errors of this program."""

import contextlib
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from generator import opening
from generator.opening import OpeningError, opening_error
from invert.errors import UnreadableError

__all__ = ["open_regular", "read_head", "read_regular", "unreadable"]

StrPath = str | os.PathLike[str]


def open_regular(path: StrPath, limit: int | None = None, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: The file.
        limit: Largest size in bytes; None for any size.
        follow: Whether a link may stand in the place of the file.

    Returns:
        The file, buffered, in binary mode.

    Raises:
        UnreadableError: It is missing, not a regular file, larger than the limit, or cannot be opened.
    """
    with _named(path):
        return opening.open_regular(path, limit, follow=follow)


def read_regular(path: StrPath, limit: int, *, follow: bool = True) -> bytes:
    """Read a regular file once and whole.

    Args:
        path: The file.
        limit: Largest size in bytes.
        follow: Whether a link may stand in the place of the file.

    Raises:
        UnreadableError: As for `open_regular`, or the file changed while it was read.
    """
    with _named(path):
        return opening.read_regular(path, limit, follow=follow)


def read_head(path: StrPath, size: int) -> bytes:
    """Read the first `size` bytes of a regular file, fewer where it has fewer.

    Raises:
        UnreadableError: As for `open_regular`.
    """
    with open_regular(path) as file:
        try:
            return file.read(size)
        except OSError as error:
            raise unreadable(path, error) from error


def unreadable(path: StrPath, error: OSError) -> UnreadableError:
    """Return what an error of the system says about a file that cannot be read, in the words of this program."""
    return _of(path, opening_error(path, error))


@contextlib.contextmanager
def _named(path: StrPath) -> Iterator[None]:
    try:
        yield
    except OpeningError as error:
        raise _of(path, error) from error


def _of(path: StrPath, error: OpeningError) -> UnreadableError:
    return UnreadableError(error.reason, path=Path(path), advice=error.advice, fault=error.fault)
