"""Whether a folder keeps what a batch on several machines asks of it: locks, whole files, file names.

Two processes of one machine find a file system that has no locks. Whether locks reach from machine to machine depends
on how it is mounted (NFS from version 4 on; not with `nolock` or `local_lock`), which is why its type is shown.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from invert.durable import TEMPORARY_PREFIX, write_atomic
from invert.errors import BusyError, InvertError, OutputError
from invert.locking import exclusive_lock

__all__ = ["check_shared_folder", "file_system"]

_TIMEOUT = 20  # seconds
_HELD = 75


def check_shared_folder(folder: Path) -> list[str]:
    """Return what is wrong with a folder for shards; nothing when it does.

    Raises:
        OutputError: Nothing can be written there.
    """
    problems = []
    path = folder / f"{TEMPORARY_PREFIX}check-{secrets.token_hex(8)}"
    lock = path.with_suffix(".lock")
    try:
        write_atomic(path, b"first")
        write_atomic(path, b"second")
        if path.read_bytes() != b"second":
            problems.append("a file that was replaced still shows its old content")
        with exclusive_lock(lock):
            if _other_process(lock) != _HELD:
                problems.append("a lock does not keep a second process out")
        if _other_process(lock) != 0:
            problems.append("a lock that was given back still keeps others out")
    finally:
        for leftover in (path, lock):
            leftover.unlink(missing_ok=True)
    return problems


def file_system(folder: Path, mounts: Callable[[], str] = lambda: Path("/proc/mounts").read_text()) -> str:
    """Return the type of the file system that a folder is on, such as "ext4" or "nfs4"; "unknown" where nobody says."""
    try:
        lines = [line.split() for line in mounts().splitlines()]
    except OSError:
        return "unknown"
    real = os.path.realpath(folder)
    fitting = [fields for fields in lines if os.path.commonpath([real, _unescaped(fields[1])]) == _unescaped(fields[1])]
    return max(fitting, key=lambda fields: len(fields[1]), default=["", "", "unknown"])[2]


def _unescaped(text: str) -> str:
    return text.encode().decode("unicode_escape")


def _other_process(lock: Path) -> int:
    """Try the lock in a process of its own; return 0 when it got it, 75 when it is held."""
    command = [sys.executable, "-m", "invert.batch.shared_folder", os.fspath(lock)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(item) for item in sys.path)}
    try:
        return subprocess.run(command, env=environment, capture_output=True, timeout=_TIMEOUT).returncode
    except subprocess.TimeoutExpired as error:
        raise OutputError("a lock was waited for too long", path=lock.parent) from error


def _main() -> int:
    try:
        with exclusive_lock(Path(sys.argv[1])):
            return 0
    except BusyError:
        return _HELD
    except InvertError:
        return 1


if __name__ == "__main__":
    sys.exit(_main())
