"""Thresholds on a score, and what each rule promises about false attributions.

`neyman_pearson` is the rule to use: it keeps its rate with a stated confidence. The others are there to be compared.

A threshold is a calibration score itself wherever the rule has a rank, and the comparison with it is strict: ties can
only lower the rate.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from invert.statistics.checks import FloatArray, check_share, sample

__all__ = [
    "Threshold",
    "TooFewNegativesError",
    "conformal",
    "grubbs",
    "grubbs_critical_value",
    "kde95",
    "neyman_pearson",
    "neyman_pearson_rank",
    "quantile",
    "required_negatives",
    "smallest_rate",
    "strictest",
]

_KDE_MISSES = 0.05
_KDE_REACH = 10.0  # bandwidths beyond the outermost score: a normal's tail there is below 1e-22


class TooFewNegativesError(ValueError):
    """There are too few negatives for any threshold to keep the promise.

    Attributes:
        needed: The smallest number that would do.
        have: How many there are.
    """

    def __init__(self, needed: int, have: int) -> None:
        super().__init__(f"at least {needed} negatives needed, there are {have}")
        self.needed = needed
        self.have = have


@dataclass(frozen=True)
class Threshold:
    """Attribute an image when its score is below `value`.

    Args:
        value: The threshold, in units of the score.
        rule: Name of the function that set it.
        rate: The rule's target: of false attributions, or of misses where it looks at positives only.
        confidence: That the rate is kept, where the rule promises one.
        rank: Which of the sorted negatives it is, counted from 1, where it is one of them.
        negatives: On how many it was set; 0 where the rule looks at positives only and false attributions float.
    """

    value: float
    rule: str
    rate: float
    confidence: float | None
    rank: int | None
    negatives: int


def required_negatives(rate: float, confidence: float = 0.95) -> int:
    """Return how many negatives it takes to promise `rate` with `confidence`: the smallest n, (1 - rate)^n <= delta.

    Raises:
        ValueError: A share is not between 0 and 1.
    """
    check_share("rate", rate)
    check_share("confidence", confidence)
    # of rates so small that the quotient is no number, as many as nobody has
    return math.ceil(min(math.log(1 - confidence) / math.log1p(-rate), 2.0**62))


def smallest_rate(negatives: int, confidence: float | None = 0.95) -> float:
    """Return the smallest rate that so many negatives can promise; 1 where there are none.

    Args:
        negatives: How many there are.
        confidence: Confidence of the Neyman-Pearson rule, in (0, 1); None for the conformal rule, which has none.
    """
    if confidence is None:
        return 1 / (negatives + 1)
    return -math.expm1(math.log1p(-confidence) / negatives) if negatives else 1.0


def neyman_pearson_rank(n: int, rate: float, confidence: float = 0.95) -> int:
    """Return which of n sorted negatives keeps `rate` with `confidence`, counted from 1, or 0 when none does.

    Below the k-th smallest of n independent scores the true rate is Beta(k, n - k + 1), which exceeds `rate` with
    probability BinomCDF(k - 1; n, rate): the rank is the largest k for which that is at most 1 - confidence. (The rate
    below the k-th smallest exceeds `rate` just when fewer than k of the n scores fall below the `rate`-quantile of
    their distribution, and each of them does so with probability `rate`.)

    Raises:
        ValueError: A share is not between 0 and 1.

    Reference: Tong, Feng and Li 2018, proposition 1.
    """
    check_share("rate", rate)
    check_share("confidence", confidence)
    violation = stats.binom.cdf(np.arange(n), n, rate)  # [n]; entry k - 1 is the probability that rank k is too high
    return int(np.searchsorted(violation, 1 - confidence, side="right"))


def neyman_pearson(negatives: ArrayLike, rate: float, confidence: float = 0.95) -> Threshold:
    """Return the largest threshold whose rate of false attributions is at most `rate`, with `confidence`.

    Args:
        negatives: Scores `[n]` of images that are not the network's.
        rate: Highest share of such images to be attributed, in (0, 1).
        confidence: Share of calibrations that keep it, in (0, 1).

    Raises:
        TooFewNegativesError: See `required_negatives`.
        ValueError: A score is not finite, or a share not between 0 and 1.

    Reference: Tong, Feng and Li 2018, the umbrella algorithm.
    """
    scores = sample(negatives, "negatives", least=0)
    rank = neyman_pearson_rank(len(scores), rate, confidence)
    if not rank:
        raise TooFewNegativesError(required_negatives(rate, confidence), len(scores))
    return Threshold(_smallest(scores, rank), "neyman_pearson", rate, confidence, rank, len(scores))


def conformal(negatives: ArrayLike, rate: float) -> Threshold:
    """Return the threshold whose rate is at most `rate` on average over calibrations; in almost half it is higher.

    The rule is p0 <= rate (see `invert.statistics.pvalues`): an image that is exchangeable with the n negatives is
    below their k-th smallest with probability k / (n + 1) at most, and k is the largest rank for which that is at
    most `rate`.

    Args:
        negatives: Scores `[n]` of images that are not the network's.
        rate: Highest mean share of such images to be attributed, in (0, 1).

    Raises:
        TooFewNegativesError: There are fewer than 1 / rate - 1.
        ValueError: A score is not finite, or the rate not between 0 and 1.

    Reference: Vovk, Gammerman and Shafer 2005, split conformal prediction.
    """
    check_share("rate", rate)
    scores = sample(negatives, "negatives", least=0)
    # A rate such as 0.29 is a little less in binary, and 0.29 * 100 then a little less than 29.
    rank = math.floor(rate * (len(scores) + 1) + 1e-9)
    if not rank:
        raise TooFewNegativesError(math.ceil(1 / rate - 1e-9) - 1, len(scores))
    return Threshold(_smallest(scores, rank), "conformal", rate, None, rank, len(scores))


def quantile(negatives: ArrayLike, rate: float) -> Threshold:
    """Return the `rate`-quantile of the negatives. No promise: more often than not the true rate is higher.

    Args:
        negatives: Scores `[n]` of images that are not the network's.
        rate: Share of these very images to be attributed, in (0, 1).

    Raises:
        TooFewNegativesError: There are none.
        ValueError: A score is not finite, or the rate not between 0 and 1.
    """
    check_share("rate", rate)
    scores = sample(negatives, "negatives", least=0)
    if not len(scores):
        raise TooFewNegativesError(1, 0)
    return Threshold(float(np.quantile(scores, rate)), "quantile", rate, None, None, len(scores))


def grubbs(positives: ArrayLike, significance: float = 0.05) -> Threshold:
    """Return the score above which Grubbs' test calls an image an outlier of the positives.

    No control of false attributions, and looser the more positives there are. Only for comparison.

    Args:
        positives: Scores `[n]` of the network's own images, at least 3.
        significance: Significance of the test, in (0, 1).

    Raises:
        ValueError: There are too few, one is not finite, or the significance is not between 0 and 1.

    Reference: Grubbs 1969; RONAN (Wang et al. 2023) for the rule.
    """
    scores = sample(positives, "positives", least=3)
    value = scores.mean() + grubbs_critical_value(len(scores), significance) * scores.std(ddof=1)
    return Threshold(float(value), "grubbs", significance, None, None, 0)


def grubbs_critical_value(n: int, significance: float = 0.05) -> float:
    """Return how many standard deviations above the mean the largest of n normal values may lie.

    Raises:
        ValueError: n is below 3, or the significance not between 0 and 1.

    Reference: Grubbs 1969, the one-sided test.
    """
    check_share("significance", significance)
    if n < 3:
        raise ValueError(f"n: at least 3 needed, got {n}")
    t_squared = float(stats.t.isf(significance / n, n - 2)) ** 2
    return (n - 1) / math.sqrt(n) * math.sqrt(t_squared / (n - 2 + t_squared))


def kde95(positives: ArrayLike) -> Threshold:
    """Return the 95 % point of a Gaussian kernel density estimate of the positives, with Scott's bandwidth.

    No control of false attributions. Only for comparison.

    Args:
        positives: Scores `[n]` of the network's own images, at least 2.

    Raises:
        ValueError: There are too few, or one is not finite.

    Reference: Scott 1992 (bandwidth); AEDR (2025) for the rule.
    """
    scores = sample(positives, "positives", least=2)
    bandwidth = float(scores.std(ddof=1)) * len(scores) ** -0.2
    value = float(scores.max())
    if bandwidth > 0:
        reach = _KDE_REACH * bandwidth
        value = optimize.brentq(
            lambda t: special.ndtr((t - scores) / bandwidth).mean() - (1 - _KDE_MISSES),
            scores.min() - reach,
            value + reach,
        )
    return Threshold(float(value), "kde95", _KDE_MISSES, None, None, 0)


def strictest(thresholds: Mapping[str, Threshold]) -> tuple[str, Threshold]:
    """Return the smallest of several thresholds and its name; of equal ones the first.

    Raises:
        ValueError: There are none.
    """
    if not thresholds:
        raise ValueError("thresholds: there are none")
    return min(thresholds.items(), key=lambda item: item[1].value)


def _smallest(scores: FloatArray, rank: int) -> float:
    return float(np.partition(scores, rank - 1)[rank - 1])
