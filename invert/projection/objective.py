"""What a projection minimises: the distance of each image, and what keeps its noise maps noise.

Reference: Karras et al. 2020, appendix D.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from generator.networks import Generator
from invert.projection.motion import Motions
from invert.projection.noise import NoiseMaps
from invert.projection.perceptual import Perceptual

__all__ = ["Comparison", "Objective", "PaperObjective"]

Objective = Callable[[Tensor, NoiseMaps], tuple[Tensor, Tensor]]
"""Takes styles `[N, styles, w_dim]` and noise maps; returns each image's distance `[N]`, and what is added to it to be
minimised `[N]`. Both are differentiable."""


class Comparison(NamedTuple):
    """How near N images are to their targets.

    Attributes:
        distances: `[N]`, LPIPS in float32.
        shares: `[N, 5]`, those of its layers.
        images: `[N, C, H, W]` in about [-1, 1].
    """

    distances: Tensor
    shares: Tensor
    images: Tensor


class PaperObjective:
    """LPIPS to stored targets plus the weighted noise regulariser.

    Args:
        generator: A frozen network.
        perceptual: The distance.
        targets: Images `[N, C, H, W]` in [-1, 1] to be generated again.
        noise_weight: Factor on the regulariser; 0 leaves it out.
        pyramid_scale: See `generator.ops.noise_penalty`.
        dtype: Type of the feature maps while optimising; distances are measured in float32 whatever it is.
        motions: Shift and rotation of the images; None: they are not moved.
        masks: 1 where a pixel counts and else 0, `[N, 1, H, W]`: image and target are made grey where it does not.
            None where all pixels count.

    Reference: Karras et al. 2020, appendix D.
    """

    def __init__(
        self,
        generator: Generator,
        perceptual: Perceptual,
        targets: Tensor,
        noise_weight: float,
        pyramid_scale: float,
        dtype: torch.dtype = torch.float32,
        motions: Motions | None = None,
        masks: Tensor | None = None,
    ) -> None:
        self._motions, self._masks = motions, masks
        targets = self._seen(targets)
        self._generator, self._perceptual, self._dtype = generator, perceptual, dtype
        self._exact_targets = perceptual.prepare(targets)
        self._targets = self._exact_targets
        if dtype != torch.float32:
            self._targets = perceptual.prepare(targets, dtype)
        self._noise_weight, self._pyramid_scale = noise_weight, pyramid_scale

    def __call__(self, styles: Tensor, noise: NoiseMaps) -> tuple[Tensor, Tensor]:
        """Return each image's distance `[N]` and noise term `[N]`.

        Args:
            styles: `[N, styles, w_dim]`.
            noise: Maps of N images.
        """
        images = self._seen(self._synthesise(styles, noise, self._dtype))
        distances, _ = self._perceptual.distance(images, self._targets)
        if not self._noise_weight or not noise.stacks:
            return distances, torch.zeros_like(distances)
        return distances, self._noise_weight * noise.autocorrelation(self._pyramid_scale)

    @torch.no_grad()
    def measure(self, styles: Tensor, noise: NoiseMaps) -> Comparison:
        """Return how near the images of styles `[N, styles, w_dim]` and noise maps are to their targets."""
        images = self._synthesise(styles, noise, torch.float32)
        distances, shares = self._perceptual.distance(self._seen(images), self._exact_targets)
        return Comparison(distances, shares, images)

    def _seen(self, images: Tensor) -> Tensor:
        """Return images as they are compared."""
        return images if self._masks is None else images * self._masks

    def _synthesise(self, styles: Tensor, noise: NoiseMaps, dtype: torch.dtype) -> Tensor:
        moved = {} if self._motions is None else {"transform": self._motions.matrices()}
        image: Tensor = self._generator.synthesis(styles, noise.by_layer(), dtype=dtype, **moved)
        return image
