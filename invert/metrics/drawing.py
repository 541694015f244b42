"""What is drawn to measure a generator: latents, labels and noise maps, from one seed."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generator.networks import Generator
from invert.metrics.request import Request

__all__ = ["Drawing", "labels_digest", "labels_of"]

_NOISE = {"fixed": "const", "random": "random", "zero": "none"}


class Drawing:
    """Random latents, labels and noise of a generator, from one seed.

    Args:
        generator: The generator.
        seed: Seed of torch's generator.
        classes: Classes `[n]` that labels are drawn from, of a conditional network; None: each as often as another.
    """

    def __init__(self, generator: Generator, seed: int, classes: NDArray[np.int64] | None = None) -> None:
        self._generator, self._classes = generator, classes
        self.rng = torch.Generator().manual_seed(seed)

    def z(self, n: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw latents `[n, z_dim]`."""
        config = self._generator.config.mapping
        return torch.randn([n, config.z_dim], generator=self.rng, dtype=dtype).to(self._generator.mapping.w_avg.device)

    def labels(self, n: int) -> Tensor | None:
        """Draw one-hot labels `[n, c_dim]`; None for a network without."""
        mapping = self._generator.config.mapping
        if not mapping.c_dim:
            return None
        if self._classes is None:
            chosen = torch.randint(mapping.c_dim, [n], generator=self.rng)
        else:
            rows = torch.randint(len(self._classes), [n], generator=self.rng)
            chosen = torch.from_numpy(self._classes)[rows]
        return nn.functional.one_hot(chosen, mapping.c_dim).float().to(self._generator.mapping.w_avg.device)

    def noise(self, word: str, n: int) -> dict[str, Tensor | None]:
        """Draw noise maps for n images, or return those that stand for the word."""
        return self._generator.synthesis.noise_maps(_NOISE[word], n, self.rng)


def labels_digest(request: Request) -> str | None:
    """Return a hash of what `labels_of` returns; None for None."""
    classes = labels_of(request)
    return None if classes is None else hashlib.sha256(np.ascontiguousarray(classes).tobytes()).hexdigest()


def labels_of(request: Request) -> NDArray[np.int64] | None:
    """Return the classes that a conditional network's labels are drawn from: the data set's, where they are its own."""
    against = request.against
    if against is None or against.images is None or request.subject.network is None:
        return None
    images, wanted = against.images, request.generator.config.mapping.c_dim
    return images.labels if wanted and images.classes == wanted else None
