"""From images to verdicts: each image is projected into every network, measured, and judged.

    for one in attribute(candidates, read_targets(candidates, images, policy), batch=16):
        one.outcome, one.network, one.reason
        one.answers[0].distance, one.answers[0].p_values, one.answers[0].ratio

Reference: the StyleGAN2 paper (Karras et al. 2020, section 5.1).
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from invert.attribution.candidate import LoadedCandidate
from invert.attribution.measurements import Measurement
from invert.attribution.verdict import Finding, Outcome, Verdict, decide
from invert.batch.images import Listed, ahead, read_image
from invert.errors import ImageError, UsageError
from invert.images.decoding import ImagePolicy
from invert.images.target import Target
from invert.projection.projector import Projection
from invert.statistics.thresholds import TooFewNegativesError

__all__ = ["Answer", "Attribution", "attribute", "read_targets"]

Array = npt.NDArray[np.uint8]
Read = tuple[Path, Sequence[Target] | ImageError]
"""An image as each network is given it, or why it cannot be used."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What came out for one image and one network.

    Attributes:
        network: Name of the network.
        target: The image as the network was given it.
        reconstruction: The nearest image that the network makes, uint8 `[H, W, C]`.
        measurement: What the projection measures.
        distance: LPIPS between image and reconstruction; NaN where nothing finite came out.
        finding: What is found by the network's calibration; None unless every network has one.
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
    def p_values(self) -> tuple[float, float] | None:
        """p0 and p1 of the deciding score, see `invert.attribution.verdict.Reading`; None without a finding."""
        reading = None if self.finding is None else self.finding.reading
        return None if reading is None else (reading.p0, reading.p1)

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
        verdict: The verdict; None unless every network has a calibration.
        threshold_rule: What the plain rule with a threshold says, in words; empty where none was asked for.
        error: Why the image cannot be used.
    """

    path: Path
    answers: tuple[Answer, ...] = ()
    verdict: Verdict | None = None
    threshold_rule: str = ""
    error: ImageError | None = None

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
        """Why it cannot be told, or why the image cannot be used."""
        if self.error is not None:
            return self.error.reason
        return "" if self.verdict is None else self.verdict.reason

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the image, each text once."""
        return tuple(dict.fromkeys(text for answer in self.answers for text in answer.target.warnings))

    @property
    def is_diverged(self) -> bool:
        """Whether an optimisation diverged."""
        return any(answer.measurement.status != "ok" for answer in self.answers)


def read_targets(
    candidates: Sequence[LoadedCandidate], images: Iterable[Listed], policy: ImagePolicy
) -> Iterator[Read]:
    """Read each image once for each size and number of channels that a network has."""
    keys = [(candidate.resolution, candidate.channels) for candidate in candidates]
    for image in images:
        targets: dict[tuple[int, int], Target] = {}
        for key in dict.fromkeys(keys):
            found = read_image(image, *key, policy)
            if isinstance(found, ImageError):
                yield image.path, found
                break
            targets[key] = found
        else:
            yield image.path, [targets[key] for key in keys]


def attribute(
    candidates: Sequence[LoadedCandidate],
    images: Iterable[Read],
    *,
    batch: int,
    threshold: float | None = None,
    rate: float | None = None,
    on_step: Callable[[int, Sequence[float]], None] | None = None,
) -> Iterator[Attribution]:
    """Judge images, in their order.

    Args:
        candidates: The networks; see `invert.attribution.candidate.open_candidates`.
        images: Images as `read_targets` gives them; they are read ahead in a thread.
        batch: How many are optimised together.
        threshold: Distance below which the plain rule attributes an image, with unknown error rate.
        rate: Rate of false attributions, in (0, 1), shared among the networks; default each calibration's own.
        on_step: Called with the number of the group and the distances of its images after each step.

    Yields:
        An attribution of each image.

    Raises:
        UsageError: A calibration cannot promise this rate to so many networks.
    """
    reading = ahead(images, 2 * batch)
    with contextlib.closing(reading):  # type: ignore[type-var]
        for number in itertools.count():
            group = list(itertools.islice(reading, batch))
            if not group:
                return
            good = [targets for _, targets in group if not isinstance(targets, ImageError)]
            asked = _ask(candidates, good, None if on_step is None else partial(on_step, number))
            for path, targets in group:
                if isinstance(targets, ImageError):
                    yield Attribution(path, error=targets)
                else:
                    yield _judge(path, candidates, next(asked), threshold, rate)


def _ask(
    candidates: Sequence[LoadedCandidate],
    images: Sequence[Sequence[Target]],
    on_step: Callable[[Sequence[float]], None] | None,
) -> Iterator[Sequence[tuple[Projection, Measurement]]]:
    """Return what came out for each image, by network."""
    answers = []
    for index, candidate in enumerate(candidates if images else ()):
        answers.append(candidate.ask([targets[index] for targets in images], on_step))
    return iter(list(zip(*answers, strict=True)))


def _judge(
    path: Path,
    candidates: Sequence[LoadedCandidate],
    asked: Sequence[tuple[Projection, Measurement]],
    threshold: float | None,
    rate: float | None,
) -> Attribution:
    names = [candidate.name for candidate in candidates]
    verdict = _verdict(candidates, [measurement for _, measurement in asked], rate)
    findings: Sequence[Finding | None] = [None] * len(names) if verdict is None else verdict.findings
    answers = tuple(
        Answer(name, projection.target, projection.image, measurement, projection.distance, finding)
        for name, (projection, measurement), finding in zip(names, asked, findings, strict=True)
    )
    return Attribution(path, answers, verdict, "" if threshold is None else _threshold_rule(answers, threshold))


def _verdict(
    candidates: Sequence[LoadedCandidate], measurements: Sequence[Measurement], rate: float | None
) -> Verdict | None:
    calibrations = [one.calibration for one in candidates if one.calibration is not None]
    if len(calibrations) < len(candidates):
        return None
    try:
        return decide(calibrations, measurements, [one.name for one in candidates], rate=rate)
    except TooFewNegativesError as error:
        raise UsageError(
            f"the calibration cannot promise this rate to {len(candidates)} candidates: {error}",
            advice="Calibrate with more images (--candidates says how many), or give a larger --fpr.",
            code="too-few-negatives",
        ) from error


def _threshold_rule(answers: Sequence[Answer], threshold: float) -> str:
    """Say which distances are below a threshold that the user chose."""
    below = [answer.network for answer in answers if answer.distance < threshold]
    what = f"below {threshold:g} for {', '.join(below)}" if below else f"not below {threshold:g}"
    return f"{what} (error rate unknown)"
