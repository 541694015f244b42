"""What an optimisation varies, and how the styles of a network come from it.

    space = W(generator, statistics)
    parameters = space.start(w)                                  # leaves for an optimiser
    styles = space.styles(space.noised(parameters, 0.05, streams))

Another space (one style per layer, or z) is another subclass: what its parameters are, and the w that they stand for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from generator.networks import Generator
from invert.projection.latents import LatentStatistics

__all__ = ["Space", "W"]


class Space(ABC):
    """A space that latents of N images are searched in.

    Args:
        generator: Gives the styles.
        statistics: Centre and spread of W; the noise on w is measured in its deviations.
    """

    def __init__(self, generator: Generator, statistics: LatentStatistics) -> None:
        self._generator, self._statistics = generator, statistics

    @abstractmethod
    def start(self, w: Tensor) -> list[Tensor]:
        """Return new parameters, each `[N, ...]`, at the latents where a search begins.

        Args:
            w: `[N, 1, w_dim]`, float32.
        """

    @abstractmethod
    def w(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the w that parameters stand for: `[N, 1, w_dim]`, or `[N, styles, w_dim]` with a w per layer."""

    def noised(self, parameters: Sequence[Tensor], deviations: float, streams: Sequence[torch.Generator]) -> Tensor:
        """Return w as `w` does, with normal noise on every number of it.

        Args:
            parameters: From `start`.
            deviations: Standard deviation of the noise, in deviations of W; at zero nothing is drawn.
            streams: One random stream per image.
        """
        w = self.w(parameters)
        deviation = self._statistics.deviation * deviations
        if deviation == 0:
            return w
        drawn = torch.stack([torch.randn(w.shape[1:], generator=stream) for stream in streams])  # [N, 1, w_dim]
        return w + deviation * drawn.to(w.device)

    def styles(self, w: Tensor) -> Tensor:
        """Return the styles `[N, styles, w_dim]` of w."""
        return self._generator.broadcast(w)


class W(Space):
    """One w for all layers of an image, as in Karras et al. 2020, appendix D: the parameter is w itself."""

    def start(self, w: Tensor) -> list[Tensor]:
        """Return a copy of w `[N, 1, w_dim]` as the one parameter."""
        return [w.detach().clone()]

    def w(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the parameter `[N, 1, w_dim]`."""
        return parameters[0]
