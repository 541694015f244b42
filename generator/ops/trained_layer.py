"""Layers in training, each one step of the graph: for passes whose derivative is taken once.

What a regulariser differentiates twice (R1, path lengths, gradient penalties) runs on operators that allow it. The
adversarial passes, which take most of a training's time, do not need that: here a layer's gradients are written out,
and what follows its convolution is one pass over memory each way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor

from generator.ops._library import sum_dtype
from generator.ops.bias_act import activation_settings
from generator.ops.layer_tail import layer_tail, layer_tail_backward
from generator.ops.modulated_conv import EPSILON, FilteredConvolution

__all__ = [
    "Tail",
    "first_order_pass",
    "is_first_order",
    "trained_conv2d",
    "trained_linear",
    "trained_modulated_conv2d",
    "trained_to_rgb",
]

_FIRST_ORDER: ContextVar[bool] = ContextVar("first_order", default=False)
_IDENTITY = activation_settings("linear", None, 1.0, None)


@contextmanager
def first_order_pass(wanted: bool = True) -> Iterator[None]:
    """Promise that what is computed in the block is differentiated once or not at all.

    Args:
        wanted: Whether it is promised.
    """
    token = _FIRST_ORDER.set(wanted)
    try:
        yield
    finally:
        _FIRST_ORDER.reset(token)


def is_first_order(x: Tensor) -> bool:
    """Return whether a layer takes x by the ways of this module; on other devices than the CPU none does."""
    return _FIRST_ORDER.get() and x.device.type == "cpu"


@dataclass(frozen=True)
class Tail:
    """What follows the product of weights and input: clamp(act(x * factor + ...) * gain).

    Attributes:
        factor: Factor of the equalised learning rate.
        act: One of `generator.settings.ACTIVATIONS`.
        gain: Factor after the activation.
        clamp: Limit on the result's absolute value; None: no limit.
    """

    factor: float
    act: str
    gain: float
    clamp: float | None = None

    @property
    def settings(self) -> tuple[int, float, float, float]:
        """The activation as the operators take it."""
        return activation_settings(self.act, None, self.gain, self.clamp)

    @property
    def is_scale(self) -> bool:
        """Whether it does nothing but scale."""
        return self.act == "linear" and self.clamp is None


def trained_linear(x: Tensor, weight: Tensor, bias: Tensor | None, bias_factor: float, tail: Tail) -> Tensor:
    """Compute clamp(act(x W^T * factor + b * bias_factor) * gain).

    Args:
        x: Features `[N, I]`.
        weight: W, `[O, I]`.
        bias: b, `[O]`, or None.
        bias_factor: Factor on the bias.
        tail: The rest.

    Returns:
        `[N, O]`. Differentiable once, in x, weight and bias.
    """
    y: Tensor = _Linear.apply(x, weight, bias, bias_factor, tail)
    return y


def _once(backward: Callable[[Any, Tensor], tuple[Tensor | None, ...]]) -> Callable[[Any, Tensor], Any]:
    """Make it an error to ask for the graph of a derivative: there is none, and a penalty on it would be a constant."""

    @wraps(backward)
    def checked(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("a layer has a first derivative only within first_order_pass; for a second one leave it")
        return backward(ctx, dy)

    return checked


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, bias_factor: float, tail: Tail) -> Tensor:
        own = weight.to(x.dtype)
        b = None if bias is None else bias.to(sum_dtype(x))
        b = b if b is None or bias_factor == 1 else b * bias_factor
        u = x @ own.t()
        ctx.bias_factor, ctx.tail = bias_factor, tail
        ctx.save_for_backward(x, own, u, b)
        return layer_tail(u, None, tail.factor, None, None, b, tail.settings)

    @staticmethod
    @_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, u, b = ctx.saved_tensors
        tail: Tail = ctx.tail
        du, _, _, db = layer_tail_backward(dy, u, None, tail.factor, None, None, b, tail.settings)
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        return (
            du @ weight if need_x else None,
            du.t() @ x if need_weight else None,
            (db if ctx.bias_factor == 1 else db * ctx.bias_factor) if need_bias else None,
            None,
            None,
        )


def trained_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, f: Tensor, convolution: FilteredConvolution, tail: Tail
) -> Tensor:
    """Compute clamp(act(convolution(x, W) * factor + b) * gain).

    Args:
        x: Feature maps `[N, I, H, W]`.
        weight: W, `[O, I, k, k]`.
        bias: b, `[O]`, or None.
        f: Low-pass filter of the convolution.
        convolution: The convolution with its resampling.
        tail: The rest.

    Returns:
        `[N, O, H', W']`. Differentiable once, in x, weight and bias.
    """
    y: Tensor = _Conv2d.apply(x, weight, bias, f, convolution, tail)
    return y


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        f: Tensor,
        convolution: FilteredConvolution,
        tail: Tail,
    ) -> Tensor:
        ctx.convolution, ctx.tail, ctx.size = convolution, tail, x.shape[2:]
        if bias is None and tail.is_scale:  # there are fewer weights than pixels
            weight = weight * (tail.factor * tail.gain)
        own, b = weight.to(x.dtype), None if bias is None else bias.to(sum_dtype(x))
        seen, y = convolution.forward(x, own, f)
        if bias is None and tail.is_scale:
            ctx.save_for_backward(seen, own, f)
            return y
        ctx.save_for_backward(seen, own, f, y, b)
        return layer_tail(y, None, tail.factor, None, None, b, tail.settings)

    @staticmethod
    @_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        seen, weight, f, *rest = ctx.saved_tensors
        tail: Tail = ctx.tail
        db = None
        if rest:
            y, b = rest
            dy, _, _, db = layer_tail_backward(dy, y, None, tail.factor, None, None, b, tail.settings)
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        dx, dweight = ctx.convolution.backward(dy, seen, weight, f, ctx.size, need_x, need_weight)
        if dweight is not None:
            dweight = dweight.to(sum_dtype(dweight))
            dweight = dweight if rest else dweight * (tail.factor * tail.gain)
        return dx, dweight, db if need_bias else None, None, None, None


def _styles(w: Tensor, affine: Tensor, bias: Tensor, factor: float) -> Tensor:
    """Return a layer's styles s = w A^T factor + a, `[N, I]`."""
    return torch.addmm(bias, w, affine.t(), alpha=factor)


