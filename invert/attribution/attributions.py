"""From images to verdicts: each image is projected into every network, measured, and judged.

    for one in attribute(candidates, list_images([folder])):
        one.outcome, one.network, one.reason
        one.answers[0].distance, one.answers[0].p_values, one.answers[0].ratio

Reference: the StyleGAN2 paper (Karras et al. 2020, section 5.1).
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from invert.attribution import answers
from invert.attribution.answers import Measured
from invert.attribution.candidate import LoadedCandidate
from invert.attribution.finished import FinishedFiles
from invert.attribution.measurements import Measurement
from invert.attribution.verdict import Finding, Outcome, Verdict, decide
from invert.batch.images import Listed
from invert.batch.work import Failed
from invert.errors import ImageError, InvertError, UsageError
from invert.images.target import Target
from invert.projection.projector import StepRecord
from invert.statistics.thresholds import TooFewNegativesError

__all__ = ["Answer", "Attribution", "attribute", "judge_finished", "judge_image"]

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
    def score(self) -> float | None:
        """The deciding score, lower being more like the network's own; None without a finding."""
        reading = None if self.finding is None else self.finding.reading
        return None if reading is None else reading.score

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
    error: InvertError | None = None

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
        return tuple(dict.fromkeys(text for answer in self.answers for text in answer.target.remarks))

    @property
    def is_diverged(self) -> bool:
        """Whether an optimisation diverged."""
        return any(answer.measurement.status != "ok" for answer in self.answers)


def attribute(
    candidates: Sequence[LoadedCandidate],
    images: Iterable[Listed],
    *,
    threshold: float | None = None,
    rate: float | None = None,
    workers: int = 1,
    on_step: Callable[[StepRecord], None] | None = None,
) -> Iterator[Attribution]:
    """Judge images, in their order.

    Args:
        candidates: The networks; see `invert.attribution.candidate.open_candidates`.
        images: The images; they are read ahead in threads.
        threshold: Distance below which the plain rule attributes an image, with unknown error rate.
        rate: Rate of false attributions, in (0, 1), shared among the networks; default each calibration's own.
        workers: Processes that share the images; several need candidates whose answers are kept.
        on_step: Called after each step of a group of images into one of the networks.

    Yields:
        An attribution of each image.

    Raises:
        UsageError: A calibration cannot promise this rate to so many networks.
    """
    asked = answers.measure(candidates, images, workers=workers, on_step=on_step)
    with contextlib.closing(asked):  # type: ignore[type-var]
        for listed, found in asked:
            failed = next((one for one in found if isinstance(one, Failed)), None)
            if failed is not None:
                yield Attribution(listed.path, error=failed.to_error())
            else:
                measured = [one for one in found if isinstance(one, Measured)]
                yield judge_image(listed.path, candidates, measured, threshold, rate)


def judge_finished(
    candidates: Sequence[LoadedCandidate],
    finished: FinishedFiles,
    *,
    threshold: float | None = None,
    rate: float | None = None,
) -> Iterator[Attribution]:
    """Judge finished projections, in their order; see `attribute`.

    Args:
        candidates: The networks.
        finished: The projections, which have been checked against the candidates.
        threshold: See `attribute`.
        rate: See `attribute`.

    Yields:
        An attribution of each image.
    """
    for path, found in finished.measure(candidates):
        if isinstance(found, ImageError):
            yield Attribution(path, error=found)
        else:
            yield judge_image(path, candidates, found, threshold, rate)


def judge_image(
    path: Path,
    candidates: Sequence[LoadedCandidate],
    asked: Sequence[Measured],
    threshold: float | None,
    rate: float | None,
) -> Attribution:
    """Judge an image of which every network was asked.

    Args:
        path: The image's file.
        candidates: The networks.
        asked: What each of them says.
        threshold: See `attribute`.
        rate: See `attribute`.

    Raises:
        UsageError: A calibration cannot promise this rate to so many networks.
    """
    names = [candidate.name for candidate in candidates]
    verdict = _verdict(candidates, [one.measurement for one in asked], rate)
    findings: Sequence[Finding | None] = [None] * len(names) if verdict is None else verdict.findings
    judged = tuple(
        Answer(name, one.target, one.reconstruction, one.measurement, one.distance, finding)
        for name, one, finding in zip(names, asked, findings, strict=True)
    )
    return Attribution(path, judged, verdict, "" if threshold is None else _threshold_rule(judged, threshold))


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
