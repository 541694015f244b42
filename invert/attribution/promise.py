"""What a verdict is worth, in words and numbers: the rate that is promised, for which images, and what was seen of it.

Counts are made from the raw scores at the rate that is in force, whatever rate a calibration was made for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from invert.attribution.calibration import Calibration
from invert.attribution.candidate import Candidate
from invert.attribution.ruling import own_level, own_scores
from invert.attribution.settings import NEAR_RATE
from invert.attribution.verdict import Finding, Outcome, judge
from invert.errors import display_path
from invert.statistics.likelihood import ratio_text, verbal

__all__ = ["Promise", "calibration_line", "promise_of", "rate_sentence", "ratio_sentence"]


@dataclass(frozen=True)
class Promise:
    """What is promised of the verdicts against one network.

    Attributes:
        sentence: All of it in words.
        rule: Rule that decides: that of the calibration, "threshold" by the user, "own samples", or "" for none.
        rate: Rate of false attributions, before it is shared; None where none is promised.
        share: How many networks share it.
        confidence: Confidence with which it is promised; None where none is.
        miss_rate: Share of own images up to which an image is called none of its own; None where none is.
        missed: How many own images that the calibration holds out are called so, and of how many.
        attributed: How many images of each population the rule attributes, and of how many: by a calibration those
            that it holds out, by a distance that the user gave all of them.
    """

    sentence: str
    rule: str
    rate: float | None = None
    share: int = 1
    confidence: float | None = None
    miss_rate: float | None = None
    missed: tuple[int, int] | None = None
    attributed: Mapping[str, tuple[int, int]] | None = None

    @property
    def counts(self) -> str:
        """The counts in one line."""
        return _listed(self.attributed or {})

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types."""
        counts = {name: {"attributed": count, "of": total} for name, (count, total) in (self.attributed or {}).items()}
        return {
            "rule": self.rule or None,
            "rate": self.rate,
            "shared_by": self.share,
            "confidence": self.confidence,
            "attributed_of_calibration": counts or None,
            "miss_rate": self.miss_rate,
            "missed_of_calibration": self.missed and {"missed": self.missed[0], "of": self.missed[1]},
            "promise": self.sentence,
        }


def _listed(counts: Mapping[str, tuple[int, int]]) -> str:
    return "; ".join(f"{count} of {total} {name}" for name, (count, total) in counts.items())


def promise_of(candidate: Candidate, share: int) -> Promise:
    """Return what is promised of the verdicts against a network.

    Args:
        candidate: The network, as `invert.attribution.ruling.settle` returned it.
        share: How many networks share the rate.
    """
    calibration, name = candidate.calibration, candidate.name
    if candidate.threshold is not None:
        return _of_threshold(candidate, candidate.threshold)
    if calibration is None and candidate.own is None:
        return Promise(f"There is no calibration of {name}: what a distance is worth is not known.", "")
    if calibration is None:
        return Promise(_own_sentence(candidate), "own samples", miss_rate=own_level(candidate))
    settings, rate = calibration.settings, candidate.settled_rate
    sentence = rate_sentence(calibration, name, rate=rate, share=share, score=candidate.deciding)
    missed = _missed(candidate, calibration, rate, share)
    sentence = f"{sentence} {_missed_sentence(candidate, missed)}"
    seen: dict[str, Any] = {"miss_rate": candidate.miss_rate, "missed": missed}
    seen["attributed"] = _held_out(calibration, candidate.deciding, rate, share)
    if settings.rule == "grubbs":
        return Promise(sentence, settings.rule, **seen)
    confidence = settings.confidence if settings.rule == "neyman-pearson" else None
    return Promise(sentence, settings.rule, rate, share, confidence, **seen)


def _missed(candidate: Candidate, calibration: Calibration, rate: float | None, share: int) -> tuple[int, int]:
    """Return how many own images that are held out are called none of the network's, and how many there are."""
    images = [one for own in calibration.owns for one in own.part("held-out")]
    judged: dict[str, Any] = {"share": share, "score": candidate.deciding, "miss_rate": candidate.miss_rate}
    found = [judge(calibration, one, candidate.name, rate=rate, **judged) for one in images]
    return sum(one.outcome is Outcome.NONE for one in found), len(found)


def _missed_sentence(candidate: Candidate, missed: tuple[int, int]) -> str:
    has_groups = candidate.calibration is not None and candidate.calibration.has_groups
    nor = f" and more than {_percent(NEAR_RATE)} of others as low" if has_groups else ""
    return (
        f"'None of these' is said where at most {_percent(candidate.miss_rate)} of {candidate.name}'s own images, "
        f"found alike, measure as high{nor}; of its own held out it is said of {missed[0]} of {missed[1]}."
    )


