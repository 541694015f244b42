"""A layer of the StyleGAN synthesis network.

Reference: Karras et al. 2019, figure 1 (b), equation 1 (adaptive instance normalisation).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.layers import EqualizedLinear, Foldable
from generator.ops._library import sum_dtype
from generator.ops.bias_act import bias_act, default_gain
from generator.ops.box_conv import upsample_conv2d, upsampling_kernel
from generator.ops.dual import Dual, dual_bias_act
from generator.ops.frozen_conv import FrozenConv2d
from generator.ops.normalised_tail import FrozenNormalisedLayer
from generator.ops.upfirdn2d import setup_filter, upfirdn2d
from generator.stylegan.config import StyleGANSynthesisConfig

__all__ = ["StyleLayer", "instance_norm", "pixel_norm"]

_EPSILON = 1e-8
_KERNEL = 3


def instance_norm(x: Tensor) -> Tensor:
    """Bring each feature map of `[N, C, H, W]` to mean 0 and variance 1 (eps 1e-8 inside the root)."""
    x = x - x.mean(dim=[2, 3], keepdim=True)
    return x * (x.square().mean(dim=[2, 3], keepdim=True) + _EPSILON).rsqrt()


def pixel_norm(x: Tensor) -> Tensor:
    """Scale each pixel's features in `[N, C, H, W]` to a mean square of one (Karras et al. 2018, section 4.2)."""
    return x * (x.square().mean(dim=1, keepdim=True) + _EPSILON).rsqrt()


def _same(x: Tensor) -> Tensor:
    return x


_NORMALISATIONS = {"instance": instance_norm, "pixel": pixel_norm, "none": _same}


def _carry_normalisation(x: Dual, name: str) -> Dual:
    """Do what `_NORMALISATIONS[name]` does, with tangents."""
    if name == "none":
        return x
    over = [2, 3] if name == "instance" else [1]
    if name == "instance":
        x = x.linear(lambda maps: maps - maps.mean(dim=over, keepdim=True))
    return x * (x * x).affine(lambda squares: squares.mean(dim=over, keepdim=True), _EPSILON).rsqrt()


class StyleLayer(Foldable):
    """Convolution, noise, bias, activation, normalisation and style.

    Args:
        config: Settings of the network.
        in_channels: Number I of input channels; None: the first layer, which works on the input and has no convolution.
        resolution: Height and width of the output.
        up: Whether it upsamples by two, pixels repeated, and blurs after the convolution.
    """

    noise_const: Tensor
    blur_filter: Tensor

    def __init__(
        self, config: StyleGANSynthesisConfig, in_channels: int | None, resolution: int, *, up: bool = False
    ) -> None:
        super().__init__()
        out = config.widths[resolution]
        self.resolution, self.up, self.activation = resolution, up, config.activation
        self._normalisation = config.normalisation
        self.register_buffer("blur_filter", setup_filter(config.blur_filter, separable=False), persistent=False)
        self.weight: nn.Parameter | None = None
        if in_channels is not None:
            self.weight = nn.Parameter(torch.randn([out, in_channels, _KERNEL, _KERNEL]))
            # StyleGAN has the activation's gain here, where StyleGAN2 applies it to the output.
            self.weight_gain = default_gain(config.activation) / math.sqrt(in_channels * _KERNEL**2)
        self.bias = nn.Parameter(torch.zeros([out]))
        self.use_noise = config.use_noise
        if config.use_noise:
            self.register_buffer("noise_const", torch.randn([resolution, resolution]))
            self.noise_strength = nn.Parameter(torch.zeros([out]))
        self.affine = EqualizedLinear(config.w_dim, 2 * out) if config.use_styles else None

    def _fold(self) -> tuple[Tensor, ...]:
        if self.weight is None:
            return ()
        weight = self.weight * self.weight_gain
        return (upsampling_kernel(weight) if self.up else weight,)

    def fold(self) -> None:
        super().fold()
        convolution = None
        if self.weight is not None:
            convolution = FrozenConv2d(self.folded()[0], padding=_KERNEL // 2, up=2 if self.up else 1)
            self._convolve = convolution
        self._frozen: FrozenNormalisedLayer | None = None
        if self._normalisation == "instance":
            blur = self.blur_filter if self._blurs and convolution is not None else None
            strength = self.noise_strength if self.use_noise else torch.zeros_like(self.bias)
            self._frozen = FrozenNormalisedLayer(convolution, blur, strength, self.bias, self.activation, _EPSILON)

    @property
    def _blurs(self) -> bool:
        return self.up and self.blur_filter.shape[-1] > 1

    def _convolution(self, x: Tensor) -> Tensor:
        """Convolve, upsampling first where the layer does, and then blurring."""
        if self.is_frozen:
            x = self._convolve(x)
        elif self.up:
            x = upsample_conv2d(x, self.folded()[0].to(x.dtype))
        else:
            x = functional.conv2d(x, self.folded()[0].to(x.dtype), padding=_KERNEL // 2)
        if not self._blurs:
            return x
        taps = self.blur_filter.shape[-1]
        before, after = (taps - 1) // 2, taps // 2
        return upfirdn2d(x, self.blur_filter, padding=[before, after, before, after])

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map feature maps and styles to feature maps.

        Args:
            x: Feature maps `[N, I, H, W]`.
            w: Styles `[N, w_dim]`.
            noise: Noise maps `[N or 1, 1, resolution, resolution]`, of which each channel has a strength of its own;
                None: no noise.

        Returns:
            Feature maps `[N, O, resolution, resolution]`.
        """
        if self.is_frozen and self._frozen is not None:
            return self._frozen(x, None if self.affine is None else self.affine(w), noise)
        if self.weight is not None:
            x = self._convolution(x)
        dtype = x.dtype
        if noise is not None:
            x = x + (noise * self.noise_strength[:, None, None]).to(dtype)
        # Statistics over a whole image are taken in float32 at least, whatever the feature maps are.
        y = _NORMALISATIONS[self._normalisation](bias_act(x, self.bias, act=self.activation, gain=1.0).to(sum_dtype(x)))
        if self.affine is not None:
            # Equation 1: y_s * normalised x + y_b, with the scale counted from one.
            scale, shift = self.affine(w).to(y.dtype).chunk(2, dim=1)
            y = torch.addcmul(shift[:, :, None, None], y, (scale + 1)[:, :, None, None])
        return y.to(dtype)

    def carry(self, x: Dual, w: Dual, noise: Dual | None = None) -> Dual:
        """Do what `forward` does, with tangents; for a frozen layer."""
        if self.weight is not None:
            x = x.linear(self._convolution)
        if noise is not None:
            x = x + noise.linear(lambda maps: maps * self.noise_strength[:, None, None])
        x = _carry_normalisation(dual_bias_act(x, self.bias, act=self.activation, gain=1.0), self._normalisation)
        if self.affine is None:
            return x
        style, out = self.affine.carry(w).linear(lambda s: s[:, :, None, None]), len(self.bias)
        one = torch.ones([], device=self.bias.device)
        return x * style.columns(0, out).affine(lambda s: s, one) + style.columns(out, 2 * out)
