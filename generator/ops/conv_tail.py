"""What follows each convolution of the synthesis network, in one pass: for frozen weights.

Reference: Karras et al. 2020, section 2.2, figure 2 (c): demodulation, noise, bias, activation.
"""

from typing import Any

import torch
from torch import Tensor

from generator.ops._library import (
    LIBRARY,
    NAMESPACE,
    first_order,
    implement,
    keep_layout,
    layout_of,
    portable,
    sum_dtype,
)
from generator.ops.bias_act import activation_settings, is_piecewise_linear

__all__ = ["conv_tail", "conv_tail_gradients"]


def conv_tail(
    x: Tensor,
    scale: Tensor | None = None,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    b: Tensor | None = None,
    *,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Compute clamp(act(x * scale + noise * strength + b) * gain).

    Args:
        x: Feature maps `[N, C, H, W]`, any floating type, contiguous or channels-last (which is kept).
        scale: Factor per image and channel (demodulation), `[N, C]`, or None.
        noise: Noise maps `[N, 1, H, W]`, or `[1, 1, H, W]` shared by all images, or None.
        strength: Factor on the noise, one element, or None for one.
        b: Bias `[C]`, or None.
        act: One of `generator.settings.ACTIVATIONS`.
        alpha: Slope below zero of "lrelu" (default 0.2).
        gain: Positive factor after the activation (default: `default_gain(act)`).
        clamp: Limit on the result's absolute value, or None.

    Returns:
        A tensor like `x`. Differentiable once, in `x`, `scale` and `noise`.

    Raises:
        ValueError: A shape or a setting does not fit.
        RuntimeError: `strength` or `b` wants a gradient, or a second derivative is asked for.
    """
    settings = activation_settings(act, alpha, gain, clamp)
    if x.ndim != 4:
        raise ValueError(f"activations have four dimensions [N, C, H, W], not shape {tuple(x.shape)}")
    n, c, h, w = x.shape
    if torch.is_grad_enabled() and any(p is not None and p.requires_grad for p in (strength, b)):
        raise RuntimeError("conv_tail has no gradient for strength and bias; with trainable weights use bias_act")
    _check("scale", scale, [(n, c)])
    _check("noise", noise, [(n, 1, h, w), (1, 1, h, w)])
    _check("bias", b, [(c,)])
    if strength is not None and strength.numel() != 1:
        raise ValueError(f"the noise strength is one number, not shape {tuple(strength.shape)}")
    # The small tensors stay in the type the sums are made in, whatever the activations are.
    sides = [None if p is None else p.to(sum_dtype(x)) for p in (scale, noise, strength, b)]
    y: Tensor = torch.ops.invert.conv_tail(x, *sides, *settings)
    return y


def _check(name: str, p: Tensor | None, shapes: list[tuple[int, ...]]) -> None:
    if p is not None and tuple(p.shape) not in shapes:
        raise ValueError(f"{name} of shape {tuple(p.shape)} is not {' or '.join(map(str, shapes))}")


def _input(x: Tensor, scale: Tensor | None, noise: Tensor | None, strength: Tensor | None, b: Tensor | None) -> Tensor:
    u = x.to(sum_dtype(x))
    if scale is not None:
        u = u * scale[:, :, None, None]
    if noise is not None:
        u = u + (noise if strength is None else noise * strength)
    return u if b is None else u + b[:, None, None]


def _forward(
    x: Tensor,
    scale: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
) -> Tensor:
    y: Tensor = portable("bias_act")(_input(x, scale, noise, strength, b), None, 1, act, alpha, gain, clamp)
    return keep_layout(y.to(x.dtype), x)


def _backward(
    dy: Tensor,
    x: Tensor,
    scale: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
    need_scale: bool,
    need_noise: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    ref = _input(x, scale, noise, strength, b)
    if is_piecewise_linear(act):  # whose derivative is taken at the output
        ref = portable("bias_act")(ref, None, 1, act, alpha, gain, clamp)
    du = portable("bias_act_backward")(dy.to(ref.dtype), ref, None, 1, act, alpha, gain, clamp)
    dx = du if scale is None else du * scale[:, :, None, None]
    dscale = (du * x).sum([2, 3]) if need_scale else du.new_empty([0])
    dnoise = du.new_empty([0])
    if need_noise:
        dnoise = du.sum(1, keepdim=True) * (1 if strength is None else strength)
    return keep_layout(dx.to(x.dtype), x), dscale, dnoise


def _fake_forward(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=layout_of(x))


def _fake_backward(dy: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    need_scale, need_noise = rest[-2:]
    n, c, h, w = x.shape
    dscale = x.new_empty([n, c] if need_scale else [0], dtype=sum_dtype(x))
    dnoise = x.new_empty([n, 1, h, w] if need_noise else [0], dtype=sum_dtype(x))
    return torch.empty_like(x, memory_format=layout_of(x)), dscale, dnoise


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    # From the input everything else is had again for free; the output is not kept by this op.
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[5:]


def conv_tail_gradients(
    dy: Tensor,
    x: Tensor,
    scale: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    *,
    settings: tuple[int, float, float, float],
    needs: tuple[bool, bool],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of feature maps, scale and noise from that of the result of `conv_tail`.

    Args:
        dy: Gradient of the result.
        x: As for `conv_tail`, and so are the next four; in the type of its sums.
        scale: See there.
        noise: See there.
        strength: See there.
        b: See there.
        settings: Of `generator.ops.bias_act.activation_settings`.
        needs: Whether the gradients of scale and noise are wanted; what is not is None.
    """
    dx, dscale, dnoise = torch.ops.invert.conv_tail_backward(dy, x, scale, noise, strength, b, *settings, *needs)
    if needs[1] and noise is not None and noise.shape[0] != x.shape[0]:
        dnoise = dnoise.sum(0, keepdim=True)
    return dx, dscale if needs[0] else None, dnoise if needs[1] else None


def _derivative(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    needs = tuple(ctx.needs_input_grad[1:3])
    return (*conv_tail_gradients(dy, *ctx.saved_tensors, settings=ctx.settings, needs=needs), *[None] * 6)


implement("conv_tail", _forward, _fake_forward)
implement("conv_tail_backward", _backward, _fake_backward)
torch.library.register_autograd(f"{NAMESPACE}::conv_tail", _derivative, setup_context=_setup, lib=LIBRARY)
first_order("conv_tail_backward", "modulated_conv2d and bias_act")
