"""How well a score tells a network's images from others, with intervals.

All intervals are two-sided and take the scores to be independent: crops or restarts of one image are one score.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats
from sklearn.metrics import roc_curve

from invert.statistics.checks import FloatArray, check_share, sample

__all__ = ["OperatingPoint", "auc", "auc_bootstrap", "auc_interval", "clopper_pearson", "roc", "tpr_at_fpr"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does to one set of positives and negatives.

    Args:
        threshold: Images with a lower score are attributed.
        tpr: Share of positives attributed.
        low: Lower end of its exact interval, for this threshold taken as fixed.
        high: Upper end of that interval.
        fpr: Share of negatives attributed.
    """

    threshold: float
    tpr: float
    low: float
    high: float
    fpr: float


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> Interval:
    """Return the exact interval of a share of which `count` in `total` were seen; all of [0, 1] for none in none.

    Raises:
        ValueError: Not 0 <= count <= total, or the confidence is not between 0 and 1.

    Reference: Clopper and Pearson 1934.
    """
    check_share("confidence", confidence)
    if not 0 <= count <= total:
        raise ValueError(f"count: {count} is not in 0..{total}")
    if total == 0:
        return 0.0, 1.0
    interval = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Return the probability that a positive scores lower than a negative; ties count half.

    Args:
        positives: Scores `[n1]` of the network's images.
        negatives: Scores `[n0]` of others.

    Raises:
        ValueError: There are none, or one is not finite.
    """
    return float(_auc(sample(positives, "positives"), sample(negatives, "negatives")))


def auc_interval(positives: ArrayLike, negatives: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the interval of the area under the curve.

    Scores that are told apart without an error have variance zero. Then the min(n0, n1) pairs of one positive and one
    negative each are independent trials of one outcome, and an exact interval follows.

    Args:
        positives: Scores `[n1]`, n1 >= 2.
        negatives: Scores `[n0]`, n0 >= 2.
        confidence: Confidence of the two-sided interval, in (0, 1).

    Raises:
        ValueError: There are too few, or one is not finite, or the confidence is not between 0 and 1.

    Reference: DeLong, DeLong and Clarke-Pearson 1988; mid-ranks as in Sun and Xu 2014.
    """
    check_share("confidence", confidence)
    pos, neg = sample(positives, "positives", least=2), sample(negatives, "negatives", least=2)
    area, variance = _delong(pos, neg)
    if variance == 0:
        return _one_outcome(area, min(len(pos), len(neg)), confidence)
    reach = float(special.ndtri((1 + confidence) / 2)) * math.sqrt(variance)
    return max(0.0, area - reach), min(1.0, area + reach)


def auc_bootstrap(
    positives: ArrayLike, negatives: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the BCa interval of the area under the curve, positives and negatives resampled apart.

    Args:
        positives: Scores `[n1]`, n1 >= 2.
        negatives: Scores `[n0]`, n0 >= 2.
        confidence: Confidence of the two-sided interval, in (0, 1).
        resamples: How often each of the two is resampled.
        seed: Seed of the resampling, so that the same interval can be had again.

    Raises:
        ValueError: See `auc_interval`.

    Reference: Efron 1987.
    """
    check_share("confidence", confidence)
    pos, neg = sample(positives, "positives", least=2), sample(negatives, "negatives", least=2)
    area, variance = _delong(pos, neg)
    if variance == 0:
        return _one_outcome(area, min(len(pos), len(neg)), confidence)
    interval = stats.bootstrap(
        (pos, neg),
        _auc,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=confidence,
        method="BCa",
        batch=max(1, 1_000_000 // (len(pos) + len(neg))),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def tpr_at_fpr(positives: ArrayLike, negatives: ArrayLike, rate: float) -> OperatingPoint:
    """Return what the largest threshold does that attributes at most `rate` of these very negatives.

    It describes this set of scores. What will happen on others is for `invert.statistics.thresholds` to promise.

    Args:
        positives: Scores `[n1]` of the network's images.
        negatives: Scores `[n0]` of others.
        rate: Share of the negatives that may be attributed, in [0, 1).

    Raises:
        ValueError: There are none, one is not finite, or the rate is out of range.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate: {rate} is not in [0, 1)")
    pos, neg = sample(positives, "positives"), sample(negatives, "negatives")
    # Below the (a+1)-th smallest negative lie a of them, or fewer if there are ties; any higher threshold admits a + 1.
    allowed = math.floor(rate * len(neg) + 1e-9)
    threshold = float(np.sort(neg)[allowed])
    hits = int((pos < threshold).sum())
    low, high = clopper_pearson(hits, len(pos))
    return OperatingPoint(threshold, hits / len(pos), low, high, float((neg < threshold).mean()))


def roc(positives: ArrayLike, negatives: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the curve of all thresholds as (fpr, tpr), both rising from 0 to 1.

    Raises:
        ValueError: There are none, or one is not finite.
    """
    pos, neg = sample(positives, "positives"), sample(negatives, "negatives")
    labels = np.repeat([1, 0], [len(pos), len(neg)])
    fpr, tpr, _ = roc_curve(labels, -np.concatenate([pos, neg]))
    return fpr, tpr


def _auc(positives: FloatArray, negatives: FloatArray, axis: int = -1) -> FloatArray:
    """Return the area for each row, from the sum of the positives' mid-ranks among all scores."""
    n1, n0 = positives.shape[axis], negatives.shape[axis]
    # `bootstrap` holds one sample fixed, without the other's rows, where it leaves out one score after another.
    rows = np.broadcast_shapes(positives.shape[:-1], negatives.shape[:-1])
    both = [np.broadcast_to(positives, (*rows, n1)), np.broadcast_to(negatives, (*rows, n0))]
    ranks = stats.rankdata(np.concatenate(both, axis=-1), axis=-1)[..., :n1]
    return np.asarray(1 - (ranks.sum(axis=-1) - n1 * (n1 + 1) / 2) / (n1 * n0))


def _delong(positives: FloatArray, negatives: FloatArray) -> tuple[float, float]:
    """Return the area and its variance, from the placement of each score among those of the other kind."""
    n1, n0 = len(positives), len(negatives)
    ranks = stats.rankdata(np.concatenate([positives, negatives]))
    above = 1 - (ranks[:n1] - stats.rankdata(positives)) / n0  # share of negatives above each positive
    below = (ranks[n1:] - stats.rankdata(negatives)) / n1  # share of positives below each negative
    return float(above.mean()), float(above.var(ddof=1) / n1 + below.var(ddof=1) / n0)


def _one_outcome(area: float, trials: int, confidence: float) -> Interval:
    """Return the interval where every pair compares alike: as less (1), as greater (0) or as equal (1/2)."""
    least, _ = clopper_pearson(trials, trials, confidence)
    return area * least, area * least + 1 - least
