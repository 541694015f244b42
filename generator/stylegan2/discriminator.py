"""The StyleGAN2 discriminator.

References: Karras et al. 2020, figure 7 ("skip" and "resnet" discriminators); Karras et al. 2018, section 2
(progressive growing).
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.bases import DiscriminatorBase
from generator.layers import EqualizedConv2d, EqualizedLinear, minibatch_standard_deviation
from generator.mapping import MappingNetwork
from generator.ops._library import sum_dtype
from generator.ops.upfirdn2d import setup_filter, upfirdn2d
from generator.stylegan2.config import DiscriminatorConfig

__all__ = ["Discriminator"]


def _from_rgb(config: DiscriminatorConfig, resolution: int) -> EqualizedConv2d:
    # The published networks clamp every convolution but the last block's view of the image.
    return EqualizedConv2d(
        config.img_channels,
        config.widths[resolution],
        1,
        activation=config.activation,
        conv_clamp=config.conv_clamp if resolution > 4 else None,
    )


class DiscriminatorBlock(nn.Module):
    """Two convolutions at one resolution, the second halving it."""

    resample_filter: Tensor

    def __init__(self, config: DiscriminatorConfig, resolution: int) -> None:
        super().__init__()
        self.architecture = config.architecture
        self.register_buffer("resample_filter", setup_filter(config.resample_filter, separable=False), persistent=False)
        width, below = config.widths[resolution], config.widths[resolution // 2]
        if resolution == config.img_resolution or self.architecture == "skip" or config.growing:
            self.fromrgb = _from_rgb(config, resolution)
        self.conv0 = EqualizedConv2d(width, width, 3, activation=config.activation, conv_clamp=config.conv_clamp)
        self.conv1 = EqualizedConv2d(
            width,
            below,
            3,
            activation=config.activation,
            down=2,
            resample_filter=config.resample_filter,
            conv_clamp=config.conv_clamp,
        )
        if self.architecture == "resnet":
            self.skip = EqualizedConv2d(width, below, 1, bias=False, down=2, resample_filter=config.resample_filter)

    def forward(self, x: Tensor | None, image: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if x is None or self.architecture == "skip":
            y = self.fromrgb(image.to(dtype))
            x = y if x is None else x + y
            if self.architecture == "skip":
                taps = self.resample_filter.shape[-1]
                before, after = (taps - 1) // 2, (taps - 2) // 2
                padding = (before, after, before, after)
                image = upfirdn2d(image, self.resample_filter, down=2, padding=padding)
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x)), image
        y = self.skip(x, gain=math.sqrt(0.5))
        return y + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), image


class DiscriminatorEpilogue(nn.Module):
    """Minibatch deviation, a convolution and two dense layers at 4 px."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.widths[4]
        if config.architecture == "skip" or config.growing or config.img_resolution == 4:
            self.fromrgb = _from_rgb(config, 4)
        self.conv = EqualizedConv2d(
            width + config.mbstd_channels, width, 3, activation=config.activation, conv_clamp=config.conv_clamp
        )
        self.fc = EqualizedLinear(width * math.prod(config.start), width, activation=config.activation)
        self.out = EqualizedLinear(width, config.outputs)

    def forward(self, x: Tensor | None, image: Tensor, dtype: torch.dtype) -> Tensor:
        if x is None or self.config.architecture == "skip":
            y = self.fromrgb(image.to(dtype))
            x = y if x is None else x + y
        if self.config.mbstd_channels:
            x = minibatch_standard_deviation(x, self.config.mbstd_group_size, self.config.mbstd_channels)
        x = self.conv(x).flatten(1)
        out: Tensor = self.out(self.fc(x.to(sum_dtype(x))))
        return out


class Discriminator(DiscriminatorBase):
    """Score images: positive for real.

    Args:
        config: Settings of the network.
    """

    config: DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        for resolution in reversed(config.widths):
            if resolution > 4:
                self.add_module(f"b{resolution}", DiscriminatorBlock(config, resolution))
        if config.mapping is not None:
            self.mapping = MappingNetwork(config.mapping, track_average=False)
        self.b4 = DiscriminatorEpilogue(config)

    def forward(
        self, image: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Score images, as `DiscriminatorBase.forward` says."""
        config = self.config
        top = self.check_input(image, c, alpha)
        dtype = dtype or image.dtype
        x: Tensor | None = None
        features = image
        for resolution in reversed(config.widths):
            if 4 < resolution <= top:
                x, features = self.get_submodule(f"b{resolution}")(x, features, dtype)
            if resolution == top and alpha != 1:
                older = cast(nn.Module, self.get_submodule(f"b{top // 2}").fromrgb)(
                    functional.avg_pool2d(image, 2).to(dtype)
                )
                x = torch.lerp(older, cast(Tensor, x), alpha)
        scores: Tensor = self.b4(x, features, dtype)
        if not config.c_dim or c is None:
            return scores
        if config.label_mode == "select":
            return (scores * c.to(scores.dtype)).sum(dim=1, keepdim=True)
        # Projection of the mapped label on the features (Miyato & Koyama 2018).
        label = self.mapping(torch.empty([len(image), 0], device=image.device), c)
        projected: Tensor = (scores * label).sum(dim=1, keepdim=True) / math.sqrt(scores.shape[1])
        return projected
