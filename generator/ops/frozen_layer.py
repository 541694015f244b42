"""Layers of the StyleGAN2 synthesis network with constant weights, each as one step of the graph.

A projection of small images spends its time on the number of operations, not on their size: what is written out here
has nothing of autograd between a layer's parts.

Reference: Karras et al. 2020, section 2.2 and figure 2.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from generator.ops._library import as_type, below_autograd, sum_dtype
from generator.ops.bias_act import activation_settings
from generator.ops.conv_tail import conv_tail_gradients
from generator.ops.frozen_style import FrozenStyle
from generator.ops.modulated_conv import FrozenFilteredConv2d
from generator.ops.pixel_product import pixel_product, pixel_product_gradients
from generator.ops.upfirdn2d import upfirdn2d_gradient

__all__ = ["FrozenConvLayer", "FrozenToRGB"]


class FrozenConvLayer:
    """Modulated convolution, noise, bias and activation.

    Args:
        style: Gives styles and demodulation of w.
        convolution: The convolution.
        strength: Factor on noise maps, one element; None where the layer has none.
        bias: `[O]`.
        activation: One of `generator.settings.ACTIVATIONS`.
    """

    def __init__(
        self,
        style: FrozenStyle,
        convolution: FrozenFilteredConv2d,
        strength: Tensor | None,
        bias: Tensor,
        activation: str,
    ) -> None:
        self.style, self.convolution = style, convolution
        self.strength = None if strength is None else strength.detach()
        self.bias, self.activation = bias.detach(), activation

    def __call__(self, x: Tensor, w: Tensor, noise: Tensor | None, gain: float, clamp: float | None) -> Tensor:
        """Map feature maps and styles to feature maps; differentiable once, in `x`, `w` and `noise`.

        Args:
            x: Feature maps `[N, I, H, W]`.
            w: `[N, w_dim]`.
            noise: Noise maps `[N or 1, 1, H * up, W * up]`; None: no noise.
            gain: Factor after the activation.
            clamp: Limit on the result's absolute value, or None.
        """
        y: Tensor = _ConvLayer.apply(x, w, noise, self, activation_settings(self.activation, None, gain, clamp))
        return y

    def sides(self, x: Tensor, scale: Tensor | None, noise: Tensor | None) -> list[Tensor | None]:
        """Return what `conv_tail` takes beside feature maps, in the type that its sums are made in."""
        strength = None if noise is None else self.strength
        wide = sum_dtype(x)
        return [None if p is None else as_type(p, wide) for p in (scale, noise, strength, self.bias)]


class _ConvLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, noise: Tensor | None, layer: FrozenConvLayer, settings: tuple[Any, ...]
    ) -> Tensor:
        with below_autograd():
            styles, scale = layer.style.forward(w)
            u, kept = layer.convolution.forward(torch.ops.invert.modulate(x, as_type(styles, sum_dtype(x))))
            y: Tensor = torch.ops.invert.conv_tail(u, *layer.sides(u, scale, noise), *settings)
        ctx.layer, ctx.settings = layer, settings
        # From what goes into the activation everything else is had again for free; its result is not kept.
        ctx.save_for_backward(x, noise, styles, scale, u, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, noise, styles, scale, u, *kept = ctx.saved_tensors
        ctx.maybe_clear_saved_tensors()  # unless the graph is kept
        need_x, _, need_noise = ctx.needs_input_grad[:3]
        layer: FrozenConvLayer = ctx.layer
        with below_autograd():
            sides, needs = layer.sides(u, scale, noise), (scale is not None, need_noise)
            # By one name, so that none of these maps outlives the next: they are what takes the memory at 1024 px.
            u, dscale, dnoise = conv_tail_gradients(dy, u, *sides, settings=ctx.settings, needs=needs)
            u = layer.convolution.unfiltered(u)
            u = layer.convolution.backward(u, *kept)
            u, dstyles = torch.ops.invert.modulate_backward(u, x, as_type(styles, sum_dtype(x)))
            dscale = None if dscale is None else as_type(dscale, styles.dtype)
            dw = layer.style.backward(as_type(dstyles, styles.dtype), dscale, styles, scale)
        return u if need_x else None, dw, dnoise, None, None


class FrozenToRGB:
    """Modulated 1x1 convolution to image channels, without demodulation, and the image of half the size below it.

    Args:
        style: Gives styles of w.
        weight: `[out_channels, I]`.
        bias: `[out_channels]`.
        clamp: Limit on the absolute value of what is added to the image, or None.
    """

    def __init__(self, style: FrozenStyle, weight: Tensor, bias: Tensor, clamp: float | None) -> None:
        self.style, self.weight, self.bias = style, weight.detach(), bias.detach()
        self.settings = activation_settings("linear", None, None, clamp)

    def __call__(self, x: Tensor, w: Tensor, below: Tensor | None, f: Tensor, padding: tuple[int, ...]) -> Tensor:
        """Return the image; differentiable once, in `x`, `w` and `below`.

        Args:
            x: Feature maps `[N, I, H, W]`.
            w: `[N, w_dim]`.
            below: Image `[N, out_channels, H / 2, W / 2]`, in the type of sums over x; None: there is none.
            f: Dense low-pass filter for its upsampling, see `upfirdn2d`.
            padding: Goes with the filter.

        Returns:
            `[N, out_channels, H, W]`, in the type of sums over x.
        """
        y: Tensor = _ToRGB.apply(x, w, below, f, (2, 2, 1, 1, *padding, False, 4.0), self)
        return y


class _ToRGB(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        below: Tensor | None,
        f: Tensor,
        upsampling: tuple[Any, ...],
        layer: FrozenToRGB,
    ) -> Tensor:
        n, c, height, width = x.shape
        with below_autograd():
            # So few outputs that scaling the weights is far cheaper than scaling the activations.
            styles, _ = layer.style.forward(w)
            weights = as_type(layer.weight * styles[:, None], x.dtype)  # [N, out_channels, I]
            pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, c)
            y = pixel_product(pixels, weights).view(n, height, width, -1).permute(0, 3, 1, 2)
            y = torch.ops.invert.bias_act(y, as_type(layer.bias, x.dtype), 1, *layer.settings)
            image = as_type(y, sum_dtype(y))
            if below is not None:
                image = torch.ops.invert.upfirdn2d(below, f, *upsampling) + image
        ctx.layer, ctx.size, ctx.dtypes, ctx.upsampling = layer, (height, width), (x.dtype, w.dtype), upsampling
        ctx.save_for_backward(f, pixels, weights, y if layer.settings[-1] >= 0 else None)
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dimage: Tensor) -> tuple[Tensor | None, ...]:
        f, pixels, weights, y = ctx.saved_tensors
        layer, (height, width), dbelow = ctx.layer, ctx.size, None
        n, count, c = pixels.shape
        with below_autograd():
            if ctx.needs_input_grad[2]:
                dbelow = upfirdn2d_gradient(dimage, f, (height // 2, width // 2), ctx.upsampling)
            dy = as_type(dimage, ctx.dtypes[0])
            if y is not None:  # where the clamp cut it there is no gradient
                dy = torch.ops.invert.bias_act_backward(dy, y, None, 1, *layer.settings)
            dpixels = dy.permute(0, 2, 3, 1).reshape(n, count, -1)
            dx, dweights = pixel_product_gradients(dpixels, pixels, weights)
            dx = dx.view(n, height, width, c).permute(0, 3, 1, 2)
            dweights = as_type(dweights, ctx.dtypes[1])
            dw = layer.style.backward((dweights * layer.weight).sum(1), None, None, None)
        return dx if ctx.needs_input_grad[0] else None, dw, dbelow, None, None, None
