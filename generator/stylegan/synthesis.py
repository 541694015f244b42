"""The StyleGAN synthesis network w -> image, which can be grown.

References: Karras et al. 2019, figure 1 (b) and section 2; Karras et al. 2018, section 2 (progressive growing).
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.bases import NoiseInput, SynthesisBase, check_stage
from generator.layers import EqualizedConv2d, EqualizedLinear
from generator.ops._library import sum_dtype
from generator.ops.bias_act import default_gain
from generator.ops.dual import Dual
from generator.stylegan.config import StyleGANSynthesisConfig
from generator.stylegan.layers import StyleLayer

__all__ = ["StyleGANSynthesisNetwork"]


class StyleGANSynthesisBlock(nn.Module):
    """The two layers at one resolution, and its tRGB layer; at 4 px the first of them works on the input."""

    def __init__(self, config: StyleGANSynthesisConfig, resolution: int) -> None:
        super().__init__()
        out = config.widths[resolution]
        self.first, self.second = "input" if resolution == 4 else "conv0", "conv1"
        if resolution > 4:
            self.conv0 = StyleLayer(config, config.widths[resolution // 2], resolution, up=True)
        else:
            if config.input == "constant":
                self.const = nn.Parameter(torch.ones([out, 4, 4]))
            else:
                # The factor 1/4 is that of Progressive GAN's first layer (Karras et al. 2018).
                gain = default_gain(config.activation) / 4
                self.dense = EqualizedLinear(config.w_dim, out * 16, bias=None, weight_gain=gain)
            self.input = StyleLayer(config, None, resolution)
        self.conv1 = StyleLayer(config, out, resolution)
        if config.growing or resolution == config.img_resolution:
            self.torgb = EqualizedConv2d(out, config.img_channels, 1)

    def start(self, w: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what the first layer works on, `[N, C, 4, 4]` of `dtype`, for w `[N, w_dim]`."""
        if hasattr(self, "const"):
            return self.const[None].to(dtype).expand(len(w), -1, -1, -1)
        made: Tensor = self.dense(w).reshape(len(w), -1, 4, 4).to(dtype)
        return made

    def forward(self, x: Tensor, ws: Tensor, noise: dict[str, Tensor | None]) -> Tensor:
        for i, name in enumerate((self.first, self.second)):
            x = self.get_submodule(name)(x, ws[:, i], noise.get(name))
        return x

    def carry(self, x: Dual, ws: Dual, noise: Mapping[str, Dual | None]) -> Dual:
        """Do what `forward` does, with tangents."""
        for i, name in enumerate((self.first, self.second)):
            x = self.get_submodule(name).carry(x, ws.linear(lambda s, i=i: s[:, i]), noise.get(name))  # type: ignore
        return x

    def carry_start(self, w: Dual) -> Dual:
        """Do what `start` does, with tangents."""
        if hasattr(self, "const"):
            return Dual(self.const[None].expand(len(w.value), -1, -1, -1))
        return self.dense.carry(w).linear(lambda made: made.reshape(len(made), -1, 4, 4))


class StyleGANSynthesisNetwork(SynthesisBase):
    """Generate images from one style per layer.

    Args:
        config: Settings of the network.
    """

    config: StyleGANSynthesisConfig

    def __init__(self, config: StyleGANSynthesisConfig) -> None:
        super().__init__()
        self.config = config
        self.num_ws = config.num_ws
        self.noise_sizes = {}
        for resolution in config.widths:
            block = StyleGANSynthesisBlock(config, resolution)
            self.add_module(f"b{resolution}", block)
            if config.use_noise:
                self.noise_sizes |= {f"b{resolution}.{name}": resolution for name in (block.first, block.second)}

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
        top = config.img_resolution if resolution is None else resolution
        self.check_styles(ws)
        alpha = check_stage(config, top, alpha)
        maps = self.noise_maps(noise, len(ws), rng, top)
        styles = ws if config.use_styles else ws.expand(-1, config.num_layers, -1)
        x = self._block(4).start(ws[:, 0], dtype)
        below = x
        for i, r in enumerate(r for r in config.widths if r <= top):
            below = x
            own = {name.removeprefix(f"b{r}."): value for name, value in maps.items() if name.startswith(f"b{r}.")}
            x = self._block(r)(x, styles[:, 2 * i : 2 * i + 2], own)
        image: Tensor = self._block(top).torgb(x)
        image = image.to(sum_dtype(image))
        if alpha == 1:
            return image
        older = self._block(top // 2).torgb(below).to(image.dtype)
        return functional.interpolate(older, scale_factor=2).lerp(image, alpha)

    def carry(self, ws: Dual, noise: Mapping[str, Dual | None]) -> Dual:
        """Generate images with tangents, as `SynthesisBase.carry` says."""
        config, top = self.config, self.config.img_resolution
        alpha = check_stage(config, top, None)
        styles = ws if config.use_styles else ws.linear(lambda s: s.expand(-1, config.num_layers, -1))
        x = self._block(4).carry_start(ws.linear(lambda s: s[:, 0]))
        below = x
        for i, r in enumerate(config.widths):
            below = x
            own = {name.removeprefix(f"b{r}."): value for name, value in noise.items() if name.startswith(f"b{r}.")}
            x = self._block(r).carry(x, styles.columns(2 * i, 2 * i + 2), own)
        image = self._block(top).torgb.carry(x)
        image = image.to(sum_dtype(image.value))
        return image if alpha == 1 else self._block(top // 2).torgb.carry(below).faded(image, alpha)

    def _block(self, resolution: int) -> StyleGANSynthesisBlock:
        return cast(StyleGANSynthesisBlock, self.get_submodule(f"b{resolution}"))