def _styles_backward(ds: Tensor, w: Tensor, affine: Tensor, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of w, A and a."""
    return (ds @ affine).mul_(factor), (ds.t() @ w).mul_(factor), ds.sum(0)


def _demodulation_backward(dd: Tensor, s: Tensor, d: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the styles s and of E `[O, I]`, of the factors d = 1 / sqrt(s^2 E^T + epsilon)."""
    through = (dd * d.pow(3)).mul_(-0.5)
    return (through @ energy).mul_(s).mul_(2), through.t() @ s.square()


@dataclass(frozen=True)
class ModulatedLayer:
    """What a modulated layer is apart from its tensors.

    Attributes:
        convolution: The convolution with its resampling.
        demodulate: Whether the weights are brought to unit norm.
        affine_factor: Factor on the weights of the affine map from w to the styles.
        tail: What follows.
    """

    convolution: FilteredConvolution
    demodulate: bool
    affine_factor: float
    tail: Tail


def trained_modulated_conv2d(
    x: Tensor,
    w: Tensor,
    affine: tuple[Tensor, Tensor],
    weight: Tensor,
    noise: tuple[Tensor, Tensor] | None,
    bias: Tensor,
    f: Tensor,
    layer: ModulatedLayer,
) -> Tensor:
    """Compute a layer of the synthesis network: styles, modulated convolution, demodulation, noise, bias, activation.

    Args:
        x: Feature maps `[N, I, H, W]`.
        w: Styles `[N, w_dim]`.
        affine: Weights `[I, w_dim]` and bias `[I]` of the affine map.
        weight: Weights of the convolution `[O, I, k, k]`.
        noise: Noise maps `[N or 1, 1, H', W']`, a constant, and their strength, one element; None: no noise.
        bias: `[O]`.
        f: Low-pass filter of the convolution.
        layer: The rest.

    Returns:
        `[N, O, H', W']`. Differentiable once, in all but noise and filter.
    """
    maps, strength = noise or (None, None)
    y: Tensor = _ModulatedConv2d.apply(x, w, *affine, weight, maps, strength, bias, f, layer)
    return y


class _ModulatedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        affine: Tensor,
        affine_bias: Tensor,
        weight: Tensor,
        noise: Tensor | None,
        strength: Tensor | None,
        bias: Tensor,
        f: Tensor,
        layer: ModulatedLayer,
    ) -> Tensor:
        tail, kind = layer.tail, sum_dtype(x)
        s = _styles(w, affine, affine_bias, layer.affine_factor)
        energy = d = None
        if layer.demodulate:
            energy = weight.square().sum([2, 3])
            d = (s.square() @ energy.t()).add_(EPSILON).rsqrt_()
        own = weight.to(x.dtype)
        modulated = layer_tail(x, s, 1.0, None, None, None, _IDENTITY)
        seen, y = layer.convolution.forward(modulated, own, f)
        noise = None if noise is None else noise.to(kind)
        b = bias.to(kind)
        ctx.layer = layer
        ctx.save_for_backward(*(x, w, affine, weight, own, noise, strength, b, f, s, energy, d, seen, y))
        return layer_tail(y, d, tail.factor, noise, strength, b, tail.settings)

    @staticmethod
    @_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w, affine, weight, own, noise, strength, b, f, s, energy, d, seen, y = ctx.saved_tensors
        layer: ModulatedLayer = ctx.layer
        tail = layer.tail
        du, dd, dstrength, db = layer_tail_backward(dy, y, d, tail.factor, noise, strength, b, tail.settings)
        need_weight = ctx.needs_input_grad[4]
        dmodulated, dweight = layer.convolution.backward(du, seen, own, f, x.shape[2:], True, need_weight)
        dx, ds, _, _ = layer_tail_backward(cast(Tensor, dmodulated), x, s, 1.0, None, None, None, _IDENTITY)
        dweight = None if dweight is None else dweight.to(sum_dtype(dweight))
        if d is not None:
            through_s, denergy = _demodulation_backward(dd, s, d, energy)
            ds = ds.add_(through_s)
            if dweight is not None:
                dweight.addcmul_(weight, denergy[:, :, None, None], value=2)
        dw, daffine, daffine_bias = _styles_backward(ds, w, affine, layer.affine_factor)
        needed = ctx.needs_input_grad
        return (
            dx if needed[0] else None,
            dw if needed[1] else None,
            daffine if needed[2] else None,
            daffine_bias if needed[3] else None,
            dweight,
            None,
            dstrength.reshape(strength.shape) if needed[6] else None,
            db if needed[7] else None,
            None,
            None,
        )


