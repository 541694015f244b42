"""Durable writing: whole files or nothing, and one process per output.

The only module that renames, syncs or locks. A file is written beside its destination, synced, renamed
over it, and then the folder is synced: after a crash or a power cut the destination holds the old
bytes or the new ones, never a part. Only an index that grows line by line is appended to: there the
last line may be torn, and its reader leaves it out.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from invert.errors import BusyError, OutputError, display_path

__all__ = [
    "TEMPORARY_PREFIX",
    "append",
    "atomic_file",
    "atomic_path",
    "check_writable",
    "destination",
    "ensure_folder",
    "exclusive_lock",
    "rename",
    "shared_lock",
    "write_atomic",
]

TEMPORARY_PREFIX = ".invert-"
"""Unfinished files start so: hidden, therefore never read as images, and safe to delete after a crash."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM}
_MAX_HOLDER = 512


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` into a file so that the file holds either its old bytes or all of the new ones.

    Args:
        path: Destination. A symbolic link is written through: the link stays, its target is replaced.
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
        path: Destination; see `write_atomic`.
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
        path: Destination; see `write_atomic`.
        temporary: Made here, on the file system of `path`.
        expected: Size in bytes, where known, for the message when the space runs out.
    """
    with _replacing(destination(path), Path(temporary), path, expected):
        yield


@contextlib.contextmanager
def _replacing(target: Path, temporary: Path, path: str | os.PathLike[str], expected: int | None) -> Iterator[BinaryIO]:
    # Not mkstemp: its mode 0600 would survive the rename, here the user's umask decides.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(temporary, flags, 0o666), "w+b")
    except OSError as error:
        raise _output_error(error, path, expected) from error
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
            raise _output_error(error, path, expected or written) from error
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
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(temporary)
    except OSError as error:
        raise _output_error(error, path) from error


def append(path: str | os.PathLike[str], data: bytes, size: int) -> None:
    """Add `data` to the end of a file, durably: after a crash a part of it may be there, what was before always is.

    Args:
        path: The file, which nobody else writes to; a symbolic link is written through.
        data: What is added, for example one line.
        size: Bytes that the file has so far; what is beyond, which a crash or a full disk left, is cut off first.

    Raises:
        OutputError: It cannot be written. What of `data` is there is cut off again where that is possible.
    """
    target = destination(path)
    try:
        descriptor = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _changed_meanwhile(path) from error
    except OSError as error:
        raise _output_error(error, path) from error
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
        raise _output_error(error, path, len(data)) from error
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
        raise _output_error(error, source) from error
    _sync_folder(Path(target).parent, target)


def destination(path: str | os.PathLike[str]) -> Path:
    """Return the file that `path` leads to through links, which need not exist.

    Raises:
        OutputError: It is a folder, a device or the like.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise _output_error(error, path) from error
    if stat.S_ISDIR(mode):
        raise OutputError("it is a folder", path=path, advice="Name a file.", code="output-is-folder")
    if not stat.S_ISREG(mode):
        # A rename would replace the device or pipe itself: as root, even /dev/null.
        raise OutputError(
            "it is a device, pipe or socket", path=path, advice="Name a regular file.", code="output-not-regular"
        )
    return target


def _discard(file: BinaryIO, temporary: Path) -> None:
    # Closing flushes what is buffered, which fails again on a full disk; the first error is the one to report.
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _sync_folder(folder: Path, path: str | os.PathLike[str]) -> None:
    """Make a rename or a new entry survive a power cut."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder and say so with EINVAL; that is not a failed write.
        if error.errno != errno.EINVAL:
            raise _output_error(error, path) from error


def _output_error(error: OSError, path: str | os.PathLike[str], needed: int | None = None) -> OutputError:
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
        status = os.statvfs(Path(os.path.realpath(path)).parent)
    except OSError:
        return reason
    return f"{reason}, {status.f_bavail * status.f_frsize} bytes free"


def ensure_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder and its parents, durably, unless it exists.

    Raises:
        OutputError: It cannot be created, or a file is in its place.
    """
    folder = Path(path)
    missing = []
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
        raise _output_error(error, path) from error
    return folder


@contextlib.contextmanager
def exclusive_lock(path: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Hold a lock file for the length of the block: one process, or one thread, per output.

    The lock belongs to the file itself, so every way to name it leads to the same lock, and the
    kernel drops it when the process dies. The file stays; only who holds it may remove it.

    Args:
        path: The lock file, created when missing.
        output: What the lock guards, for the message; by default the folder of the lock file.

    Raises:
        BusyError: Somebody else holds it; the message names the process and the machine.
        OutputError: The file cannot be created or locked.
    """
    descriptor = _lock(path, output, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def shared_lock(path: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Hold a lock file together with others who take it so, and to the exclusion of `exclusive_lock`.

    Args:
        path: The lock file, created when missing.
        output: What the lock guards, for the message; by default the folder of the lock file.

    Raises:
        BusyError: Somebody holds it alone; where several share it, a message cannot name them all.
        OutputError: The file cannot be created or locked.
    """
    descriptor = _lock(path, output, fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: str | os.PathLike[str], output: str | os.PathLike[str] | None, kind: int) -> int:
    """Return the descriptor of a lock file that is locked."""
    output = Path(path).parent if output is None else output
    try:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                # Its holder may have removed it meanwhile, and a third may have locked the next one.
                if _leads_to(path, descriptor):
                    holder = f"{os.getpid()} {socket.gethostname()}" if kind == fcntl.LOCK_EX else ""
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, holder.encode(), 0)
                    return descriptor
            except BlockingIOError as error:
                reason, advice = f"in use by {_holder(descriptor)}", "Wait for it to end, or choose another output."
                os.close(descriptor)
                raise BusyError(reason, path=output, advice=advice) from error
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    except OSError as error:
        raise _output_error(error, path) from error


def _leads_to(path: str | os.PathLike[str], descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    """Name who holds a lock, as far as the file tells: it may be empty, foreign or half written."""
    try:
        pid, host = os.pread(descriptor, _MAX_HOLDER, 0).split(b" ", 1)
        return f"process {int(pid)} on {display_path(host)}"
    except (OSError, ValueError):
        return "another process"
