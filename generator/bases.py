"""What the networks of every family are to the rest of the program: two base classes.

References: Karras et al. 2018, section 2 and figure 2 (progressive growing).
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from generator.config import DiscriminatorSettings, SynthesisSettings
from generator.ops.dual import Dual
from generator.settings import SQUARE, map_shape

__all__ = ["DiscriminatorBase", "NoiseInput", "SynthesisBase", "check_stage"]

NoiseInput = str | Mapping[str, Tensor]
"""What noise inputs are given: "const", "random", "none", or maps by name, see `SynthesisBase.noise_maps`."""


def check_stage(config: SynthesisSettings | DiscriminatorSettings, resolution: int, alpha: float | None) -> float:
    """Check that a network can work at a resolution and a fade, and return alpha.

    Args:
        config: Settings of the network.
        resolution: Side of the images that it generates or looks at.
        alpha: How far the layers at that resolution have faded in, in [0, 1]; None: what the settings say at the
            network's last resolution, and 1 at the others.

    Raises:
        ValueError: The network has no such stage.
    """
    last = config.img_resolution
    if alpha is None:
        alpha = getattr(config, "alpha", 1.0) if resolution == last else 1.0
    if resolution not in config.widths:
        raise ValueError(f"this network has no layers at {resolution} px")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}, not in [0, 1]")
    if not config.growing and (resolution != last or alpha != 1):
        raise ValueError(f"this network has colour layers at {last} px only: its settings do not say 'growing'")
    if resolution == 4 and alpha != 1:
        raise ValueError(f"alpha is {alpha!r} at 4 px, where there is nothing to fade in from")
    return alpha


class SynthesisBase(nn.Module):
    """A synthesis network w -> image, whose layers may take noise maps and keep maps of their own.

    A layer's own map is its buffer `noise_const` `[r, r]`.

    Attributes:
        config: Settings of the network.
        num_ws: Number of styles that it takes.
        is_movable: Whether `forward` takes `transform`, the inverse of a motion of each image `[N, 3, 3]`; see
            `generator.motion`.
        noise_sizes: Name ("b8.conv0") and resolution of every noise input, first layer first; its map has that height
            and width where the images are square, see `generator.settings.map_shape`.
    """

    config: SynthesisSettings
    num_ws: int
    noise_sizes: dict[str, int]
    is_movable: bool = False

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
        """Generate images from styles.

        Args:
            ws: Styles `[N, num_ws, w_dim]`; those of layers above `resolution` are not looked at.
            noise: What the noise inputs are given, see `noise_maps`; maps of layers above `resolution` may be left
                out.
            rng: Source of random noise, on the CPU; None: torch's global one.
            dtype: Type of the feature maps; styles, noise and the image stay float32, unless this and the network are
                float64: then everything is.
            resolution: Side r of the images of a network that grows; None, and the only one of a network that does
                not grow, is the last one.
            alpha: How far the layers at `resolution` have faded in, in [0, 1]: the image is that share of what they
                give, and for the rest that of half the resolution, each pixel repeated. None: what `config.alpha`
                says at the last resolution, and 1 at the others.

        Returns:
            float32 (or float64, see `dtype`) `[N, img_channels, r, r]`, in about [-1, 1].

        Raises:
            ValueError: The styles, the noise, the resolution or alpha do not fit this network.

        Reference: Karras et al. 2018, figure 2 (fading in).
        """
        raise NotImplementedError

    def carry(self, ws: Dual, noise: Mapping[str, Dual | None]) -> Dual:
        """Generate images with their derivatives in forward mode; the network is frozen (`generator.layers.freeze`).

        Args:
            ws: Styles `[N, num_ws, w_dim]` and T tangents of each.
            noise: Map `[N or 1, 1, r, r]` of every noise input, and tangents; None: no noise.

        Returns:
            `[N, img_channels, r, r]` in about [-1, 1], as `forward` gives them, and T tangents of each; float64 where
            the network, the styles and the noise are, else float32.
        """
        raise NotImplementedError

    def magnitudes(self) -> Tensor | None:
        """Return what the running magnitudes of the layers' inputs are to follow.

        Returns:
            Mean squares over the images of the last pass in training mode, `[L]`; None where layers keep no running
            magnitudes, or there was no such pass.
        """
        return None

    def follow(self, magnitudes: Tensor) -> None:
        """Move the running magnitudes towards those of one minibatch, `[L]`, which `magnitudes` returned."""

    def check_styles(self, ws: Tensor) -> None:
        """Check the shape of styles.

        Raises:
            ValueError: They are not `[N, num_ws, w_dim]`.
        """
        wanted = (self.num_ws, self.config.w_dim)
        if ws.ndim != 3 or ws.shape[1:] != wanted:
            raise ValueError(f"styles of shape {tuple(ws.shape)} are not [N, {wanted[0]}, {wanted[1]}]")

    def noise_maps(
        self,
        noise: NoiseInput,
        batch: int,
        rng: torch.Generator | None = None,
        resolution: int | None = None,
    ) -> dict[str, Tensor | None]:
        """Return the noise of every layer.

        Args:
            noise: "const" (the stored maps), "random" (fresh ones for each image), "none", or maps
                `[N or 1, 1, r, r]` by name.
            batch: Number N of images.
            rng: Source of random noise, on the CPU; None: torch's global one.
            resolution: Side of the images in pixels, above which layers need no maps; None: all layers need theirs.

        Returns:
            Maps `[N or 1, 1, r, r]` by name; None where there is no noise.

        Raises:
            ValueError: An unknown word, a missing or unknown name, or a map of the wrong shape.
        """
        sizes = {name: r for name, r in self.noise_sizes.items() if resolution is None or r <= resolution}
        shapes = {name: map_shape(self.config, r) for name, r in sizes.items()}
        if isinstance(noise, str):
            if noise == "const":
                return {name: self._stored(name)[None, None] for name in sizes}
            if noise == "random":
                maps = {name: torch.randn([batch, 1, *shape], generator=rng) for name, shape in shapes.items()}
                return {name: value.to(self._stored(name).device) for name, value in maps.items()}
            if noise == "none":
                return dict.fromkeys(sizes)
            raise ValueError(f"noise {noise!r} is not const, random, none or a dictionary of maps")
        wrong = (sizes.keys() - noise.keys()) | (noise.keys() - self.noise_sizes.keys())
        if wrong:
            raise ValueError(f"noise maps {sorted(wrong)} are missing or unknown")
        for name, shape in shapes.items():
            value = noise[name]
            if value.shape[1:] != (1, *shape) or value.shape[0] not in (1, batch):
                raise ValueError(f"noise {name} has shape {tuple(value.shape)}, not {(batch, 1, *shape)}")
        return {name: noise[name] for name in sizes}

    def _stored(self, name: str) -> Tensor:
        return cast(Tensor, self.get_submodule(name).noise_const)


class DiscriminatorBase(nn.Module):
    """A discriminator image, c -> logit.

    Attributes:
        config: Settings of the network.
    """

    config: DiscriminatorSettings

    def forward(
        self, image: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Score images: positive for real.

        Args:
            image: Images `[N, img_channels, r, r]`. While the network grows r may be any of its resolutions, else
                it is the last one.
            c: Labels `[N, c_dim]` of a conditional network.
            alpha: How far the layers at r have faded in, in [0, 1]: that share of what they see, and for the rest
                what the fRGB layer at r / 2 sees in the image, each 2 x 2 pixels averaged.
            dtype: Type of the feature maps; the layers after them stay as they are. None: that of the images.

        Returns:
            Logits `[N, 1]`.

        Raises:
            ValueError: The images, the labels or alpha do not fit this network.

        Reference: Karras et al. 2018, figure 2 (fading in).
        """
        raise NotImplementedError

    def check_input(self, image: Tensor, c: Tensor | None, alpha: float) -> int:
        """Check the arguments of `forward`.

        Args:
            image: Images `[N, img_channels, r, r]`.
            c: Labels `[N, c_dim]`, or None.
            alpha: How far the layers at r have faded in, in [0, 1].

        Returns:
            The resolution r.

        Raises:
            ValueError: The images, the labels or alpha do not fit this network.
        """
        config = self.config
        top: int = image.shape[-1] * 4 // map_shape(config, 4)[1]
        if image.shape[1:] != (config.img_channels, *map_shape(config, top)):
            wanted = "r, r" if map_shape(config, 4) == SQUARE else ", ".join(map(str, map_shape(config, top)))
            raise ValueError(f"images of shape {tuple(image.shape)} are not [N, {config.img_channels}, {wanted}]")
        check_stage(config, top, alpha)
        if config.c_dim and (c is None or c.shape != (len(image), config.c_dim)):
            raise ValueError(f"this network takes labels of shape {(len(image), config.c_dim)}")
        return top
