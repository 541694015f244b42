"""Convolution after nearest-neighbour upsampling, or before averaging 2 x 2 pixels, in one strided convolution.

Both resample with a box of 2 x 2 pixels, and the kernel can take it in: it becomes the sum of four copies of itself,
shifted by a pixel or not in either direction.

Reference: Karras et al. 2018, appendix A, table 2 (nearest-neighbour upsampling, average pooling).
"""

from torch import Tensor
from torch.nn import functional

__all__ = ["averaging_kernel", "conv_average2d", "upsample_conv2d", "upsampling_kernel"]


def _box(weight: Tensor) -> Tensor:
    """Return the sum of the four shifted copies of `[O, I, k, k]`: `[O, I, k + 1, k + 1]`."""
    rows = functional.pad(weight, [0, 0, 1, 0]) + functional.pad(weight, [0, 0, 0, 1])
    return functional.pad(rows, [1, 0, 0, 0]) + functional.pad(rows, [0, 1, 0, 0])


def upsampling_kernel(weight: Tensor) -> Tensor:
    """Return what `upsample_conv2d` works with, `[O, I, k + 1, k + 1]`, of a weight `[O, I, k, k]`."""
    return _box(weight.flip([2, 3]))  # a transposed convolution turns the kernel round


def upsample_conv2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Repeat each pixel 2 x 2 times, then correlate with zeros around: "same" size.

    Args:
        x: Feature maps `[N, I, H, W]`.
        kernel: `upsampling_kernel(weight)` of a weight `[O, I, k, k]`, k odd.

    Returns:
        A tensor `[N, O, 2 H, 2 W]`. Differentiable any number of times.
    """
    return functional.conv_transpose2d(x, kernel.transpose(0, 1), stride=2, padding=kernel.shape[-1] // 2 - 1)


def averaging_kernel(weight: Tensor) -> Tensor:
    """Return what `conv_average2d` works with, `[O, I, k + 1, k + 1]`, of a weight `[O, I, k, k]`."""
    return _box(weight) / 4


def conv_average2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate with zeros around ("same" size), then take the mean of each 2 x 2 pixels.

    Args:
        x: Feature maps `[N, I, H, W]`, H and W even.
        kernel: `averaging_kernel(weight)` of a weight `[O, I, k, k]`, k odd.

    Returns:
        A tensor `[N, O, H / 2, W / 2]`. Differentiable any number of times.
    """
    return functional.conv2d(x, kernel, stride=2, padding=kernel.shape[-1] // 2 - 1)
