"""A projection done the plain way, as the public projectors do it: the loop that the project's own is compared with.

Weights per image and one grouped convolution, the target's features computed again at every step, contiguous layout,
one tensor per noise map, plain autograd. It is our own writing, after the papers: see `invert.projection.optimisers`
for the ramps, which are the same.

Reference: Karras et al. 2020, appendix D; Zhang et al. 2018.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from generator.networks import Generator
from generator.stylegan2.layers import ModulatedConv2d, ToRGB
from invert.images.arrays import to_uint8
from invert.projection.latents import LatentStatistics
from invert.projection.optimisers import Schedule
from invert.projection.perceptual import Perceptual

__all__ = ["PlainProjection"]

_NOISE_WEIGHT = 1e5


class PlainProjection:
    """Search w and noise maps of images in a simple loop.

    Args:
        generator: The network; it is changed to the plain form of its convolutions.
        perceptual: The distance; likewise.
        targets: `[N, C, H, W]` in [-1, 1].
        statistics: Centre and spread of W; without them w starts at zero.
        steps: Over which the ramps go.
    """

    def __init__(
        self,
        generator: Generator,
        perceptual: Perceptual,
        targets: Tensor,
        statistics: LatentStatistics | None = None,
        steps: int = 1000,
    ) -> None:
        for module in generator.modules():
            if isinstance(module, (ModulatedConv2d, ToRGB)):
                module.form = "per_sample"
        perceptual.model.to(memory_format=torch.contiguous_format)
        n, device = len(targets), targets.device
        if statistics is None:
            statistics = LatentStatistics(torch.zeros([generator.config.mapping.w_dim], device=device), 1.0)
        sizes = generator.synthesis.noise_sizes
        self._generator, self._perceptual, self._targets = generator, perceptual, targets
        self._deviation, self._schedule = statistics.deviation, Schedule(steps)
        self._w = statistics.centre.repeat(n, 1).requires_grad_()
        self._noise = {name: torch.randn([n, 1, r, r], device=device).requires_grad_() for name, r in sizes.items()}
        self._adam = torch.optim.Adam([self._w, *self._noise.values()], lr=self._schedule.peak_rate)

    def step(self, index: int) -> None:
        """Make step number `index`, counted from 0."""
        self._adam.param_groups[0]["lr"] = self._schedule.learning_rate(index)
        spread = self._deviation * self._schedule.latent_noise_deviation(index)
        images = self._synthesise(self._w + spread * torch.randn_like(self._w))
        loss = self._distance(images) + _NOISE_WEIGHT * self._structure()
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        with torch.no_grad():
            for value in self._noise.values():
                value -= value.mean()
                value *= value.square().mean().rsqrt()

    @torch.no_grad()
    def images(self) -> list[NDArray[np.uint8]]:
        """Return what the network synthesises now: uint8 `[H, W, C]` of each target."""
        return list(to_uint8(self._synthesise(self._w)))

    def _synthesise(self, w: Tensor) -> Tensor:
        images: Tensor = self._generator.synthesis(self._generator.broadcast(w), self._noise)
        return images

    def _features(self, x: Tensor) -> list[Tensor]:
        if x.shape[2] > 256:
            x = functional.interpolate(x, size=(256, 256), mode="area")
        model = self._perceptual.model
        return [y / (y.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for y in model.net(model.scaling_layer(x))]

    def _distance(self, images: Tensor) -> Tensor:
        total = torch.zeros([], device=images.device)
        heads = self._perceptual.model.lins
        for x, y, head in zip(self._features(images), self._features(self._targets), heads, strict=True):
            total = total + head((x - y).square()).mean(dim=[2, 3]).sum()
        return total

    def _structure(self) -> Tensor:
        """Return how much the noise maps look like anything but noise, at all their scales."""
        total = torch.zeros([], device=self._w.device)
        for value in self._noise.values():
            while True:
                total = total + (value * value.roll(1, 3)).mean().square()
                total = total + (value * value.roll(1, 2)).mean().square()
                if value.shape[2] <= 8:
                    break
                value = functional.avg_pool2d(value, 2)
        return total
