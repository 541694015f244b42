"""What follows the convolution of a frozen layer that normalises each feature map, in two passes each way.

Reference: Karras et al. 2019, figure 1 (b), equation 1 (adaptive instance normalisation).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from generator.ops._library import (
    as_type,
    below_autograd,
    first_order,
    implement,
    keep_layout,
    layout_of,
    portable,
    sum_dtype,
)
from generator.ops.bias_act import activation_settings, is_piecewise_linear
from generator.ops.frozen_conv import FrozenConv2d
from generator.ops.upfirdn2d import upfirdn2d_gradient

__all__ = ["FrozenNormalisedLayer"]


class FrozenNormalisedLayer:
    """Convolution with constant weights, blur, noise, bias, activation, instance normalisation and style.

    Args:
        convolution: The convolution; None: the layer works on its input.
        blur: Dense low-pass filter after it, see `upfirdn2d`; None: there is none.
        strength: Factor on noise maps for each channel, `[O]`.
        bias: `[O]`.
        activation: One of `generator.settings.ACTIVATIONS`.
        epsilon: Added to the variance.
    """

    def __init__(
        self,
        convolution: FrozenConv2d | None,
        blur: Tensor | None,
        strength: Tensor,
        bias: Tensor,
        activation: str,
        epsilon: float,
    ) -> None:
        self.convolution, self.blur, self.epsilon = convolution, blur, epsilon
        self.strength, self.bias = strength.detach(), bias.detach()
        self.settings = activation_settings(activation, None, 1.0, None)
        self.blurring: tuple[Any, ...] = ()
        if blur is not None:
            taps = blur.shape[-1]
            self.blurring = (1, 1, 1, 1, *[(taps - 1) // 2, taps // 2] * 2, False, 1.0)

    def __call__(self, x: Tensor, style: Tensor | None, noise: Tensor | None) -> Tensor:
        """Map feature maps to feature maps; differentiable once, in `x`, `style` and `noise`.

        Args:
            x: Feature maps `[N, I, H, W]`.
            style: Scale, counted from one, and shift of each channel, `[N, 2 O]`; None: neither.
            noise: Noise maps `[N or 1, 1, H', W']`; None: no noise.

        Returns:
            `[N, O, H', W']`.
        """
        y: Tensor = _Layer.apply(x, style, noise, self)
        return y

    def sides(self, x: Tensor, style: Tensor | None, noise: Tensor | None) -> list[Tensor | None]:
        """Return what the operator takes beside feature maps, in the type that its sums are made in."""
        wide = sum_dtype(x)
        return [None if p is None else as_type(p, wide) for p in (noise, self.strength, self.bias, style)]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, style: Tensor | None, noise: Tensor | None, layer: FrozenNormalisedLayer
    ) -> Tensor:
        kept: tuple[Tensor | None, ...] = ()
        with below_autograd():
            if layer.convolution is not None:
                x, kept = layer.convolution.forward(x)
            if layer.blur is not None:
                x = torch.ops.invert.upfirdn2d(x, layer.blur, *layer.blurring)
            sides = layer.sides(x, style, noise)
            y: Tensor
            y, moments = torch.ops.invert.normalised_tail(x, *sides, layer.epsilon, *layer.settings)
        ctx.layer = layer
        ctx.save_for_backward(x, style, noise, moments, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, style, noise, moments, *kept = ctx.saved_tensors
        ctx.maybe_clear_saved_tensors()  # unless the graph is kept
        need_x, need_style, need_noise = ctx.needs_input_grad[:3]
        layer: FrozenNormalisedLayer = ctx.layer
        with below_autograd():
            noise, *sides = layer.sides(x, style, noise)
            dx, dstyle, dnoise = torch.ops.invert.normalised_tail_backward(
                dy, x, moments, noise, *sides, *layer.settings, need_noise
            )
            if need_noise and noise is not None and len(noise) < len(dnoise):
                dnoise = dnoise.sum(0, keepdim=True)
            if need_x:
                if layer.blur is not None:
                    dx = upfirdn2d_gradient(dx, layer.blur, dx.shape[2:], layer.blurring)
                if layer.convolution is not None:
                    dx = layer.convolution.backward(dx, *kept)
        return dx if need_x else None, dstyle if need_style else None, dnoise if need_noise else None, None


def _input(x: Tensor, noise: Tensor | None, strength: Tensor, b: Tensor) -> Tensor:
    u = x.to(sum_dtype(x)) + b[:, None, None]
    return u if noise is None else u + noise * strength[:, None, None]


def _scale(style: Tensor | None, inverse: Tensor) -> Tensor:
    """Return what stands before a normalised feature map's difference from its mean, `[N, C]`."""
    return inverse if style is None else inverse * (1 + style[:, : inverse.shape[1]])


def _forward(
    x: Tensor,
    noise: Tensor | None,
    strength: Tensor,
    b: Tensor,
    style: Tensor | None,
    epsilon: float,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    y: Tensor = portable("bias_act")(_input(x, noise, strength, b), None, 1, act, alpha, gain, clamp)
    mean = y.mean([2, 3])
    y = y - mean[..., None, None]
    inverse = (y.square().mean([2, 3]) + epsilon).rsqrt()
    y = y * _scale(style, inverse)[..., None, None]
    if style is not None:
        y = y + style[:, x.shape[1] :, None, None]
    return keep_layout(y.to(x.dtype), x), torch.stack([mean, inverse], dim=1)


def _backward(
    dy: Tensor,
    x: Tensor,
    moments: Tensor,
    noise: Tensor | None,
    strength: Tensor,
    b: Tensor,
    style: Tensor | None,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
    need_noise: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    u = _input(x, noise, strength, b)
    y: Tensor = portable("bias_act")(u, None, 1, act, alpha, gain, clamp)
    mean, inverse = moments.unbind(1)
    dy, pixels = dy.to(y.dtype), x.shape[2] * x.shape[3]
    normal = (y - mean[..., None, None]) * inverse[..., None, None]
    dscale, dshift = (dy * normal).sum([2, 3]), dy.sum([2, 3])
    # What is common to a feature map's pixels, and what follows them, is lost in its normalisation.
    du = dy - (dshift[..., None, None] + normal * dscale[..., None, None]) / pixels
    du = du * _scale(style, inverse)[..., None, None]
    ref = y if is_piecewise_linear(act) else u  # where the activation's derivative is taken
    du = portable("bias_act_backward")(du, ref, None, 1, act, alpha, gain, clamp)
    dnoise = du.new_empty([0, 1, *x.shape[2:]])
    if need_noise:
        dnoise = (du * strength[:, None, None]).sum(1, keepdim=True)
    return keep_layout(du.to(x.dtype), x), torch.cat([dscale, dshift], dim=1), dnoise


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=layout_of(x))


def _fake(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _like(x), x.new_empty([len(x), 2, x.shape[1]], dtype=sum_dtype(x))


def _fake_backward(dy: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    n, c, height, width = x.shape
    dstyle = x.new_empty([n, 2 * c], dtype=sum_dtype(x))
    return _like(x), dstyle, x.new_empty([n if rest[-1] else 0, 1, height, width], dtype=sum_dtype(x))


implement("normalised_tail", _forward, _fake)
implement("normalised_tail_backward", _backward, _fake_backward)
first_order("normalised_tail", "bias_act")
first_order("normalised_tail_backward", "bias_act")
