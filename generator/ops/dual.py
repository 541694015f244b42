"""Forward-mode derivatives: values that carry tangents, and how the operators of frozen networks carry them on.

A `Dual` holds feature maps of N images and, of each image, T directional derivatives. Whatever is linear treats the
tangents as T more images, so that the same kernels and packed weights serve; the rest has a rule of its own here.

Reference: Griewank and Walther 2008, section 3.1 (forward propagation of tangents).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from generator.ops._library import portable, sum_dtype
from generator.ops.bias_act import activation_settings, bias_act, is_piecewise_linear
from generator.ops.conv_tail import conv_tail
from generator.ops.modulate import modulate

__all__ = ["Dual", "dual_bias_act", "dual_conv_tail", "dual_modulate"]


@dataclass(frozen=True, eq=False)
class Dual:
    """A value of N images with T tangents of each.

    Attributes:
        value: `[N, ...]`.
        tangents: `[N * T, ...]`, those of an image one after another; None where all are zero.
    """

    value: Tensor
    tangents: Tensor | None = None

    def by_image(self, tangents: Tensor) -> Tensor:
        """Return tangents `[N * T, ...]` as `[N, T, ...]`."""
        return tangents.reshape(len(self.value), -1, *tangents.shape[1:])

    def linear(self, map_: Callable[[Tensor], Tensor]) -> "Dual":
        """Apply a linear map, which takes images one by one, to value and tangents."""
        return Dual(map_(self.value), None if self.tangents is None else map_(self.tangents))

    def affine(self, map_: Callable[[Tensor], Tensor], offset: Tensor | float) -> "Dual":
        """Apply a map that is linear, and add a constant."""
        moved = self.linear(map_)
        return Dual(moved.value + offset, moved.tangents)

    def scaled(self, slope: Tensor) -> Tensor | None:
        """Return the tangents with those of each image multiplied by its slope `[N or 1, ...]`."""
        if self.tangents is None:
            return None
        return (self.by_image(self.tangents) * slope[:, None]).flatten(0, 1)

    def __add__(self, other: "Dual") -> "Dual":
        return Dual(self.value + other.value, _sum(self.tangents, other.tangents))

    def __mul__(self, other: "Dual") -> "Dual":
        """Multiply by a value that broadcasts to this one: (a b)' = a' b + a b'."""
        value, tangents = self.value * other.value, self.scaled(other.value)
        if other.tangents is None:
            return Dual(value, tangents)
        more = other.by_image(other.tangents)
        if tangents is None:
            return Dual(value, (self.value[:, None] * more).flatten(0, 1))
        return Dual(value, torch.addcmul(self.by_image(tangents), self.value[:, None], more).flatten(0, 1))

    def rsqrt(self) -> "Dual":
        """Return 1 / sqrt(x)."""
        value = self.value.rsqrt()
        return Dual(value, self.scaled(-0.5 * value**3))

    def to(self, dtype: torch.dtype) -> "Dual":
        """Convert to a type of number."""
        return self.linear(lambda x: x.to(dtype))

    def faded(self, other: "Dual", alpha: float) -> "Dual":
        """Return images of twice the size, 1 - alpha from this one, each pixel repeated, and alpha from the other."""
        return self.linear(lambda image: functional.interpolate(image, scale_factor=2) * (1 - alpha)) + other.linear(
            lambda image: image * alpha
        )

    def columns(self, first: int, last: int) -> "Dual":
        """Return the entries first to last - 1 of dimension 1."""
        return self.linear(lambda x: x[:, first:last])


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _on_maps(x: Dual) -> Dual:
    """Return factors `[N, C]` as they multiply feature maps `[N, C, H, W]`."""
    return x.linear(lambda values: values[:, :, None, None])


def dual_modulate(x: Dual, styles: Dual) -> Dual:
    """Do what `modulate` does.

    Args:
        x: Feature maps `[N, C, H, W]`.
        styles: `[N, C]`.
    """
    return Dual(modulate(x.value, styles.value), (Dual(x.value, x.tangents) * _on_maps(styles)).tangents)


def _slope(u: Tensor, y: Tensor, act: str, gain: float, clamp: float | None) -> Tensor:
    """Return the derivative of an activation at its input u, where it gives y."""
    number, alpha, gain, limit = activation_settings(act, None, gain, clamp)
    ref = y if is_piecewise_linear(number) else u
    slope: Tensor = portable("bias_act_backward")(torch.ones_like(u), ref, None, 1, number, alpha, gain, limit)
    return slope


def dual_bias_act(x: Dual, b: Tensor | None, *, act: str, gain: float, clamp: float | None = None) -> Dual:
    """Do what `bias_act` does along dimension 1, with a constant bias."""
    y = bias_act(x.value, b, act=act, gain=gain, clamp=clamp)
    if act == "linear" and clamp is None and gain == 1:
        return Dual(y, x.tangents)
    shape = [1, -1] + [1] * (x.value.ndim - 2)
    u = x.value if b is None else x.value + b.to(x.value.dtype).reshape(shape)
    return Dual(y, x.scaled(_slope(u, y, act, gain, clamp)))


def dual_conv_tail(
    x: Dual,
    scale: Dual | None,
    noise: Dual | None,
    strength: Tensor | None,
    b: Tensor | None,
    *,
    act: str,
    gain: float,
    clamp: float | None,
) -> Dual:
    """Do what `conv_tail` does, with constant strength and bias; see there for the shapes."""
    scale_value = None if scale is None else scale.value
    noise_value = None if noise is None else noise.value
    y = conv_tail(x.value, scale_value, noise_value, strength, b, act=act, gain=gain, clamp=clamp)
    u = x if scale is None else x * _on_maps(scale)
    if noise is not None:
        factor = torch.ones([], dtype=sum_dtype(x.value)) if strength is None else strength
        u = u + noise.linear(lambda maps: maps * factor)
    value = u.value if b is None else u.value + b[:, None, None]
    return Dual(y, u.scaled(_slope(value, y, act, gain, clamp)))
