"""Each pixel's features times a few rows of weights: images of feature maps, in one pass each way."""

import torch
from torch import Tensor

from generator.ops._library import first_order, implement

__all__ = ["pixel_product", "pixel_product_gradients"]

_MOST_ROWS = 4  # of the kernel; a product of matrices does more as well


def pixel_product(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply, outside of autograd.

    Args:
        x: Features `[N, pixels, C]`.
        weight: `[N, K, C]`, in the type of x.

    Returns:
        `[N, pixels, K]`.
    """
    if weight.shape[1] > _MOST_ROWS:
        return _forward(x, weight)
    y: Tensor = torch.ops.invert.pixel_product.default(x, weight)
    return y


def pixel_product_gradients(dy: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of `x` and `weight` from that of the result, `[N, pixels, K]`."""
    if weight.shape[1] > _MOST_ROWS:
        return _backward(dy, x, weight)
    gradients: tuple[Tensor, Tensor] = torch.ops.invert.pixel_product_backward.default(dy, x, weight)
    return gradients


def _forward(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x, weight.transpose(1, 2))


def _backward(dy: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.bmm(dy, weight), torch.bmm(x.transpose(1, 2), dy).transpose(1, 2).contiguous()


implement("pixel_product", _forward, lambda x, weight: x.new_empty([*x.shape[:2], weight.shape[1]]))
implement("pixel_product_backward", _backward, lambda dy, x, weight: (x.new_empty(x.shape), x.new_empty(weight.shape)))
first_order("pixel_product", "torch.bmm")
first_order("pixel_product_backward", "torch.bmm")
