"""Layers of the StyleGAN2 synthesis network: the modulated convolution and tRGB.

Reference: Karras et al. 2020, section 2.2 and figure 2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generator.layers import EqualizedLinear, Foldable
from generator.ops._library import sum_dtype
from generator.ops.bias_act import bias_act, default_gain
from generator.ops.dual import Dual, dual_bias_act, dual_conv_tail, dual_modulate
from generator.ops.frozen_layer import FrozenConvLayer, FrozenToRGB
from generator.ops.frozen_style import FrozenStyle
from generator.ops.modulated_conv import (
    DEFAULT_FORM,
    EPSILON,
    FilteredConvolution,
    FrozenFilteredConv2d,
    modulated_conv2d,
)
from generator.ops.trained_layer import (
    ModulatedLayer,
    Tail,
    is_first_order,
    trained_modulated_conv2d,
    trained_to_rgb,
)
from generator.ops.upfirdn2d import setup_filter, upfirdn2d

__all__ = ["ModulatedConv2d", "ToRGB"]


class ModulatedConv2d(Foldable):
    """Modulated convolution, noise, bias and activation: one layer of the synthesis network.

    Args:
        in_channels: Number I of input channels.
        out_channels: Number O of output channels.
        w_dim: Width of w.
        size: Height and width of the output.
        up: Upsampling factor, 1 or 2.
        kernel_size: Height and width of the kernel, odd.
        activation: One of `generator.settings.ACTIVATIONS`.
        use_noise: Whether the layer has noise inputs.
        demodulate: Whether the modulated weights are brought to unit norm (equation 3).
        resample_filter: Taps of the low-pass filter.
        conv_clamp: Limit on the output's absolute value; None: no limit.

    Reference: Karras et al. 2020, section 2.2 and figure 2d.
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: tuple[int, int],
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
        self.up, self.activation = up, activation
        self.use_noise, self.demodulate, self.conv_clamp = use_noise, demodulate, conv_clamp
        self.form = DEFAULT_FORM
        self.affine = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.register_buffer("resample_filter", setup_filter(resample_filter, separable=False), persistent=False)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, kernel_size, kernel_size]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(size))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        # Demodulation cancels any scale of the weights; without it the learning rate is equalised as elsewhere.
        self.weight_gain = 1.0 if demodulate else 1 / math.sqrt(in_channels * kernel_size**2)
        self._filtered = FilteredConvolution(kernel_size, len(resample_filter), up)

    def _fold(self) -> tuple[Tensor, ...]:
        weight = self.weight
        if not self.demodulate:
            return (weight * self.weight_gain,)
        return weight, weight.square().sum(dim=[2, 3])

    def fold(self) -> None:
        super().fold()
        weight, *energy = self.folded()
        self._convolve = FrozenFilteredConv2d(weight, self.resample_filter, self.up)
        style = _frozen_style(self.affine, energy[0] if energy else None)
        strength = self.noise_strength if self.use_noise else None
        self._frozen = FrozenConvLayer(style, self._convolve, strength, self.bias, self.activation)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """Map feature maps and styles to feature maps.

        Args:
            x: Feature maps `[N, I, H, W]`.
            w: Styles `[N, w_dim]`.
            noise: Noise maps `[N or 1, 1, H * up, W * up]`; None: no noise.
            gain: Factor on the result.

        Returns:
            Feature maps `[N, O, H * up, W * up]`.
        """
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        act_gain = default_gain(self.activation) * gain
        if self.is_frozen and self.form == "shared":
            return self._frozen(x, w, noise, act_gain, clamp)
        if is_first_order(x) and not self.is_frozen and self.form == "shared":
            return self._trained_forward(x, w, noise, act_gain, clamp)
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

    def _trained_forward(self, x: Tensor, w: Tensor, noise: Tensor | None, gain: float, clamp: float | None) -> Tensor:
        """Do the same as one step of the graph; differentiable once."""
        affine, tail = self.affine, Tail(self.weight_gain, self.activation, gain, clamp)
        if affine.bias is None:
            raise ValueError("the affine map of a modulated layer has a bias")
        return trained_modulated_conv2d(
            x,
            w,
            (affine.weight, affine.bias),
            self.weight,
            None if noise is None else (noise, self.noise_strength),
            self.bias,
            self.resample_filter,
            ModulatedLayer(self._filtered, self.demodulate, affine.weight_gain, tail),
        )

    def carry(self, x: Dual, w: Dual, noise: Dual | None = None, gain: float = 1.0) -> Dual:
        """Do what `forward` does, with tangents; for a frozen layer."""
        _, *weight_energy = self.folded()
        styles = self.affine.carry(w)
        x = dual_modulate(x, styles).linear(self._convolve)
        scale = None
        if weight_energy:
            squares = styles * styles
            scale = squares.affine(lambda s: s @ weight_energy[0].t(), EPSILON).rsqrt()
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        act_gain = default_gain(self.activation) * gain
        strength = None if noise is None else self.noise_strength
        return dual_conv_tail(x, scale, noise, strength, self.bias, act=self.activation, gain=act_gain, clamp=clamp)


