"""One network that images are held against: its projector, its meter, its calibration."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.attribution.calibration import Calibration
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import Measurement, attribution_method, measurement_of
from invert.errors import UsageError
from invert.images.decoding import ImagePolicy
from invert.images.target import Target
from invert.projection.config import ProjectConfig, config_of, differing_keys, method_record
from invert.projection.projector import Projection, StepRecord
from invert.projection.session import build_projector, settle_bank

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["Candidate", "settings_for"]


def settings_for(
    loaded: "LoadedNetwork",
    policy: ImagePolicy,
    given: dict[str, Any],
    calibration: Calibration | None,
    calibration_path: Path | None,
) -> tuple[ProjectConfig, dict[str, Any]]:
    """Return the settings for a network and their method record: those of its calibration, unless others are given.

    Args:
        loaded: The network. policy: What is accepted as an image.
        given: Fields of `ProjectConfig` that the user named.
        calibration, calibration_path: Of the network, if there is one.

    Raises:
        UsageError: What is given does not go with the calibration; the message has the keys that differ.
    """
    resolution = loaded.generator.config.synthesis.img_resolution
    if calibration is None:
        config = settle_bank(ProjectConfig(**given), resolution)
    else:
        method = {field: value for field, value in given.items() if value is not None}
        config = settle_bank(dataclasses.replace(config_of(dict(calibration.method)), **method), resolution)
    record = attribution_method(method_record(config, loaded.provenance.sha256, policy.record()))
    if calibration is not None:
        differing = differing_keys(dict(calibration.method), record)
        if differing:
            raise UsageError(
                f"the calibration was made with another method ({'; '.join(differing)})",
                path=calibration_path,
                advice="Use its settings, or make another with 'invert calibrate'.",
                code="calibration-method",
            )
    return config, record


@dataclass(frozen=True, eq=False)
class Asked:
    """What came out for one image and one network."""

    measurement: Measurement
    projection: Projection


class Candidate:
    """A network that is asked about images.

    Args:
        name: To be shown. path: The network's file. loaded: The network.
        config: Settings. method: Their record.
        batch, device: See `invert.projection.projector.Projector`.
        calibration, calibration_path: If there is one.
        on_message: See `invert.projection.session.build_projector`.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        loaded: "LoadedNetwork",
        config: ProjectConfig,
        method: dict[str, Any],
        *,
        batch: int,
        device: str,
        calibration: Calibration | None = None,
        calibration_path: Path | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        self.name, self.path, self.sha256 = name, path, loaded.provenance.sha256
        self.config, self.method = config, method
        self.calibration, self.calibration_path = calibration, calibration_path
        synthesis = loaded.generator.config.synthesis
        self.resolution, self.channels = synthesis.img_resolution, synthesis.img_channels
        self._meter = EvidenceMeter(loaded.generator, class_index=config.class_index, device=device)
        self._projector = build_projector(loaded, config, batch=batch, device=device, on_message=on_message)

    def ask(self, targets: Sequence[Target], on_step: Callable[[StepRecord], None]) -> list[Asked]:
        """Project images of the network's size and measure them, in their order."""
        found = []
        for event in self._projector.run(targets):
            if isinstance(event, StepRecord):
                on_step(event)
            else:
                name = os.fsencode(event.target.path)
                found.append(Asked(measurement_of(name, event, self._meter), event))
        return found
