"""The random numbers of training, drawn for each image of each step by itself.

An image's numbers depend on (seed, phase, step, index in the whole batch) alone: not on how the batch is cut into
micro-batches or spread over processes, and not on what was drawn before. That is what makes accumulation, several
processes and a resumed run agree with one uninterrupted process.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generator.config import GeneratorConfig
from generator.training.growth import styles_at
from generator.training.images import stream_seed

__all__ = ["Draws", "RandomSource"]


@dataclass(frozen=True)
class Draws:
    """What a batch of N images is generated from.

    Attributes:
        z: Two latents for each image, `[N, 2, z_dim]`.
        crossover: First style that takes the second latent, for each image, `[N]`; num_ws: none does.
        noise: Noise maps `[N, 1, r, r]` by layer.
        labels: One-hot labels `[N, c_dim]`, or None.
        y: Noise images for the path length `[N, C, r, r]`, or None.
        epsilon: Uniform numbers in [0, 1) for interpolates of real and generated images, `[N]`, or None.
    """

    z: Tensor
    crossover: Tensor
    noise: dict[str, Tensor]
    labels: Tensor | None
    y: Tensor | None
    epsilon: Tensor | None = None


class RandomSource:
    """Draws for the images of a network.

    Args:
        seed: Seed of the run.
        config: Settings of the generator.
        noise_sizes: Height of each noise map by layer, as `SynthesisBase.noise_sizes`.
        style_mixing: Probability that an image takes its styles from two latents.
        classes: Class of each training image, `[images]`, one of which a generated image takes at random; None: the
            network has no labels.
        device: Device on which the numbers are drawn.
    """

    def __init__(
        self,
        seed: int,
        config: GeneratorConfig,
        noise_sizes: dict[str, int],
        *,
        style_mixing: float,
        classes: NDArray[np.int64] | None,
        device: torch.device,
    ) -> None:
        self._seed, self._config, self._noise_sizes = seed, config, noise_sizes
        self._style_mixing, self._classes, self._device = style_mixing, classes, device
        self._stream = torch.Generator(device)

    def draw(
        self,
        phase: str,
        step: int,
        indices: Sequence[int],
        *,
        path_length: bool = False,
        interpolates: bool = False,
        resolution: int | None = None,
    ) -> Draws:
        """Return the draws of the images at `indices` of the whole batch.

        Args:
            phase: Name of the part of the step, such as "G" or "D"; each has numbers of its own.
            step: Number of the step.
            indices: Places of the images in the whole batch.
            path_length: Whether y is drawn too.
            interpolates: Whether epsilon is drawn too.
            resolution: Side r of the images of a network that grows; None: that of the network.
        """
        synthesis, z_dim = self._config.synthesis, self._config.mapping.z_dim
        side = synthesis.img_resolution if resolution is None else resolution
        noise_sizes = {name: r for name, r in self._noise_sizes.items() if r <= side}
        sizes = [2 * z_dim, *(r * r for r in noise_sizes.values())]
        if path_length:
            sizes.append(synthesis.img_channels * side * side)
        normal = torch.empty([len(indices), sum(sizes)], device=self._device)
        uniform = torch.empty([len(indices), 3], device=self._device)
        epsilon = torch.empty([len(indices)], device=self._device) if interpolates else None
        for row, index in enumerate(indices):
            self._stream.manual_seed(stream_seed(phase, self._seed, step, index))
            normal[row].normal_(generator=self._stream)
            uniform[row].uniform_(generator=self._stream)
            if epsilon is not None:
                epsilon[row].uniform_(generator=self._stream)
        z, *maps = torch.split(normal, sizes, dim=1)
        y = maps.pop().reshape(-1, synthesis.img_channels, side, side) if path_length else None
        noise = {name: m.reshape(-1, 1, r, r) for m, (name, r) in zip(maps, noise_sizes.items(), strict=True)}
        crossover, labels = self._crossovers(uniform, side), self._labels(uniform[:, 2])
        return Draws(z.reshape(-1, 2, z_dim), crossover, noise, labels, y, epsilon)

    def _crossovers(self, uniform: Tensor, resolution: int) -> Tensor:
        """With probability `style_mixing` one of 1 .. styles - 1, each as likely; else num_ws."""
        num_ws = self._config.synthesis.num_ws
        styles = styles_at(self._config.synthesis, resolution)
        if styles < 2:
            return torch.full([len(uniform)], num_ws, device=self._device)
        place = (1 + (uniform[:, 1] * (styles - 1)).long()).clamp(max=styles - 1)
        return torch.where(uniform[:, 0] < self._style_mixing, place, num_ws)

    def _labels(self, uniform: Tensor) -> Tensor | None:
        if self._classes is None:
            return None
        last = len(self._classes) - 1
        chosen = self._classes[[min(math.floor(u * len(self._classes)), last) for u in uniform.tolist()]]
        labels = torch.from_numpy(chosen).to(self._device)
        return torch.nn.functional.one_hot(labels, self._config.mapping.c_dim).float()
