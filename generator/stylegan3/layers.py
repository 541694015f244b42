"""Layers of the StyleGAN3 synthesis network: the Fourier input, and the convolution with a filtered activation.

Reference: Karras et al. 2021, section 3.1 (Fourier features), section 3.2, figure 4, appendix F.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.layers import EqualizedLinear, Foldable
from generator.ops.dual import Dual, dual_bias_act, dual_modulate
from generator.ops.filtered_lrelu import GAIN, SLOPE, filtered_lrelu
from generator.ops.frozen_conv import FrozenConv2d
from generator.ops.modulate import modulate
from generator.ops.modulated_conv import EPSILON, demodulation_factors
from generator.ops.upfirdn2d import upfirdn2d
from generator.stylegan3.config import LayerPlan, StyleGAN3SynthesisConfig
from generator.stylegan3.filters import Taps, down_filter, up_filter

__all__ = ["FilteredLayer", "FourierInput"]

_MOTION = 4
"""Numbers that the input makes of w: cosine and sine of a rotation, and a translation in x and y."""


def _matrices(motion: Tensor) -> Tensor:
    """Return the inverse of each image's motion, `[N, 3, 3]`: turned about its centre first, and shifted then."""
    motion = motion / motion[:, :2].norm(dim=1, keepdim=True)
    cosine, sine, x, y = motion.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    turned = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1).reshape(-1, 3, 3)
    shifted = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).reshape(-1, 3, 3)
    return turned @ shifted


