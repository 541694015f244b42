"""The likelihood of an image under a network: how well latents, and noise, explain it to the last level.

The image y went this way:

    u ~ N(0, I)     w = whitening.w(u)     n = the stored maps, or n ~ N(0, I)     x = clamp(127.5 g(w, n) + 127.5)
    y = round(D(x)) + e

The most probable explanation has the least

    Q(u, n) = r' R^-1 r + |u|^2 [+ |n|^2],     r = y - D(x)

which is about the number of pixels where the image is the network's, and many times that where it is not.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from generator.networks import Generator
from generator.ops.dual import Dual
from invert.projection.noise_response import noise_response
from invert.projection.processing import Processing
from invert.projection.whitening import Whitening

__all__ = ["BLACK", "ImageModel", "Linearisation", "Point", "State", "state_of"]

_AT_ONCE = 128  # tangents that are carried together: what a processor's cache holds


BLACK = 127.5
"""Levels of what is 0 in -1..1."""


def _to_levels(image: Tensor) -> Tensor:
    return image * 127.5


@dataclass(frozen=True, eq=False)
class Point:
    """Latents and noise of N candidates for one image.

    Attributes:
        u: `[N, K]`, float64.
        noise: `[N, M]`, float64: all maps, one after another; None where they are given.
    """

    u: Tensor
    noise: Tensor | None = None

    def __getitem__(self, row: int) -> "Point":
        """Return one of the candidates."""
        return Point(self.u[row : row + 1], None if self.noise is None else self.noise[row : row + 1])


@dataclass(frozen=True, eq=False)
class Linearisation:
    """The model around one point.

    Attributes:
        residual: `[P]`, float64, whitened.
        latents: `[K, P]`, float64: derivatives of what is expected in u, whitened.
        noise: `[M, P]`, float32: the same in the noise; None where it is given.
    """

    residual: Tensor
    latents: Tensor
    noise: Tensor | None = None


class ImageModel:
    """Q of one image, and its parts.

    Args:
        generator: A frozen network.
        whitening: Coordinates of its latents.
        image: Levels `[C, H, W]`, 0 to 255.
        processing: What happened to the image.
        maps: The noise maps `[1, 1, r, r]` by layer where they are given; None where they are unknown.
        noise_kind: What the noise is called: "stored", "zero" or "random".
    """

    def __init__(
        self,
        generator: Generator,
        whitening: Whitening,
        image: Tensor,
        processing: Processing,
        maps: dict[str, Tensor] | None,
        noise_kind: str = "stored",
    ) -> None:
        self.generator, self.whitening, self.processing = generator, whitening, processing
        self.image, self.maps = image.float()[None], maps
        self.noise_kind = noise_kind
        self._sizes = generator.synthesis.noise_sizes

    @property
    def unknowns(self) -> int:
        """How many numbers are searched."""
        return self.whitening.size + (0 if self.maps is not None else self.noise_numbers)

    @property
    def noise_numbers(self) -> int:
        """How many numbers all noise maps of an image have."""
        return sum(r * r for r in self._sizes.values())

    @property
    def expected_rms(self) -> float:
        """Root of the mean squared difference, in levels, where the explanation is true."""
        return math.sqrt(self.processing.variance(*self.image.shape[1:3]))

    def score(self, q: float) -> float:
        """Return -2 log of the likelihood up to a constant that all models of the image share: to compare them."""
        return q + self.processing.log_determinant(*self.image.shape[1:3])

    @property
    def pixels(self) -> int:
        """How many numbers the image has."""
        return self.image.numel()

    def expected(self, point: Point) -> Tensor:
        """Return what is expected in the image `[N, C, h, w]`, in levels."""
        return self.processing.carry(Dual(self.levels(point))).value

    def levels(self, point: Point) -> Tensor:
        """Return the levels `[N, C, H, W]` that the network synthesises, before anything is cut off."""
        synthesis = self.generator.synthesis
        image: Tensor = synthesis(self.generator.broadcast(self.whitening.w(point.u)), self.noise_maps(point))
        return _to_levels(image) + BLACK

    def residual(self, point: Point, more: float = 0.0) -> Tensor:
        """Return the whitened residual `[N, P]`, float64; `more` is variance added to the model's own."""
        return self.processing.whiten((self.image - self.expected(point)).double(), more)

    def coarse_q(self, point: Point, side: int) -> Tensor:
        """Return Q `[N]` of the image averaged down to a side in pixels, as if its pixels erred alike, not together."""
        difference = functional.interpolate(self.image - self.expected(point), size=(side, side), mode="area")
        q = difference.double().flatten(1).square().sum(dim=1) / self.expected_rms**2
        return q + point.u.square().sum(dim=1) + (0 if point.noise is None else point.noise.square().sum(dim=1))

    def q(self, point: Point, more: float = 0.0) -> Tensor:
        """Return Q `[N]`, float64."""
        q = self.residual(point, more).square().sum(dim=1) + point.u.square().sum(dim=1)
        return q if point.noise is None else q + point.noise.square().sum(dim=1)

    def linearise(self, point: Point, more: float = 0.0) -> Linearisation:
        """Return the model around one candidate."""
        ws, noise = self.whitening.carry(point.u).linear(self.generator.broadcast), self.noise_maps(point)
        maps = {name: Dual(values) for name, values in noise.items()}
        synthesis, pieces = self.generator.synthesis, torch.split(cast(Tensor, ws.tangents), _AT_ONCE)
        levels = [synthesis.carry(Dual(ws.value, piece), maps).linear(_to_levels) for piece in pieces]
        value = levels[0].value + BLACK
        latents = torch.cat([self._seen(value, one.tangents, more) for one in levels])
        residual = self.processing.whiten((self.image - self.processing.carry(Dual(value)).value).double(), more)[0]
        if point.noise is None:
            return Linearisation(residual, latents.double())
        response = torch.split(_to_levels(noise_response(synthesis, ws.value, noise)), _AT_ONCE)
        return Linearisation(residual, latents.double(), torch.cat([self._seen(value, one, more) for one in response]))

    def _seen(self, levels: Tensor, tangents: Tensor | None, more: float) -> Tensor:
        """Return how what is expected changes, whitened, `[T, P]`, when levels `[1, C, H, W]` change by tangents."""
        return self.processing.whiten(cast(Tensor, self.processing.carry(Dual(levels, tangents)).tangents), more)

    def noise_maps(self, point: Point) -> dict[str, Tensor]:
        """Return the noise maps `[N or 1, 1, r, r]` by layer."""
        if self.maps is not None:
            return self.maps
        if point.noise is None:
            raise ValueError("this model's noise is unknown, and the point has none")
        pieces = torch.split(point.noise.float(), [r * r for r in self._sizes.values()], dim=1)
        return {name: piece.reshape(-1, 1, r, r) for (name, r), piece in zip(self._sizes.items(), pieces, strict=True)}


@dataclass(frozen=True, eq=False)
class State:
    """Where the search is after an iteration.

    Attributes:
        point: The best candidate.
        q: Its Q, without what annealing adds; infinite where it is not finite.
        rms: Root mean square of the difference between the image and what is expected, in levels.
        iterations: How many Jacobians were taken, or rounds of gradients.
        reason: Why the search is over: "converged", "iterations" or "not-finite"; empty while it goes on.
    """

    point: Point
    q: float
    rms: float
    iterations: int
    reason: str = ""


@torch.no_grad()
def state_of(model: ImageModel, point: Point, iterations: int, reason: str = "") -> State:
    """Return the state at a candidate; see `State`."""
    q = float(model.q(point))
    rms = float((model.image - model.expected(point)).square().mean().sqrt())
    return State(point, q if math.isfinite(q) else math.inf, rms, iterations, reason)
