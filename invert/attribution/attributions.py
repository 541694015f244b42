"""From images to verdicts: each image is projected into every network, measured, and judged.

    for one in attribute(candidates, list_images([folder])):
        one.outcome, one.network, one.reason
        one.answers[0].distance, one.answers[0].p_values, one.answers[0].ratio

Reference: the StyleGAN2 paper (Karras et al. 2020, section 5.1).
"""

import contextlib
import dataclasses
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from invert.attribution.candidate import LoadedCandidate
from invert.attribution.kind import ImageKind, PopulationKind, caveats
from invert.attribution.measurements import Measurement
from invert.attribution.ruling import rule
from invert.attribution.settings import OWN
from invert.attribution.verdict import Finding, Outcome, Verdict
from invert.batch.images import Listed, read_image
from invert.batch.work import Done, Event, Failed, Stepped, work
from invert.errors import ImageError, InvertError
from invert.images.decoding import ImagePolicy
from invert.images.target import Target
from invert.projection.projector import Projection, StepRecord
from invert.store.protocol import Nowhere

__all__ = ["Answer", "Attribution", "attribute"]

Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Answer:
    """What came out for one image and one network.

    Attributes:
        network: Name of the network.
        target: The image as the network was given it.
        reconstruction: The nearest image that the network makes, uint8 `[H, W, C]`.
        measurement: What the projection measures.
        distance: LPIPS between image and reconstruction; NaN where nothing finite came out.
        finding: What is found; None where there is nothing to judge by.
    """

    network: str
    target: Target
    reconstruction: Array
    measurement: Measurement
    distance: float
    finding: Finding | None = None

    @property
    def evidence(self) -> Mapping[str, float]:
        """The numbers that the projection measures, by name; see `invert.attribution.evidence.FEATURES`."""
        return self.measurement.evidence

    @property
    def score(self) -> float | None:
        """The deciding score, lower being more like the network's own; None without a finding."""
        reading = None if self.finding is None else self.finding.reading
        return None if reading is None else reading.score

    @property
    def p_values(self) -> tuple[float, float] | None:
        """p0 and p1 of the deciding score, see `invert.attribution.verdict.Reading`; None without a calibration."""
        reading = None if self.finding is None else self.finding.reading
        return None if reading is None or reading.p0 is None or reading.p1 is None else (reading.p0, reading.p1)

    @property
    def ratio(self) -> float | None:
        """Likelihood ratio of the deciding score; None without a finding."""
        reading = None if self.finding is None else self.finding.reading
        return None if reading is None else reading.ratio


