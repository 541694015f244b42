"""From a measurement and a calibration to a verdict, with what it is worth.

Reference: the StyleGAN2 paper (Karras et al. 2020, section 5.1) compares distances; the rates are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from invert.attribution.calibration import Calibration
from invert.attribution.measurements import Measurement
from invert.attribution.settings import BETA, MISS_RATE, NEAR_RATE
from invert.statistics.pvalues import holm, p0

__all__ = [
    "Finding",
    "Outcome",
    "Reading",
    "Verdict",
    "combine",
    "decide",
    "judge",
    "read_score",
    "refusal_of",
]


class Outcome(StrEnum):
    """What is said about an image and one network, or all of them."""

    ATTRIBUTED = "attributed"
    NONE = "none of these"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Reading:
    """What one score says about an image; None stands for what is not known without a calibration.

    Attributes:
        score: Its value; lower is more like the network.
        threshold: The image is attributed when the score is below it; None where nothing sets one.
        population: Label of the population that sets the threshold: the strictest; empty where the user gave it.
        p0: Share of the others' images that measure as low, at most; small speaks for the network.
        p1: Share of the network's own images that are found in the same group and measure as high, at most; small
            speaks against it.
        ratio: How much more probable the score is for its own images; see `Calibration.ratio`.
        ratio_low: Smallest ratio that the calibration can support.
        ratio_high: Largest ratio that the calibration can support.
        group: Group of images whose threshold it is, see `invert.attribution.explained`; empty where there are none.
        p0_alike: Share of the others' images of that group that measure as low, whatever had happened to them; None
            where there are no groups.
    """

    score: float
    threshold: float | None = None
    population: str = ""
    p0: float | None = None
    p1: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    group: str = ""
    p0_alike: float | None = None

    @property
    def below(self) -> bool:
        """Whether the rule attributes the image."""
        return self.threshold is not None and self.score < self.threshold


@dataclass(frozen=True)
class Finding:
    """What an image and one network come to.

    Attributes:
        network: Name of the network.
        measurement: What was measured.
        lpips: Reading of the LPIPS score; None where a number is missing.
        evidence: Reading of the evidence score; None where a number is missing.
        deciding: Which of the two scores decides.
        fires: Whether the deciding score is below its threshold, after the rate was shared among candidates.
        outcome: What is said about this network alone.
        reason: Why, where it is not plain.
    """

    network: str
    measurement: Measurement
    lpips: Reading | None
    evidence: Reading | None
    deciding: str
    fires: bool
    outcome: Outcome
    reason: str = ""

    @property
    def reading(self) -> Reading | None:
        """The reading of the score that decides."""
        return self.lpips if self.deciding == "lpips" else self.evidence


@dataclass(frozen=True)
class Verdict:
    """What is said about an image.

    Attributes:
        outcome: See `Outcome`.
        networks: Names of the networks that it is attributed to, or that cannot be told apart.
        findings: Finding for each network, in the order asked.
        reason: Why it cannot be told.
    """

    outcome: Outcome
    networks: tuple[str, ...]
    findings: tuple[Finding, ...]
    reason: str = ""

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.outcome is Outcome.ATTRIBUTED:
            return f"attributed to {self.networks[0]}"
        if self.outcome is Outcome.CANNOT_TELL and self.reason:
            return f"{self.outcome}: {self.reason}"
        return str(self.outcome)


def read_score(
    calibration: Calibration, name: str, measurement: Measurement, rate: float | None = None
) -> Reading | None:
    """Return what a score says about an image; None where a number is missing.

    Args:
        calibration: Calibration of the network.
        name: One of `invert.attribution.settings.SCORES`.
        measurement: What the image measures.
        rate: Rate of false attributions that sets the threshold, in (0, 1); without one there is no threshold.

    Raises:
        TooFewNegativesError: The rate cannot be promised.
    """
    score, compared, group = calibration.score(name, measurement), calibration.compared(name, measurement), ""
    if not math.isfinite(score):
        return None
    if calibration.has_groups:
        group = measurement.group
        if calibration.groups(name).refusal(group):
            return Reading(score)
    population, threshold = "", None
    if rate is not None:
        population, limit = calibration.threshold(name, measurement.complexity, rate)
        threshold = limit.value
    negatives = calibration.negatives(name, measurement.complexity)
    # Among many processings there is mostly one after which own images are not recognised, in some group or other.
    own = [(1 + int((scores >= compared).sum())) / (count + 1) for scores, count in calibration.own_like(name, group)]
    alike = calibration.others_like(name, group) if calibration.has_groups else None
    return Reading(
        score,
        threshold,
        population,
        max(float(p0(compared, scores)) for scores in negatives.values()),
        max(own),
        float(calibration.ratio(name, compared)),
        calibration.smallest_ratio(name),
        calibration.largest_ratio(name),
        group,
        None if alike is None else float(p0(compared, alike)) if len(alike) else 1.0,
    )


def judge(
    calibration: Calibration,
    measurement: Measurement,
    network: str,
    *,
    rate: float | None = None,
    share: int = 1,
    score: str | None = None,
    miss_rate: float = MISS_RATE,
) -> Finding:
    """Judge an image by the calibration of one network.

    Args:
        calibration: Calibration of the network, under the method of the measurement.
        measurement: What the image measures.
        network: Name of the network, to be shown.
        rate: Rate of false attributions, in (0, 1); default that of the calibration.
        share: Number of candidates that share the rate.
        score: Score that decides, one of `SCORES`; default that of the calibration.
        miss_rate: See `invert.attribution.settings.Judging`.

    Raises:
        TooFewNegativesError: The rate cannot be promised.
    """
    settings = calibration.settings
    rate = (settings.rate if rate is None else rate) / share
    deciding = score or settings.score
    refusal = _refusal(calibration, measurement, deciding)
    lpips = read_score(calibration, "lpips", measurement, rate)
    evidence = read_score(calibration, "evidence", measurement, rate)
    reading = lpips if deciding == "lpips" else evidence
    if refusal or reading is None:
        reason = refusal or "a number that the score needs could not be measured"
        return Finding(network, measurement, lpips, evidence, deciding, False, Outcome.CANNOT_TELL, reason)
    fewest = min(len(own.part("threshold")) for own in calibration.owns)
    outcome, reason = _outcome(reading, fewest, miss_rate)
    return Finding(network, measurement, lpips, evidence, deciding, reading.below, outcome, reason)


def refusal_of(measurement: Measurement, resolution: int | None) -> str:
    """Say why no rule can judge a measurement; nothing where one can.

    Args:
        measurement: What the image measures.
        resolution: Side of the network's images in pixels, where it is known.
    """
    if measurement.upsampled:
        return f"it is smaller than the network's {'images' if resolution is None else f'{resolution} px'}"
    return measurement.why_untold


def _refusal(calibration: Calibration, measurement: Measurement, deciding: str) -> str:
    """Say why a calibration cannot judge a measurement; nothing where it can."""
    if not calibration.has_groups:
        return refusal_of(measurement, calibration.network["resolution"]) or _unlike(calibration, measurement)
    untold = measurement.why_untold or calibration.groups(deciding).refusal(measurement.group)
    return untold or _unlike(calibration, measurement)


def _unlike(calibration: Calibration, measurement: Measurement) -> str:
    low, high = calibration.complexity_range
    if not low <= measurement.complexity <= high:
        which = "simpler" if measurement.complexity < low else "more complex"
        return f"it is {which} than every image of the calibration"
    return ""


def _outcome(reading: Reading, own: int, miss_rate: float) -> tuple[Outcome, str]:
    p1 = 1.0 if reading.p1 is None else reading.p1
    if reading.below and p1 > BETA:
        return Outcome.ATTRIBUTED, ""
    if reading.below:
        return Outcome.CANNOT_TELL, "it measures like neither its own images nor others"
    if p1 > miss_rate and p1 * (own + 1) < 2:
        return Outcome.CANNOT_TELL, f"none of its own images measures like this, but {own} are too few to rule it out"
    if p1 > miss_rate:
        return Outcome.CANNOT_TELL, "its own images and others measure like this"
    if reading.p0_alike is not None and reading.p0_alike <= NEAR_RATE:
        return Outcome.CANNOT_TELL, "it is nearer than most others: it may be its own, after what is not modelled"
    return Outcome.NONE, ""


def decide(
    calibrations: Sequence[Calibration],
    measurements: Sequence[Measurement],
    names: Sequence[str],
    *,
    rate: float | Sequence[float] | None = None,
    score: str | None = None,
    miss_rate: float = MISS_RATE,
) -> Verdict:
    """Judge an image by the calibrations of one or several networks.

    The rate is the probability of accusing any of them by mistake. Each is asked by its own calibration; raw distances
    are never compared across networks.

    Args:
        calibrations: Calibration of each network.
        measurements: What the image measures with each network.
        names: Name of each network.
        rate: Rate of false attributions, in (0, 1), of all or of each; default each calibration's own. Where they
            differ, the largest is the probability of accusing any by mistake.
        score: Score that decides, one of `SCORES`; default each calibration's own.
        miss_rate: See `invert.attribution.settings.Judging`.

    Raises:
        TooFewNegativesError: A calibration is too small to promise its share of the rate.
    """
    asked = list(zip(calibrations, measurements, names, strict=True))
    rates = rate if isinstance(rate, Sequence) else [rate] * len(asked)
    # First everyone at an equal share, which alone would keep the rate (Bonferroni) ...
    judged = partial(judge, score=score, miss_rate=miss_rate)
    findings = [judged(*one, rate=its, share=len(asked)) for one, its in zip(asked, rates, strict=True)]
    # ... then at the larger shares that Holm's rule leaves, the least doubtful candidate first, as long as each of them
    # fires: one at which the rule stopped must not hand its share on.
    for index, share in holm([_p0(finding) for finding in findings]):
        findings[index] = judged(*asked[index], rate=rates[index], share=share)
        if not findings[index].fires:
            break
    return combine(tuple(findings))


def _p0(finding: Finding) -> float:
    return 1.0 if finding.reading is None or finding.reading.p0 is None else finding.reading.p0


def combine(findings: tuple[Finding, ...]) -> Verdict:
    """Return the verdict that the findings of several networks come to.

    Args:
        findings: Finding for each network, in the order asked.
    """
    accepted = tuple(finding.network for finding in findings if finding.outcome is Outcome.ATTRIBUTED)
    if len(accepted) == 1:
        return Verdict(Outcome.ATTRIBUTED, accepted, findings)
    if accepted:
        listed = f"{', '.join(accepted[:-1])} from {accepted[-1]}"
        return Verdict(Outcome.CANNOT_TELL, accepted, findings, f"cannot separate {listed}")
    if all(finding.outcome is Outcome.NONE for finding in findings):
        return Verdict(Outcome.NONE, (), findings)
    open_ones = [finding for finding in findings if finding.outcome is Outcome.CANNOT_TELL]
    reasons = dict.fromkeys(finding.reason for finding in open_ones)
    return Verdict(Outcome.CANNOT_TELL, tuple(finding.network for finding in open_ones), findings, "; ".join(reasons))
