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
from invert.attribution.calibration import Calibration
from invert.attribution.candidate import LoadedCandidate
from invert.attribution.finished import FinishedFiles
from invert.attribution.kind import ImageKind, PopulationKind, caveats
from invert.attribution.measurements import Measurement
from invert.attribution.ruling import rule
from invert.attribution.settings import OWN
from invert.attribution.verdict import Finding, Outcome, Verdict
from invert.batch.images import Listed
from invert.batch.work import Failed
from invert.errors import ImageError, InvertError
from invert.images.target import Target
from invert.projection.projector import StepRecord
from invert.seeds.search import SeedAnswer

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
        seeds: What a search for its seed found in each network, where one was asked for.
    """

    path: Path
    answers: tuple[Answer, ...] = ()
    verdict: Verdict | None = None
    threshold_rule: str = ""
    error: InvertError | None = None
    caveats: tuple[str, ...] = ()
    seeds: tuple[SeedAnswer, ...] = ()

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
        return tuple(dict.fromkeys(text for answer in self.answers for text in answer.target.remarks))

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
    workers: int = 1,
    on_step: Callable[[StepRecord], None] | None = None,
) -> Iterator[Attribution]:
    """Judge images, in their order.

    Args:
        candidates: The networks and what they are judged by; see `invert.attribution.ruling.settle`.
        images: The images; they are read ahead in threads.
        workers: Processes that share the images; several need candidates whose answers are kept.
        on_step: Called after each step of a group of images into one of the networks.

    Yields:
        An attribution of each image.
    """
    asked = answers.measure(candidates, images, workers=workers, on_step=on_step)
    with contextlib.closing(asked):  # type: ignore[type-var]
        for listed, found in asked:
            failed = next((one for one in found if isinstance(one, Failed)), None)
            if failed is not None:
                yield Attribution(listed.path, error=failed.to_error())
            else:
                measured = [one for one in found if isinstance(one, Measured)]
                yield judge_image(listed.path, candidates, measured)


def judge_finished(candidates: Sequence[LoadedCandidate], finished: FinishedFiles) -> Iterator[Attribution]:
    """Judge finished projections, in their order; see `attribute`.

    Args:
        candidates: The networks.
        finished: The projections, which have been checked against the candidates.

    Yields:
        An attribution of each image.
    """
    for path, found in finished.measure(candidates):
        if isinstance(found, ImageError):
            yield Attribution(path, error=found)
        else:
            yield judge_image(path, candidates, found)


def judge_image(
    path: Path,
    candidates: Sequence[LoadedCandidate],
    asked: Sequence[Measured],
) -> Attribution:
    """Judge an image of which every network was asked.

    Args:
        path: The image's file.
        candidates: The networks.
        asked: What each of them says.
    """
    names = [candidate.name for candidate in candidates]
    verdict = rule(candidates, [one.measurement for one in asked])
    findings: Sequence[Finding | None] = [None] * len(names) if verdict is None else verdict.findings
    judged = tuple(
        Answer(name, one.target, one.reconstruction, one.measurement, one.distance, finding)
        for name, one, finding in zip(names, asked, findings, strict=True)
    )
    threshold = candidates[0].threshold
    plain = "" if threshold is None else _threshold_rule(judged, threshold)
    return Attribution(path, judged, verdict, plain, caveats=_caveats(candidates, judged))


def _caveats(candidates: Sequence[LoadedCandidate], answers: Sequence[Answer]) -> tuple[str, ...]:
    """Say in what an image is unlike those that it is compared with; without a calibration, unlike own samples."""
    found: list[str] = []
    for candidate, answer in zip(candidates, answers, strict=True):
        size, kind = answer.target.original_size, ImageKind.of(answer.target)
        own = {OWN: PopulationKind.assumed(candidate.session.resolution)}
        calibration = candidate.calibration
        compared = [own] if calibration is None else _kinds_by_processing(calibration)
        # What is like the images after one of the processings is what the rate holds for.
        doubts = sorted((caveats(kind, kinds, size) for kinds in compared), key=len)
        found += doubts[0]
    return tuple(dict.fromkeys(found))


def _kinds_by_processing(calibration: Calibration) -> list[dict[str, PopulationKind]]:
    return [{one.label: calibration.kinds[one.label] for one in some} for some in calibration.processings.values()]


def _threshold_rule(answers: Sequence[Answer], threshold: float) -> str:
    """Say which distances are below a threshold that the user chose."""
    below = [answer.network for answer in answers if answer.distance < threshold]
    what = f"below {threshold:g} for {', '.join(below)}" if below else f"not below {threshold:g}"
    return f"{what} (error rate unknown)"
