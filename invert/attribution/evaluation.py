"""How well a calibration does on images that it has not seen: separation, rates against what was promised, verdicts.

Intervals are exact where they are of counts, DeLong's and a bootstrap's for areas; images count as independent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from invert.attribution.calibration import Calibration
from invert.attribution.evaluation_rules import (
    ComplexityCheck,
    MatchedThreshold,
    RuleResult,
    Share,
    check_complexity,
    compare_rules,
    match_threshold,
)
from invert.attribution.measurements import Measurement
from invert.attribution.settings import OWN, SCORES
from invert.attribution.verdict import Outcome, judge
from invert.errors import NoInputError
from invert.statistics.bins import Bins
from invert.statistics.checks import FloatArray
from invert.statistics.intervals import auc, auc_bootstrap, auc_interval, tpr_at_fpr
from invert.statistics.likelihood import cllr, cllr_min

__all__ = [
    "CLEAN",
    "RATES",
    "EvaluatedPopulation",
    "Evaluation",
    "Share",
    "attributed",
    "evaluate",
    "known",
    "scores_of",
    "usable",
]


RATES = (0.01, 0.05)

CLEAN = "none"
"""Stands for images that are not perturbed."""

_LEAST = 2  # images of a population: with fewer there is no interval


@dataclass(frozen=True)
class EvaluatedPopulation:
    """What came out for images of one origin under one score.

    Attributes:
        name: Name of the population.
        score: One of `SCORES`.
        scores: Scores of its images, `[n]`.
        attributed: How many are below the calibration's threshold.
        auc: Area under the curve of own images against these; None for the own ones themselves.
        auc_low: Lower end of its interval.
        auc_high: Upper end of its interval.
        found: TPR at each of `RATES` of these images, with interval, as (tpr, low, high).
        cllr: Cost of the likelihood ratios; 1 is useless, 0 perfect.
        cllr_min: What is left of it when the ratios are recalibrated in hindsight.
        bootstrap: Interval of the area by another way, as (low, high).
    """

    name: str
    score: str
    scores: FloatArray
    attributed: Share
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    found: tuple[tuple[float, float, float], ...] = ()
    cllr: float | None = None
    cllr_min: float | None = None
    bootstrap: tuple[float, float] | None = None

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types."""
        rates = {
            f"tpr_at_fpr_{rate:g}": {"tpr": tpr, "low": low, "high": high}
            for rate, (tpr, low, high) in zip(RATES, self.found, strict=False)
        }
        area = {"value": self.auc, "low": self.auc_low, "high": self.auc_high, "bootstrap": self.bootstrap}
        return {
            "population": self.name,
            "score": self.score,
            "attributed": self.attributed.to_record(),
            "auc": None if self.auc is None else area,
            **rates,
            "cllr": self.cllr,
            "cllr_min": self.cllr_min,
        }


@dataclass(frozen=True)
class Evaluation:
    """An evaluation under one perturbation.

    Attributes:
        perturbation: Key of the perturbation, or `CLEAN`.
        own: The own images under each score.
        others: The others, under each score.
        verdicts: How many images of each population got each `Outcome`.
        promised: Rate of false attributions that the calibration promises.
        rules: What other rules do; see `invert.attribution.evaluation_rules`.
        complexity: Whether simple images are accused more often, likewise.
        matched: Thresholds set on these images, likewise.
        left_out: How many measured images of each population were not used; see `usable`.
        known: How many measured images of each population the calibration was made with; see `known`.
    """

    perturbation: str
    own: tuple[EvaluatedPopulation, ...]
    others: tuple[EvaluatedPopulation, ...]
    verdicts: Mapping[str, Mapping[str, int]]
    promised: float
    rules: tuple[RuleResult, ...] = ()
    complexity: tuple[ComplexityCheck, ...] = ()
    matched: tuple[MatchedThreshold, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    known: Mapping[str, int] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "perturbation": self.perturbation,
            "promised_fpr": self.promised,
            "left_out": dict(self.left_out),
            "populations": [one.to_record() for one in (*self.own, *self.others)],
            "verdicts": {name: dict(counts) for name, counts in self.verdicts.items()},
            "rules": [one.to_record() for one in self.rules],
            "complexity": [one.to_record() for one in self.complexity],
            "matched_thresholds": [one.to_record() for one in self.matched],
        }

    def score_records(self) -> list[dict[str, Any]]:
        """Return the score of every image as JSON types, so that anything else can be computed from them."""
        named = {"perturbation": self.perturbation}
        return [
            {**named, "population": one.name, "score": one.score, "values": one.scores.tolist()}
            for one in (*self.own, *self.others)
        ]


def scores_of(calibration: Calibration, score: str, found: Sequence[Measurement]) -> FloatArray:
    """Return a score of each image as it is compared, see `Calibration.compared`, `[n]`."""
    return np.array([calibration.compared(score, one) for one in found], np.float64)


