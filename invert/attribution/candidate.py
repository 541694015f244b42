"""Networks that may have made an image: their calibrations, their settings, and what projects and measures."""

import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.attribution.calibration import Calibration
from invert.attribution.calibration_file import find_calibration
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import Measurement, attribution_method, measurement_of
from invert.errors import UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.images.target import Target
from invert.projection.config import ProjectConfig, config_of, differing_keys, method_record, with_defaults
from invert.projection.projector import Projection, Projector, StepRecord
from invert.projection.session import build_projector, default_batch, settle_bank
from invert.projection.start import bank_size

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["Candidate", "LoadedCandidate", "check_calibrations", "open_candidates", "settings_for"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network that may have made an image.

    Args:
        name: Name to be shown.
        path: The network's file.
        sha256: Hash of that file.
        calibration: Its calibration, if there is one.
        calibration_path: File of the calibration.
    """

    name: str
    path: Path
    sha256: str
    calibration: Calibration | None = None
    calibration_path: Path | None = None


@dataclass(frozen=True, eq=False)
class LoadedCandidate(Candidate):
    """A candidate that can be asked about images.

    Args:
        loaded: The network.
        config: Settings of its projections.
        method: Method record of its measurements.
        meter: What measures projections.
        projector: What projects images.
    """

    loaded: "LoadedNetwork" = dataclasses.field(kw_only=True)
    config: ProjectConfig = dataclasses.field(kw_only=True)
    method: Mapping[str, Any] = dataclasses.field(kw_only=True)
    meter: EvidenceMeter = dataclasses.field(kw_only=True)
    projector: Projector = dataclasses.field(kw_only=True)

    @property
    def resolution(self) -> int:
        """Side of the network's images in pixels."""
        return self.loaded.generator.config.synthesis.img_resolution

    @property
    def channels(self) -> int:
        """Number of channels of the network's images."""
        return self.loaded.generator.config.synthesis.img_channels

    def ask(
        self, targets: Sequence[Target], on_step: Callable[[Sequence[float]], None] | None = None
    ) -> list[tuple[Projection, Measurement]]:
        """Project images and measure them, in their order.

        Args:
            targets: Images of the network's size.
            on_step: Called with the distances of those that are optimised together after each step.
        """
        found = []
        for event in self.projector.run(targets):
            if isinstance(event, StepRecord):
                if on_step is not None:
                    on_step(event.distances)
            else:
                found.append((event, measurement_of(os.fsencode(event.target.path), event, self.meter)))
        return found


def open_candidates(
    networks: Sequence[tuple[Path, "LoadedNetwork"]],
    given: Mapping[str, Any],
    *,
    calibrations: Sequence[Path] = (),
    policy: ImagePolicy,
    images: int,
    on_message: Callable[[str], None] | None = None,
) -> list[LoadedCandidate]:
    """Find the calibrations of networks, settle their settings, and make ready what projects and measures.

    Args:
        networks: File and content of each network.
        given: Fields of `ProjectConfig` that the user named; None where one was not. `device` is settled.
        calibrations: Files that the user named; by default they are looked up.
        policy: What is accepted as an image.
        images: How many images there are, for the size of a batch.
        on_message: Called with a line while samples to start from have to be drawn.

    Raises:
        UsageError: No calibration that was named is of a network, or it does not go with what is given.
        CalibrationError: A file that was looked at is damaged.
    """
    batch = given.get("batch")
    found = []
    for name, (path, loaded) in zip(_names([path for path, _ in networks]), networks, strict=True):
        calibration_path, calibration = _calibration(path, loaded.provenance.sha256, calibrations)
        config, method = settings_for(loaded, policy, given, calibration, calibration_path)
        resolution = loaded.generator.config.synthesis.img_resolution
        batch = batch or default_batch(resolution, config.device, images)  # the first one's for all
        config = dataclasses.replace(config, batch=batch)
        meter = EvidenceMeter(loaded.generator, class_index=config.class_index, device=config.device)
        projector = build_projector(loaded, config, batch=batch, device=config.device, on_message=on_message)
        found.append(
            LoadedCandidate(
                name,
                path,
                loaded.provenance.sha256,
                calibration,
                calibration_path,
                loaded=loaded,
                config=config,
                method=method,
                meter=meter,
                projector=projector,
            )
        )
    return found


def _names(networks: Sequence[Path]) -> list[str]:
    """Return what the networks are called: their files' stems, numbered where they are alike."""
    stems = [path.stem for path in networks]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else f"{stem} ({number})" for number, stem in enumerate(stems, 1)]


def _calibration(path: Path, sha256: str, given: Sequence[Path]) -> tuple[Path | None, Calibration | None]:
    found = find_calibration(path, sha256, given)
    if found is None and given:
        reason = f"none of the calibrations given is of the network '{display_path(path)}'"
        raise UsageError(reason, advice="They belong to a network by its sha256.", code="calibration-network")
    return found or (None, None)


def settings_for(
    loaded: "LoadedNetwork",
    policy: ImagePolicy,
    given: Mapping[str, Any],
    calibration: Calibration | None,
    calibration_path: Path | None,
) -> tuple[ProjectConfig, dict[str, Any]]:
    """Return the settings for a network and their method record: those of its calibration, unless others are given.

    Args:
        loaded: The network.
        policy: What is accepted as an image.
        given: Fields of `ProjectConfig` that the user named; None where one was not.
        calibration: Calibration of the network, if there is one.
        calibration_path: File of the calibration.

    Raises:
        UsageError: What is given does not go with the calibration; the message has the keys that differ.
    """
    resolution = loaded.generator.config.synthesis.img_resolution
    named = {field: value for field, value in given.items() if value is not None}
    if calibration is None:
        config = ProjectConfig(**with_defaults({"preset": "verdict", **named}))
    else:
        method = dict(calibration.method)
        if named.get("preset", method["preset"]) != method["preset"]:
            named = with_defaults(named)
        config = dataclasses.replace(config_of(method), **named)
    config = settle_bank(config, resolution)
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


def check_calibrations(candidates: Sequence[LoadedCandidate], threshold: float | None) -> str:
    """Return what the user should know about a calibration that is missing; nothing when none is.

    Args:
        candidates: The networks.
        threshold: Distance of the plain rule, which needs no calibration, where the user gave one.

    Raises:
        UsageError: Several networks are to be compared, and one has none.
    """
    missing = next((candidate for candidate in candidates if candidate.calibration is None), None)
    if missing is None or threshold is not None:
        return ""
    if len(candidates) > 1:
        raise UsageError(
            f"{len(candidates)} networks are compared by their calibrations, and {missing.name} has none",
            path=missing.path,
            advice=_how_to_calibrate(missing),
            code="no-calibration",
        )
    return f"there is no calibration of {missing.name}: distances only. {_how_to_calibrate(missing)}"


def _how_to_calibrate(candidate: LoadedCandidate) -> str:
    command = ["invert", "calibrate", "--network", os.fspath(candidate.path), "--real", "DIR", "--other", "DIR"]
    config = candidate.config
    usual = with_defaults({"preset": config.preset}) | {"preset": "verdict", "lpips": "vgg", "restarts": 1}
    for name, value in usual.items():
        if getattr(config, name) != value:
            command += [f"--{name}", str(getattr(config, name))]
    if config.starts_from_bank and config.bank != bank_size(candidate.resolution):
        command += ["--bank", str(config.bank)]
    if config.class_index is not None:
        command += ["--class", str(config.class_index)]
    return f"Make one with: {display_path(shlex.join(command))}"
