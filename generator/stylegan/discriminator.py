"""The StyleGAN discriminator, which can be grown.

References: Karras et al. 2018, table 2 and section 2 (the network, progressive growing); Karras et al. 2019, section 2
(blur); Mescheder et al. 2018 (labels).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.bases import DiscriminatorBase
from generator.layers import EqualizedConv2d, EqualizedLinear, minibatch_standard_deviation
from generator.ops._library import sum_dtype
from generator.ops.bias_act import bias_act, default_gain
from generator.ops.box_conv import averaging_kernel, conv_average2d
from generator.ops.upfirdn2d import upfirdn2d
from generator.stylegan.config import StyleGANDiscriminatorConfig

__all__ = ["StyleGANDiscriminator"]


class BlurredDownConv2d(EqualizedConv2d):
    """Blur, convolve, take the mean of each 2 x 2 pixels, then bias and activation.

    The blur is a step of its own, with zeros around its input and its output: taken into one filter with the mean, as
    StyleGAN2 has it, the borders would be others.
    """

    def _fold(self) -> tuple[Tensor, ...]:
        return (averaging_kernel(self.weight * self.weight_gain),)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Map `[N, I, H, W]` to `[N, O, H / 2, W / 2]`, the result scaled by `gain`."""
        (kernel,) = self.folded()
        taps = self.resample_filter.shape[-1]
        if taps > 1:
            before, after = (taps - 1) // 2, taps // 2
            x = upfirdn2d(x, self.resample_filter, padding=[before, after, before, after])
        x = conv_average2d(x, kernel.to(x.dtype))
        return bias_act(x, self.bias, act=self.activation, gain=self.act_gain * gain)


class StyleGANDiscriminatorBlock(nn.Module):
    """Two convolutions at one resolution, the second halving it; at 4 px the layers down to the logits."""

    def __init__(self, config: StyleGANDiscriminatorConfig, resolution: int) -> None:
        super().__init__()
        self.config, self.resolution = config, resolution
        width, act = config.widths[resolution], config.activation
        gain = default_gain(act)  # in the weights, where StyleGAN2 applies it to the output
        if config.growing or resolution == config.img_resolution:
            self.fromrgb = EqualizedConv2d(config.img_channels, width, 1, activation=act, weight_gain=gain)
        if resolution > 4:
            below = config.widths[resolution // 2]
            self.conv0 = EqualizedConv2d(width, width, 3, activation=act, weight_gain=gain)
            self.conv1 = BlurredDownConv2d(
                width, below, 3, activation=act, weight_gain=gain, resample_filter=config.blur_filter
            )
        else:
            channels = width + config.mbstd_channels
            self.conv = EqualizedConv2d(channels, width, 3, activation=act, weight_gain=gain)
            self.fc = EqualizedLinear(width * 16, width, activation=act, weight_gain=gain)
            self.out = EqualizedLinear(width, config.outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.resolution > 4:
            halved: Tensor = self.conv1(self.conv0(x))
            return halved
        if self.config.mbstd_channels:
            x = minibatch_standard_deviation(x, self.config.mbstd_group_size, self.config.mbstd_channels)
        x = self.conv(x).flatten(1)
        scores: Tensor = self.out(self.fc(x.to(sum_dtype(x))))
        return scores


class StyleGANDiscriminator(DiscriminatorBase):
    """Score images: positive for real.

    Args:
        config: Settings of the network.
    """

    config: StyleGANDiscriminatorConfig

    def __init__(self, config: StyleGANDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        for resolution in reversed(config.widths):
            self.add_module(f"b{resolution}", StyleGANDiscriminatorBlock(config, resolution))

    def forward(
        self, image: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Score images, as `DiscriminatorBase.forward` says."""
        config = self.config
        top = self.check_input(image, c, alpha)
        image = image.to(dtype or image.dtype)
        x = self._block(top).fromrgb(image)
        for resolution in (r for r in reversed(config.widths) if r <= top):
            x = self._block(resolution)(x)
            if resolution == top and alpha != 1:
                older = self._block(top // 2).fromrgb(functional.avg_pool2d(image, 2))
                x = torch.lerp(older, x, alpha)
        if config.c_dim and c is not None:
            x = (x * c.to(x.dtype)).sum(dim=1, keepdim=True)
        scores: Tensor = x
        return scores

    def _block(self, resolution: int) -> StyleGANDiscriminatorBlock:
        return cast(StyleGANDiscriminatorBlock, self.get_submodule(f"b{resolution}"))
