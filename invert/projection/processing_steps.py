"""The steps that processing is made of: scaling, blur, geometry, tone, noise and JPEG, each with its derivative.

References: Wallace 1991 (JPEG); the filters of `resize` are those of Pillow, so that its images are met to the level.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generator.ops.dual import Dual

__all__ = [
    "Blur",
    "Crop",
    "Gain",
    "Gamma",
    "Jpeg",
    "Noise",
    "Resize",
    "Rotation",
    "Shift",
    "Step",
    "clamp",
    "standard_tables",
]


def clamp(levels: Dual) -> Dual:
    """Bring levels into 0..255; what is cut off has no derivative."""
    value = levels.value.clamp(0, 255)
    return Dual(value, levels.scaled((levels.value == value).to(value.dtype)))


class Step(ABC):
    """One step, from the levels of an image to those of another."""

    @abstractmethod
    def carry(self, levels: Dual) -> Dual:
        """Return the levels `[N, C, h, w]` after the step, not cut off at 0 and 255, of levels `[N, C, H, W]`."""

    def spread(self, variance: float, side: int) -> float:
        """Return what a variance of independent errors becomes, for images of this side in pixels."""
        return variance


class _Separable(Step):
    """A step that takes weighted sums along rows, and then along columns."""

    @abstractmethod
    def matrices(self, side: int) -> list[Tensor]:
        """Return the matrices `[h, side]` that are applied one after the other, in both directions."""

    def carry(self, levels: Dual) -> Dual:
        for number, matrix in enumerate(self.matrices(levels.value.shape[-1])):
            weights = matrix.to(levels.value)
            if number:
                levels = clamp(levels)
            # Pillow rounds and cuts off after the rows too.
            rows = clamp(levels.linear(lambda x, weights=weights: x @ weights.T))  # type: ignore[misc]
            levels = rows.linear(lambda x, weights=weights: weights @ x)  # type: ignore[misc]
        return levels

    def spread(self, variance: float, side: int) -> float:
        for matrix in self.matrices(side):
            share = float(matrix.square().sum(dim=1).mean())
            variance = (variance * share + _ROUNDING) * share + _ROUNDING
        return variance - _ROUNDING


_ROUNDING = 1 / 12


def _sinc(x: Tensor) -> Tensor:
    return torch.sinc(x)


def _cubic(x: Tensor) -> Tensor:
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


_FILTERS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "box": (0.5, lambda x: ((x > -0.5) & (x <= 0.5)).double()),
    "bilinear": (1.0, lambda x: (1 - x.abs()).clamp_min(0)),
    "bicubic": (2.0, lambda x: _cubic(x.abs())),
    "lanczos": (3.0, lambda x: torch.where(x.abs() < 3, _sinc(x) * _sinc(x / 3), 0.0)),
}


@lru_cache(maxsize=64)
def _resampling(kernel: str, old: int, new: int, low: float, high: float) -> Tensor:
    """Return the weights `[new, old]` that scale the stretch low..high of a row of `old` numbers to `new`."""
    support, weight = _FILTERS[kernel]
    scale = (high - low) / new
    stretch = max(scale, 1.0)
    centres = low + (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    first = (centres - support * stretch + 0.5).floor().clamp_min(0)
    last = (centres + support * stretch + 0.5).floor().clamp_max(old)
    places = torch.arange(old, dtype=torch.float64)
    weights = weight((places + 0.5 - centres[:, None]) / stretch)
    weights = weights * ((places >= first[:, None]) & (places < last[:, None]))
    return weights / weights.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Resize(_Separable):
    """Scaled by a factor and back to its size; what was left small is brought back by whoever reads it.

    All channels are scaled alike; Pillow weighs colours by their opacity, which is the same where that is whole.
    """

    factor: float
    kernel: str = "lanczos"

    def matrices(self, side: int) -> list[Tensor]:
        small = max(1, round(side * self.factor))
        back = "lanczos" if self.kernel == "box" else self.kernel
        return [_resampling(self.kernel, side, small, 0, side), _resampling(back, small, side, 0, small)]


@dataclass(frozen=True)
class Crop(_Separable):
    """A share cut off each side, and scaled back to its size."""

    share: float

    def matrices(self, side: int) -> list[Tensor]:
        return [_resampling("lanczos", side, side, side * self.share, side * (1 - self.share))]


@lru_cache(maxsize=16)
def _gaussian(sigma: float, side: int) -> Tensor:
    radius = max(1, int(4 * sigma + 0.5))
    offsets = torch.arange(-radius, radius + 1)
    weights = (-0.5 * (offsets / sigma).double().square()).exp()
    matrix = torch.zeros(side, side, dtype=torch.float64)
    places = (torch.arange(side)[:, None] + offsets).clamp(0, side - 1)  # edges are repeated
    matrix.scatter_add_(1, places, (weights / weights.sum()).expand(side, -1).contiguous())
    return matrix


@dataclass(frozen=True)
class Blur(_Separable):
    """Blurred with a Gaussian, edges repeated."""

    sigma: float

    def matrices(self, side: int) -> list[Tensor]:
        return [_gaussian(self.sigma, side)]

    def spread(self, variance: float, side: int) -> float:
        share = float(_gaussian(self.sigma, side).square().sum(dim=1).mean())
        return variance * share**2


@dataclass(frozen=True)
class Shift(Step):
    """Moved to the right by whole pixels, edges repeated."""

    right: float

    def carry(self, levels: Dual) -> Dual:
        side = levels.value.shape[-1]
        places = (torch.arange(side, device=levels.value.device) - round(self.right)).clamp(0, side - 1)
        return levels.linear(lambda x: x[..., places])


@dataclass(frozen=True)
class Rotation(Step):
    """Turned anticlockwise about the centre, bilinearly, with black from outside."""

    degrees: float

    def carry(self, levels: Dual) -> Dual:
        turn = math.radians(self.degrees)
        matrix = [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0]]
        return levels.linear(lambda x: self._turn(x, torch.tensor([matrix]).to(x)))

    def _turn(self, x: Tensor, matrix: Tensor) -> Tensor:
        grid = functional.affine_grid(matrix, [1, 1, *x.shape[2:]], align_corners=False)  # [1, H, W, 2]
        is_inside = (grid.abs() <= 1).all(dim=3).to(x.dtype)
        folded = x.reshape(1, -1, *x.shape[2:])
        turned = functional.grid_sample(folded, grid, padding_mode="border", align_corners=False)
        return (turned * is_inside[:, None]).reshape(x.shape)


@dataclass(frozen=True)
class Gamma(Step):
    """Levels in 0..1 raised to a power."""

    exponent: float

    def carry(self, levels: Dual) -> Dual:
        share = (levels.value / 255).clamp(1e-6, 1)
        return Dual(255 * share**self.exponent, levels.scaled(self.exponent * share ** (self.exponent - 1)))

    def spread(self, variance: float, side: int) -> float:
        # the mean of the squared slope over all levels, within bounds for an exponent below a half
        shares = (np.arange(256) + 0.5) / 256
        return variance * float(np.mean((self.exponent * shares ** (self.exponent - 1)) ** 2))


@dataclass(frozen=True)
class Gain(Step):
    """Levels multiplied by a factor."""

    factor: float

    def carry(self, levels: Dual) -> Dual:
        return levels.linear(lambda x: x * self.factor)

    def spread(self, variance: float, side: int) -> float:
        return variance * self.factor**2


@dataclass(frozen=True)
class Noise(Step):
    """Gaussian noise added, of a deviation in levels."""

    deviation: float

    def carry(self, levels: Dual) -> Dual:
        return levels

    def spread(self, variance: float, side: int) -> float:
        return variance + self.deviation**2


_BLOCK = 8
# The example tables of the standard, which quality scales (ITU-T T.81, annex K.1).
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *[99] * 32,
)  # fmt: skip


def standard_tables(quality: float) -> tuple[tuple[int, ...], ...]:
    """Return the tables for luminance and chrominance at a quality of 1 to 100, as the IJG's library scales them."""
    quality = max(1.0, quality)
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    found = [np.clip((np.array(table) * scale + 50) // 100, 1, 255) for table in (_LUMINANCE, _CHROMINANCE)]
    return tuple(tuple(int(step) for step in table) for table in found)


@dataclass(frozen=True)
class Jpeg(Step):
    """Compressed as JPEG, with the standard's tables at a quality or with tables of its own.

    Attributes:
        quality: 1 to 100; 0 where there are tables.
        tables: For luminance and, of a file in colour, chrominance: 64 steps each, row by row.
    """

    quality: float
    tables: tuple[tuple[int, ...], ...] | None = None

    def carry(self, levels: Dual) -> Dual:
        if levels.value.shape[1] < 3:
            return levels
        return levels.linear(_as_colour_is_kept)

    def coefficients(self, residual: Tensor) -> Tensor:
        """Return the cosine coefficients `[N, P]` of differences `[N, C, H, W]`; an opacity stays what it is."""
        planes = _planes(residual)
        return torch.cat([*(_cosines(plane).flatten(1) for plane in planes), residual[:, 3:].flatten(1)], dim=1)

    def variances(self, channels: int, side: int) -> Tensor:
        """Return the variance of each of the coefficients that quantisation leads to."""
        luminance, chrominance = self._steps()
        half = (side + 1) // 2
        sides = [_blocks(side), *([_blocks(half)] * 2 if channels >= 3 else [])]
        found = []
        for number, blocks in enumerate(sides):
            table = luminance if number == 0 else chrominance
            # half a level more for rounding and cutting off after the decoding
            found.append((table / math.sqrt(12) + 0.5).square().expand(blocks, blocks, -1, -1).flatten())
        if channels == 4:
            found.append(torch.zeros(side * side, dtype=torch.float64))
        return torch.cat(found)

    def _steps(self) -> tuple[Tensor, Tensor]:
        """Return the two tables `[8, 8]`."""
        tables = self.tables
        if tables is None:
            tables = standard_tables(self.quality)
        steps = [torch.tensor(table, dtype=torch.float64).reshape(_BLOCK, _BLOCK) for table in tables]
        return steps[0], steps[min(1, len(steps) - 1)]


def _blocks(side: int) -> int:
    """Return how many blocks cover so many pixels."""
    return (side + _BLOCK - 1) // _BLOCK


def _planes(image: Tensor) -> list[Tensor]:
    """Return luminance, and chrominance at half the size, of an image `[N, C, H, W]`."""
    if image.shape[1] < 3:
        return [image[:, :1]]
    y, cb, cr = _to_ycc(image[:, :3]).split(1, dim=1)  # type: ignore[no-untyped-call]
    return [y, _halved(cb), _halved(cr)]


_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def _to_ycc(image: Tensor) -> Tensor:
    return torch.einsum("kc,nchw->nkhw", torch.tensor(_YCC).to(image), image)


def _halved(plane: Tensor) -> Tensor:
    return functional.avg_pool2d(plane, 2, ceil_mode=True)


def _as_colour_is_kept(image: Tensor) -> Tensor:
    """Return an image whose chrominance was halved and enlarged linearly again, as decoders do."""
    ycc = _to_ycc(image[:, :3])
    size = ycc.shape[2:]
    chroma = functional.interpolate(_halved(ycc[:, 1:]), size=size, mode="bilinear", align_corners=False)
    back = torch.linalg.inv(torch.tensor(_YCC, dtype=torch.float64)).to(image)
    colours = torch.einsum("ck,nkhw->nchw", back, torch.cat([ycc[:, :1], chroma], dim=1))
    return torch.cat([colours, image[:, 3:]], dim=1)


def _cosines(plane: Tensor) -> Tensor:
    """Return the cosine coefficients `[N, rows, columns, 8, 8]` of the blocks of `[N, 1, H, W]`."""
    height, width = plane.shape[2:]
    plane = functional.pad(plane, [0, -width % _BLOCK, 0, -height % _BLOCK], mode="replicate")
    height, width = plane.shape[2:]
    blocks = plane.reshape(len(plane), height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).transpose(2, 3)
    basis = _basis().to(plane)
    return basis @ blocks @ basis.T


@lru_cache(maxsize=1)
def _basis() -> Tensor:
    """Return the orthonormal cosine transform of eight numbers."""
    k, n = torch.arange(_BLOCK, dtype=torch.float64)[:, None], torch.arange(_BLOCK, dtype=torch.float64)
    rows = torch.cos(math.pi * (n + 0.5) * k / _BLOCK) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    return rows
