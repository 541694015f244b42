"""How the networks asked about judge an image: by calibrations, by a distance that the user gave, or by own samples.

Everything that can be refused is refused by `settle`, before anything is measured.

Reference: the StyleGAN2 paper (Karras et al. 2020, section 5.1) compares distances; the rates are ours.
"""

import dataclasses
import math
import os
import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from invert.attribution.candidate import Candidate, LoadedCandidate
from invert.attribution.measurements import Measurement
from invert.attribution.score import lpips_score
from invert.attribution.settings import with_verdict_defaults
from invert.attribution.sizes import required_images
from invert.attribution.verdict import (
    Finding,
    Outcome,
    Reading,
    Verdict,
    combine,
    decide,
    read_score,
    refusal_of,
)
from invert.errors import UsageError
from invert.projection.start import bank_size
from invert.statistics.checks import FloatArray
from invert.statistics.pvalues import p1

__all__ = ["own_level", "own_scores", "rule", "settle", "sharing"]

_C = TypeVar("_C", bound=Candidate)
_DIGITS = 2  # of a rate that is raised to what a calibration can promise


def sharing(candidates: Sequence[Candidate]) -> int:
    """Return how many networks share the rate: those that are judged by a calibration."""
    return max(1, sum(one.settled_rate is not None for one in candidates))


def settle(candidates: Sequence[_C], own: int, on_warning: Callable[[str], None]) -> list[_C]:
    """Settle what each network is judged by, and refuse what could only end in a refusal.

    Args:
        candidates: The networks.
        own: How many samples of its own a network without a calibration will be compared with.
        on_warning: Called with a line where the rate of a calibration has to be raised, or there is none.

    Returns:
        The networks, with the rates that their calibrations can promise.

    Raises:
        UsageError: A calibration cannot promise the rate that was asked for, several networks are to be compared and
            one has no calibration, or a score was named that takes one.
    """
    missing = [one for one in candidates if one.calibration is None and one.threshold is None]
    if missing and missing[0].score is not None and not (own and missing[0].score == "lpips"):
        raise _no_calibration(missing[0], f"--score {missing[0].score} takes a calibration")
    if missing and not own:
        if len(candidates) > 1:
            raise _no_calibration(missing[0], f"{len(candidates)} networks are compared by their calibrations")
        on_warning(f"there is no calibration of {missing[0].name}: distances only. {_instead(missing[0])}")
    share = sharing(candidates)
    return [_with_rate(one, share, on_warning) for one in candidates]


def _with_rate(candidate: _C, share: int, on_warning: Callable[[str], None]) -> _C:
    calibration, rate = candidate.calibration, candidate.settled_rate
    if calibration is None or rate is None or rate / share >= calibration.smallest_rate * (1 - 1e-9):
        return candidate
    settings = dataclasses.replace(calibration.settings, rate=rate, candidates=share)
    needed = f"{required_images(settings)} images of each population"
    if candidate.rate is not None or share == 1:
        fewest = min(len(population.measurements) for population in calibration.others)
        raise UsageError(
            f"the calibration of {candidate.name} cannot promise this rate to {share} candidates: "
            f"{rate:g} takes {needed}, it has {fewest}",
            path=candidate.calibration_path,
            advice="Calibrate with more images (--candidates says how many), or give a larger --fpr.",
            code="too-few-negatives",
        )
    least = _round_up(share * calibration.smallest_rate)
    if least >= 1:
        raise UsageError(f"the calibration of {candidate.name} is too small for {share} networks at a time")
    on_warning(
        f"the calibration of {candidate.name} is too small to share {100 * rate:g} % among {share} networks: for it "
        f"the rate is {100 * least:g} % here. One made with --candidates {share} and {needed} would keep the rate"
    )
    return dataclasses.replace(candidate, rate=least)


def _round_up(rate: float) -> float:
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(rate)))
    return math.ceil(rate * scale) / scale


def _no_calibration(candidate: Candidate, why: str) -> UsageError:
    return UsageError(
        f"{why}, and {candidate.name} has none",
        path=candidate.path,
        advice=_instead(candidate),
        code="no-calibration",
    )


def _instead(candidate: Candidate) -> str:
    other = "Or give --threshold D for a verdict by distance alone, or --own 99 to see what is not its own."
    return f"{_how_to_calibrate(candidate)} {other}"


