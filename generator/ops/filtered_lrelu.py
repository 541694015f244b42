"""The activation of StyleGAN3: leaky ReLU at a higher sampling rate, between two low-pass filters.

Reference: Karras et al. 2021, section 3.2 (filtered nonlinearities) and figure 4 (b).
"""

import math
from typing import Any

import torch
from torch import Tensor

from generator.ops._library import LIBRARY, NAMESPACE, implement, layout_of

__all__ = ["GAIN", "SLOPE", "filtered_lrelu"]

SLOPE = 0.2
"""Slope of the activation below zero."""
GAIN = math.sqrt(2)
"""Factor after the activation, which keeps the variance of a unit normal input near one."""

Padding = tuple[int, int, int, int]
_NONE: Padding = (0, 0, 0, 0)
# What a mask says of each sample: the activation was cut off there, or it was above zero, or below.
_CUT, _ABOVE, _BELOW = 0, 1, 2


def filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None = None,
    down_filter: Tensor | None = None,
    b: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Padding = _NONE,
    gain: float = GAIN,
    slope: float = SLOPE,
    clamp: float | None = None,
) -> Tensor:
    """Add a bias, upsample, apply leaky ReLU, downsample.

    Args:
        x: Feature maps `[N, C, H, W]`, any floating type, contiguous or channels-last (which is kept).
        up_filter: Low-pass filter of upsampling, `[k]` (separable) or `[kh, kw]`, or None for the identity.
        down_filter: Low-pass filter of downsampling, likewise.
        b: Bias `[C]`, or None.
        up: Upsampling factor before the activation.
        down: Downsampling factor after it.
        padding: Zeros added after upsampling, (x0, x1, y0, y1); negative crops.
        gain: Positive factor after the activation.
        slope: Slope of the activation below zero, positive; 1 for none.
        clamp: Limit on the absolute value between the activation and the second filter, or None.

    Returns:
        A tensor `[N, C, H', W']`. Differentiable any number of times in `x` and `b`.

    Raises:
        ValueError: The padded image is smaller than the filters, or a setting does not fit.
    """
    if x.ndim != 4:
        raise ValueError(f"feature maps have four dimensions [N, C, H, W], not shape {tuple(x.shape)}")
    if min(up, down) < 1 or gain <= 0 or slope <= 0 or (clamp is not None and clamp < 0):
        raise ValueError(f"up {up}, down {down}, gain {gain}, slope {slope} or clamp {clamp} is out of range")
    if b is not None:
        if b.shape != x.shape[1:2]:
            raise ValueError(f"bias of shape {tuple(b.shape)} does not fit feature maps {tuple(x.shape)}")
        b = b.to(x.dtype)
    one = torch.ones([1], dtype=torch.float32, device=x.device)
    f1, f2 = (one if f is None else f for f in (up_filter, down_filter))
    if min(_sizes(x, f1, f2, up, down, (*padding, *_NONE))[1]) < 1:
        raise ValueError(f"a {tuple(x.shape[2:])} image, padded by {padding}, is smaller than its filters")
    need_mask = torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad))
    limit = -1.0 if clamp is None else float(clamp)
    # The zeros of upsampling take up^2 of the signal's size away.
    settings = (up, down, *padding, *_NONE, False, float(up**2), float(gain), float(slope), limit, need_mask)
    y: Tensor = torch.ops.invert.filtered_lrelu(x, None, f1, f2, b, *settings)[0]
    return y