def usable(calibration: Calibration, found: Sequence[Measurement]) -> list[Measurement]:
    """Return the images that count: all with a score, each content once."""
    kept: dict[str, Measurement] = {}
    for one in found:
        is_judged = one.is_usable and (calibration.has_groups or not one.upsampled)
        if is_judged and np.isfinite([calibration.score(s, one) for s in SCORES]).all():
            kept.setdefault(one.pixel_sha256, one)
    return list(kept.values())


def known(calibration: Calibration, found: Sequence[Measurement]) -> int:
    """Return how many images the calibration was made with: they say little about others."""
    made_with = {one.pixel_sha256 for population in calibration.populations for one in population.measurements}
    return sum(one.pixel_sha256 in made_with for one in found)


def attributed(calibration: Calibration, score: str, found: Sequence[Measurement]) -> Share:
    """Count the images below the calibration's threshold."""
    below = _below(calibration, score, found)
    return Share(int(below.sum()), len(below))


def _below(calibration: Calibration, score: str, found: Sequence[Measurement]) -> npt.NDArray[np.bool_]:
    thresholds = [calibration.threshold(score, one.complexity)[1].value for one in found]
    return np.asarray(scores_of(calibration, score, found) < np.array(thresholds), np.bool_)


def evaluate(
    calibration: Calibration, measured: Mapping[str, Sequence[Measurement]], *, perturbation: str = CLEAN
) -> Evaluation:
    """Evaluate a calibration on measured images.

    Args:
        calibration: Calibration of the network.
        measured: Images by the name of their population: the network's own ones as `OWN` first, then others. They
            should not be those of the calibration.
        perturbation: What was done to the images.

    Raises:
        NoInputError: A population has fewer than two usable images.
    """
    groups = {name: usable(calibration, found) for name, found in measured.items()}
    for name, found in groups.items():
        if len(found) < _LEAST:
            raise NoInputError(f"population {name!r} has {len(found) or 'no'} usable image, {_LEAST} are needed")
    verdicts = {}
    for name, found in groups.items():
        counts = Counter(str(judge(calibration, one, "network").outcome) for one in found)
        verdicts[name] = {str(outcome): counts[str(outcome)] for outcome in Outcome}
    parts = [_under(calibration, score, groups) for score in SCORES]
    return Evaluation(
        perturbation,
        tuple(part.own[0] for part in parts),
        tuple(one for part in parts for one in part.others),
        verdicts,
        calibration.settings.rate,
        tuple(one for part in parts for one in part.rules),
        tuple(one for part in parts for one in part.complexity),
        tuple(one for part in parts for one in part.matched),
        {name: len(found) - len(groups[name]) for name, found in measured.items()},
        {name: known(calibration, found) for name, found in measured.items()},
    )


def _under(calibration: Calibration, score: str, groups: Mapping[str, Sequence[Measurement]]) -> Evaluation:
    """Return the part of an evaluation that looks at one score."""
    scores = {name: scores_of(calibration, score, found) for name, found in groups.items()}
    complexity = {name: np.array([one.complexity for one in found]) for name, found in groups.items()}
    below = {name: _below(calibration, score, found) for name, found in groups.items()}
    names = [name for name in groups if name != OWN]
    terciles = Bins.fit(np.concatenate([complexity[name] for name in names]), 3)
    counts = {name: Share(int(found.sum()), len(found)) for name, found in below.items()}
    return Evaluation(
        "",
        (EvaluatedPopulation(OWN, score, scores[OWN], counts[OWN]),),
        tuple(_against(calibration, score, scores[OWN], name, scores[name], counts[name]) for name in names),
        {},
        calibration.settings.rate,
        compare_rules(calibration, score, scores),
        tuple(check_complexity(n, score, scores[n], complexity[n], below[n], terciles) for n in names),
        tuple(match_threshold(calibration, name, score, scores[OWN], scores[name]) for name in names),
    )


def _against(
    calibration: Calibration, score: str, positives: FloatArray, name: str, negatives: FloatArray, counted: Share
) -> EvaluatedPopulation:
    low, high = auc_interval(positives, negatives)
    points = [tpr_at_fpr(positives, negatives, rate) for rate in RATES]
    ratios = [calibration.ratio(score, values) for values in (positives, negatives)]
    bootstrap = auc_bootstrap(positives, negatives)
    return EvaluatedPopulation(
        name,
        score,
        negatives,
        counted,
        float(auc(positives, negatives)),
        float(low),
        float(high),
        tuple((float(point.tpr), float(point.low), float(point.high)) for point in points),
        float(cllr(*ratios)),
        float(cllr_min(*ratios)),
        bootstrap if np.isfinite(bootstrap).all() else None,
    )
