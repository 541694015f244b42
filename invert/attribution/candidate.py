"""Networks that may have made an image: what each is judged by, its session, and what measures its projections."""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.attribution.calibration import Calibration
from invert.attribution.calibration_file import CalibrationFile, read_calibration_file
from invert.attribution.calibration_places import find_calibrations, warn_of_several
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import (
    Measurement,
    attribution_method,
    begin_settled,
    measurement_of,
    read_settings,
)
from invert.attribution.settings import MISS_RATE, Judging, check_evidence, check_untuned, with_verdict_defaults
from invert.attribution.splits import Population
from invert.errors import UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.images.target import safe_name
from invert.projection.config import ProjectConfig
from invert.projection.projector import Projection
from invert.projection.records import config_of, differing_keys, method_digest
from invert.projection.session import Session, default_batch, load_network, open_session, settle_device

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["CalibrationMethodError", "Candidate", "LoadedCandidate", "open_calibrated", "open_candidates"]

Given = Path | Calibration
"""A calibration, or its file."""


def _silent(_: str) -> None:
    return


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network that may have made an image, and what it is judged by.

    Args:
        name: Name to be shown.
        path: The network's file.
        sha256: Hash of that file.
        calibration: Its calibration, if there is one.
        calibration_path: File of the calibration.
        calibration_sha256: Hash of that file.
        score: Score that decides; default that of the calibration.
        threshold: LPIPS distance below which an image is attributed, where the user gave one: then that decides.
        rate: Rate of false attributions, before it is shared; default that of the calibration.
        own: Samples of its own that it is compared with where it has no calibration.
        resolution: Side of its images in pixels, where it is known.
        miss_rate: See `invert.attribution.settings.Judging`.
    """

    name: str
    path: Path
    sha256: str
    calibration: Calibration | None = None
    calibration_path: Path | None = None
    calibration_sha256: str = ""
    score: str | None = None
    threshold: float | None = None
    rate: float | None = None
    own: Population | None = None
    resolution: int | None = None
    miss_rate: float = MISS_RATE

    @property
    def deciding(self) -> str:
        """Which score decides: LPIPS where there is no calibration, or a threshold of it was given."""
        if self.threshold is not None or self.calibration is None:
            return "lpips"
        return self.score or self.calibration.settings.score

    @property
    def is_exact(self) -> bool:
        """Whether its images are explained to the last level, by preset exact."""
        return self.calibration is not None and self.calibration.method.get("preset") == "exact"

    @property
    def settled_rate(self) -> float | None:
        """Rate of false attributions, before it is shared; None where none is promised."""
        if self.threshold is not None or self.calibration is None:
            return None
        return self.calibration.settings.rate if self.rate is None else self.rate


@dataclass(frozen=True, eq=False)
class LoadedCandidate(Candidate):
    """A candidate that can be asked about images.

    Args:
        session: What projects images.
        folder: Where its answers are kept; see `invert.attribution.answers`.
    """

    session: Session = dataclasses.field(kw_only=True)
    folder: Path | None = dataclasses.field(default=None, kw_only=True)

    @property
    def config(self) -> ProjectConfig:
        """Settings of its projections."""
        return self.session.config

    @property
    def is_exact(self) -> bool:
        """Whether its images are explained to the last level, by preset exact."""
        return self.config.is_exact

    @property
    def method(self) -> Mapping[str, Any]:
        """Method record of its measurements."""
        return attribution_method(self.session.method)

    @property
    def digest(self) -> str:
        """Digest of method and score, as in a calibration's file: scores with the same digest can be compared."""
        return method_digest({**self.method, "score": self.deciding})

    @cached_property
    def meter(self) -> EvidenceMeter:
        """What measures projections."""
        config = self.session.config
        return EvidenceMeter(self.session.network.generator, class_index=config.class_index, device=config.device)

    def make_ready(self, workers: int = 1) -> None:
        """Put together what projects and measures: for minutes, where a bank of samples is generated.

        Args:
            workers: Processes that will share the images; with several this one projects nothing.
        """
        _ = self.meter  # before the network goes to a GPU
        if workers == 1:
            self.session.projector()
        else:
            self.session.generate_bank()

    def measure(self, projection: Projection) -> Measurement:
        """Return what a projection into this network measures."""
        return measurement_of(os.fsencode(projection.target.path), projection, self.meter)


