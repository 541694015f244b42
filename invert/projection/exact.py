"""Explain images to the last level: the projector of preset exact.

Each image is searched by itself, so that its result never depends on which others there are: the directions of one
Jacobian keep a processor as busy as a batch of images would.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generator import networks
from generator.layers import freeze
from generator.ops.dual import Dual
from invert.images.arrays import to_uint8
from invert.images.target import Target
from invert.projection import gauss_newton, quasi_newton
from invert.projection.config import ProjectConfig
from invert.projection.detection import AUTO, candidates
from invert.projection.likelihood import BLACK, ImageModel, Point, State, state_of
from invert.projection.perceptual import Perceptual
from invert.projection.processing import Processing, parse_processing
from invert.projection.projector import Explanation, Projection, StepRecord, check_fit, start_noise
from invert.projection.start import SampleBank
from invert.projection.whitening import measure_whitening

__all__ = ["ExactProjector"]

_EXPLAINED = 3.0
"""Where Q is at most this many times what it is at the truth, no other start is tried."""

_TOLD_PIXELS = 1 / 64
"""Least share of an image's numbers that are neither 0 nor 255: of fewer nothing can be told."""

_JACOBIAN_SIDE = 64  # px; above it a Jacobian takes longer than the gradients that replace it
_JOINT_PIXELS = 4096  # numbers of an image whose covariance, with unknown noise, is still decomposed

_NOISE = {"fixed": ("stored",), "optimise": ("random",), "zero": ("zero",), "both": ("stored", "random")}
"""The kinds of noise that are tried, by setting."""

_BANKS = 8  # banks that are kept after processing, each as large as the bank
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
        if config.processing != AUTO:
            parse_processing(config.processing)  # before the first image: an error is not that of an image
        self._banks: dict[str, SampleBank] = {}

    def run(self, targets: Iterable[Target]) -> Iterator[StepRecord | Projection]:
        """Explain the targets, in their order: a record of each iteration, then the projection."""
        for group, target in enumerate(targets):
            yield (yield from self._explain(group, target))

    def _explain(self, group: int, target: Target) -> Generator[StepRecord, None, Projection]:
        image = torch.from_numpy(target.array.transpose(2, 0, 1).copy()).to(self.device)
        tells = _tells(image)
        found: list[_Found] = []
        for model in self._models(target, image):
            for restart, start in enumerate(self._starts(model, self.config.restarts if tells else 1)):
                curve = []
                for state in self._minimise(model, start) if tells else [state_of(model, start, 0, "saturated")]:
                    curve.append(state.rms)
                    yield StepRecord(group, restart, max(0, state.iterations - 1), self.config.steps, (state.rms,))
                found.append(_Found(model, state, curve, restart))
                if found[-1].explains:
                    break
            if found[-1].explains:
                break
        best = min(found, key=lambda one: (not one.explains, one.model.score(one.state.q)))
        return self._projection(target, best, tells)

    def _minimise(self, model: ImageModel, start: Point) -> Iterator[State]:
        """Search by Jacobians where they can be paid for, else by gradients."""
        side, known = model.image.shape[-1], model.maps is not None
        if side <= _JACOBIAN_SIDE and (known or model.pixels <= _JOINT_PIXELS):
            return gauss_newton.minimise(model, start, self.config.steps)
        return quasi_newton.minimise(model, start, self.config.steps)

    def _models(self, target: Target, image: Tensor) -> Iterator[ImageModel]:
        """Yield what may explain the image, what is cheap to try first."""
        told = self.config.processing
        processings = [
            parse_processing(text, target.tables) for text in (candidates(target) if told == AUTO else [told])
        ]
        for kind in _NOISE[self.config.noise]:
            maps = None
            if kind != "random":
                mode = "zero" if kind == "zero" else "fixed"
                maps = start_noise(self.generator, mode, [torch.Generator()], self.device).by_layer()
            for processing in processings:
                yield ImageModel(self.generator, self._whitening, image, processing, maps, kind)

    def _starts(self, model: ImageModel, count: int) -> Iterator[Point]:
        """Yield the samples of the bank that are nearest to the image after what happened to it."""
        bank = self._bank(model.processing)
        thumbnail = _thumbnail(model.image, bank.thumbnails.shape[-1])[0].cpu().numpy()
        for row in bank.nearest(thumbnail, count):
            w = torch.from_numpy(self.bank.w[row : row + 1]).to(self.device)
            u = self._whitening.u(w)
            yield Point(u, u.new_zeros([1, model.noise_numbers]) if model.maps is None else None)

    def _bank(self, processing: Processing) -> SampleBank:
        """Return the bank after what happened to the images, where its thumbnails are of the network's own size."""
        side = self.generator.config.synthesis.img_resolution
        if not processing.steps or self.bank.thumbnails.shape[-1] != side:
            return self.bank
        if processing.text not in self._banks:
            if len(self._banks) >= _BANKS:
                self._banks.clear()
            pieces = torch.split(torch.from_numpy(self.bank.thumbnails), _PIECE)
            seen = torch.cat([_rounded(processing.carry(Dual(piece.float())).value) for piece in pieces])
            self._banks[processing.text] = SampleBank(self.bank.w, seen.numpy())
        return self._banks[processing.text]

    @torch.no_grad()
    def _projection(self, target: Target, found: "_Found", tells: bool) -> Projection:
        model, state, point = found.model, found.state, found.state.point
        # as it would be saved: what lies outside of black and white is no difference
        image = ((model.levels(point) - BLACK) / BLACK).clamp(-1, 1)
        distances, shares = self.perceptual.distance(image, self.perceptual.prepare(target.pixels.to(self.device)))
        curve = np.full(self.config.steps, np.nan, np.float32)
        curve[: len(found.rms)] = found.rms[: self.config.steps]
        nothing = float("nan")
        explanation = Explanation(
            q=state.q if tells else nothing,
            misfit=float(model.residual(point).square().sum()) if tells else nothing,
            latent_norm=float(point.u.square().sum()),
            noise_norm=0.0 if point.noise is None else float(point.noise.square().sum()),
            rms=state.rms if tells else nothing,
            expected_rms=model.expected_rms,
            iterations=state.iterations,
            stopped=state.reason,
            noise_kind=model.noise_kind,
            processing=model.processing.text,
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
            restart=found.restart,
            explanation=explanation,
            seen=_rounded(model.expected(point))[0].permute(1, 2, 0).cpu().numpy(),
        )


@dataclass(frozen=True, eq=False)
class _Found:
    """What one search found."""

    model: ImageModel
    state: State
    rms: list[float]
    restart: int

    @property
    def explains(self) -> bool:
        """Whether there is nothing left to look for."""
        return self.state.q <= _EXPLAINED * (self.model.pixels + self.model.whitening.size)


def _tells(image: Tensor) -> bool:
    """Return whether an image `[C, H, W]` is not all black and white, for which every network has too many latents."""
    inside = (image > 0) & (image < 255)
    return float(inside.double().mean()) >= _TOLD_PIXELS


def _rounded(levels: Tensor) -> Tensor:
    """Return levels as uint8."""
    return (levels.nan_to_num() + 0.5).clamp(0, 255).byte()


def _thumbnail(images: Tensor, side: int) -> Tensor:
    """Return levels `[N, C, side, side]` of images, averaged down as those of a bank are."""
    if images.shape[-1] == side:
        return images
    return functional.interpolate(images, size=(side, side), mode="area")
