"""Training pictures: what the trainer asks of a data set, and in which order it sees them."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pictures", "picture_order", "stream_seed"]


class Pictures(Protocol):
    """A data set, in memory or read on demand.

    Attributes:
        resolution: Side in pixels.
        channels: 1 or 3.
        labels: Class of each picture, `[N]`, or None.
        classes: How many classes there are; 0 without labels.
        fingerprint: Changes when the pictures do; a training run is tied to it.
    """

    resolution: int
    channels: int
    labels: NDArray[np.int64] | None
    classes: int
    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Return the pictures of these indices, `[n, C, R, R]`."""
        ...


def stream_seed(*key: int | str) -> int:
    """Return a seed for `torch.Generator` that belongs to `key` alone (63 bits of its SHA-256)."""
    text = "/".join(map(str, key)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(stream_seed("epoch", seed, epoch))).permutation(size)


def picture_order(size: int, seed: int, first: int, count: int) -> list[int]:
    """Return which of `size` pictures are the `first`-th and the following `count` ones that training sees.

    Each pass over the data has its own order. It depends on nothing but the arguments, so a run that is taken up
    again goes on with the next picture.
    """
    return [int(_permutation(size, seed, i // size)[i % size]) for i in range(first, first + count)]
