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

__all__ = ["BLACK", "ImageModel", "Linearisation", "Point", "Slopes", "State", "state_of"]

_AT_ONCE = 128  # tangents that are carried together: what a processor's cache holds
_VALUE_STEP = 0.05  # deviations of an estimated value that its derivative is taken over


BLACK = 127.5
"""Levels of what is 0 in -1..1."""


def _to_levels(image: Tensor) -> Tensor:
    return image * 127.5


@dataclass(frozen=True, eq=False)
class Point:
    """Latents and noise of N candidates for one image.

    Attributes:
        u: `[N, K + T]`, float64: K latents, and T values of the processing in deviations from where they begin.
        noise: `[N, M]`, float64: all maps, one after another; None where they are given.
    """

    u: Tensor
    noise: Tensor | None = None

    def __getitem__(self, row: int) -> "Point":
        """Return one of the candidates."""
        return Point(self.u[row : row + 1], None if self.noise is None else self.noise[row : row + 1])


@dataclass(frozen=True, eq=False)
class Slopes:
    """The levels of one candidate before anything happened to them, and their derivatives.

    Attributes:
        levels: `[1, C, H, W]`.
        latents: `[K, C, H, W]`: derivatives in the whitened latents.
        noise: `[M, C, H, W]`: the same in the noise; None where it is given.
    """

    levels: Tensor
    latents: Tensor
    noise: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Linearisation:
    """The model around one candidate, in levels: `ImageModel.scale` brings its numbers to a variance of one.

    Attributes:
        residual: `[P]`, float64.
        unknowns: `[K + T, P]`, float64: derivatives of what is expected in latents and estimated values.
        noise: `[M, P]`, float32: the same in the noise; None where it is given.
    """

    residual: Tensor
    unknowns: Tensor
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
        """How many numbers are searched beside the noise: those of the latents, and values of the processing."""
        return self.whitening.size + len(self.processing.estimated)

    @property
    def noise_numbers(self) -> int:
        """How many numbers all noise maps of an image have."""
        return sum(r * r for r in self._sizes.values())

    @property
    def expected_rms(self) -> float:
        """Root of the mean squared difference, in levels, where the explanation is true."""
        return math.sqrt(self.processing.variance(*self.image.shape[1:3]))

    @property
    def pixels(self) -> int:
        """How many numbers the image has."""
        return self.image.numel()

    def scale(self, more: float = 0.0) -> Tensor:
        """Return what brings differences to a variance of one, `[P]`; `more` is variance added to the model's own."""
        return self.processing.scale(*self.image.shape[1:3], more=more)

    def score(self, q: float, more: float = 0.0) -> float:
        """Return -2 log of the likelihood up to a constant that all models of the image share: to compare them."""
        return q + self.processing.log_determinant(*self.image.shape[1:3], more=more)

    def latents(self, point: Point) -> Tensor:
        """Return the whitened latents `[N, K]` among what is searched."""
        return point.u[:, : self.whitening.size]

    def processing_at(self, point: Point) -> Processing:
        """Return what happened to the image by one candidate."""
        if not self.processing.estimated:
            return self.processing
        return self.processing.at(point.u[0, self.whitening.size :].tolist())

    def expected(self, point: Point) -> Tensor:
        """Return what is expected in the image `[N, C, h, w]`, in levels."""
        levels = self.levels(point)
        if not self.processing.estimated:
            return self.processing.carry(Dual(levels)).value
        seen = [self.processing_at(point[n]).carry(Dual(levels[n : n + 1])).value for n in range(len(levels))]
        return torch.cat(seen)

    def levels(self, point: Point) -> Tensor:
        """Return the levels `[N, C, H, W]` that the network synthesises, before anything is cut off."""
        synthesis = self.generator.synthesis
        w = self.whitening.w(self.latents(point))
        image: Tensor = synthesis(self.generator.broadcast(w), self.noise_maps(point))
        return _to_levels(image) + BLACK

    def difference(self, point: Point) -> Tensor:
        """Return the numbers `[N, P]`, float64, of the difference between image and what is expected."""
        return self.processing.numbers((self.image - self.expected(point)).double())

    def coarse_q(self, point: Point, side: int) -> Tensor:
        """Return Q `[N]` of the image averaged down to a side in pixels, as if its pixels erred alike, not together."""
        difference = functional.interpolate(self.image - self.expected(point), size=(side, side), mode="area")
        q = difference.double().flatten(1).square().sum(dim=1) / self.expected_rms**2
        return q + self.prior(point)

    def prior(self, point: Point) -> Tensor:
        """Return the part of Q `[N]` that knows nothing of the image."""
        norm = point.u.square().sum(dim=1)
        return norm if point.noise is None else norm + point.noise.square().sum(dim=1)

    def misfit(self, point: Point) -> Tensor:
        """Return the part of Q `[N]` that the image's difference makes."""
        return (self.difference(point) * self.scale()).square().sum(dim=1)

    def q(self, point: Point) -> Tensor:
        """Return Q `[N]`, float64."""
        return self.misfit(point) + self.prior(point)

    def q_of(self, residual: Tensor, point: Point, more: float = 0.0) -> float:
        """Return Q of a candidate whose difference, in numbers `[P]`, is known."""
        return float((residual * self.scale(more)).square().sum() + self.prior(point))

    def slopes(self, point: Point) -> Slopes:
        """Return the levels of one candidate and their derivatives: what costs most in a linearisation."""
        ws = self.whitening.carry(self.latents(point)).linear(self.generator.broadcast)
        noise, synthesis = self.noise_maps(point), self.generator.synthesis
        maps = {name: Dual(values) for name, values in noise.items()}
        pieces = torch.split(cast(Tensor, ws.tangents), _AT_ONCE)
        images = [synthesis.carry(Dual(ws.value, piece), maps).linear(_to_levels) for piece in pieces]
        value, latents = images[0].value + BLACK, torch.cat([cast(Tensor, one.tangents) for one in images])
        if point.noise is None:
            return Slopes(value, latents)
        return Slopes(value, latents, _to_levels(noise_response(synthesis, ws.value, noise)))

    def linearise(self, point: Point, slopes: Slopes | None = None) -> Linearisation:
        """Return the model around one candidate.

        Args:
            point: The candidate.
            slopes: Those of the candidate, where they are known: of another model of the same image, say.
        """
        slopes = self.slopes(point) if slopes is None else slopes
        processing = self.processing_at(point)
        seen = processing.carry(Dual(slopes.levels)).value
        residual = self.processing.numbers((self.image - seen).double())[0]
        unknowns = [self._seen(processing, slopes.levels, slopes.latents).double()]
        place = point.u[0, self.whitening.size :].tolist()
        for number in range(len(place)):
            # a value has no rule for its derivative: two more images after the processing alone, which cost little
            ends = []
            for step in (_VALUE_STEP, -_VALUE_STEP):
                moved = [value + step * (number == other) for other, value in enumerate(place)]
                ends.append(self.processing.at(moved).carry(Dual(slopes.levels)).value)
            unknowns.append(self.processing.numbers((ends[0] - ends[1]).double() / (2 * _VALUE_STEP)))
        noise = None
        if slopes.noise is not None:
            pieces = torch.split(slopes.noise, _AT_ONCE)
            noise = torch.cat([self._seen(processing, slopes.levels, piece) for piece in pieces])
        return Linearisation(residual, torch.cat(unknowns), noise)

    def _seen(self, processing: Processing, levels: Tensor, tangents: Tensor) -> Tensor:
        """Return how what is expected changes, `[T, P]`, when levels `[1, C, H, W]` change by tangents."""
        return self.processing.numbers(cast(Tensor, processing.carry(Dual(levels, tangents)).tangents))

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
        residual: Numbers `[P]`, float64, of the difference between the image and what is expected there.
        q: Its Q, without what annealing adds; infinite where it is not finite.
        rms: Root mean square of the difference between the image and what is expected, in levels.
        iterations: How many Jacobians were taken, or rounds of gradients.
        reason: Why the search is over: "converged", "stalled", "iterations" or "not-finite"; empty while it goes on.
    """

    point: Point
    residual: Tensor
    q: float
    rms: float
    iterations: int
    reason: str = ""


@torch.no_grad()
def state_of(model: ImageModel, point: Point, iterations: int, reason: str = "") -> State:
    """Return the state at a candidate; see `State`."""
    difference = model.image - model.expected(point)
    residual = model.processing.numbers(difference.double())[0]
    q = model.q_of(residual, point)
    rms = float(difference.square().mean().sqrt())
    return State(point, residual, q if math.isfinite(q) else math.inf, rms, iterations, reason)
