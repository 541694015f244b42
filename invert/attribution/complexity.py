"""How complex an image is: what makes it easy or hard to reconstruct, whichever network made it.

Measured on decoded pixels and never on a file: the size or format of a file tells where an image has been, and a
verdict that looked at them would judge that instead.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["complexity"]

_ZLIB_LEVEL = 6


def complexity(array: NDArray[np.uint8]) -> float:
    """Measure how well an image can be compressed without loss.

    Args:
        array: Pixels uint8 `[H, W, C]`, C of 1 or 3, H and W of 2 or more.

    Returns:
        Bytes per pixel after PNG's Paeth filter and deflate, without any file's headers.

    Raises:
        ValueError: It is not such an array.

    Reference: PNG specification, section 9 (the filter).
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3) or min(array.shape[:2]) < 2:
        raise ValueError(f"expected uint8 [H, W, C], got {array.dtype} {list(array.shape)}")
    pixels: int = array.shape[0] * array.shape[1]
    return len(zlib.compress(_paeth(array).tobytes(), _ZLIB_LEVEL)) / pixels


def _paeth(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return by how much each value differs from that of its neighbours left, up or up-left which predicts it best."""
    padded = np.pad(array.astype(np.int16), ((1, 0), (1, 0), (0, 0)))
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    # The estimate is left + up - corner; its distances to the three, without the estimate itself.
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    prediction = np.where(to_up <= to_corner, up, corner)
    prediction = np.where((to_left <= to_up) & (to_left <= to_corner), left, prediction)
    return (array - prediction).astype(np.uint8)
