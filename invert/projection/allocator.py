"""Keep freed memory in the process, where the C library would hand each large tensor back to the system."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory, and return whether it understood.

    A projection step frees and asks for the same gigabytes again; by default each is returned to the system
    and cleared page by page before its next use, which takes half of a 1024 px step (see
    `bench/projection_step.py`). Process-wide, so it is for programs to call, not for libraries.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
