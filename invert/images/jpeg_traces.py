"""Traces that JPEG compression leaves in pixels, whatever file they are stored in now.

JPEG rounds the cosine transform of each block of 8 x 8 to multiples of a table that its quality sets. Pixels that were
not scaled, cropped or filtered since have transforms that lie near such multiples, and others have not.

Only the usual tables are known (annex K, scaled as the libjpeg library does), on blocks that begin in the corner, and
blocks with black or white in them say nothing, since clipping moves their transforms. So an image that was cropped or
scaled after its compression shows no trace, nor does one of a quality so high that rounding to 8 bits hides it, nor one
that is almost flat: no trace is no proof that an image was never compressed.

Reference: ITU-T T.81, annexes A.3.3 and K.1.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["jpeg_quality"]

_LARGEST = 256  # px; more of an image than that says nothing new
_LEAST = 16  # coefficients
_ZERO = 2.0  # a smaller coefficient may be what is left of one that was rounded away
_NEAR = 1.0  # rounding to 8 bits moves a coefficient by 0.3 on average, colours by a little more
_SHARE = 0.9  # of the coefficients are near a multiple
_COARSEST = 6  # finer steps have a multiple near any number
_QUALITIES = range(10, 97)

_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def _cosines() -> NDArray[np.float64]:
    """Return the orthonormal cosine transform of 8 samples as a matrix `[8, 8]`."""
    k, n = np.mgrid[:8, :8]
    matrix: NDArray[np.float64] = 0.5 * np.cos(np.pi * (2 * n + 1) * k / 16)
    matrix[0] /= np.sqrt(2)
    return matrix


_COSINES = _cosines()


def _table(quality: int) -> NDArray[np.int64]:
    """Return the steps of a quality of 1 to 100, as the libjpeg library scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.asarray(np.clip((_LUMINANCE * scale + 50) // 100, 1, 255))


_TABLES = {quality: _table(quality).ravel() for quality in _QUALITIES}


def jpeg_quality(luma: NDArray[np.uint8]) -> int | None:
    """Return the quality that an image was compressed with, as far as its pixels still show it.

    Args:
        luma: The image's luminance uint8 `[H, W]`, at the size and place that it was decoded at.

    Returns:
        About the quality, 10 to 96; None where no trace is found.
    """
    height, width = (min(side, _LARGEST) // 8 * 8 for side in luma.shape)
    pixels = luma[:height, :width].reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    is_whole = (pixels.min(axis=(1, 2)) > 0) & (pixels.max(axis=(1, 2)) < 255)
    transformed = np.abs(_COSINES @ (pixels[is_whole].astype(np.float64) - 128) @ _COSINES.T).reshape(-1, 64)
    transformed[:, 0] = 0  # the mean of a block: an image without structure would fit any table
    where, which = np.nonzero(transformed > _ZERO)
    values = transformed[where, which]
    best, found = 0.0, None
    for quality, table in _TABLES.items():
        steps = table[which]
        numbers, steps = values[steps >= _COARSEST], steps[steps >= _COARSEST]
        if len(numbers) < _LEAST:
            continue
        # Multiples but zero: the many coefficients near it would fit every table.
        multiples = np.maximum(np.rint(numbers / steps), 1)
        share = float((np.abs(numbers - multiples * steps) <= _NEAR).mean())
        if share > max(best, _SHARE):
            best, found = share, quality
    return found
