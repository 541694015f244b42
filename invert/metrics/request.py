"""What is to be measured, and with what: networks or images, settings, a device, whom to tell."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from generator.errors import NetworkFileError
from generator.files.sniff import HEAD, sniff
from invert.datasets.training_images import TrainingImages, open_images
from invert.errors import NumericError, UnreadableError, UsageError
from invert.images.opening import read_head
from invert.metrics.result import Measured
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import Chosen
from invert.projection.session import load_network
from invert.version import __version__

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator

__all__ = ["Request", "Subject", "open_subject"]

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, or images, of which something is measured.

    Attributes:
        path: Where it is.
        network: The network, or None.
        images: The images, or None.
    """

    path: Path
    network: "LoadedNetwork | None" = None
    images: TrainingImages | None = None

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        if self.network is not None:
            return self.network.generator.config.synthesis.img_resolution
        return self._images.resolution

    @property
    def channels(self) -> int:
        """Channels of the images."""
        if self.network is not None:
            return self.network.generator.config.synthesis.img_channels
        return self._images.channels

    @property
    def _images(self) -> TrainingImages:
        if self.images is None:
            raise ValueError("a subject is a network or images")
        return self.images

    def count(self, most: int) -> int:
        """Return how many images of it are used, where at most so many are asked for."""
        return most if self.network is not None else min(most, len(self._images))

    def digest(self) -> str:
        """Return what identifies it in a protocol."""
        return self._images.fingerprint if self.network is None else self.network.provenance.weights_sha256


def open_subject(
    path: str | os.PathLike[str], on_warning: Callable[[str], None], *, attribute: str | None = None
) -> Subject:
    """Open a network, or images: a folder, a zip or an IDX file.

    Args:
        path: The file or folder.
        on_warning: Called with a line for each thing that its user should know.
        attribute: Which attribute of the images is to be their label, see `open_images`.

    Raises:
        NetworkError: A network cannot be used.
        NumericError: A network has weights that are not finite.
        NoInputError: There are no images.
        UsageError: The images are not all of one size.
    """
    path = Path(path)
    if path.is_dir() or not _is_network(path):
        return Subject(path, images=open_images(path, attribute=attribute, on_message=on_warning))
    network = load_network(path, on_warning)
    for name, tensor in network.generator.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise NumericError(f"its weights are not finite, {name} first", path=path, code="network-not-finite")
    return Subject(path, network=network)


def _is_network(path: Path) -> bool:
    """Tell a network from images; a zip may be either, and names tell those apart that torch.save wrote."""
    try:
        kind = sniff(read_head(path, HEAD), path.stat().st_size)
    except (NetworkFileError, UnreadableError, OSError):
        return False
    return kind != "torch zip" or path.suffix.lower() != ".zip"


@dataclass(frozen=True, eq=False)
class Request:
    """One metric of one subject.

    Attributes:
        chosen: The metric.
        subject: What is measured.
        settings: How.
        against: What it is compared with.
        weights: File or folder of the weights of features.
        features_file: File of weights that stands for features of its own.
        download: Whether weights may be fetched.
        labels: A labelled data set, or predictions, for separability.
        device: "cpu", "cuda" ...
        keep: Whether parts of the work are kept in the user's cache, where a run that was stopped finds them.
        on_progress: Called with what is done, how much of it, and how much there is.
        on_warning: Called with a line on what should be known.
        shared: What the metrics of all subjects have in common, by name.
        own: What the metrics of this subject have in common, by name.
    """

    chosen: Chosen
    subject: Subject
    settings: MeasureSettings
    against: Subject | None = None
    weights: Path | None = None
    features_file: Path | None = None
    download: bool = False
    labels: Path | None = None
    device: str = "cpu"
    keep: bool = True
    on_progress: OnProgress = lambda *_: None
    on_warning: Callable[[str], None] = lambda _: None
    shared: dict[str, Any] = field(default_factory=dict, repr=False)
    own: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def generator(self) -> "Generator":
        """The generator, on the device, in evaluation mode.

        Raises:
            UsageError: What is measured are images.
        """
        network = self.subject.network
        if network is None:
            reason = f"{self.chosen.name} is measured of networks, not of images"
            raise UsageError(reason, path=self.subject.path)
        return network.generator.eval().to(self.device)

    def require_float64(self, advice: str = "Use --device cpu.") -> None:
        """Refuse a device that knows no float64.

        Args:
            advice: What to do.

        Raises:
            UsageError: It is such a device.
        """
        if torch.device(self.device).type == "mps":
            reason = f"{self.chosen.name} is computed in float64, which mps does not know"
            raise UsageError(reason, advice=advice)

    def measure(self) -> Measured:
        """Measure it, by the module that the metric's line in the table names.

        Raises:
            InvertError: It cannot be measured of this subject.
        """
        module = importlib.import_module(f"invert.metrics.{self.chosen.metric.module}")
        return cast("Callable[[Request], Measured]", module.measure)(self)

    def protocol(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return a protocol with what all of them have: what was measured, where, and by which versions."""
        return {
            **settings,
            "weights_sha256": None if self.subject.network is None else self.subject.digest(),
            "data_fingerprint": None if self.subject.network is not None else self.subject.digest(),
            "resolution": self.subject.resolution,
            "channels": self.subject.channels,
            "device": torch.device(self.device).type,
            "versions": {"invert": __version__, "torch": torch.__version__, "numpy": np.__version__},
        }