@dataclass(frozen=True, eq=False)
class Attribution:
    """What is said about one image.

    Attributes:
        path: The image's file.
        answers: What came out for each network, in the order asked; none where the image cannot be used.
        verdict: The verdict; None where there is nothing to judge by: no calibration, threshold or own samples.
        threshold_rule: What the plain rule with a threshold says, in words; empty where none was asked for.
        error: Why the image cannot be used.
        caveats: In what it is unlike the images that it is compared with: no rate holds for such images.
    """

    path: Path
    answers: tuple[Answer, ...] = ()
    verdict: Verdict | None = None
    threshold_rule: str = ""
    error: InvertError | None = None
    caveats: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The image's path as text."""
        return os.fspath(self.path)

    @property
    def outcome(self) -> Outcome | None:
        """The verdict's outcome; None without one."""
        return None if self.verdict is None else self.verdict.outcome

    @property
    def network(self) -> str | None:
        """Name of the network that the image is attributed to; None where it is to none."""
        return self.verdict.networks[0] if self.verdict and self.outcome is Outcome.ATTRIBUTED else None

    @property
    def reason(self) -> str:
        """Why it cannot be told, what makes the verdict doubtful, or why the image cannot be used."""
        if self.error is not None:
            return self.error.reason
        if self.verdict is None:
            return ""
        return "; ".join(filter(None, (self.verdict.reason, *self.caveats)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the image, each text once."""
        return tuple(dict.fromkeys(text for answer in self.answers for text in answer.target.warnings))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is only worth a record, each text once."""
        return tuple(dict.fromkeys(text for answer in self.answers for text in answer.target.notes))

    @property
    def is_diverged(self) -> bool:
        """Whether an optimisation diverged."""
        return any(answer.measurement.status != "ok" for answer in self.answers)


def attribute(
    candidates: Sequence[LoadedCandidate],
    images: Iterable[Listed],
    *,
    on_step: Callable[[StepRecord], None] | None = None,
) -> Iterator[Attribution]:
    """Judge images, in their order.

    Args:
        candidates: The networks and what they are judged by; see `invert.attribution.ruling.settle`.
        images: The images; they are read ahead in threads.
        on_step: Called after each step of a group of images into one of the networks.

    Yields:
        An attribution of each image.
    """
    # The engines know an image by its number: names from memory may be there twice.
    own, *streams = _shared(map(_numbered, itertools.count(), images), 1 + len(candidates))
    reading = _ReadOnce(candidates)
    with contextlib.ExitStack() as held:
        engines = [
            held.enter_context(contextlib.closing(_Engine(candidate, stream, reading, on_step)))
            for candidate, stream in zip(candidates, streams, strict=True)
        ]
        for listed in own:
            found = [engine.outcome(listed.name) for engine in engines]
            failed = next((one for one in found if isinstance(one, Failed)), None)
            if failed is not None:
                yield Attribution(listed.path, error=failed.to_error())
            else:
                asked = [one for one in found if not isinstance(one, Failed)]
                yield _judge(listed.path, candidates, asked)
        for engine in engines:
            engine.finish()


def _numbered(number: int, listed: Listed) -> Listed:
    return dataclasses.replace(listed, name=b"%d" % number)


def _shared(images: Iterable[Listed], readers: int) -> list[Iterator[Listed]]:
    """Return an iterator over the same images for each of several readers, which may be threads."""
    source, lock = iter(images), threading.Lock()
    waiting: list[deque[Listed]] = [deque() for _ in range(readers)]

    def read(own: deque[Listed]) -> Iterator[Listed]:
        while True:
            with lock:
                if not own:
                    for listed in itertools.islice(source, 1):
                        for one in waiting:
                            one.append(listed)
                if not own:
                    return
                listed = own.popleft()
            yield listed

    return [read(own) for own in waiting]


class _ReadOnce:
    """Read each image once for each size and number of channels that a network has, whoever asks first."""

    def __init__(self, candidates: Sequence[LoadedCandidate]) -> None:
        sizes = [(one.session.resolution, one.session.channels) for one in candidates]
        self._asked = {size: sizes.count(size) for size in sizes}
        self._lock = threading.Lock()
        self._kept: dict[tuple[bytes, int, int], tuple[Target | ImageError, int]] = {}

    def __call__(self, listed: Listed, resolution: int, channels: int, policy: ImagePolicy) -> Target | ImageError:
        """Read an image, or return what another network was given."""
        key = (listed.name, resolution, channels)
        with self._lock:
            found, left = self._kept.pop(key, (None, self._asked[resolution, channels]))
            if found is None:
                found = read_image(listed, resolution, channels, policy)
            if left > 1:
                self._kept[key] = found, left - 1
        return found


class _Engine:
    """One network at work on the images; it goes on only as far as it is asked."""

    def __init__(
        self,
        candidate: LoadedCandidate,
        images: Iterable[Listed],
        read: _ReadOnce,
        on_step: Callable[[StepRecord], None] | None,
    ) -> None:
        self._candidate, self._on_step = candidate, on_step
        session = candidate.session
        self._events = work(session.projector(), Nowhere(), images, session.policy, read=read)
        self._outcomes: dict[bytes, tuple[Projection, Measurement] | Failed] = {}

    def outcome(self, name: bytes) -> tuple[Projection, Measurement] | Failed:
        """Return what came out for an image and what that measures, or why nothing did."""
        while name not in self._outcomes:
            self._hear(next(self._events))
        return self._outcomes.pop(name)

    def finish(self) -> None:
        """Hear what is left: nothing, or the error that ended the images early.

        Raises:
            Exception: Whatever it was.
        """
        for event in self._events:
            self._hear(event)

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._events.close()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Stepped):
            if self._on_step is not None:
                self._on_step(event.record)
        elif isinstance(event, Done | Failed):
            projection = event.projection
            # What diverged at once is measured too: that nothing finite came out is an answer.
            if projection is not None:
                self._outcomes[event.name] = projection, self._candidate.measure(projection)
            elif isinstance(event, Failed):
                self._outcomes[event.name] = event


def _judge(
    path: Path, candidates: Sequence[LoadedCandidate], asked: Sequence[tuple[Projection, Measurement]]
) -> Attribution:
    names = [candidate.name for candidate in candidates]
    verdict = rule(candidates, [measurement for _, measurement in asked])
    findings: Sequence[Finding | None] = [None] * len(names) if verdict is None else verdict.findings
    answers = tuple(
        Answer(name, projection.target, projection.image, measurement, projection.distance, finding)
        for name, (projection, measurement), finding in zip(names, asked, findings, strict=True)
    )
    threshold = candidates[0].threshold
    plain = "" if threshold is None else _threshold_rule(answers, threshold)
    return Attribution(path, answers, verdict, plain, caveats=_caveats(candidates, answers))


def _caveats(candidates: Sequence[LoadedCandidate], answers: Sequence[Answer]) -> tuple[str, ...]:
    """Say in what an image is unlike those that it is compared with; without a calibration, unlike own samples."""
    found: list[str] = []
    for candidate, answer in zip(candidates, answers, strict=True):
        size, kind = answer.target.original_size, ImageKind.of(answer.target)
        own = {OWN: PopulationKind.assumed(candidate.session.resolution)}
        found += caveats(kind, own if candidate.calibration is None else candidate.calibration.kinds, size)
    return tuple(dict.fromkeys(found))


def _threshold_rule(answers: Sequence[Answer], threshold: float) -> str:
    """Say which distances are below a threshold that the user chose."""
    below = [answer.network for answer in answers if answer.distance < threshold]
    what = f"below {threshold:g} for {', '.join(below)}" if below else f"not below {threshold:g}"
    return f"{what} (error rate unknown)"
