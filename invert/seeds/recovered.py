"""What a projection recovered of one image, and how images of the network compare with it through its processing."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from generator.networks import Generator
from generator.ops.dual import Dual
from invert.projection.likelihood import BLACK
from invert.projection.processing import Processing, parse_processing
from invert.store.result import Result

if TYPE_CHECKING:
    from invert.projection.projector import Projection

__all__ = ["ELSEWHERE", "Maps", "Recovered", "View"]

ELSEWHERE = 0.15
"""Variance, in squared levels, of what other programs, kernels and half precision compute otherwise."""

_DENSE_SIDE = 64  # px; above it a Jacobian takes longer than the gradients that replace it
_PROBES = 64  # gradients, whose lengths are 18 % off in place of the Jacobian's
_AT_ONCE = 128  # tangents that are carried together

Maps = Mapping[str, Tensor]
"""Noise map `[N or 1, 1, r, r]` of each layer; zeros where there is no noise."""


@dataclass(frozen=True, eq=False)
class Recovered:
    """What preset exact found of one image.

    Attributes:
        path: The image's file, or what it is called.
        image: uint8 `[H, W, C]`, as the network sees it.
        w: float32 `[1, w_dim]`.
        noise: Map `[r, r]` of each layer.
        processing: What happened to the image.
        rms: Root of the mean squared difference that the projection left, in levels; NaN where nothing can be told.
        expected_rms: What it is where the explanation is true.
    """

    path: Path
    image: npt.NDArray[np.uint8]
    w: npt.NDArray[np.float32]
    noise: Mapping[str, npt.NDArray[Any]]
    processing: Processing
    rms: float
    expected_rms: float

    @property
    def misses(self) -> float:
        """How many times the difference is what it is where the explanation is true."""
        return self.rms / self.expected_rms if math.isfinite(self.rms) else math.inf

    @classmethod
    def of(cls, projection: "Projection") -> "Recovered":
        """Return what a projection of preset exact recovered.

        Raises:
            ValueError: It is of another preset.
        """
        target, found = projection.target, projection.explanation
        if found is None:
            raise ValueError("a projection of another preset than exact")
        processing = parse_processing(found.processing, target.tables)
        w, noise = projection.w, projection.noise
        return cls(target.path, target.array, w, noise, processing, found.rms, found.expected_rms)

    @classmethod
    def of_result(cls, path: Path, image: npt.NDArray[np.uint8], result: Result) -> "Recovered | None":
        """Return what a result on disk recovered; None where it says too little, and the image has to be projected.

        Args:
            path: What the image is called.
            image: The image as the network sees it.
            result: A result of any preset.
        """
        told = (result.processing, result.rms, result.expected_rms, result.noise_kind)
        if None in told or len(result.w) != 1 or (not result.noise and result.noise_kind == "random"):
            return None
        processing = str(result.processing)
        if processing.split("+")[-1] in ("jpeg", "jpeg:0"):
            return None  # the tables were those of the file
        rms, expected = cast(float, result.rms), cast(float, result.expected_rms)
        return cls(path, image, result.w, result.noise, parse_processing(processing), rms, expected)


class View:
    """How images that the network synthesises differ from one image, after what happened to that.

    Args:
        generator: A frozen network.
        recovered: The image.
    """

    def __init__(self, generator: Generator, recovered: Recovered) -> None:
        self.generator, self.recovered = generator, recovered
        self.device = generator.mapping.w_avg.device
        self.processing = recovered.processing
        self.image = torch.from_numpy(recovered.image.transpose(2, 0, 1).copy()).float()[None].to(self.device)

    def plainer(self) -> "View | None":
        """Return the image as if it had been compressed at most; None where nothing else was found."""
        recovered, plain = self.recovered, self.processing.compression()
        if len(plain.steps) == len(self.processing.steps):
            return None
        side, channels = recovered.image.shape[0], recovered.image.shape[2]
        expected = plain.variance(channels, side) ** 0.5
        return View(self.generator, dataclasses.replace(recovered, processing=plain, expected_rms=expected))

    def loss(self, misfit: float) -> float:
        """Return -2 log of the likelihood of a mean square of the whitened difference: to compare processings."""
        channels, side = self.image.shape[1:3]
        return misfit * self.image.numel() + self.processing.log_determinant(channels, side, more=ELSEWHERE)

    @property
    def w(self) -> Tensor:
        """The recovered w `[w_dim]`."""
        return torch.from_numpy(recovered_row(self.recovered.w)).to(self.device)

    @cached_property
    def maps(self) -> dict[str, Tensor]:
        """The recovered noise maps; those stored in the network where none were kept."""
        synthesis = self.generator.synthesis
        if not self.recovered.noise:
            return self.kept_maps("const")
        return {
            name: torch.from_numpy(np.asarray(self.recovered.noise[name], np.float32))[None, None].to(self.device)
            for name in synthesis.noise_sizes
        }

    def kept_maps(self, word: str) -> dict[str, Tensor]:
        """Return maps that the network itself has: "const", or zeros for "none"."""
        synthesis = self.generator.synthesis
        found = synthesis.noise_maps(word, 1)
        return {
            name: torch.zeros([1, 1, r, r], device=self.device) if found[name] is None else cast(Tensor, found[name])
            for name, r in synthesis.noise_sizes.items()
        }

    @torch.no_grad()
    def compare(self, ws: Dual, maps: Maps) -> tuple[Tensor, Tensor | None]:
        """Return the whitened differences `[N, P]` of images of styles, and their derivatives `[N * T, P]`.

        Args:
            ws: Styles `[N, num_ws, w_dim]` and T tangents of each.
            maps: Their noise.
        """
        if ws.tangents is None:
            return self.difference(self.generator.synthesis(ws.value, dict(maps))), None
        carried = self.generator.synthesis.carry(ws, {name: Dual(values) for name, values in maps.items()})
        seen = self.processing.carry(carried.affine(lambda image: image * BLACK, BLACK))
        return self.whiten(self.image - seen.value), self.whiten(-cast(Tensor, seen.tangents))

    def difference(self, images: Tensor) -> Tensor:
        """Return the whitened differences `[N, P]` of images `[N, C, H, W]` in -1..1; differentiable."""
        return self.whiten(self.image - self.processing.carry(Dual(images * BLACK + BLACK)).value)

    def whiten(self, differences: Tensor) -> Tensor:
        """Return differences in levels as `[N, P]`, of variance one or less where the explanation is true."""
        numbers = self.processing.numbers(differences)
        return numbers * self.processing.scale(*differences.shape[1:3], more=ELSEWHERE).to(numbers)

    def response(self) -> tuple[Tensor, Tensor]:
        """Return how the whitened difference changes with w where it was recovered.

        Returns:
            Rows `[Q, w_dim]`, and the difference itself along them `[Q]`: |difference + rows step|^2, up to a constant,
            is what a step of w makes of it. Exact to first order for networks of up to 64 px; above, the lengths are
            estimated from random probes.

        Reference: Johnson and Lindenstrauss 1984.
        """
        if self.image.shape[-1] > _DENSE_SIDE:
            return self._probed()
        w_dim = len(self.w)
        ws = self.generator.broadcast(self.w[None])
        pieces = []
        for directions in torch.split(torch.eye(w_dim, device=self.device), _AT_ONCE):
            difference, changes = self.compare(Dual(ws, self.generator.broadcast(directions)), self.maps)
            pieces.append(cast(Tensor, changes))
        columns, rows = torch.linalg.qr(torch.cat(pieces).T)
        return rows, columns.T @ difference[0]

    def _probed(self) -> tuple[Tensor, Tensor]:
        w = self.w[None].requires_grad_(True)
        with torch.enable_grad():
            images = self.generator.synthesis(self.generator.broadcast(w), self.maps)
            difference = self.difference(images)[0]
        stream = torch.Generator().manual_seed(0)
        rows, along = [], []
        for number in range(_PROBES):
            signs = torch.randint(0, 2, [len(difference)], generator=stream).to(difference) * 2 - 1
            signs /= _PROBES**0.5
            more = number + 1 < _PROBES
            (gradient,) = torch.autograd.grad(difference, w, signs, retain_graph=more)
            rows.append(gradient[0])
            along.append(signs @ difference.detach())
        return torch.stack(rows), torch.stack(along)


def recovered_row(w: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the one w `[w_dim]` of an image whose layers have the same.

    Raises:
        ValueError: They do not.
    """
    if len(w) != 1:
        raise ValueError("a w per layer")
    row: npt.NDArray[np.float32] = np.ascontiguousarray(w[0])
    return row
