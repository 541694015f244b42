"""The StyleGAN3 synthesis network w -> image.

Reference: Karras et al. 2021, figure 4 (a).
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from generator.bases import NoiseInput, SynthesisBase, check_stage
from generator.ops._library import sum_dtype
from generator.ops.dual import Dual
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from generator.stylegan3.layers import FilteredLayer, FourierInput

__all__ = ["StyleGAN3SynthesisNetwork"]


class StyleGAN3SynthesisNetwork(SynthesisBase):
    """Generate images from one style per layer, the input counted as the first.

    Args:
        config: Settings of the network.
    """

    config: StyleGAN3SynthesisConfig
    is_movable = True

    def __init__(self, config: StyleGAN3SynthesisConfig) -> None:
        super().__init__()
        self.config = config
        self.num_ws = config.num_ws
        self.noise_sizes = {}
        self.input = FourierInput(config)
        self._names = [layer.name for layer in config.layers]
        for layer in config.layers:
            self.add_module(layer.name, FilteredLayer(config, layer))

    def forward(
        self,
        ws: Tensor,
        noise: NoiseInput = "const",
        rng: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        resolution: int | None = None,
        alpha: float | None = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """Generate images, as `SynthesisBase.forward` says.

        Args:
            ws: Styles `[N, num_ws, w_dim]`.
            noise: Any word, or no maps: there are no noise inputs.
            rng: Not used.
            dtype: Type of the feature maps.
            resolution: None or that of the images.
            alpha: None or 1.
            transform: The inverse of a motion of the images, `[3, 3]` or `[N, 3, 3]`, in units of an image's side
                counted from its centre; None: the network's own.
        """
        self._check(ws, noise, resolution, alpha)
        x = self.input(ws[:, 0], transform).to(dtype)
        for i, name in enumerate(self._names):
            x = self._layer(name)(x, ws[:, 1 + i])
        image: Tensor = x.to(sum_dtype(x)) * self.config.output_scale
        return image

    def magnitudes(self) -> Tensor | None:
        """Return the mean square of each layer's input, `[L]`, as `SynthesisBase.magnitudes` says."""
        found = [self._layer(name).magnitude for name in self._names]
        return torch.stack([one for one in found if one is not None]) if None not in found else None

    def follow(self, magnitudes: Tensor) -> None:
        """Move the running magnitudes, as `SynthesisBase.follow` says."""
        for name, magnitude in zip(self._names, magnitudes, strict=True):
            self._layer(name).follow(magnitude)

    def carry(self, ws: Dual, noise: Mapping[str, Dual | None]) -> Dual:
        """Generate images with tangents, as `SynthesisBase.carry` says."""
        styles = [ws.linear(lambda values, i=i: values[:, i]) for i in range(self.num_ws)]  # type: ignore[misc]
        x = self.input.carry(styles[0])
        for i, name in enumerate(self._names):
            x = self._layer(name).carry(x, styles[1 + i])
        return x.to(sum_dtype(x.value)).linear(lambda image: image * self.config.output_scale)

    def _check(self, ws: Tensor, noise: NoiseInput, resolution: int | None, alpha: float | None) -> None:
        self.check_styles(ws)
        check_stage(self.config, self.config.img_resolution if resolution is None else resolution, alpha)
        self.noise_maps(noise, len(ws))

    def _layer(self, name: str) -> FilteredLayer:
        return cast(FilteredLayer, self.get_submodule(name))