def trained_to_rgb(
    x: Tensor,
    w: Tensor,
    affine: tuple[Tensor, Tensor],
    affine_factor: float,
    weight: Tensor,
    bias: Tensor,
    tail: Tail,
) -> Tensor:
    """Compute the modulated 1x1 convolution to image channels: scaling the few weights is cheaper than the maps.

    Args:
        x: Feature maps `[N, I, H, W]`.
        w: Styles `[N, w_dim]`.
        affine: Weights `[I, w_dim]` and bias `[I]` of the affine map.
        affine_factor: Factor on its weights.
        weight: `[C, I, 1, 1]`.
        bias: `[C]`.
        tail: Factor on the weights, and the clamp.

    Returns:
        `[N, C, H, W]`. Differentiable once, in x, w and all that is trained.
    """
    y: Tensor = _ToRGB.apply(x, w, *affine, weight, bias, affine_factor, tail)
    return y


class _ToRGB(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        affine: Tensor,
        affine_bias: Tensor,
        weight: Tensor,
        bias: Tensor,
        affine_factor: float,
        tail: Tail,
    ) -> Tensor:
        s = _styles(w, affine, affine_bias, affine_factor)
        own = weight[:, :, 0, 0] * tail.factor  # [C, I]
        weights = (own * s[:, None]).to(x.dtype)  # [N, C, I]
        y = torch.baddbmm(bias.to(x.dtype), _pixels(x), weights.transpose(1, 2))
        clamped = y if tail.clamp is None else y.clamp(-tail.clamp, tail.clamp)
        ctx.affine_factor, ctx.tail = affine_factor, tail
        ctx.save_for_backward(x, w, affine, own, s, weights, None if tail.clamp is None else clamped)
        return _maps(clamped, x)

    @staticmethod
    @_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w, affine, own, s, weights, clamped = ctx.saved_tensors
        dy = _pixels(dy)  # [N, HW, C]
        if clamped is not None:
            dy = torch.where(clamped.abs() < ctx.tail.clamp, dy, torch.zeros_like(dy))
        dx = torch.bmm(dy, weights)
        dweights = torch.bmm(dy.transpose(1, 2), _pixels(x)).to(s.dtype)  # [N, C, I]
        down = (dweights * s[:, None]).sum(0).mul_(ctx.tail.factor)
        ds = (dweights * own).sum(1)
        dw, daffine, daffine_bias = _styles_backward(ds, w, affine, ctx.affine_factor)
        db = dy.to(s.dtype).sum([0, 1])
        given = (_maps(dx, x), dw, daffine, daffine_bias, down[:, :, None, None], db, None, None)
        return tuple(g if need else None for g, need in zip(given, ctx.needs_input_grad, strict=True))


def _pixels(x: Tensor) -> Tensor:
    """Return maps `[N, C, H, W]` as `[N, H W, C]`, a view where channels lie innermost."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h * w, c)


def _maps(pixels: Tensor, like: Tensor) -> Tensor:
    """Return `[N, H W, C]` as maps of the size of others."""
    n, _, c = pixels.shape
    return pixels.reshape(n, *like.shape[2:], c).permute(0, 3, 1, 2)
