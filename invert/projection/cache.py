"""Arrays that are computed once for a network and kept in the user's cache; what is damaged there is computed again."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.cache import CacheError, cache_folder, why_unsafe
from invert.durable import ensure_folder, write_atomic
from invert.errors import OutputError, UnreadableError
from invert.images.opening import read_regular
from invert.npy import ArraysError
from invert.npy import read_arrays as read_npz

__all__ = ["cached_file", "keep_arrays", "read_arrays"]

_LARGEST = 1 << 28  # bytes

Shape = tuple[int, ...]


def cached_file(kind: str, name: str) -> Path | None:
    """Return where arrays are kept; None where there is no cache, or others could put arrays there.

    Args:
        kind: Folder of the cache, such as "banks".
        name: What the arrays depend on, below it.
    """
    try:
        cache = cache_folder()
        path = cache / kind / name
        # What others can put there decides where projections start: then nothing is read or kept there.
        is_safe = not any(why_unsafe(one) for one in (cache, cache / kind, path.parent) if one.exists())
    except (CacheError, OSError):  # no home, or one that cannot be looked at
        return None
    return path if is_safe else None


def read_arrays(
    path: Path | None, expected: Mapping[str, tuple[npt.DTypeLike, Shape]]
) -> dict[str, npt.NDArray[Any]] | None:
    """Return arrays that were kept; None when they are not there, damaged, or not what is expected.

    Args:
        path: From `cached_file`.
        expected: Type and shape of each array; floating-point numbers have to be finite.
    """
    if path is None:
        return None
    try:
        stored = read_npz(read_regular(path, _LARGEST))
        found = {name: stored[name] for name in expected}
    except (UnreadableError, ArraysError, KeyError):
        return None
    for name, (kind, shape) in expected.items():
        array = found[name]
        if array.dtype != kind or array.shape != shape:
            return None
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return None
    return found


def keep_arrays(path: Path | None, **arrays: npt.ArrayLike) -> None:
    """Keep arrays where `read_arrays` finds them; a cache that cannot be written costs time, nothing else."""
    if path is None:
        return
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    try:
        ensure_folder(path.parent)
        write_atomic(path, buffer.getvalue())
    except OutputError:
        return
