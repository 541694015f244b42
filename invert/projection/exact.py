"""Explain images to the last level: the projector of preset exact.

Each image is searched by itself, so that its result never depends on which others there are: the directions of one
Jacobian keep a processor as busy as a batch of images would.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generator import networks
from generator.layers import freeze
from generator.ops.dual import Dual
from invert.images.arrays import to_uint8
from invert.images.fidelity import fidelity
from invert.images.target import Target
from invert.projection.config import ProjectConfig
from invert.projection.detection import AUTO, candidates, sharpness
from invert.projection.hypotheses import JACOBIAN_SIDE, UNKNOWN, Contest, Hypothesis
from invert.projection.likelihood import BLACK, ImageModel, Point, state_of
from invert.projection.moments import Look, Moment, Watcher
from invert.projection.noise import start_noise
from invert.projection.perceptual import Perceptual
from invert.projection.processing import Processing, parse_processing
from invert.projection.projector import Explanation, Projection, StepRecord, check_fit
from invert.projection.start import SampleBank
from invert.projection.whitening import measure_whitening

__all__ = ["ExactProjector"]

_TOLD_PIXELS = 1 / 64
"""Least share of an image's numbers that are neither 0 nor 255: of fewer nothing can be told."""

_NOISE = {"fixed": ("stored",), "optimise": ("random",), "zero": ("zero",), "both": ("stored", "random")}
"""The kinds of noise that are tried, by setting."""

_MOVED = 1.05  # times as near samples have to come to an image as they are for it to count as unmoved
_BANKS = 16  # banks that are kept after processing, each as large as the bank
_PIECE = 500  # samples of a bank that are processed at once
_COMPARED = 500  # samples whose highest frequencies are what to expect
_COMPARED_LARGE = 8  # the same of a network whose bank has smaller images than it generates


