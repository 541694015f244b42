"""Measure whole populations against one network: for a calibration, or to evaluate one.

    WORK/settings.json               see `invert.attribution.measurements`
    WORK/samples-V/                  the network's own samples, of a calibration
    WORK/populations/NAME/           measurements, of a calibration
    WORK/measured/KIND/NAME/         measurements, of an evaluation, by perturbation
    WORK/perturbed/KIND/NAME/        perturbed images

The same study again in the same folder does what is left of it.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.attribution.calibration import Calibration, Population, make_calibration
from invert.attribution.evaluation import CLEAN, Evaluation, evaluate, usable
from invert.attribution.measurements import (
    Measurement,
    MeasuringPreparation,
    attribution_method,
    begin_measurements,
    measure_population,
)
from invert.attribution.perturbations import Perturbation, apply
from invert.attribution.populations import SAMPLES_VERSION, check_same, draw_samples, reuse, sample_source
from invert.attribution.settings import OWN, CalibrationSettings
from invert.batch.images import Listed, read_image
from invert.batch.work import Event, Failed
from invert.durable import ensure_folder, write_atomic
from invert.errors import ImageError
from invert.images.decoding import ImagePolicy, to_png_bytes
from invert.projection.config import ProjectConfig, method_record
from invert.projection.session import default_batch, prepare_process, run_record, settle_bank
from invert.projection.start import load_bank

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["Study", "open_study"]

_MANY = 1 << 20  # images: so many that the size of a batch does not depend on their number


@dataclass(frozen=True, eq=False)
class Study:
    """Populations on their way to measurements. Made by `open_study`.

    Attributes:
        path: The network's file.
        loaded: The network.
        config: Settings; bank, batch, threads and device are settled.
        policy: What is accepted as an image.
        workers: Processes that share the images.
        work: The work folder, whose lock the caller holds.
        method: Method record of the measurements.
        run: Run record of the measurements.
        on_event: Called with each event of the batches.
        on_message: Called with a line when something takes a while.
    """

    path: Path
    loaded: "LoadedNetwork"
    config: ProjectConfig
    policy: ImagePolicy
    workers: int
    work: Path
    method: dict[str, Any]
    run: dict[str, Any]
    on_event: Callable[[Event], None]
    on_message: Callable[[str], None]

    def calibrate(
        self,
        settings: CalibrationSettings,
        populations: Mapping[str, tuple[str, Sequence[Listed]]],
        count: int,
        *,
        tool: str,
        earlier: tuple[Path, Calibration] | None = None,
    ) -> Calibration:
        """Measure the network's own samples and other populations, and set the thresholds.

        Args:
            settings: How measurements become verdicts.
            populations: Source in words and images of each population that is not the network's, by name.
            count: Number of the network's own samples.
            tool: Version of this program.
            earlier: A calibration of the same method, and its file, whose measurements are reused.

        Raises:
            UsageError: A population is too small for the rate, or what is there was made with other settings.
            OutputError: Something cannot be written.
        """
        if earlier is not None:
            check_same(earlier[1], earlier[0], self.method, self.run)
        begin_measurements(self.work, self.method, self.run)
        self.on_message(f"drawing {count} samples of the network")
        folder = self.work / f"samples-{SAMPLES_VERSION}"
        paths = draw_samples(self.loaded.generator.cpu(), folder, count, self.config.class_index)
        samples = [Listed(path.name.encode(), path) for path in paths]
        self._load_bank()
        found = []
        for name, (source, images) in {OWN: (sample_source(count), samples), **populations}.items():
            if earlier is not None:
                self._reuse(earlier[1], name, images)
            measured = self._measure(images, self.work / "populations" / name)
            found.append(Population.of(name, source, measured, len(images) - len(measured)))
        own, *others = found
        provenance = self.loaded.provenance
        network = {
            "sha256": provenance.sha256,
            "weights_sha256": provenance.weights_sha256,
            "family": provenance.family,
            "resolution": self.loaded.generator.config.synthesis.img_resolution,
        }
        return make_calibration(settings, own, others, method=self.method, run=self.run, network=network, tool=tool)

    def evaluate(
        self,
        calibration: Calibration,
        populations: Mapping[str, Sequence[Listed]],
        perturbations: Sequence[Perturbation],
    ) -> Iterator[Evaluation]:
        """Yield the evaluation of a calibration on images as they are, then on perturbed ones.

        Args:
            calibration: A calibration of the network.
            populations: Images of each population by name, the network's own as `OWN`.
            perturbations: What else is done to the images.

        Raises:
            NoInputError: A population has too few usable images.
            UsageError: What is there was made with other settings.
            OutputError: Something cannot be written.
        """
        begin_measurements(self.work, self.method, self.run)
        self._load_bank()
        clean = {name: self._measure(images, self._measured(CLEAN, name)) for name, images in populations.items()}
        yield evaluate(calibration, clean)
        for perturbation in perturbations:
            key = perturbation.key.replace(":", "-")
            found = {}
            for name, images in populations.items():
                # What did not count as it is would only look as if it did: a copy has the network's size.
                counted = {one.name for one in usable(calibration, clean[name])}
                chosen = [image for image in images if image.name in counted]
                copies = list(self._perturbed(chosen, perturbation, self.work / "perturbed" / key / name))
                found[name] = self._measure(copies, self._measured(key, name))
            yield evaluate(calibration, found, perturbation=perturbation.key)

    def _measured(self, key: str, name: str) -> Path:
        return self.work / "measured" / key / name

    def _load_bank(self) -> None:
        """Draw the samples to start from before each process does it."""
        if self.config.starts_from_bank:
            load_bank(
                self.loaded.generator.to(self.config.device),
                self.loaded.provenance.weights_sha256,
                self.config.bank or 1,
                class_index=self.config.class_index,
                on_message=self.on_message,
            )

    def _measure(self, images: Sequence[Listed], folder: Path) -> list[Measurement]:
        sha256 = self.loaded.provenance.sha256
        preparation = MeasuringPreparation(folder, self.path, sha256, self.config, self.policy)
        return measure_population(preparation, images, self.workers, self.on_event)[0]

    def _reuse(self, earlier: Calibration, name: str, images: Sequence[Listed]) -> None:
        folder = ensure_folder(self.work / "populations" / name)
        taken = reuse(earlier, images, folder, self.loaded.generator, self.policy)
        self.on_message(f"{taken} of {len(images)} measurements of {name} are reused")

    def _perturbed(self, images: Sequence[Listed], perturbation: Perturbation, folder: Path) -> Iterator[Listed]:
        """Write perturbed copies as PNG, at the network's size, and list them; a copy is known by what it is of."""
        ensure_folder(folder)
        synthesis = self.loaded.generator.config.synthesis
        for image in images:
            target = read_image(image, synthesis.img_resolution, synthesis.img_channels, self.policy)
            if isinstance(target, ImageError):
                path = os.fspath(image.path)
                self.on_event(Failed(image.name, path, target.code, target.reason, str(target), target.by_rule))
                continue
            copy = folder / f"{target.pixel_sha256}.png"
            if not copy.exists():
                write_atomic(copy, to_png_bytes(apply(target.array, perturbation, target.pixel_sha256)))
            yield Listed(image.name, copy)


def open_study(
    path: Path,
    loaded: "LoadedNetwork",
    config: ProjectConfig,
    work: Path,
    *,
    workers: int | None = None,
    policy: ImagePolicy | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
    on_message: Callable[[str], None] = lambda _: None,
) -> Study:
    """Settle everything and prepare this process.

    Args:
        path: The network's file.
        loaded: The network.
        config: Settings; `device` is settled.
        work: The work folder.
        workers: Processes that share the images; None means one per processor.
        policy: What is accepted as an image.
        on_event: Called with each event of the batches.
        on_message: Called with a line when something takes a while.
    """
    resolution = loaded.generator.config.synthesis.img_resolution
    threads = config.threads or 1
    batch = config.batch or default_batch(resolution, config.device, _MANY)
    config = dataclasses.replace(settle_bank(config, resolution), threads=threads, batch=batch)
    prepare_process(config.device, threads, on_message)
    policy = policy or ImagePolicy()
    method = attribution_method(method_record(config, loaded.provenance.sha256, policy.record()))
    run = run_record(config)
    workers = workers or (1 if config.device == "cuda" else os.cpu_count() or 1)
    return Study(path, loaded, config, policy, workers, work, method, run, on_event, on_message)
