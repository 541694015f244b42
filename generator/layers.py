"""Layers with an equalised learning rate, minibatch standard deviation, and how a frozen layer saves work.

References: Karras et al. 2018 (equalised learning rate, minibatch standard deviation); Karras et al. 2020.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.ops.bias_act import bias_act, default_gain
from generator.ops.conv_tail import conv_tail
from generator.ops.modulate import modulate
from generator.ops.modulated_conv import (
    DEFAULT_FORM,
    FrozenFilteredConv2d,
    demodulation_factors,
    filtered_conv2d,
    modulated_conv2d,
)
from generator.ops.upfirdn2d import setup_filter

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "Foldable",
    "ModulatedConv2d",
    "ToRGB",
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
        x: `[N, C, H, W]`.
        group_size: Images in a group; None takes the whole batch. A smaller batch is one group.
        channels: How many maps, each averaged over its share of the channels.

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
    y = x.reshape(max(group, 1), -1, channels, c // channels, h, w)
    y = y - y.mean(dim=0)
    y = (y.square().mean(dim=0) + 1e-8).sqrt().mean(dim=[2, 3, 4])  # [N / group, channels]
    y = y[:, :, None, None].repeat(max(group, 1), 1, h, w)
    return torch.cat([x, y], dim=1)


class EqualizedLinear(Foldable):
    """y = act(x (gain W)^T + b), with W of unit deviation at the start and scaled at run time.

    Args:
        in_features: F_in. out_features: F_out.
        bias: Initial bias, or None for no bias.
        activation: One of `generator.config.ACTIVATIONS`.
        lr_multiplier: Learning rate of this layer relative to the others.
        weight_gain: Factor in the constant that scales the weight, with none after the activation (StyleGAN). Default:
            the activation's own gain, after it (StyleGAN2).
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
        """Map `[N, F_in]` to `[N, F_out]`."""
        weight, *bias = self.folded()
        if self.activation == "linear":
            return functional.linear(x, weight.to(x.dtype), bias[0].to(x.dtype) if bias else None)
        y = functional.linear(x, weight.to(x.dtype))
        return bias_act(y, bias[0] if bias else None, act=self.activation, gain=self.act_gain)


class EqualizedConv2d(Foldable):
    """Convolution with filtered up- or downsampling, bias and activation.

    Args:
        in_channels: I. out_channels: O. kernel_size: k.
        bias: Whether there is a bias.
        activation: One of `generator.config.ACTIVATIONS`.
        up: Upsampling factor. down: Downsampling factor.
        resample_filter: Taps of the low-pass filter.
        conv_clamp: Limit on the output's absolute value, or None.
        weight_gain: As of `EqualizedLinear`.
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

    def _fold(self) -> tuple[Tensor, ...]:
        return (self.weight * self.weight_gain,)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Map `[N, I, H, W]` to `[N, O, H * up // down, ...]`, the result scaled by `gain`."""
        (weight,) = self.folded()
        padding = weight.shape[-1] // 2
        # Convolution when upsampling, correlation otherwise: how the published weights are oriented.
        x = filtered_conv2d(
            x,
            weight.to(x.dtype),
            self.resample_filter if self.up * self.down > 1 else None,
            up=self.up,
            down=self.down,
            padding=padding,
            flip_weight=self.up == 1,
        )
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        if self.bias is None and self.activation == "linear" and clamp is None and gain == 1:
            return x
        return bias_act(x, self.bias, act=self.activation, gain=self.act_gain * gain, clamp=clamp)


