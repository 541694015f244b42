"""Open files that a user names or a folder holds, whatever lies in their place.

Every file that somebody else may have made is opened here: a pipe would keep the program waiting for its writer, a
device may act when it is opened, a file without end would fill the memory, and a link may lead out of a folder.
"""

import errno
import os
import stat
from io import BufferedReader
from typing import Literal

from generator.system import BINARY, CLOSE_ON_EXEC, NO_LINKS, NO_TERMINAL, NO_WAIT

__all__ = ["Fault", "OpeningError", "open_regular", "opening_error", "read_regular"]

StrPath = str | os.PathLike[str]

Fault = Literal[
    "missing",
    "link-dangling",
    "link-loop",
    "link-not-followed",
    "not-regular",
    "too-large",
    "changed",
    "unreadable",
]
"""What can be wrong with a file before its content is looked at, in one word."""


class OpeningError(Exception):
    """A file cannot be opened or read, or something else lies in its place.

    Args:
        fault: What is wrong, in one word.
        reason: Why, without the path and without a final period.
        advice: What to do, a whole sentence.
    """

    def __init__(self, fault: Fault, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.fault: Fault = fault
        self.reason = reason
        self.advice = advice


def open_regular(path: StrPath, limit: int | None = None, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: The file.
        limit: Largest size in bytes; None for any size.
        follow: Whether a link may stand in the place of the file.

    Returns:
        The file, buffered, in binary mode.

    Raises:
        OpeningError: It is missing, not a regular file, larger than the limit, or cannot be opened.
    """
    return _open(path, limit, follow)[0]


def read_regular(path: StrPath, limit: int, *, follow: bool = True) -> bytes:
    """Read a regular file once and whole.

    Args:
        path: The file.
        limit: Largest size in bytes.
        follow: Whether a link may stand in the place of the file.

    Raises:
        OpeningError: As for `open_regular`, or the file changed while it was read.
    """
    file, before = _open(path, limit, follow)
    with file:
        try:
            # Not up to the limit: the reader allocates what it is asked for before it reads.
            data = file.read(before.st_size + 1)
            after = os.fstat(file.fileno())
        except OSError as error:
            raise opening_error(path, error) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise OpeningError("changed", "the file changed while it was read", "Run again.")
    return data


def opening_error(path: StrPath, error: OSError) -> OpeningError:
    """Return what an error of the system says about a file that cannot be read, in the words of this program."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if os.path.islink(path):
            return OpeningError("link-dangling", "the link leads to nothing")
        return OpeningError("missing", "there is no such file", "Check the name.")
    if error.errno == errno.ELOOP:
        return OpeningError("link-loop", "the link leads to itself")
    if isinstance(error, PermissionError):
        return OpeningError("unreadable", "no permission to read it")
    return OpeningError("unreadable", f"it cannot be read ({error.strerror or error})")


def _open(path: StrPath, limit: int | None, follow: bool) -> tuple[BufferedReader, os.stat_result]:
    """Open a file, and return it with its status at that moment."""
    # NO_WAIT and the second look: a pipe may take the file's place between the first look and the opening.
    flags = os.O_RDONLY | BINARY | CLOSE_ON_EXEC | NO_TERMINAL | NO_WAIT | (0 if follow else NO_LINKS)
    try:
        # Opening a device may already act on it, so it is looked at before.
        _require_regular(os.stat(path, follow_symlinks=follow))
        file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    except OSError as error:
        if not follow and error.errno == errno.ELOOP:
            raise OpeningError("link-not-followed", "it is a link") from error
        raise opening_error(path, error) from error
    except ValueError as error:
        raise OpeningError("unreadable", "its name holds a zero byte") from error
    try:
        status = os.fstat(file.fileno())
        _require_regular(status)
        if limit is not None and status.st_size > limit:
            reason = f"the file has {status.st_size / 1e6:.4g} MB, over the {limit / 1e6:.4g} MB limit"
            raise OpeningError("too-large", reason)
    except BaseException:
        file.close()
        raise
    return file, status


def _require_regular(status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISLNK(status.st_mode):
        raise OpeningError("link-not-followed", "it is a link")
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
    raise OpeningError("not-regular", f"it is {kind}, not a file")
