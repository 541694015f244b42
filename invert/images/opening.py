"""Read files that a user names or a folder holds, whatever lies in their place."""

import os
import stat
from pathlib import Path

from invert.errors import ImageError

__all__ = ["read_regular"]


def read_regular(path: Path, limit: int) -> bytes:
    """Read at most `limit` bytes of a regular file; never wait on a pipe or touch a device.

    Raises:
        ImageError: It is none, or cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("it is not a regular file", path=path, code="image-not-regular")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ImageError("it is not a regular file", path=path, code="image-not-regular")
            return file.read(limit)
    except OSError as error:
        raise ImageError(error.strerror or str(error), path=path, code="image-unreadable") from error
