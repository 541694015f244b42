"""What the commands that measure whole populations share: names, samples to start from, processes, progress."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from invert.batch.images import Listed, list_images
from invert.batch.work import Done, Event, Failed
from invert.cli.output import Output
from invert.errors import NoInputError
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.attribution.measurements import Measurement
    from invert.cli.progress import BatchProgress

__all__ = ["NAME", "PopulationMeter", "list_population"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}", re.ASCII)
"""Of a population."""


def list_population(folder: Path) -> list[Listed]:
    """Return the images of a folder.

    Raises:
        NoInputError: There are none, or there is no such folder.
    """
    if not folder.exists():
        raise NoInputError("there is no such folder", path=folder)
    found = [one for one in list_images([folder]) if one.error is None or not one.error.by_rule]
    if not found:
        raise NoInputError("there are no images", path=folder)
    return found


@dataclass
class PopulationMeter:
    """Measures populations against one network.

    Args:
        path, loaded: The network. config, policy: How images are projected.
        workers: Processes. output: Where progress is shown.

    Attributes:
        failed: Images that could not be measured, so far.
    """

    path: Path
    loaded: "LoadedNetwork"
    config: ProjectConfig
    policy: ImagePolicy
    workers: int
    output: Output
    failed: int = 0
    _progress: "BatchProgress" = field(init=False)

    def begin(self, images: int) -> None:
        """Show progress over so many images, and draw the samples to start from before each process does it."""
        if self.config.starts_from_bank:
            from invert.projection.start import load_bank

            load_bank(
                self.loaded.generator.to(self.config.device),
                self.loaded.provenance.weights_sha256,
                self.config.bank or 1,
                class_index=self.config.class_index,
                on_message=self.output.note,
            )
        self._progress = self.output.batch_progress(images)

    def measure(self, images: Sequence[Listed], folder: Path) -> "list[Measurement]":
        """Return the measurements of a population, after `begin`; those that the folder has are taken as they are."""
        from invert.attribution.measurements import MeasuringPreparation, measure_population

        sha256 = self.loaded.provenance.sha256
        preparation = MeasuringPreparation(folder, self.path, sha256, self.config, self.policy)
        return measure_population(preparation, images, self.workers, self._follow)[0]

    def _follow(self, event: Event) -> None:
        if isinstance(event, Done):
            self._progress.image(event.distance, is_new=event.is_new)
        elif isinstance(event, Failed):
            self.failed += 1
            self._progress.image(None, is_new=False)
            self.output.error(event.message)
        else:
            self._progress.beat()
