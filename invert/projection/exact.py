"""Explain images to the last level: the projector of preset exact.

Each image is searched by itself, so that its result never depends on which others there are: the directions of one
Jacobian keep a processor as busy as a batch of images would.
"""

from collections.abc import Generator, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from generator import networks
from generator.layers import freeze
from generator.ops.dual import Dual
from invert.images.arrays import to_uint8
from invert.images.target import Target
from invert.projection.config import ProjectConfig
from invert.projection.gauss_newton import State, minimise
from invert.projection.likelihood import ImageModel, Point
from invert.projection.perceptual import Perceptual
from invert.projection.processing import Processing, parse_processing
from invert.projection.projector import Explanation, Projection, StepRecord, check_fit, start_noise
from invert.projection.start import SampleBank
from invert.projection.whitening import measure_whitening

__all__ = ["ExactProjector"]

_EXPLAINED = 2.0
"""Where Q is at most this many times what it is at the truth, no other start is tried."""

_TOLD_PIXELS = 1 / 64
"""Least share of an image's numbers that are neither 0 nor 255: of fewer nothing can be told."""

_PIECE = 500  # samples of a bank that are processed at once


class ExactProjector:
    """Find the most probable latents, and noise where it is unknown, of images one by one.

    Args:
        generator: The network; it is frozen.
        perceptual: Measures the distance of the result, which is no part of the search.
        config: Settings.
        bank: Samples to start from.
        device: Where to work; `generator` and `perceptual` are moved there.

    Raises:
        UsageError: The settings do not fit the network.
    """

    batch = 1

    def __init__(
        self,
        generator: networks.Generator,
        perceptual: Perceptual,
        config: ProjectConfig,
        *,
        bank: SampleBank,
        device: torch.device | str = "cpu",
    ) -> None:
        check_fit(generator, config)
        self.config, self.device, self.bank = config, torch.device(device), bank
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last)
        self.perceptual = perceptual.to(self.device)
        freeze(self.generator)
        self._whitening = measure_whitening(self.generator, class_index=config.class_index)
        self._processing = parse_processing(config.processing)
        self._seen = _seen(bank, self._processing, self.generator.config.synthesis.img_resolution)

    def run(self, targets: Iterable[Target]) -> Iterator[StepRecord | Projection]:
        """Explain the targets, in their order: a record of each iteration, then the projection."""
        for group, target in enumerate(targets):
            yield (yield from self._explain(group, target))

    def _explain(self, group: int, target: Target) -> Generator[StepRecord, None, Projection]:
        image = torch.from_numpy(target.array.transpose(2, 0, 1).copy()).to(self.device)
        model = ImageModel(self.generator, self._whitening, image, self._processing, self._maps())
        best: tuple[State, list[float], int] | None = None
        restarts = self.config.restarts if _tells(image) else 1
        for restart, start in enumerate(self._starts(image, restarts)):
            curve = []
            for state in minimise(model, start, self.config.steps if _tells(image) else 0):
                curve.append(state.rms)
                yield StepRecord(group, restart, max(0, state.iterations - 1), self.config.steps, (state.rms,))
            if best is None or state.q < best[0].q:
                best = state, curve, restart
            if best[0].q <= _EXPLAINED * (model.pixels + self._whitening.size):
                break
        if best is None:
            raise RuntimeError("there was no start")
        return self._projection(target, model, *best)

    def _maps(self) -> dict[str, Tensor]:
        """Return the noise maps that are given: the network's own, or zero."""
        return start_noise(self.generator, self.config.noise, [torch.Generator()], self.device).by_layer()

    def _starts(self, image: Tensor, count: int) -> Iterator[Point]:
        """Yield the samples of the bank that are nearest to the image after what happened to it."""
        thumbnail = _thumbnail(image.float()[None], self._seen.thumbnails.shape[-1])[0].cpu().numpy()
        for row in self._seen.nearest(thumbnail, count):
            w = torch.from_numpy(self.bank.w[row : row + 1]).to(self.device)
            yield Point(self._whitening.u(w))

    @torch.no_grad()
    def _projection(
        self, target: Target, model: ImageModel, state: State, rms: list[float], restart: int
    ) -> Projection:
        point = state.point
        image = model.levels(point) / 127.5 - 1
        distances, shares = self.perceptual.distance(image, self.perceptual.prepare(target.pixels.to(self.device)))
        curve = np.full(self.config.steps, np.nan, np.float32)
        curve[: len(rms)] = rms[: self.config.steps]
        told = _tells(model.image[0])
        explanation = Explanation(
            q=state.q if told else float("nan"),
            misfit=float(model.residual(point).square().sum()) if told else float("nan"),
            latent_norm=float(point.u.square().sum()),
            noise_norm=0.0 if point.noise is None else float(point.noise.square().sum()),
            rms=state.rms if told else float("nan"),
            expected_rms=self._processing.variance**0.5,
            iterations=state.iterations,
            stopped=state.reason if told else "saturated",
            noise_kind="stored" if self.config.noise == "fixed" else self.config.noise,
            processing=self.config.processing,
        )
        return Projection(
            target,
            w=self._whitening.w(point.u).cpu().numpy(),
            noise={name: maps[0, 0].cpu().numpy().copy() for name, maps in model.noise_maps(point).items()},
            distance=float(distances[0]),
            layer_distances=shares[0].cpu().numpy(),
            curve=curve,
            image=to_uint8(image)[0].copy(),
            status="diverged" if state.reason == "not-finite" or not bool(distances.isfinite()) else "ok",
            restart=restart,
            explanation=explanation,
            seen=_levels(model.expected(point))[0],
        )


def _tells(image: Tensor) -> bool:
    """Return whether an image `[C, H, W]` is not all black and white, for which every network has too many latents."""
    inside = (image > 0) & (image < 255)
    return float(inside.double().mean()) >= _TOLD_PIXELS


def _levels(images: Tensor) -> npt.NDArray[np.uint8]:
    found: npt.NDArray[np.uint8] = (images.nan_to_num() + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return found


def _thumbnail(images: Tensor, side: int) -> Tensor:
    """Return levels `[N, C, side, side]` of images, averaged down as those of a bank are."""
    if images.shape[-1] == side:
        return images
    return functional.interpolate(images, size=(side, side), mode="area")


def _seen(bank: SampleBank, processing: Processing, resolution: int) -> SampleBank:
    """Return a bank after what happened to the images, where its thumbnails are of the network's own size."""
    if bank.thumbnails.shape[-1] != resolution:
        return bank
    levels = torch.from_numpy(bank.thumbnails)
    pieces = [processing.carry(Dual(piece.float())).value for piece in torch.split(levels, _PIECE)]
    return SampleBank(bank.w, torch.cat(pieces).add(0.5).clamp(0, 255).byte().numpy())
