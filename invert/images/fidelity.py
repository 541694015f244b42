"""How near two images are to each other, pixel by pixel and in structure."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNKNOWN", "Fidelity", "fidelity"]

_SAME = 100.0  # dB of images that are equal, in place of infinity
_SIGMA, _RADIUS = 1.5, 5  # px of the window
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class Fidelity(NamedTuple):
    """Two measures, the larger the nearer.

    Attributes:
        psnr: Peak signal-to-noise ratio in dB; 100 where the images are the same.
        ssim: Structural similarity, at most 1.
    """

    psnr: float = float("nan")
    ssim: float = float("nan")


UNKNOWN = Fidelity()
"""Where images were not compared."""


def fidelity(image: NDArray[np.uint8], target: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> Fidelity:
    """Compare an image with its target.

    Args:
        image: uint8 `[H, W, C]`.
        target: The same shape.
        mask: Pixels that count, `[H, W]`; None for all.

    Reference: Wang et al. 2004, with a Gaussian window of 1.5 pixels, each channel by itself, and the mean of all.
    """
    x, y = image.astype(np.float64), target.astype(np.float64)
    counts = np.ones(x.shape[:2], bool) if mask is None else mask
    error = float(np.square(x - y)[counts].mean())
    psnr = _SAME if error == 0 else min(_SAME, 10 * float(np.log10(255**2 / error)))

    mx, my = _mean(x), _mean(y)
    vx, vy, both = _mean(x * x) - mx * mx, _mean(y * y) - my * my, _mean(x * y) - mx * my
    similar = (2 * mx * my + _C1) * (2 * both + _C2) / ((mx * mx + my * my + _C1) * (vx + vy + _C2))
    return Fidelity(psnr, float(similar[counts].mean()))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean in the window around each pixel of `[H, W, C]`; beyond the edges the image is mirrored.

    It is `scipy.ndimage.gaussian_filter`, whose import takes longer than all else that a projection's result is for.
    """
    weights = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis in (0, 1):
        padded = np.pad(values, [(_RADIUS, _RADIUS) if axis == other else (0, 0) for other in range(3)], "symmetric")
        values = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis) @ weights
    return values
