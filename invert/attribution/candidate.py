"""Networks that may have made an image: their calibrations, their sessions, and what measures their projections."""

import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.attribution.calibration import Calibration
from invert.attribution.calibration_file import find_calibration
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import attribution_method, begin_settled, read_settings
from invert.errors import UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.images.target import safe_name
from invert.projection.config import ProjectConfig, config_of, differing_keys, with_defaults
from invert.projection.session import Session, default_batch, device_kind, load_network, open_session
from invert.projection.start import bank_size

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["Candidate", "LoadedCandidate", "check_calibrations", "open_calibrated", "open_candidates"]

Given = Path | Calibration
"""A calibration, or its file."""


def _silent(_: str) -> None:
    return


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
        session: What projects images.
        meter: What measures projections.
        folder: Where its answers are kept; see `invert.attribution.answers`.
    """

    session: Session = dataclasses.field(kw_only=True)
    meter: EvidenceMeter = dataclasses.field(kw_only=True)
    folder: Path | None = dataclasses.field(default=None, kw_only=True)

    @property
    def config(self) -> ProjectConfig:
        """Settings of its projections."""
        return self.session.config

    @property
    def method(self) -> Mapping[str, Any]:
        """Method record of its measurements."""
        return attribution_method(self.session.method)


def open_candidates(
    networks: "Sequence[str | os.PathLike[str] | LoadedNetwork]",
    given: Mapping[str, Any],
    *,
    calibrations: Sequence[Given] = (),
    policy: ImagePolicy | None = None,
    workers: int = 1,
    work: Path | None = None,
    projects: bool = True,
    on_message: Callable[[str], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> list[LoadedCandidate]:
    """Find the calibrations of networks, open their sessions, and make ready what projects and measures.

    Args:
        networks: Networks, or their files.
        given: Fields of `ProjectConfig` that the user named; None where one was not.
        calibrations: Those that the user named, or their files; by default they are looked up.
        policy: What is accepted as an image.
        workers: Processes that will share the images.
        work: Folder that keeps the answers, which the caller holds; what it has settles what is not given.
        projects: Whether images are projected, and not only what is finished judged.
        on_message: Called with a line while something takes long.
        on_warning: Called with a line for each thing that a user of a network should know.

    Raises:
        NetworkError: A network cannot be read.
        UsageError: No calibration that was named is of a network, or it does not go with what is given.
        CalibrationError: A file that was looked at is damaged.
    """
    loaded = [load_network(one, on_warning) if isinstance(one, str | os.PathLike) else one for one in networks]
    found: list[LoadedCandidate] = []
    for name, network in zip(_names([one.provenance.path for one in loaded]), loaded, strict=True):
        path, calibration = _calibration(network, calibrations)
        sha256 = network.provenance.sha256
        folder = None if work is None else work / f"{safe_name(network.provenance.path)}-{sha256[:8]}"
        shared: dict[str, Any] = {"policy": policy, "workers": workers, "work": folder, "on_message": on_message}
        session = begin_settled(folder, partial(open_calibrated, network, given, calibration, path, **shared))
        if calibration is not None and batches_differ(calibration, network, session.config):
            (on_warning or _silent)(
                f"the calibration of {name} was made in batches of {calibration.run['batch']}, and --batch is "
                f"{session.batch}: some verdicts can come out otherwise for that alone"
            )
        meter = EvidenceMeter(network.generator, class_index=session.config.class_index, device=session.config.device)
        if workers > 1:
            session.draw_bank()
        elif projects:
            session.projector()
        facts = (name, session.path, sha256, calibration, path)
        found.append(LoadedCandidate(*facts, session=session, meter=meter, folder=folder))
    return found


def _names(networks: Sequence[Path]) -> list[str]:
    """Return what the networks are called: their files' stems, numbered where they are alike."""
    stems = [path.stem for path in networks]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else f"{stem} ({number})" for number, stem in enumerate(stems, 1)]


def _calibration(network: "LoadedNetwork", given: Sequence[Given]) -> tuple[Path | None, Calibration | None]:
    path, sha256 = network.provenance.path, network.provenance.sha256
    for calibration in given:
        if isinstance(calibration, Calibration) and calibration.network["sha256"] == sha256:
            return None, calibration
    files = [one for one in given if not isinstance(one, Calibration)]
    found = find_calibration(path, sha256, files)
    if found is None and given:
        reason = f"none of the calibrations given is of the network '{display_path(path)}'"
        raise UsageError(reason, advice="They belong to a network by its sha256.", code="calibration-network")
    return found or (None, None)


def open_calibrated(
    network: "LoadedNetwork",
    given: Mapping[str, Any],
    calibration: Calibration | None,
    calibration_path: Path | None,
    *,
    policy: ImagePolicy | None = None,
    workers: int = 1,
    work: Path | None = None,
    on_message: Callable[[str], None] | None = None,
) -> Session:
    """Open a session with the settings of a network's calibration, unless others are given.

    Args:
        network: The network.
        given: Fields of `ProjectConfig` that the user named; None where one was not.
        calibration: Calibration of the network, if there is one.
        calibration_path: File of the calibration.
        policy: What is accepted as an image.
        workers: Processes that will share the images.
        work: Folder of earlier measurements; what they were made with settles what is not given.
        on_message: Called with a line while something takes long.

    Raises:
        UsageError: What is given does not go with the calibration; the message has the keys that differ.
    """
    named = {field: value for field, value in given.items() if value is not None}
    resumed = None if work is None else read_settings(work)
    if calibration is None:
        config = ProjectConfig(**with_defaults({"preset": "verdict", **named}))
    else:
        method = dict(calibration.method)
        if named.get("preset", method["preset"]) != method["preset"]:
            named = with_defaults(named)
        config = dataclasses.replace(config_of(method), **named)
        if resumed is None and config.batch is None and batches_differ(calibration, network, config):
            config = dataclasses.replace(config, batch=int(calibration.run["batch"]))
    session = open_session(network, config, policy, workers=workers, resumed=resumed, on_message=on_message)
    differing = (
        [] if calibration is None else differing_keys(dict(calibration.method), attribution_method(session.method))
    )
    if differing:
        raise UsageError(
            f"the calibration was made with another method ({'; '.join(differing)})",
            path=calibration_path,
            advice="Use its settings, or make another with 'invert calibrate'.",
            code="calibration-method",
        )
    return session


def batches_differ(calibration: Calibration, network: "LoadedNetwork", config: ProjectConfig) -> bool:
    """Tell whether images are measured one by one where the calibration's were not, or the other way round.

    On a CPU, batches of several images have agreed to the bit, and differ from one by one; `bench/batch_and_threads.py`
    measures it.

    Args:
        calibration: Calibration of the network.
        network: The network.
        config: Settings of the measurements; a batch that is open is the default.
    """
    kind, before = device_kind(config.device), calibration.run.get("batch")
    batch = config.batch or default_batch(network.generator.config.synthesis.img_resolution, kind)
    return type(before) is int and before > 0 and kind == "cpu" and (batch == 1) != (before == 1)


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
    if config.starts_from_bank and config.bank != bank_size(candidate.session.resolution):
        command += ["--bank", str(config.bank)]
    if config.class_index is not None:
        command += ["--class", str(config.class_index)]
    return f"Make one with: {display_path(shlex.join(command))}"
