"""The mapping network z, c -> w.

References: Karras et al. 2019, section 2 (mapping, truncation in W); Karras et al. 2020 for conditional networks.
"""

import itertools

import torch
from torch import Tensor, nn

from generator.config import MappingConfig
from generator.layers import EqualizedLinear, normalize_second_moment
from generator.ops._library import sum_dtype
from generator.ops.bias_act import default_gain

__all__ = ["MappingNetwork"]


class MappingNetwork(nn.Module):
    """Map normalised latents, and labels where the network has them, to intermediate latents.

    Args:
        config: Settings of the network.
        track_average: Whether it keeps a running mean `w_avg` `[w_dim]` for truncation.
        gain_in_weight: Whether the activation's gain is in the weights' constant (StyleGAN) and not on the output
            (StyleGAN2).

    Raises:
        ConfigError: A network without layers whose input is not as wide as w.
    """

    w_avg: Tensor

    def __init__(self, config: MappingConfig, track_average: bool = True, *, gain_in_weight: bool = False) -> None:
        super().__init__()
        self.config = config
        config.check_width()
        if config.c_dim and config.label_mode == "embed":
            self.embed = EqualizedLinear(config.c_dim, config.label_dim)
        elif config.c_dim:
            self.label_matrix = nn.Parameter(torch.randn([config.c_dim, config.z_dim]))
        for i, (width, out) in enumerate(config.layer_widths):
            layer = EqualizedLinear(
                width,
                out,
                activation=config.activation,
                lr_multiplier=config.lr_multiplier,
                weight_gain=default_gain(config.activation) if gain_in_weight else None,
            )
            self.add_module(f"fc{i}", layer)
        if track_average:
            self.register_buffer("w_avg", torch.zeros([config.w_dim]))

    def _embed(self, z: Tensor, c: Tensor | None) -> Tensor:
        config = self.config
        if not config.c_dim:
            return normalize_second_moment(z)
        if c is None or c.shape != (len(z), config.c_dim):
            given = "none" if c is None else str(tuple(c.shape))
            raise ValueError(f"this network takes labels of shape {(len(z), config.c_dim)}, given: {given}")
        c = c.to(self._dtype)
        if config.label_mode == "concat":
            return normalize_second_moment(torch.cat([z, c @ self.label_matrix], dim=1))
        y = normalize_second_moment(self.embed(c))
        return torch.cat([normalize_second_moment(z), y], dim=1) if config.z_dim else y

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Map latents and labels to w.

        Args:
            z: Latents `[N, z_dim]`; they are normalised here.
            c: Labels `[N, c_dim]` of a conditional network, one-hot.

        Returns:
            w, float32 `[N, w_dim]`; float64 from a network of such weights.

        Raises:
            ValueError: z or c has the wrong shape for this network.
        """
        if z.ndim != 2 or z.shape[1] != self.config.z_dim:
            raise ValueError(f"z has shape {tuple(z.shape)}, this network takes [N, {self.config.z_dim}]")
        x = self._embed(z.to(self._dtype), c)
        for i in range(self.config.num_layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x

    @property
    def _dtype(self) -> torch.dtype:
        weight = next(itertools.chain(self.parameters(), self.buffers()), torch.empty([]))
        return sum_dtype(weight)

    @torch.no_grad()
    def update_average(self, w_mean: Tensor) -> None:
        """Move `w_avg` towards the mean w `[w_dim]` of one minibatch, by 1 - `w_avg_beta`."""
        self.w_avg.copy_(w_mean.lerp(self.w_avg, self.config.w_avg_beta))
