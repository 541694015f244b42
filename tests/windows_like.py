"""Take away what Windows' Python lacks, before anything of this project is imported.

`python -m tests.windows_like info x.pkl THEN verify x.h5` runs commands one after the other until one fails, and
`pytest -p tests.windows_like` runs tests, in such surroundings.

Locks of ranges, which Windows has in `msvcrt`, are made from Linux's locks of ranges that belong to an open file.
"""

import errno
import fcntl
import importlib.abc
import itertools
import os
import struct
import sys
import types

__all__ = ["LACKING", "MODULES"]

LACKING = (
    "O_CLOEXEC",
    "O_DIRECTORY",
    "O_NOCTTY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
    "fork",
    "geteuid",
    "pread",
    "pwrite",
    "sched_getaffinity",
)
MODULES = ("fcntl", "grp", "pwd", "resource", "termios")

_LOCK = getattr(fcntl, "F_OFD_SETLK", None)


def _locking(descriptor: int, mode: int, size: int) -> None:
    """Lock `size` bytes from the place where the file is, as `msvcrt.locking` does."""
    if mode != 2 or _LOCK is None:
        raise OSError(errno.EINVAL, "not in this test")
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, place, size, 0)
    try:
        fcntl.fcntl(descriptor, _LOCK, wanted)
    except OSError as error:
        raise OSError(errno.EACCES, "locked") from error


class _Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


_msvcrt = types.ModuleType("msvcrt")
_msvcrt.locking = _locking  # type: ignore[attr-defined]
_msvcrt.LK_NBLCK = 2  # type: ignore[attr-defined]

for _name in LACKING:
    if hasattr(os, _name):
        delattr(os, _name)
for _name in MODULES:
    sys.modules.pop(_name, None)
sys.meta_path.insert(0, _Missing())
# There for this import alone: the standard library would take it for Windows, too.
sys.modules["msvcrt"] = _msvcrt
import generator.system  # noqa: E402, F401

del sys.modules["msvcrt"]

if __name__ == "__main__":
    from invert.cli.main import main

    commands = [list(group) for is_word, group in itertools.groupby(sys.argv[1:], "THEN".__ne__) if is_word]
    sys.exit(next((code for code in map(main, commands) if code), 0))
