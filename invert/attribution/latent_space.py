"""How typical a w is of a network: its distance from the centre of W, plain and whitened.

A mapping network ends in a leaky ReLU. Before it, w is close to normal; undone and whitened, the distance from the
centre is that of Mahalanobis.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from generator.networks import Generator
from invert.projection.latents import sample_w

__all__ = ["LatentSpace"]

_SAMPLES = 10_000
_SEED = 123  # that of the statistics of W
_SLOPE = 0.2  # of the leaky ReLU
_FLOOR = 1e-6  # of the variances, as a share of the largest

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """Where a network's w lie.

    Attributes:
        centre: Mean w `[D]`. deviation: sqrt(E |w - centre|^2), over all dimensions.
        mean: Mean of the undone w `[D]`. axes: Its principal axes as columns `[D, D]`. deviations: Along them `[D]`.
        gain: Of the activation at the mapping network's end; None where it has no leaky ReLU.
    """

    centre: FloatArray
    deviation: float
    mean: FloatArray
    axes: FloatArray
    deviations: FloatArray
    gain: float | None

    @classmethod
    def of(cls, generator: Generator, *, class_index: int | None = None) -> Self:
        """Measure 10 000 mapped latents of a fixed seed; see `invert.projection.latents.latent_statistics`."""
        w = sample_w(generator, _SAMPLES, seed=_SEED, class_index=class_index)
        samples = w.to("cpu", torch.float64).numpy()
        gain = math.sqrt(2) if generator.config.mapping.activation == "lrelu" else None
        undone = _undo(samples, gain)
        mean = undone.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(undone - mean, rowvar=False))
        variances = np.maximum(variances, _FLOOR * variances.max())
        centre = samples.mean(axis=0)
        deviation = float(np.sqrt(np.square(samples - centre).sum(axis=1).mean()))
        return cls(centre, deviation, mean, axes, np.sqrt(variances), gain)

    def distance(self, w: npt.ArrayLike) -> FloatArray:
        """Return |w - centre| / deviation of `[N, D]`: about 1 for the network's own w."""
        found: FloatArray = np.linalg.norm(np.asarray(w, np.float64) - self.centre, axis=1) / self.deviation
        return found

    def mahalanobis(self, w: npt.ArrayLike) -> FloatArray:
        """Return the whitened distance of `[N, D]`, over sqrt(D): about 1 for the network's own w."""
        whitened = (_undo(np.asarray(w, np.float64), self.gain) - self.mean) @ self.axes / self.deviations
        found: FloatArray = np.sqrt(np.square(whitened).mean(axis=1))
        return found


def _undo(w: FloatArray, gain: float | None) -> FloatArray:
    """Undo the activation: w before the last leaky ReLU, `[N, D]`."""
    return w if gain is None else np.where(w < 0, w / _SLOPE, w) / gain
