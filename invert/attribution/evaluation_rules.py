"""What else an evaluation asks: what other rules do, whether simple images are accused more, matched thresholds.

Reference: Tong, Feng and Li 2018 (Neyman-Pearson thresholds); `invert.statistics.thresholds` for the other rules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from invert.attribution.calibration import Calibration
from invert.statistics.bins import Bins
from invert.statistics.checks import FloatArray
from invert.statistics.intervals import clopper_pearson, tpr_at_fpr
from invert.statistics.thresholds import (
    Threshold,
    TooFewNegativesError,
    conformal,
    grubbs,
    kde95,
    neyman_pearson,
    quantile,
    required_negatives,
    strictest,
)

__all__ = [
    "TERCILES",
    "ComplexityCheck",
    "MatchedThreshold",
    "RuleResult",
    "Share",
    "check_complexity",
    "compare_rules",
    "match_threshold",
]

_Record = dict[str, Any]

TERCILES = ("simplest third", "middle third", "most complex third")


@dataclass(frozen=True)
class Share:
    """A count among a total, with its exact 95 % interval."""

    count: int
    total: int

    def __str__(self) -> str:
        if not self.total:
            return "of none"
        low, high = self.interval
        return f"{100 * self.count / self.total:.1f} % ({100 * low:.1f}-{100 * high:.1f})"

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end."""
        return clopper_pearson(self.count, self.total)

    @classmethod
    def below(cls, scores: FloatArray, threshold: float) -> "Share":
        """Count the scores below a threshold."""
        return cls(int((scores < threshold).sum()), len(scores))

    def to_record(self) -> dict[str, float]:
        """Return it as JSON types."""
        low, high = self.interval
        return {"count": self.count, "of": self.total, "low": low, "high": high}


@dataclass(frozen=True)
class RuleResult:
    """What a rule does that was set on the calibration's images, one bin for all complexities.

    Attributes:
        rule: Name of the rule.
        score: Name of the score.
        controlled: Whether it controls false attributions at all.
        threshold: The threshold; None where the calibration is too small for it.
        attributed: Images evaluated that it attributes, by population.
        needed: How many negatives it would take, where there are too few.
    """

    rule: str
    score: str
    controlled: bool
    threshold: float | None
    attributed: Mapping[str, Share]
    needed: int = 0

    def to_record(self) -> _Record:
        """Return it as JSON types."""
        return {
            "rule": self.rule,
            "score": self.score,
            "controls_false_positives": self.controlled,
            "threshold": self.threshold,
            "needed_negatives": self.needed or None,
            "attributed": {name: share.to_record() for name, share in self.attributed.items()},
        }


def compare_rules(calibration: Calibration, score: str, scores: Mapping[str, FloatArray]) -> tuple[RuleResult, ...]:
    """Set each rule on the threshold part of a calibration, the strictest over its populations, and count.

    Args:
        calibration: Calibration, whose settings give rate and confidence.
        score: One of `SCORES`.
        scores: Scores of the images evaluated, by population, own ones among them.
    """
    settings = calibration.settings
    rate = settings.rate / settings.candidates
    own = calibration.own_scores(score, "threshold")
    others = {one.label: calibration.scores(score, one, "threshold") for one in calibration.others}

    def over_others(rule: Callable[[FloatArray], Threshold]) -> Callable[[], Threshold]:
        return lambda: strictest({name: rule(values) for name, values in others.items()})[1]

    rules: dict[str, tuple[bool, Callable[[], Threshold]]] = {
        "Neyman-Pearson": (True, over_others(lambda values: neyman_pearson(values, rate, settings.confidence))),
        "conformal": (True, over_others(lambda values: conformal(values, rate))),
        "quantile": (False, over_others(lambda values: quantile(values, rate))),
        "Grubbs": (False, lambda: grubbs(own)),
        "95 % of a density": (False, lambda: kde95(own)),
    }
    found = []
    for name, (controlled, rule) in rules.items():
        try:
            value = rule().value
        except TooFewNegativesError as error:
            found.append(RuleResult(name, score, controlled, None, {}, error.needed))
            continue
        counts = {population: Share.below(values, value) for population, values in scores.items()}
        found.append(RuleResult(name, score, controlled, value, counts))
    return tuple(found)


@dataclass(frozen=True)
class ComplexityCheck:
    """Whether a population's simple images are accused more often than its others.

    Attributes:
        population: Name of the population.
        score: Name of the score.
        spearman: Rank correlation of score and complexity; None where it is not defined.
        terciles: Images attributed by the calibration, by `TERCILES` of the complexity of all others evaluated.
    """

    population: str
    score: str
    spearman: float | None
    terciles: tuple[Share, ...]

    def to_record(self) -> _Record:
        """Return it as JSON types."""
        terciles = [share.to_record() for share in self.terciles]
        return {
            "population": self.population,
            "score": self.score,
            "spearman": self.spearman,
            "attributed_by_tercile": terciles,
        }


def check_complexity(
    population: str,
    score: str,
    scores: FloatArray,
    complexity: FloatArray,
    below: npt.NDArray[np.bool_],
    terciles: Bins,
) -> ComplexityCheck:
    """Compare scores with the complexity of their images.

    Args:
        population: Name of the population.
        score: Name of the score.
        scores: Score of each image, `[n]`.
        complexity: Complexity of each image, `[n]`.
        below: Whether the calibration attributes each image, `[n]`.
        terciles: Three bins of complexity.
    """
    # Ranks of equal numbers correlate with nothing.
    defined = len(scores) > 2 and np.ptp(scores) > 0 and np.ptp(complexity) > 0
    rho = float(stats.spearmanr(scores, complexity).statistic) if defined else None
    index = terciles.index(complexity)
    chosen = [below[index == number] for number in range(len(TERCILES))]
    return ComplexityCheck(population, score, rho, tuple(Share(int(one.sum()), len(one)) for one in chosen))


@dataclass(frozen=True)
class MatchedThreshold:
    """Own images found where the threshold is set on others of the same perturbation: if the user declares it.

    Attributes:
        population: Name of the population.
        score: Name of the score.
        rule: "neyman-pearson" where there are enough others for its promise, else "empirical", which promises nothing.
        rate: Rate of false attributions.
        threshold: The threshold that was set.
        found: Own images below it.
    """

    population: str
    score: str
    rule: str
    rate: float
    threshold: float
    found: Share

    def to_record(self) -> _Record:
        """Return it as JSON types."""
        return {**vars(self), "found": self.found.to_record()}


def match_threshold(
    calibration: Calibration, population: str, score: str, positives: FloatArray, negatives: FloatArray
) -> MatchedThreshold:
    """Set a threshold at the calibration's rate on the others evaluated, and count the own images below it.

    Args:
        calibration: Calibration, whose settings give rate and confidence.
        population: Name of the population.
        score: Name of the score.
        positives: Scores of the own images, `[n1]`.
        negatives: Scores of the others, `[n0]`.
    """
    settings = calibration.settings
    rate = settings.rate / settings.candidates
    if len(negatives) >= required_negatives(rate, settings.confidence):
        rule, threshold = "neyman-pearson", neyman_pearson(negatives, rate, settings.confidence).value
    else:
        rule, threshold = "empirical", tpr_at_fpr(positives, negatives, rate).threshold
    return MatchedThreshold(population, score, rule, rate, threshold, Share.below(positives, threshold))