def open_candidates(
    networks: "Sequence[str | os.PathLike[str] | LoadedNetwork]",
    given: Mapping[str, Any],
    *,
    calibrations: Sequence[Given] = (),
    judging: Judging | None = None,
    policy: ImagePolicy | None = None,
    workers: int = 1,
    work: Path | None = None,
    on_message: Callable[[str], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> list[LoadedCandidate]:
    """Find the calibrations of networks and open their sessions; nothing that takes long is done yet.

    Args:
        networks: Networks, or their files.
        given: Fields of `ProjectConfig` that the user named; None where one was not.
        calibrations: Those that the user named, or their files; by default they are looked up.
        judging: What the user wants images to be judged by.
        policy: What is accepted as an image.
        workers: Processes that will share the images.
        work: Folder that keeps the answers, which the caller holds; what it has settles what is not given.
        on_message: Called with a line while something takes long.
        on_warning: Called with a line for each thing that a user of a network should know.

    Raises:
        NetworkError: A network cannot be read.
        UsageError: No calibration that was named is of a network, or it does not go with what is given.
        CalibrationError: A file that was looked at is damaged.
    """
    judging, warn = judging or Judging(), on_warning or _silent
    loaded = [load_network(one, on_warning) if isinstance(one, str | os.PathLike) else one for one in networks]
    found: list[LoadedCandidate] = []
    for name, network in zip(_names([one.provenance.path for one in loaded]), loaded, strict=True):
        check_untuned(network.provenance)
        offered = _offered(network, calibrations, warn)
        sha256 = network.provenance.sha256
        folder = None if work is None else work / f"{safe_name(network.provenance.path)}-{sha256[:8]}"
        shared: dict[str, Any] = {"policy": policy, "workers": workers, "work": folder, "on_message": on_message}
        open_with = partial(open_calibrated, network, given, **shared)
        session, used = _open(name, offered, bool(calibrations), folder, open_with, warn)
        candidate = LoadedCandidate(
            name,
            session.path,
            session.sha256,
            score=judging.score,
            threshold=judging.threshold,
            rate=judging.rate,
            miss_rate=judging.miss_rate,
            resolution=session.resolution,
            session=session,
            folder=folder,
        )
        if used is not None:
            if batches_differ(used.calibration, network, session.config):
                warn(
                    f"the calibration of {name} was made in batches of {used.calibration.run['batch']}, and --batch is "
                    f"{session.batch}: some verdicts can come out otherwise for that alone"
                )
            candidate = dataclasses.replace(
                candidate,
                calibration=used.calibration,
                calibration_path=used.path,
                calibration_sha256=used.sha256,
            )
        found.append(candidate)
    return found


def _names(networks: Sequence[Path]) -> list[str]:
    """Return what the networks are called: their files' stems, numbered where they are alike."""
    stems = [path.stem for path in networks]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else f"{stem} ({number})" for number, stem in enumerate(stems, 1)]


def _offered(
    network: "LoadedNetwork", given: Sequence[Given], on_warning: Callable[[str], None]
) -> list[CalibrationFile]:
    """Return the calibrations of a network: of those that were given, or of those that are found."""
    path, sha256 = network.provenance.path, network.provenance.sha256
    if not given:
        return find_calibrations(path, sha256, on_warning=on_warning)
    read = [
        CalibrationFile.of(one) if isinstance(one, Calibration) else read_calibration_file(one)
        for one in given
        if not isinstance(one, Calibration) or one.network["sha256"] == sha256
    ]
    found = [one for one in read if one.calibration.network["sha256"] == sha256]
    if not found:
        reason = f"none of the calibrations given is of the network '{display_path(path)}'"
        raise UsageError(reason, advice="They belong to a network by its sha256.", code="calibration-network")
    return list({one.sha256: one for one in found}.values())


def _open(
    name: str,
    offered: Sequence[CalibrationFile],
    was_given: bool,
    folder: Path | None,
    open_with: Callable[[CalibrationFile | None], Session],
    on_warning: Callable[[str], None],
) -> tuple[Session, CalibrationFile | None]:
    """Open a session by the first calibration that goes with what the user wants; one that was named has to."""
    refused: list[tuple[CalibrationFile, CalibrationMethodError]] = []
    for number, one in enumerate(offered):
        try:
            session = begin_settled(folder, partial(open_with, one))
        except CalibrationMethodError as error:
            if was_given and number == len(offered) - 1:
                raise
            refused.append((one, error))
            continue
        others = [other for other in offered if all(other is not left for left, _ in refused)]
        warn_of_several(name, others, on_warning)
        return session, one
    for _, refusal in refused:
        on_warning(f"{refusal.what} '{display_path(refusal.path or name)}' is not used: {refusal.reason}")
    if refused:
        return begin_settled(folder, lambda: refused[0][1].session), None
    return begin_settled(folder, partial(open_with, None)), None


class CalibrationMethodError(UsageError):
    """What is asked for does not go with the method of a calibration.

    Attributes:
        session: The session that was opened with what is asked for.
    """

    code = "calibration-method"
    what = "calibration"

    def __init__(self, reason: str, *, path: Path | None, session: Session) -> None:
        super().__init__(reason, path=path, advice="Use its settings, or make another with 'invert calibrate'.")
        self.session = session


def open_calibrated(
    network: "LoadedNetwork",
    given: Mapping[str, Any],
    used: CalibrationFile | None,
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
        used: Calibration of the network, if there is one.
        policy: What is accepted as an image.
        workers: Processes that will share the images.
        work: Folder of earlier measurements; what they were made with settles what is not given.
        on_message: Called with a line while something takes long.

    Raises:
        CalibrationMethodError: What is given does not go with the calibration; the message has the keys that differ.
    """
    calibration = None if used is None else used.calibration
    named = {field: value for field, value in given.items() if value is not None}
    resumed = None if work is None else read_settings(work)
    if calibration is None:
        config = ProjectConfig(**with_verdict_defaults(named))
    else:
        method = dict(calibration.method)
        if named.get("preset", method["preset"]) != method["preset"]:
            named = {"bank": None, "processing": "none", **with_verdict_defaults(named)}
        config = dataclasses.replace(config_of(method), **named)
        if resumed is None and config.batch is None and batches_differ(calibration, network, config):
            config = dataclasses.replace(config, batch=int(calibration.run["batch"]))
    check_evidence(config, policy)
    session = open_session(network, config, policy, workers=workers, resumed=resumed, on_message=on_message)
    differing = (
        [] if calibration is None else differing_keys(dict(calibration.method), attribution_method(session.method))
    )
    if differing:
        reason = f"was made with another method ({'; '.join(differing)})"
        raise CalibrationMethodError(reason, path=None if used is None else used.path, session=session)
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
    kind, before = settle_device(config.device), calibration.run.get("batch")
    batch = config.batch or default_batch(network.generator.config.synthesis.img_resolution, kind)
    return type(before) is int and before > 0 and kind == "cpu" and (batch == 1) != (before == 1)
