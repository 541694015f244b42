"""What a synthesis network's noise inputs are given."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["NoiseInput", "NoiseInputs"]

NoiseInput = str | Mapping[str, Tensor]


class NoiseInputs(nn.Module):
    """A network whose layers take noise maps, and keep maps of their own as `noise_const` `[r, r]`.

    Attributes:
        noise_sizes: Name ("b8.conv0") and height of every noise input, first layer first.
    """

    noise_sizes: dict[str, int]

    def noise_maps(
        self,
        noise: NoiseInput,
        batch: int,
        rng: torch.Generator | None = None,
        resolution: int | None = None,
    ) -> dict[str, Tensor | None]:
        """Return the noise `[batch or 1, 1, r, r]` of every layer (None: no noise) that `noise` stands for.

        Args:
            noise: "const" (the stored maps), "random" (fresh for each image, from `rng`), "none", or maps
                `[N or 1, 1, r, r]` by name.
            batch: N.
            rng: Source of random noise, on the CPU; default torch's global one.
            resolution: Leave out the layers above it, which then need no maps.

        Raises:
            ValueError: An unknown word, a missing or unknown name, or a map of the wrong shape.
        """
        sizes = {name: r for name, r in self.noise_sizes.items() if resolution is None or r <= resolution}
        if isinstance(noise, str):
            if noise == "const":
                return {name: self._stored(name)[None, None] for name in sizes}
            if noise == "random":
                maps = {name: torch.randn([batch, 1, r, r], generator=rng) for name, r in sizes.items()}
                return {name: value.to(self._stored(name).device) for name, value in maps.items()}
            if noise == "none":
                return dict.fromkeys(sizes)
            raise ValueError(f"noise {noise!r} is not const, random, none or a dictionary of maps")
        wrong = (sizes.keys() - noise.keys()) | (noise.keys() - self.noise_sizes.keys())
        if wrong:
            raise ValueError(f"noise maps {sorted(wrong)} are missing or unknown")
        for name, r in sizes.items():
            value = noise[name]
            if value.shape[1:] != (1, r, r) or value.shape[0] not in (1, batch):
                raise ValueError(f"noise {name} has shape {tuple(value.shape)}, not ({batch}, 1, {r}, {r})")
        return {name: noise[name] for name in sizes}

    def _stored(self, name: str) -> Tensor:
        return cast(Tensor, self.get_submodule(name).noise_const)