def _held_out(calibration: Calibration, score: str, rate: float | None, share: int) -> dict[str, tuple[int, int]]:
    rate = calibration.settings.rate if rate is None else rate
    return {one.label: calibration.attributed(score, one, rate=rate / share) for one in calibration.others}


def _by_origin(calibration: Calibration, counts: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Return counts of other populations by their names, after all processings together."""
    found: dict[str, tuple[int, int]] = {}
    for one in calibration.others:
        before, more = found.get(one.name, (0, 0)), counts[one.label]
        found[one.name] = before[0] + more[0], before[1] + more[1]
    return found


def _sizes(calibration: Calibration) -> str:
    """Say how many images of each origin set the thresholds; after each of several processings, at least."""
    sizes: dict[str, int] = {}
    for one in calibration.others:
        have = len(one.part("threshold"))
        sizes[one.name] = min(sizes.get(one.name, have), have)
    return ", ".join(f"{name} ({size})" for name, size in sizes.items())


def rate_sentence(
    calibration: Calibration, network: str, *, rate: float | None = None, share: int = 1, score: str | None = None
) -> str:
    """Say what the error rate holds for: the rate, the confidence, the populations and their sizes.

    Args:
        calibration: Calibration of the network.
        network: Name of the network.
        rate: Rate of false attributions, in (0, 1); default that of the calibration.
        share: Number of candidates that share the rate.
        score: Score that decides; default that of the calibration.
    """
    settings = calibration.settings
    rate = settings.rate if rate is None else rate
    tested = _listed(_by_origin(calibration, _held_out(calibration, score or settings.score, rate, share)))
    if settings.rule == "grubbs":
        return f"Grubbs' rule has no control of false positives. Among held-out images it attributed {tested}."
    sure = f", with {settings.confidence:.0%} confidence" if settings.rule == "neyman-pearson" else " on average"
    among = f" (shared by {share} candidates)" if share > 1 else ""
    at_share = f", at a share of {_percent(rate / share)}" if share > 1 else ""
    processed = ", ".join(calibration.processings) if len(calibration.processings) > 1 else ""
    after = f" after each of {processed}, whichever it is," if processed else ""
    together = " for all of them together" if processed and sure else ""
    return (
        f"At most {_percent(rate)}{among} of images like those of the calibration, {_sizes(calibration)},{after} are "
        f"attributed to {network} by mistake{sure}{together}. Among images held out of it, {tested} were{at_share}."
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"


def _of_threshold(candidate: Candidate, threshold: float) -> Promise:
    sentence = (
        f"Attributed to {candidate.name} is what lies below a distance of {threshold:g}; its error rate is unknown."
    )
    calibration = candidate.calibration
    if calibration is None:
        return Promise(sentence, "threshold")
    counts = {}
    for population in calibration.populations:
        scores = np.array([calibration.score("lpips", one) for one in population.measurements])
        counts[population.label] = int((scores < math.log(threshold)).sum()), len(scores)
    return Promise(f"{sentence} Of its calibration's images, {_listed(counts)} do.", "threshold", attributed=counts)


def _own_sentence(candidate: Candidate) -> str:
    distances = np.exp(own_scores(candidate))
    low, middle, high = (f"{value:.4f}" for value in np.quantile(distances, (0, 0.5, 1)))
    return (
        f"There is no calibration of {candidate.name}: nothing is attributed to it. Its own images have distances of "
        f"{low} to {high}, median {middle} ({len(distances)} samples); one of them is called 'none of these' by "
        f"mistake with a probability of at most {_percent(own_level(candidate))}."
    )


def ratio_sentence(finding: Finding, calibration: Calibration) -> str:
    """Say what the likelihood ratio means, and what it does not."""
    reading = finding.reading
    if reading is None or reading.ratio is None or reading.ratio_high is None:
        return ""
    sizes: dict[str, int] = {}
    for one in calibration.others:
        sizes[one.name] = sizes.get(one.name, 0) + len(one.part("threshold"))
    populations = ", ".join(f"{size} of {name}" for name, size in sizes.items())
    return (
        f"Likelihood ratio {verbal(reading.ratio)}: how much more probable the finding is if {finding.network} made "
        f"the image than if it comes from the calibration's others ({populations}). It is not the probability that "
        f"{finding.network} made it. The largest ratio that this calibration can support is "
        f"{ratio_text(reading.ratio_high)}."
    )


def calibration_line(candidate: Candidate) -> str:
    """Say which file a network's calibration is, and its hash; nothing where there is none."""
    if candidate.calibration is None:
        return ""
    where = "from memory" if candidate.calibration_path is None else display_path(candidate.calibration_path)
    return f"calibration of {candidate.name}: {where}, sha256 {candidate.calibration_sha256}"
