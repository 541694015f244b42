"""Add a bias, apply an activation, scale and clamp, as one operator that can be differentiated twice."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from generator.ops._library import LIBRARY, NAMESPACE, implement, keep_strides
from generator.settings import ACTIVATIONS

__all__ = ["activation_settings", "bias_act", "default_gain", "is_piecewise_linear"]

_SQRT2 = math.sqrt(2)
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805

# The gain keeps the variance of a unit normal input near one (He et al. 2015).
_DEFAULT_GAIN = {"relu": _SQRT2, "lrelu": _SQRT2, "swish": _SQRT2}
_DEFAULT_ALPHA = {"lrelu": 0.2}
# Straight on either side of zero: the slope follows from the output's sign, the second derivative is zero.
_PIECEWISE_LINEAR = frozenset(ACTIVATIONS.index(name) for name in ("linear", "relu", "lrelu"))


def default_gain(act: str) -> float:
    """Return the gain that `bias_act` applies after activation `act` unless told otherwise."""
    return _DEFAULT_GAIN.get(act, 1.0)


def is_piecewise_linear(act: int) -> bool:
    """Return whether the activation at this place of `ACTIVATIONS` is straight on either side of zero."""
    return act in _PIECEWISE_LINEAR


def activation_settings(
    act: str, alpha: float | None, gain: float | None, clamp: float | None
) -> tuple[int, float, float, float]:
    """Return an activation's settings as the operators' schemas take them.

    Args:
        act: One of `generator.settings.ACTIVATIONS`.
        alpha: Slope below zero of "lrelu"; None: its default.
        gain: Positive factor after the activation; None: `default_gain(act)`.
        clamp: Limit on the result's absolute value, or None.

    Returns:
        Place of the activation in `ACTIVATIONS`, alpha, gain, and the clamp, which is negative for none.

    Raises:
        ValueError: Unknown activation, gain not positive, or clamp negative.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"activation {act!r} is not one of {', '.join(ACTIVATIONS)}")
    gain = default_gain(act) if gain is None else float(gain)
    alpha = _DEFAULT_ALPHA.get(act, 0.0) if alpha is None else float(alpha)
    if gain <= 0 or (clamp is not None and clamp < 0):
        raise ValueError(f"gain {gain} must be positive and clamp {clamp} not negative")
    return ACTIVATIONS.index(act), alpha, gain, -1.0 if clamp is None else float(clamp)


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Compute clamp(act(x + b) * gain).

    Args:
        x: Any shape, any floating type.
        b: Bias `[x.shape[dim]]`, or None.
        dim: The dimension the bias runs along.
        act: One of `generator.settings.ACTIVATIONS`.
        alpha: Slope below zero of "lrelu" (default 0.2).
        gain: Positive factor after the activation (default: `default_gain(act)`).
        clamp: Limit on the result's absolute value, or None.

    Returns:
        A tensor like `x`. Twice differentiable in `x` and `b`.

    Raises:
        ValueError: Unknown activation, gain not positive, or a bias of the wrong shape.
    """
    settings = activation_settings(act, alpha, gain, clamp)
    if b is not None:
        if b.ndim != 1 or b.shape[0] != x.shape[dim]:
            raise ValueError(f"bias of shape {tuple(b.shape)} does not fit dimension {dim} of {tuple(x.shape)}")
        b = b.to(x.dtype)
    y: Tensor = torch.ops.invert.bias_act(x, b, dim % max(x.ndim, 1), *settings)
    return y


# What each activation, its slope and its curvature are, as functions of the input u = x + b.


def _lrelu(u: Tensor, alpha: float) -> Tensor:
    return functional.leaky_relu(u, alpha)


_VALUE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "linear": lambda u, alpha: u,
    "relu": lambda u, alpha: u.relu(),
    "lrelu": _lrelu,
    "tanh": lambda u, alpha: u.tanh(),
    "sigmoid": lambda u, alpha: u.sigmoid(),
    "elu": lambda u, alpha: functional.elu(u),
    "selu": lambda u, alpha: functional.selu(u),
    "softplus": lambda u, alpha: functional.softplus(u),
    "swish": lambda u, alpha: u * u.sigmoid(),
}


def _below(u: Tensor, value: Tensor, otherwise: float) -> Tensor:
    return torch.where(u < 0, value, torch.full_like(value, otherwise))


def _sigmoid_slope(u: Tensor) -> Tensor:
    s = u.sigmoid()
    return s * (1 - s)


def _swish_curvature(u: Tensor) -> Tensor:
    s = u.sigmoid()
    return s * (1 - s) * (2 + u * (1 - 2 * s))


_SLOPE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda u: 1 - u.tanh().square(),
    "sigmoid": _sigmoid_slope,
    "elu": lambda u: _below(u, u.exp(), 1.0),
    "selu": lambda u: _below(u, u.exp() * (_SELU_ALPHA * _SELU_SCALE), _SELU_SCALE),
    "softplus": lambda u: u.sigmoid(),
    "swish": lambda u: u.sigmoid() * (1 + u * (1 - u.sigmoid())),
}
_CURVATURE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda u: -2 * u.tanh() * (1 - u.tanh().square()),
    "sigmoid": lambda u: _sigmoid_slope(u) * (1 - 2 * u.sigmoid()),
    "elu": lambda u: _below(u, u.exp(), 0.0),
    "selu": lambda u: _below(u, u.exp() * (_SELU_ALPHA * _SELU_SCALE), 0.0),
    "softplus": _sigmoid_slope,
    "swish": _swish_curvature,
}


def _biased(x: Tensor, b: Tensor | None, dim: int) -> Tensor:
    return x if b is None else x + b.reshape([-1 if i == dim else 1 for i in range(x.ndim)])


def _forward(x: Tensor, b: Tensor | None, dim: int, act: int, alpha: float, gain: float, clamp: float) -> Tensor:
    u = _biased(x, b, dim)
    y = _VALUE[ACTIVATIONS[act]](u, alpha) * gain
    return keep_strides(y.clamp(-clamp, clamp) if clamp >= 0 else y, x)


def _inside(u: Tensor, act: int, gain: float, clamp: float) -> Tensor:
    return (_VALUE[ACTIVATIONS[act]](u, 0.0) * gain).abs() < clamp


def _first(
    dy: Tensor, ref: Tensor, b: Tensor | None, dim: int, act: int, alpha: float, gain: float, clamp: float
) -> Tensor:
    """Return dy * dy/dx; `ref` is the output for piecewise linear activations, else the input."""
    if act in _PIECEWISE_LINEAR:
        below = {"linear": 1.0, "relu": 0.0, "lrelu": alpha}[ACTIVATIONS[act]]
        dx = dy * gain if below == 1.0 else torch.where(ref > 0, dy * gain, dy * (gain * below))
        dx = dx if clamp < 0 else torch.where(ref.abs() < clamp, dx, torch.zeros_like(dx))
        return keep_strides(dx, dy)
    u = _biased(ref, b, dim)
    dx = dy * _SLOPE[ACTIVATIONS[act]](u) * gain
    dx = dx if clamp < 0 else torch.where(_inside(u, act, gain, clamp), dx, torch.zeros_like(dx))
    return keep_strides(dx, dy)


def _second(
    v: Tensor,
    dy: Tensor,
    ref: Tensor,
    b: Tensor | None,
    dim: int,
    act: int,
    alpha: float,
    gain: float,
    clamp: float,
) -> Tensor:
    """Return v * dy * d2y/dx2, the derivative of <first(dy, x), v> in x."""
    u = _biased(ref, b, dim)
    d2 = v * dy * _CURVATURE[ACTIVATIONS[act]](u) * gain
    d2 = d2 if clamp < 0 else torch.where(_inside(u, act, gain, clamp), d2, torch.zeros_like(d2))
    return keep_strides(d2, v)


def _sum_to_bias(dx: Tensor, dim: int) -> Tensor:
    return dx.sum([i for i in range(dx.ndim) if i != dim])


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, b, ctx.dim, ctx.act, *rest = inputs
    ctx.settings = (ctx.dim, ctx.act, *rest)
    ctx.has_bias = b is not None
    # Keeping the output costs nothing: the next layer keeps it as its input anyway.
    linear = ctx.act in _PIECEWISE_LINEAR
    ctx.save_for_backward(*([output] if linear else [x, b]))


def _backward_forward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    ref, b = (*ctx.saved_tensors, None)[:2]
    dx = torch.ops.invert.bias_act_backward(dy, ref, b, *ctx.settings)
    db = _sum_to_bias(dx, ctx.dim) if ctx.has_bias and ctx.needs_input_grad[1] else None
    return (dx, db, *[None] * 5)


def _setup_first(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    dy, ref, b, ctx.dim, ctx.act, *rest = inputs
    ctx.settings = (ctx.dim, ctx.act, *rest)
    ctx.save_for_backward(dy, ref, b)


def _backward_first(ctx: Any, v: Tensor) -> tuple[Any, ...]:
    dy, ref, b = ctx.saved_tensors
    ddy = torch.ops.invert.bias_act_backward(v, ref, b, *ctx.settings)
    if ctx.act in _PIECEWISE_LINEAR:
        return (ddy, None, None, *[None] * 5)
    d2 = torch.ops.invert.bias_act_second(v, dy, ref, b, *ctx.settings)
    db = _sum_to_bias(d2, ctx.dim) if b is not None and ctx.needs_input_grad[2] else None
    return (ddy, d2, db, *[None] * 5)


for _name, _kernel in (("bias_act", _forward), ("bias_act_backward", _first), ("bias_act_second", _second)):
    implement(_name, _kernel, lambda x, *_: torch.empty_like(x))
torch.library.register_autograd(f"{NAMESPACE}::bias_act", _backward_forward, setup_context=_setup_forward, lib=LIBRARY)
torch.library.register_autograd(
    f"{NAMESPACE}::bias_act_backward", _backward_first, setup_context=_setup_first, lib=LIBRARY
)