def _frozen_style(affine: EqualizedLinear, energy: Tensor | None = None) -> FrozenStyle:
    weight, bias = affine.folded()
    return FrozenStyle(weight, bias, energy, EPSILON)


class ToRGB(Foldable):
    """Modulated 1x1 convolution to image channels, without demodulation.

    Args:
        in_channels: Number I of input channels.
        out_channels: Number of the image's channels.
        w_dim: Width of w.
        conv_clamp: Limit on the output's absolute value; None: no limit.
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

    def fold(self) -> None:
        super().fold()
        self._frozen = FrozenToRGB(_frozen_style(self.affine), self.folded()[0][:, :, 0, 0], self.bias, self.conv_clamp)

    def onto(self, below: Tensor | None, x: Tensor, w: Tensor, f: Tensor, padding: tuple[int, ...]) -> Tensor:
        """Return the image `[N, out_channels, H, W]` of a skip generator, in the type of sums over x.

        Args:
            below: Image `[N, out_channels, H / 2, W / 2]` of the block before, or None.
            x: Feature maps `[N, I, H, W]`.
            w: `[N, w_dim]`.
            f: Low-pass filter for the upsampling of `below`.
            padding: Goes with the filter.
        """
        if self.is_frozen and self.form == "shared":
            return self._frozen(x, w, below, f, padding)
        y: Tensor = self(x, w)
        y = y.to(sum_dtype(y))
        return y if below is None else upfirdn2d(below, f, up=2, padding=padding, gain=4) + y

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x `[N, I, H, W]` and w `[N, w_dim]` to `[N, out_channels, H, W]`, with trainable weights."""
        affine = self.affine
        if is_first_order(x) and not self.is_frozen and self.form == "shared" and affine.bias is not None:
            tail = Tail(self.weight_gain, "linear", 1.0, self.conv_clamp)
            matrix = (affine.weight, affine.bias)
            return trained_to_rgb(x, w, matrix, affine.weight_gain, self.weight, self.bias, tail)
        (weight,) = self.folded()
        x = modulated_conv2d(x, weight, self.affine(w), demodulate=False, form=self.form)
        return bias_act(x, self.bias, clamp=self.conv_clamp)

    def carry(self, x: Dual, w: Dual) -> Dual:
        """Do what `forward` does, with tangents; for a frozen layer."""
        weight = self.folded()[0][:, :, 0, 0]  # [out_channels, I]
        x = dual_modulate(x, self.affine.carry(w))
        colours = x.linear(lambda maps: torch.einsum("nchw,oc->nohw", maps, weight.to(maps.dtype)))
        return dual_bias_act(colours, self.bias, act="linear", gain=1.0, clamp=self.conv_clamp)