def _how_to_calibrate(candidate: Candidate) -> str:
    """Return the command that makes a calibration of the method of a network's session."""
    command = ["invert", "calibrate", "--network", os.fspath(candidate.path), "--real", "DIR", "--other", "DIR"]
    if isinstance(candidate, LoadedCandidate):
        config = candidate.config
        usual = with_verdict_defaults({"preset": config.preset}) | {"preset": "verdict"}
        usual |= {"lpips": "vgg", "noise_weight": 1e5, "precision": "float32"}
        usual.pop("processing", None)  # what calibrate means by it is another thing
        for name, value in usual.items():
            if getattr(config, name) != value:
                command += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
        if config.starts_from_bank and config.bank != bank_size(candidate.session.resolution):
            command += ["--bank", str(config.bank)]
        if config.class_index is not None:
            command += ["--class", str(config.class_index)]
    return f"Make one with: {shlex.join(command)}."  # not escaped here: it is to be typed


def rule(candidates: Sequence[Candidate], measurements: Sequence[Measurement]) -> Verdict | None:
    """Judge an image.

    Args:
        candidates: The networks, as `settle` returned them.
        measurements: What the image measures with each of them.

    Returns:
        The verdict; None where there is nothing to judge it by.
    """
    asked = list(zip(candidates, measurements, strict=True))
    if all(one.threshold is not None for one in candidates):
        return combine(tuple(_by_threshold(*one) for one in asked))
    if any(one.calibration is None and one.own is None for one in candidates):
        return None
    calibrated = [(one, one.calibration, found) for one, found in asked if one.calibration is not None]
    by_calibration = iter(
        decide(
            [calibration for _, calibration, _ in calibrated],
            [found for *_, found in calibrated],
            [one.name for one, *_ in calibrated],
            rate=[calibration.settings.rate if one.rate is None else one.rate for one, calibration, _ in calibrated],
            score=candidates[0].score,
            miss_rate=candidates[0].miss_rate,
        ).findings
    )
    return combine(
        tuple(_by_own(one, found) if one.calibration is None else next(by_calibration) for one, found in asked)
    )


def _by_threshold(candidate: Candidate, measurement: Measurement) -> Finding:
    """Judge by the paper's plain rule: attributed is what lies below a distance."""
    reading = _distance_reading(candidate, measurement)
    evidence = None
    if candidate.calibration is not None:
        evidence = read_score(candidate.calibration, "evidence", measurement)
    refusal = refusal_of(measurement, candidate.resolution)
    if refusal or reading is None:
        reason = refusal or "its distance could not be measured"
        return Finding(candidate.name, measurement, reading, evidence, "lpips", False, Outcome.CANNOT_TELL, reason)
    outcome = Outcome.ATTRIBUTED if reading.below else Outcome.NONE
    return Finding(candidate.name, measurement, reading, evidence, "lpips", reading.below, outcome)


def _distance_reading(candidate: Candidate, measurement: Measurement) -> Reading | None:
    """Return what the distance says: by the threshold given, the calibration, and own samples, as far as there are."""
    score = lpips_score(measurement.evidence)
    if not math.isfinite(score):
        return None
    reading = Reading(score)
    calibration = candidate.calibration
    if calibration is not None:
        reading = read_score(calibration, "lpips", measurement) or reading
    elif candidate.own is not None:
        reading = Reading(score, p1=float(p1(score, own_scores(candidate))))
    limit = None if candidate.threshold is None else math.log(candidate.threshold)
    return dataclasses.replace(reading, threshold=limit, population="")


def _by_own(candidate: Candidate, measurement: Measurement) -> Finding:
    """Judge by the network's own samples alone: an image may be unlike all of them, and nothing attributes it."""
    reading = _distance_reading(candidate, measurement)
    refusal = refusal_of(measurement, candidate.resolution)
    outcome, reason = Outcome.CANNOT_TELL, refusal or "its distance could not be measured"
    if reading is not None and not refusal:
        if reading.p1 is not None and reading.p1 <= own_level(candidate) + 1e-12:
            outcome, reason = Outcome.NONE, ""
        else:
            reason = f"images of {candidate.name} measure like this; whether others do, only a calibration tells"
    return Finding(candidate.name, measurement, reading, None, "lpips", False, outcome, reason)


def own_scores(candidate: Candidate) -> FloatArray:
    """Return the scores of the own samples that a network without a calibration is compared with, `[n]`."""
    own = () if candidate.own is None else candidate.own.measurements
    return np.array([lpips_score(one.evidence) for one in own], np.float64)


def own_level(candidate: Candidate) -> float:
    """Return the largest p1 at which an image counts as none of the network's own.

    It is the probability that an image of the network is called so by mistake, at most: the miss rate where there are
    enough samples to say so, and otherwise what comes of an image that is further off than all of them.
    """
    return max(candidate.miss_rate, 1 / (1 + len(own_scores(candidate))))
