"""Lock files: one process per output.

A lock belongs to its file, so that every way to name it leads to the same lock, and the kernel drops it when the
process dies. No link is followed: what a link leads to is not ours to write.
"""

import contextlib
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from generator.system import BINARY, CLOSE_ON_EXEC, NO_LINKS, NO_WAIT, lock_file, read_at, write_at
from invert.durable import is_link_error, output_error
from invert.errors import BusyError, OutputError, display_path

__all__ = ["exclusive_lock", "shared_lock"]

_MAX_HOLDER = 512
_HOLDER = re.compile(rb"(?:\d{1,20}(?: [^\s]*)?)?")
"""What a lock file holds: the process and the machine that took it last, or nothing."""


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
        OutputError: The file cannot be created or locked, or is not a lock of this program.
    """
    descriptor = _lock(path, output)
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
    descriptor = _lock(path, output, shared=True)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: str | os.PathLike[str], output: str | os.PathLike[str] | None, *, shared: bool = False) -> int:
    """Return the descriptor of a lock file that is locked."""
    output = Path(path).parent if output is None else output
    try:
        while True:
            descriptor = _open_lock(path)
            try:
                lock_file(descriptor, shared=shared)
                # Its holder may have removed it meanwhile, and a third may have locked the next one.
                if _leads_to(path, descriptor):
                    if not _is_lock(descriptor):
                        raise _foreign_lock(path)
                    holder = "" if shared else f"{os.getpid()} {socket.gethostname()}"
                    os.ftruncate(descriptor, 0)
                    write_at(descriptor, holder.encode(), 0)
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
        raise output_error(error, path) from error


def _open_lock(path: str | os.PathLike[str]) -> int:
    """Return the descriptor of a lock file, which is made when it is missing.

    Raises:
        OutputError: Something else is in its place, which would be overwritten: a link, or a file of somebody else's.
    """
    # NO_WAIT: a pipe would wait for whoever reads it.
    flags = os.O_RDWR | os.O_CREAT | CLOSE_ON_EXEC | NO_LINKS | NO_WAIT | BINARY
    try:
        # Opening a device may already act on it, so it is looked at before.
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode) and not os.path.islink(path):
            raise _foreign_lock(path)
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if os.path.islink(path):
            raise is_link_error(path) from error
        raise
    status = os.fstat(descriptor)
    # A second name of the file would be overwritten with it. Without a name it was removed a moment ago.
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise _foreign_lock(path)


def _is_lock(descriptor: int) -> bool:
    """Tell whether a file has what this program writes into its locks, and nothing that somebody could miss."""
    content = read_at(descriptor, _MAX_HOLDER + 1, 0)
    return len(content) <= _MAX_HOLDER and _HOLDER.fullmatch(content) is not None


def _foreign_lock(path: str | os.PathLike[str]) -> OutputError:
    advice = "Move it away, or choose another output."
    return OutputError("it is not a lock of this program", path=path, advice=advice, code="output-foreign-lock")


def _leads_to(path: str | os.PathLike[str], descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    """Name who holds a lock, as far as the file tells: it may be empty, foreign or half written."""
    try:
        pid, host = read_at(descriptor, _MAX_HOLDER, 0).split(b" ", 1)
        return f"process {int(pid)} on {display_path(host)}"
    except (OSError, ValueError):
        return "another process"