class FourierInput(Foldable):
    """Sine waves over the plane, whose frequencies lie in a disc, moved as w says, then mixed by a matrix.

    Args:
        config: Settings of the network.

    Reference: Karras et al. 2021, section 3.1 and appendix F.
    """

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, config: StyleGAN3SynthesisConfig) -> None:
        super().__init__()
        self._signal = config.signals[0]
        channels = self._signal.channels
        self.affine = EqualizedLinear(config.w_dim, _MOTION)
        nn.init.zeros_(self.affine.weight)
        self.affine.bias = nn.Parameter(torch.eye(_MOTION)[0])  # no motion at the start
        self.weight = nn.Parameter(torch.randn([channels, channels]))
        freqs = torch.randn([channels, 2])
        squares = freqs.square().sum(dim=1, keepdim=True)
        # spreads the normal distribution's radii over the disc
        freqs = freqs / (squares.sqrt() * squares.exp().pow(0.25)) * self._signal.cutoff
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand([channels]) - 0.5)
        self.register_buffer("transform", torch.eye(3))

    def _fold(self) -> tuple[Tensor, ...]:
        return (self.weight / math.sqrt(len(self.weight)),)

    def forward(self, w: Tensor, transform: Tensor | None = None) -> Tensor:
        """Map w to the first layer's feature maps.

        Args:
            w: Styles `[N, w_dim]`.
            transform: The inverse of a motion of the images, `[3, 3]` or `[N, 3, 3]`, in units of an image's side
                counted from its centre; None: the network's own.

        Returns:
            Feature maps `[N, C, size, size]`.
        """
        return self._waves(self.affine(w), self.transform if transform is None else transform)

    def _waves(self, motion: Tensor, transform: Tensor) -> Tensor:
        matrix = _matrices(motion) @ transform.to(motion.dtype)
        phases = self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)  # [N, C]
        freqs = self.freqs @ matrix[:, :2, :2]  # [N, C, 2]
        # A frequency that a transform takes out of the band would alias: it fades out before it gets there.
        band = self._signal.rate / 2 - self._signal.cutoff
        amplitudes = (1 - (freqs.norm(dim=2) - self._signal.cutoff) / band).clamp(0, 1)
        axis = self._axis(freqs)
        along = freqs[:, :, None, None] * axis[:, None]  # [N, C, 1, size, 2], one axis of the plane each
        angle = along[..., 0] + along[..., 1].transpose(2, 3) + phases[:, :, None, None]
        waves = (angle * (2 * math.pi)).sin() * amplitudes[:, :, None, None]
        (weight,) = self.folded()
        return torch.einsum("nchw,oc->nohw", waves, weight)

    def _axis(self, like: Tensor) -> Tensor:
        """Return the pixels' centres along one axis, `[size]`, in units of the image's side from its centre."""
        size, rate = self._signal.size, self._signal.rate
        return (torch.arange(size, dtype=like.dtype, device=like.device) + (0.5 - size / 2)) / rate

    def carry(self, w: Dual) -> Dual:
        """Do what `forward` does, with tangents."""
        motion = self.affine.carry(w)
        if motion.tangents is None:
            return Dual(self._waves(motion.value, self.transform))
        value, slopes = self._slopes(motion.value)
        tangents = torch.einsum("ntk,knchw->ntchw", motion.by_image(motion.tangents), slopes)
        return Dual(value, tangents.flatten(0, 1))

    def _slopes(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature maps, and their derivatives `[4, N, C, size, size]` in the four numbers that move them.

        A gradient is linear in what it is weighted with: its derivative in these weights is that of the maps.
        """
        with torch.inference_mode(False), torch.enable_grad():
            point = motion.detach().clone().requires_grad_()
            value = self._waves(point, self.transform)
            weights = torch.zeros_like(value, requires_grad=True)
            (gradient,) = torch.autograd.grad(value, point, weights, create_graph=True)
            each = [torch.autograd.grad(one.sum(), weights, retain_graph=True)[0] for one in gradient.unbind(1)]
        return value.detach(), torch.stack(each)


class FilteredLayer(Foldable):
    """Modulated convolution, bias and filtered activation; the last layer of a network has no activation.

    Args:
        config: Settings of the network.
        layer: Which layer of it.

    Reference: Karras et al. 2021, figure 4 (b) and appendix F.
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None
    magnitude: Tensor | None = None
    """Mean square of the input of the last pass in training mode, a scalar."""

    def __init__(self, config: StyleGAN3SynthesisConfig, layer: LayerPlan) -> None:
        super().__init__()
        self.plan, self._beta = layer, config.magnitude_ema_beta
        taken, given, kernel = layer.entering.channels, layer.leaving.channels, layer.kernel
        self.affine = EqualizedLinear(config.w_dim, taken, bias=1.0)
        self.weight = nn.Parameter(torch.randn([given, taken, kernel, kernel]))
        self.bias = nn.Parameter(torch.zeros([given]))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("up_filter", _tensor(up_filter(layer)), persistent=False)
        self.register_buffer("down_filter", _tensor(down_filter(layer)), persistent=False)
        self._gain, self._slope = (1.0, 1.0) if layer.to_rgb else (GAIN, SLOPE)
        self._clamp = config.conv_clamp

    def _fold(self) -> tuple[Tensor, ...]:
        gain = self.magnitude_ema.rsqrt()
        if self.plan.to_rgb:
            return (self.weight * (gain / math.sqrt(self.weight[0].numel())),)
        # A pre-normalisation that keeps half precision in range; demodulation cancels it.
        weight = self.weight * self.weight.square().mean(dim=[1, 2, 3], keepdim=True).rsqrt()
        return weight * gain, weight.square().sum(dim=[2, 3])

    def fold(self) -> None:
        super().fold()
        self._frozen_convolution = FrozenConv2d(self.folded()[0], padding=self.plan.kernel - 1)

    def _convolve(self, x: Tensor) -> Tensor:
        if self.is_frozen:
            return self._frozen_convolution(x)
        return functional.conv2d(x, self.folded()[0].to(x.dtype), padding=self.plan.kernel - 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map feature maps `[N, I, H, W]` and styles `[N, w_dim]` to feature maps `[N, O, H', W']`."""
        if self.training:
            self.magnitude = x.detach().to(self.magnitude_ema.dtype).square().mean()
        styles = self.affine(w)
        if not self.plan.to_rgb:
            # Each image by itself, where the published code takes the whole batch's: demodulation cancels either.
            styles = styles * styles.square().mean(dim=1, keepdim=True).rsqrt()
        x = self._convolve(modulate(x, styles))
        if not self.plan.to_rgb:
            factors = demodulation_factors(self.folded()[1], styles)
            x = modulate(x, factors)
        return filtered_lrelu(
            x,
            self.up_filter,
            self.down_filter,
            self.bias,
            up=self.plan.up,
            down=self.plan.down,
            padding=self.plan.padding,
            gain=self._gain,
            slope=self._slope,
            clamp=self._clamp,
        )

    @torch.no_grad()
    def follow(self, magnitude: Tensor) -> None:
        """Move the running magnitude of the layer's input towards that of a minibatch, a scalar."""
        self.magnitude_ema.copy_(magnitude.lerp(self.magnitude_ema, self._beta))

    def carry(self, x: Dual, w: Dual) -> Dual:
        """Do what `forward` does, with tangents; for a frozen layer."""
        plan = self.plan
        styles = self.affine.carry(w)
        if not plan.to_rgb:
            styles = styles * (styles * styles).linear(lambda s: s.mean(dim=1, keepdim=True)).rsqrt()
        x = dual_modulate(x, styles).linear(self._convolve)
        if not plan.to_rgb:
            squares = styles * styles
            x = dual_modulate(x, squares.affine(lambda s: s @ self.folded()[1].t(), EPSILON).rsqrt())
        x = Dual(x.value + self.bias[:, None, None], x.tangents)
        x = x.linear(lambda m: upfirdn2d(m, self.up_filter, up=plan.up, padding=plan.padding, gain=plan.up**2))
        x = dual_bias_act(x, None, act="linear" if plan.to_rgb else "lrelu", gain=self._gain, clamp=self._clamp)
        return x.linear(lambda m: upfirdn2d(m, self.down_filter, down=plan.down))


def _tensor(taps: Taps | None) -> Tensor | None:
    return None if taps is None else torch.from_numpy(taps).to(torch.float32)
