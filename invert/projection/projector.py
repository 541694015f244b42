"""Find the w and noise maps that make a generator draw given images again.

Reference: Karras et al. 2020, appendix D.
"""

import hashlib
import itertools
import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from generator import networks
from generator.layers import freeze
from generator.ops.native.build import ensure, kernels_hash
from invert.errors import UsageError
from invert.images.arrays import to_uint8
from invert.images.target import Target
from invert.projection.allocator import keep_freed_memory
from invert.projection.config import ProjectConfig, run_settings
from invert.projection.latents import LatentStatistics, Start, latent_statistics, start_at_centre
from invert.projection.noise import NoiseMaps
from invert.projection.optimisers import Measurement, Optimisation, PaperObjective, Schedule
from invert.projection.perceptual import MINIMUM_SIZE, Perceptual

__all__ = [
    "Projection",
    "Projector",
    "StepRecord",
    "default_batch",
    "prepare_process",
    "random_stream",
    "run_record",
    "start_noise",
]

FloatArray = npt.NDArray[np.float32]

_MAX_BATCH = 8
_LARGE = 512  # px; from here on one image fills a CPU


@dataclass(frozen=True)
class StepRecord:
    """One step of one group of images.

    `distances` has one entry per image of the group, padding left out: LPIPS in that step, with its latent noise.
    """

    group: int
    restart: int
    step: int
    steps: int
    distances: tuple[float, ...]


@dataclass(frozen=True)
class Projection:
    """What came out for one image.

    Attributes:
        w: `[1, w_dim]`. noise: Map `[r, r]` of each layer.
        distance: LPIPS between the target and g(w, noise) after the last update, without latent noise; NaN if
            not even the start could be drawn. layer_distances: Its five shares `[5]`.
        curve: The step loss `[steps]`: LPIPS in each step, with its latent noise and without the noise maps' term;
            NaN after a divergence.
        image: g(w, noise) as `[H, W, C]` uint8.
        status: "ok", or "diverged" if a step was not finite and this is the best state before it.
        restart: Which of the restarts this is.
    """

    target: Target
    w: FloatArray
    noise: dict[str, FloatArray]
    distance: float
    layer_distances: FloatArray
    curve: FloatArray
    image: npt.NDArray[np.uint8]
    status: str
    restart: int


def random_stream(seed: int, pixel_sha256: str, restart: int) -> torch.Generator:
    """Return the random stream of one optimisation of one image, on the CPU whatever the device."""
    digest = hashlib.sha256(f"{seed}/{pixel_sha256}/{restart}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little"))


def prepare_process(device_type: str, threads: int | None, on_message: Callable[[str], None]) -> None:
    """Set this process up for projections: memory, native kernels and threads.

    Args:
        device_type: "cpu" or "cuda". threads: CPU threads; None leaves torch's number.
        on_message: Called with a line when kernels have to be built.
    """
    keep_freed_memory()
    ensure(cuda=device_type == "cuda", on_message=on_message)
    if threads is not None:
        torch.set_num_threads(threads)


def default_batch(images: int, resolution: int, device_type: str) -> int:
    """Return how many images are optimised together unless the user says."""
    if device_type == "cpu" and resolution >= _LARGE:
        return 1
    return max(1, min(images, _MAX_BATCH))


