"""Measure whole populations against one network: for a calibration, or to evaluate one.

    WORK/settings.json               see `invert.attribution.measurements`
    WORK/samples-V/                  the network's own samples, of a calibration
    WORK/populations/NAME/           measurements, of a calibration
    WORK/processed/KIND/NAME/        images of a calibration after a processing
    WORK/after/KIND/NAME/            measurements of these
    WORK/measured/KIND/NAME/         measurements, of an evaluation, by perturbation
    WORK/perturbed/KIND/NAME/        perturbed images

The same study again in the same folder does what is left of it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from generator.processors import processors
from invert.attribution.calibration import Calibration, make_calibration
from invert.attribution.evaluation import CLEAN, Evaluation, evaluate, usable
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import Measurement, attribution_method, begin_measurements
from invert.attribution.measuring import measure_population
from invert.attribution.perturbations import Perturbation, apply
from invert.attribution.populations import SAMPLES_VERSION, check_same, generate_samples, reuse, sample_source
from invert.attribution.settings import OWN, CalibrationSettings
from invert.attribution.splits import Population
from invert.batch.images import Listed, read_image
from invert.batch.work import Event, Failed
from invert.durable import ensure_folder, write_atomic
from invert.errors import ImageError, UsageError
from invert.images.decoding import to_png_bytes
from invert.projection.session import Session, settle_device
from invert.store.locks import Shard
from invert.store.names import in_shard

__all__ = ["AS_THEY_ARE", "Study", "count_workers"]

AS_THEY_ARE = (Perturbation(),)
"""The processings of populations that nothing is done to."""


def _silent(_: Event) -> None:
    return


def count_workers(asked: int | None, device: str) -> int:
    """Return how many processes share images: as many as asked for, or one per processor, and one for a GPU.

    Args:
        asked: None where it is left open.
        device: A device as `ProjectConfig` has it.
    """
    return asked or (1 if settle_device(device) != "cpu" else processors())


@dataclass(frozen=True, eq=False)
class Study:
    """Populations on their way to measurements.

    Args:
        session: What projects the images.
        work: The work folder, whose lock the caller holds.
        workers: Processes that share the images; None means one per processor, and one for a GPU.
        on_event: Called with each event of the batches.
    """

    session: Session
    work: Path
    workers: int | None = None
    on_event: Callable[[Event], None] = _silent

    @property
    def method(self) -> dict[str, Any]:
        """Method record of the measurements."""
        return attribution_method(self.session.method)

    def calibrate(
        self,
        settings: CalibrationSettings,
        populations: Mapping[str, tuple[str, Sequence[Listed]]],
        count: int,
        *,
        tool: str,
        processings: Sequence[Perturbation] = AS_THEY_ARE,
        earlier: tuple[Path, Calibration] | None = None,
    ) -> Calibration:
        """Measure the network's own samples and other populations, and set the thresholds.

        Args:
            settings: How measurements become verdicts.
            populations: Source in words and images of each population that is not the network's, by name.
            count: Number of the network's own samples.
            tool: Version of this program.
            processings: What the images of all populations are measured after.
            earlier: A calibration of the same method, and its file, whose measurements are reused.

        Raises:
            UsageError: A population is too small for the rate, or what is there was made with other settings.
            OutputError: Something cannot be written.
        """
        found = self.measure(populations, count, processings=processings, earlier=earlier)
        owns, others = ([one for one in found if (one.name == OWN) is is_own] for is_own in (True, False))
        provenance = self.session.network.provenance
        network = {
            "sha256": provenance.sha256,
            "weights_sha256": provenance.weights_sha256,
            "family": provenance.family,
            "resolution": self.session.resolution,
        }
        records = {"method": self.method, "run": self.session.run, "network": network}
        return make_calibration(settings, owns, others, **records, tool=tool)

    def measure(
        self,
        populations: Mapping[str, tuple[str, Sequence[Listed]]],
        count: int,
        *,
        processings: Sequence[Perturbation] = AS_THEY_ARE,
        earlier: tuple[Path, Calibration] | None = None,
        shard: Shard | None = None,
    ) -> list[Population]:
        """Measure the network's own samples and other populations.

        Args:
            populations: See `calibrate`.
            count: See `calibrate`.
            processings: See `calibrate`.
            earlier: See `calibrate`.
            shard: Share I of N of the images, (I, N), that is measured; None is all of them.

        Returns:
            The populations after each processing, the network's own first; of a share what was found of that alone.

        Raises:
            UsageError: What is there was made with other settings.
            OutputError: Something cannot be written.
        """
        if earlier is not None:
            check_same(earlier[1], earlier[0], self.method, self.session.run)
        self._begin()
        self.session.on_message(f"generating {count} samples of the network")
        folder = self.work / f"samples-{SAMPLES_VERSION}"
        generator = self.session.network.generator.cpu()
        paths = generate_samples(generator, folder, count, self.session.config.class_index, shard)
        samples = [Listed(path.name.encode(), path) for path in paths]
        self.session.generate_bank()
        found = []
        for number, processing in enumerate(processings):
            for name, (source, listed) in {OWN: (sample_source(count), samples), **populations}.items():
                images = [image for image in listed if in_shard(image.name, shard)]
                found.append(self._population(name, source, images, processing, earlier, is_first=number == 0))
        return found

    def _population(
        self,
        name: str,
        source: str,
        images: Sequence[Listed],
        processing: Perturbation,
        earlier: tuple[Path, Calibration] | None,
        *,
        is_first: bool,
    ) -> Population:
        """Measure one population after one processing; what cannot be read is told with the first one."""
        folder, made_of, listed = self.work / "populations" / name, dict[bytes, str](), list(images)
        if processing.steps:
            key = _key(processing)
            folder = self.work / "after" / key / name
            listed = list(self._perturbed(images, processing, self.work / "processed" / key / name, tell=is_first))
            made_of = {image.name: image.path.stem for image in listed}
        label = f"{name} after {processing.key}" if processing.steps else name
        if earlier is not None:
            self._reuse(earlier[1], label, listed, folder)
        measured = [
            dataclasses.replace(one, made_of=made_of.get(one.name, "")) for one in self._measure(listed, folder)
        ]
        return Population.of(name, source, measured, len(images) - len(measured), processing.key)

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
        too_small = [one.key for one in perturbations if one.leaves_small]
        if too_small and not calibration.has_groups:
            reason = f"images after {too_small[0]} are smaller than the network's, which the calibration cannot judge"
            raise UsageError(reason, advice="One of preset exact does.")
        self._begin()
        self.session.generate_bank()
        clean = {name: self._measure(images, self._measured(CLEAN, name)) for name, images in populations.items()}
        yield evaluate(calibration, clean)
        for perturbation in perturbations:
            key = _key(perturbation)
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

    def _begin(self) -> None:
        begin_measurements(self.work, self.method, self.session.run)
        if self._processes == 1:
            _ = self._meter  # before the network goes to a GPU, as other processes have it

    @property
    def _processes(self) -> int:
        return count_workers(self.workers, self.session.config.device)

    @cached_property
    def _meter(self) -> EvidenceMeter:
        config = self.session.config
        return EvidenceMeter(self.session.network.generator, class_index=config.class_index, device=config.device)

    def _measure(self, images: Sequence[Listed], folder: Path) -> list[Measurement]:
        processes = self._processes
        meter = self._meter if processes == 1 else None
        return measure_population(self.session, folder, images, processes, self.on_event, meter)[0]

    def _reuse(self, earlier: Calibration, label: str, images: Sequence[Listed], folder: Path) -> None:
        taken = reuse(earlier, images, ensure_folder(folder), self.session)
        self.session.on_message(f"{taken} of {len(images)} measurements of {label} are reused")

    def _perturbed(
        self, images: Sequence[Listed], perturbation: Perturbation, folder: Path, *, tell: bool = True
    ) -> Iterator[Listed]:
        """Write perturbed copies as PNG, and list them; a copy is known by what it is of.

        They are made of the images at the network's size: one that is smaller cannot be perturbed as others are.
        """
        ensure_folder(folder)
        session = self.session
        for image in images:
            target = read_image(image, session.resolution, session.channels, session.policy)
            if isinstance(target, ImageError):
                if tell:
                    self.on_event(Failed.of(image.name, image.path, target))
                continue
            if target.upsampled:
                continue
            copy = folder / f"{target.pixel_sha256}.png"
            if not copy.exists():
                write_atomic(copy, to_png_bytes(apply(target.array, perturbation, target.pixel_sha256)))
            yield Listed(image.name, copy)


def _key(perturbation: Perturbation) -> str:
    """Return the name of a perturbation's folders."""
    return perturbation.key.replace(":", "-")
