"""Open files that a user names or a folder holds, whatever lies in their place.

Every file that somebody else may have made is opened here: a pipe would keep the program waiting for its writer, a
device may act when it is opened, a file without end would fill the memory, and a link may lead out of a folder.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from generator.system import BINARY, CLOSE_ON_EXEC, NO_LINKS, NO_TERMINAL, NO_WAIT
from invert.errors import FileFault, UnreadableError

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
    return _open(path, limit, follow)[0]


def read_regular(path: StrPath, limit: int, *, follow: bool = True) -> bytes:
    """Read a regular file once and whole.

    Args:
        path: The file.
        limit: Largest size in bytes.
        follow: Whether a link may stand in the place of the file.

    Raises:
        UnreadableError: As for `open_regular`, or the file changed while it was read.
    """
    file, before = _open(path, limit, follow)
    with file:
        try:
            data = file.read(limit + 1)
            after = os.fstat(file.fileno())
        except OSError as error:
            raise unreadable(path, error) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise _error(path, "changed", "the file changed while it was read", "Run again.")
    return data


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
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if os.path.islink(path):
            return _error(path, "link-dangling", "the link leads to nothing")
        return _error(path, "missing", "there is no such file", "Check the name.")
    if error.errno == errno.ELOOP:
        return _error(path, "link-loop", "the link leads to itself")
    if isinstance(error, PermissionError):
        return _error(path, "unreadable", "no permission to read it")
    return _error(path, "unreadable", f"it cannot be read ({error.strerror or error})")


def _open(path: StrPath, limit: int | None, follow: bool) -> tuple[BufferedReader, os.stat_result]:
    """Open a file, and return it with its status at that moment."""
    # NO_WAIT and the second look: a pipe may take the file's place between the first look and the opening.
    flags = os.O_RDONLY | BINARY | CLOSE_ON_EXEC | NO_TERMINAL | NO_WAIT | (0 if follow else NO_LINKS)
    try:
        # Opening a device may already act on it, so it is looked at before.
        _require_regular(path, os.stat(path, follow_symlinks=follow))
        descriptor = os.open(path, flags)
    except OSError as error:
        if not follow and error.errno == errno.ELOOP:
            raise _error(path, "link-not-followed", "it is a link") from error
        raise unreadable(path, error) from error
    file = os.fdopen(descriptor, "rb")
    try:
        status = os.fstat(descriptor)
        _require_regular(path, status)
        if limit is not None and status.st_size > limit:
            reason = f"the file has {status.st_size / 1e6:.4g} MB, over the {limit / 1e6:.4g} MB limit"
            raise _error(path, "too-large", reason)
    except BaseException:
        file.close()
        raise
    return file, status


def _require_regular(path: StrPath, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISLNK(status.st_mode):
        raise _error(path, "link-not-followed", "it is a link")
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
    raise _error(path, "not-regular", f"it is {kind}, not a file")


def _error(path: StrPath, fault: FileFault, reason: str, advice: str = "") -> UnreadableError:
    return UnreadableError(reason, path=Path(path), advice=advice, fault=fault)
