"""The activation of StyleGAN3: leaky ReLU at a higher sampling rate, between two low-pass filters.

Reference: Karras et al. 2021, section 3.2 (filtered nonlinearities) and figure 4 (b).
"""

import math

from torch import Tensor

from generator.ops.bias_act import bias_act
from generator.ops.upfirdn2d import upfirdn2d

__all__ = ["GAIN", "SLOPE", "filtered_lrelu", "filtered_size"]

SLOPE = 0.2
"""Slope of the activation below zero."""
GAIN = math.sqrt(2)
"""Factor after the activation, which keeps the variance of a unit normal input near one."""


def filtered_size(
    size: tuple[int, int], up: int, down: int, padding: tuple[int, int, int, int], up_taps: int, down_taps: int
) -> tuple[int, int]:
    """Return height and width of the result of `filtered_lrelu`.

    Args:
        size: Height and width of the feature maps.
        up: Upsampling factor.
        down: Downsampling factor.
        padding: Padding after upsampling, (x0, x1, y0, y1).
        up_taps: Width of the filter before the activation.
        down_taps: Width of the filter after it.
    """
    x0, x1, y0, y1 = padding
    height, width = (
        (length * up + before + after - (up_taps - 1) - (down_taps - 1) + down - 1) // down
        for length, before, after in ((size[0], y0, y1), (size[1], x0, x1))
    )
    return height, width


def filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None = None,
    down_filter: Tensor | None = None,
    b: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = GAIN,
    slope: float = SLOPE,
    clamp: float | None = None,
) -> Tensor:
    """Add a bias, upsample, apply leaky ReLU, downsample.

    Args:
        x: Feature maps `[N, C, H, W]`, any floating type.
        up_filter: Low-pass filter of upsampling, `[k]` (separable) or `[k, k]`, or None for the identity.
        down_filter: Low-pass filter of downsampling, likewise.
        b: Bias `[C]`, or None.
        up: Upsampling factor before the activation.
        down: Downsampling factor after it.
        padding: Zeros added after upsampling, (x0, x1, y0, y1); negative crops.
        gain: Positive factor after the activation.
        slope: Slope of the activation below zero; 1 for none.
        clamp: Limit on the absolute value between the activation and the second filter, or None.

    Returns:
        A tensor `[N, C, H', W']`, see `filtered_size`. Differentiable any number of times in `x` and `b`.

    Raises:
        ValueError: The padded image is smaller than the filters, or a setting does not fit.
    """
    if b is not None:
        x = bias_act(x, b)
    x = upfirdn2d(x, up_filter, up=up, padding=padding, gain=up**2)
    act = "linear" if slope == 1 else "lrelu"
    x = bias_act(x, act=act, alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(x, down_filter, down=down)
