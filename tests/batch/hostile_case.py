"""What HDF5 files that were made to do harm are made of."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

CHECKOUT = Path(__file__).parents[2]
ROWS = 7


def replace(file: h5py.File, name: str, make: Callable[[h5py.Group, str], Any]) -> None:
    """Put something else in the place of a dataset."""
    del file[name]
    make(file, name)


def bomb(times: int) -> bytes:
    """Return a stream that unpacks to so many times 16 MB; its checksum, at the end, is not right."""
    stream = zlib.compressobj(9)
    pieces = [stream.compress(bytes(1 << 24)) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    return pieces[0] + pieces[1] * (times - 1) + stream.flush()
