"""Find the w and noise maps that make a generator generate given images again.

Reference: Karras et al. 2020, appendix D.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from generator import networks
from generator.layers import freeze
from generator.settings import SQUARE, map_shape
from invert.errors import UsageError
from invert.images.arrays import to_uint8
from invert.images.fidelity import UNKNOWN, Fidelity, fidelity
from invert.images.target import Target
from invert.projection.config import ProjectConfig
from invert.projection.latents import (
    LatentStatistics,
    Start,
    Targets,
    check_class,
    latent_statistics,
    random_stream,
    start_at_centre,
)
from invert.projection.mask import Mask
from invert.projection.moments import Moment, Watcher, looks
from invert.projection.motion import Motion, Motions, check_movable
from invert.projection.noise import start_noise
from invert.projection.objective import Comparison, PaperObjective
from invert.projection.optimisers import Optimisation, Problem, optimiser_of
from invert.projection.perceptual import MINIMUM_SIZE, Perceptual
from invert.projection.presets import Constants
from invert.projection.space import space_of
from invert.projection.step_graph import step_recorder
from invert.projection.tuning import TuningTask, tuned_copy, tuning_steps

__all__ = [
    "Explanation",
    "ImageProjector",
    "Projection",
    "Projector",
    "StepRecord",
    "check_fit",
    "check_square",
]

_FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StepRecord:
    """One step of one group of images.

    Attributes:
        group: Number of the group, from 0.
        restart: Which of the restarts this is, from 0.
        step: From 0.
        steps: How many a restart has.
        distances: One per image of the group, padding left out: LPIPS in that step, with its latent noise.
    """

    group: int
    restart: int
    step: int
    steps: int
    distances: tuple[float, ...]


@dataclass(frozen=True)
class Explanation:
    """How well preset exact explains an image, and how it found out.

    Attributes:
        q: -2 log of the likelihood of the image, up to a constant: the sum of the next three; about the number of the
            image's pixels where it is the network's. NaN where nothing can be told.
        misfit: The whitened residual's sum of squares.
        latent_norm: |u|^2 of the whitened latents, and of values of the processing that were searched.
        noise_norm: |n|^2 of the noise maps; 0 where they were given.
        rms: Root of the mean squared difference between the image and what is expected, in levels of 255.
        expected_rms: What it is where the explanation is true.
        iterations: How many Jacobians were taken.
        stopped: Why the search ended: "converged", "stalled" where it led nowhere, "iterations", "not-finite", or
            "saturated" for an image that is black and white and tells nothing.
        noise_kind: "stored", "random" or "zero": the noise that explains the image.
        processing: What happened to the image, as it is written for `--processing`.
    """

    q: float
    misfit: float
    latent_norm: float
    noise_norm: float
    rms: float
    expected_rms: float
    iterations: int
    stopped: str
    noise_kind: str
    processing: str


@dataclass(frozen=True)
class Projection:
    """What came out for one image.

    Attributes:
        target: The image.
        w: `[1, w_dim]`, or `[styles, w_dim]` in a space with a w per layer.
        noise: Map `[r, r]` of each layer.
        distance: LPIPS between the target and g(w, noise) after the last update, without latent noise; NaN if
            not even the start gave a finite image.
        layer_distances: Its five shares `[5]`.
        curve: The step loss `[steps]`: LPIPS in each step, with its latent noise and without the noise maps' term;
            NaN after a divergence.
        image: g(w, noise) as `[H, W, C]` uint8.
        status: "ok", or "diverged" if a step was not finite and this is the best state before it.
        restart: Which of the restarts this is.
        explanation: What preset exact found; None with another preset.
        transform: Shift to the right and down in shares of the image's side, and rotation counter-clockwise in degrees,
            where they were optimised.
        seen: What it expects in the image `[H, W, C]` uint8: g(w, noise) after the processing; likewise.
        fidelity: PSNR and SSIM between image and target, of the pixels that count.
        tuned: The network after pivotal tuning, of which distance and image are; None without.
    """

    target: Target
    w: _FloatArray
    noise: dict[str, _FloatArray]
    distance: float
    layer_distances: _FloatArray
    curve: _FloatArray
    image: npt.NDArray[np.uint8]
    status: str
    restart: int
    explanation: Explanation | None = None
    transform: Motion | None = None
    seen: npt.NDArray[np.uint8] | None = None
    fidelity: Fidelity = UNKNOWN
    tuned: networks.Generator | None = None


class ImageProjector(Protocol):
    """What carries images through a method, whichever it is."""

    @property
    def generator(self) -> networks.Generator:
        """The network."""

    @property
    def batch(self) -> int:
        """How many images are worked on together."""

    watcher: Watcher | None
    """Is shown each moment of a search; None costs nothing."""

    def run(self, targets: Iterable[Target]) -> Iterator[StepRecord | Projection]:
        """Project the targets, in their order: step records of a group, then its projections."""


def check_fit(generator: networks.Generator, config: ProjectConfig) -> None:
    """Check that images can be projected into a network with these settings.

    Raises:
        UsageError: The network has no such class, or its images are too small to compare, not square, or not movable.
    """
    check_class(config.class_index, generator.config.mapping.c_dim, required=config.space == "z")
    if config.transform == "optimise":
        check_movable(generator, "--transform optimise")
    if config.is_exact or config.starts_from_bank:
        check_square(generator, f"preset {config.preset}")
    resolution = min(map_shape(generator.config.synthesis, generator.config.synthesis.img_resolution))
    if resolution < MINIMUM_SIZE[config.lpips]:
        least = f"--lpips {config.lpips} compares images from {MINIMUM_SIZE[config.lpips]} px up"
        raise UsageError(f"this network generates {resolution} px, but {least}", advice="Use a larger network.")


def check_square(generator: networks.Generator, what: str = "this") -> None:
    """Check that a network begins from a constant of 4 x 4.

    Args:
        generator: The generator.
        what: What needs it to.

    Raises:
        UsageError: It does not.
    """
    synthesis = generator.config.synthesis
    if map_shape(synthesis, 4) != SQUARE:
        height, width = map_shape(synthesis, synthesis.img_resolution)
        reason = f"this network generates {width} x {height} px from a constant that is not 4 x 4"
        raise UsageError(
            f"{reason}; {what} needs a square one",
            advice="Such networks can be used with info, convert, generate and, into a folder, project --preset paper.",
        )


class Projector:
    """Optimise images in groups of a constant size, each as if it were alone.

    Args:
        generator: The network; it is frozen.
        perceptual: The distance.
        config: Settings.
        batch: Images in a group; the last group is padded, so that the arithmetic never depends on how many
            images there are.
        device: Where to work; `generator` and `perceptual` are moved there.
        start: Gives the first w of each image.
        mask: The pixels that count; None where all of them do.
        measure: Gives centre and spread of W, as `latent_statistics` does.

    Attributes:
        watcher: See `ImageProjector`.

    Raises:
        UsageError: `config.class_index` does not fit the network, or its images are too small to compare.
    """

    def __init__(
        self,
        generator: networks.Generator,
        perceptual: Perceptual,
        config: ProjectConfig,
        *,
        batch: int,
        device: torch.device | str = "cpu",
        start: Start = start_at_centre,
        mask: Mask | None = None,
        measure: Callable[..., LatentStatistics] = latent_statistics,
    ) -> None:
        check_fit(generator, config)
        self.watcher: Watcher | None = None
        self.config, self.batch, self.device = config, batch, torch.device(device)
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last)
        self.perceptual = perceptual.to(self.device)
        freeze(self.generator)
        constants = config.constants
        if not isinstance(constants, Constants):
            raise ValueError(f"preset {config.preset} has a projector of its own")
        self._pyramid_scale = constants.pyramid_scale
        self.start, self._mask = start, mask
        self.statistics: LatentStatistics = measure(
            self.generator,
            samples=constants.latent_samples,
            seed=constants.latent_seed,
            class_index=config.class_index,
        )
        self._space = space_of(config, self.generator, self.statistics)
        self._optimiser = optimiser_of(constants, config.steps, step_recorder(self.device))

    def run(self, targets: Iterable[Target]) -> Iterator[StepRecord | Projection]:
        """Project the targets, in their order: step records of a group, then its projections."""
        stream = iter(targets)
        for group in itertools.count():
            members = list(itertools.islice(stream, self.batch))
            if not members:
                return
            best: list[Projection] = []
            for restart in range(self.config.restarts):
                found = yield from self._optimise(group, restart, members)
                best = [_better(old, new) for old, new in zip(best, found, strict=True)] if best else found
            for one in best:
                yield (yield from self._tune(group, one)) if self.config.tune and one.status == "ok" else one

    def _optimise(
        self, group: int, restart: int, members: Sequence[Target]
    ) -> Generator[StepRecord, None, list[Projection]]:
        padded = [*members, *[members[-1]] * (self.batch - len(members))]
        targets = self._targets(padded)
        motions = Motions(len(padded), self.device) if self.config.transform == "optimise" else None
        objective = self._objective(targets, motions)
        problem = self._problem(objective, targets, restart, motions)
        optimisation = self._optimiser(problem)
        curve = np.full([self.config.steps, len(padded)], np.nan, np.float32)
        compare = torch.no_grad()(lambda: objective.measure(optimisation.styles, problem.noise))
        self._show(members, restart, 0, compare)
        for step in range(self.config.steps):
            curve[step] = optimisation.step(step).cpu().numpy()
            self._show(members, restart, step + 1, compare)
            distances = tuple(float(distance) for distance in curve[step, : len(members)])
            yield StepRecord(group, restart, step, self.config.steps, distances)
        optimisation.finish()
        measured = objective.measure(optimisation.styles, problem.noise)
        found = _collect(members, optimisation, problem, measured, curve, restart)
        return [
            dataclasses.replace(one, fidelity=fidelity(one.image, one.target.array, self._counts(one.target)))
            for one in found
        ]

    def _show(self, members: Sequence[Target], restart: int, done: int, compare: Callable[[], Comparison]) -> None:
        """Show where a search has come to."""
        if self.watcher is not None:
            searched, total = self.config.steps, self.config.steps + self.config.tune
            self.watcher(Moment(members, restart, done, searched, total, looks(compare, len(members))))

    def _tune(self, group: int, found: Projection) -> Generator[StepRecord, None, Projection]:
        """Fit a copy of the network to one image."""
        targets = self._targets([found.target])
        styles = self.generator.broadcast(torch.from_numpy(found.w[None]).to(self.device))
        noise = {name: torch.from_numpy(maps[None, None]).to(self.device) for name, maps in found.noise.items()}
        stream = random_stream(self.config.seed, f"{found.target.pixel_sha256}/tune", found.restart)
        task = TuningTask(targets.pixels, targets.masks, styles, noise, stream, self.config.class_index)
        tuned, steps = tuned_copy(self.generator), self.config.tune

        def show(step: int) -> None:
            done = self.config.steps + step
            self._show([found.target], found.restart, done, lambda: task.measure(tuned, self.perceptual))

        for step, distance in enumerate(tuning_steps(tuned, self.generator, self.perceptual, task, steps)):
            if step:
                show(step)
            yield StepRecord(group, found.restart, step, steps, (distance,))
        show(steps)
        (distance,), (shares,), images = task.measure(tuned, self.perceptual)
        image = to_uint8(images)[0].copy()
        return dataclasses.replace(
            found,
            distance=float(distance),
            layer_distances=shares.cpu().numpy(),
            image=image,
            fidelity=fidelity(image, found.target.array, self._counts(found.target)),
            tuned=tuned,
        )

    def _targets(self, members: Sequence[Target]) -> Targets:
        pixels = torch.cat([target.pixels for target in members]).to(self.device)
        masks, of_each = None, [self._counts(target) for target in members]
        if any(one is not None for one in of_each):
            everywhere = np.ones(pixels.shape[2:], bool)
            stacked = np.stack([everywhere if one is None else one for one in of_each])
            masks = torch.from_numpy(stacked[:, None].astype(np.float32)).to(self.device)
        digests, paths = zip(*((target.pixel_sha256, os.fspath(target.path)) for target in members), strict=True)
        return Targets(pixels, digests, masks, paths)

    def _counts(self, target: Target) -> npt.NDArray[np.bool_] | None:
        """Return the pixels of an image that count, bool `[H, W]`; None where all of them do."""
        if self._mask is None or target.mask is None:
            return target.mask if self._mask is None else self._mask.pixels
        return self._mask.pixels & target.mask

    def _objective(self, targets: Targets, motions: Motions | None) -> PaperObjective:
        return PaperObjective(
            self.generator,
            self.perceptual,
            targets.pixels,
            self.config.noise_weight if self.config.noise == "optimise" else 0.0,
            self._pyramid_scale,
            getattr(torch, self.config.precision),
            motions,
            targets.masks,
        )

    def _problem(self, objective: PaperObjective, targets: Targets, restart: int, motions: Motions | None) -> Problem:
        streams = [random_stream(self.config.seed, digest, restart) for digest in targets.digests]
        # The noise maps come out of each stream before anything else does.
        noise = start_noise(self.generator, self.config.noise, streams, self.device)
        start = self.start(self.statistics, targets, restart)
        optimise_noise = self.config.noise == "optimise"
        return Problem(objective, self._space, start, noise, streams, optimise_noise=optimise_noise, motions=motions)


def _collect(
    members: Sequence[Target],
    optimisation: Optimisation,
    problem: Problem,
    measured: Comparison,
    curve: _FloatArray,
    restart: int,
) -> list[Projection]:
    distances, shares, images = measured
    pixels = to_uint8(images)
    maps = {name: value[:, 0].cpu().numpy() for name, value in problem.noise.by_layer().items()}
    transforms = [None] * len(members) if problem.motions is None else problem.motions.values()
    w = optimisation.w.cpu().numpy()
    return [
        Projection(
            target,
            w=w[i].copy(),
            noise={name: value[i].copy() for name, value in maps.items()},
            distance=float(distances[i]),
            layer_distances=shares[i].cpu().numpy(),
            curve=curve[:, i].copy(),
            image=pixels[i].copy(),
            status="diverged" if bool(optimisation.diverged[i]) or not bool(distances[i].isfinite()) else "ok",
            restart=restart,
            transform=transforms[i],
        )
        for i, target in enumerate(members)
    ]


def _better(old: Projection, new: Projection) -> Projection:
    return new if new.distance < old.distance or not np.isfinite(old.distance) else old