class ExactProjector:
    """Find the most probable latents, and noise where it is unknown, of images one by one.

    Args:
        generator: The network; it is frozen.
        perceptual: Measures the distance of the result, which is no part of the search.
        config: Settings.
        bank: Samples to start from.
        device: Where to work; `generator` and `perceptual` are moved there.

    Attributes:
        watcher: Is shown the moments of the search that led to the answer, when it is known.

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
        self.watcher: Watcher | None = None
        self.config, self.device, self.bank = config, torch.device(device), bank
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last)
        self.perceptual = perceptual.to(self.device)
        freeze(self.generator)
        self._whitening = measure_whitening(self.generator, class_index=config.class_index)
        if config.processing != AUTO:
            parse_processing(config.processing)  # before the first image: an error is not that of an image
        self._latents = self._whitening.u(torch.from_numpy(bank.w).to(self.device))
        self._banks: dict[str, SampleBank] = {}

    def run(self, targets: Iterable[Target]) -> Iterator[StepRecord | Projection]:
        """Explain the targets, in their order: a record of each iteration, then the projection."""
        for group, target in enumerate(targets):
            yield (yield from self._explain(group, target))

    def _explain(self, group: int, target: Target) -> Generator[StepRecord, None, Projection]:
        image = torch.from_numpy(target.array.transpose(2, 0, 1).copy()).to(self.device)
        processings = self._processings(target, image)

        def make(number: int, kind: str) -> ImageModel:
            return ImageModel(self.generator, self._whitening, image, processings[number], self._maps(kind), kind)

        kinds = _NOISE[self.config.noise]
        known = next((kind for kind in kinds if kind != UNKNOWN), "stored")

        def start(processing: Processing, restart: int) -> Tensor:
            return self._start(image, processing, restart, processings[0])

        if not _tells(image):
            model = make(0, known)
            first = Point(start(processings[0], 0))
            state = state_of(model, first, 0, "saturated")
            yield StepRecord(group, 0, 0, self.config.steps, (state.rms,))
            return self._projection(target, Hypothesis(model, state, 0, 0, state.rms, first, [state.rms]), tells=False)
        contest = Contest(make, len(processings), kinds, self.config.steps, known, start, self.config.restarts)
        passed: dict[Hypothesis, dict[int, tuple[Point, float]]] = {}
        for one in contest.search():
            if self.watcher is not None:
                places = passed.setdefault(one, {0: (one.start, one.began)})
                places[one.state.iterations] = one.state.point, one.state.rms
            yield StepRecord(group, one.restart, max(0, one.state.iterations - 1), self.config.steps, (one.state.rms,))
        best = min(contest.found, key=_doubts)
        if self.watcher is not None:
            self._show(target, best, passed[best], self.watcher)
        return self._projection(target, best, tells=True)

    def _show(
        self, target: Target, found: Hypothesis, passed: Mapping[int, tuple[Point, float]], watcher: Watcher
    ) -> None:
        """Show the places that a search has passed, by iteration: what each expects in the image, and its rms."""
        last = found.state.iterations
        for done, (point, rms) in passed.items():

            @torch.no_grad()
            def look(point: Point = point, rms: float = rms) -> list[Look]:
                return [Look(_rounded(found.model.expected(point))[0].permute(1, 2, 0).cpu().numpy(), rms)]

            watcher(Moment([target], found.restart, done, last, last, look, unit="rms"))

    def _processings(self, target: Target, image: Tensor) -> list[Processing]:
        """Return what may have happened to an image, the likeliest first."""
        told = self.config.processing
        if told != AUTO:
            return [parse_processing(told, target.tables)]
        # values are searched by Jacobians alone
        is_small = image.shape[-1] <= JACOBIAN_SIDE
        likely = candidates(target, self._sharpness)
        found = [parse_processing(text, target.tables, estimated=is_small) for text in likely]
        return self._by_motion(image, found)

    @cached_property
    def _sharpness(self) -> float:
        """That of the network's own images, of which a bank has smaller ones where they are large."""
        if self.bank.thumbnails.shape[-1] == self.generator.config.synthesis.img_resolution:
            return sharpness(self.bank.thumbnails[:_COMPARED])
        w = torch.from_numpy(self.bank.w[:_COMPARED_LARGE]).to(self.device)
        with torch.no_grad():
            images = [self.generator.synthesis(self.generator.broadcast(one[None]), "const") for one in w]
        return sharpness(to_uint8(torch.cat(images)).transpose(0, 3, 1, 2))

    def _by_motion(self, image: Tensor, found: list[Processing]) -> list[Processing]:
        """Put those first by which an image was moved as the bank's samples have to be to resemble it.

        A search that begins where the image seems to lie unmoved does not find out that it was moved: its latents have
        to make up for that.
        """
        motions = list(dict.fromkeys(one.motion() for one in found))
        if len(motions) < 2 or self.bank.thumbnails.shape[-1] != image.shape[-1]:
            return found
        thumbnail = image.float().cpu().numpy()
        met = {text: self._bank(parse_processing(text)).rms_near(thumbnail) for text in motions}
        best = min(motions, key=lambda text: met[text] * (1.0 if text == "none" else _MOVED))
        return sorted(found, key=lambda one: one.motion() != best)

    def _maps(self, kind: str) -> dict[str, Tensor] | None:
        """Return the noise maps of a kind of noise; None where they are searched."""
        if kind == UNKNOWN:
            return None
        mode = "zero" if kind == "zero" else "fixed"
        return start_noise(self.generator, mode, [torch.Generator()], self.device).by_layer()

    def _start(self, image: Tensor, processing: Processing, restart: int, first: Processing) -> Tensor:
        """Return latents `[1, K]` to begin at: what the bank around an image suggests, or those of its neighbours."""
        known, before = processing.coarse(), first.coarse()
        bank = self._bank(known)
        thumbnail = _thumbnail(image.float()[None], bank.thumbnails.shape[-1])[0].cpu().numpy()
        if restart == 0 or (restart == 1 and known != before):
            return bank.latents_near(thumbnail, self._latents)
        row = int(bank.nearest(thumbnail, restart)[-1])
        return self._latents[row : row + 1]

    def _bank(self, processing: Processing) -> SampleBank:
        """Return the bank after what happened to the images, where its thumbnails are of the network's own size."""
        side = self.generator.config.synthesis.img_resolution
        if not processing.steps or self.bank.thumbnails.shape[-1] != side:
            return self.bank
        if processing.text not in self._banks:
            if len(self._banks) >= _BANKS:
                del self._banks[next(iter(self._banks))]
            pieces = torch.split(torch.from_numpy(self.bank.thumbnails), _PIECE)
            seen = torch.cat([_rounded(processing.carry(Dual(piece.float())).value) for piece in pieces])
            self._banks[processing.text] = SampleBank(self.bank.w, seen.numpy())
        return self._banks[processing.text]

    @torch.no_grad()
    def _projection(self, target: Target, found: Hypothesis, *, tells: bool) -> Projection:
        model, state, point = found.model, found.state, found.state.point
        # as it would be saved: what lies outside of black and white is no difference
        image = ((model.levels(point) - BLACK) / BLACK).clamp(-1, 1)
        distances, shares = self.perceptual.distance(image, self.perceptual.prepare(target.pixels.to(self.device)))
        curve = np.full(self.config.steps, np.nan, np.float32)
        curve[: len(found.rms)] = found.rms[: self.config.steps]
        nothing = float("nan")
        explanation = Explanation(
            q=state.q if tells else nothing,
            misfit=float(model.misfit(point)) if tells else nothing,
            latent_norm=float(point.u.square().sum()),
            noise_norm=0.0 if point.noise is None else float(point.noise.square().sum()),
            rms=state.rms if tells else nothing,
            expected_rms=model.expected_rms,
            iterations=state.iterations,
            stopped=state.reason or "stalled",  # it was left for others, which led nowhere
            noise_kind=model.noise_kind,
            processing=model.processing_at(point).text,
        )
        pixels = to_uint8(image)[0].copy()
        return Projection(
            target,
            w=self._whitening.w(model.latents(point)).cpu().numpy(),
            noise={name: maps[0, 0].cpu().numpy().copy() for name, maps in model.noise_maps(point).items()},
            distance=float(distances[0]),
            layer_distances=shares[0].cpu().numpy(),
            curve=curve,
            image=pixels,
            fidelity=fidelity(pixels, target.array),
            status="diverged" if state.reason == "not-finite" or not bool(distances.isfinite()) else "ok",
            restart=found.restart,
            explanation=explanation,
            seen=_rounded(model.expected(point))[0].permute(1, 2, 0).cpu().numpy(),
        )


def _doubts(one: Hypothesis) -> tuple[bool, bool, float]:
    """Return what the least of is the answer."""
    return not one.explains, not one.explains and one.model.processing.is_rare, one.model.score(one.state.q)


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
