"""Latents of a network in coordinates that are about N(0, I): W, or what was before the mapping's last activation.

    whitening = measure_whitening(generator)
    w = whitening.w(u)                    # [N, w_dim] of u [N, K]
    u = whitening.u(w)

W is far from normal where the mapping network ends in a leaky ReLU: undoing it gives V, whose principal components
have a tenth of the excess kurtosis (networks A and B: 0.4 to 0.7 against 2.0 to 2.9, a quarter of its mean square).

Reference: Wulff and Torralba 2020 (V space).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from generator.networks import Generator
from generator.ops.dual import Dual
from invert.projection.latents import sample_w

__all__ = ["SAMPLES", "SEED", "Whitening", "measure_whitening"]

SAMPLES = 20_000
SEED = 8_000_000
"""Seed of the samples that are mapped; neither the seed of the statistics of W nor one of a bank."""

_SLOPE = 0.2  # below zero of the leaky ReLU that mapping networks end in
_LEAST = 1e-9  # variance of a component relative to that of the first; below it float32 has no digits left


@dataclass(frozen=True, eq=False)
class Whitening:
    """An affine map u -> v, and the activation v -> w.

    Attributes:
        centre: `[w_dim]`, float64: mean of the samples.
        basis: `[w_dim, K]`, float64: principal components, each as long as its deviation, the largest first.
        slope: Slope below zero of the activation; 1 where there is none.
    """

    centre: Tensor
    basis: Tensor
    slope: float

    @property
    def size(self) -> int:
        """The number K of coordinates."""
        return self.basis.shape[1]

    def w(self, u: Tensor) -> Tensor:
        """Return w `[N, w_dim]`, float32, of u `[N, K]`, float64."""
        return self._activate(u @ self.basis.T + self.centre).float()

    def u(self, w: Tensor) -> Tensor:
        """Return u `[N, K]`, float64, of w `[N, w_dim]`."""
        lengths = self.basis.square().sum(dim=0)
        return (_undo(w.double(), self.slope) - self.centre) @ (self.basis / lengths)

    def carry(self, u: Tensor) -> Dual:
        """Return w `[N, w_dim]` and its derivatives `[N * K, w_dim]` in the coordinates, float32."""
        v = u @ self.basis.T + self.centre
        slopes = torch.where(v < 0, self.slope, 1.0)
        tangents = slopes[:, None] * self.basis.T  # [N, K, w_dim]
        return Dual(self._activate(v).float(), tangents.flatten(0, 1).float())

    def _activate(self, v: Tensor) -> Tensor:
        return functional.leaky_relu(v, self.slope)


def _undo(w: Tensor, slope: float) -> Tensor:
    return torch.where(w < 0, w / slope, w)


def measure_whitening(
    generator: Generator, *, samples: int = SAMPLES, seed: int = SEED, class_index: int | None = None
) -> Whitening:
    """Find the coordinates from samples: of W, or of V where their components are closer to normal.

    Args:
        generator: Its mapping network is used.
        samples: How many z are mapped.
        seed: Seed of those z.
        class_index: As in `invert.projection.latents.latent_statistics`.
    """
    w = sample_w(generator, samples, seed=seed, class_index=class_index).double()
    candidates = [1.0]
    if generator.config.mapping.activation == "lrelu" and generator.config.mapping.num_layers:
        candidates.append(_SLOPE)
    return min((_fit(w, slope) for slope in candidates), key=lambda pair: pair[0])[1]


def _fit(w: Tensor, slope: float) -> tuple[float, Whitening]:
    """Return how far from normal the coordinates of w are (after Jarque and Bera 1987), and the coordinates."""
    v = _undo(w, slope)
    centre = v.mean(dim=0)
    variances, vectors = torch.linalg.eigh(torch.cov(v.T))
    variances, vectors = variances.flip(0), vectors.flip(1)
    kept = variances > _LEAST * variances[0]
    deviations = variances[kept].sqrt()
    whitening = Whitening(centre, vectors[:, kept] * deviations, slope)
    u = whitening.u(w)
    skewness, kurtosis = (u**3).mean(dim=0), (u**4).mean(dim=0) - 3
    return float(skewness.square().mean() + kurtosis.square().mean() / 4), whitening
