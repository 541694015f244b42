"""The StyleGAN2 synthesis network w -> image.

References: Karras et al. 2020, figure 2 (layer), figure 7 ("skip" and "resnet" generators); Karras et al. 2018,
section 2 (progressive growing).
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.bases import NoiseInput, SynthesisBase, check_stage
from generator.layers import EqualizedConv2d
from generator.ops._library import sum_dtype
from generator.ops.dual import Dual
from generator.ops.trained_layer import is_first_order
from generator.ops.upfirdn2d import setup_filter, upfirdn2d
from generator.settings import map_shape
from generator.stylegan2.config import SynthesisConfig
from generator.stylegan2.layers import ModulatedConv2d, ToRGB

__all__ = ["SynthesisNetwork"]


class SynthesisBlock(nn.Module):
    """All layers at one resolution: a learned constant at 4 px, an upsampling pair of layers above."""

    resample_filter: Tensor

    def __init__(self, config: SynthesisConfig, resolution: int) -> None:
        super().__init__()
        out = config.widths[resolution]
        self.is_first = resolution == 4
        self.architecture = config.architecture
        self.register_buffer("resample_filter", setup_filter(config.resample_filter, separable=False), persistent=False)

        def layer(channels: int, up: int) -> ModulatedConv2d:
            return ModulatedConv2d(
                channels,
                out,
                config.w_dim,
                map_shape(config, resolution),
                up=up,
                activation=config.activation,
                use_noise=config.use_noise,
                demodulate=config.demodulate,
                resample_filter=config.resample_filter,
                conv_clamp=config.conv_clamp,
            )

        if self.is_first:
            self.const = nn.Parameter(torch.randn([out, *config.start]))
        else:
            below = config.widths[resolution // 2]
            self.conv0 = layer(below, 2)
            if self.architecture == "resnet":
                self.skip = EqualizedConv2d(below, out, 1, bias=False, up=2, resample_filter=config.resample_filter)
        self.conv1 = layer(out, 1)
        if self.architecture == "skip" or config.growing or resolution == config.img_resolution:
            self.torgb = ToRGB(out, config.img_channels, config.w_dim, config.conv_clamp)

    def _features(
        self, x: Tensor | None, ws: Sequence[Tensor], noise: dict[str, Tensor | None], dtype: torch.dtype
    ) -> Tensor:
        if x is None:
            start = self.const[None].to(dtype).expand(len(ws[0]), -1, -1, -1)
            if is_first_order(start):
                start = start.contiguous(memory_format=torch.channels_last)
            out: Tensor = self.conv1(start, ws[0], noise["conv1"])
            return out
        if self.architecture != "resnet":
            x = self.conv0(x, ws[0], noise["conv0"])
            out = self.conv1(x, ws[1], noise["conv1"])
            return out
        # Both branches scaled to keep the sum's variance (section 4, residual networks).
        y = self.skip(x, gain=math.sqrt(0.5))
        x = self.conv0(x, ws[0], noise["conv0"])
        x = self.conv1(x, ws[1], noise["conv1"], gain=math.sqrt(0.5))
        total: Tensor = y + x
        return total

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Sequence[Tensor],
        noise: dict[str, Tensor | None],
        dtype: torch.dtype,
        gives_image: bool,
    ) -> tuple[Tensor, Tensor | None]:
        x = self._features(x, ws, noise, dtype)
        if gives_image:
            return x, self.torgb.onto(image, x, ws[-1], self.resample_filter, self._upsample_padding)
        return x, None if image is None else self._upsample(image)

    def carry(
        self, x: Dual | None, image: Dual | None, ws: Dual, noise: dict[str, Dual | None], gives_image: bool
    ) -> tuple[Dual, Dual | None]:
        """Do what `forward` does, with tangents."""
        styles = [ws.linear(lambda values, i=i: values[:, i]) for i in range(ws.value.shape[1])]  # type: ignore[misc]
        if x is None:
            x = self.conv1.carry(Dual(self.const[None].expand(len(ws.value), -1, -1, -1)), styles[0], noise["conv1"])
        elif self.architecture != "resnet":
            x = self.conv1.carry(self.conv0.carry(x, styles[0], noise["conv0"]), styles[1], noise["conv1"])
        else:
            gain = math.sqrt(0.5)
            y = self.skip.carry(x, gain=gain)
            x = self.conv0.carry(x, styles[0], noise["conv0"])
            x = y + self.conv1.carry(x, styles[1], noise["conv1"], gain=gain)
        if image is not None:
            image = image.linear(self._upsample)
        if gives_image:
            y = self.torgb.carry(x, styles[-1])
            y = y.to(sum_dtype(y.value))
            image = y if image is None else image + y
        return x, image

    def _upsample(self, image: Tensor) -> Tensor:
        return upfirdn2d(image, self.resample_filter, up=2, padding=self._upsample_padding, gain=4)

    @property
    def _upsample_padding(self) -> tuple[int, int, int, int]:
        taps = self.resample_filter.shape[-1]
        before, after = (taps + 1) // 2, (taps - 2) // 2
        return before, after, before, after


class SynthesisNetwork(SynthesisBase):
    """Generate images from one style per layer.

    Args:
        config: Settings of the network.
    """

    config: SynthesisConfig

    def __init__(self, config: SynthesisConfig) -> None:
        super().__init__()
        self.config = config
        self.num_ws = config.num_ws
        for resolution in config.widths:
            self.add_module(f"b{resolution}", SynthesisBlock(config, resolution))
        self.noise_sizes = {}
        if config.use_noise:
            for resolution in config.widths:
                for layer in ("conv0", "conv1") if resolution > 4 else ("conv1",):
                    self.noise_sizes[f"b{resolution}.{layer}"] = resolution

    def forward(
        self,
        ws: Tensor,
        noise: NoiseInput = "const",
        rng: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        resolution: int | None = None,
        alpha: float | None = None,
    ) -> Tensor:
        """Generate images, as `SynthesisBase.forward` says."""
        config = self.config
        self.check_styles(ws)
        top = config.img_resolution if resolution is None else resolution
        alpha = check_stage(config, top, alpha)
        maps = self.noise_maps(noise, len(ws), rng, top)
        styles = ws.unbind(1)
        x: Tensor | None = None
        image: Tensor | None = None
        older: Tensor | None = None
        start = 0
        for r in (r for r in config.widths if r <= top):
            # conv layers take a style each; torgb shares the next block's first (figure 2 of the skip generator)
            count = 2 if r == 4 else 3
            block_noise = {layer: maps.get(f"b{r}.{layer}") for layer in ("conv0", "conv1")}
            gives_image = config.architecture == "skip" or r == top or (alpha < 1 and r == top // 2)
            # a network that grows fades from one image to the next, where the skip generator sums them
            older, below = image, image if config.architecture == "skip" else None
            own = styles[start : start + count]
            x, image = self.get_submodule(f"b{r}")(x, below, own, block_noise, dtype, gives_image)
            start += count - 1
        if image is None:  # unreachable: the last block always has a tRGB layer
            raise RuntimeError("the synthesis network gave no image")
        if alpha == 1 or older is None:
            return image
        return functional.interpolate(older, scale_factor=2).lerp(image, alpha)

    def carry(self, ws: Dual, noise: Mapping[str, Dual | None]) -> Dual:
        """Generate images with tangents, as `SynthesisBase.carry` says."""
        config, top = self.config, self.config.img_resolution
        alpha = check_stage(config, top, None)
        x: Dual | None = None
        image: Dual | None = None
        older: Dual | None = None
        start = 0
        for r in config.widths:
            count = 2 if r == 4 else 3
            block_noise = {layer: noise.get(f"b{r}.{layer}") for layer in ("conv0", "conv1")}
            gives_image = config.architecture == "skip" or r == top or (alpha < 1 and r == top // 2)
            older, below = image, image if config.architecture == "skip" else None
            block = cast(SynthesisBlock, self.get_submodule(f"b{r}"))
            x, image = block.carry(x, below, ws.columns(start, start + count), block_noise, gives_image)
            start += count - 1
        if image is None:
            raise RuntimeError("the synthesis network gave no image")
        return image if alpha == 1 or older is None else older.faded(image, alpha)
