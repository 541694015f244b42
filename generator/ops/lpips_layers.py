"""LPIPS from images to distances, with constant weights, as one step of the graph.

A projection of small images spends its time on the number of operations, not on their size: what is written out here
has nothing of autograd between the layers.

Reference: Zhang et al. 2018, section 3, figure 3 and equation 1.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from generator.ops._library import as_type, below_autograd
from generator.ops.frozen_conv import Kept, input_gradient
from generator.ops.lpips_tail import lpips_tail, lpips_tail_gradient

__all__ = ["FrozenMaxPool2d", "FrozenStridedConv2d", "Layer", "LpipsLayers"]


class Layer(Protocol):
    """A layer that never changes, outside of autograd, such as `generator.ops.frozen_conv.FrozenConv2d`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        """Return the result, and what `backward` needs."""

    def backward(self, dy: Tensor, x: Tensor | None, y: Tensor | None) -> Tensor:
        """Return the input's gradient from the result's and what `forward` kept."""


class FrozenMaxPool2d:
    """The maximum of each square of pixels.

    Args:
        kernel: Side of the squares.
        stride: From one to the next.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        self._geometry = [kernel] * 2, [stride] * 2, [0, 0], [1, 1], False

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        """Return the maxima, and what `backward` needs."""
        y, places = torch.ops.aten.max_pool2d_with_indices(x, *self._geometry)
        return y, (x, places)

    def backward(self, dy: Tensor, x: Tensor | None, places: Tensor | None) -> Tensor:
        """Return the input's gradient from that of the maxima, the input and where in it they are."""
        dx: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(dy, x, *self._geometry, places)
        return dx


class FrozenStridedConv2d:
    """Convolution with a stride and the ReLU after it.

    Args:
        weight: Weights `[O, I, k, k]`.
        bias: Bias `[O]`.
        stride: From one pixel of the result to the next.
        padding: Zeros around the input.
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, padding: int) -> None:
        self._weight, self._bias = weight.detach(), bias.detach()
        self._stride, self._padding = stride, padding

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        """Return the result, and what `backward` needs."""
        weight, bias = self._weight.to(x.dtype), self._bias.to(x.dtype)
        y = functional.conv2d(x, weight, bias, self._stride, self._padding).relu_()
        return y, (x, y)

    def backward(self, dy: Tensor, x: Tensor | None, y: Tensor | None) -> Tensor:
        """Return the input's gradient from that of the result."""
        x = cast(Tensor, x)  # it is kept always
        geometry = [self._stride] * 2, [self._padding] * 2, [1, 1], False, [0, 0], 1
        dy = torch.ops.aten.threshold_backward(dy, y, 0)
        return input_gradient(dy, x, self._weight.to(x.dtype), *geometry)


class LpipsLayers:
    """The layers of LPIPS.

    Args:
        shift: Subtracted from images, `[1, 3, 1, 1]`.
        scale: Divides them then, `[1, 3, 1, 1]`.
        parts: The layers of each part of the backbone, at whose ends features are compared.
        heads: Weight of each channel there, `[C]` for each part.
    """

    def __init__(self, shift: Tensor, scale: Tensor, parts: Sequence[Sequence[Layer]], heads: Sequence[Tensor]) -> None:
        self.shift, self.scale = shift, scale
        self.parts, self.heads = parts, heads

    def features(self, images: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Return what each part gives, outside of autograd.

        Args:
            images: `[N, 3, H, W]`, in [-1, 1].
            dtype: Type of the features.
        """
        x, found = self._scaled(images, dtype), []
        for layers in self.parts:
            for layer in layers:
                x, _ = layer.forward(x)
            found.append(x)
        return found

    def __call__(self, images: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the distances of images from stored features, and the parts' shares; differentiable once.

        Args:
            images: `[N, 3, H, W]`, in [-1, 1].
            targets: Normalised features of each part, see `lpips_tail`.

        Returns:
            `[N]`, and `[N, parts]`.
        """
        distances, shares = _Distance.apply(images, self, targets)
        return distances, shares

    def _scaled(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        x = (images - self.shift) / self.scale
        return as_type(x, dtype).contiguous(memory_format=torch.channels_last)


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, own: LpipsLayers, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        kept: list[Tensor | None] = []
        with below_autograd():
            x, shares = own._scaled(images, targets[0].dtype), []
            for layers, target, head in zip(own.parts, targets, own.heads, strict=True):
                for layer in layers:
                    x, needed = layer.forward(x)
                    kept += needed
                kept.append(x)
                shares.append(lpips_tail(x, target, head))
            together = torch.stack(shares, dim=1)
            distances = together.sum(dim=1)
        ctx.own, ctx.targets, ctx.dtype = own, targets, images.dtype
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*kept)
        return distances, together

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, distances: Tensor | None, shares: Tensor | None) -> tuple[Tensor | None, None, None]:
        kept, dx = list(ctx.saved_tensors), None
        own: LpipsLayers = ctx.own
        if distances is None and shares is None:
            return None, None, None
        with below_autograd():
            each = _by_part(distances, shares, len(own.parts))
            parts = list(zip(own.parts, each, ctx.targets, own.heads, strict=True))
            for layers, dy, target, head in reversed(parts):
                dfeatures = lpips_tail_gradient(dy, kept.pop(), target, head)
                dx = dfeatures if dx is None else dx.add_(dfeatures)
                for layer in reversed(layers):
                    y, x = kept.pop(), kept.pop()
                    dx = layer.backward(dx, x, y)
            return None if dx is None else as_type(dx, ctx.dtype) / own.scale, None, None


def _by_part(distances: Tensor | None, shares: Tensor | None, parts: int) -> list[Tensor]:
    """Return the gradient of each part's distances from those of their sum `[N]` and of the shares `[N, parts]`."""
    if shares is None:
        return [] if distances is None else [distances] * parts
    own = shares.unbind(1)
    return list(own) if distances is None else [distances + share for share in own]
