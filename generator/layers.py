"""Layers that the families share: with an equalised learning rate, the minibatch deviation, and freezing.

References: Karras et al. 2018 (equalised learning rate, minibatch standard deviation); Karras et al. 2020.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.ops._library import sum_dtype
from generator.ops.bias_act import bias_act, default_gain
from generator.ops.dual import Dual, dual_bias_act
from generator.ops.modulated_conv import FilteredConvolution, filtered_conv2d
from generator.ops.trained_layer import Tail, is_first_order, trained_conv2d, trained_linear
from generator.ops.upfirdn2d import setup_filter

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "Foldable",
    "freeze",
    "minibatch_standard_deviation",
    "normalize_second_moment",
]


class Foldable(nn.Module, ABC):
    """A layer whose parameters, once frozen, are scaled and laid out once instead of at every call."""

    def __init__(self) -> None:
        super().__init__()
        self._folded: tuple[Tensor, ...] | None = None

    @abstractmethod
    def _fold(self) -> tuple[Tensor, ...]:
        """Return the tensors that `forward` works with, computed from the parameters."""

    def folded(self) -> tuple[Tensor, ...]:
        """Return the tensors `forward` works with, from the store if the layer is frozen."""
        return self._fold() if self._folded is None else self._folded

    def fold(self) -> None:
        """Compute the folded tensors once; moving the layer or loading a state drops them again."""
        with torch.no_grad():
            self._folded = self._fold()

    @property
    def is_frozen(self) -> bool:
        """Whether the folded tensors are kept."""
        return self._folded is not None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._folded = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *args: Any) -> None:
        self._folded = None
        super()._load_from_state_dict(*args)


def freeze(module: nn.Module) -> None:
    """Make all parameters constant and let every layer keep its scaled weights.

    Call it last, after moving the module to its device: moving drops what was kept.
    """
    module.eval().requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, Foldable):
            layer.fold()


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale each row of `x` `[N, F]` to a mean square of one (eps 1e-8 inside the root)."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def minibatch_standard_deviation(x: Tensor, group_size: int | None, channels: int) -> Tensor:
    """Append the deviation within groups of images as `channels` constant feature maps.

    Args:
        x: Feature maps `[N, C, H, W]`.
        group_size: Images in a group; None: the whole batch. A smaller batch is one group.
        channels: Number of maps that are appended, each averaged over its share of the channels.

    Returns:
        `[N, C + channels, H, W]`.

    Raises:
        ValueError: The batch is not a whole number of groups.

    Reference: Karras et al. 2018, section 3.
    """
    n, c, h, w = x.shape
    group = n if group_size is None else min(group_size, n)
    if group and n % group:
        raise ValueError(f"a batch of {n} is not a whole number of minibatch-deviation groups of {group}")
    # Images i, i + n/group, i + 2 n/group ... form a group, as in the published networks.
    y = x.reshape(max(group, 1), -1, channels, c // channels, h, w).to(sum_dtype(x))
    y = y - y.mean(dim=0)
    y = (y.square().mean(dim=0) + 1e-8).sqrt().mean(dim=[2, 3, 4])  # [N / group, channels]
    y = y[:, :, None, None].repeat(max(group, 1), 1, h, w)
    return torch.cat([x, y.to(x.dtype)], dim=1)


class EqualizedLinear(Foldable):
    """A dense layer y = act(x (gain W)^T + b), with W of unit deviation at the start and scaled at run time.

    Args:
        in_features: Number F_in of inputs.
        out_features: Number F_out of outputs.
        bias: Initial bias; None: the layer has none.
        activation: One of `generator.settings.ACTIVATIONS`.
        lr_multiplier: Learning rate of this layer relative to the others.
        weight_gain: Factor in the constant that scales the weight, with no gain after the activation (StyleGAN).
            None: the activation's own gain, after it (StyleGAN2).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: float | None = 0.0,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        weight_gain: float | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn([out_features, in_features]) / lr_multiplier)
        self.bias = None if bias is None else nn.Parameter(torch.full([out_features], bias / lr_multiplier))
        self.weight_gain = (1.0 if weight_gain is None else weight_gain) * lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.act_gain = default_gain(activation) if weight_gain is None else 1.0

    def _fold(self) -> tuple[Tensor, ...]:
        weight = self.weight * self.weight_gain
        if self.bias is None:
            return (weight,)
        return weight, self.bias * self.bias_gain if self.bias_gain != 1 else self.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map x `[N, F_in]` to y `[N, F_out]`."""
        if is_first_order(x) and not self.is_frozen and x.ndim == 2:
            tail = Tail(self.weight_gain, self.activation, self.act_gain)
            return trained_linear(x, self.weight, self.bias, self.bias_gain, tail)
        weight, *bias = self.folded()
        if self.activation == "linear":
            return functional.linear(x, weight.to(x.dtype), bias[0].to(x.dtype) if bias else None)
        y = functional.linear(x, weight.to(x.dtype))
        return bias_act(y, bias[0] if bias else None, act=self.activation, gain=self.act_gain)

    def carry(self, x: Dual) -> Dual:
        """Do what `forward` does, with tangents."""
        weight, *bias = self.folded()
        y = x.linear(lambda values: functional.linear(values, weight.to(values.dtype)))
        return dual_bias_act(y, bias[0] if bias else None, act=self.activation, gain=self.act_gain)


class EqualizedConv2d(Foldable):
    """Convolution with filtered up- or downsampling, bias and activation.

    Args:
        in_channels: Number I of input channels.
        out_channels: Number O of output channels.
        kernel_size: Height and width of the kernel, odd.
        bias: Whether there is a bias.
        activation: One of `generator.settings.ACTIVATIONS`.
        up: Upsampling factor.
        down: Downsampling factor.
        resample_filter: Taps of the low-pass filter that goes with either.
        conv_clamp: Limit on the output's absolute value; None: no limit.
        weight_gain: The same as for `EqualizedLinear`.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        up: int = 1,
        down: int = 1,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
        weight_gain: float | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.up, self.down, self.conv_clamp = activation, up, down, conv_clamp
        self.register_buffer("resample_filter", setup_filter(resample_filter, separable=False), persistent=False)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, kernel_size, kernel_size]))
        self.bias = nn.Parameter(torch.zeros([out_channels])) if bias else None
        self.weight_gain = (1.0 if weight_gain is None else weight_gain) / math.sqrt(in_channels * kernel_size**2)
        self.act_gain = default_gain(activation) if weight_gain is None else 1.0
        self._filtered = FilteredConvolution(kernel_size, len(resample_filter), up, down)

    def _fold(self) -> tuple[Tensor, ...]:
        return (self.weight * self.weight_gain,)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Map `[N, I, H, W]` to `[N, O, H * up // down, W * up // down]`, the result scaled by `gain`."""
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        if is_first_order(x) and not self.is_frozen:
            tail = Tail(self.weight_gain, self.activation, self.act_gain * gain, clamp)
            return trained_conv2d(x, self.weight, self.bias, self.resample_filter, self._filtered, tail)
        x = self._convolve(x)
        if self.bias is None and self.activation == "linear" and clamp is None and gain == 1:
            return x
        return bias_act(x, self.bias, act=self.activation, gain=self.act_gain * gain, clamp=clamp)

    def _convolve(self, x: Tensor) -> Tensor:
        (weight,) = self.folded()
        # Convolution when upsampling, correlation otherwise: how the published weights are oriented.
        return filtered_conv2d(
            x,
            weight.to(x.dtype),
            self.resample_filter if self.up * self.down > 1 else None,
            up=self.up,
            down=self.down,
            padding=weight.shape[-1] // 2,
            flip_weight=self.up == 1,
        )

    def carry(self, x: Dual, gain: float = 1.0) -> Dual:
        """Do what `forward` does, with tangents."""
        y = x.linear(self._convolve)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return dual_bias_act(y, self.bias, act=self.activation, gain=self.act_gain * gain, clamp=clamp)