def run_record(config: ProjectConfig, batch: int, device: torch.device) -> dict[str, Any]:
    """Return what makes bits comparable, as JSON types."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        **run_settings(config, batch=batch, threads=torch.get_num_threads(), device=f"{device.type} ({name})"),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "kernels": kernels_hash(),
    }


def start_noise(
    generator: networks.Generator, mode: str, streams: Sequence[torch.Generator], device: torch.device
) -> NoiseMaps:
    """Return the noise maps that optimisations begin with, one set per stream.

    Args:
        generator: On `device`.
        mode: "optimise" draws them from the streams, "fixed" takes the network's own, "zero" leaves them zero.
    """
    synthesis = generator.synthesis
    noise = NoiseMaps(synthesis.noise_sizes, len(streams), device)
    if mode == "optimise":
        noise.draw(streams)
    elif mode == "fixed":
        maps = synthesis.noise_maps("const", len(streams))
        noise.fill({name: value[:, 0] for name, value in maps.items() if value is not None})
    return noise


class Projector:
    """Optimise images in groups of a constant size, each as if it were alone.

    Args:
        generator: The network; it is frozen.
        perceptual: The distance.
        config: Settings.
        batch: Images in a group; the last group is padded, so that the arithmetic never depends on how many
            images there are.
        device: Where to work; `generator` and `perceptual` are moved there.
        start: Gives the first w of each image. schedule: Ramps; default those of the preset.

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
        schedule: Schedule | None = None,
    ) -> None:
        classes = generator.config.mapping.c_dim
        if config.class_index is not None and config.class_index >= classes:
            kind = f"has {classes} classes, counted from 0" if classes else "has no classes"
            raise UsageError(f"--class {config.class_index} does not fit: this network {kind}.")
        resolution = generator.config.synthesis.img_resolution
        if resolution < MINIMUM_SIZE[perceptual.net]:
            least = f"--lpips {perceptual.net} compares images from {MINIMUM_SIZE[perceptual.net]} px up"
            raise UsageError(f"This network draws {resolution} px, but {least}. Use a larger network.")
        self.config, self.batch, self.device = config, batch, torch.device(device)
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last)
        self.perceptual = perceptual.to(self.device)
        freeze(self.generator)
        constants = config.constants
        self.schedule = schedule or Schedule(
            max(config.steps, 1),
            constants.peak_rate,
            constants.ramp_up,
            constants.ramp_down,
            constants.latent_noise,
            constants.latent_noise_length,
        )
        self.start = start
        self.statistics: LatentStatistics = latent_statistics(
            self.generator,
            samples=constants.latent_samples,
            seed=constants.latent_seed,
            class_index=config.class_index,
        )

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
            yield from best

    def _optimise(
        self, group: int, restart: int, members: Sequence[Target]
    ) -> Generator[StepRecord, None, list[Projection]]:
        padded = [*members, *[members[-1]] * (self.batch - len(members))]
        pixels = torch.cat([target.pixels for target in padded]).to(self.device)
        objective = self._objective(pixels)
        optimisation = self._begin(objective, padded, pixels, restart)
        curve = np.full([self.config.steps, len(padded)], np.nan, np.float32)
        for step in range(self.config.steps):
            curve[step] = optimisation.step(step).cpu().numpy()
            distances = tuple(float(distance) for distance in curve[step, : len(members)])
            yield StepRecord(group, restart, step, self.config.steps, distances)
        optimisation.finish()
        measured = objective.measure(optimisation.w, optimisation.noise)
        return _collect(members, optimisation, measured, curve, restart)

    def _objective(self, pixels: torch.Tensor) -> PaperObjective:
        return PaperObjective(
            self.generator,
            self.perceptual,
            pixels,
            self.config.noise_weight if self.config.noise == "optimise" else 0.0,
            self.config.constants.pyramid_scale,
            getattr(torch, self.config.precision),
        )

    def _begin(
        self, objective: PaperObjective, targets: Sequence[Target], pixels: torch.Tensor, restart: int
    ) -> Optimisation:
        streams = [random_stream(self.config.seed, target.pixel_sha256, restart) for target in targets]
        noise = start_noise(self.generator, self.config.noise, streams, self.device)
        constants = self.config.constants
        return Optimisation(
            objective,
            self.schedule,
            self.statistics,
            self.start(self.statistics, pixels, restart),
            noise,
            streams,
            optimise_noise=self.config.noise == "optimise",
            betas=(constants.adam_beta1, constants.adam_beta2),
            epsilon=constants.adam_epsilon,
        )


def _collect(
    members: Sequence[Target], optimisation: Optimisation, measured: Measurement, curve: FloatArray, restart: int
) -> list[Projection]:
    distances, shares, images = measured
    pixels = to_uint8(images)
    maps = {name: value[:, 0].cpu().numpy() for name, value in optimisation.noise.by_layer().items()}
    w = optimisation.w.cpu().numpy()
    return [
        Projection(
            target,
            w=w[i : i + 1].copy(),
            noise={name: value[i].copy() for name, value in maps.items()},
            distance=float(distances[i]),
            layer_distances=shares[i].cpu().numpy(),
            curve=curve[:, i].copy(),
            image=pixels[i].copy(),
            status="diverged" if bool(optimisation.diverged[i]) or not bool(distances[i].isfinite()) else "ok",
            restart=restart,
        )
        for i, target in enumerate(members)
    ]


def _better(old: Projection, new: Projection) -> Projection:
    return new if new.distance < old.distance or not np.isfinite(old.distance) else old