class ModulatedConv2d(Foldable):
    """Modulated convolution, noise, bias and activation: one layer of the synthesis network.

    Args:
        in_channels: I. out_channels: O. w_dim: Size of w.
        resolution: Height and width of the output.
        up: Upsampling factor.
        activation: One of `generator.config.ACTIVATIONS`.
        use_noise: Whether the layer has noise inputs.
        demodulate: Whether the modulated weights are brought to unit norm (equation 3).
        resample_filter: Taps of the low-pass filter.
        conv_clamp: Limit on the output's absolute value, or None.

    Reference: Karras et al. 2020, section 2.2 and figure 2d.
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: int = 1,
        kernel_size: int = 3,
        activation: str = "lrelu",
        use_noise: bool = True,
        demodulate: bool = True,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.activation = resolution, up, activation
        self.use_noise, self.demodulate, self.conv_clamp = use_noise, demodulate, conv_clamp
        self.form = DEFAULT_FORM
        self.affine = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.register_buffer("resample_filter", setup_filter(resample_filter, separable=False), persistent=False)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, kernel_size, kernel_size]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))
        if use_noise:
            self.register_buffer("noise_const", torch.randn([resolution, resolution]))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        # Demodulation cancels any scale of the weights; without it the learning rate is equalised as elsewhere.
        self.weight_gain = 1.0 if demodulate else 1 / math.sqrt(in_channels * kernel_size**2)

    def _fold(self) -> tuple[Tensor, ...]:
        weight = self.weight
        if not self.demodulate:
            return (weight * self.weight_gain,)
        return weight, weight.square().sum(dim=[2, 3])

    def fold(self) -> None:
        super().fold()
        self._convolve = FrozenFilteredConv2d(self.folded()[0], self.resample_filter, self.up)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """Map `[N, I, H, W]` and w `[N, w_dim]` to `[N, O, H * up, W * up]`, the result scaled by `gain`.

        `noise` is `[N or 1, 1, resolution, resolution]`, or None for none.
        """
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        act_gain = default_gain(self.activation) * gain
        if self.is_frozen and self.form == "shared":
            return self._frozen_forward(x, w, noise, act_gain, clamp)
        weight, *weight_energy = self.folded()
        x = modulated_conv2d(
            x,
            weight,
            self.affine(w),
            demodulate=self.demodulate,
            up=self.up,
            padding=weight.shape[-1] // 2,
            resample_filter=self.resample_filter if self.up > 1 else None,
            flip_weight=self.up == 1,
            weight_energy=weight_energy[0] if weight_energy else None,
            form=self.form,
        )
        if noise is not None:
            x = x + (noise * self.noise_strength).to(x.dtype)
        return bias_act(x, self.bias, act=self.activation, gain=act_gain, clamp=clamp)

    def _frozen_forward(self, x: Tensor, w: Tensor, noise: Tensor | None, gain: float, clamp: float | None) -> Tensor:
        """Do the same with everything after the convolution in one pass; differentiable once."""
        _, *weight_energy = self.folded()
        styles = self.affine(w)
        x = self._convolve(modulate(x, styles))
        scale = demodulation_factors(weight_energy[0], styles) if weight_energy else None
        strength = None if noise is None else self.noise_strength
        return conv_tail(x, scale, noise, strength, self.bias, act=self.activation, gain=gain, clamp=clamp)


class ToRGB(Foldable):
    """Modulated 1x1 convolution to image channels, without demodulation.

    Args:
        in_channels: I. out_channels: Image channels. w_dim: Size of w.
        conv_clamp: Limit on the output's absolute value, or None.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.form = DEFAULT_FORM
        self.affine = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, 1, 1]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def _fold(self) -> tuple[Tensor, ...]:
        return (self.weight * self.weight_gain,)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map `[N, I, H, W]` and w `[N, w_dim]` to `[N, out_channels, H, W]`."""
        (weight,) = self.folded()
        if self.is_frozen and self.form == "shared":
            # So few outputs that scaling the weights is far cheaper than scaling the activations.
            weights = weight[:, :, 0, 0] * self.affine(w)[:, None]  # [N, out_channels, I]
            n, c, height, width = x.shape
            pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, c) @ weights.to(x.dtype).transpose(1, 2)
            x = pixels.reshape(n, height, width, -1).permute(0, 3, 1, 2)
        else:
            x = modulated_conv2d(x, weight, self.affine(w), demodulate=False, form=self.form)
        return bias_act(x, self.bias, clamp=self.conv_clamp)
