"""The work folder of the benchmark: images, what was measured of them, and the verdicts that follow.

    WORK/sealed/NAME/                  images of a sealed population
    WORK/after/PROCESSING/NAME/        the same after a processing
    WORK/measured/METHOD/LABEL/        measurements
    WORK/times/METHOD/LABEL.json       processor time that they took
    WORK/kept/NAME.json                anything else that takes long

What is there is not done again, so that the same command goes on where it was stopped.
"""

import dataclasses
import hashlib
import json
import math
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.populations import NETWORKS
from generator.files.reading import LoadedNetwork, load
from invert.attribution.calibration import Calibration
from invert.attribution.calibration_file import read_calibration
from invert.attribution.measurements import Measurement, attribution_method, begin_measurements, read_measurement
from invert.attribution.measuring import measure_population
from invert.attribution.perturbations import apply, parse_perturbations
from invert.attribution.settings import UNPROCESSED
from invert.attribution.verdict import Finding, judge
from invert.batch.images import Listed, list_images
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import to_png_bytes
from invert.projection.config import ProjectConfig
from invert.projection.records import config_of
from invert.projection.session import open_session

__all__ = ["BATCH", "NETWORK", "Laboratory", "Method", "processor_seconds", "shipped_calibration"]

NETWORK = NETWORKS / "A.safetensors"
BATCH = 32


@dataclass(frozen=True, eq=False)
class Method:
    """A calibrated method.

    Attributes:
        calibration: The calibration.
        config: The settings of its projections, with one thread on a processor.
        most: Images of a population that are measured by it at most; None for all.
    """

    calibration: Calibration
    config: ProjectConfig
    most: int | None = None

    @classmethod
    def of(cls, path: Path, most: int | None = None) -> "Method":
        """Return that of a calibration's file."""
        calibration = read_calibration(path)
        config = config_of(dict(calibration.method))
        return cls(calibration, dataclasses.replace(config, batch=BATCH, threads=1, device="cpu", seed=0), most)

    def judge(self, found: Measurement, network: str = NETWORK.stem) -> Finding:
        """Return what is said of an image, as if this network alone were asked."""
        return judge(self.calibration, found, network)


def shipped_calibration(preset: str) -> Path | None:
    """Return the calibration of network A that comes with the project, of a preset; None where there is none."""
    for path in sorted(NETWORKS.glob("A*.calibration.json")):
        if read_calibration(path).method["preset"] == preset:
            return path
    return None


class Laboratory:
    """Measure images under several methods, and keep what is found.

    Args:
        work: The work folder.
        write: Writes the first images of a sealed population in a folder of folders: that, its name, and how many;
            returns its folder.
        methods: The calibrated methods that are compared, by name.
        workers: Processes that share images.
        path: The network that is asked.
    """

    def __init__(
        self,
        work: Path,
        write: Callable[[Path, str, int], Path],
        methods: Mapping[str, Method],
        workers: int = 1,
        path: Path = NETWORK,
    ) -> None:
        self.work, self.write, self.methods, self.workers, self.path = work, write, methods, workers, path

    @cached_property
    def network(self) -> LoadedNetwork:
        """The network that is asked."""
        return load(self.path)

    def images(self, population: str, processing: str, count: int) -> Path:
        """Return a folder with at least so many images of a sealed population, after a processing."""
        source = self.write(self.work / "sealed", population, count)
        if processing == UNPROCESSED:
            return source
        return self.processed(source, processing, self.work / "after" / _folder(processing) / source.name, count)

    @staticmethod
    def processed(source: Path, processing: str, folder: Path, count: int) -> Path:
        """Write the first images of a folder after a processing, and return where."""
        ensure_folder(folder)
        (perturbation,) = parse_perturbations(processing)
        for path in sorted(source.iterdir())[:count]:
            if not (folder / path.name).exists():
                array = np.asarray(Image.open(path))
                array = array[:, :, None] if array.ndim == 2 else array
                write_atomic(folder / path.name, to_png_bytes(apply(array, perturbation, path.name)))
        return folder

    def measured(self, method: str, population: str, count: int, processing: str = UNPROCESSED) -> list[Measurement]:
        """Measure the first images of a sealed population by a calibrated method."""
        count = min(count, self.methods[method].most or count)
        folder = self.images(population, processing, count)
        label = f"{_folder(processing)}/{folder.name}"
        return self.measure(method, self.methods[method].config, folder, label, count)

    def findings(self, method: str, population: str, count: int, processing: str = UNPROCESSED) -> list[Finding]:
        """Judge the first images of a sealed population by a calibrated method."""
        judging = self.methods[method]
        return [judging.judge(one, self.path.stem) for one in self.measured(method, population, count, processing)]

    def measure(self, method: str, config: ProjectConfig, folder: Path, label: str, count: int) -> list[Measurement]:
        """Measure the first images of a folder, and count the processor time that it takes.

        Args:
            method: Name of the settings, in the work folder.
            config: The settings.
            folder: The images.
            label: What they are called there.
            count: How many.
        """
        listed = list(list_images([folder]))[:count]
        out = ensure_folder(self.work / "measured" / method / label)
        # A batch goes to one process: few images are shared out all the same.
        batch = min(config.batch or BATCH, max(1, len(listed) // self.workers))
        session = open_session(self.network, dataclasses.replace(config, batch=batch))
        begin_measurements(self.work / "measured" / method, attribution_method(session.method), {})
        kept = [one for image in listed if (one := _kept(out, image)) is not None]
        if len(kept) == len(listed):
            return kept
        started = processor_seconds()
        session.generate_bank()
        found, failed = measure_population(session, out, listed, self.workers, lambda _: None)
        if failed:
            raise RuntimeError(f"{failed} images of {label} could not be measured")
        # The last batch is filled up, and the filling costs as much as images do.
        places = -(-(len(found) - len(kept)) // session.batch) * session.batch
        time = {"places": places, "seconds": processor_seconds() - started}
        path = self.work / "times" / method / f"{label}.json"
        write_atomic(ensure_folder(path.parent) / path.name, json.dumps(time).encode())
        self.say(f"{method}: {len(found)} of {label}, {time['seconds'] / max(1, places):.2f} s each")
        return found

    def seconds(self, method: str) -> float:
        """Return the processor seconds of a place in a batch, start-up and measuring included; NaN: unknown."""
        times = [json.loads(path.read_bytes()) for path in (self.work / "times" / method).rglob("*.json")]
        places = sum(one["places"] for one in times)
        return sum(one["seconds"] for one in times) / places if places else math.nan

    def kept(self, name: str, settings: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Return what was made with the same settings before, or make it now: anything that JSON has."""
        path = self.work / "kept" / f"{name.replace(' ', '-')}.json"
        if path.exists():
            before = json.loads(path.read_bytes())
            if before["settings"] == json.loads(json.dumps(settings)):
                return before["value"]
        value = make()
        text = json.dumps({"settings": settings, "value": value}, allow_nan=False)
        write_atomic(ensure_folder(path.parent) / path.name, text.encode())
        self.say(f"{name}: done")
        return json.loads(text)["value"]

    def say(self, line: str) -> None:
        """Tell how far it is."""
        print(line, file=sys.stderr, flush=True)


def _folder(processing: str) -> str:
    return processing.replace(":", "-")


def _kept(folder: Path, image: Listed) -> Measurement | None:
    found = read_measurement(folder, image.name)
    is_same = found is not None and hashlib.sha256(image.path.read_bytes()).hexdigest() == found.file_sha256
    return found if is_same else None


def processor_seconds() -> float:
    """Return the processor time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