def _sizes(
    x: Tensor, f1: Tensor, f2: Tensor, up: int, down: int, pads: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return height and width between the filters, and of the result."""
    middle, result = [], []
    for length, axis, first in ((x.shape[2], 0, 2), (x.shape[3], -1, 0)):
        between = length * up + pads[first] + pads[first + 1] - (f1.shape[axis] - 1)
        middle.append(between)
        padded = between + pads[first + 4] + pads[first + 5] - f2.shape[axis]
        result.append(padded // down + 1 if padded >= 0 else 0)
    return (middle[0], middle[1]), (result[0], result[1])


def _filtered(x: Tensor, f: Tensor, up: int, down: int, pads: tuple[int, ...], flip: bool, gain: float) -> Tensor:
    x0, x1, y0, y1 = pads
    op: Any = torch.ops.invert.upfirdn2d
    y: Tensor
    if f.ndim == 2:
        y = op(x, f, up, up, down, down, x0, x1, y0, y1, flip, gain)
        return y
    y = op(x, f[None, :], up, 1, down, 1, x0, x1, 0, 0, flip, gain)
    y = op(y, f[:, None], 1, up, 1, down, 0, 0, y0, y1, flip, 1.0)
    return y


def _portable(
    x: Tensor,
    mask: Tensor | None,
    f1: Tensor,
    f2: Tensor,
    b: Tensor | None,
    up: int,
    down: int,
    *rest: Any,
) -> tuple[Tensor, Tensor]:
    *pads, flip, scale, gain, slope, clamp, need_mask = rest
    u = x if b is None else x + b[:, None, None]
    u = _filtered(u, f1, up, 1, tuple(pads[:4]), flip, scale)
    if mask is not None:
        slopes = torch.tensor([0.0, gain, gain * slope], dtype=x.dtype, device=x.device)
        v = u * slopes[mask.int()]
    else:
        above = u >= 0
        v = torch.where(above, u * gain, u * (gain * slope))
        inside = torch.ones_like(above) if clamp < 0 else v.abs() <= clamp
        v = v if clamp < 0 else v.clamp(-clamp, clamp)
        if need_mask:
            mask = torch.where(inside, torch.where(above, _ABOVE, _BELOW), _CUT).to(torch.uint8).contiguous()
    y = _filtered(v, f2, 1, down, tuple(pads[4:]), flip, 1.0)
    # an operator may not return what it was given
    empty = torch.empty([0], dtype=torch.uint8, device=x.device)
    return y.contiguous(memory_format=layout_of(x)), mask if need_mask and mask is not None else empty


def _fake(
    x: Tensor, mask: Tensor | None, f1: Tensor, f2: Tensor, b: Tensor | None, up: int, down: int, *rest: Any
) -> tuple[Tensor, Tensor]:
    pads, need_mask = rest[:8], rest[-1]
    middle, size = _sizes(x, f1, f2, up, down, pads)
    y = torch.empty([*x.shape[:2], *size], dtype=x.dtype, device=x.device, memory_format=layout_of(x))
    kept = [*x.shape[:2], *middle] if need_mask and mask is None else [0]
    return y, torch.empty(kept, dtype=torch.uint8, device=x.device)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, given, f1, f2, b, *ctx.settings = inputs
    ctx.save_for_backward(output[1] if given is None else given, f1, f2)
    ctx.size, ctx.has_bias = x.shape[2:], b is not None
    ctx.output_size = output[0].shape[2:]


def _backward(ctx: Any, dy: Tensor, _: Any) -> tuple[Any, ...]:
    # The transpose of "up, filter, slope, filter, down" is the same in reverse order, with the filters turned round.
    mask, f1, f2 = ctx.saved_tensors
    up, down, *rest = ctx.settings
    *pads, flip, scale, gain, slope, clamp, _need = rest
    first: list[int] = []
    last: list[int] = []
    for axis, at in ((3, 0), (2, 2)):
        k1, k2 = f1.shape[-1 if axis == 3 else 0], f2.shape[-1 if axis == 3 else 0]
        between, length, given = mask.shape[axis], ctx.size[axis - 2], ctx.output_size[axis - 2]
        p0, q0 = pads[at], pads[at + 4]
        first += [k2 - q0 - 1, between - given * down + q0]
        last += [k1 - p0 - 1, length * up - between + p0 - up + 1]
    settings = (down, up, *first, *last, not flip, scale, gain, slope, clamp, False)
    dx = torch.ops.invert.filtered_lrelu(dy, mask, f2, f1, None, *settings)[0]
    db = dx.sum([0, 2, 3]) if ctx.has_bias and ctx.needs_input_grad[4] else None
    return (dx, None, None, None, db, *[None] * 16)


implement("filtered_lrelu", _portable, _fake)
torch.library.register_autograd(f"{NAMESPACE}::filtered_lrelu", _backward, setup_context=_setup_context, lib=LIBRARY)
