"""Where w lives: the centre and spread of W, and the point an optimisation starts from.

Reference: Karras et al. 2020, appendix D.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generator.networks import Generator

__all__ = ["LatentStatistics", "Start", "latent_statistics", "start_at_centre"]

_CHUNK = 1000  # latents mapped at once


@dataclass(frozen=True)
class LatentStatistics:
    """Centre `[w_dim]` of W, and the scalar deviation sqrt(E |w - centre|^2) over all its dimensions."""

    centre: Tensor
    deviation: float


Start = Callable[[LatentStatistics, int], Tensor]


def start_at_centre(statistics: LatentStatistics, batch: int) -> Tensor:
    """Return the centre of W for each of `batch` pictures, `[N, w_dim]`."""
    return statistics.centre.repeat(batch, 1)


@torch.no_grad()
def latent_statistics(
    generator: Generator, *, samples: int = 10_000, seed: int = 123, class_index: int | None = None
) -> LatentStatistics:
    """Map `samples` latents of a fixed seed and measure where they fall.

    Args:
        generator: Its mapping network is used.
        samples: How many z are drawn, from numpy's RandomState as in the public code.
        seed: Of those z; never the projection's own seed, so that distances stay comparable.
        class_index: The class of a conditional network, or None for labels uniform over its classes.
    """
    config = generator.config.mapping
    random = np.random.RandomState(seed)
    z = torch.from_numpy(random.randn(samples, config.z_dim).astype(np.float32))
    labels = None
    if config.c_dim:
        drawn = random.randint(config.c_dim, size=samples)
        classes = drawn if class_index is None else np.full(samples, class_index)
        labels = torch.nn.functional.one_hot(torch.from_numpy(classes), config.c_dim).to(torch.float32)
    device = generator.mapping.w_avg.device
    chunks = []
    for i in range(0, samples, _CHUNK):
        c = None if labels is None else labels[i : i + _CHUNK].to(device)
        chunks.append(generator.mapping(z[i : i + _CHUNK].to(device), c).to("cpu", torch.float64))
    w = torch.cat(chunks)
    centre = w.mean(dim=0)
    deviation = float((w - centre).square().sum(dim=1).mean().sqrt())
    return LatentStatistics(centre.to(device, torch.float32), deviation)
