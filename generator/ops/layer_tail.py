"""What follows the convolution of a layer that is trained, in one pass each way, with the gradients of all it takes.

Reference: Karras et al. 2020, section 2.2, figure 2 (c): demodulation, noise, bias, activation.
"""

from typing import Any

import torch
from torch import Tensor

from generator.ops._library import first_order, implement, keep_layout, layout_of, portable, sum_dtype
from generator.ops.bias_act import is_piecewise_linear

__all__ = ["layer_tail", "layer_tail_backward"]


def layer_tail(
    x: Tensor,
    scale: Tensor | None,
    factor: float,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    settings: tuple[int, float, float, float],
) -> Tensor:
    """Compute clamp(act(x * scale * factor + noise * strength + b) * gain), outside of autograd.

    Args:
        x: Feature maps `[N, C, H, W]`, contiguous or channels-last (which is kept), or features `[N, C]`.
        scale: Factor per image and channel (demodulation, modulation), `[N, C]`, or None.
        factor: Factor on everything in x, such as that of the equalised learning rate.
        noise: Noise maps `[N or 1, 1, H, W]`, or None.
        strength: Factor on the noise, one element, or None for one.
        b: Bias `[C]`, or None. It and the other small tensors have the type that sums are made in.
        settings: What `bias_act.activation_settings` gives.

    Returns:
        A tensor like `x`.
    """
    y: Tensor = torch.ops.invert.layer_tail.default(x, scale, factor, noise, strength, b, *settings)
    return y


def layer_tail_backward(
    dy: Tensor,
    x: Tensor,
    scale: Tensor | None,
    factor: float,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    settings: tuple[int, float, float, float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, scale `[N, C]`, strength `[1]` and bias `[C]`, of a loss with gradient dy.

    Those of tensors that are None have no elements.
    """
    gradients: tuple[Tensor, Tensor, Tensor, Tensor] = torch.ops.invert.layer_tail_backward.default(
        dy, x, scale, factor, noise, strength, b, *settings
    )
    return gradients


def _shape(p: Tensor, x: Tensor) -> Tensor:
    """Return `[N, C]` or `[C]` as it broadcasts to x."""
    return p if x.ndim == 2 else p[..., None, None]


def _input(
    x: Tensor, scale: Tensor | None, factor: float, noise: Tensor | None, strength: Tensor | None, b: Tensor | None
) -> Tensor:
    u = x.to(sum_dtype(x))
    if scale is not None:
        u = u * _shape(scale * factor, x)
    elif factor != 1:
        u = u * factor
    if noise is not None:
        u = u + (noise if strength is None else noise * strength)
    return u if b is None else u + _shape(b, x)


def _forward(
    x: Tensor,
    scale: Tensor | None,
    factor: float,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
) -> Tensor:
    u = _input(x, scale, factor, noise, strength, b)
    y: Tensor = portable("bias_act")(u, None, 1, act, alpha, gain, clamp)
    return keep_layout(y.to(x.dtype), x)


def _backward(
    dy: Tensor,
    x: Tensor,
    scale: Tensor | None,
    factor: float,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ref = _input(x, scale, factor, noise, strength, b)
    if is_piecewise_linear(act):  # whose derivative is taken at the output
        ref = portable("bias_act")(ref, None, 1, act, alpha, gain, clamp)
    du = portable("bias_act_backward")(dy.to(ref.dtype), ref, None, 1, act, alpha, gain, clamp)
    pixels = list(range(2, x.ndim))
    dx = du * factor if scale is None else du * _shape(scale * factor, x)
    dscale, dstrength, db = du.new_empty([0, x.shape[1]]), du.new_empty([0]), du.new_empty([0])
    if scale is not None:
        dscale = (du * x).sum(pixels) * factor if pixels else du * x * factor
    if noise is not None and strength is not None:
        dstrength = (du * noise).sum().reshape(1)
    if b is not None:
        db = du.sum([0, *pixels])
    return keep_layout(dx.to(x.dtype), x), dscale, dstrength, db


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=layout_of(x))


def _fake_backward(
    dy: Tensor,
    x: Tensor,
    scale: Tensor | None,
    factor: float,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n, c = x.shape[:2]
    sizes = [0 if scale is None else n, c], [0 if noise is None or strength is None else 1], [0 if b is None else c]
    dscale, dstrength, db = (x.new_empty(size, dtype=sum_dtype(x)) for size in sizes)
    return _like(x), dscale, dstrength, db


implement("layer_tail", _forward, lambda x, *_: _like(x))
implement("layer_tail_backward", _backward, _fake_backward)
first_order("layer_tail", "bias_act")
first_order("layer_tail_backward", "bias_act")
