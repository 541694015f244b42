"""How complex an image is: what makes it easy or hard to reconstruct, whoever drew it.

Measured on decoded pixels and never on a file: the size or format of a file tells where an image has been, and a
verdict that looked at them would judge that instead.
"""

import io
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["PRIMARY", "complexity"]

PRIMARY = "png"
"""The measure that images are put into bins by."""

_ZLIB_LEVEL = 6
_JPEG_QUALITY = 75
_LEVELS = 32


def complexity(array: NDArray[np.uint8]) -> dict[str, float]:
    """Measure an image in several ways; grey is the mean of its channels.

    Args:
        array: Pixels `[H, W, C]`, C of 1 or 3, H and W of 2 or more.

    Returns:
        `png`: bytes per pixel after PNG's Paeth filter and deflate, without any file's headers.
        `jpeg75`: bytes per pixel of a JPEG of quality 75, headers included.
        `entropy2d`: entropy of (grey, mean grey of the 8 neighbours), bits.
        `homogeneity`: of horizontal neighbours, (0, 1]; 1 is flat: the only measure that falls with complexity.
        `gradient`: mean squared gradient of grey in [0, 1].

    Raises:
        ValueError: It is not such an array.

    Reference: PNG specification, section 9 (filter); Abutaleb 1989 (entropy); Haralick et al. 1973 (homogeneity).
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3) or min(array.shape[:2]) < 2:
        raise ValueError(f"expected uint8 [H, W, C], got {array.dtype} {list(array.shape)}")
    pixels = array.shape[0] * array.shape[1]
    grey = array.mean(axis=2)  # [H, W], 0 to 255
    return {
        "png": len(zlib.compress(_paeth(array).tobytes(), _ZLIB_LEVEL)) / pixels,
        "jpeg75": len(_jpeg(array)) / pixels,
        "entropy2d": _entropy2d(grey),
        "homogeneity": _homogeneity(grey),
        "gradient": float(
            np.square(np.diff(grey / 255, axis=0)).mean() + np.square(np.diff(grey / 255, axis=1)).mean()
        ),
    }


def _paeth(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what each value differs by from that of its neighbours left, up or up-left which predicts it best."""
    padded = np.pad(array.astype(np.int16), ((1, 0), (1, 0), (0, 0)))
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    prediction = np.where(to_up <= to_corner, up, corner)
    prediction = np.where((to_left <= to_up) & (to_left <= to_corner), left, prediction)
    return (array - prediction).astype(np.uint8)


def _jpeg(array: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling="4:2:0", optimize=False, progressive=False)
    return buffer.getvalue()


def _entropy2d(grey: NDArray[np.float64]) -> float:
    values = np.rint(grey).astype(np.int64)
    height, width = values.shape
    padded = np.pad(values, 1, mode="edge")
    block = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    neighbours = (block - values) // 8
    counts = np.unique(values * 256 + neighbours, return_counts=True)[1]
    shares = counts / values.size
    # Of one value only, the sum is -0.
    return abs(float((shares * np.log2(shares)).sum()))


def _homogeneity(grey: NDArray[np.float64]) -> float:
    """Return the homogeneity of the symmetric, normed co-occurrence matrix at distance 1, angle 0."""
    levels = np.rint(grey).astype(np.int64) * _LEVELS // 256
    # The sum over the matrix is the mean over the pairs that it counts.
    return float((1 / (1 + np.square(np.diff(levels, axis=1)))).mean())
