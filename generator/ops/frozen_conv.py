"""Convolution with constant weights, which are laid out once for the processor instead of at every call."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["FrozenConv2d", "Kept", "input_gradient"]

Kept = tuple[Tensor | None, Tensor | None]
"""What a layer's gradient needs of its input and its result; None for what it does not."""

# torch keeps these for its compiler: the same convolutions, with weights in the order that the processor wants.
_MKLDNN: Any = torch.ops.mkldnn
_SIZES = 4
_PACKED_TYPES = (torch.float32, torch.bfloat16)
_PACKING = bool(torch._C._has_mkldnn) and all(
    hasattr(_MKLDNN, name)
    for name in (
        "_convolution_pointwise",
        "_reorder_convolution_weight",
        "_convolution_transpose_pointwise",
        "_reorder_convolution_transpose_weight",
    )
)


class FrozenConv2d:
    """Convolution, or transposed convolution with a stride, with weights that never change.

    Half of a small convolution's time on a CPU goes into bringing its weights into order; here that is done at the
    first call with a new size of input. The gradient of the input is again a convolution with such weights. On other
    devices and types, or where torch lacks the means, the ordinary convolution runs.

    Args:
        weight: Weights `[O, I, k, k]`.
        bias: Bias `[O]`, or None.
        padding: Zeros around the input; of a transposed convolution, pixels cut off the output.
        up: 1, or the stride of a transposed convolution, which turns the kernel round.
        relu: Whether the result is max(0, y).
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, padding: int, up: int = 1, relu: bool = False
    ) -> None:
        self.up, self.padding, self.relu = up, padding, relu
        self.bias = None if bias is None else bias.detach()
        self.weight = weight.detach()
        self._packed: dict[tuple[str, torch.dtype, tuple[int, ...]], tuple[Tensor, Tensor | None]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Map `[N, I, H, W]` to `[N, O, H', W']`; differentiable once, in `x`."""
        y: Tensor = _Frozen.apply(x, self)
        return y

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        """Return the result, computed outside of autograd, and what `backward` needs."""
        if not _packs(x):
            y = self._ordinary(x)
            return y, (x, y if self.relu else None)
        x = x.contiguous(memory_format=torch.channels_last)
        relu = "relu" if self.relu else "none"
        if self.up == 1:
            y = _convolve(x, *self._weight("forward", x), self.padding, 1, relu)
        else:
            geometry = [self.padding] * 2, [0, 0], [self.up] * 2, [1, 1], 1
            y = _MKLDNN._convolution_transpose_pointwise(x, *self._weight("forward", x), *geometry, relu, [], "")
        return y, (None, y if self.relu else None)

    def backward(self, dy: Tensor, x: Tensor | None, y: Tensor | None) -> Tensor:
        """Return the input's gradient from the output's and what `forward` kept."""
        if y is not None:
            dy = torch.ops.aten.threshold_backward(dy, y, 0)
        if x is not None:
            return self._ordinary_backward(dy, x)
        dy = dy.contiguous(memory_format=torch.channels_last)
        padding = self.weight.shape[-1] - 1 - self.padding if self.up == 1 else self.padding
        weight, _ = self._weight("backward", dy)
        return _convolve(dy, weight, None, padding, self.up, "none")

    def _ordinary(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.up == 1:
            y = functional.conv2d(x, weight, bias, padding=self.padding)
        else:
            y = functional.conv_transpose2d(x, weight.transpose(0, 1), bias, stride=self.up, padding=self.padding)
        return y.relu_() if self.relu else y

    def _ordinary_backward(self, dy: Tensor, x: Tensor) -> Tensor:
        weight, transposed = self.weight.to(x.dtype), self.up > 1
        geometry = [self.up] * 2, [self.padding] * 2, [1, 1], transposed, [0, 0], 1
        weight = weight.transpose(0, 1) if transposed else weight
        return input_gradient(dy, x, weight, *geometry)

    def _weight(self, direction: str, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the weights as the processor wants them for such an input, and the bias."""
        key = (direction, x.dtype, tuple(x.shape))
        if key not in self._packed:
            # A projection has one size, forward mode a few: of the images, and of each set of tangents.
            for other in [k for k in self._packed if k[:2] == key[:2]][: -_SIZES + 1]:
                del self._packed[other]
            self._packed[key] = self._pack(direction, x), None if self.bias is None else self.bias.to(x.dtype)
        return self._packed[key]

    def _pack(self, direction: str, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        ones, size = [1, 1], list(x.shape)
        packed: Tensor
        if direction == "forward" and self.up > 1:
            weight = weight.transpose(0, 1).contiguous()
            packed = _MKLDNN._reorder_convolution_transpose_weight(
                weight, [self.padding] * 2, [0, 0], [self.up] * 2, ones, 1, size
            )
            return packed
        padding, stride = self.padding, 1
        if direction == "backward" and self.up > 1:  # a strided convolution; the weights' two axes change roles
            weight, stride = weight.transpose(0, 1), self.up
        elif direction == "backward":
            weight, padding = weight.flip([2, 3]).transpose(0, 1), weight.shape[-1] - 1 - self.padding
        packed = _MKLDNN._reorder_convolution_weight(weight.contiguous(), [padding] * 2, [stride] * 2, ones, 1, size)
        return packed


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, stride: int, act: str) -> Tensor:
    y: Tensor = _MKLDNN._convolution_pointwise(x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], 1, act, [], "")
    return y


def _packs(x: Tensor) -> bool:
    return bool(_PACKING and x.device.type == "cpu" and x.dtype in _PACKED_TYPES and x.numel())


def input_gradient(dy: Tensor, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    """Return the gradient of an ordinary convolution's input, as autograd has it.

    Args:
        dy: Gradient of the result.
        x: Input.
        weight: Weights, in the input's type.
        geometry: Stride, padding, dilation, whether it is transposed, output padding, groups.
    """
    dx: Tensor = torch.ops.aten.convolution_backward(dy, x, weight, None, *geometry, [True, False, False])[0]
    return dx


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: FrozenConv2d) -> Tensor:
        y, kept = convolution.forward(x)
        ctx.convolution = convolution
        ctx.save_for_backward(*kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return ctx.convolution.backward(dy, *ctx.saved_tensors), None
