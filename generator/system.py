"""What differs between operating systems: flags for opening, locks, reading at a place, syncing a folder, owners.

The only module that asks which system this is. Names that a system lacks are looked up here and nowhere else, so that
nothing else fails to import on Windows or macOS.
"""

import contextlib
import errno
import os
import random
import stat
import threading
from pathlib import Path
from typing import Literal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # all others
    msvcrt = None  # type: ignore[assignment]

__all__ = [
    "BINARY",
    "CLOSE_ON_EXEC",
    "NO_LINKS",
    "NO_TERMINAL",
    "NO_WAIT",
    "exposure",
    "lock_file",
    "read_at",
    "sync_folder",
    "write_at",
]

BINARY = getattr(os, "O_BINARY", 0)
"""Flag of `os.open`: line ends stay as they are; Windows turns them round without it."""

CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
"""Flag of `os.open`: programs that this one starts do not get the file; Python's own default on Windows."""

NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
"""Flag of `os.open`: fail where a symbolic link stands in the place of the file."""

NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""Flag of `os.open`: do not wait for the writer of a pipe."""

NO_TERMINAL = getattr(os, "O_NOCTTY", 0)
"""Flag of `os.open`: do not take a terminal as that of this process."""

_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_LOCKED_FROM, _LOCKED_BYTES = 1 << 30, 1 << 20  # of a lock file on Windows, far behind what is written there
_TRIES = 20
_moving = threading.Lock()


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read up to `size` bytes from a place of a file, whose position another thread may be using."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def write_at(descriptor: int, data: bytes, offset: int) -> int:
    """Write to a place of a file, and return how many bytes were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make new entries and renames of a folder survive a power cut, where the system lets a program ask for it.

    Raises:
        OSError: The folder cannot be opened or synced.
    """
    if not _DIRECTORY:  # Windows opens no folders, and keeps their entries in its own journal
        return
    descriptor = os.open(folder, os.O_RDONLY | _DIRECTORY | CLOSE_ON_EXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder and say so with EINVAL; that is not a failed write.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def lock_file(descriptor: int, *, shared: bool = False) -> None:
    """Lock an open file without waiting; closing it, or the end of the process, lets it go.

    On Windows, which has exclusive locks of ranges only, who shares locks one byte of a range, and who wants it alone
    the whole range. Where a system has neither kind of lock, nothing is locked.

    Args:
        descriptor: The file, open for reading and writing.
        shared: Whether others may hold it too, if they share.

    Raises:
        BlockingIOError: Somebody else holds it.
        OSError: The file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    elif msvcrt is not None:
        _lock_range(descriptor, shared)


def _lock_range(descriptor: int, shared: bool) -> None:
    # A byte may be another sharer's: a second try takes another one, most likely.
    for _ in range(_TRIES if shared else 1):
        place = _LOCKED_FROM + (random.randrange(_LOCKED_BYTES) if shared else 0)
        try:
            os.lseek(descriptor, place, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1 if shared else _LOCKED_BYTES)  # type: ignore[attr-defined]
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK, errno.EAGAIN):
                raise
        finally:
            with contextlib.suppress(OSError):
                os.lseek(descriptor, 0, os.SEEK_SET)
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def exposure(path: Path) -> Literal["owner", "others"] | None:
    """Tell whether somebody beside this user and the system's administrator can write to a file or folder.

    It is None too where owners and permissions say nothing, as on Windows, whose user folders are private.

    Returns:
        "owner" where it belongs to somebody else, "others" where its permissions let others write.

    Raises:
        OSError: It cannot be looked at.
    """
    status = path.stat()
    if not hasattr(os, "geteuid"):
        return None
    if status.st_uid not in (0, os.geteuid()):
        return "owner"
    return "others" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None
