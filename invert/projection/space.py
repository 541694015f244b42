"""What an optimisation varies, and how the styles of a network come from it.

    space = W(generator, statistics)
    parameters = space.start(w)                                  # leaves for an optimiser
    styles = space.styles(space.w(parameters) + space.draw(parameters, 0.05, streams))

Another space is another subclass: what its parameters are, and the w that they stand for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from generator.networks import Generator
from invert.projection.config import ProjectConfig
from invert.projection.latents import LatentStatistics, class_label, sample_w
from invert.projection.presets import Constants

__all__ = ["SPACES", "Space", "W", "WPlus", "Z", "space_of"]


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
            w: `[N, 1, w_dim]`, float32; `[N, styles, w_dim]` where the space has a w per layer.
        """

    @abstractmethod
    def w(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the w that parameters stand for: `[N, 1, w_dim]`, or `[N, styles, w_dim]` with a w per layer."""

    def draw(
        self, parameters: Sequence[Tensor], deviations: float, streams: Sequence[torch.Generator]
    ) -> Tensor | None:
        """Return normal noise for every number of w, of the shape that `w` returns; None where there is none.

        Args:
            parameters: From `start`.
            deviations: Standard deviation of the noise, in deviations of W; at zero nothing is drawn.
            streams: One random stream per image.
        """
        deviation = self._statistics.deviation * deviations
        if deviation == 0:
            return None
        shape = self._shape(parameters)[1:]
        drawn = torch.stack([torch.randn(shape, generator=stream) for stream in streams])  # [N, 1, w_dim]
        return deviation * drawn.to(parameters[0].device)

    def _shape(self, parameters: Sequence[Tensor]) -> torch.Size:
        """Return the shape of w."""
        return parameters[0].shape

    def styles(self, w: Tensor) -> Tensor:
        """Return the styles `[N, styles, w_dim]` of w."""
        return self._generator.broadcast(w)

    def pull(self, w: Tensor) -> Tensor | None:
        """Return what is added to each image's loss `[N]` so that w stays where images are; None where nothing is.

        Args:
            w: From `w`, with or without noise.
        """
        return None


class W(Space):
    """One w for all layers of an image, as in Karras et al. 2020, appendix D: the parameter is w itself."""

    def start(self, w: Tensor) -> list[Tensor]:
        """Return a copy of w `[N, 1, w_dim]` as the one parameter."""
        return [w.detach().clone()]

    def w(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the parameter `[N, 1, w_dim]`."""
        return parameters[0]


class WPlus(Space):
    """A w for each layer; without a pull towards the mean w such styles fit anything, and are bad to edit.

    Args:
        generator: Gives the styles.
        statistics: Centre and spread of W.
        weight: Factor on the pull.

    Reference: Abdal, Qin and Wonka 2019.
    """

    def __init__(self, generator: Generator, statistics: LatentStatistics, weight: float) -> None:
        super().__init__(generator, statistics)
        self._weight = weight

    def start(self, w: Tensor) -> list[Tensor]:
        """Return w `[N, styles, w_dim]`, repeated where it is the same for all layers, as the one parameter."""
        return [self._generator.broadcast(w.detach()).contiguous().clone()]

    def w(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the parameter `[N, styles, w_dim]`."""
        return parameters[0]

    def pull(self, w: Tensor) -> Tensor | None:
        """Return the squared distance of the styles from the mean w, in deviations of W and weighted: `[N]`.

        It is about the weight itself where the styles are as far from the mean as those of the network's own images.
        """
        if not self._weight:
            return None
        squares = (w - self._statistics.centre).square().sum(dim=2)  # [N, styles]
        return self._weight / self._statistics.deviation**2 * squares.mean(dim=1)


class Z(Space):
    """The z that the mapping network takes: w stays among those that the network itself can have.

    Args:
        generator: Maps z, and gives the styles.
        statistics: Centre and spread of W.
        samples: How many z are compared with a start.
        seed: Seed of those z.
        class_index: Class of a conditional network.
    """

    def __init__(
        self,
        generator: Generator,
        statistics: LatentStatistics,
        *,
        samples: int = 10_000,
        seed: int = 123,
        class_index: int | None = None,
    ) -> None:
        super().__init__(generator, statistics)
        self._label = class_label(class_index, generator.config.mapping.c_dim)
        self._samples, self._seed, self._class_index = samples, seed, class_index

    def start(self, w: Tensor) -> list[Tensor]:
        """Return z `[N, z_dim]`: of the samples of W the one whose w is nearest to the mean of each given w."""
        known = sample_w(self._generator, self._samples, seed=self._seed, class_index=self._class_index)
        rows = torch.cdist(w.detach().mean(dim=1), known).argmin(dim=1)
        z_dim = self._generator.config.mapping.z_dim
        z = np.random.RandomState(self._seed).randn(self._samples, z_dim)[rows.cpu().numpy()]  # as `sample_w` draws
        return [torch.from_numpy(z.astype(np.float32)).to(w.device)]

    def w(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return w `[N, 1, w_dim]`, mapped from z."""
        z = parameters[0]
        label = None if self._label is None else self._label.to(z.device).expand(len(z), -1)
        w: Tensor = self._generator.mapping(z, label)
        return w.to(torch.float32)[:, None]

    def _shape(self, parameters: Sequence[Tensor]) -> torch.Size:
        return torch.Size([len(parameters[0]), 1, self._generator.config.mapping.w_dim])


def _w(generator: Generator, statistics: LatentStatistics, config: ProjectConfig) -> Space:
    return W(generator, statistics)


def _w_plus(generator: Generator, statistics: LatentStatistics, config: ProjectConfig) -> Space:
    return WPlus(generator, statistics, config.space_weight)


def _z(generator: Generator, statistics: LatentStatistics, config: ProjectConfig) -> Space:
    constants = config.constants if isinstance(config.constants, Constants) else Constants()
    sampled = {"samples": constants.latent_samples, "seed": constants.latent_seed}
    return Z(generator, statistics, **sampled, class_index=config.class_index)


SPACES: dict[str, Callable[[Generator, LatentStatistics, ProjectConfig], Space]] = {"w": _w, "w+": _w_plus, "z": _z}
"""What makes each space of `--space`."""


def space_of(config: ProjectConfig, generator: Generator, statistics: LatentStatistics) -> Space:
    """Return the space in which latents are searched.

    Args:
        config: Settings.
        generator: The network.
        statistics: Centre and spread of W.
    """
    return SPACES[config.space](generator, statistics, config)
