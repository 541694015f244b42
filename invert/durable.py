"""Durable writing: whole files or nothing.

The only module that renames or syncs. A file is written beside its destination, synced, renamed
over it, and then the folder is synced: after a crash or a power cut the destination holds the old
bytes or the new ones, never a part. Only an index that grows line by line is appended to: there the
last line may be torn, and its reader leaves it out.

No link is followed or replaced: somebody else may have put it there, and what it leads to is not ours
to write. A file is refused where a link is in its place; the folders above it may be links.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from generator.system import BINARY, CLOSE_ON_EXEC, NO_LINKS, sync_folder
from invert.errors import OutputError, display_path

__all__ = [
    "TEMPORARY_PREFIX",
    "append",
    "atomic_file",
    "atomic_path",
    "check_writable",
    "destination",
    "ensure_folder",
    "is_link_error",
    "output_error",
    "rename",
    "write_atomic",
]

TEMPORARY_PREFIX = ".invert-"
"""Unfinished files start so: hidden, therefore never read as images, and safe to delete after a crash."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM}


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` into a file so that the file holds either its old bytes or all of the new ones.

    Args:
        path: Destination, see `destination`.
        data: The whole content.

    Raises:
        OutputError: It cannot be written. The destination is as before, unless syncing its folder failed.
    """
    with atomic_file(path, expected=len(data)) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], expected: int | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at `path`, complete and synced, when the block ends well.

    When the block raises, the destination stays as it was and nothing is left beside it.

    Args:
        path: Destination; see `destination`.
        expected: Size in bytes, where known, for the message when the space runs out.

    Raises:
        OutputError: It cannot be written.
    """
    target = destination(path)
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
    with _replacing(target, temporary, path, expected) as file:
        yield file


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike[str], temporary: str | os.PathLike[str], expected: int | None = None
) -> Iterator[None]:
    """As `atomic_file`, for a file that something else writes in the block, by its name `temporary`.

    The file is open here all the while: so the sync at the end hears of every write that failed, whoever made it.

    Args:
        path: Destination; see `destination`.
        temporary: Made here, on the file system of `path`.
        expected: Size in bytes, where known, for the message when the space runs out.
    """
    with _replacing(destination(path), Path(temporary), path, expected):
        yield


@contextlib.contextmanager
def _replacing(target: Path, temporary: Path, path: str | os.PathLike[str], expected: int | None) -> Iterator[BinaryIO]:
    # Not mkstemp: its mode 0600 would survive the rename, here the user's umask decides.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOSE_ON_EXEC | BINARY
    try:
        file = os.fdopen(os.open(temporary, flags, 0o666), "w+b")
    except OSError as error:
        raise output_error(error, path, expected) from error
    written = 0
    try:
        yield file
        file.flush()
        written = file.tell()
        os.fsync(file.fileno())
        file.close()
        os.replace(temporary, target)
    except BaseException as error:
        _discard(file, temporary)
        # An OSError that names another file is the block's own business.
        if isinstance(error, OSError) and error.filename in (None, os.fspath(temporary)):
            raise output_error(error, path, expected or written) from error
        raise
    _sync_folder(target.parent, path)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a destination that could not be written, before hours of work that would then have no place.

    Args:
        path: Destination; see `write_atomic`.

    Raises:
        OutputError: There is no such folder, it cannot be written to, or something else is in the file's place.
    """
    temporary = destination(path).parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOSE_ON_EXEC | BINARY, 0o600))
        os.unlink(temporary)
    except OSError as error:
        raise output_error(error, path) from error


def append(path: str | os.PathLike[str], data: bytes, size: int) -> None:
    """Add `data` to the end of a file, durably: after a crash a part of it may be there, what was before always is.

    Args:
        path: The file, which nobody else writes to; see `destination`.
        data: What is added, for example one line.
        size: Bytes that the file has so far; what is beyond, which a crash or a full disk left, is cut off first.

    Raises:
        OutputError: It cannot be written. What of `data` is there is cut off again where that is possible.
    """
    target = destination(path)
    try:
        descriptor = os.open(target, os.O_RDWR | CLOSE_ON_EXEC | NO_LINKS | BINARY)
    except FileNotFoundError as error:
        raise _changed_meanwhile(path) from error
    except OSError as error:
        raise output_error(error, path) from error
    try:
        if os.fstat(descriptor).st_size < size:
            raise _changed_meanwhile(path)
        try:
            os.ftruncate(descriptor, size)
            with os.fdopen(descriptor, "r+b", buffering=0, closefd=False) as file:
                file.seek(size)
                remaining = memoryview(data)
                while remaining:
                    remaining = remaining[file.write(remaining) or 0 :]
            os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    except OSError as error:
        raise output_error(error, path, len(data)) from error
    finally:
        os.close(descriptor)


def _changed_meanwhile(path: str | os.PathLike[str]) -> OutputError:
    advice = "Run the same command again."
    return OutputError("it was removed or cut off by something else", path=path, advice=advice, code="output-changed")


def rename(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a file of a folder another name in it, durably; what had that name is replaced.

    Raises:
        OutputError: It cannot be renamed.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        raise output_error(error, source) from error
    _sync_folder(Path(target).parent, target)


def destination(path: str | os.PathLike[str]) -> Path:
    """Return the file that `path` names, in the real place of its folder; it need not exist.

    Raises:
        OutputError: It is a link, a folder, a device or the like.
    """
    named = Path(path)
    # ".." and "/" are folders, whatever leads to them.
    target = Path(os.path.realpath(named.parent)) / named.name if named.name else Path(os.path.realpath(named))
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise output_error(error, path) from error
    if stat.S_ISLNK(mode):
        raise is_link_error(path)
    if stat.S_ISDIR(mode):
        raise OutputError("it is a folder", path=path, advice="Name a file.", code="output-is-folder")
    if not stat.S_ISREG(mode):
        # A rename would replace the device or pipe itself: as root, even /dev/null.
        raise OutputError(
            "it is a device, pipe or socket", path=path, advice="Name a regular file.", code="output-not-regular"
        )
    return target


def is_link_error(path: str | os.PathLike[str]) -> OutputError:
    """Return the error that says that a link is in the place of an output.

    Args:
        path: The link.
    """
    leads = "" if not os.path.islink(path) else f" to '{display_path(os.readlink(path))}'"
    advice = "Remove the link, or name the file that it leads to."
    return OutputError(f"it is a link{leads}, which is not followed", path=path, advice=advice, code="output-is-link")


def _discard(file: BinaryIO, temporary: Path) -> None:
    # Closing flushes what is buffered, which fails again on a full disk; the first error is the one to report.
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _sync_folder(folder: Path, path: str | os.PathLike[str]) -> None:
    """Make a rename or a new entry survive a power cut."""
    try:
        sync_folder(folder)
    except OSError as error:
        raise output_error(error, path) from error


def output_error(error: OSError, path: str | os.PathLike[str], needed: int | None = None) -> OutputError:
    """Return the error that says why an output cannot be written, and what to do.

    Args:
        error: What the system said.
        path: The output.
        needed: How many bytes it takes, where that is known.
    """
    code, reason = "output-io", error.strerror or str(error)
    advice = "Check the disk, then run the same command again."
    if error.errno in _NO_SPACE:
        code, reason, advice = "output-no-space", _space(path, needed), "Free some space or choose another output."
    elif error.errno == errno.EROFS:
        code, reason, advice = "output-read-only", "the file system is read-only", "Choose another output."
    elif error.errno in _NO_PERMISSION:
        code, reason, advice = "output-permission", "no permission to write there", "Choose another output."
    elif error.errno == errno.ENOENT:
        code, reason, advice = "output-no-folder", "its folder does not exist", "Create the folder first."
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        code, reason, advice = "output-not-folder", "a file is in the place of a folder", "Choose another output."
    elif error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        code, advice = "output-name", "Choose another output."
    return OutputError(reason, path=path, advice=advice, code=code)


def _space(path: str | os.PathLike[str], needed: int | None) -> str:
    reason = "no space left" if needed is None else f"no space left, {needed} bytes needed"
    try:
        free = shutil.disk_usage(Path(os.path.realpath(path)).parent).free
    except OSError:
        return reason
    return f"{reason}, {free} bytes free"


def ensure_folder(path: str | os.PathLike[str], within: Path | None = None) -> Path:
    """Create a folder and its parents, durably, unless it exists.

    Args:
        path: The folder.
        within: One of its parents. What is below is this program's alone, so that none of it may be a link.

    Raises:
        OutputError: It cannot be created, or a file or a link is in its place.
    """
    folder = Path(path)
    missing = []
    if within is not None:
        for part in (folder, *folder.parents):
            if part == within:
                break
            if os.path.islink(part):
                raise is_link_error(part)
    try:
        for candidate in (folder, *folder.parents):
            if candidate.is_dir():
                break
            missing.append(candidate)
        for new in reversed(missing):
            # Another process may be a moment faster; a file in the way still raises.
            new.mkdir(exist_ok=True)
            _sync_folder(new.parent, path)
    except OSError as error:
        raise output_error(error, path) from error
    return folder
