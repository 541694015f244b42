"""The operators' schemas: one `torch.library` fragment that portable and native kernels fill."""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

__all__ = [
    "LIBRARY",
    "NAMESPACE",
    "OPERATORS",
    "as_type",
    "below_autograd",
    "first_order",
    "implement",
    "keep_layout",
    "keep_strides",
    "layout_of",
    "portable",
    "sum_dtype",
]

NAMESPACE = "invert"
_new_library: Any = torch.library.Library  # torch gives its methods no types
LIBRARY: Any = _new_library(NAMESPACE, "FRAGMENT")

_SCHEMAS = (
    "upfirdn2d(Tensor x, Tensor f, int up_x, int up_y, int down_x, int down_y, "
    "int pad_x0, int pad_x1, int pad_y0, int pad_y1, bool flip, float gain) -> Tensor",
    "bias_act(Tensor x, Tensor? b, int dim, int act, float alpha, float gain, float clamp) -> Tensor",
    "bias_act_backward(Tensor dy, Tensor ref, Tensor? b, int dim, int act, float alpha, float gain, float clamp)"
    " -> Tensor",
    "bias_act_second(Tensor v, Tensor dy, Tensor ref, Tensor? b, int dim, int act, float alpha, float gain,"
    " float clamp) -> Tensor",
    "conv_tail(Tensor x, Tensor? scale, Tensor? noise, Tensor? strength, Tensor? b, int act, float alpha,"
    " float gain, float clamp) -> Tensor",
    "conv_tail_backward(Tensor dy, Tensor x, Tensor? scale, Tensor? noise, Tensor? strength, Tensor? b, int act,"
    " float alpha, float gain, float clamp, bool need_scale, bool need_noise)"
    " -> (Tensor dx, Tensor dscale, Tensor dnoise)",
    "layer_tail(Tensor x, Tensor? scale, float factor, Tensor? noise, Tensor? strength, Tensor? b, int act,"
    " float alpha, float gain, float clamp) -> Tensor",
    "layer_tail_backward(Tensor dy, Tensor x, Tensor? scale, float factor, Tensor? noise, Tensor? strength, Tensor? b,"
    " int act, float alpha, float gain, float clamp) -> (Tensor dx, Tensor dscale, Tensor dstrength, Tensor db)",
    "normalised_tail(Tensor x, Tensor? noise, Tensor strength, Tensor b, Tensor? style, float epsilon, int act,"
    " float alpha, float gain, float clamp) -> (Tensor y, Tensor moments)",
    "normalised_tail_backward(Tensor dy, Tensor x, Tensor moments, Tensor? noise, Tensor strength, Tensor b,"
    " Tensor? style, int act, float alpha, float gain, float clamp, bool need_noise)"
    " -> (Tensor dx, Tensor dstyle, Tensor dnoise)",
    "pixel_product(Tensor x, Tensor weight) -> Tensor",
    "pixel_product_backward(Tensor dy, Tensor x, Tensor weight) -> (Tensor dx, Tensor dweight)",
    "modulate(Tensor x, Tensor styles) -> Tensor",
    "modulate_backward(Tensor dy, Tensor x, Tensor styles) -> (Tensor dx, Tensor dstyles)",
    "lpips_tail(Tensor features, Tensor target, Tensor lin) -> Tensor",
    "lpips_tail_backward(Tensor dy, Tensor features, Tensor target, Tensor lin) -> Tensor",
    "filtered_lrelu(Tensor x, Tensor? mask, Tensor f1, Tensor f2, Tensor? b, int up, int down, int pad_x0, int pad_x1,"
    " int pad_y0, int pad_y1, int more_x0, int more_x1, int more_y0, int more_y1, bool flip, float scale, float gain,"
    " float slope, float clamp, bool need_mask) -> (Tensor y, Tensor mask)",
    "demodulation(Tensor styles, Tensor energy_t, float epsilon) -> Tensor",
    "demodulation_backward(Tensor dfactors, Tensor dstyles, Tensor styles, Tensor factors, Tensor energy) -> Tensor",
    "noise_penalty(Tensor maps, float pyramid_scale) -> (Tensor penalty, Tensor gradient)",
    "noise_normalise_(Tensor(a!) maps) -> ()",
    "seeded_normal(Tensor seeds, int count, bool is_double) -> Tensor",
)
OPERATORS = tuple(schema.partition("(")[0] for schema in _SCHEMAS)
"""Operators that have native kernels beside the portable ones."""
_PORTABLE_ONLY = (
    "affine_sample(Tensor x, Tensor matrix, int height, int width, bool transposed) -> Tensor",
    "noise_penalty_backward(Tensor dy, Tensor gradient, Tensor maps) -> Tensor",
)
for _schema in (*_SCHEMAS, *_PORTABLE_ONLY):
    LIBRARY.define(_schema)

_PORTABLE: dict[str, Callable[..., Any]] = {}


def implement(name: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Register what every operator has.

    Args:
        name: Name of the schema.
        kernel: Its portable kernel.
        fake: Function of the same arguments that gives an empty result of the right shape, type and layout.
    """
    _PORTABLE[name] = kernel
    LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=LIBRARY)


def portable(name: str) -> Callable[..., Any]:
    """Return the portable kernel of a schema, whether or not a native one is loaded beside it."""
    return _PORTABLE[name]


def first_order(name: str, plain: str) -> None:
    """Make the derivative of schema `name` an error that names the `plain` way to a second derivative."""

    def backward(ctx: Any, *grads: Any) -> NoReturn:
        raise RuntimeError(
            f"{name.removesuffix('_backward')} has a first derivative only (it is for frozen weights); "
            f"for a second derivative use {plain}"
        )

    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, lib=LIBRARY)


def as_type(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` in a type, without a call of an operator where it has it."""
    return x if x.dtype == dtype else x.to(dtype)


def below_autograd() -> Any:
    """Return a context in which operators are called without autograd looking at them: for derivatives written out."""
    return torch._C._AutoDispatchBelowAutograd()  # as torch.library does around the operators that it registers


def layout_of(x: Tensor) -> torch.memory_format:
    """Return the memory format in which operators give their result: channels-last only where `x` is."""
    if not x.is_contiguous() and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def keep_layout(y: Tensor, x: Tensor) -> Tensor:
    """Return `y` in the memory format that belongs to `x`."""
    return y.contiguous(memory_format=layout_of(x))


def keep_strides(y: Tensor, x: Tensor) -> Tensor:
    """Return `y` in the order of elements that `torch.empty_like(x)` has."""
    if y.stride() == x.stride():
        return y
    like = torch.empty_like(x)
    return y if y.stride() == like.stride() else like.copy_(y)


def sum_dtype(x: Tensor) -> torch.dtype:
    """Return the type sums over elements of `x` are made in: float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
