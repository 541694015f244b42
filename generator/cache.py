"""The user's cache folder, for what can be made again: built libraries, banks of samples, calibrations."""

import os
from pathlib import Path

from generator.errors import GeneratorError
from generator.system import exposure

__all__ = ["CacheError", "cache_folder", "why_unsafe"]


class CacheError(GeneratorError):
    """There is no place for a cache folder."""


def cache_folder() -> Path:
    """Return the folder, whether or not it exists.

    It is INVERT_CACHE, else `invert` in XDG_CACHE_HOME, else `.cache/invert` in the user's home.

    Raises:
        CacheError: The user has no home.
    """
    if named := os.environ.get("INVERT_CACHE"):
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # relative ones count as unset, says the XDG specification
        return Path(base) / "invert"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        raise CacheError("there is no home folder to keep them in; set INVERT_CACHE to a folder of yours")
    return home / ".cache" / "invert"


def why_unsafe(path: Path) -> str:
    """Say why what lies in the cache cannot be relied on: somebody else may have put it there. Nothing where it can.

    Args:
        path: A folder or a file of the cache that is there.

    Raises:
        OSError: It cannot be looked at.
    """
    reason = exposure(path)
    if reason == "others":
        return f"others can write to '{path}'; chmod go-w it"
    return f"'{path}' belongs to somebody else; set INVERT_CACHE to a folder of yours" if reason else ""
