"""Upsample, pad, filter and downsample images in one step.

Reference: Karras et al. 2020, appendix B ("bilinear filtering" in all up- and downsampling); Zhang 2019.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from generator.ops._library import LIBRARY, NAMESPACE, implement, layout_of

__all__ = ["setup_filter", "upfirdn2d", "upfirdn2d_gradient"]


def setup_filter(taps: Sequence[float] | Tensor | None, separable: bool | None = None) -> Tensor:
    """Return a filter for `upfirdn2d`, float32 and normalised to a sum of one.

    Args:
        taps: One-dimensional taps `[k]`, a dense filter `[kh, kw]`, or None for the identity.
        separable: Whether `[k]` taps stay one-dimensional, to filter each axis by itself; None: from 8 taps up, where
            two passes cost less than one dense one.

    Returns:
        A tensor `[k]` for a separable filter, else `[kh, kw]`.
    """
    f = torch.as_tensor([1.0] if taps is None else taps, dtype=torch.float32)
    if f.ndim == 0:
        f = f[None]
    if f.ndim not in (1, 2) or f.numel() == 0:
        raise ValueError(f"a filter has one or two dimensions and at least one tap, not shape {tuple(f.shape)}")
    if separable is None:
        separable = f.ndim == 1 and f.numel() >= 8
    if f.ndim == 1 and not separable:
        f = torch.outer(f, f)
    return f / f.sum()


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    x, y = (value, value) if isinstance(value, int) else value
    return int(x), int(y)


def _quad(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    if isinstance(padding, int):
        return (padding,) * 4
    if len(padding) == 2:
        x, y = padding
        return int(x), int(x), int(y), int(y)
    x0, x1, y0, y1 = padding
    return int(x0), int(x1), int(y0), int(y1)


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Insert zeros, pad, convolve with `f`, keep every `down`-th sample.

    Args:
        x: Images `[N, C, H, W]`, any floating type, contiguous or channels-last (which is kept).
        f: Filter `[k]` (separable) or `[kh, kw]` from `setup_filter`, or None for the identity.
        up: Upsampling factor, one or (x, y).
        down: Downsampling factor, one or (x, y).
        padding: Zeros added after upsampling: one, (x, y) or (x0, x1, y0, y1); negative crops.
        flip_filter: False convolves, True correlates.
        gain: Factor on the result; up * up keeps the signal's size when upsampling.

    Returns:
        A tensor `[N, C, (H * up_y + y0 + y1 - kh) // down_y + 1, ...]`. Differentiable any number of times in `x`.

    Raises:
        ValueError: The padded image is smaller than the filter, or a factor is below one.
    """
    up_x, up_y = _pair(up)
    down_x, down_y = _pair(down)
    x0, x1, y0, y1 = _quad(padding)
    if min(up_x, up_y, down_x, down_y) < 1:
        raise ValueError(f"up {up} and down {down} must be at least one")
    if x.ndim != 4:
        raise ValueError(f"images have four dimensions [N, C, H, W], not shape {tuple(x.shape)}")
    if f is None:
        f = torch.ones([1, 1], dtype=torch.float32, device=x.device)
    height = x.shape[2] * up_y + y0 + y1 - (f.shape[0] - 1)
    width = x.shape[3] * up_x + x0 + x1 - (f.shape[-1] - 1)
    if height < 1 or width < 1:
        raise ValueError(f"a {tuple(x.shape[2:])} image, padded by {padding}, is smaller than its filter")
    op = torch.ops.invert.upfirdn2d
    if f.ndim == 2:
        y: Tensor = op(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1, flip_filter, gain)
        return y
    y = op(x, f[None, :], up_x, 1, down_x, 1, x0, x1, 0, 0, flip_filter, gain)
    y = op(y, f[:, None], 1, up_y, 1, down_y, 0, 0, y0, y1, flip_filter, 1.0)
    return y


def _output_size(size: int, up: int, down: int, pad0: int, pad1: int, taps: int) -> int:
    return (size * up + pad0 + pad1 - taps) // down + 1


def _portable(
    x: Tensor,
    f: Tensor,
    up_x: int,
    up_y: int,
    down_x: int,
    down_y: int,
    x0: int,
    x1: int,
    y0: int,
    y1: int,
    flip: bool,
    gain: float,
) -> Tensor:
    n, c, h, w = x.shape
    layout = layout_of(x)
    if up_x > 1 or up_y > 1:
        spread = x.new_zeros([n, c, h * up_y, w * up_x]).contiguous(memory_format=layout)
        spread[:, :, ::up_y, ::up_x] = x
        x = spread
    x = functional.pad(x, [max(x0, 0), max(x1, 0), max(y0, 0), max(y1, 0)])
    x = x[:, :, max(-y0, 0) : x.shape[2] - max(-y1, 0), max(-x0, 0) : x.shape[3] - max(-x1, 0)]
    f = (f.double() * gain).to(x.dtype)
    if not flip:  # conv2d correlates
        f = f.flip([0, 1])
    y = functional.conv2d(x, f[None, None].expand(c, 1, *f.shape), stride=(down_y, down_x), groups=c)
    return y.contiguous(memory_format=layout)


def _fake(
    x: Tensor,
    f: Tensor,
    up_x: int,
    up_y: int,
    down_x: int,
    down_y: int,
    x0: int,
    x1: int,
    y0: int,
    y1: int,
    flip: bool,
    gain: float,
) -> Tensor:
    height = _output_size(x.shape[2], up_y, down_y, y0, y1, f.shape[0])
    width = _output_size(x.shape[3], up_x, down_x, x0, x1, f.shape[1])
    layout = layout_of(x)
    return torch.empty([x.shape[0], x.shape[1], height, width], dtype=x.dtype, device=x.device, memory_format=layout)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, f, *ctx.settings = inputs
    ctx.save_for_backward(f)
    ctx.size = x.shape[2:]


def upfirdn2d_gradient(dy: Tensor, f: Tensor, size: Sequence[int], settings: Sequence[Any]) -> Tensor:
    """Return the gradient of the images from that of the result: a linear map of it, the transpose.

    Args:
        dy: Gradient of the result, `[N, C, H', W']`.
        f: The dense filter.
        size: Height and width of the images.
        settings: What the operator was given after the filter.
    """
    # The transpose of "up, filter, down" is "up by down, filter flipped, down by up": the op itself again.
    up_x, up_y, down_x, down_y, x0, _, y0, _, flip, gain = settings
    (h, w), (out_h, out_w) = size, dy.shape[2:]
    kh, kw = f.shape
    # Turned round, a filter of k taps reaches k - 1 before each sample: of that x0 were padding, which has no gradient.
    pad_x0, pad_y0 = kw - x0 - 1, kh - y0 - 1
    # Behind goes what gives dx the size of x, also where downsampling had left a remainder of samples unused.
    pad_x1 = w * up_x - out_w * down_x + x0 - up_x + 1
    pad_y1 = h * up_y - out_h * down_y + y0 - up_y + 1
    pads = pad_x0, pad_x1, pad_y0, pad_y1
    dx: Tensor = torch.ops.invert.upfirdn2d(dy, f, down_x, down_y, up_x, up_y, *pads, not flip, gain)
    return dx


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    (f,) = ctx.saved_tensors
    return (upfirdn2d_gradient(dy, f, ctx.size, ctx.settings), *[None] * 11)


implement("upfirdn2d", _portable, _fake)
torch.library.register_autograd(f"{NAMESPACE}::upfirdn2d", _backward, setup_context=_setup_context, lib=LIBRARY)
